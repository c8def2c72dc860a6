//! What comes of a decision, and the draft in which one is put together.

use billet_model::{
    BootId, EvidenceId, Time,
    bmc::BmcRequest,
    evidence::EraseCertificate,
    lease::{Lease, LeaseState},
    lifecycle::{Hold, HoldKind, Lifecycle, Waiting},
    machine::Machine,
    operation::{Operation, OperationState},
    step::{Boot, BootOf, PasswordForm, Pending, Step, StepNotes, TaskRecord},
    work::{Task, Work},
};
use jiff::{
    SignedDuration,
    fmt::friendly::{Designator, Spacing, SpanPrinter},
};

use crate::Facts;

/// What to save, in one transaction, and then to do.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The machine as it is from now on.
    pub machine: Machine,
    /// The lease, where it changed.
    pub lease: Option<Lease>,
    /// Operations that changed or are new.
    pub operations: Vec<Operation>,
    /// A boot that begins.
    pub boot: Option<Boot>,
    /// A task that is given out.
    pub task: Option<TaskRecord>,
    /// An erase that was accepted: to be signed and kept, and the machine's
    /// units are nobody's from then on.
    pub certificate: Option<(EvidenceId, EraseCertificate)>,
    /// What becomes of the BMC's passwords that are kept.
    pub password: Option<PasswordWrite>,
    /// For the audit log.
    pub audit: Vec<AuditNote>,
    /// What to do once all this is saved.
    pub effect: Option<Effect>,
}

impl Decision {
    /// Whether there is nothing to save but the machine.
    pub fn is_of_machine_only(&self) -> bool {
        self.lease.is_none()
            && self.operations.is_empty()
            && self.boot.is_none()
            && self.task.is_none()
            && self.certificate.is_none()
            && self.password.is_none()
            && self.audit.is_empty()
    }
}

/// What becomes of the BMC's passwords that are kept, encrypted. A password
/// follows from the master key, the machine, the number and the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordWrite {
    /// A next one is kept beside the current one.
    Next {
        /// Which.
        number: u32,
        /// Of which form.
        form: PasswordForm,
    },
    /// The next one is the current one.
    Promote {
        /// Which.
        number: u32,
        /// Of which form.
        form: PasswordForm,
    },
    /// There is no next one.
    Forget,
}

/// A line for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditNote {
    /// What was done.
    pub action: &'static str,
    /// From what, to what, and why.
    pub detail: serde_json::Value,
}

/// What is done after saving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the machine's pending request to its BMC.
    Ask(Pending),
    /// Try the tenant's SSH port.
    Probe,
}

/// A decision being put together.
pub(crate) struct Draft<'a> {
    pub facts: &'a Facts<'a>,
    pub decision: Decision,
}

impl<'a> Draft<'a> {
    pub fn new(facts: &'a Facts<'a>) -> Self {
        Self {
            facts,
            decision: Decision {
                machine: facts.machine.clone(),
                lease: None,
                operations: Vec::new(),
                boot: None,
                task: None,
                certificate: None,
                password: None,
                audit: Vec::new(),
                effect: None,
            },
        }
    }

    pub fn now(&self) -> Time {
        self.facts.now
    }

    pub fn machine(&mut self) -> &mut Machine {
        &mut self.decision.machine
    }

    pub fn m(&self) -> &Machine {
        &self.decision.machine
    }

    /// The lease as it stands in this decision.
    pub fn lease(&self) -> Option<&Lease> {
        self.decision.lease.as_ref().or(self.facts.lease)
    }

    /// Changes the lease.
    pub fn change_lease(&mut self, change: impl FnOnce(&mut Lease)) {
        if let Some(mut lease) = self.lease().cloned() {
            change(&mut lease);
            self.decision.lease = Some(lease);
        }
    }

    /// Moves the lease to a state, on the record.
    pub fn lease_state(&mut self, state: LeaseState, reason: Option<String>) {
        let now = self.now();
        let mut from = None;
        self.change_lease(|lease| {
            from = Some(lease.state);
            lease.state = state;
            lease.reason.clone_from(&reason);
            if state == LeaseState::Active {
                lease.active_at = lease.active_at.or(Some(now));
            }
            if matches!(state, LeaseState::Releasing | LeaseState::Failed) {
                lease.leaving_at = lease.leaving_at.or(Some(now));
            }
            if state.is_over() && lease.ended_at.is_none() {
                lease.ended_at = Some(now);
            }
        });
        if let Some(from) = from
            && from != state
        {
            self.audit(
                "lease.state",
                serde_json::json!({ "from": from, "to": state, "reason": reason }),
            );
        }
    }

    pub fn audit(&mut self, action: &'static str, detail: serde_json::Value) {
        self.decision.audit.push(AuditNote { action, detail });
    }

    /// Moves the machine in its life, on the record.
    pub fn lifecycle(&mut self, to: Lifecycle, why: &str) {
        let from = self.m().lifecycle;
        self.machine().lifecycle = to;
        if from != to {
            self.audit(
                "machine.lifecycle",
                serde_json::json!({ "from": from, "to": to, "why": why }),
            );
        }
    }

    /// Enters a step: what was tried in the one before is forgotten.
    pub fn enter(&mut self, step: Step, reason: &str, within: SignedDuration, next: &str) {
        let now = self.now();
        let machine = self.machine();
        machine.step = step;
        machine.step_since = now;
        machine.notes = StepNotes::default();
        machine.waiting = Some(Waiting {
            reason: reason.to_owned(),
            deadline: now + within,
            next_action: next.to_owned(),
        });
        machine.wake_at = now;
        self.say(reason);
    }

    /// Whether the present step's time is up.
    pub fn overdue(&self) -> bool {
        self.m()
            .waiting
            .as_ref()
            .is_some_and(|w| w.deadline <= self.now())
    }

    /// The time that the present step was given when it began, as `30 minutes`.
    pub fn allowed(&self) -> String {
        let machine = self.m();
        let deadline = machine.waiting.as_ref().map_or(self.now(), |w| w.deadline);
        SpanPrinter::new()
            .designator(Designator::Verbose)
            .spacing(Spacing::BetweenUnitsAndDesignators)
            .duration_to_string(&deadline.duration_since(machine.step_since))
    }

    /// Looks again after `pause`, but not later than the deadline.
    pub fn sleep(&mut self, pause: SignedDuration) {
        let mut at = self.now() + pause.max(SignedDuration::from_millis(10));
        if let Some(waiting) = &self.m().waiting
            && waiting.deadline > self.now()
        {
            at = at.min(waiting.deadline);
        }
        self.machine().wake_at = at;
    }

    /// The pause after so many failures in a row.
    pub fn backoff(&self) -> SignedDuration {
        let failures = self.m().notes.failures.saturating_sub(1).min(16);
        (self.facts.policy.backoff * (1_i32 << failures)).min(self.facts.policy.backoff_max)
    }

    /// Persists a request to the BMC, to be sent after saving.
    pub fn ask(&mut self, request: BmcRequest) {
        let now = self.now();
        let machine = self.machine();
        machine.requests += 1;
        if request.is_change() {
            machine.notes.asked_at = Some(now);
            machine.notes.asked += 1;
        }
        let pending = Pending {
            number: machine.requests,
            request,
            since: now,
        };
        machine.pending = Some(pending.clone());
        self.decision.effect = Some(Effect::Ask(pending));
    }

    /// What the operation's followers see.
    pub fn say(&mut self, message: &str) {
        if let Some(mut operation) = self.operation()
            && operation.message != message
        {
            message.clone_into(&mut operation.message);
            operation.progress = None;
            self.put_operation(operation);
        }
    }

    /// The operation at work on the machine, while it runs.
    fn operation(&self) -> Option<Operation> {
        let id = self.m().operation?;
        self.decision
            .operations
            .iter()
            .chain(self.facts.operation)
            .find(|o| o.id == id)
            .filter(|o| o.state == OperationState::Running)
            .cloned()
    }

    /// Keeps an operation as it is now.
    pub fn put_operation(&mut self, operation: Operation) {
        self.decision.operations.retain(|o| o.id != operation.id);
        self.decision.operations.push(operation);
    }

    /// Ends the operation and lets the machine go of it.
    pub fn end_operation(&mut self, state: OperationState, message: &str) {
        let now = self.now();
        if let Some(mut operation) = self.operation() {
            operation.state = state;
            message.clone_into(&mut operation.message);
            operation.progress = None;
            operation.ended_at = Some(now);
            self.put_operation(operation);
        }
        self.machine().operation = None;
    }

    /// Begins a boot from a medium: a new token, and a new epoch, so that whatever
    /// an older agent still does is refused.
    pub fn new_boot(&mut self, of: BootOf) -> BootId {
        let (now, id) = (self.now(), self.facts.fresh.boot);
        let machine = self.machine();
        machine.epoch += 1;
        let boot = Boot {
            id,
            machine: machine.id,
            of,
            epoch: machine.epoch,
            created_at: now,
            kernel_boot_id: None,
            hello_at: None,
            seen_at: None,
            ramdisk: self.facts.ramdisk.map(str::to_owned),
        };
        self.decision.boot = Some(boot);
        id
    }

    /// Gives the agent of `boot` a task.
    pub fn give_task(&mut self, boot: BootId, work: Work) {
        let (now, id) = (self.now(), self.facts.fresh.task);
        let kind = work.word();
        let machine = self.m();
        let record = TaskRecord {
            task: Task {
                id,
                epoch: machine.epoch,
                work,
                addresses: machine.addresses.clone(),
            },
            machine: machine.id,
            boot,
            created_at: now,
            taken_at: None,
            progress: None,
            progress_at: None,
            outcome: None,
            version: 0,
        };
        self.decision.task = Some(record);
        let stall = self.facts.policy.work_stall;
        self.enter(
            Step::Working {
                task: id,
                kind,
                boot,
            },
            &format!("the agent is to {kind}"),
            stall,
            "if it does not go forward, the machine is booted again",
        );
        let silence = self.facts.policy.agent_silence;
        self.sleep(silence);
    }

    /// Holds the machine from tenants.
    pub fn hold(&mut self, kind: HoldKind, detail: &str) {
        let now = self.now();
        let (remind, look) = (self.facts.policy.remind, self.facts.policy.look);
        self.lifecycle(Lifecycle::Quarantined, detail);
        self.audit(
            "machine.hold",
            serde_json::json!({ "kind": kind, "detail": detail }),
        );
        let name = self.m().name.clone();
        let next = match kind {
            HoldKind::UnconfirmedDrive => format!(
                "look at the drives (`billet machine show {name}`) and confirm them with `billet machine take-over {name}`"
            ),
            HoldKind::BmcCertificate => format!(
                "make sure that it is the right BMC, then accept its new certificate with `billet machine set-bmc {name} --fingerprint SHA256`, then `billet machine repair {name}`"
            ),
            HoldKind::BmcCredentials => format!(
                "correct it with `billet machine set-bmc {name}`, then `billet machine repair {name}`"
            ),
            HoldKind::BmcAccounts => format!(
                "see to the account at the BMC (`billet machine show {name}` names it), or take it for wanted with `billet machine accept-firmware {name}`; then `billet machine repair {name}`"
            ),
            HoldKind::FirmwareChanged => format!(
                "put the firmware back, or take it for wanted with `billet machine accept-firmware {name}`; then `billet machine repair {name}`"
            ),
            _ => format!("mend it, then `billet machine repair {name}`"),
        };
        self.end_operation(OperationState::Failed, &format!("{detail}; {next}"));
        let machine = self.machine();
        machine.epoch += 1;
        machine.step = Step::Rest;
        machine.step_since = now;
        machine.notes = StepNotes::default();
        machine.power_request = None;
        machine.warm.boot = None;
        machine.hold = Some(Hold {
            kind,
            detail: detail.to_owned(),
            since: now,
        });
        machine.waiting = Some(Waiting {
            reason: detail.to_owned(),
            deadline: now + remind,
            next_action: next,
        });
        machine.wake_at = now + look;
        let told = match self.lease().map(|l| (l.state, l.name.clone())) {
            Some((LeaseState::Releasing, _)) => format!("its machine is held: {detail}"),
            // Nothing that its tenant could ask for would be done.
            Some((state, name)) if state.is_tenants() => format!(
                "its machine is held for a fault ({detail}) until an operator mends it: wait, or release it (`billet lease release {name}`)"
            ),
            _ => return,
        };
        self.change_lease(|lease| lease.reason = Some(told));
    }
}
