//! What can go wrong, and where.

use serde::{Deserialize, Serialize};

use super::catalogue::{CATALOGUE, Row};

/// What kind of request or step a fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Any request to the BMC.
    Any,
    /// A new connection to the BMC, before TLS.
    Connect,
    /// Creating or deleting a session.
    Session,
    /// A change of power.
    Power,
    /// A change of the boot override.
    Boot,
    /// Inserting or ejecting a medium.
    Media,
    /// Any request that only reads.
    Read,
    /// The machine starting.
    Start,
    /// What stands on a drive being booted, by firmware or by kexec.
    System,
    /// The agent erasing a drive.
    Erase,
    /// The agent writing an image.
    Write,
    /// The agent starting a kernel: a tenant's, or the ramdisk's own at its trial.
    Kexec,
    /// The agent doing anything.
    Agent,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The connection is closed before anything is done.
    Refuse,
    /// Everything happens, `ms` later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The request is carried out, and its answer lost: the connection closes.
    Drop,
    /// Nothing is done, and the answer has this status.
    Status {
        /// An HTTP status, 400 to 599.
        code: u16,
    },
    /// Nothing is done, and no answer comes for `ms` milliseconds; then the connection closes.
    Hang {
        /// Milliseconds; ten minutes where absent.
        #[serde(default = "ten_minutes")]
        ms: u64,
    },
    /// The BMC carries the request out `ms` milliseconds later, whatever has happened since.
    Late {
        /// Milliseconds until it is carried out.
        ms: u64,
        /// Whether the caller is told at once that all is well; if not, no answer comes.
        #[serde(default)]
        answered: bool,
    },
    /// The BMC says that the machine's power is so.
    LiePower {
        /// What it says.
        says: Said,
    },
    /// A change is answered 200 with nothing in it, no body and no `Location`, and carried out
    /// `ms` milliseconds later: accepted, with nothing to follow.
    Bare {
        /// Milliseconds until it is carried out.
        #[serde(default)]
        ms: u64,
    },
    /// From the request that it strikes on, everything is answered 503 for `ms` milliseconds.
    Busy {
        /// Milliseconds.
        ms: u64,
    },
    /// The BMC restarts: the connection closes, sessions are forgotten, and nobody is answered
    /// for `ms` milliseconds.
    Restart {
        /// Milliseconds.
        #[serde(default = "two_seconds")]
        ms: u64,
        /// Whether the request was carried out before.
        #[serde(default)]
        done: bool,
    },
    /// The BMC has another certificate from now on.
    NewCertificate,
    /// All session slots are taken; basic authentication works.
    NoSessions,
    /// The account's password must be changed before the BMC does anything else for it. It is
    /// lifted when the password is changed.
    PasswordExpired,
    /// A new password is refused unless it has other characters than letters and digits.
    PasswordPolicy,
    /// Accounts cannot be deleted.
    AccountsStay {
        /// Nor can they be disabled.
        #[serde(default)]
        enabled: bool,
    },
    /// The system's firmware is of this version, from now on.
    OtherFirmware {
        /// The version.
        version: String,
    },
    /// Boot override and media are refused with 400 while the machine is on.
    NeedsOff,
    /// A medium is refused until an eject was asked for, though the slot shows empty.
    EjectFirst,
    /// The boot override is obeyed, and never shown.
    HideBoot,
    /// A property is not there until the BMC is reset, wherever it would be.
    HiddenUntilReset {
        /// Its name: `Attributes`, `VirtualMedia`, `Boot`.
        property: String,
    },
    /// A resource below a service's own is not found until its parent has been read since the
    /// BMC started.
    ParentFirst,
    /// Collections have `null` for their members.
    NullMembers {
        /// Only where the path ends so; everywhere where absent.
        #[serde(default)]
        path: Option<String>,
    },
    /// Resources have an empty `Id`, and collections one more member, with an empty link.
    EmptyIds {
        /// Only where the path ends so; everywhere where absent.
        #[serde(default)]
        path: Option<String>,
    },
    /// Chassis do not say of which type they are.
    NoChassisType,
    /// The boot override is accepted, shown, and not obeyed at the next start.
    ForgetBoot,
    /// A machine told to start stays off, though the BMC answers that all is well.
    NoStart,
    /// An emulated machine's drive is not there from its next start until another one.
    DriveGone {
        /// The drive; the first where absent.
        #[serde(default)]
        serial: Option<String>,
    },
    /// What stands on a phantom's drive does not boot, whatever it is.
    NoSystem,
    /// Drives fail what the agent asks of them. An emulated machine's drives are given this at
    /// its next start from media: all writes and deallocations then end in an error.
    DriveErrors {
        /// The drive; all where absent.
        #[serde(default)]
        serial: Option<String>,
    },
    /// The power goes while the agent is at work.
    PowerCut {
        /// Cut when so many bytes were written to the drives since the machine started.
        #[serde(default)]
        after_bytes: u64,
    },
    /// A phantom's agent cannot load the kernel that it is to start, and says so.
    KexecRefused,
    /// The kernel that a phantom's agent starts does not come up, and nobody says so.
    KexecHangs,
    /// A phantom's agent says nothing any more, until the machine is started again.
    Silence,
}

/// What a BMC may say of the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// On.
    On,
    /// Off.
    Off,
    /// Paused, a word of the standard that few expect.
    Paused,
    /// On its way off.
    PoweringOff,
    /// Nothing: `null`.
    Nothing,
}

impl Said {
    /// Redfish's word for it; `None` where it says nothing.
    #[must_use]
    pub fn as_redfish(self) -> Option<&'static str> {
        match self {
            Self::On => Some("On"),
            Self::Off => Some("Off"),
            Self::Paused => Some("Paused"),
            Self::PoweringOff => Some("PoweringOff"),
            Self::Nothing => None,
        }
    }
}

fn ten_minutes() -> u64 {
    600_000
}

fn two_seconds() -> u64 {
    2000
}

impl FaultKind {
    /// Its name in JSON and in the table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Bare { .. } => "bare",
            Self::Busy { .. } => "busy",
            Self::Restart { .. } => "restart",
            Self::NewCertificate => "new_certificate",
            Self::NoSessions => "no_sessions",
            Self::PasswordExpired => "password_expired",
            Self::PasswordPolicy => "password_policy",
            Self::AccountsStay { .. } => "accounts_stay",
            Self::OtherFirmware { .. } => "other_firmware",
            Self::NeedsOff => "needs_off",
            Self::EjectFirst => "eject_first",
            Self::HideBoot => "hide_boot",
            Self::HiddenUntilReset { .. } => "hidden_until_reset",
            Self::ParentFirst => "parent_first",
            Self::NullMembers { .. } => "null_members",
            Self::EmptyIds { .. } => "empty_ids",
            Self::NoChassisType => "no_chassis_type",
            Self::Delay { .. } => "delay",
            Self::Drop => "drop",
            Self::Status { .. } => "status",
            Self::Hang { .. } => "hang",
            Self::Late { .. } => "late",
            Self::LiePower { .. } => "lie_power",
            Self::ForgetBoot => "forget_boot",
            Self::NoStart => "no_start",
            Self::DriveGone { .. } => "drive_gone",
            Self::NoSystem => "no_system",
            Self::DriveErrors { .. } => "drive_errors",
            Self::PowerCut { .. } => "power_cut",
            Self::KexecRefused => "kexec_refused",
            Self::KexecHangs => "kexec_hangs",
            Self::Silence => "silence",
        }
    }

    /// Whether it takes a request in hand before the BMC itself sees it.
    pub(crate) fn meets_requests(&self) -> bool {
        matches!(
            self,
            Self::Refuse
                | Self::Delay { .. }
                | Self::Drop
                | Self::Status { .. }
                | Self::Hang { .. }
                | Self::Late { .. }
                | Self::Bare { .. }
                | Self::Busy { .. }
                | Self::Restart { .. }
        )
    }

    /// Whether it means nothing where nothing is changed.
    pub(crate) fn needs_change(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::Bare { .. })
    }

    /// Its row in the table, where the table has one.
    #[must_use]
    pub fn row(&self) -> Option<&'static Row> {
        CATALOGUE.iter().find(|row| row.kind == self.name())
    }
}
