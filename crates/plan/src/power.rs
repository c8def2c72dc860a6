//! Bringing the power to where it should be: look, ask, look again.
//!
//! A power action is never repeated because its answer was lost: the next thing
//! after asking is always a reading.

use billet_model::{
    bmc::{BmcRequest, PowerAction},
    lifecycle::Power,
};

use crate::decision::Draft;

/// Goes on until the power was *read* as `want` in this step; `true` then.
pub(crate) fn see(draft: &mut Draft<'_>, want: Power) -> bool {
    let (now, policy) = (draft.now(), draft.facts.policy);
    let machine = draft.m();
    let asked_at = machine.notes.asked_at;
    let fresh = machine
        .power
        .filter(|r| r.at > machine.step_since && asked_at.is_none_or(|asked| r.at > asked));
    let Some(reading) = fresh else {
        draft.ask(BmcRequest::ReadPower);
        return false;
    };
    if reading.power == want {
        return true;
    }
    let steady = matches!(reading.power, Power::On | Power::Off);
    let may_ask = match asked_at {
        None => true,
        Some(asked) => {
            now.duration_since(asked) >= policy.power_again
                && machine.notes.asked < policy.max_power_asks
        }
    };
    let age = now.duration_since(reading.at);
    if steady && may_ask && age < policy.power_poll {
        let action = if want == Power::Off {
            PowerAction::Off
        } else {
            PowerAction::On
        };
        draft.ask(BmcRequest::Power { action });
    } else if age >= policy.power_poll {
        draft.ask(BmcRequest::ReadPower);
    } else {
        draft.sleep(policy.power_poll - age);
    }
    false
}

/// Whether any change that may come late has had its time, and the power was
/// read after that. Clears the mark when so; asks for the reading when not.
pub(crate) fn settled(draft: &mut Draft<'_>) -> bool {
    let now = draft.now();
    let Some(since) = draft.m().uncertain_since else {
        return true;
    };
    let over = since + draft.facts.policy.settle;
    if now < over {
        draft.sleep(over.duration_since(now));
        return false;
    }
    if draft.m().power.is_some_and(|r| r.at >= over) {
        draft.machine().uncertain_since = None;
        return true;
    }
    draft.ask(BmcRequest::ReadPower);
    false
}
