//! The seam between a BMC and what it controls.
//!
//! A BMC knows one machine as [`Metal`]: something whose power can be switched, into which
//! media can be put, and which says what it is made of. QEMU processes and phantoms both stand
//! behind it, so that whatever drives a lab cannot tell them apart by protocol. The boot order is
//! decided by the BMC at each start and handed in as a [`BootPlan`]; a machine that restarts
//! by itself asks again through [`MetalEvent::Restarted`].

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::console::Console;
use crate::facts::Facts;

/// Whether a machine has main power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Running, whatever it runs.
    On,
    /// Off; its memory is lost.
    Off,
}

impl Power {
    /// Redfish's word for it.
    #[must_use]
    pub fn as_redfish(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::Off => "Off",
        }
    }
}

/// Where a machine looks for an operating system first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootTarget {
    /// The firmware's own order: the first drive, then removable media.
    None,
    /// The virtual CD drive.
    Cd,
    /// The virtual USB stick.
    Usb,
    /// The first drive.
    Hdd,
    /// Network boot by PXE. Recorded and shown; carried out once the lab has a boot network.
    Pxe,
    /// Network boot by UEFI HTTP. Recorded and shown; carried out once the lab has a boot network.
    UefiHttp,
}

impl BootTarget {
    /// All targets a BMC of the lab accepts, in the order in which it lists them.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Cd,
        Self::Usb,
        Self::Hdd,
        Self::Pxe,
        Self::UefiHttp,
    ];

    /// Redfish's word for it.
    #[must_use]
    pub fn as_redfish(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Cd => "Cd",
            Self::Usb => "Usb",
            Self::Hdd => "Hdd",
            Self::Pxe => "Pxe",
            Self::UefiHttp => "UefiHttp",
        }
    }

    /// The target that Redfish calls so, if the lab knows it.
    #[must_use]
    pub fn from_redfish(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_redfish() == word)
    }
}

/// A slot for virtual media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaSlot {
    /// The virtual CD drive.
    Cd,
    /// The virtual USB stick.
    Usb,
}

impl MediaSlot {
    /// Both slots.
    pub const ALL: [Self; 2] = [Self::Cd, Self::Usb];

    /// Its member name in the BMC's virtual media collection.
    #[must_use]
    pub fn as_redfish(self) -> &'static str {
        match self {
            Self::Cd => "Cd",
            Self::Usb => "Usb",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Cd => 0,
            Self::Usb => 1,
        }
    }
}

/// A medium that the BMC fetched, or whose tail it looked at.
#[derive(Debug, Clone)]
pub struct Medium {
    /// The whole image, for machines that read it; `None` where only the tail was fetched.
    pub file: Option<PathBuf>,
    /// The last bytes of the image, at most 64 KiB, where they were fetched alone.
    pub tail: Option<Arc<[u8]>>,
}

/// What a machine is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootPlan {
    /// Where it looks first; the drive follows where this yields nothing.
    pub first: BootTarget,
}

/// How much of a medium's image the BMC must fetch for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaNeed {
    /// All of it, to a file.
    Whole,
    /// The last 64 KiB.
    Tail,
}

/// What a machine did by itself, without the BMC asking for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetalEvent {
    /// It restarts: it has stopped, and waits to be started again.
    Restarted {
        /// Whether it had begun to boot a system. If not, its firmware restarts itself, to carry
        /// out what was asked of it before, and nothing has been booted yet.
        booted: bool,
    },
    /// The system on it powered it off.
    PoweredOff,
    /// It stopped, and nobody asked for that.
    Died(String),
}

/// Why a machine could not do what its BMC asked.
#[derive(Debug, thiserror::Error)]
pub enum MetalError {
    /// A file or process operation of the emulation failed.
    #[error("{doing} {what}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What it was done to.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The emulator refused, with its own words.
    #[error("{doing}: {message}")]
    Emulator {
        /// What was being done.
        doing: &'static str,
        /// What the emulator said.
        message: String,
    },
}

impl MetalError {
    pub(crate) fn io(
        doing: &'static str,
        what: impl std::fmt::Display,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io {
            doing,
            what,
            source,
        }
    }
}

/// A result of asking something of a machine.
pub type MetalResult<'a> = BoxFuture<'a, Result<(), MetalError>>;

/// A machine, as its BMC knows it.
///
/// Calls that change power are never made at the same time: the BMC holds a lock around them.
pub trait Metal: Send + Sync + 'static {
    /// What it is made of.
    fn facts(&self) -> &Facts;
    /// Its power at this moment.
    fn power(&self) -> Power;
    /// Its serial console.
    fn console(&self) -> Arc<Console>;
    /// How much of a medium it needs.
    fn media_need(&self) -> MediaNeed;
    /// Start it; it is off.
    fn power_on(&self, plan: BootPlan) -> MetalResult<'_>;
    /// Cut its power, at once.
    fn force_off(&self) -> MetalResult<'_>;
    /// Press its power button, so that its system shuts down if it wishes.
    fn press_button(&self) -> MetalResult<'_>;
    /// Send it a non-maskable interrupt.
    fn nmi(&self) -> MetalResult<'_>;
    /// Put a medium into a slot, replacing what is there.
    fn attach(&self, slot: MediaSlot, medium: Medium) -> MetalResult<'_>;
    /// Take the medium out of a slot, if there is one.
    fn detach(&self, slot: MediaSlot) -> MetalResult<'_>;
}
