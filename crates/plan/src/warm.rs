//! Machines that wait warm: which do, how one comes to, and what ends it.
//!
//! ```text
//!                   kexec not tried with this ramdisk
//! Rest ─► Ramdisk(Trial) ─► Working(Trial) ─► Ramdisk(next boot) ─┐
//!   │                                                             ▼
//!   └───► Ramdisk(Prepare) ─────────────────────► Working(Prepare) ─► Warming ─► Warm ── lease ─► …
//!                                                      ▲                           │
//! Working(Test), at a release ─────────────────────────┘── another image wanted ◄──┤
//!                                                                                  │
//! Rest ◄── Shelve (off, medium out, settled) ◄── not wanted, lost, silent, old ◄───┘
//! ```
//!
//! The machine stays `available` on the way: a lease takes it at any step, and
//! where it does not wait warm the lease powers it off first, as any cold one.

use billet_model::{
    BootId,
    bmc::{BmcFact, BmcReply, BmcRequest, BootTarget},
    lifecycle::{HoldKind, Lifecycle, Power},
    operation::OperationState,
    step::{RamdiskStep, Step, StepNotes, WarmingStep},
    warm::{IdlePower, NotWarm, Prepared, Trial, TrialResult, WarmBoot},
    work::{TrialOrder, Work, WorkFailure, WorkKind, WriteReport},
};
use jiff::SignedDuration;

use crate::{
    decision::Draft,
    next::{Came, insist},
    power, procedure, rest, shelve, storage,
    warm_choice::{WarmImage, Wish},
};

/// Whether the machine is to become warm now, at rest: begins it then.
pub(crate) fn begin(draft: &mut Draft<'_>) -> bool {
    let again = draft.facts.policy.warm_again;
    let machine = draft.m();
    let lately = machine
        .warm
        .failed
        .as_ref()
        .is_some_and(|f| draft.now() < f.until(again));
    let wanted = matches!(draft.facts.wish, Some(Wish::Warm { .. }));
    if !wanted || lately || draft.facts.ramdisk.is_none() || machine.bmc_trouble.is_some() {
        return false;
    }
    let then = if untried(draft, draft.facts.ramdisk) {
        WorkKind::Trial
    } else {
        WorkKind::Prepare
    };
    draft.machine().attempts = 0;
    draft.audit("machine.warming", serde_json::json!({ "first": then }));
    procedure::boot_ramdisk(draft, RamdiskStep::Off, then);
    true
}

/// Whether kexec was not tried with this ramdisk on the machine.
fn untried(draft: &Draft<'_>, ramdisk: Option<&str>) -> bool {
    let trial = draft.m().warm.trial.as_ref();
    trial.is_none_or(|t| Some(t.ramdisk.as_str()) != ramdisk || t.result != TrialResult::Passed)
}

/// The machine's tests passed, in a boot that may go on: `true` where it does.
pub(crate) fn stays(draft: &mut Draft<'_>, boot: BootId) -> bool {
    let wanted = matches!(draft.facts.wish, Some(Wish::Warm { .. }));
    let running = ramdisk_of(draft);
    if !wanted || running.is_none() || running.as_deref() != draft.facts.ramdisk {
        return false;
    }
    draft.machine().attempts = 0;
    go_on(draft, boot);
    true
}

/// The digest of the ramdisk that runs in the present boot.
fn ramdisk_of(draft: &Draft<'_>) -> Option<String> {
    draft.facts.boot.and_then(|b| b.ramdisk.clone())
}

/// The agent of a boot for this is there.
pub(crate) fn arrived(draft: &mut Draft<'_>, boot: BootId) {
    let by_kexec = trial_of(draft) == Some(boot);
    if by_kexec {
        trial_ends(draft, TrialResult::Passed);
    }
    draft.machine().attempts = 0;
    remember(draft, boot, by_kexec);
    go_on(draft, boot);
}

fn remember(draft: &mut Draft<'_>, boot: BootId, by_kexec: bool) {
    let (now, ramdisk) = (draft.now(), ramdisk_of(draft).unwrap_or_default());
    draft.machine().warm.boot = Some(WarmBoot {
        id: boot,
        ramdisk,
        by_kexec,
        since: now,
    });
}

/// The boot that the trial under way is to begin.
fn trial_of(draft: &Draft<'_>) -> Option<BootId> {
    match draft.m().warm.trial.as_ref()?.result {
        TrialResult::UnderWay { next } => Some(next),
        _ => None,
    }
}

/// What is missing for it to wait, one thing after the other.
fn go_on(draft: &mut Draft<'_>, boot: BootId) {
    let image = match draft.facts.wish.clone() {
        Some(Wish::Warm { image }) => image,
        Some(Wish::Cold { why }) => return cool(draft, &why.to_string()),
        None => return cool(draft, "it is not known whether it is wanted warm"),
    };
    let running = ramdisk_of(draft);
    if running.as_deref() != draft.facts.ramdisk {
        return cool(draft, "the ramdisk was renewed");
    }
    if draft.m().warm.boot.as_ref().map(|b| b.id) != Some(boot) {
        remember(draft, boot, false);
    }
    if untried(draft, running.as_deref()) {
        try_kexec(draft, boot, running.unwrap_or_default());
        return;
    }
    match image {
        Some(image) if !holds(draft, &image, boot) => prepare(draft, boot, &image),
        _ => {
            let within = draft.facts.policy.settle + draft.facts.policy.power_deadline;
            let at = WarmingStep::Settle;
            draft.enter(
                Step::Warming { at, boot },
                "making sure that nothing asked of the BMC comes late",
                within,
                OTHERWISE,
            );
        }
    }
}

/// What is done where it does not become warm.
const OTHERWISE: &str = "it is powered off, and waits cold";

/// Whether the image stands on the drive, written and read back in this boot.
pub(crate) fn holds(draft: &Draft<'_>, image: &WarmImage, boot: BootId) -> bool {
    let prepared = draft.m().warm.prepared.as_ref();
    prepared.is_some_and(|p| p.read_back && p.boot == boot && p.digest == image.digest)
}

fn try_kexec(draft: &mut Draft<'_>, boot: BootId, ramdisk: String) {
    let now = draft.now();
    let next = draft.new_boot(billet_model::step::BootOf::Ramdisk);
    draft.machine().warm.trial = Some(Trial {
        ramdisk,
        result: TrialResult::UnderWay { next },
        at: now,
    });
    draft.give_task(boot, Work::Trial(TrialOrder { next, token: None }));
}

fn prepare(draft: &mut Draft<'_>, boot: BootId, image: &WarmImage) {
    let now = draft.now();
    let drive = match storage::choose_of(&Default::default(), draft.m()) {
        Ok(drive) => drive,
        Err(why) => return fails(draft, &why),
    };
    // From here on the drive may hold a part of it, whatever becomes of the work.
    draft.machine().warm.prepared = Some(Prepared {
        image: image.id,
        digest: image.digest.clone(),
        drive: drive.clone(),
        boot,
        read_back: false,
        at: now,
    });
    let order = billet_model::work::PrepareOrder {
        image: image.digest.clone(),
        drive,
    };
    draft.give_task(boot, Work::Prepare(order));
}

/// The image stands on the drive and was read back.
pub(crate) fn prepared(draft: &mut Draft<'_>, boot: BootId, report: &WriteReport) {
    let now = draft.now();
    let ordered = draft.m().warm.prepared.clone();
    let Some(mut stands) = ordered.filter(|p| p.boot == boot && p.digest == report.image) else {
        let why = "the agent prepared another image than asked";
        procedure::again(draft, HoldKind::AgentFailed, why, WorkKind::Prepare);
        return;
    };
    draft.audit(
        "machine.image_prepared",
        serde_json::json!({
            "image": stands.image,
            "digest": report.image,
            "drive": stands.drive.serial,
            "written_bytes": report.written_bytes,
            "verified_bytes": report.verified_bytes,
        }),
    );
    stands.read_back = true;
    stands.at = now;
    draft.machine().warm.prepared = Some(stands);
    go_on(draft, boot);
}

/// The ramdisk is about to start itself.
pub(crate) fn trial_starts(draft: &mut Draft<'_>) {
    let Some(next) = trial_of(draft) else {
        let why = "the agent tried kexec without being asked";
        procedure::again(draft, HoldKind::AgentFailed, why, WorkKind::Prepare);
        return;
    };
    let within = draft.facts.policy.trial_deadline;
    remember(draft, next, true);
    draft.enter(
        Step::Ramdisk {
            at: RamdiskStep::AwaitAgent,
            boot: next,
            then: WorkKind::Prepare,
        },
        "the ramdisk starts itself by kexec, to see whether that works here",
        within,
        "kexec counts as failed on this machine, and it waits cold",
    );
    // Woken by the agent's word.
    draft.sleep(within);
}

/// Whether this boot is one that a trial begins, and it did not come: the trial
/// has failed then.
pub(crate) fn trial_overdue(draft: &mut Draft<'_>, boot: BootId) -> bool {
    if trial_of(draft) != Some(boot) {
        return false;
    }
    trial_failed(draft, "no agent called in from the kernel that was started");
    true
}

fn trial_failed(draft: &mut Draft<'_>, why: &str) {
    trial_ends(draft, TrialResult::Failed { why: why.into() });
    fails(draft, &format!("kexec failed its trial: {why}"));
}

fn trial_ends(draft: &mut Draft<'_>, result: TrialResult) {
    let Some(mut trial) = draft.m().warm.trial.clone() else {
        return;
    };
    draft.audit(
        "machine.kexec_trial",
        serde_json::json!({ "ramdisk": trial.ramdisk, "came_of_it": result }),
    );
    trial.result = result;
    draft.machine().warm.trial = Some(trial);
}

/// The agent said that it could not do what a machine that is to wait warm needs.
pub(crate) fn not_done(draft: &mut Draft<'_>, kind: WorkKind, how: WorkFailure, why: &str) {
    match (kind, how) {
        (_, WorkFailure::Network | WorkFailure::Superseded) => {
            procedure::again(draft, HoldKind::AgentFailed, why, WorkKind::Prepare);
        }
        (WorkKind::Trial, _) => trial_failed(draft, why),
        // It would fail a tenant as well.
        (_, WorkFailure::DriveMissing | WorkFailure::DriveFailed) => {
            draft.hold(HoldKind::TestFailed, why);
        }
        (_, WorkFailure::ImageCorrupt | WorkFailure::ImageUnsuitable) => fails(draft, why),
        _ => procedure::again(draft, HoldKind::AgentFailed, why, kind),
    }
}

/// It could not be brought to wait, for a reason that may last.
pub(crate) fn fails(draft: &mut Draft<'_>, why: &str) {
    let at = draft.now();
    let before = draft.m().warm.failed.as_ref().map_or(0, |f| f.times);
    draft.machine().warm.failed = Some(NotWarm {
        why: why.to_owned(),
        at,
        times: before.saturating_add(1),
    });
    cool(draft, why);
}

/// Off, medium out, settled: it waits cold.
pub(crate) fn cool(draft: &mut Draft<'_>, why: &str) {
    draft.audit("machine.not_warm", serde_json::json!({ "why": why }));
    draft.machine().warm.boot = None;
    shelve::begin(draft, &format!("{why}; powering off"));
}

/// Takes the medium out under the running ramdisk and sees that all is settled.
pub(crate) fn warming(draft: &mut Draft<'_>, came: &Came<'_>, at: WarmingStep, boot: BootId) {
    let policy = draft.facts.policy;
    if let Some(why) = lost(draft) {
        fails(draft, &why);
        return;
    }
    if draft.overdue() {
        let said = draft.m().notes.last_failure.clone().unwrap_or_default();
        let why = format!("it could not be made ready to wait {said}");
        fails(draft, why.trim_end());
        return;
    }
    let (done, next, reason, within) = match at {
        // A late request may also put the medium back, or power it off.
        WarmingStep::Settle => (
            power::settled(draft),
            WarmingStep::Eject,
            "taking the boot medium out",
            policy.bmc_deadline,
        ),
        WarmingStep::Eject => (
            insist(draft, came, BmcRequest::EjectMedia),
            WarmingStep::SetBoot,
            "setting the boot to the drive",
            policy.bmc_deadline,
        ),
        WarmingStep::SetBoot => {
            let target = BootTarget::Disk;
            (
                insist(draft, came, BmcRequest::SetBoot { target }),
                WarmingStep::Look,
                "making sure that nothing asked of the BMC comes late",
                policy.settle + policy.power_deadline,
            )
        }
        WarmingStep::Look => {
            if power::settled(draft) {
                look(draft, boot);
            }
            return;
        }
    };
    if done {
        draft.enter(Step::Warming { at: next, boot }, reason, within, OTHERWISE);
    }
}

/// It waits once the power was read as on after all that.
fn look(draft: &mut Draft<'_>, boot: BootId) {
    let (since, poll) = (draft.m().step_since, draft.facts.policy.power_poll);
    match draft.m().power.filter(|r| r.at > since) {
        None => draft.ask(BmcRequest::ReadPower),
        Some(reading) if reading.power == Power::On => waits(draft, boot),
        Some(reading) if draft.now().duration_since(reading.at) >= poll => {
            draft.ask(BmcRequest::ReadPower);
        }
        Some(_) => draft.sleep(poll),
    }
}

fn waits(draft: &mut Draft<'_>, boot: BootId) {
    if draft.m().may_hold_data || draft.m().lease.is_some() {
        let why = "the machine may still hold someone's data";
        draft.hold(HoldKind::EraseFailed, why);
        return;
    }
    let (now, silence) = (draft.now(), draft.facts.policy.agent_silence);
    draft.lifecycle(Lifecycle::Available, "erased and tested; it waits warm");
    let image = draft.m().warm.prepared.as_ref().map(|p| p.digest.clone());
    draft.audit("machine.warm", serde_json::json!({ "image": image }));
    draft.end_operation(OperationState::Succeeded, "available, and warm");
    let machine = draft.machine();
    machine.step = Step::Warm { boot };
    machine.step_since = now;
    machine.notes = StepNotes::default();
    machine.attempts = 0;
    machine.hold = None;
    machine.waiting = None;
    machine.warm.failed = None;
    machine.warm.idle = None;
    machine.wake_at = now + silence;
}

/// Why it is not there any more, if so.
fn lost(draft: &Draft<'_>) -> Option<String> {
    let off = draft.m().power.is_some_and(|r| r.power == Power::Off);
    if off {
        return Some("it lost its power while it waited warm".into());
    }
    (silent(draft) >= draft.facts.policy.agent_silence)
        .then(|| "its agent fell silent while it waited warm".into())
}

/// For how long the agent was not heard.
fn silent(draft: &Draft<'_>) -> SignedDuration {
    let since = draft.m().step_since;
    let seen = draft.facts.boot.and_then(|b| b.seen_at);
    draft
        .now()
        .duration_since(seen.map_or(since, |t| t.max(since)))
}

/// It waits: watches over it.
pub(crate) fn warm(draft: &mut Draft<'_>, came: &Came<'_>, boot: BootId) {
    let (now, policy) = (draft.now(), draft.facts.policy);
    if let Some((BmcRequest::ReadWatts, reply)) = came {
        let watts = match reply {
            BmcReply::Done {
                fact: BmcFact::Watts { watts },
            } => *watts,
            _ => None,
        };
        draft.machine().warm.idle = Some(IdlePower { watts, at: now });
    }
    if let Some(why) = lost(draft) {
        fails(draft, &why);
        return;
    }
    let old = now.duration_since(draft.m().step_since) >= refresh(draft);
    match draft.facts.wish.clone() {
        // Not asked for in this look.
        None => {}
        Some(Wish::Cold { why }) => return cool(draft, &why.to_string()),
        Some(Wish::Warm { .. }) if old => {
            return cool(draft, "it waited for long: it is begun anew");
        }
        Some(Wish::Warm { image }) => {
            let running = draft.m().warm.boot.as_ref().map(|b| b.ramdisk.as_str());
            let another = image.is_some_and(|i| !holds(draft, &i, boot));
            if running != draft.facts.ramdisk || another {
                return go_on(draft, boot);
            }
        }
    }
    let due = |at: billet_model::Time, every| now.duration_since(at) >= every;
    let idle = draft.m().warm.idle.map(|i| i.at);
    let quiet = due(draft.m().step_since, policy.power_poll);
    if quiet && idle.is_none_or(|at| due(at, policy.look * 12)) {
        draft.machine().notes.asked_at = Some(now);
        draft.ask(BmcRequest::ReadWatts);
        return;
    }
    rest::look_at_power(draft, policy.look);
    let patience = (policy.agent_silence - silent(draft)).max(SignedDuration::from_millis(10));
    let machine = draft.machine();
    machine.wake_at = machine.wake_at.min(now + patience);
    if !quiet {
        machine.wake_at = machine.wake_at.min(machine.step_since + policy.power_poll);
    }
}

/// How long it waits before it is begun anew. Each machine has a time of its own,
/// so that not all of a type are away at once.
fn refresh(draft: &Draft<'_>) -> SignedDuration {
    let all = draft.facts.policy.warm_refresh;
    let share = i32::from(draft.m().id.0.as_bytes()[15]);
    all + all * share / 1024
}

/// Whether a lease can have the machine as it waits: the boot it waits in.
///
/// # Errors
/// Why it cannot, in a sentence for its tenant.
pub(crate) fn takes(draft: &Draft<'_>) -> Result<BootId, String> {
    let Step::Warm { boot } = draft.m().step else {
        return Err("its machine did not wait warm".into());
    };
    let on = draft.m().power.is_some_and(|r| r.power == Power::On);
    if !on || lost(draft).is_some() {
        return Err("its machine's ramdisk was not heard".into());
    }
    if draft.m().uncertain_since.is_some() {
        return Err("a change that was asked of its machine's BMC might come late".into());
    }
    Ok(boot)
}
