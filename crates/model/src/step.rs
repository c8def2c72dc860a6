//! The step a machine is at: what the control loop persists before it acts.
//!
//! Recovery repeats the effect of the step that was saved, and only that. See
//! `billet-plan` for how one step leads to another.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    BootId, LeaseId, MachineId, TaskId,
    bmc::{BmcRequest, PowerAction},
    upkeep::Restoring,
    work::{DriveErase, Epoch, Progress, Task, WorkKind, WorkOutcome},
};

/// What the machine is being brought to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// Nothing is to be done but to look now and then.
    Rest,
    /// Read who it is, through the BMC. Only reads.
    Discover,
    /// Read firmware settings (before a lease, and after).
    ReadSettings {
        /// What comes after.
        then: Goal,
    },
    /// Put back what a lease left otherwise than it was.
    Restore {
        /// What comes after.
        then: Goal,
    },
    /// Give the BMC another password.
    Rotate {
        /// How far.
        at: RotateStep,
        /// Of which form the password is.
        form: PasswordForm,
        /// How often it was sent.
        sent: u32,
        /// What comes after.
        then: AfterRotation,
    },
    /// Look at a tenant's machine through its BMC before it is given back after
    /// an operator's visit. Only reads.
    LookOver,
    /// Bring the ramdisk up for `then`.
    Ramdisk {
        /// How far.
        at: RamdiskStep,
        /// Which boot: its token is good for this one.
        boot: BootId,
        /// The work to do there.
        then: WorkKind,
    },
    /// The agent works.
    Working {
        /// On what.
        task: TaskId,
        /// Which kind.
        kind: WorkKind,
        /// The boot it runs in.
        boot: BootId,
    },
    /// The ramdisk runs for the tenant, until the tenant ends it.
    Rescue {
        /// The boot it runs in: its token is good until then.
        boot: BootId,
    },
    /// Power is off between erase and read-back.
    PowerBreak {
        /// Since when off was seen; `None` before.
        off_since: Option<Timestamp>,
    },
    /// Have the tenant's own installer run, from a medium.
    Install {
        /// How far.
        at: InstallStep,
        /// Which boot: its medium is served for this one.
        boot: BootId,
    },
    /// Bring the tenant's disk up.
    DiskBoot {
        /// How far.
        at: DiskStep,
    },
    /// The tenant's system boots for the first time.
    FirstBoot {
        /// The boot of the ramdisk that starts it by kexec; `None` where firmware
        /// does.
        #[serde(default)]
        by: Option<BootId>,
    },
    /// The machine is tested, the agent idle: it is made ready to wait warm.
    Warming {
        /// How far.
        at: WarmingStep,
        /// The boot it runs in: its token is good.
        boot: BootId,
    },
    /// The machine waits for a lease with the agent running.
    Warm {
        /// The boot it runs in: its token is good until then.
        boot: BootId,
    },
    /// All is done: off, settled, then free.
    Shelve {
        /// How far.
        at: ShelveStep,
    },
    /// The power is being changed on request.
    ChangePower {
        /// How.
        action: PowerAction,
    },
}

impl Step {
    /// The boot of the ramdisk that it names, if it names one. Its token is good
    /// while it does, but for the way to it ([`Step::Ramdisk`] before power is on)
    /// and the way from it ([`Step::FirstBoot`]).
    pub fn boot(&self) -> Option<BootId> {
        match self {
            Self::Ramdisk { boot, .. }
            | Self::Working { boot, .. }
            | Self::Rescue { boot }
            | Self::Warming { boot, .. }
            | Self::Warm { boot }
            | Self::ReadSettings {
                then: Goal::DeployWarm { boot },
            } => Some(*boot),
            _ => None,
        }
    }
}

/// Where a machine goes after its settings were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Write an image for a lease.
    Deploy,
    /// The same, in the ramdisk that waits.
    DeployWarm {
        /// The boot it runs in: its token is good.
        boot: BootId,
    },
    /// Erase.
    Erase,
    /// Take what is set for wanted, and inspect: at the take-over.
    Baseline,
    /// Inspect a machine that was held.
    Inspect,
    /// Read the erase back: what was put back is looked at again.
    Verify,
    /// Take it as it is from now on, at an operator's wish.
    Accept,
}

/// On the way to another password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotateStep {
    /// The next one is made, kept, and then sent.
    Send,
    /// What came of it is not known: which of the two works?
    Look,
}

/// Forms of a password: one BMC refuses what another one wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordForm {
    /// Letters and digits.
    Plain,
    /// With other characters among them.
    Marked,
}

/// What comes after a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "then")]
pub enum AfterRotation {
    /// Rest.
    Rest,
    /// Read who it is.
    Discover,
    /// Read what is set.
    Settings {
        /// And then.
        goal: Goal,
    },
    /// Bring the ramdisk up.
    Ramdisk {
        /// For this.
        work: WorkKind,
    },
}

/// On the way to the ramdisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RamdiskStep {
    /// Power off, and see it off.
    Off,
    /// Insert the medium, while off.
    Insert,
    /// Boot from it, once.
    SetBoot,
    /// Power on, and see it on.
    On,
    /// Wait for the agent.
    AwaitAgent,
}

/// On the way through the tenant's own installer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstallStep {
    /// Power off, and see it off.
    Off,
    /// Insert the medium, while off.
    Insert,
    /// Boot from it, once.
    SetBoot,
    /// Let a change that may come late come, and see that it is still off.
    Settle,
    /// Power on, and see it on.
    On,
    /// The installer runs, until it or its tenant says that it is done, or its
    /// time is over.
    Run,
    /// Take the medium out, whatever the power.
    Eject,
    /// Boot from the drives from now on.
    SetDisk,
    /// Let a change that may come late come, and hand over.
    HandOver,
}

/// On the way to the tenant's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskStep {
    /// Power off, and see it off.
    Off,
    /// Take the medium out.
    Eject,
    /// Boot from the drives.
    SetBoot,
    /// Let a change that may come late come, and see that it is still off.
    Settle,
    /// Power on, and see it on.
    On,
}

/// On the way to the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShelveStep {
    /// Power off, and see it off.
    Off,
    /// Take the medium out.
    Eject,
    /// Let a change that may come late come, and see that it is still off.
    Settle,
}

/// On the way to wait warm. Power stays on all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarmingStep {
    /// Let a change that may come late come.
    Settle,
    /// Take the medium out.
    Eject,
    /// Boot from the drives.
    SetBoot,
    /// Let changes come again, and see that it is still on.
    Look,
}

/// A request to a BMC that was persisted before it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Grows by one with each request to this machine's BMC.
    pub number: u64,
    /// What.
    pub request: BmcRequest,
    /// When it was persisted.
    pub since: Timestamp,
}

/// What a machine carries through an erase, until the certificate is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EraseRecord {
    /// What the erase did to each drive.
    pub drives: Vec<DriveErase>,
    /// When power was seen off after it.
    pub off_from: Option<Timestamp>,
    /// When power was turned on again.
    pub off_until: Option<Timestamp>,
    /// Firmware settings that are not as they were before the lease.
    pub firmware_changes: Option<Vec<String>>,
    /// Settings compared with those before, and put back.
    pub restoring: Option<Restoring>,
    /// Whose data it was.
    pub lease: Option<LeaseId>,
    /// When it began.
    pub began: Option<Timestamp>,
}

/// What was tried within the present step: begun anew with each step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepNotes {
    /// When the step's change was last asked for.
    pub asked_at: Option<Timestamp>,
    /// How often it was asked for.
    pub asked: u32,
    /// Failures in a row, for the backoff.
    pub failures: u32,
    /// Why it last failed.
    pub last_failure: Option<String>,
}

/// What a boot is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootOf {
    /// Billet's ramdisk.
    #[default]
    Ramdisk,
    /// A tenant's own installer.
    Installer,
}

/// One boot from a medium, as the agent's calls left it. Whether its token is
/// good is not written here: it is while the machine's step names this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Id: the token is derived from it.
    pub id: BootId,
    /// The machine.
    pub machine: MachineId,
    /// What boots.
    #[serde(default)]
    pub of: BootOf,
    /// The machine's epoch when it was made.
    pub epoch: Epoch,
    /// When it was made.
    pub created_at: Timestamp,
    /// The kernel's own boot id, once the agent said hello.
    pub kernel_boot_id: Option<String>,
    /// When the agent said hello.
    pub hello_at: Option<Timestamp>,
    /// When the agent was last heard.
    pub seen_at: Option<Timestamp>,
    /// Digest of the ramdisk that it is of; `None` in boots of before this was kept.
    #[serde(default)]
    pub ramdisk: Option<String>,
}

/// A task, as kept: without the secrets that are added when it is handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The task.
    pub task: Task,
    /// The machine.
    pub machine: MachineId,
    /// The boot that may have it.
    pub boot: BootId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was first handed out.
    pub taken_at: Option<Timestamp>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// When it last went forward.
    pub progress_at: Option<Timestamp>,
    /// What came of it.
    pub outcome: Option<WorkOutcome>,
    /// Grows with every change: for optimistic concurrency. Those of before it was
    /// kept are at the first.
    #[serde(default = "first")]
    pub version: i64,
}

fn first() -> i64 {
    1
}
