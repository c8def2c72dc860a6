//! The checkers. They see what really happens, know nothing of how decisions
//! are made, and each keeps what it needs to remember.

mod changes;
mod data;
mod handover;
mod holders;
mod put_back;
mod record;
mod tenants;
mod waits;
mod warm;
mod writes;

use billet_evidence::TrustedKeys;
use billet_model::{
    LeaseId, TaskId, Time,
    bmc::{BmcReply, BmcRequest},
    event::AuditRow,
    evidence::Evidence,
    lease::Lease,
    machine::Machine,
};

use crate::{
    finding::{Finding, Violation},
    metal::Metal,
};

/// On whose word a change is sent to a BMC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Billet's own, or an operator's.
    Billet,
    /// The tenant of this lease asked for this one.
    Tenant(LeaseId),
    /// An operator asked for this one.
    Operator,
}

/// Something that happened, as a checker sees it.
pub(crate) enum Seen<'a> {
    /// A machine's record may have changed.
    Stored {
        before: Option<&'a Machine>,
        machine: &'a Machine,
        lease: Option<&'a Lease>,
        metal: &'a Metal,
        /// The machine's evidence, where its lease or mark was just cleared.
        evidence: &'a [Evidence],
        /// Whether the BMC told the power wrong of late.
        lied: bool,
    },
    /// An operator took the machine over.
    TakenOver,
    /// A request goes out to the BMC.
    Sent { request: &'a BmcRequest, word: Word },
    /// What came of a request was recorded.
    Replied { reply: &'a BmcReply },
    /// The BMC carries a change out.
    Carried {
        request: &'a BmcRequest,
        word: Word,
        lease: Option<&'a Lease>,
        machine: Option<&'a Machine>,
        metal: &'a Metal,
    },
    /// An agent writes to a drive.
    Wrote {
        task: TaskId,
        drives: &'a [String],
        lease: Option<&'a Lease>,
        machine: Option<&'a Machine>,
        metal: &'a Metal,
    },
    /// An agent put an image on a drive for nobody yet.
    Prepared {
        image: &'a str,
        /// Whether every project may see the image.
        everyones: bool,
        lease: Option<&'a Lease>,
    },
    /// An agent started another kernel by kexec.
    Jumped {
        metal: &'a Metal,
        lease: Option<&'a Lease>,
    },
    /// The ramdisk came up.
    Ramdisk { lease: Option<&'a Lease> },
    /// A system came up from the drive.
    System {
        metal: &'a Metal,
        machine: Option<&'a Machine>,
        lease: Option<&'a Lease>,
    },
    /// A tenant's own installer came up from a medium.
    Installer { metal: &'a Metal, lease: LeaseId },
    /// A system phoned home, truly, or its port answered.
    Up { lease: LeaseId },
    /// More of the record, in order.
    Rows { rows: &'a [AuditRow] },
    /// All of the record was shown, and all that is stored.
    Audit,
    /// A look at one machine in the quiet phase, the control plane being up.
    Quiet { machine: &'a Machine },
}

/// Where findings go.
pub(crate) struct Findings<'a> {
    pub now: Time,
    pub machine: Option<usize>,
    pub into: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    pub fn add(&mut self, what: Violation) {
        // One thing gone wrong is seen again and again: a few are enough.
        if self.into.len() < 200 {
            self.into.push(Finding {
                at: self.now,
                machine: self.machine,
                what,
            });
        }
    }
}

/// One checker.
pub(crate) trait Checker {
    /// Looks at something that happened to machine `m`.
    fn see(&mut self, m: usize, seen: &Seen<'_>, findings: &mut Findings<'_>);
}

/// All of them.
pub(crate) fn all(
    machines: usize,
    keys: TrustedKeys,
    policy: &billet_plan::Policy,
) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(holders::OneHolder),
        Box::new(data::NothingHandedOn::new(keys, policy.power_break)),
        Box::new(changes::NoLateChange),
        Box::new(changes::LookBeforeRepeating::new(machines)),
        Box::new(changes::EnrolmentReads::new(machines)),
        Box::new(changes::Media::new(machines)),
        Box::new(writes::NoLateWrite::default()),
        Box::new(handover::Handover::default()),
        Box::new(warm::Warm),
        Box::new(tenants::TenantsOwn::default()),
        Box::new(put_back::PutBack),
        Box::new(record::OnRecord::default()),
        Box::new(waits::NothingWaits),
    ]
}
