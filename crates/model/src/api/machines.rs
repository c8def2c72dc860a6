//! Machines, for operators.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    LeaseId, MachineId, Name, OperationId, SiteId,
    bmc::{BmcTrouble, FirmwareSettings, PowerAction},
    inventory::{Emulation, Inventory},
    lifecycle::{Health, Hold, Lifecycle, PowerReading, Waiting},
    operation::Operation,
    secret::Secret,
    site::Address,
    upkeep::{StruckDrive, UnerasedDrive},
    warm::{IdlePower, NotWarm, Prepared, Trial},
    work::{DriveRef, TestResult},
};

/// Enroll a machine.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMachine {
    /// Name.
    pub name: Name,
    /// Name of its site.
    pub site: Name,
    /// Rack.
    #[serde(default)]
    pub rack: Option<String>,
    /// Name of its machine type.
    pub machine_type: Name,
    /// Serial number that it should have.
    #[serde(default)]
    pub serial: Option<String>,
    /// Networks it is on, by name, each with the address it should have, or
    /// none for the next free one.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
    pub networks: BTreeMap<Name, Option<std::net::Ipv4Addr>>,
    /// Its BMC.
    pub bmc: NewBmc,
    /// Billet gives its BMC another password when it is taken over, and after
    /// each lease.
    #[serde(default)]
    pub rotate_password: bool,
}

/// A BMC to enroll.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBmc {
    /// `https://address[:port]`.
    pub address: String,
    /// User.
    pub user: String,
    /// Password: encrypted at rest, never shown.
    pub password: Secret,
    /// SHA-256 of its certificate, if known: else the one first seen is pinned.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

/// Correct what is recorded of a machine; what is absent stays as it is. How its BMC
/// is reached is changed by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MachineChange {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Rack; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Name of its site: while no lease holds it and nothing is done on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Name of its machine type: only while it is enrolled, quarantined or in
    /// maintenance, so that it is inspected before it is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_type: Option<Name>,
    /// Serial number that it should have, as its type; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// All networks that it is on, by name, each with its address, or none for the one
    /// that it has there, else the next free one. While no lease holds it and nothing
    /// is done on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Option<String>>>)]
    pub networks: Option<BTreeMap<Name, Option<std::net::Ipv4Addr>>>,
    /// Whether Billet gives its BMC another password when it is taken over, and after
    /// each lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate_password: Option<bool>,
}

/// Change how a BMC is reached; what is absent stays as it is.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BmcChange {
    /// `https://address[:port]`.
    #[serde(default)]
    pub address: Option<String>,
    /// User.
    #[serde(default)]
    pub user: Option<String>,
    /// Password: encrypted at rest, never shown.
    #[serde(default)]
    pub password: Option<Secret>,
    /// SHA-256 of its certificate, if another is to be pinned.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

/// Confirm the take-over of an enrolled machine: it will be powered off, and
/// the drives named here erased.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeOver {
    /// Serial numbers of all of its drives.
    pub drives: Vec<String>,
    /// Give its BMC another password now and after each lease, or do not; as was
    /// said when it was enrolled where absent.
    #[serde(default)]
    pub rotate_password: Option<bool>,
}

/// Give a machine's BMC another password.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotatePassword {
    /// Whether it is rotated after each lease from now on; as it was where absent.
    #[serde(default)]
    pub after_each_lease: Option<bool>,
}

/// Ask for a BMC's password.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BmcPasswordWanted {
    /// One that Billet made, by its number: after a restore from a backup, the
    /// BMC may have one that was made since. The present one where absent.
    #[serde(default)]
    pub number: Option<u32>,
}

/// How to sign in to a BMC. Has a secret in it.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct BmcPasswordShown {
    /// Where it is.
    pub address: String,
    /// The account.
    pub user: String,
    /// Its password; where one is on its way, the one that was known to work last.
    pub password: String,
    /// Others that may work instead: one on its way, or the other form of the
    /// one that was asked for by number.
    pub or: Vec<String>,
    /// Which of those that Billet made was made last; 0 for none.
    pub number: u32,
}

/// Change the list of a machine's drives: one thing at a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrivesChange {
    /// Serial number of a drive that left the machine without an erase.
    #[serde(default)]
    pub strike: Option<String>,
    /// Serial number of a drive that cannot be erased, and is let go all the same:
    /// the next erase is accepted without it, and its certificate says so.
    #[serde(default)]
    pub let_go: Option<String>,
    /// Why, where one is struck or let go: it goes on record and on the certificate.
    #[serde(default)]
    pub reason: Option<String>,
    /// Serial number of a drive that came, and may be erased.
    #[serde(default)]
    pub add: Option<String>,
}

/// Whether and when Billet gives a BMC another password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BmcPasswordState {
    /// After each lease.
    pub after_each_lease: bool,
    /// When it last did.
    pub rotated_at: Option<Timestamp>,
    /// Why the last time changed nothing, where it did not.
    pub failed: Option<String>,
}

/// A reason, for the record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why.
    pub reason: String,
}

/// Change the power.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerChange {
    /// How.
    pub action: PowerAction,
}

/// A machine, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineView {
    /// Id.
    pub id: MachineId,
    /// Name.
    pub name: Name,
    /// Site.
    pub site: Name,
    /// Its id.
    pub site_id: SiteId,
    /// Rack.
    pub rack: Option<String>,
    /// Machine type.
    pub machine_type: Name,
    /// Serial number, as found or as expected.
    pub serial: Option<String>,
    /// Serial number that it should have.
    #[serde(default)]
    pub expected_serial: Option<String>,
    /// Lifecycle.
    pub lifecycle: Lifecycle,
    /// What is being done, in a few words.
    pub doing: String,
    /// Why it waits, until when, and what then.
    pub waiting: Option<Waiting>,
    /// Why it is held.
    pub hold: Option<Hold>,
    /// Power.
    pub power: Option<PowerReading>,
    /// Health.
    pub health: Health,
    /// Whether a drive may hold someone's data.
    pub may_hold_data: bool,
    /// Kept off offers, for this reason.
    pub cordoned: Option<String>,
    /// Restored from a backup and not confirmed.
    pub unconfirmed: bool,
    /// Real silicon, or not.
    pub emulation: Emulation,
    /// BMC address.
    pub bmc_address: String,
    /// Pinned certificate.
    pub bmc_fingerprint: Option<String>,
    /// A trouble with the BMC that goes on.
    pub bmc_trouble: Option<BmcTrouble>,
    /// Addresses.
    pub addresses: Vec<Address>,
    /// Units that leases hold.
    pub units: u32,
    /// The lease that holds it.
    pub lease: Option<LeaseId>,
    /// The operation at work on it.
    pub operation: Option<OperationId>,
    /// The drives that may be erased.
    pub drives: Vec<DriveRef>,
    /// What differs from what was expected.
    pub differences: Vec<String>,
    /// What leases left otherwise than it was and nobody accepted yet: BMC
    /// accounts, BIOS settings, boot order, firmware versions.
    #[serde(default)]
    pub settings_left: Vec<String>,
    /// What is set in its BMC and firmware, as wanted; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<FirmwareSettings>,
    /// Its BMC's password.
    #[serde(default)]
    pub bmc_password: BmcPasswordState,
    /// Drives struck from the list since the last erase.
    #[serde(default)]
    pub struck: Vec<StruckDrive>,
    /// Whether it waits warm, and what is known of it as one that may.
    #[serde(default)]
    pub warm: MachineWarmth,
    /// Drives of which the next erase is accepted whatever comes of it.
    #[serde(default)]
    pub let_go: Vec<UnerasedDrive>,
    /// Drives that were let go without an erase, and are in it still.
    #[serde(default)]
    pub unerased: Vec<UnerasedDrive>,
    /// The last tests.
    pub tests: Vec<TestResult>,
    /// What was found in it; left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// For optimistic concurrency: send it back as `If-Match`.
    pub version: i64,
}

/// A machine as one that waits warm, or may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineWarmth {
    /// Since when it waits warm; `None` where it does not.
    pub since: Option<Timestamp>,
    /// The image that stands on a drive before anybody leased it.
    pub prepared: Option<Prepared>,
    /// Whether kexec works on it.
    pub trial: Option<Trial>,
    /// Why it did not become warm the last time, or did not stay so.
    pub failed: Option<NotWarm>,
    /// What it draws while it waits.
    pub idle: Option<IdlePower>,
}

/// A machine and the operation that works on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineStarted {
    /// The machine.
    pub machine: MachineView,
    /// To follow.
    pub operation: Operation,
}

/// A machine after a request, and the operation that the request began, if it
/// began one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineChanged {
    /// The machine.
    pub machine: MachineView,
    /// To follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}
