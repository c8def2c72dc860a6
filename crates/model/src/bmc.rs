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

/// An account of a BMC. Never its password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BmcAccount {
    /// The BMC's id of it: the last part of its resource's path.
    pub id: String,
    /// User name.
    pub user: String,
    /// Role, where the BMC says.
    pub role: Option<String>,
    /// Whether it may sign in, where the BMC says.
    pub enabled: Option<bool>,
}

/// What is set in a machine's firmware and BMC, as read: accounts, BIOS
/// attributes, Secure Boot, boot order, firmware versions.
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
    /// What the entries of the boot order stand for, where the BMC says.
    #[serde(default)]
    pub boot_options: std::collections::BTreeMap<String, String>,
    /// A boot override that lasts beyond the next boot (`Continuous Pxe`); empty
    /// for none.
    #[serde(default)]
    pub boot_override: String,
    /// Accounts of the BMC; `None` where they were not read.
    #[serde(default)]
    pub accounts: Option<Vec<BmcAccount>>,
    /// What was not read, with the reason: see [`FirmwareSettings::PARTS`].
    #[serde(default)]
    pub not_read: std::collections::BTreeMap<String, String>,
}

impl FirmwareSettings {
    /// The word for BMC accounts, as in [`FirmwareSettings::not_read`].
    pub const ACCOUNTS: &'static str = "BMC accounts";
    /// The word for BIOS settings.
    pub const BIOS: &'static str = "BIOS settings";
    /// The word for firmware versions.
    pub const VERSIONS: &'static str = "firmware versions";
    /// The word for the boot order.
    pub const BOOT_ORDER: &'static str = "boot order";
    /// The word for a boot override that lasts.
    pub const BOOT_OVERRIDE: &'static str = "boot override";
    /// The word for Secure Boot.
    pub const SECURE_BOOT: &'static str = "Secure Boot";
    /// All there are.
    pub const PARTS: [&'static str; 6] = [
        Self::ACCOUNTS,
        Self::BIOS,
        Self::VERSIONS,
        Self::BOOT_ORDER,
        Self::BOOT_OVERRIDE,
        Self::SECURE_BOOT,
    ];
}

/// A setting to put back: each can be asked for again, and is the same then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "restore")]
pub enum Restore {
    /// Delete this account, or disable it where it cannot be deleted.
    RemoveAccount {
        /// The BMC's id of it.
        id: String,
        /// Its user name: another account that has the id by then is left alone.
        user: String,
    },
    /// Give this account its role and flag back.
    PutAccount {
        /// As it was.
        account: BmcAccount,
    },
    /// Write BIOS attributes: they hold from the next boot on.
    Bios {
        /// Values by name, as text.
        attributes: std::collections::BTreeMap<String, String>,
    },
    /// Put the boot order back.
    BootOrder {
        /// As it was.
        order: Vec<String>,
    },
    /// Turn Secure Boot on or off, from the next boot on.
    SecureBoot {
        /// On.
        on: bool,
    },
}

/// Which of two passwords a BMC takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordThatWorks {
    /// The one that was made last.
    Next,
    /// The one from before.
    Current,
    /// Neither.
    Neither,
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
    /// How much does it draw? Only reads.
    ReadWatts,
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
    /// Put something that was set back, and read it back where it shows at once.
    Restore {
        /// What.
        what: Restore,
    },
    /// Give Billet's account its next password, and sign in with it.
    SetPassword,
    /// Sign in with the next password, and where that fails with the current
    /// one: which of them works? Changes nothing.
    TryPassword,
}

impl BmcRequest {
    /// Whether it changes anything: such a request can be carried out late.
    pub fn is_change(&self) -> bool {
        !matches!(
            self,
            Self::Discover
                | Self::ReadPower
                | Self::ReadSettings
                | Self::ReadWatts
                | Self::TryPassword
        )
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
    /// What the machine draws, as the BMC measures it.
    Watts {
        /// In watts; `None` where it measures nothing.
        watts: Option<u32>,
    },
    /// Which password works.
    Password {
        /// Which.
        works: PasswordThatWorks,
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
    /// The password must be changed before anything else is done.
    PasswordChange,
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
