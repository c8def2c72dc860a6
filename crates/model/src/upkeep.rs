//! What a lease may leave behind in a machine beside its drives: what its BMC
//! and firmware are set to, what was put back, and which drives left the building.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    bmc::{BmcAccount, Restore},
    step::PasswordForm,
    work::DriveRef,
};

/// A thing that is set, as it was and as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingChange {
    /// Which kind of thing.
    pub kind: SettingKind,
    /// Which one (`BMC account 3`, `BIOS setting SysProfile`).
    pub what: String,
    /// An account's user name: for operators only, and on no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How it was before.
    pub was: String,
    /// How it was found.
    pub is: String,
    /// What came of putting it back.
    pub came_of_it: Restoration,
}

impl SettingChange {
    /// It in a sentence, without what came of it.
    pub fn sentence(&self) -> String {
        format!("{}: was {}, is {}", self.what, self.was, self.is)
    }

    /// The same for operators, and what came of it.
    pub fn told(&self) -> String {
        let user = self
            .user
            .as_ref()
            .map_or(String::new(), |u| format!(" ({u})"));
        let (was, is) = (&self.was, &self.is);
        format!(
            "{}{user}: was {was}, is {is}; {}",
            self.what,
            self.came_of_it.words()
        )
    }
}

/// Kinds of things that are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// An account of the BMC.
    Account,
    /// A BIOS attribute.
    Bios,
    /// A firmware version.
    Firmware,
    /// The boot order.
    BootOrder,
    /// A boot override that lasts.
    BootOverride,
    /// Secure Boot.
    SecureBoot,
}

/// What came of putting a setting back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "restoration")]
pub enum Restoration {
    /// Not known yet.
    Pending,
    /// It was put back, and read as it was.
    PutBack,
    /// An account that was not there before could not be deleted, and was disabled.
    Disabled,
    /// It is as it was found.
    Left {
        /// Why.
        why: String,
    },
}

impl Restoration {
    /// It in a few words.
    pub fn words(&self) -> String {
        match self {
            Self::Pending => "not looked at again".to_owned(),
            Self::PutBack => "put back".to_owned(),
            Self::Disabled => "disabled, for it could not be deleted".to_owned(),
            Self::Left { why } => format!("left as it is: {why}"),
        }
    }
}

/// Accounts, settings and firmware after a lease, compared with those before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SettingsReport {
    /// What was compared, in words.
    pub compared: Vec<String>,
    /// What was not, with the reason.
    pub not_compared: Vec<String>,
    /// What differed, and what came of putting it back.
    pub changes: Vec<SettingChange>,
}

/// Restoring, while it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restoring {
    /// What was found, and what came of it so far.
    pub report: SettingsReport,
    /// What is still to be asked of the BMC, in this order.
    pub queue: Vec<Restore>,
    /// What the BMC would not do, with its reason.
    pub refused: Vec<(Restore, String)>,
    /// It must be read again, to see that what was asked for took.
    pub look_again: bool,
}

/// A drive that left a machine without an erase, on an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StruckDrive {
    /// Which.
    pub drive: DriveRef,
    /// The operator's reason.
    pub reason: String,
    /// When it was struck from the list.
    pub at: Timestamp,
}

/// A drive that is in a machine and was not erased, and which an operator let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnerasedDrive {
    /// Which.
    pub drive: DriveRef,
    /// The operator's reason.
    pub reason: String,
    /// Who it was, as the audit log names them.
    pub by: String,
    /// When it was said.
    pub at: Timestamp,
    /// Why the erase was not accepted; `None` until that is seen.
    #[serde(default)]
    pub failure: Option<String>,
}

impl UnerasedDrive {
    /// It in a sentence.
    pub fn told(&self) -> String {
        let failure = self.failure.as_deref().unwrap_or("not tried yet");
        format!(
            "drive {} was NOT erased ({failure}) and was let go by {}: {}",
            self.drive.serial, self.by, self.reason
        )
    }
}

/// What is kept of a machine's BMC, firmware and drives from lease to lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upkeep {
    /// What leases left otherwise than it was, firmware versions included, and
    /// no operator accepted yet: sentences. The machine's health is degraded
    /// while there are any.
    pub left: Vec<String>,
    /// Billet rotates the BMC's password, at the take-over and after each lease.
    pub rotate: bool,
    /// Which of the passwords made for this machine was made last; 0 for none.
    pub password_number: u32,
    /// A password of this form was made, may have been sent, and is not the
    /// current one (yet).
    pub next_password: Option<PasswordForm>,
    /// When Billet last rotated it.
    pub rotated_at: Option<Timestamp>,
    /// Why the last rotation changed nothing, where it did not.
    pub rotation_failed: Option<String>,
    /// Drives struck from the list since the last erase.
    pub struck: Vec<StruckDrive>,
    /// Drives of which the next erase is accepted whatever comes of it, on an
    /// operator's word: for that one erase.
    pub let_go: Vec<UnerasedDrive>,
    /// Drives that were let go without an erase, and are in the machine still.
    pub unerased: Vec<UnerasedDrive>,
    /// The most bytes that the ramdisk found each drive to have, by serial number. One that has
    /// fewer hides the rest, and an erase of what is left of it is not one of the drive.
    pub sizes: BTreeMap<String, u64>,
}

impl Upkeep {
    /// Whether this drive was let go without an erase, and is in the machine still.
    pub fn is_unerased(&self, serial: &str) -> bool {
        self.unerased.iter().any(|u| u.drive.serial == serial)
    }

    /// Whether the next erase of this drive is accepted whatever comes of it.
    pub fn lets_go(&self, serial: &str) -> bool {
        self.let_go.iter().any(|u| u.drive.serial == serial)
    }
}

impl BmcAccount {
    /// It in a few words.
    pub fn words(&self) -> String {
        let role = self.role.as_deref().unwrap_or("no role told");
        match self.enabled {
            Some(true) => format!("{role}, enabled"),
            Some(false) => format!("{role}, disabled"),
            None => role.to_owned(),
        }
    }
}
