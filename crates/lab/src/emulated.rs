//! Machines that are QEMU processes: real firmware, kernels and drives on emulated silicon.
//!
//! A machine that is off has no process; powering it on starts one, and cutting its power kills
//! that process by its id. QEMU never restarts a guest by itself: it pauses when the guest asks
//! for a restart, the process is ended, and the BMC starts a new one, so that every restart is a
//! power cycle and looks at the boot override anew.

mod accel;
mod command;
mod disk;
mod parts;
mod process;
mod qmp;
mod vars;

pub use accel::Accel;
pub(crate) use accel::find_accel;
pub use command::MediaBus;
pub(crate) use disk::{drive_file, written_bytes};
pub(crate) use parts::{Sizes, parts};

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::console::Console;
use crate::facts::Facts;
use crate::faults::{FaultKind, Faults, Point};
use crate::metal::{
    BootPlan, BootTarget, MediaNeed, MediaSlot, Medium, Metal, MetalError, MetalEvent, MetalResult,
    Power,
};
use process::Running;

/// What an emulated machine is made with.
#[derive(Debug, Clone)]
pub(crate) struct EmulatedSetup {
    pub name: String,
    /// Its own directory, absolute, which exists.
    pub dir: PathBuf,
    /// Where its sockets go: a short path, because socket addresses are short.
    pub sockets: PathBuf,
    pub facts: Facts,
    pub accel: Accel,
    pub media_bus: MediaBus,
    /// Processors in all, at least 2.
    pub cpus: u32,
    pub net: UserNet,
}

/// QEMU's own network, which needs no rights: each machine alone with the host.
#[derive(Debug, Clone)]
pub(crate) struct UserNet {
    /// Subnet, `10.88.0.0` for `10.88.0.0/24`.
    pub subnet: Ipv4Addr,
    /// Under this address the machine reaches the host's loopback.
    pub host: Ipv4Addr,
    /// The machine's own address.
    pub machine: Ipv4Addr,
    /// Where the machine's SSH is reached from the host.
    pub ssh: std::net::SocketAddrV4,
}

/// What other parts of a machine's task share.
struct Shared {
    setup: EmulatedSetup,
    console: Arc<Console>,
    running: Mutex<Option<Running>>,
    events: mpsc::UnboundedSender<(String, MetalEvent)>,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A QEMU machine.
pub(crate) struct Emulated {
    shared: Arc<Shared>,
    media: Mutex<[Option<PathBuf>; 2]>,
    faults: Arc<Faults>,
}

impl Emulated {
    /// A machine that is off. Makes its drives, TPM and firmware variables where they are
    /// missing.
    pub fn new(
        setup: EmulatedSetup,
        faults: Arc<Faults>,
        events: mpsc::UnboundedSender<(String, MetalEvent)>,
    ) -> Result<Self, MetalError> {
        disk::prepare(&setup)?;
        Ok(Self {
            shared: Arc::new(Shared {
                setup,
                console: Arc::new(Console::new()),
                running: Mutex::new(None),
                events,
            }),
            media: Mutex::new([None, None]),
            faults,
        })
    }

    fn media(&self) -> MutexGuard<'_, [Option<PathBuf>; 2]> {
        self.media.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The drives that must fail in this start, from faults that wait for one from media.
    fn failing_drives(&self, plan: BootPlan) -> Vec<String> {
        if !matches!(plan.first, BootTarget::Cd | BootTarget::Usb) {
            return Vec::new();
        }
        let struck = self.faults.strike(
            &self.shared.setup.name,
            &[Point::Erase, Point::Write],
            |kind| matches!(kind, FaultKind::DriveErrors { .. }),
        );
        let Some(FaultKind::DriveErrors { serial }) = struck else {
            return Vec::new();
        };
        let drives = &self.shared.setup.facts.drives;
        drives
            .iter()
            .map(|d| d.serial.clone())
            .filter(|s| serial.as_ref().is_none_or(|wanted| wanted == s))
            .collect()
    }

    /// The drive that is not there in this start.
    fn gone_drive(&self) -> Option<String> {
        let drives = &self.shared.setup.facts.drives;
        // What names a drive that is not this machine's is not spent on it.
        let is_gone = |kind: &FaultKind| match kind {
            FaultKind::DriveGone { serial: None } => true,
            FaultKind::DriveGone { serial: Some(gone) } => drives.iter().any(|d| d.serial == *gone),
            _ => false,
        };
        let name = &self.shared.setup.name;
        let struck = self.faults.strike(name, &[Point::Start], is_gone);
        let Some(FaultKind::DriveGone { serial }) = struck else {
            return None;
        };
        serial.or_else(|| drives.first().map(|drive| drive.serial.clone()))
    }

    async fn start(&self, plan: BootPlan) -> Result<(), MetalError> {
        vars::tidy(&self.shared.setup.dir)?;
        let machine = command::Machine {
            setup: &self.shared.setup,
            plan,
            media: self.media().clone(),
            failing: self.failing_drives(plan),
            gone: self.gone_drive(),
        };
        let arguments = command::arguments(&machine);
        process::start(&self.shared, arguments).await
    }

    async fn stop(&self) -> Result<(), MetalError> {
        let done = {
            let running = self.shared.running();
            let Some(running) = running.as_ref() else {
                return Ok(());
            };
            running.kill()
        };
        process::ended(done).await;
        Ok(())
    }

    async fn ask(
        &self,
        command: &'static str,
        arguments: serde_json::Value,
    ) -> Result<(), MetalError> {
        let qmp = self.shared.running().as_ref().map(Running::qmp);
        match qmp {
            Some(qmp) => qmp.execute(command, arguments).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn put(&self, slot: MediaSlot, medium: Medium) -> Result<(), MetalError> {
        let Some(file) = medium.file else {
            return Err(MetalError::Emulator {
                doing: "inserting a medium",
                message: "its image was not fetched whole".into(),
            });
        };
        self.take(slot).await?;
        self.media()[slot.index()] = Some(file.clone());
        for (command, arguments) in command::insert(slot, &file) {
            self.ask(command, arguments).await?;
        }
        Ok(())
    }

    async fn take(&self, slot: MediaSlot) -> Result<(), MetalError> {
        if self.media()[slot.index()].take().is_none() {
            return Ok(());
        }
        for (command, arguments) in command::eject(slot) {
            self.ask(command, arguments).await?;
        }
        Ok(())
    }
}

impl Metal for Emulated {
    fn facts(&self) -> &Facts {
        &self.shared.setup.facts
    }

    fn power(&self) -> Power {
        if self.shared.running().is_some() {
            Power::On
        } else {
            Power::Off
        }
    }

    fn console(&self) -> Arc<Console> {
        Arc::clone(&self.shared.console)
    }

    fn media_need(&self) -> MediaNeed {
        MediaNeed::Whole
    }

    fn power_on(&self, plan: BootPlan) -> MetalResult<'_> {
        Box::pin(self.start(plan))
    }

    fn force_off(&self) -> MetalResult<'_> {
        Box::pin(self.stop())
    }

    fn press_button(&self) -> MetalResult<'_> {
        Box::pin(self.ask("system_powerdown", serde_json::json!({})))
    }

    fn nmi(&self) -> MetalResult<'_> {
        Box::pin(self.ask("inject-nmi", serde_json::json!({})))
    }

    fn attach(&self, slot: MediaSlot, medium: Medium) -> MetalResult<'_> {
        Box::pin(self.put(slot, medium))
    }

    fn detach(&self, slot: MediaSlot) -> MetalResult<'_> {
        Box::pin(self.take(slot))
    }
}
