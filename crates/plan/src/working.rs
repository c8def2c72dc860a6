//! The agent at work: is it heard, does it go forward, and what came of it.

use billet_model::{
    BootId,
    inventory::Inventory,
    lease::LeaseState,
    lifecycle::{Health, HoldKind, Lifecycle},
    measure::{MeasuredWhen, Measurement},
    operation::{OperationKind, OperationState},
    step::{AfterRotation, EraseRecord, Goal, RamdiskStep, Step},
    warm::FirstStart,
    work::{
        DriveErase, DriveRef, DriveVerify, TestResult, TpmClear, Verdict, WorkFailure, WorkKind,
        WorkOutcome, WriteReport,
    },
};

use crate::{
    decision::Draft,
    disk, inspection, procedure, ramdisk, rotate, settings, shelve,
    verdict::{self, EraseFacts},
    visit, warm, warm_start,
};

pub(crate) fn working(draft: &mut Draft<'_>, kind: WorkKind, boot: BootId) {
    if let Some(outcome) = draft.facts.task.and_then(|t| t.outcome.clone()) {
        finished(draft, kind, boot, outcome);
        return;
    }
    let (now, policy) = (draft.now(), draft.facts.policy);
    let since = draft.m().step_since;
    let heard = draft
        .facts
        .boot
        .and_then(|b| b.seen_at)
        .map_or(since, |t| t.max(since));
    let silent = now.duration_since(heard);
    if silent >= policy.agent_silence {
        let why = format!("the agent fell silent at {kind}");
        procedure::again(draft, HoldKind::AgentFailed, &why, kind);
        return;
    }
    let forward = draft
        .facts
        .task
        .and_then(|t| t.progress_at)
        .map_or(since, |t| t.max(since));
    let stuck = now.duration_since(forward);
    if stuck >= policy.work_stall {
        let why = format!("{kind} did not go forward");
        procedure::again(draft, HoldKind::AgentFailed, &why, kind);
        return;
    }
    // Shown to people: the wait is always until something is heard.
    if let Some(waiting) = &mut draft.machine().waiting {
        waiting.deadline = forward + policy.work_stall;
    }
    draft.sleep((policy.agent_silence - silent).min(policy.work_stall - stuck));
}

fn finished(draft: &mut Draft<'_>, kind: WorkKind, boot: BootId, outcome: WorkOutcome) {
    match (kind, outcome) {
        (_, WorkOutcome::Failed { kind: how, detail }) => failed(draft, kind, how, &detail),
        (WorkKind::Inspect, WorkOutcome::Inspected { inventory }) => {
            inspected(draft, boot, *inventory);
        }
        (WorkKind::Test, WorkOutcome::Tested { results }) => tested(draft, boot, results),
        (WorkKind::Write, WorkOutcome::Written(report)) => written(draft, boot, report),
        (WorkKind::Prepare, WorkOutcome::Prepared(report)) => {
            warm::prepared(draft, boot, &report);
        }
        (WorkKind::Trial, WorkOutcome::Starting(_)) => warm::trial_starts(draft),
        (WorkKind::Start, WorkOutcome::Starting(report)) => {
            warm_start::starting(draft, boot, report);
        }
        (WorkKind::Measure, WorkOutcome::Measured(found)) => {
            visit::measured(draft, boot, found);
        }
        (WorkKind::Erase, WorkOutcome::Erased { drives, unordered }) => {
            erased(draft, drives, &unordered);
        }
        (WorkKind::Wipe, WorkOutcome::Erased { drives, .. }) => {
            visit::wiped(draft, boot, &drives);
        }
        (WorkKind::Rescue, WorkOutcome::Rescuing { host_keys }) => {
            visit::rescuing(draft, boot, host_keys);
        }
        (WorkKind::Verify, WorkOutcome::Verified { drives, tpm }) => {
            verified(draft, boot, &drives, tpm);
        }
        (kind, _) => procedure::again(
            draft,
            HoldKind::AgentFailed,
            &format!("the agent answered {kind} with something else"),
            kind,
        ),
    }
}

fn failed(draft: &mut Draft<'_>, kind: WorkKind, how: WorkFailure, detail: &str) {
    let why = format!("{kind} failed: {detail}");
    match (kind, how) {
        (WorkKind::Prepare | WorkKind::Trial, _) => warm::not_done(draft, kind, how, &why),
        (
            WorkKind::Write,
            WorkFailure::ImageCorrupt
            | WorkFailure::ImageUnsuitable
            | WorkFailure::DriveMissing
            | WorkFailure::DriveFailed,
        ) => {
            procedure::cannot_deploy(draft, &why);
        }
        (WorkKind::Wipe, WorkFailure::DriveMissing | WorkFailure::DriveFailed) => {
            procedure::cannot_deploy(draft, &why);
        }
        (
            WorkKind::Erase | WorkKind::Verify,
            WorkFailure::DriveMissing | WorkFailure::DriveFailed,
        ) => {
            draft.hold(HoldKind::EraseFailed, &why);
        }
        _ => procedure::again(draft, HoldKind::AgentFailed, &why, kind),
    }
}

fn inspected(draft: &mut Draft<'_>, boot: BootId, inventory: Inventory) {
    let expected = draft.facts.machine_type.map(|t| &t.expected);
    let differences =
        inspection::differences(draft.m().expected_serial.as_deref(), expected, &inventory);
    let check = inspection::drives(&draft.m().drives, &inventory);
    draft.audit(
        "machine.inspected",
        serde_json::json!({
            "drives": inventory.own_drives().count(),
            "gpus": inventory.gpus.len(),
            "differences": differences,
        }),
    );
    let machine = draft.machine();
    machine.emulation = inventory.emulation();
    machine.differences.clone_from(&differences);
    inspection::bind_addresses(&mut machine.addresses, &inventory);
    if let inspection::Drives::AsConfirmed(_) = check {
        inspection::note_sizes(&mut machine.upkeep.sizes, &inventory);
    }
    machine.inventory = Some(inventory);
    match check {
        inspection::Drives::AsConfirmed(drives) => draft.machine().drives = drives,
        inspection::Drives::Unconfirmed(found) => {
            let detail = format!(
                "drives were found that nobody confirmed for erasure: {}",
                found.join(", ")
            );
            draft.hold(HoldKind::UnconfirmedDrive, &detail);
            return;
        }
        // Let go on an operator's word: the erase and its certificate say so.
        inspection::Drives::Missing(missing)
            if missing
                .iter()
                .all(|serial| draft.m().upkeep.lets_go(serial)) => {}
        inspection::Drives::Missing(missing) => {
            let detail = format!("drives are missing: {}", missing.join(", "));
            draft.hold(HoldKind::WrongHardware, &detail);
            return;
        }
    }
    if !differences.is_empty() {
        let detail = format!("not the hardware expected: {}", differences.join("; "));
        draft.hold(HoldKind::WrongHardware, &detail);
        return;
    }
    draft.machine().health = Health::Ok;
    draft.machine().attempts = 0;
    if draft.m().may_hold_data {
        let now = draft.now();
        draft.lifecycle(Lifecycle::Erasing, "inspected; it may hold data");
        let machine = draft.machine();
        let lease = machine.lease;
        // What was compared and put back before a hold stays so.
        let before = machine.erase.take().filter(|e| e.lease == lease);
        let (restoring, changes) =
            before.map_or((None, None), |e| (e.restoring, e.firmware_changes));
        machine.erase = Some(EraseRecord {
            lease,
            began: Some(now),
            restoring,
            firmware_changes: changes,
            ..EraseRecord::default()
        });
        give(draft, boot, WorkKind::Erase);
    } else {
        draft.lifecycle(Lifecycle::Testing, "inspected");
        give(draft, boot, WorkKind::Test);
    }
}

pub(crate) fn give(draft: &mut Draft<'_>, boot: BootId, kind: WorkKind) {
    match ramdisk::work(draft, kind) {
        Ok(work) => draft.give_task(boot, work),
        Err(why) => procedure::again(draft, HoldKind::AgentFailed, &why, kind),
    }
}

fn tested(draft: &mut Draft<'_>, boot: BootId, results: Vec<TestResult>) {
    let failures: Vec<String> = results
        .iter()
        .filter(|r| r.verdict == Verdict::Failed)
        .map(|r| format!("{} of {}: {}", r.test, r.part, r.detail))
        .collect();
    let count = |v: Verdict| results.iter().filter(|r| r.verdict == v).count();
    draft.audit(
        "machine.tested",
        serde_json::json!({
            "passed": count(Verdict::Passed),
            "failed": failures,
            "not_tested": count(Verdict::NotTested),
        }),
    );
    draft.machine().tests = results;
    if failures.is_empty() {
        let upkeep = &draft.m().upkeep;
        let left = !upkeep.left.is_empty() || !upkeep.unerased.is_empty();
        draft.machine().health = if left { Health::Degraded } else { Health::Ok };
        if !warm::stays(draft, boot) {
            shelve::begin(draft, "tested; powering off");
        }
    } else {
        draft.machine().health = Health::Failed;
        let detail = format!("tests failed: {}", failures.join("; "));
        draft.hold(HoldKind::TestFailed, &detail);
    }
}

fn written(draft: &mut Draft<'_>, boot: BootId, mut report: WriteReport) {
    let asked = draft
        .facts
        .image
        .and_then(|i| i.content.as_ref())
        .map(|c| c.digest.clone());
    if asked.as_ref() != Some(&report.image) {
        procedure::again(
            draft,
            HoldKind::AgentFailed,
            "the agent wrote another image than asked",
            WorkKind::Write,
        );
        return;
    }
    draft.audit(
        "lease.image_written",
        serde_json::json!({
            "image": report.image,
            "written_bytes": report.written_bytes,
            "verified_bytes": report.verified_bytes,
            "content": report.measured.as_ref().map(|m| &m.content),
        }),
    );
    visit::note(
        draft,
        format!("image {} written and read back", report.image),
    );
    let found = report.measured.take();
    let changes = std::mem::take(&mut report.changes);
    let mirrors = report.mirrors.clone();
    for said in &report.mirrored {
        visit::note(draft, said.clone());
    }
    draft.change_lease(|lease| {
        lease.written = Some(report);
        lease.before_reinstall = None;
        if lease.state == LeaseState::Reinstalling {
            let why = "it was reinstalled: that goes through firmware";
            lease.first_start = Some(FirstStart::cold(vec![why.into()]));
        }
        lease.measurements.clear();
    });
    if let Some(found) = found {
        let measurement = Measurement {
            at: draft.now(),
            boot,
            when: MeasuredWhen::BeforeFirstBoot,
            drive: visit::root_serial(draft),
            found: *found,
            changes,
        };
        // Each drive of a mirror was read back, and is as the first.
        let copies: Vec<Measurement> = mirrors
            .into_iter()
            .map(|mirror| Measurement {
                drive: mirror.serial,
                changes: mirror.changes,
                ..measurement.clone()
            })
            .collect();
        for measurement in std::iter::once(measurement).chain(copies) {
            visit::keep(draft, measurement);
        }
    }
    let root = visit::root_serial(draft);
    let prepared = draft.m().warm.prepared.as_ref();
    let prepared = prepared.is_some_and(|p| p.drive.serial == root);
    let stood = prepared && warm_start::stands_prepared(draft);
    if prepared {
        draft.machine().warm.prepared = None;
    }
    if warm_start::is_warm(draft, boot) {
        warm_start::begin(draft, boot, stood);
        return;
    }
    disk::begin(draft, "the image is written and read back; powering off");
}

fn erased(draft: &mut Draft<'_>, drives: Vec<DriveErase>, unordered: &[DriveRef]) {
    if let Some(failure) = verdict::erase_failure(
        &verdict::to_erase(draft.m()),
        &draft.m().upkeep.sizes,
        &drives,
        unordered,
    ) {
        draft.hold(HoldKind::EraseFailed, &failure);
        return;
    }
    if let Some(erase) = &mut draft.machine().erase {
        erase.drives = drives;
    }
    let within = draft.facts.policy.power_deadline + draft.facts.policy.power_break;
    // The agent's boot is over: nothing it still says counts.
    draft.machine().epoch += 1;
    draft.enter(
        Step::PowerBreak { off_since: None },
        "erased; power goes off, so that memory forgets and drives are read uncached",
        within,
        "if it is not seen off, the erase is done again",
    );
}

fn verified(draft: &mut Draft<'_>, boot: BootId, drives: &[DriveVerify], tpm: TpmClear) {
    let facts = EraseFacts {
        machine: draft.m(),
        site: draft.facts.site,
        lease: draft.lease(),
        now: draft.now(),
        canaries: draft.facts.policy.canaries,
        samples: draft.facts.policy.samples,
        drives,
        tpm,
    };
    match verdict::certificate(facts) {
        Err(failure) => draft.hold(HoldKind::EraseFailed, &failure),
        Ok(certificate) => {
            draft.audit(
                "machine.erased",
                serde_json::json!({
                    "evidence": draft.facts.fresh.evidence,
                    "drives": certificate.drives.len(),
                    "unerased": certificate.unerased,
                    "not_done": certificate.not_done,
                }),
            );
            let unerased = certificate.unerased.clone();
            draft.decision.certificate = Some((draft.facts.fresh.evidence, certificate));
            let machine = draft.machine();
            machine.may_hold_data = false;
            machine.upkeep.struck.clear();
            machine.warm.prepared = None;
            machine.upkeep.let_go.clear();
            machine.upkeep.unerased = unerased;
            let record = machine.erase.take().unwrap_or_default();
            machine.attempts = 0;
            release_lease(draft);
            if settings::taken_back(draft, &record) {
                return;
            }
            draft.lifecycle(Lifecycle::Testing, "erased, with a certificate");
            give(draft, boot, WorkKind::Test);
        }
    }
}

/// The erase is accepted: the machine is nobody's from here on.
fn release_lease(draft: &mut Draft<'_>) {
    if draft.m().lease.is_none() {
        return;
    }
    if draft
        .lease()
        .is_some_and(|l| l.state == LeaseState::Releasing)
    {
        draft.lease_state(LeaseState::Released, None);
        // A repair goes on until the machine is offered again.
        let operation = draft.facts.operation;
        if operation.is_none_or(|o| o.kind != OperationKind::Repair) {
            draft.end_operation(OperationState::Succeeded, "released, and erased with proof");
        }
    }
    draft.machine().lease = None;
}

/// Begins to inspect: what every machine goes through before it is offered.
pub(crate) fn begin_inspection(draft: &mut Draft<'_>, why: &str) {
    draft.lifecycle(Lifecycle::Inspecting, why);
    draft.machine().attempts = 0;
    // Whoever wants it tested wants that tried again too.
    draft.machine().warm.trial = None;
    draft.machine().warm.failed = None;
    let hold = draft.machine().hold.take();
    let accounts = hold.is_some_and(|h| h.kind == HoldKind::BmcAccounts);
    if draft.m().upkeep.next_password.is_some() {
        rotate::begin(
            draft,
            AfterRotation::Settings {
                goal: Goal::Inspect,
            },
        );
    } else if accounts || draft.m().lease.is_some() {
        settings::begin(draft, Goal::Inspect);
    } else {
        procedure::boot_ramdisk(draft, RamdiskStep::Off, WorkKind::Inspect);
    }
}

/// Begins the take-over: what is set in it is read as what is wanted, then it is
/// inspected. Where its password is rotated, that comes first of all.
pub(crate) fn begin_take_over(draft: &mut Draft<'_>, why: &str) {
    draft.lifecycle(Lifecycle::Inspecting, why);
    draft.machine().attempts = 0;
    draft.machine().hold = None;
    let goal = Goal::Baseline;
    if draft.m().upkeep.rotate {
        rotate::begin(draft, AfterRotation::Settings { goal });
    } else {
        settings::begin(draft, goal);
    }
}
