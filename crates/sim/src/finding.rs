//! What a checker found: typed, so that a test can tell one from another.

use billet_model::{LeaseId, MachineId, TaskId, Time, lease::LeaseState, lifecycle::Lifecycle};

/// A finding: something that must never be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// When it was seen.
    pub at: Time,
    /// On which machine, by its number.
    pub machine: Option<usize>,
    /// What.
    pub what: Violation,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(machine) = self.machine {
            write!(f, "m{machine:03} ")?;
        }
        write!(f, "at {}: {}", self.at, self.what)
    }
}

/// What must never be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// One holder: the holds of a machine are not those of its lease.
    #[error("one holder: {0}")]
    Holder(String),
    /// Nothing handed on: someone's data are where they must not be.
    #[error("nothing handed on: {0}")]
    HandedOn(String),
    /// Nothing handed on: the machine says that it holds no data, and it does.
    #[error("nothing handed on: may_hold_data is false, and {0}")]
    Unmarked(String),
    /// Nothing handed on: the proof is missing or says what was not so.
    #[error("nothing handed on: certificate: {0}")]
    Certificate(String),
    /// A change of Billet's own reached a machine with an active lease.
    #[error("late: {request} reached the BMC while lease {lease} was active")]
    Late {
        /// What.
        request: String,
        /// Whose machine it was.
        lease: LeaseId,
    },
    /// Something of Billet's runs on a machine with an active lease.
    #[error("absent: the ramdisk runs while lease {0} is active")]
    Present(LeaseId),
    /// An agent wrote to a drive while a lease was active.
    #[error("late task: {task} wrote while lease {lease} was active")]
    WroteInLease {
        /// Which task.
        task: TaskId,
        /// Whose machine it was.
        lease: LeaseId,
    },
    /// An agent wrote for a task that had long not been the current one.
    #[error("late task: {task} wrote though it was not current any more")]
    WroteStale {
        /// Which task.
        task: TaskId,
    },
    /// A change of power was sent again without a reading between.
    #[error("power {0} was sent again without a reading between")]
    Repeated(String),
    /// A wait without reason, deadline or next action.
    #[error("waits: {lifecycle} {step}: {why}")]
    Waits {
        /// The machine's lifecycle.
        lifecycle: Lifecycle,
        /// Its step.
        step: String,
        /// What is missing.
        why: String,
    },
    /// The record does not give what is stored.
    #[error("on record: {0}")]
    Record(String),
    /// A machine did not come to a good state, or a typed hold.
    #[error("converge: {0}")]
    Stuck(String),
    /// A lease hangs.
    #[error("converge: lease {lease} stays {state}")]
    LeaseHangs {
        /// Which.
        lease: LeaseId,
        /// At what.
        state: LeaseState,
    },
    /// An operation runs for ever.
    #[error("converge: operation {0} runs for ever")]
    OperationHangs(String),
    /// A password was sent that is not kept.
    #[error("never locked out: a password was sent that is not kept")]
    Unkept,
    /// Neither password that is kept is the BMC's.
    #[error("never locked out: the BMC takes neither password that is kept")]
    LockedOut,
    /// What a lease left is not what the certificate says.
    #[error("put back: {0}")]
    NotPutBack(String),
    /// A machine that was only enrolled was changed.
    #[error("enrolment only reads: {0} was sent before the take-over")]
    Touched(String),
    /// A medium was put in while power was not known to be off.
    #[error("media: inserted while power was not read as off")]
    InsertedOn,
    /// A tenant's system booted with a medium in.
    #[error("media: lease {0}'s system booted with a medium in")]
    NotEjected(LeaseId),
    /// A lease is active without its system being there.
    #[error("handover: {0}")]
    NotUp(String),
    /// A machine that waits warm, or was started by kexec, is not as it must be.
    #[error("warm: {0}")]
    Warm(String),
    /// A drive of a tenant's was written that the tenant did not name.
    #[error("the tenant's own: drive {drive} of lease {lease} was written")]
    TenantsDrive {
        /// Which drive.
        drive: String,
        /// Whose.
        lease: LeaseId,
    },
    /// A system starts without the arrays that its lease has.
    #[error("layout: {0}")]
    NotLaidOut(String),
    /// A lease that was handed over failed, and its machine is erased.
    #[error("the tenant's own: lease {0} was handed over, and failed")]
    TakenBack(LeaseId),
    /// What a former installation said was taken for the present one's word.
    #[error("the tenant's own: a former boot of lease {0} was believed")]
    FormerBoot(LeaseId),
    /// A tenant's installer was powered off under it.
    #[error("the tenant's own: the installer of lease {0} was powered off")]
    CutOff(LeaseId),
    /// The loop takes step after step without a pause.
    #[error("spins: more than {0} steps without a pause")]
    Spins(u32),
    /// The store or the core failed where nothing was wrong with it.
    #[error("failed: machine {machine:?}: {why}")]
    Failed {
        /// Which machine's step.
        machine: Option<MachineId>,
        /// How.
        why: String,
    },
}

impl Violation {
    /// Its checker's word.
    pub fn check(&self) -> &'static str {
        match self {
            Self::Holder(_) => "one holder",
            Self::HandedOn(_) | Self::Unmarked(_) | Self::Certificate(_) => "nothing handed on",
            Self::Late { .. } | Self::Present(_) => "no late change",
            Self::WroteInLease { .. } | Self::WroteStale { .. } => "no late write",
            Self::Repeated(_) => "look before repeating",
            Self::Waits { .. } | Self::Spins(_) => "nothing waits for ever",
            Self::Record(_) => "on record",
            Self::Stuck(_) | Self::LeaseHangs { .. } | Self::OperationHangs(_) => "converges",
            Self::Touched(_) => "enrolment only reads",
            Self::InsertedOn | Self::NotEjected(_) => "media",
            Self::NotUp(_) | Self::NotLaidOut(_) => "handover",
            Self::Warm(_) => "warm",
            Self::Unkept | Self::LockedOut => "never locked out",
            Self::NotPutBack(_) => "put back",
            Self::TenantsDrive { .. }
            | Self::TakenBack(_)
            | Self::FormerBoot(_)
            | Self::CutOff(_) => "the tenant's own",
            Self::Failed { .. } => "no failure of its own",
        }
    }
}
