//! Machines at which nothing is being done: looking, expiry, requests.

use billet_model::{
    Time,
    bmc::{BmcFact, BmcFailure, BmcReply, BmcRequest, PowerAction},
    inventory::Inventory,
    lease::LeaseState,
    lifecycle::{Health, HoldKind, Lifecycle, Power, Waiting},
    operation::{OperationKind, OperationState},
    step::{AfterRotation, Step},
};
use jiff::SignedDuration;

use crate::{
    decision::Draft,
    inspection,
    next::{Came, was_done},
    procedure, requests, rotate, term, told, warm,
};

/// A machine of a restored database: it is looked at, and nothing else.
pub(crate) fn observe_only(draft: &mut Draft<'_>) {
    let (now, remind, look) = (
        draft.now(),
        draft.facts.policy.remind,
        draft.facts.policy.look,
    );
    let name = draft.m().name.clone();
    let renew = draft
        .m()
        .waiting
        .as_ref()
        .is_none_or(|w| w.deadline <= now || !w.reason.starts_with("restored"));
    if renew {
        draft.machine().waiting = Some(Waiting {
            reason: "restored from a backup: what it did since then is not known".into(),
            deadline: now + remind,
            next_action: format!("compare it with reality, then `billet machine confirm {name}`"),
        });
    }
    look_at_power(draft, look);
}

pub(crate) fn rest(draft: &mut Draft<'_>) {
    let (now, policy) = (draft.now(), draft.facts.policy);
    if let Some(action) = draft.m().power_request {
        draft.machine().power_request = None;
        draft.enter(
            Step::ChangePower { action },
            &format!("power {action}"),
            policy.power_deadline,
            "the change is given up, and what the power is then is told",
        );
        return;
    }
    if draft.m().lifecycle == Lifecycle::Available && warm::begin(draft) {
        return;
    }
    let Some(look) = term(draft) else { return };
    if let Some(waiting) = &draft.m().waiting
        && waiting.deadline <= now
    {
        let reason = waiting.reason.clone();
        draft.audit("machine.reminder", serde_json::json!({ "still": reason }));
        if let Some(waiting) = &mut draft.machine().waiting {
            waiting.deadline = now + policy.remind;
        }
    }
    if draft.m().lifecycle == Lifecycle::Retired {
        draft.machine().wake_at = now + SignedDuration::from_hours(24 * 365);
        return;
    }
    look_at_power(draft, look);
}

/// Takes the machine back where its lease's term is over, and says `None` then;
/// else when to look again at the latest.
pub(crate) fn term(draft: &mut Draft<'_>) -> Option<SignedDuration> {
    let (now, look) = (draft.now(), draft.facts.policy.look);
    let Some((ends, warnings)) = warnings(draft) else {
        return Some(look);
    };
    if ends <= now {
        draft.end_operation(OperationState::Failed, "the lease's term is over");
        draft.lease_state(LeaseState::Releasing, Some("its term is over".into()));
        let told = "the lease's term is over; releasing";
        requests::begin(draft, OperationKind::Release, told);
        if draft.m().lifecycle == Lifecycle::Active {
            procedure::begin_erase(draft, "the lease's term is over");
        } else {
            requests::waits_for_repair(draft);
            draft.machine().wake_at = now + look;
        }
        return None;
    }
    // Woken for the next warning and at its end, whatever else there is to look at.
    let next = term::next(&warnings, now).unwrap_or(ends);
    Some(look.min(next.duration_since(now)))
}

/// When the term ends of the tenant's lease, and when warnings of it are due.
fn warnings(draft: &Draft<'_>) -> Option<(Time, Vec<Time>)> {
    let lease = draft.lease().filter(|l| l.state.is_tenants())?;
    let ends = lease.ends_at?;
    let due = term::warnings(lease.created_at, ends, &draft.facts.policy.warn);
    Some((ends, due))
}

/// Warns the tenant of the end of its lease, if that is due.
pub(crate) fn warn(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some((ends, warnings)) = warnings(draft).filter(|(ends, _)| *ends > now) else {
        return;
    };
    let warned_at = draft.lease().and_then(|l| l.warned_at);
    if term::due(&warnings, warned_at, now) {
        draft.audit(
            "lease.expires",
            serde_json::json!({
                "ends_at": ends,
                "in_seconds": ends.duration_since(now).as_secs(),
            }),
        );
        draft.change_lease(|l| l.warned_at = Some(now));
    }
}

/// Reads the power when the last reading is `every` old.
pub(crate) fn look_at_power(draft: &mut Draft<'_>, every: SignedDuration) {
    let now = draft.now();
    // A BMC that fails is asked again at the usual pace, not at once.
    let last = draft
        .m()
        .power
        .map(|r| r.at)
        .into_iter()
        .chain(draft.m().notes.asked_at)
        .max();
    let due = last.map_or(now, |at| at + every);
    if due <= now {
        draft.machine().notes.asked_at = Some(now);
        draft.ask(BmcRequest::ReadPower);
    } else {
        draft.machine().wake_at = due;
    }
}

/// Reads who a new machine is. Only reads; goes on trying.
pub(crate) fn discover(draft: &mut Draft<'_>, came: &Came<'_>) {
    match came {
        Some((
            BmcRequest::Discover,
            BmcReply::Done {
                fact:
                    BmcFact::Discovered {
                        fingerprint,
                        inventory,
                        ..
                    },
            },
        )) => discovered(draft, fingerprint, inventory),
        Some((
            BmcRequest::Discover,
            reply @ (BmcReply::Failed { detail, .. } | BmcReply::Uncertain { detail }),
        )) => {
            let kind = match reply {
                BmcReply::Failed { kind, .. } => *kind,
                _ => BmcFailure::Unreachable,
            };
            let name = draft.m().name.clone();
            let upkeep = &draft.m().upkeep;
            if kind == BmcFailure::PasswordChange
                && upkeep.rotate
                && upkeep.rotation_failed.is_none()
            {
                // The operator asked for it, and nothing can be read before.
                rotate::begin(draft, AfterRotation::Discover);
                return;
            }
            let (give_up, way_out) = match kind {
                BmcFailure::PasswordChange => (
                    true,
                    format!(
                        "let Billet give it another one (`billet machine rotate-password {name}`), or change it at the BMC and tell it with `billet machine set-bmc {name} --password-file FILE`"
                    ),
                ),
                BmcFailure::Credentials => (
                    true,
                    format!("correct user and password with `billet machine set-bmc {name}`"),
                ),
                BmcFailure::Certificate => (
                    true,
                    format!(
                        "make sure that it is the right BMC, then `billet machine set-bmc {name} --fingerprint …`"
                    ),
                ),
                _ => (
                    draft.m().notes.failures >= 3 || draft.overdue(),
                    format!(
                        "check the address and the network, then `billet machine inspect {name}`"
                    ),
                ),
            };
            if give_up {
                let told = format!("the BMC could not be read: {detail}; {way_out}");
                draft.end_operation(OperationState::Failed, &told);
                draft.audit(
                    "machine.unreadable",
                    serde_json::json!({ "kind": kind, "detail": detail }),
                );
                rest_enrolled(
                    draft,
                    &format!("the BMC could not be read: {detail}"),
                    &way_out,
                );
            } else {
                let pause = draft.backoff();
                draft.sleep(pause);
            }
        }
        _ => draft.ask(BmcRequest::Discover),
    }
}

fn discovered(draft: &mut Draft<'_>, fingerprint: &str, inventory: &Inventory) {
    let expected = draft.facts.machine_type.map(|t| &t.expected);
    let differences =
        inspection::differences(draft.m().expected_serial.as_deref(), expected, inventory);
    draft.audit(
        "machine.discovered",
        serde_json::json!({
            "serial": inventory.system.serial,
            "fingerprint": fingerprint,
            "differences": differences,
        }),
    );
    let machine = draft.machine();
    if machine.bmc.fingerprint.is_none() {
        machine.bmc.fingerprint = Some(fingerprint.to_owned());
    }
    machine.emulation = inventory.emulation();
    machine.health = Health::Unknown;
    machine.differences.clone_from(&differences);
    inspection::bind_addresses(&mut machine.addresses, inventory);
    machine.inventory = Some(inventory.clone());
    let told = if differences.is_empty() {
        "read; nothing was changed".to_owned()
    } else {
        format!(
            "read; it is not what was expected: {}",
            differences.join("; ")
        )
    };
    draft.end_operation(OperationState::Succeeded, &told);
    let name = draft.m().name.clone();
    rest_enrolled(
        draft,
        "enrolled, and only read from",
        &format!("take it over with `billet machine take-over {name}`"),
    );
}

fn rest_enrolled(draft: &mut Draft<'_>, reason: &str, next: &str) {
    let (now, policy) = (draft.now(), draft.facts.policy);
    let machine = draft.machine();
    machine.step = Step::Rest;
    machine.step_since = now;
    machine.notes = billet_model::step::StepNotes::default();
    machine.waiting = Some(Waiting {
        reason: reason.to_owned(),
        deadline: now + policy.remind,
        next_action: next.to_owned(),
    });
    machine.wake_at = now + policy.look;
}

/// Changes the power on request, once, and says what came of it.
pub(crate) fn change_power(draft: &mut Draft<'_>, came: &Came<'_>, action: PowerAction) {
    let policy = draft.facts.policy;
    let wanted = match action {
        PowerAction::Off | PowerAction::Shutdown => Power::Off,
        PowerAction::On | PowerAction::Cycle | PowerAction::Reset => Power::On,
    };
    match came {
        None if draft.m().notes.asked == 0 => {
            draft.ask(BmcRequest::Power { action });
            return;
        }
        Some((BmcRequest::Power { .. }, reply @ BmcReply::Failed { .. })) => {
            let said = told::words(draft, reply).unwrap_or_default();
            let told = format!("power {action} was not done: {said}");
            back_to_rest(draft, OperationState::Failed, &told);
            return;
        }
        _ => {}
    }
    let asked_at = draft.m().notes.asked_at;
    let fresh = draft
        .m()
        .power
        .filter(|r| asked_at.is_some_and(|asked| r.at > asked));
    let uncertain = draft.m().uncertain_since.is_some();
    match fresh {
        Some(reading) if reading.power == wanted => {
            back_to_rest(
                draft,
                OperationState::Succeeded,
                &format!("power is {wanted}"),
            );
        }
        Some(reading) if draft.overdue() => {
            let told = if uncertain {
                format!(
                    "the BMC's answer to power {action} was lost, and it may still be carried out; power is {}",
                    reading.power
                )
            } else {
                format!(
                    "power {action} showed no effect; power is {}",
                    reading.power
                )
            };
            back_to_rest(draft, OperationState::Failed, &told);
        }
        _ if draft.overdue() => {
            let told = format!("the BMC does not say what came of power {action}");
            back_to_rest(draft, OperationState::Failed, &told);
        }
        _ if was_done(came, |r| *r == BmcRequest::ReadPower)
            || matches!(came, Some((BmcRequest::ReadPower, _))) =>
        {
            draft.sleep(policy.power_poll);
        }
        _ => draft.ask(BmcRequest::ReadPower),
    }
}

fn back_to_rest(draft: &mut Draft<'_>, state: OperationState, message: &str) {
    draft.audit(
        "machine.power",
        serde_json::json!({ "came_of_it": message }),
    );
    again(draft, state, message);
}

/// What was asked for is over, well or not: the machine is at rest as before.
pub(crate) fn again(draft: &mut Draft<'_>, state: OperationState, message: &str) {
    let (now, look) = (draft.now(), draft.facts.policy.look);
    draft.end_operation(state, message);
    let hold = draft.m().hold.clone();
    let remind = draft.facts.policy.remind;
    let taken_out = draft.m().lifecycle == Lifecycle::Maintenance;
    let machine = draft.machine();
    machine.step = Step::Rest;
    machine.step_since = now;
    machine.notes = billet_model::step::StepNotes::default();
    // A held machine goes on telling why.
    let name = machine.name.clone();
    machine.waiting = hold.map(|h| Waiting {
        reason: h.detail,
        deadline: now + remind,
        next_action: if h.kind == HoldKind::Operator {
            "an operator ends it".into()
        } else {
            format!("mend it, then `billet machine repair {}`", machine.name)
        },
    });
    // And so does one that an operator took out.
    if taken_out && machine.waiting.is_none() {
        machine.waiting = Some(Waiting {
            reason: "in maintenance".into(),
            deadline: now + remind,
            next_action: format!("`billet machine repair {name}` brings it back"),
        });
    }
    machine.wake_at = now + look;
}
