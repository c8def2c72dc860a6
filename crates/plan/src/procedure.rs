//! Beginnings and ends of what is done to a machine as a whole.

use billet_model::{
    bmc::{BmcFact, BmcReply, BmcRequest, FirmwareSettings},
    lease::LeaseState,
    lifecycle::{HoldKind, Lifecycle},
    operation::OperationState,
    step::{EraseRecord, Goal, RamdiskStep, Step},
    work::WorkKind,
};

use crate::{
    decision::Draft,
    next::{Came, insist},
    visit,
};

/// Begins at the ramdisk's beginning: power off.
pub(crate) fn boot_ramdisk(draft: &mut Draft<'_>, at: RamdiskStep, then: WorkKind) {
    let boot = draft.new_boot();
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
    draft.machine().attempts += 1;
    let (attempts, most) = (draft.m().attempts, draft.facts.policy.max_attempts);
    draft.audit(
        "machine.retry",
        serde_json::json!({ "why": why, "attempt": attempts, "of": most, "work": then }),
    );
    if attempts < most {
        boot_ramdisk(draft, RamdiskStep::Off, then);
        draft.say(&format!("{why}; trying again ({} of {most})", attempts + 1));
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
    let within = draft.facts.policy.bmc_deadline;
    draft.enter(
        Step::ReadSettings { then: Goal::Erase },
        "reading firmware settings, to compare them with those before",
        within,
        "they are left uncompared, and the certificate says so",
    );
}

/// Reads firmware settings before a lease, or after. Never stops the show.
pub(crate) fn read_settings(draft: &mut Draft<'_>, came: &Came<'_>, then: Goal) {
    let settings = match came {
        Some((
            BmcRequest::ReadSettings,
            BmcReply::Done {
                fact: BmcFact::Settings { settings },
            },
        )) => Some(settings.clone()),
        _ => None,
    };
    let given_up = draft.m().notes.failures >= 3 || draft.overdue();
    if settings.is_none() && !given_up && !insist(draft, came, BmcRequest::ReadSettings) {
        return;
    }
    match then {
        Goal::Deploy => {
            draft.machine().firmware.clone_from(&settings);
            draft.audit(
                "lease.settings_read",
                serde_json::json!({ "read": settings.is_some() }),
            );
            draft.change_lease(|lease| lease.firmware_before = settings);
            boot_ramdisk(draft, RamdiskStep::Off, WorkKind::Write);
        }
        Goal::Erase => {
            let before = draft.lease().and_then(|l| l.firmware_before.clone());
            let changes = match (before, settings) {
                (Some(before), Some(after)) => Some(firmware_changes(&before, &after)),
                _ => None,
            };
            if let Some(erase) = &mut draft.machine().erase {
                erase.firmware_changes = changes;
            }
            boot_ramdisk(draft, RamdiskStep::Off, WorkKind::Erase);
        }
    }
}

/// What differs between two readings, in sentences.
pub fn firmware_changes(before: &FirmwareSettings, after: &FirmwareSettings) -> Vec<String> {
    let mut changes = Vec::new();
    // A BMC may tell none of them until it is reset: then none has changed.
    let untold = before.bios.is_empty() != after.bios.is_empty();
    if untold {
        changes.push(format!(
            "BIOS settings: told only {}, and not compared",
            if after.bios.is_empty() {
                "before"
            } else {
                "now"
            }
        ));
    }
    for (word, before, after) in [
        ("BIOS setting", &before.bios, &after.bios),
        ("firmware version of", &before.versions, &after.versions),
    ] {
        if untold && word == "BIOS setting" {
            continue;
        }
        let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (was, is) = (before.get(name), after.get(name));
            if was != is {
                let text = |v: Option<&String>| v.map_or("absent".to_owned(), |v| format!("{v:?}"));
                changes.push(format!("{word} {name}: was {}, is {}", text(was), text(is)));
            }
        }
    }
    if before.secure_boot != after.secure_boot {
        let text = |v: Option<bool>| match v {
            Some(true) => "on",
            Some(false) => "off",
            None => "not told",
        };
        changes.push(format!(
            "Secure Boot: was {}, is {}",
            text(before.secure_boot),
            text(after.secure_boot)
        ));
    }
    if before.boot_order != after.boot_order {
        changes.push(format!(
            "boot order: was {:?}, is {:?}",
            before.boot_order, after.boot_order
        ));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(bios: &[(&str, &str)]) -> FirmwareSettings {
        FirmwareSettings {
            bios: bios
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..FirmwareSettings::default()
        }
    }

    #[test]
    fn what_a_bmc_told_only_once_is_not_what_a_tenant_changed() {
        let (told, untold) = (settings(&[("A", "1"), ("B", "2")]), settings(&[]));
        for (before, after, when) in [(&untold, &told, "now"), (&told, &untold, "before")] {
            let changes = firmware_changes(before, after);
            let expected = format!("BIOS settings: told only {when}, and not compared");
            assert_eq!(changes, [expected]);
        }
        let changed = settings(&[("A", "1"), ("B", "3")]);
        assert_eq!(firmware_changes(&told, &changed).len(), 1);
        assert_eq!(firmware_changes(&untold, &untold), [""; 0]);
    }
}
