//! `billet serve`: the API and the control loop, in one process.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use billet_api::{AddressRange, ServeOptions, tls::Authority};
use billet_client::Server;
use billet_control::{Control, Settings, consoles::ConsoleOptions};
use billet_model::Secret;
use billet_plan::Policy;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::{signal::unix, sync::watch};

use crate::{
    app::App,
    failure::{Failure, chain},
    human,
    output::{card, say},
};

/// How long requests under way may take when the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// Run the control plane: the API, and the loop that works on machines.
///
/// Everything is kept in one directory, but for the keys, which lie beside it so that a copy of the
/// data does not carry them along. On the first start the server makes its own authority, whose
/// fingerprint `billet login` wants, and prints the first operator's token, once.
///
/// It can be killed at any time: started again, it goes on where it was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet serve --data /var/lib/billet --name billet.example.org --listen 0.0.0.0:8443 \\
      --server-url https://10.0.0.2:8443 --ramdisk /usr/share/billet/billet.efi
  billet serve --data ./billet --pace lab --server-url https://10.88.0.2:8443 \\
      --media-url https://127.0.0.1:8443 --ramdisk billet.efi")]
pub struct Serve {
    /// Directory of the database, images and boot media.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Directory of the keys: outside the data; DIR.keys where absent.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// A name or address under which the server is reached, for its certificate; may be repeated.
    /// The loopback, and the hosts of the URLs below, are always among them.
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Base URL under which machines reach the server; may be repeated. https://NAME:PORT of the
    /// first name where absent.
    #[arg(long, value_name = "URL")]
    server_url: Vec<String>,
    /// Base URL under which BMCs fetch boot media; the first --server-url where absent.
    #[arg(long, value_name = "URL")]
    media_url: Option<String>,
    /// PostgreSQL, as postgres://USER:PASSWORD@HOST/NAME, with ?sslmode=verify-full&sslrootcert=FILE
    /// behind it for TLS; SQLite in the data where absent.
    #[arg(long, value_name = "URL", env = "BILLET_DATABASE", hide_env_values = true, value_parser = secret)]
    database: Option<Secret>,
    /// The ramdisk, as `billet ramdisk build` makes it; without it no machine can be taken over.
    #[arg(long, value_name = "FILE")]
    ramdisk: Option<PathBuf>,
    /// systemd's UEFI stub, which a tenant's own kernel is joined with to be booted.
    #[arg(long, value_name = "FILE", default_value = billet_media::ramdisk::DEFAULT_STUB)]
    uefi_stub: PathBuf,
    /// iPXE as a UEFI program, as `billet ramdisk ipxe` gets it; ipxe.efi beside the ramdisk where
    /// absent. Without it no install configuration can be an iPXE script.
    #[arg(long, value_name = "FILE")]
    ipxe: Option<PathBuf>,
    /// How patient to be with machines and BMCs.
    #[arg(long, value_enum, default_value_t = Pace::Real)]
    pace: Pace,
    /// How long an image's first boot may take, from power on until it reports itself or lets its
    /// tenant in, 10s to 30d; then the lease fails, or is broken at a reinstallation. By --pace
    /// where absent: 30m, or 10m in the lab. A machine that was warm has 10m less (5m in the lab),
    /// or half of a short time, because it does not pass through firmware; it is then written anew,
    /// the full way. Counts for boots that begin from now on.
    #[arg(long, value_name = "TIME", value_parser = first_boot)]
    first_boot: Option<u64>,
    /// How long before its end a lease's tenant is warned, as 24h; may be repeated. Short terms are
    /// warned of in proportion.
    #[arg(long, value_name = "TIME", value_parser = human::parse_length, default_values = ["24h", "1h"])]
    warn: Vec<u64>,
    /// Hold a machine from tenants where a lease left another firmware version; else it is offered
    /// with its health degraded. `billet machine accept-firmware` takes it for wanted.
    #[arg(long)]
    hold_on_firmware_change: bool,
    /// Private addresses that images may be fetched from all the same, as 10.1.0.0/16; may be
    /// repeated.
    #[arg(long, value_name = "RANGE")]
    fetch_allow: Vec<AddressRange>,
    /// Private addresses that projects' webhooks may name all the same, as 10.1.0.0/16; may be
    /// repeated. The operator's own webhooks may name any.
    #[arg(long, value_name = "RANGE")]
    webhook_allow: Vec<AddressRange>,
    /// Let webhooks be sent to by http, unencrypted, beyond the loopback.
    #[arg(long)]
    webhook_http: bool,
    /// Disable a webhook that took nothing for so long.
    #[arg(long, value_name = "TIME", value_parser = human::parse_length, default_value = "3d")]
    webhook_give_up: u64,
    /// Largest image taken in, as fetched or uploaded.
    #[arg(long, value_name = "SIZE", default_value = "64GiB", value_parser = human::parse_bytes)]
    image_limit: u64,
    /// Largest disk that an image may unfold to.
    #[arg(long, value_name = "SIZE", default_value = "256GiB", value_parser = human::parse_bytes)]
    disk_limit: u64,
    /// Whether to keep the serial console of every machine that is on or leased connected, where
    /// its BMC has one by SSH, and to record it.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    console: Switch,
    /// How long recordings of consoles are kept.
    #[arg(long, value_name = "TIME", default_value = "31d", value_parser = human::parse_length)]
    console_keep: u64,
    /// Most that is kept of one machine's console, compressed; the oldest goes first.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = human::parse_bytes)]
    console_limit: u64,
    /// How long the record of the API's calls is kept (`billet audit calls`).
    #[arg(long, value_name = "TIME", default_value = "31d", value_parser = human::parse_length)]
    calls_keep: u64,
    /// Serve instance metadata here, over plain HTTP, to leased machines by their addresses. Route
    /// 169.254.169.254 port 80 of the machines' networks to it, without changing who the packets
    /// come from; see docs/metadata.md. Nothing private is told.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metadata: Option<SocketAddr>,
    /// How many streams of events and consoles one caller may have open at once.
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    streams_per_caller: usize,
    /// Write the first operator's token to this file, readable to you alone, and do not print it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// How patient to be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Pace {
    /// For real servers: BMCs are slow, and may carry a command out minutes later.
    Real,
    /// For machines of a lab, which boot in half a minute.
    Lab,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What is printed when the server is up.
#[derive(Serialize)]
struct Up {
    server: String,
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

/// A time that an image's first boot can take.
fn first_boot(text: &str) -> Result<u64, String> {
    let seconds = human::parse_length(text)?;
    let wrong = || format!("{text:?} is no time for a first boot: give 10s to 30d");
    let fits = (10..=30 * 86_400).contains(&seconds);
    fits.then_some(seconds).ok_or_else(wrong)
}

impl Serve {
    /// Serves until stopped.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let mut stopping = stop_signal()?;
        let keys = self.keys.clone().unwrap_or_else(|| beside(&self.data));
        for directory in [&self.data, &keys] {
            make_directory(directory)?;
        }
        let listen = free_port(self.listen)?;
        let urls = self.urls(listen)?;
        let authority =
            Authority::open(&keys, &self.data).map_err(|error| Failure::failed(chain(&error)))?;
        let settings = Settings {
            data: self.data.clone(),
            keys,
            database: self.database.clone(),
            servers: urls.servers,
            media_base: urls.media,
            ramdisk: self.ramdisk.clone(),
            stub: self.uefi_stub.clone(),
            ipxe: self.ipxe(),
            authority: authority.pem().to_owned(),
            policy: self.policy(),
        };
        if settings.ramdisk.is_none() {
            app.output.note(
                "There is no --ramdisk: machines can be enrolled, and not taken over or leased.",
            );
        }
        let _lock = lock(&self.data)?;
        let control = Control::open(settings)
            .await
            .map_err(|error| Failure::failed(chain(&error)))?;
        let options = ServeOptions {
            listen,
            names: urls.names,
            fetch_allow: self.fetch_allow.clone(),
            webhook_allow: self.webhook_allow.clone(),
            webhook_http: self.webhook_http,
            webhook_give_up: jiff::SignedDuration::from_secs(
                i64::try_from(self.webhook_give_up).unwrap_or(i64::MAX),
            ),
            image_bytes: self.image_limit,
            disk_bytes: self.disk_limit,
            calls_keep: jiff::SignedDuration::from_secs(
                i64::try_from(self.calls_keep).unwrap_or(i64::MAX),
            ),
            metadata: self.metadata,
            streams: self.streams_per_caller,
        };
        let mut server = billet_api::serve(control.clone(), options)
            .await
            .map_err(|error| Failure::failed(chain(&error)))?;

        let (stop, mut stopped) = watch::channel(false);
        let work = tokio::spawn(control.clone().run(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }));
        let consoles = (self.console == Switch::On).then(|| {
            let mut stopped = stop.subscribe();
            let options = ConsoleOptions {
                limits: billet_console::Limits {
                    keep: jiff::SignedDuration::from_secs(
                        i64::try_from(self.console_keep).unwrap_or(i64::MAX),
                    ),
                    bytes: self.console_limit,
                },
            };
            tokio::spawn(control.clone().keep_consoles(options, async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            }))
        });
        let token = billet_api::bootstrap(&control)
            .await
            .map_err(|error| Failure::failed(chain(&error)))?;
        let up = self.tell(server.authority_fingerprint(), &urls.home, token)?;
        app.output.result(&up, told)?;

        let ended = tokio::select! {
            () = stopping.recv() => {
                app.output.note("Stopping: letting go of what is under way.");
                Ok(())
            }
            ended = server.ended() => ended,
        };
        let _ = stop.send(true);
        // A second signal wants it at once; nothing is lost by that.
        let ending = async {
            if ended.is_ok() {
                let _ = server.stop(GRACE).await;
            }
            let _ = work.await;
            if let Some(consoles) = consoles {
                let _ = consoles.await;
            }
        };
        tokio::select! {
            () = ending => {}
            () = stopping.recv() => say("stopped without waiting"),
        }
        ended.map_err(|error| Failure::failed(chain(&error)))
    }

    /// How patient to be, and what of.
    fn policy(&self) -> Policy {
        let seconds = |s: &u64| i64::try_from(*s).ok().map(jiff::SignedDuration::from_secs);
        let pace = match self.pace {
            Pace::Real => Policy::default(),
            Pace::Lab => Policy::lab(),
        };
        let pace = match self.first_boot.as_ref().and_then(seconds) {
            Some(limit) => pace.with_first_boot(limit),
            None => pace,
        };
        Policy {
            warn: self.warn.iter().filter_map(seconds).collect(),
            hold_on_firmware_change: self.hold_on_firmware_change,
            ..pace
        }
    }

    /// iPXE, where it was named or lies beside the ramdisk.
    fn ipxe(&self) -> Option<PathBuf> {
        let beside = self.ramdisk.as_ref().map(|r| r.with_file_name("ipxe.efi"));
        self.ipxe
            .clone()
            .or_else(|| beside.filter(|file| file.is_file()))
    }

    fn tell(&self, fingerprint: &str, home: &str, token: Option<Secret>) -> Result<Up, Failure> {
        let mut up = Up {
            server: home.to_owned(),
            fingerprint: fingerprint.to_owned(),
            token: None,
            token_file: None,
        };
        let Some(token) = token else { return Ok(up) };
        if let Some(path) = &self.token_file {
            match write_secret(path, &token) {
                Ok(()) => {
                    up.token_file = Some(path.clone());
                    return Ok(up);
                }
                // Lost here, it would be lost for good.
                Err(error) => say(&format!("warning: writing {}: {error}", path.display())),
            }
        }
        up.token = Some(token.expose().to_owned());
        Ok(up)
    }

    fn urls(&self, listen: SocketAddr) -> Result<Urls, Failure> {
        let port = listen.port();
        let base = |host: &str| {
            let host = match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(address)) => format!("[{address}]"),
                _ => host.to_owned(),
            };
            format!("https://{host}:{port}")
        };
        let ip = listen.ip();
        let name = self.name.first();
        let home = match name {
            _ if !ip.is_unspecified() => base(&ip.to_string()),
            Some(name) => base(name),
            None => base("127.0.0.1"),
        };
        let servers = match (self.server_url.as_slice(), name) {
            ([], Some(name)) => vec![base(name)],
            ([], None) => vec![home.clone()],
            (given, _) => given.to_vec(),
        };
        let media = self.media_url.clone().unwrap_or_else(|| servers[0].clone());
        let mut names = self.name.clone();
        if !listen.ip().is_unspecified() {
            names.push(listen.ip().to_string());
        }
        let trim = |url: &str| url.trim_end_matches('/').to_owned();
        for url in servers.iter().chain([&media]) {
            let parsed = Server::parse_url(url).map_err(Failure::usage)?;
            let host = parsed.host_str().unwrap_or_default();
            names.push(host.trim_matches(['[', ']']).to_owned());
        }
        names.sort();
        names.dedup();
        Ok(Urls {
            servers: servers.iter().map(|url| trim(url)).collect(),
            media: trim(&media),
            home,
            names,
        })
    }
}

struct Urls {
    servers: Vec<String>,
    media: String,
    home: String,
    names: Vec<String>,
}

fn told(up: &Up) -> String {
    let sign_in = format!(
        "billet login {} --fingerprint {}",
        up.server, up.fingerprint
    );
    let file = up
        .token_file
        .as_ref()
        .map(|path| path.display().to_string());
    card([
        ("serving at", up.server.clone()),
        ("fingerprint", up.fingerprint.clone()),
        (
            "first token",
            up.token
                .as_ref()
                .map(|token| format!("{token}\nshown this once: keep it"))
                .or(file.map(|file| format!("in {file}")))
                .unwrap_or_default(),
        ),
        ("sign in", sign_in),
    ])
}

/// `DIR.keys`, beside `DIR`.
fn beside(data: &Path) -> PathBuf {
    let mut keys = data.components().as_path().as_os_str().to_owned();
    keys.push(".keys");
    PathBuf::from(keys)
}

fn make_directory(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::file("making the directory", path, &error))
}

fn write_secret(path: &Path, secret: &Secret) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", secret.expose())?;
    file.sync_all()
}

/// The address with a port of the system's choice where it has none: URLs that machines are given
/// need it before anything listens.
fn free_port(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    std::net::TcpListener::bind(listen)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::failed(format!("listening on {listen}: {error}")))
}

/// SIGINT and SIGTERM.
pub struct StopSignal {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl StopSignal {
    /// Waits for the next one.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Hears SIGINT and SIGTERM from now on.
pub fn stop_signal() -> Result<StopSignal, Failure> {
    let hear = |kind| {
        unix::signal(kind).map_err(|error| Failure::failed(format!("hearing signals: {error}")))
    };
    Ok(StopSignal {
        interrupt: hear(unix::SignalKind::interrupt())?,
        terminate: hear(unix::SignalKind::terminate())?,
    })
}

/// One server at a time works on a data directory: two would send the same
/// request to a BMC twice. The lock goes with the process, however it ends.
fn lock(data: &Path) -> Result<std::fs::File, Failure> {
    let path = data.join("lock");
    let failed =
        |error: std::io::Error| Failure::failed(format!("locking {}: {error}", path.display()));
    std::fs::create_dir_all(data).map_err(failed)?;
    let file = std::fs::File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::failed(format!(
            "another server is at work on {}",
            data.display()
        ))
        .hint("stop it first, or use another --data")),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}
