//! What is set in a machine's BMC and firmware: read before a lease, compared
//! after, put back, and looked at again.
//!
//! Nothing of this stops a lease or an erase. What could not be compared or put
//! back is said, and stands on the certificate. The one thing that keeps a
//! machine from the next tenant is an account that somebody might still use.

use billet_model::{
    bmc::{BmcFact, BmcReply, BmcRequest, FirmwareSettings},
    lease::LeaseState,
    lifecycle::{Health, HoldKind, Power},
    operation::OperationState,
    step::{AfterRotation, EraseRecord, Goal, RamdiskStep, Step},
    upkeep::{Restoration, SettingKind},
    work::WorkKind,
};

use crate::{
    compare::{came_of_it, compare},
    decision::Draft,
    install,
    next::{Came, insist, was_done},
    power, procedure, rest, rotate, storage, visit, working,
};

/// How often a BMC is asked before it counts as unwilling.
const TRIES: u32 = 3;

/// Begins to read.
pub(crate) fn begin(draft: &mut Draft<'_>, then: Goal) {
    let within = draft.facts.policy.bmc_deadline;
    let (reason, next) = match then {
        Goal::Deploy | Goal::DeployWarm { .. } => (
            "reading what is set in the machine, to compare it after the lease",
            "it is left uncompared",
        ),
        Goal::Baseline => (
            "reading what is set in the machine, as what is wanted",
            "it goes on without them",
        ),
        Goal::Accept => (
            "reading what is set in the machine, as what is wanted",
            "nothing is accepted",
        ),
        Goal::Erase | Goal::Inspect | Goal::Verify => (
            "reading what is set in the machine, to compare it with what was",
            "it is left uncompared, and the certificate says so",
        ),
    };
    draft.enter(Step::ReadSettings { then }, reason, within, next);
}

/// Reads them, for whatever comes then. Never stops the show.
pub(crate) fn read(draft: &mut Draft<'_>, came: &Came<'_>, then: Goal) {
    let settings = match came {
        Some((
            BmcRequest::ReadSettings,
            BmcReply::Done {
                fact: BmcFact::Settings { settings },
            },
        )) => Some(settings.clone()),
        _ => None,
    };
    let given_up = draft.m().notes.failures >= TRIES || draft.overdue();
    if settings.is_none() && !given_up {
        // A tenant's system could change them again behind the reading.
        let still = matches!(then, Goal::Erase | Goal::Inspect | Goal::Baseline);
        if still && !power::see(draft, Power::Off) {
            return;
        }
        if !insist(draft, came, BmcRequest::ReadSettings) {
            return;
        }
    }
    match then {
        Goal::Deploy => {
            before(draft, settings);
            // Firmware might boot what was put on another drive.
            let wipes = draft.lease().map(|l| storage::to_wipe(l, draft.m()));
            let work = match wipes.is_some_and(|d| !d.is_empty()) {
                true => WorkKind::Wipe,
                false => WorkKind::Write,
            };
            if install::wanted(draft) && work == WorkKind::Write {
                install::begin(draft);
            } else {
                procedure::boot_ramdisk(draft, RamdiskStep::Off, work);
            }
        }
        Goal::DeployWarm { boot } => {
            before(draft, settings);
            working::give(draft, boot, WorkKind::Write);
        }
        Goal::Baseline => {
            draft.audit(
                "machine.settings_read",
                serde_json::json!({ "read": settings.is_some() }),
            );
            if settings.is_some() {
                let machine = draft.machine();
                machine.firmware = settings;
                machine.upkeep.left.clear();
            }
            go_on(draft, then);
        }
        Goal::Accept => accepted(draft, settings),
        Goal::Erase | Goal::Inspect => after(draft, settings, then),
        Goal::Verify => again(draft, settings),
    }
}

/// What goes on once settings are seen to.
fn go_on(draft: &mut Draft<'_>, then: Goal) {
    let (at, work) = match then {
        Goal::Deploy | Goal::DeployWarm { .. } | Goal::Accept => {
            (RamdiskStep::Off, WorkKind::Write)
        }
        Goal::Erase => (RamdiskStep::Off, WorkKind::Erase),
        Goal::Inspect | Goal::Baseline => (RamdiskStep::Off, WorkKind::Inspect),
        Goal::Verify => (RamdiskStep::Off, WorkKind::Verify),
    };
    let leased = then == Goal::Inspect && draft.m().lease.is_some();
    let rotated = draft.m().upkeep.rotated_at;
    let done = rotated.is_some_and(|at| at >= begun(draft));
    if draft.m().upkeep.rotate && (leased || then == Goal::Erase) && !done {
        // Nobody but Billet reaches the BMC from inside any more.
        rotate::begin(draft, AfterRotation::Ramdisk { work });
        return;
    }
    procedure::boot_ramdisk(draft, at, work);
}

/// When the erase now under way began.
fn begun(draft: &Draft<'_>) -> billet_model::Time {
    let began = draft.m().erase.as_ref().and_then(|e| e.began);
    began.unwrap_or(draft.now())
}

/// Before a lease.
fn before(draft: &mut Draft<'_>, settings: Option<FirmwareSettings>) {
    draft.audit(
        "lease.settings_read",
        serde_json::json!({ "read": settings.is_some() }),
    );
    if let Some(settings) = &settings {
        // What changed while nobody's is an operator's; but what a lease left to
        // come late would be found just here, so the weighty part is told.
        let last = draft.m().firmware.clone();
        let own = draft.m().bmc.user.clone();
        let found = last.map(|last| compare(&last, settings, &own).report.changes);
        let weighty: Vec<String> = found
            .unwrap_or_default()
            .iter()
            .filter(|c| matches!(c.kind, SettingKind::Firmware | SettingKind::Account))
            .map(|c| format!("{} (found while nobody's)", c.sentence()))
            .collect();
        if !weighty.is_empty() {
            draft.audit(
                "machine.settings_changed",
                serde_json::json!({ "changes": weighty }),
            );
            leave(draft, weighty);
        }
        draft.machine().firmware = Some(settings.clone());
    }
    draft.change_lease(|lease| lease.firmware_before = settings);
}

/// Keeps what stays otherwise than it was, for an operator to look at.
fn leave(draft: &mut Draft<'_>, told: Vec<String>) {
    let machine = draft.machine();
    for one in told {
        if !machine.upkeep.left.contains(&one) {
            machine.upkeep.left.push(one);
        }
    }
    if !machine.upkeep.left.is_empty() && machine.health != Health::Failed {
        machine.health = Health::Degraded;
    }
}

/// After a lease: compared, and what differs is put back.
fn after(draft: &mut Draft<'_>, settings: Option<FirmwareSettings>, then: Goal) {
    let own = draft.m().bmc.user.clone();
    let was = draft
        .lease()
        .map_or(draft.m().firmware.clone(), |l| l.firmware_before.clone());
    let lease = draft.m().lease;
    let now = draft.now();
    let tried = draft.m().erase.as_ref().and_then(|e| e.restoring.clone());
    if lease.is_none() && was.is_some() && settings.is_none() {
        // It was held for what may be there still.
        let why = "the accounts of its BMC could not be read, to see that they are as before";
        draft.hold(HoldKind::BmcAccounts, why);
        return;
    }
    let Some((was, is)) = was.zip(settings) else {
        go_on(draft, then);
        return;
    };
    let mut found = compare(&was, &is, &own);
    let first = tried.is_none();
    if let Some(tried) = tried {
        found = came_of_it(tried, found);
    }
    if lease.is_none() {
        // Held for an account alone: nothing else is put back on this way.
        found
            .report
            .changes
            .retain(|c| c.kind == SettingKind::Account);
        found.queue.retain(|r| {
            use billet_model::bmc::Restore::{PutAccount, RemoveAccount};
            matches!(r, RemoveAccount { .. } | PutAccount { .. })
        });
        let left = accounts_left(&found.report.changes);
        if !first && let Some(left) = left {
            draft.machine().erase = None;
            draft.hold(HoldKind::BmcAccounts, &left);
            return;
        }
        if found.report.changes.is_empty() || !first {
            draft.machine().erase = None;
            go_on(draft, then);
            return;
        }
    }
    draft.audit(
        "machine.settings_compared",
        serde_json::json!({
            "changes": found.report.changes.iter().map(|c| c.sentence()).collect::<Vec<_>>(),
            "not_compared": found.report.not_compared,
        }),
    );
    let queue = !found.queue.is_empty();
    let changes = found.report.changes.iter().map(|c| c.sentence()).collect();
    let record = draft.machine().erase.get_or_insert_with(|| EraseRecord {
        lease,
        began: Some(now),
        ..EraseRecord::default()
    });
    record.firmware_changes = Some(changes);
    record.restoring = Some(found);
    if queue {
        put_back(draft, then);
    } else if lease.is_none() {
        begin(draft, then);
    } else {
        go_on(draft, then);
    }
}

fn put_back(draft: &mut Draft<'_>, then: Goal) {
    let within = draft.facts.policy.bmc_deadline;
    draft.enter(
        Step::Restore { then },
        "putting back what the lease left otherwise than it was",
        within,
        "it is left as it is, and the certificate says so",
    );
}

/// Puts one thing after the other back.
pub(crate) fn restore(draft: &mut Draft<'_>, came: &Came<'_>, then: Goal) {
    let restoring = draft.m().erase.as_ref().and_then(|e| e.restoring.clone());
    let Some(mut restoring) = restoring else {
        go_on(draft, then);
        return;
    };
    let Some(what) = restoring.queue.first().cloned() else {
        draft.audit(
            "machine.settings_restored",
            serde_json::json!({ "refused": restoring.refused.len() }),
        );
        if then == Goal::Inspect && draft.m().lease.is_none() {
            begin(draft, then);
        } else {
            go_on(draft, then);
        }
        return;
    };
    let request = BmcRequest::Restore { what: what.clone() };
    let done = was_done(came, |r| *r == request);
    if !done && draft.m().notes.failures < TRIES && !draft.overdue() {
        draft.ask(request);
        return;
    }
    restoring.queue.remove(0);
    if !done {
        let said = draft.m().notes.last_failure.clone();
        let why = said.unwrap_or_else(|| "it did not answer in time".into());
        restoring.refused.push((what, why));
    }
    if let Some(erase) = &mut draft.machine().erase {
        erase.restoring = Some(restoring);
    }
    put_back(draft, then);
}

/// Whether what was put back is to be looked at again after the erase.
pub(crate) fn looks_again(draft: &Draft<'_>) -> bool {
    let restoring = draft.m().erase.as_ref().and_then(|e| e.restoring.as_ref());
    restoring.is_some_and(|r| r.look_again)
}

/// Looks again, after the machine was started once: did it take?
fn again(draft: &mut Draft<'_>, settings: Option<FirmwareSettings>) {
    let own = draft.m().bmc.user.clone();
    let was = draft.lease().and_then(|l| l.firmware_before.clone());
    let was = was.or_else(|| draft.m().firmware.clone());
    let tried = draft.m().erase.as_ref().and_then(|e| e.restoring.clone());
    let (Some(mut tried), Some((was, is))) = (tried, was.zip(settings)) else {
        go_on(draft, Goal::Verify);
        return;
    };
    tried.look_again = false;
    let mut found = came_of_it(tried, compare(&was, &is, &own));
    found.look_again = false;
    // What shows only now (some tell nothing until they were started) is asked
    // for once; it holds from the next start on, and is not looked at again.
    let queue = !found.queue.is_empty();
    if let Some(erase) = &mut draft.machine().erase {
        erase.firmware_changes = Some(found.report.changes.iter().map(|c| c.sentence()).collect());
        erase.restoring = Some(found);
    }
    if queue {
        put_back(draft, Goal::Verify);
    } else {
        go_on(draft, Goal::Verify);
    }
}

/// Accounts that somebody might still use, in a sentence without their names.
fn accounts_left(changes: &[billet_model::upkeep::SettingChange]) -> Option<String> {
    let left: Vec<&str> = changes
        .iter()
        .filter(|c| c.kind == SettingKind::Account && c.is != "absent")
        .filter(|c| {
            matches!(
                c.came_of_it,
                Restoration::Left { .. } | Restoration::Pending
            )
        })
        .map(|c| c.what.as_str())
        .collect();
    (!left.is_empty()).then(|| {
        format!(
            "{} of its BMC: not as before the lease, and the BMC neither deletes, disables nor restores it",
            left.join(", ")
        )
    })
}

/// The erase is accepted: what the lease left is kept, and may hold the machine.
/// `true` where it does.
pub(crate) fn taken_back(draft: &mut Draft<'_>, record: &EraseRecord) -> bool {
    let Some(restoring) = &record.restoring else {
        return false;
    };
    let changes = &restoring.report.changes;
    let left: Vec<String> = changes
        .iter()
        .filter(|c| {
            matches!(
                c.came_of_it,
                Restoration::Left { .. } | Restoration::Pending
            )
        })
        .map(|c| c.told())
        .collect();
    leave(draft, left);
    if let Some(accounts) = accounts_left(changes) {
        draft.hold(HoldKind::BmcAccounts, &accounts);
        return true;
    }
    let versions: Vec<String> = changes
        .iter()
        .filter(|c| c.kind == SettingKind::Firmware)
        .map(|c| c.sentence())
        .collect();
    if draft.facts.policy.hold_on_firmware_change && !versions.is_empty() {
        draft.hold(HoldKind::FirmwareChanged, &versions.join("; "));
        return true;
    }
    false
}

/// An operator takes what is set for what is wanted.
fn accepted(draft: &mut Draft<'_>, settings: Option<FirmwareSettings>) {
    let Some(settings) = settings else {
        let told =
            "the BMC could not be read, so nothing was accepted: `billet machine show` says why";
        rest::again(draft, OperationState::Failed, told);
        return;
    };
    let left = std::mem::take(&mut draft.machine().upkeep.left);
    // Users of the BMC are not for the project whose log this may be in.
    let told = draft.m().lease.is_none().then_some(&left);
    draft.audit(
        "machine.settings_accepted",
        serde_json::json!({
            "count": left.len(), "accepted": told, "versions": settings.versions,
        }),
    );
    if draft
        .lease()
        .is_some_and(|l| l.state == LeaseState::Maintenance)
    {
        visit::note(
            draft,
            "what is set in the machine was taken for wanted".into(),
        );
        let before = settings.clone();
        draft.change_lease(|lease| lease.firmware_before = Some(before));
    }
    let machine = draft.machine();
    machine.firmware = Some(settings);
    if machine.health == Health::Degraded {
        machine.health = Health::Ok;
    }
    rest::again(draft, OperationState::Succeeded, "accepted as it is");
}
