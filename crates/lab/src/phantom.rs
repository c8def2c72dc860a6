//! Machines that only pretend, in milliseconds and by the thousand.
//!
//! A phantom that is off is a few kilobytes; one that is on is one task: firmware, then the agent
//! of a boot medium, or the tenant's system on its first drive. It keeps to what a real machine
//! would do: with nothing to boot from it sits there, and when its power goes, its task ends
//! wherever it is.

mod agent;
mod catalog;
mod installer;
mod inventory;
mod tenant;
mod work;

pub use catalog::Model;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use billet_protocol::{boot::BootRecord, install::InstallRecord};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::facts::{Facts, Maker};
use crate::faults::{FaultKind, Faults, Point};
use crate::metal::{
    BootPlan, BootTarget, MediaNeed, MediaSlot, Medium, Metal, MetalEvent, MetalResult, Power,
};

/// What a phantom's parts share.
pub(crate) struct Shared {
    pub name: String,
    pub facts: Facts,
    pub maker: Maker,
    pub console: Arc<Console>,
    pub faults: Arc<Faults>,
    pub clients: Arc<Clients>,
    /// How long a boot, and each piece of work, takes.
    pub pace: Duration,
    /// An address that machines know the host's loopback by, which a phantom is on itself.
    pub host_alias: std::net::Ipv4Addr,
    events: mpsc::UnboundedSender<(String, MetalEvent)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// There while it is on; cancelling it cuts the power.
    on: Option<CancellationToken>,
    boots: u64,
    media: [Option<Medium>; 2],
    drives: HashMap<String, Contents>,
    installed: Option<tenant::Installed>,
    prepared: Option<Prepared>,
}

/// An image that was written for nobody yet.
struct Prepared {
    image: String,
    /// Serial of the drive that it is on.
    drive: String,
    /// In which boot.
    boot: u64,
}

/// What an agent starts by kexec.
pub(crate) enum Jump {
    /// The ramdisk again, with another record.
    Ramdisk(Box<BootRecord>),
    /// A system on a drive.
    System(Box<tenant::Installed>),
    /// Something that does not come up.
    Nowhere,
}

/// What a drive holds, as far as anybody could ask.
#[derive(Default)]
pub(crate) struct Contents {
    /// Canaries planted and not erased: offset and SHA-256.
    pub canaries: Vec<(u64, String)>,
    /// The array that it is marked as one of.
    pub array: Option<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write a line on the serial console.
    pub fn say(&self, line: impl AsRef<str>) {
        self.console
            .wrote(format!("{}\r\n", line.as_ref()).as_bytes());
    }

    /// The machine ends by itself.
    fn end(&self, event: MetalEvent) {
        if let Some(on) = self.state().on.take() {
            on.cancel();
        }
        // The lab may have been stopped meanwhile.
        let _ = self.events.send((self.name.clone(), event));
    }
}

/// HTTP clients, one for each authority: thousands of phantoms trust the same.
#[derive(Default)]
pub(crate) struct Clients {
    by_authority: Mutex<HashMap<String, reqwest::Client>>,
}

impl Clients {
    /// The client that trusts this authority, in PEM, and no other.
    pub fn trusting(&self, authority: &str) -> Result<reqwest::Client, reqwest::Error> {
        let mut known = self
            .by_authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(authority) {
            return Ok(client.clone());
        }
        let certs = reqwest::Certificate::from_pem_bundle(authority.as_bytes())?;
        let client = reqwest::Client::builder()
            .tls_certs_only(certs)
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .build()?;
        known.insert(authority.to_owned(), client.clone());
        Ok(client)
    }

    /// The client of a tenant's system, which cannot know the control plane's authority.
    pub fn careless(&self) -> Result<reqwest::Client, reqwest::Error> {
        let mut known = self
            .by_authority
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get("") {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .build()?;
        known.insert(String::new(), client.clone());
        Ok(client)
    }
}

/// A phantom.
pub(crate) struct Phantom {
    shared: Arc<Shared>,
}

/// What a phantom is made with.
pub(crate) struct PhantomSetup {
    pub name: String,
    pub facts: Facts,
    pub maker: Maker,
    pub faults: Arc<Faults>,
    pub clients: Arc<Clients>,
    pub pace: Duration,
    pub host_alias: std::net::Ipv4Addr,
    pub events: mpsc::UnboundedSender<(String, MetalEvent)>,
}

impl Phantom {
    /// A phantom that is off.
    pub fn new(setup: PhantomSetup) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: setup.name,
                facts: setup.facts,
                maker: setup.maker,
                console: Arc::new(Console::new()),
                faults: setup.faults,
                clients: setup.clients,
                pace: setup.pace,
                host_alias: setup.host_alias,
                events: setup.events,
                state: Mutex::default(),
            }),
        }
    }

    fn start(&self, plan: BootPlan) {
        let power = CancellationToken::new();
        let boot = {
            let mut state = self.shared.state();
            state.boots += 1;
            state.on = Some(power.clone());
            state.boots
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::select! {
                () = power.cancelled() => {}
                () = run(shared, plan, boot) => {}
            }
        });
    }
}

/// What it boots from.
enum Source {
    Agent(Box<BootRecord>),
    Installer(Box<InstallRecord>),
    Drive(Box<tenant::Installed>),
    Nothing,
}

fn source(shared: &Shared, plan: BootPlan) -> Source {
    let state = shared.state();
    let medium = |slot: MediaSlot| {
        let tail = state.media[slot.index()].as_ref()?.tail.as_ref()?;
        let agent = BootRecord::find(tail).map(|r| Source::Agent(Box::new(r)));
        agent.or_else(|| InstallRecord::find(tail).map(|r| Source::Installer(Box::new(r))))
    };
    let drive = || state.installed.clone().map(|i| Source::Drive(Box::new(i)));
    let cd = || medium(MediaSlot::Cd);
    let usb = || medium(MediaSlot::Usb);
    match plan.first {
        BootTarget::Cd => cd().or_else(drive),
        BootTarget::Usb => usb().or_else(drive),
        BootTarget::None => drive().or_else(cd).or_else(usb),
        BootTarget::Hdd | BootTarget::Pxe | BootTarget::UefiHttp => drive(),
    }
    .unwrap_or(Source::Nothing)
}

/// What stands on a drive, booted, by firmware or by kexec.
async fn boot(shared: &Arc<Shared>, installed: &tenant::Installed) {
    let dead = |kind: &FaultKind| *kind == FaultKind::NoSystem;
    let struck = shared.faults.strike(&shared.name, &[Point::System], dead);
    if struck.is_some() {
        shared.say("Kernel panic - not syncing: VFS: Unable to mount root fs");
        return std::future::pending().await;
    }
    tenant::run(shared, installed).await
}

async fn run(shared: Arc<Shared>, plan: BootPlan, boots: u64) {
    shared.say(format!("{} starts", shared.facts.model));
    tokio::time::sleep(shared.pace).await;
    match source(&shared, plan) {
        Source::Agent(record) => {
            shared.say("booting from virtual media");
            let mut record = record;
            loop {
                match agent::run(&shared, &record, boots).await {
                    Some(Jump::Ramdisk(next)) => record = next,
                    Some(Jump::System(installed)) => return boot(&shared, &installed).await,
                    Some(Jump::Nowhere) => return std::future::pending().await,
                    None => return,
                }
            }
        }
        Source::Installer(record) => {
            shared.say("booting from virtual media");
            installer::run(&shared, &record).await;
        }
        Source::Drive(installed) => {
            shared.say("booting from the first drive");
            boot(&shared, &installed).await;
        }
        Source::Nothing => {
            shared.say("no bootable device");
            std::future::pending::<()>().await;
        }
    }
}

impl Metal for Phantom {
    fn facts(&self) -> &Facts {
        &self.shared.facts
    }

    fn power(&self) -> Power {
        if self.shared.state().on.is_some() {
            Power::On
        } else {
            Power::Off
        }
    }

    fn console(&self) -> Arc<Console> {
        Arc::clone(&self.shared.console)
    }

    fn media_need(&self) -> MediaNeed {
        MediaNeed::Tail
    }

    fn power_on(&self, plan: BootPlan) -> MetalResult<'_> {
        self.start(plan);
        Box::pin(std::future::ready(Ok(())))
    }

    fn force_off(&self) -> MetalResult<'_> {
        if let Some(on) = self.shared.state().on.take() {
            on.cancel();
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn press_button(&self) -> MetalResult<'_> {
        let shared = Arc::clone(&self.shared);
        if let Some(power) = shared.state().on.clone() {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                tokio::time::sleep(shared.pace).await;
                // Unless somebody cut its power before it was done.
                if !power.is_cancelled() {
                    shared.say("shutting down");
                    shared.end(MetalEvent::PoweredOff);
                }
            });
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn nmi(&self) -> MetalResult<'_> {
        self.shared.say("NMI received");
        Box::pin(std::future::ready(Ok(())))
    }

    fn attach(&self, slot: MediaSlot, medium: Medium) -> MetalResult<'_> {
        self.shared.state().media[slot.index()] = Some(medium);
        Box::pin(std::future::ready(Ok(())))
    }

    fn detach(&self, slot: MediaSlot) -> MetalResult<'_> {
        self.shared.state().media[slot.index()] = None;
        Box::pin(std::future::ready(Ok(())))
    }
}
