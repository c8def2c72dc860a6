//! The lab as a whole: starts the machines and their BMCs, says what there is, and stops it all.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bmc::{Bmc, BmcSetup};
use crate::emulated::{self, Accel, Emulated, EmulatedSetup, Sizes, UserNet, find_accel};
use crate::facts::{Facts, Kind, Maker};
use crate::faults::Faults;
use crate::metal::{Metal, MetalError, MetalEvent, Power};
use crate::options::LabOptions;
use crate::phantom::{Clients, Model, Phantom, PhantomSetup};
use crate::reach::{self, Reach};
use crate::{api, watch};

/// Why a lab does not start.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// What was asked for makes no lab.
    #[error("the lab's options: {0}")]
    Options(String),
    /// Something of the system's failed.
    #[error("{doing} {what}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What it was done to.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A machine cannot be made.
    #[error("machine {name}: {source}")]
    Machine {
        /// Which.
        name: String,
        /// Why.
        source: MetalError,
    },
    /// KVM could not be tried.
    #[error("trying KVM: {0}")]
    Accel(MetalError),
    /// No HTTP client could be made.
    #[error("making an HTTP client: {0}")]
    Client(reqwest::Error),
}

fn io(
    doing: &'static str,
    what: impl std::fmt::Display,
) -> impl FnOnce(std::io::Error) -> LabError {
    let what = what.to_string();
    move |source| LabError::Io {
        doing,
        what,
        source,
    }
}

/// One machine of a lab: how to reach it and what it is.
#[derive(Debug, Clone, Serialize)]
pub struct LabMachine {
    /// Its name in the lab.
    pub name: String,
    /// Emulated or phantom.
    pub kind: Kind,
    /// Address of its BMC, `https://127.0.0.1:PORT`.
    pub bmc: String,
    /// User of its BMC and of its serial console.
    pub user: String,
    /// Password of both: a lab's secrets are for show.
    pub password: String,
    /// SHA-256 of the BMC's certificate in DER, lower-case hexadecimal.
    pub fingerprint: String,
    /// Its serial console over SSH, `127.0.0.1:PORT`.
    pub console: SocketAddr,
    /// Serial number.
    pub serial: String,
    /// Model, which says that it is emulated or a phantom.
    pub model: String,
    /// Machine type.
    pub machine_type: String,
    /// Rack.
    pub rack: String,
    /// Its address on the lab's network, where it has one.
    pub address: Option<Ipv4Addr>,
    /// Where its system's SSH is reached from the host, where it is emulated.
    pub ssh: Option<SocketAddrV4>,
    /// How many GPUs it has, or what stands in for them.
    pub gpus: u32,
    /// Serials of its drives.
    pub drives: Vec<String>,
    /// Files behind its drives, where it is emulated.
    pub drive_files: Vec<PathBuf>,
    /// Power at the moment when this was asked for.
    pub power: Power,
}

/// A lab in words, for people and for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The lab's own API.
    pub api: String,
    /// Where it keeps its files.
    pub dir: PathBuf,
    /// How emulated machines are run; absent where there are none.
    pub accel: Option<Accel>,
    /// Under this address, emulated machines reach the host's loopback.
    pub host_alias: Ipv4Addr,
    /// The /24 of loopback addresses that the host reaches emulated machines at, each by the
    /// last byte of its own address.
    pub reached_at: Ipv4Addr,
    /// What differs from what was asked for, in sentences.
    pub notes: Vec<String>,
    /// All machines.
    pub machines: Vec<LabMachine>,
}

pub(crate) struct Member {
    pub name: String,
    pub facts: Facts,
    pub metal: Arc<dyn Metal>,
    pub bmc: Arc<Bmc>,
    pub rack: String,
    pub address: Option<Ipv4Addr>,
    pub ssh: Option<SocketAddrV4>,
    pub dir: PathBuf,
}

/// What the lab's tasks share.
pub(crate) struct Room {
    pub faults: Arc<Faults>,
    pub members: Vec<Member>,
    pub by_name: HashMap<String, usize>,
    pub api: SocketAddr,
    pub options: LabOptions,
    dir: PathBuf,
    accel: Option<Accel>,
    notes: Vec<String>,
}

impl Room {
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.by_name.get(name).map(|at| &self.members[*at])
    }

    pub fn summary(&self) -> Summary {
        Summary {
            api: format!("http://{}", self.api),
            dir: self.dir.clone(),
            accel: self.accel,
            host_alias: host_alias(&self.options),
            reached_at: self.options.net.reached_at,
            notes: self.notes.clone(),
            machines: self.members.iter().map(Member::describe).collect(),
        }
    }
}

impl Member {
    pub fn describe(&self) -> LabMachine {
        let (user, password) = self.bmc.credentials();
        let emulated = self.facts.kind == Kind::Emulated;
        LabMachine {
            name: self.name.clone(),
            kind: self.facts.kind,
            bmc: format!("https://{}", self.bmc.address()),
            user,
            password,
            fingerprint: self.bmc.fingerprint(),
            console: self.bmc.ssh_address(),
            serial: self.facts.serial.clone(),
            model: self.facts.model.clone(),
            machine_type: self.facts.machine_type.clone(),
            rack: self.rack.clone(),
            address: self.address,
            ssh: self.ssh,
            gpus: self.facts.gpus.len() as u32,
            drives: self.facts.drives.iter().map(|d| d.serial.clone()).collect(),
            drive_files: (0..self.facts.drives.len())
                .filter(|_| emulated)
                .map(|n| emulated::drive_file(&self.dir, n))
                .collect(),
            power: self.metal.power(),
        }
    }
}

/// Under this address machines reach the host's loopback: the first of their subnet.
fn host_alias(options: &LabOptions) -> Ipv4Addr {
    Ipv4Addr::from_bits(options.net.subnet.to_bits() + 1)
}

/// A running lab. Dropping it stops it, as [`Lab::stop`] does, without waiting for the end.
pub struct Lab {
    room: Arc<Room>,
    stop: CancellationToken,
    // Removed when the lab goes.
    _sockets: tempfile::TempDir,
    _temporary: Option<tempfile::TempDir>,
    _reach: Option<Reach>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is kept of a lab in its directory.
#[derive(Serialize, Deserialize)]
struct Kept {
    seed: u64,
    password: String,
    /// Where the host reaches its machines, from when it first had some.
    #[serde(default)]
    reached_at: Option<Ipv4Addr>,
}

impl Kept {
    fn write(&self, dir: &Path) -> Result<(), LabError> {
        let file = dir.join("lab.json");
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        std::fs::write(&file, text).map_err(io("writing", file.display()))
    }
}

fn kept(dir: &Path, options: &LabOptions) -> Result<Kept, LabError> {
    let file = dir.join("lab.json");
    if let Ok(text) = std::fs::read(&file)
        && let Ok(kept) = serde_json::from_slice(&text)
    {
        return Ok(kept);
    }
    let kept = Kept {
        seed: options.seed.unwrap_or_else(rand::random),
        password: options
            .password
            .clone()
            .unwrap_or_else(|| Maker::new(rand::random(), "bmc").letters("password", 16)),
        reached_at: None,
    };
    kept.write(dir)?;
    Ok(kept)
}

/// Hands out the lab's ports, one after the other.
struct Ports {
    next: u16,
}

impl Ports {
    async fn listen(&mut self) -> Result<TcpListener, LabError> {
        let port = self.next;
        if port != 0 {
            self.next = port.wrapping_add(1);
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address)
            .await
            .map_err(io("listening on", address))
    }
}

/// As many open files as thousands of listeners need, as far as the system allows.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some() && limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(e) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(error = %e, "raising the limit of open files");
        }
    }
}

impl Lab {
    /// Start a lab; all its machines are off.
    ///
    /// # Errors
    /// See [`LabError`]; what was started is stopped again.
    pub async fn start(options: LabOptions) -> Result<Self, LabError> {
        if let Some(wrong) = options.wrong() {
            return Err(LabError::Options(wrong));
        }
        raise_file_limit();
        // Another part of the program may have chosen it before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

        let (dir, temporary) = directory(&options)?;
        let sockets = tempfile::Builder::new()
            .prefix("billet-lab-")
            .tempdir()
            .map_err(io("making", "a directory for sockets"))?;
        let mut kept = kept(&dir, &options)?;
        let accel = if options.machines > 0 {
            Some(find_accel(&dir).await.map_err(LabError::Accel)?)
        } else {
            None
        };
        let mut options = options;
        let mut notes = Vec::new();
        let mut reach = None;
        if options.machines > 0 {
            let mut taken = reach::take(&options.net, options.machines, kept.reached_at)
                .map_err(|(at, e)| io("listening on", at)(e))?;
            (options.net.reached_at, options.net.ssh_port) = (taken.net, taken.ssh_port);
            notes.append(&mut taken.notes);
            if kept.reached_at.is_none() {
                kept.reached_at = Some(taken.net);
                kept.write(&dir)?;
            }
            reach = Some(taken);
        }

        let stop = CancellationToken::new();
        // Whatever fails from here on, what runs already is stopped.
        let guard = stop.clone().drop_guard();
        let mut ports = Ports {
            next: options.base_port,
        };
        let api_listener = ports.listen().await?;
        let api = api_listener
            .local_addr()
            .map_err(io("reading the address of", "the lab's API"))?;
        let (events, happened) = mpsc::unbounded_channel();
        let maker = Making {
            options: &options,
            dir: &dir,
            sockets: sockets.path(),
            kept: &kept,
            events,
            faults: Arc::new(Faults::default()),
            clients: Arc::new(Clients::default()),
            fetch: reqwest::Client::builder()
                .tls_danger_accept_invalid_certs(true)
                .no_proxy()
                .build()
                .map_err(LabError::Client)?,
        };
        let mut members = Vec::new();
        for n in 0..options.machines {
            members.push(maker.emulated(n, accel, &mut ports, &stop).await?);
        }
        for n in 0..options.phantoms {
            members.push(maker.phantom(n, &mut ports, &stop).await?);
        }
        let room = Arc::new(Room {
            faults: Arc::clone(&maker.faults),
            by_name: members
                .iter()
                .enumerate()
                .map(|(at, m)| (m.name.clone(), at))
                .collect(),
            members,
            api,
            dir: dir.clone(),
            accel,
            notes,
            options: options.clone(),
        });
        drop(maker);
        tokio::spawn(dispatch(Arc::clone(&room), happened, stop.clone()));
        tokio::spawn(watch::power_cuts(Arc::clone(&room), stop.clone()));
        tokio::spawn(api::serve(Arc::clone(&room), api_listener, stop.clone()));
        guard.disarm();
        Ok(Self {
            room,
            stop,
            _sockets: sockets,
            _temporary: temporary,
            _reach: reach,
        })
    }

    /// All machines, as they are at this moment.
    #[must_use]
    pub fn machines(&self) -> Vec<LabMachine> {
        self.room.members.iter().map(Member::describe).collect()
    }

    /// The lab in words.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.room.summary()
    }

    /// The faults that are armed, and where to arm more.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.room.faults
    }

    /// What a machine wrote on its serial line lately, at most the last 16 KiB; `None` where
    /// there is no such machine.
    #[must_use]
    pub fn console(&self, machine: &str) -> Option<String> {
        self.room
            .member(machine)
            .map(|m| m.metal.console().recent())
    }

    /// Power all machines off and stop everything.
    pub async fn stop(self) {
        self.stop.cancel();
        for member in &self.room.members {
            if let Err(e) = member.metal.force_off().await {
                tracing::warn!(machine = member.name, error = %e, "stopping a machine");
            }
        }
    }
}

fn directory(options: &LabOptions) -> Result<(PathBuf, Option<tempfile::TempDir>), LabError> {
    let Some(dir) = &options.dir else {
        let temporary = tempfile::Builder::new()
            .prefix("billet-lab-data-")
            .tempdir()
            .map_err(io("making", "a temporary directory"))?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    std::fs::create_dir_all(dir).map_err(io("making", dir.display()))?;
    let dir = std::path::absolute(dir).map_err(io("finding", dir.display()))?;
    Ok((dir, None))
}

/// The `n`th emulated machine's own address, and where the host reaches its SSH.
fn addresses(options: &LabOptions, n: u32) -> (Ipv4Addr, SocketAddrV4) {
    let last = u32::from(options.net.first) + n;
    let machine = Ipv4Addr::from_bits(options.net.subnet.to_bits() + last);
    let outside = Ipv4Addr::from_bits(options.net.reached_at.to_bits() + last);
    (machine, SocketAddrV4::new(outside, options.net.ssh_port))
}

struct Making<'a> {
    options: &'a LabOptions,
    dir: &'a Path,
    sockets: &'a Path,
    kept: &'a Kept,
    events: mpsc::UnboundedSender<(String, MetalEvent)>,
    faults: Arc<Faults>,
    clients: Arc<Clients>,
    fetch: reqwest::Client,
}

impl Making<'_> {
    fn prepare(&self, name: &str) -> Result<(PathBuf, Maker), LabError> {
        let dir = self.dir.join("machines").join(name);
        std::fs::create_dir_all(&dir).map_err(io("making", dir.display()))?;
        Ok((dir, Maker::new(self.kept.seed, name)))
    }

    async fn bmc(
        &self,
        name: &str,
        dir: &Path,
        maker: Maker,
        metal: Arc<dyn Metal>,
        ports: &mut Ports,
        stop: &CancellationToken,
    ) -> Result<Arc<Bmc>, LabError> {
        let https = ports.listen().await?;
        let ssh = ports.listen().await?;
        let setup = BmcSetup {
            name: name.to_owned(),
            metal,
            faults: Arc::clone(&self.faults),
            user: self.options.user.clone(),
            password: self.kept.password.clone(),
            dir: dir.to_owned(),
            maker,
            fetch: self.fetch.clone(),
            media_cap: self.options.media_cap,
        };
        Bmc::start(setup, https, ssh, stop).map_err(|source| LabError::Machine {
            name: name.to_owned(),
            source,
        })
    }

    async fn emulated(
        &self,
        n: u32,
        accel: Option<Accel>,
        ports: &mut Ports,
        stop: &CancellationToken,
    ) -> Result<Member, LabError> {
        let name = format!("lab-{:03}", n + 1);
        let (dir, maker) = self.prepare(&name)?;
        let facts = emulated::parts(
            &maker,
            Sizes {
                cpus: self.options.cpus,
                memory_mib: self.options.memory_mib,
                drives: self.options.drives,
                drive_bytes: self.options.drive_bytes,
                gpus: self.options.gpus,
            },
        );
        let (address, ssh) = addresses(self.options, n);
        let setup = EmulatedSetup {
            name: name.clone(),
            dir: dir.clone(),
            sockets: self.sockets.to_owned(),
            facts: facts.clone(),
            accel: accel.unwrap_or(Accel::Tcg),
            media_bus: self.options.media_bus,
            cpus: self.options.cpus,
            net: UserNet {
                subnet: self.options.net.subnet,
                host: host_alias(self.options),
                machine: address,
                ssh,
            },
        };
        let metal = Emulated::new(setup, Arc::clone(&self.faults), self.events.clone()).map_err(
            |source| LabError::Machine {
                name: name.clone(),
                source,
            },
        )?;
        let metal: Arc<dyn Metal> = Arc::new(metal);
        let bmc = self
            .bmc(&name, &dir, maker, Arc::clone(&metal), ports, stop)
            .await?;
        Ok(Member {
            rack: format!("lab-r{}", n / 8 + 1),
            name,
            facts,
            metal,
            bmc,
            address: Some(address),
            ssh: Some(ssh),
            dir,
        })
    }

    async fn phantom(
        &self,
        n: u32,
        ports: &mut Ports,
        stop: &CancellationToken,
    ) -> Result<Member, LabError> {
        let name = format!("phantom-{:04}", n + 1);
        let (dir, maker) = self.prepare(&name)?;
        let models = match self.options.phantom_models.as_slice() {
            [] => &Model::ALL[..],
            chosen => chosen,
        };
        let facts = models[n as usize % models.len()].parts(&maker);
        let metal: Arc<dyn Metal> = Arc::new(Phantom::new(PhantomSetup {
            name: name.clone(),
            facts: facts.clone(),
            maker: maker.clone(),
            faults: Arc::clone(&self.faults),
            clients: Arc::clone(&self.clients),
            pace: self.options.phantom_pace,
            host_alias: host_alias(self.options),
            events: self.events.clone(),
        }));
        let bmc = self
            .bmc(&name, &dir, maker, Arc::clone(&metal), ports, stop)
            .await?;
        Ok(Member {
            rack: format!("phantom-r{}", n / 8 + 1),
            name,
            facts,
            metal,
            bmc,
            address: None,
            ssh: None,
            dir,
        })
    }
}

/// Tell each BMC what its machine did by itself.
async fn dispatch(
    room: Arc<Room>,
    mut happened: mpsc::UnboundedReceiver<(String, MetalEvent)>,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = happened.recv() => event,
        };
        let Some((name, event)) = event else {
            return;
        };
        if let Some(member) = room.member(&name) {
            let bmc = Arc::clone(&member.bmc);
            tokio::spawn(async move { bmc.happened(event).await });
        }
    }
}
