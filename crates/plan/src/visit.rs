//! Billet on a machine that is a tenant's: reinstalled or rescued at the
//! tenant's wish, and given back. Whatever goes wrong, the machine stays the
//! tenant's, and nothing is erased that the tenant did not name.

use billet_model::{
    BootId,
    lease::{Lease, LeaseState, RescueAccess, Visit, VisitKind},
    lifecycle::{HoldKind, Lifecycle, Power, Waiting},
    machine::Machine,
    measure::{Measured, MeasuredWhen, Measurement},
    operation::OperationState,
    step::{Step, StepNotes},
    work::{DriveErase, WorkKind},
};

use crate::{Facts, decision::Draft, disk, install, procedure, rest, storage, verdict, working};

/// Whether something is done here on a machine that was handed over.
pub(crate) fn lasts(draft: &Draft<'_>) -> bool {
    draft.lease().is_some_and(|l| l.state.is_tenants())
}

/// Whether the machine is to be off, and not to boot its drive.
pub(crate) fn parks(draft: &Draft<'_>) -> bool {
    draft
        .lease()
        .is_some_and(|l| matches!(l.state, LeaseState::Broken | LeaseState::Maintenance))
}

/// Begins a visit, on the lease's record.
pub(crate) fn begin(draft: &mut Draft<'_>, kind: VisitKind, kept_drives: Vec<String>, done: &str) {
    let now = draft.now();
    draft.change_lease(|lease| {
        if let Some(open) = lease.visit() {
            open.ended_at = Some(now);
        }
        lease.rescue = None;
        lease.visits.push(Visit {
            kind,
            began_at: now,
            ended_at: None,
            kept_drives,
            done: vec![done.to_owned()],
        });
        let many = lease.visits.len().saturating_sub(Lease::VISITS);
        lease.visits.drain(..many);
        lease.earlier_visits += u32::try_from(many).unwrap_or(u32::MAX);
    });
}

/// Something that was done there.
pub(crate) fn note(draft: &mut Draft<'_>, what: String) {
    if lasts(draft) {
        draft.change_lease(|lease| {
            if let Some(visit) = lease.visit() {
                visit.done.push(what);
            }
        });
    }
}

/// The machine is the tenant's alone again.
pub(crate) fn over(draft: &mut Draft<'_>) {
    let now = draft.now();
    if lasts(draft) {
        draft.change_lease(|lease| {
            lease.rescue = None;
            if let Some(visit) = lease.visit() {
                visit.ended_at = Some(now);
            }
        });
    }
}

/// The tenant's other drives are erased, or not.
pub(crate) fn wiped(draft: &mut Draft<'_>, boot: BootId, drives: &[DriveErase]) {
    draft.change_lease(|l| l.before_reinstall = None);
    let ordered = draft
        .lease()
        .map_or_else(Vec::new, |l| storage::to_wipe(l, draft.m()));
    if let Some(failure) = verdict::erase_failure(&ordered, &draft.m().upkeep.sizes, drives, &[]) {
        procedure::cannot_deploy(draft, &format!("wipe failed: {failure}"));
        return;
    }
    let told: Vec<_> = drives
        .iter()
        .map(|d| {
            serde_json::json!({
                "serial": d.drive.serial,
                "method": d.method,
                "nist": d.method.map(billet_model::work::EraseMethod::nist),
                "bytes": d.bytes,
                "tried": d.tried.len(),
            })
        })
        .collect();
    draft.audit(
        "lease.drives_erased",
        serde_json::json!({ "drives": told, "read_back": false }),
    );
    let prepared = draft.m().warm.prepared.as_ref();
    if prepared.is_some_and(|p| ordered.contains(&p.drive)) {
        draft.machine().warm.prepared = None;
    }
    for drive in drives {
        if let Some(method) = drive.method {
            let nist = method.nist();
            let serial = &drive.drive.serial;
            note(
                draft,
                format!("drive {serial} erased by {method:?} ({nist:?}), not read back"),
            );
        }
    }
    if install::wanted(draft) {
        draft.machine().attempts = 0;
        install::begin(draft);
    } else {
        working::give(draft, boot, WorkKind::Write);
    }
}

/// The drive was compared with its image: it is booted again.
pub(crate) fn measured(draft: &mut Draft<'_>, boot: BootId, found: Measured) {
    let now = draft.now();
    let digest = draft.facts.image.and_then(|i| i.content.as_ref());
    if digest.map(|c| &c.digest) != Some(&found.image) {
        procedure::again(
            draft,
            HoldKind::AgentFailed,
            "the agent compared with another image than asked",
            WorkKind::Measure,
        );
        return;
    }
    draft.audit(
        "lease.measured",
        serde_json::json!({
            "image": found.image,
            "content": found.content,
            "bytes": found.bytes,
            "chunks": found.chunks,
        }),
    );
    let c = found.chunks;
    note(
        draft,
        format!(
            "the drive was read and compared with its image: {} of {} chunks with data as delivered; nothing was written",
            c.data_same, c.data
        ),
    );
    for copy in &found.copies {
        let (drive, c) = (&copy.drive, copy.chunks);
        note(
            draft,
            format!(
                "drive {drive} of its mirror too: {} of {} chunks with data as delivered, {} chunks other than on the first",
                c.data_same, c.data, copy.differ
            ),
        );
    }
    let drive = root_serial(draft);
    keep(
        draft,
        Measurement {
            at: now,
            boot,
            when: MeasuredWhen::Since,
            drive,
            found,
            changes: Vec::new(),
        },
    );
    draft.machine().attempts = 0;
    disk::begin(draft, "measured; powering off, to boot the drive again");
}

/// The drive that the image stands on.
pub(crate) fn root_serial(draft: &Draft<'_>) -> String {
    let root = draft.lease().map(|l| storage::root(l, draft.m()));
    root.and_then(Result::ok)
        .map(|d| d.serial)
        .unwrap_or_default()
}

/// Keeps a measurement: the one of the writing, and the last that were asked for.
pub(crate) fn keep(draft: &mut Draft<'_>, measurement: Measurement) {
    draft.change_lease(|lease| {
        lease.measurements.push(measurement);
        let written = |m: &&Measurement| m.when == MeasuredWhen::BeforeFirstBoot;
        let first = lease.measurements.iter().take_while(written).count();
        let many = lease
            .measurements
            .len()
            .saturating_sub(Lease::MEASUREMENTS + first);
        lease.measurements.drain(first..first + many);
    });
}

/// The ramdisk lets the tenant in.
pub(crate) fn rescuing(draft: &mut Draft<'_>, boot: BootId, host_keys: Vec<String>) {
    let (now, look) = (draft.now(), draft.facts.policy.look);
    draft.audit(
        "lease.rescue_up",
        serde_json::json!({ "boot": boot, "host_keys": host_keys.len() }),
    );
    note(draft, "the ramdisk let the tenant in".into());
    draft.change_lease(|lease| {
        lease.rescue = Some(RescueAccess {
            since: now,
            host_keys,
        });
    });
    draft.lifecycle(Lifecycle::Active, "the ramdisk runs for the tenant");
    draft.end_operation(OperationState::Succeeded, "the ramdisk lets you in");
    let machine = draft.machine();
    machine.step = Step::Rescue { boot };
    machine.step_since = now;
    machine.notes = StepNotes::default();
    machine.attempts = 0;
    machine.waiting = Some(until_ended(now, look));
    machine.wake_at = now + look;
}

fn until_ended(now: billet_model::Time, look: jiff::SignedDuration) -> Waiting {
    Waiting {
        reason: "the ramdisk runs for the tenant".into(),
        deadline: now + look * 3,
        next_action: "it runs until the tenant ends it, or the lease ends".into(),
    }
}

/// The ramdisk runs for the tenant: its term may end meanwhile, and so may the
/// ramdisk, which nobody but the tenant begins anew.
pub(crate) fn rescue(draft: &mut Draft<'_>) {
    let (now, look) = (draft.now(), draft.facts.policy.look);
    let Some(pause) = rest::term(draft) else {
        return;
    };
    let lost = lost(draft.m(), draft.facts);
    let told = lost.zip(draft.lease()).map(|(why, lease)| {
        let name = &lease.name;
        format!(
            "{why}: begin the rescue anew (`billet lease rescue {name}`), end it (`billet lease rescue {name} --end`) or release it"
        )
    });
    if draft.lease().is_some_and(|l| l.reason != told) {
        let action = match lost {
            Some(_) => "lease.rescue_lost",
            None => "lease.rescue_heard_again",
        };
        draft.audit(action, serde_json::json!({ "why": lost }));
        draft.change_lease(|l| l.reason = told);
    }
    draft.machine().waiting = Some(until_ended(now, look));
    rest::look_at_power(draft, pause);
}

/// Why the ramdisk that was to run for the tenant does not, if it does not.
pub(crate) fn lost(machine: &Machine, facts: &Facts<'_>) -> Option<&'static str> {
    let since = machine.step_since;
    let off = machine
        .power
        .is_some_and(|r| r.power == Power::Off && r.at >= since);
    if off {
        return Some("its machine went off");
    }
    // Its agent asks for work all the time, also while the tenant works there.
    let heard = facts.boot?.seen_at.map_or(since, |t| t.max(since));
    let silent = facts.now.duration_since(heard) >= facts.policy.agent_silence;
    silent.then_some("its ramdisk is not heard any more")
}

/// What was to be done for the tenant is given up. Drives that were not touched
/// are booted again; else the machine is powered off, and says so.
pub(crate) fn give_up(draft: &mut Draft<'_>, why: &str) {
    unwritten(draft);
    let untouched = draft
        .lease()
        .filter(|l| l.active_because.is_some())
        .and_then(|l| match l.state {
            LeaseState::Reinstalling => Some(("not reinstalled", "lease.not_reinstalled")),
            LeaseState::Rescue => Some(("no rescue", "lease.no_rescue")),
            LeaseState::Measuring => Some(("not measured", "lease.not_measured")),
            _ => None,
        });
    let from_disk = matches!(
        draft.m().step,
        Step::DiskBoot { .. } | Step::FirstBoot { .. }
    );
    if let Some((word, action)) = untouched
        && !from_disk
    {
        let told = format!("{word}: {why}; the drive is booted again");
        note(draft, format!("{word}: {why}"));
        draft.audit(action, serde_json::json!({ "why": why }));
        draft.end_operation(OperationState::Failed, &told);
        draft.machine().attempts = 0;
        disk::begin(draft, &told);
        return;
    }
    broken(draft, why);
    draft.machine().attempts = 0;
    disk::begin(draft, "powering off: the machine boots nothing that works");
}

/// A reinstallation that has written nothing left the drive as it was: so does
/// the lease say again.
fn unwritten(draft: &mut Draft<'_>) {
    let is_there = draft.facts.image_before;
    let mut whole = false;
    if draft.lease().is_some_and(|l| l.before_reinstall.is_some()) {
        draft.change_lease(|l| whole = l.put_back(is_there));
    }
    if whole {
        note(draft, "nothing was written: the drive is as it was".into());
    }
}

/// The lease's machine boots nothing that is known to work.
pub(crate) fn broken(draft: &mut Draft<'_>, why: &str) {
    unwritten(draft);
    if let Some(told) = way_out(draft, why) {
        is_broken(draft, why, &told);
    }
}

/// The same, where the machine is held next: until it is mended nothing helps but
/// to wait or to release it, which the hold says.
pub(crate) fn broken_and_held(draft: &mut Draft<'_>, why: &str) {
    unwritten(draft);
    is_broken(draft, why, &format!("{why}; an operator has to mend it"));
}

fn is_broken(draft: &mut Draft<'_>, why: &str, told: &str) {
    note(draft, format!("given up: {why}"));
    draft.change_lease(|l| l.rescue = None);
    draft.lease_state(LeaseState::Broken, Some(told.to_owned()));
    draft.end_operation(OperationState::Failed, told);
}

/// What a tenant can do whose machine boots nothing that is known to work.
fn way_out(draft: &Draft<'_>, why: &str) -> Option<String> {
    let lease = draft.lease()?;
    let name = &lease.name;
    let once = if lease.active_because.is_some() {
        format!(", boot its drive (`billet lease rescue {name} --end`)")
    } else {
        String::new()
    };
    Some(format!(
        "{why}; reinstall it (`billet lease reinstall {name}`), look into it (`billet lease rescue {name}`){once} or release it"
    ))
}

/// Off, medium out, settled: nothing of Billet's comes any more.
pub(crate) fn park(draft: &mut Draft<'_>) {
    let (now, policy) = (draft.now(), draft.facts.policy);
    let mending = draft
        .lease()
        .is_some_and(|l| l.state == LeaseState::Maintenance);
    if !mending {
        over(draft);
    }
    let why = draft
        .lease()
        .and_then(|l| l.reason.clone())
        .unwrap_or_else(|| "the machine boots nothing that works".into());
    let lifecycle = if mending {
        Lifecycle::Maintenance
    } else {
        Lifecycle::Active
    };
    draft.lifecycle(lifecycle, "the tenant's, and off");
    draft.end_operation(OperationState::Succeeded, "off, and the tenant's");
    let name = draft.m().name.clone();
    let machine = draft.machine();
    machine.step = Step::Rest;
    machine.step_since = now;
    machine.notes = StepNotes::default();
    machine.attempts = 0;
    machine.hold = None;
    machine.waiting = Some(Waiting {
        reason: why,
        deadline: now + policy.remind,
        next_action: if mending {
            format!("`billet machine repair {name}` gives it back to its tenant")
        } else {
            "the tenant reinstalls, rescues or releases it".into()
        },
    });
    machine.wake_at = now + policy.look;
}

/// It cannot even be seen off.
pub(crate) fn cannot_park(draft: &mut Draft<'_>, said: &str) {
    let detail = format!("a tenant's machine could not be powered off {said}");
    draft.hold(HoldKind::BmcUnreachable, detail.trim_end());
}

/// After a hold: off, and the tenant's to decide on. After an operator's visit
/// its system is booted again.
pub(crate) fn bring_back(draft: &mut Draft<'_>) {
    let mended = draft
        .lease()
        .filter(|l| l.state == LeaseState::Maintenance)
        .map(|l| l.active_because.is_some());
    match mended {
        // Its system came up before: it is booted again, and handed over.
        Some(true) => draft.lease_state(LeaseState::Rescue, None),
        Some(false) => broken(draft, "what is on its drive never came up"),
        None if !parks(draft) => broken(draft, "its machine was held for a fault"),
        // While it was held, none of this would have helped.
        None => {
            let told = way_out(draft, "its machine was held for a fault");
            draft.change_lease(|l| l.reason = told);
        }
    }
    draft.lifecycle(
        Lifecycle::Deploying,
        "an operator brings it back to its tenant",
    );
    let machine = draft.machine();
    machine.hold = None;
    machine.attempts = 0;
    disk::begin(draft, "powering off, to give it back to its tenant");
}

/// An operator takes the machine out for its tenant: off, and no drive erased.
pub(crate) fn break_fix(draft: &mut Draft<'_>, reason: &str) {
    let drives: Vec<String> = draft.m().drives.iter().map(|d| d.serial.clone()).collect();
    draft.audit(
        "machine.break_fix",
        serde_json::json!({ "reason": reason, "erase": "skipped", "drives": drives }),
    );
    let done = format!("an operator worked on the machine ({reason}); no drive was erased");
    begin(draft, VisitKind::BreakFix, drives, &done);
    let told = format!("an operator works on its machine: {reason}");
    draft.lease_state(LeaseState::Maintenance, Some(told));
    draft.lifecycle(Lifecycle::Deploying, reason);
    draft.machine().attempts = 0;
    disk::begin(draft, "powering off, for an operator to work on it");
}
