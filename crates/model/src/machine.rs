//! A machine: what is known of it, and where the work on it stands.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    LeaseId, MachineId, Name, OperationId, SiteId,
    bmc::{BmcEndpoint, BmcTrouble, FirmwareSettings, PowerAction},
    inventory::{Emulation, Inventory},
    lifecycle::{Health, Hold, Lifecycle, PowerReading, Waiting},
    site::Address,
    step::{EraseRecord, Pending, Step, StepNotes},
    upkeep::Upkeep,
    warm::Warmth,
    work::{DriveRef, Epoch, TestResult},
};

/// A machine, whole: what the control loop reads and writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Id: it never changes.
    pub id: MachineId,
    /// Name, unique.
    pub name: Name,
    /// Site.
    pub site: SiteId,
    /// Rack, if given.
    pub rack: Option<String>,
    /// Name of its machine type.
    pub machine_type: Name,
    /// Serial number that it should have, if given.
    pub expected_serial: Option<String>,
    /// Its BMC.
    pub bmc: BmcEndpoint,
    /// Its addresses, for its life.
    pub addresses: Vec<Address>,
    /// Lifecycle.
    pub lifecycle: Lifecycle,
    /// The step the control loop is at.
    pub step: Step,
    /// How often the step's procedure was begun again.
    pub attempts: u32,
    /// Why it waits, until when, and what then.
    pub waiting: Option<Waiting>,
    /// Why it is held, if it is.
    pub hold: Option<Hold>,
    /// The power, as last read.
    pub power: Option<PowerReading>,
    /// Health.
    pub health: Health,
    /// Whether a drive may hold someone's data: cleared by an accepted erase only.
    pub may_hold_data: bool,
    /// Kept off offers by an operator, for this reason.
    pub cordoned: Option<String>,
    /// Restored from a backup and not yet confirmed: nothing is done to it.
    pub unconfirmed: bool,
    /// Emulated?
    pub emulation: Emulation,
    /// What was found in it; once known, it is never unknown again.
    pub inventory: Option<Inventory>,
    /// What differs from what was expected, in sentences.
    pub differences: Vec<String>,
    /// The drives that the operator named when confirming the take-over, or
    /// that were found when it was first inspected. Only these are erased.
    pub drives: Vec<DriveRef>,
    /// The last tests.
    pub tests: Vec<TestResult>,
    /// Accounts, settings and firmware at the take-over, and at the last reading
    /// while nobody's after that; once known, it is never unknown again.
    pub firmware: Option<FirmwareSettings>,
    /// The lease that holds it, until its erase is accepted.
    pub lease: Option<LeaseId>,
    /// The operation at work on it.
    pub operation: Option<OperationId>,
    /// Grows with each new procedure: tasks of an older one may not write.
    pub epoch: Epoch,
    /// A request to the BMC whose reply is not recorded yet.
    pub pending: Option<Pending>,
    /// Requests sent to the BMC so far.
    pub requests: u64,
    /// Since when the outcome of a change is uncertain: it may come late.
    pub uncertain_since: Option<Timestamp>,
    /// A trouble with the BMC that goes on.
    pub bmc_trouble: Option<BmcTrouble>,
    /// What was tried within the present step.
    pub notes: StepNotes,
    /// The erase now under way.
    pub erase: Option<EraseRecord>,
    /// What is kept from lease to lease.
    #[serde(default)]
    pub upkeep: Upkeep,
    /// What is known of it as one that waits warm.
    #[serde(default)]
    pub warm: Warmth,
    /// A change of power that the tenant or an operator asked for.
    pub power_request: Option<PowerAction>,
    /// When the loop should look again.
    pub wake_at: Timestamp,
    /// When the present step was entered.
    pub step_since: Timestamp,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// Grows with every change: for optimistic concurrency.
    pub version: i64,
}

impl Machine {
    /// Units that leases hold: each GPU, or the processors of a machine without GPUs.
    pub fn units(&self) -> u32 {
        self.inventory.as_ref().map_or(1, Inventory::units)
    }
}
