//! Beginnings and ends of what is done to a machine as a whole.

use billet_model::{
    lease::LeaseState,
    lifecycle::{HoldKind, Lifecycle},
    operation::OperationState,
    step::{BootOf, EraseRecord, Goal, RamdiskStep, Step},
    work::WorkKind,
};

use crate::{decision::Draft, settings, visit, warm, warm_start};

/// Begins at the ramdisk's beginning: power off.
pub(crate) fn boot_ramdisk(draft: &mut Draft<'_>, at: RamdiskStep, then: WorkKind) {
    let boot = draft.new_boot(BootOf::Ramdisk);
    draft.machine().warm.boot = None;
    let within = draft.facts.policy.power_deadline;
    draft.enter(
        Step::Ramdisk { at, boot, then },
        &format!("bringing the ramdisk up, to {then}"),
        within,
        "if it does not come, it is tried again from power off",
    );
}

/// Tries the present boot and its work again from power off, or gives up.
pub(crate) fn again(draft: &mut Draft<'_>, kind: HoldKind, why: &str, then: WorkKind) {
    if then == WorkKind::Start {
        // Nothing was given up, and the drive is as it was written.
        warm_start::not_started(draft, why);
        return;
    }
    warm_start::falls_back(draft, why);
    draft.machine().attempts += 1;
    let (attempts, most) = (draft.m().attempts, draft.facts.policy.max_attempts);
    draft.audit(
        "machine.retry",
        serde_json::json!({ "why": why, "attempt": attempts, "of": most, "work": then }),
    );
    if attempts < most {
        boot_ramdisk(draft, RamdiskStep::Off, then);
        draft.say(&format!("{why}; trying again ({} of {most})", attempts + 1));
    } else if matches!(then, WorkKind::Prepare | WorkKind::Trial) {
        warm::fails(draft, &format!("{why}, {attempts} times"));
    } else if draft.m().lifecycle == Lifecycle::Deploying {
        cannot_deploy(draft, why);
    } else {
        draft.hold(kind, &format!("{why}, {attempts} times"));
    }
}

/// What was to be done on the machine for its lease is given up: a new lease
/// fails, and a tenant's own machine stays the tenant's.
pub(crate) fn cannot_deploy(draft: &mut Draft<'_>, why: &str) {
    if visit::lasts(draft) {
        visit::give_up(draft, why);
    } else {
        fail_lease(draft, why);
        begin_erase(draft, why);
    }
}

/// The lease cannot be made ready. It still holds the machine until the erase.
pub(crate) fn fail_lease(draft: &mut Draft<'_>, why: &str) {
    draft.lease_state(LeaseState::Failed, Some(why.to_owned()));
    draft.end_operation(OperationState::Failed, why);
}

/// Begins to take the machine back from whoever had it.
pub(crate) fn begin_erase(draft: &mut Draft<'_>, why: &str) {
    let now = draft.now();
    draft.lifecycle(Lifecycle::Erasing, why);
    let machine = draft.machine();
    machine.epoch += 1;
    machine.attempts = 0;
    machine.may_hold_data = true;
    machine.power_request = None;
    machine.erase = Some(EraseRecord {
        lease: machine.lease,
        began: Some(now),
        ..EraseRecord::default()
    });
    settings::begin(draft, Goal::Erase);
}
