//! Where a machine is in its life, and the fields that stand beside it.
//!
//! `lifecycle`, `power` and `health` are separate: a machine can be `available`
//! and off, or `active` and degraded.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a machine is in its life. See ARCHITECTURE.md for the drawing.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Known, and only read from; not yet Billet's to change.
    Enrolled,
    /// Its parts are being listed from the ramdisk.
    Inspecting,
    /// Its parts are being tested from the ramdisk.
    Testing,
    /// Erased, tested, and free for a lease.
    Available,
    /// Being written for a lease.
    Deploying,
    /// Held whole by a dedicated lease.
    Active,
    /// Under Billet's own OS, its units leased one by one.
    Managed,
    /// Being erased.
    Erasing,
    /// Something failed; held from tenants until an operator acts.
    Quarantined,
    /// Taken out by an operator.
    Maintenance,
    /// Gone for good; its record stays.
    Retired,
}

impl Lifecycle {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 11] = [
        Self::Enrolled,
        Self::Inspecting,
        Self::Testing,
        Self::Available,
        Self::Deploying,
        Self::Active,
        Self::Managed,
        Self::Erasing,
        Self::Quarantined,
        Self::Maintenance,
        Self::Retired,
    ];

    /// The word for it, as in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Inspecting => "inspecting",
            Self::Testing => "testing",
            Self::Available => "available",
            Self::Deploying => "deploying",
            Self::Active => "active",
            Self::Managed => "managed",
            Self::Erasing => "erasing",
            Self::Quarantined => "quarantined",
            Self::Maintenance => "maintenance",
            Self::Retired => "retired",
        }
    }

    /// Whether every way from here to an offer goes through an inspection.
    pub fn is_set_aside(self) -> bool {
        matches!(self, Self::Enrolled | Self::Quarantined | Self::Maintenance)
    }

    /// Whether Billet is at work on the machine by itself.
    pub fn is_working(self) -> bool {
        matches!(
            self,
            Self::Inspecting | Self::Testing | Self::Deploying | Self::Erasing
        )
    }
}

impl std::fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Lifecycle {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|l| l.as_str() == s)
            .ok_or_else(|| format!("{s:?} is not a lifecycle state"))
    }
}

/// Whether a machine's main power is on, as its BMC last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// On.
    On,
    /// Off.
    Off,
    /// On its way from one to the other.
    Changing,
    /// Never read, or not readable.
    Unknown,
}

impl std::fmt::Display for Power {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Changing => "changing",
            Self::Unknown => "unknown",
        })
    }
}

/// What a BMC last said of its machine's power, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PowerReading {
    /// What it said.
    pub power: Power,
    /// When it said so.
    pub at: Timestamp,
}

/// Whether the machine's parts are well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing is known to be wrong.
    Ok,
    /// Something is wrong that does not stop it.
    Degraded,
    /// Something is wrong that does.
    Failed,
    /// Not looked at yet.
    Unknown,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// Why something waits, until when, and what happens then. Every state that
/// waits or failed carries one: nothing waits for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Waiting {
    /// Why, in a sentence.
    pub reason: String,
    /// When the wait ends by itself. For a hold this is when it is brought up again.
    pub deadline: Timestamp,
    /// What is done at the deadline, or what the operator can do now.
    pub next_action: String,
}

/// Why a machine is held from tenants: typed, so that people can count and
/// programs can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldKind {
    /// The BMC could not be reached or refused for too long.
    BmcUnreachable,
    /// The BMC refused the user or password.
    BmcCredentials,
    /// The BMC showed another certificate than the pinned one.
    BmcCertificate,
    /// The machine did not reach the ramdisk after several tries.
    BootFailed,
    /// A drive could not be erased, is missing, changed, locked or failed.
    EraseFailed,
    /// A drive was found that the operator did not name when confirming the take-over.
    UnconfirmedDrive,
    /// The hardware found is not the hardware expected.
    WrongHardware,
    /// A test failed.
    TestFailed,
    /// The agent failed at a task, again and again.
    AgentFailed,
    /// The database was restored from a backup: held until observed and confirmed.
    Restored,
    /// An account of the BMC that a lease left could be neither deleted nor disabled.
    BmcAccounts,
    /// Firmware is not as it was before the lease.
    FirmwareChanged,
    /// An operator did it.
    Operator,
}

/// A hold: what went wrong, since when, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hold {
    /// Which kind.
    pub kind: HoldKind,
    /// What exactly, in a sentence.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
}
