//! Putting a machine on the shelf: off, medium out, settled, then free.

use billet_model::{
    bmc::BmcRequest,
    lifecycle::{HoldKind, Lifecycle, Power},
    operation::OperationState,
    step::{ShelveStep, Step},
};

use crate::{
    decision::Draft,
    next::{Came, insist},
    power, rest,
};

pub(crate) fn begin(draft: &mut Draft<'_>, reason: &str) {
    draft.machine().epoch += 1;
    let within = draft.facts.policy.settle + draft.facts.policy.power_deadline;
    draft.enter(
        Step::Shelve {
            at: ShelveStep::Off,
        },
        reason,
        within,
        "the machine is held",
    );
}

pub(crate) fn shelve(draft: &mut Draft<'_>, came: &Came<'_>, at: ShelveStep) {
    let policy = draft.facts.policy;
    if draft.overdue() {
        let said = draft.m().notes.last_failure.clone().unwrap_or_default();
        draft.hold(
            HoldKind::BmcUnreachable,
            format!("the machine could not be shelved {said}").trim_end(),
        );
        return;
    }
    let (done, next, reason, within) = match at {
        // A late request may also put the medium back: its time is waited for
        // before it is taken out.
        ShelveStep::Off => (
            power::see(draft, Power::Off) && power::settled(draft),
            ShelveStep::Eject,
            "taking the boot medium out",
            policy.bmc_deadline,
        ),
        ShelveStep::Eject => (
            insist(draft, came, BmcRequest::EjectMedia),
            ShelveStep::Settle,
            "making sure that nothing asked of the BMC comes late",
            policy.settle + policy.power_deadline,
        ),
        ShelveStep::Settle => {
            if !power::settled(draft) {
                return;
            }
            if draft.m().power.map(|r| r.power) == Some(Power::Off) {
                offer(draft);
            } else {
                begin(draft, "powering off again: it came on by itself");
            }
            return;
        }
    };
    if done {
        draft.enter(
            Step::Shelve { at: next },
            reason,
            within,
            "the machine is held",
        );
    }
}

fn offer(draft: &mut Draft<'_>) {
    if draft.m().may_hold_data || draft.m().lease.is_some() {
        draft.hold(
            HoldKind::EraseFailed,
            "the machine may still hold someone's data",
        );
        return;
    }
    if draft.m().lifecycle == Lifecycle::Maintenance {
        // An operator took it out while it waited warm.
        rest::again(draft, OperationState::Succeeded, "off");
        return;
    }
    draft.lifecycle(Lifecycle::Available, "erased and tested");
    draft.end_operation(OperationState::Succeeded, "available");
    let (now, look) = (draft.now(), draft.facts.policy.look);
    let machine = draft.machine();
    machine.step = Step::Rest;
    machine.step_since = now;
    machine.attempts = 0;
    machine.hold = None;
    machine.waiting = None;
    machine.wake_at = now + look;
}
