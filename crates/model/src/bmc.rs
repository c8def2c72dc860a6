//! What can be asked of a BMC, and what can come of asking.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{inventory::Inventory, lifecycle::Power};

/// Where a BMC is and how it is known. Its password is stored apart, encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BmcEndpoint {
    /// `https://address[:port]`.
    pub address: String,
    /// The account Billet uses.
    pub user: String,
    /// SHA-256 of the certificate's DER, lower-case hex: pinned at enrolment.
    pub fingerprint: Option<String>,
}

/// A change of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Power on.
    On,
    /// Power off at once.
    Off,
    /// Ask the system to shut down.
    Shutdown,
    /// Off, a pause, on.
    Cycle,
    /// A hardware reset without loss of power.
    Reset,
}

impl std::fmt::Display for PowerAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Shutdown => "shutdown",
            Self::Cycle => "cycle",
            Self::Reset => "reset",
        })
    }
}

/// What firmware boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BootTarget {
    /// The virtual CD, for the next boot only.
    CdOnce,
    /// The local drives, from now on.
    Disk,
}

/// Firmware settings as read: BIOS attributes, Secure Boot, boot order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FirmwareSettings {
    /// BIOS attributes by name, values as text.
    pub bios: std::collections::BTreeMap<String, String>,
    /// Whether Secure Boot is on, where the BMC says.
    pub secure_boot: Option<bool>,
    /// The boot order, where the BMC says.
    pub boot_order: Vec<String>,
    /// Firmware versions by component name.
    pub versions: std::collections::BTreeMap<String, String>,
}

/// What is asked of a BMC. Each is one exchange whose end is a [`BmcReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum BmcRequest {
    /// Who are you, and what is in you? Only reads.
    Discover,
    /// Is it on? Only reads.
    ReadPower,
    /// Firmware settings. Only reads.
    ReadSettings,
    /// Change the power.
    Power {
        /// How.
        action: PowerAction,
    },
    /// Put this boot's medium into the virtual drive (ejecting what is there).
    InsertMedia {
        /// Which boot's.
        boot: crate::BootId,
    },
    /// Take out whatever medium is in.
    EjectMedia,
    /// Choose what firmware boots, and read it back.
    SetBoot {
        /// What.
        target: BootTarget,
    },
}

impl BmcRequest {
    /// Whether it changes anything: such a request can be carried out late.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Discover | Self::ReadPower | Self::ReadSettings)
    }
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum BmcReply {
    /// It was done, and that is known.
    Done {
        /// What was learned.
        fact: BmcFact,
    },
    /// It was not done, and that is known.
    Failed {
        /// Which kind of failure.
        kind: BmcFailure,
        /// What exactly, for the operator.
        detail: String,
    },
    /// It may have been done, or may yet be done, minutes from now.
    Uncertain {
        /// Why nothing is known.
        detail: String,
    },
}

/// What a done request taught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum BmcFact {
    /// Nothing but that it was done.
    Done,
    /// It was accepted, and does not show: only trying it can tell.
    Unshown {
        /// What shows instead.
        shows: String,
    },
    /// The power, as read.
    Power {
        /// What it said.
        power: Power,
    },
    /// Firmware settings, as read.
    Settings {
        /// As read.
        settings: FirmwareSettings,
    },
    /// Identity and inventory, as far as the BMC knows them.
    Discovered {
        /// SHA-256 of the certificate shown.
        fingerprint: String,
        /// The parts.
        inventory: Box<Inventory>,
        /// The power.
        power: Power,
    },
}

/// Ways in which a BMC fails for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BmcFailure {
    /// No connection was made.
    Unreachable,
    /// User or password refused.
    Credentials,
    /// Not the pinned certificate.
    Certificate,
    /// It refused or does not know how.
    Refused,
    /// It answered what cannot be understood.
    Malformed,
}

/// What a BMC said, kept with the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BmcTrouble {
    /// Which kind.
    pub kind: BmcFailure,
    /// Its own words.
    pub detail: String,
    /// Since when it goes on without a success between.
    pub since: Timestamp,
}
