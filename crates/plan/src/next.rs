//! One step on, for one machine.

use billet_model::{
    bmc::{BmcFact, BmcFailure, BmcReply, BmcRequest, BmcTrouble},
    lifecycle::{HoldKind, Lifecycle, PowerReading},
    machine::Machine,
    step::{AfterRotation, Goal, InstallStep, Step},
};

use crate::{
    Decision, Facts, decision::Draft, disk, install, look_over, procedure, ramdisk, rest, rotate,
    settings, shelve, told, visit, warm, warm_start, working,
};

/// What came of the request that was pending, if anything did.
pub(crate) type Came<'a> = Option<(BmcRequest, &'a BmcReply)>;

/// Decides what a machine's next step is.
///
/// Total: every combination of facts has an answer, and calling it again with
/// the same facts gives the same one. A machine whose request is under way is
/// left as it is.
pub fn next_step(facts: &Facts<'_>) -> Decision {
    let mut draft = Draft::new(facts);
    let came = match draft.m().pending.clone() {
        None => None,
        Some(pending) => match facts.reply {
            Some(reply) => {
                draft.machine().pending = None;
                absorb(&mut draft, &pending.request, reply);
                Some((pending.request, reply))
            }
            None if facts.orphaned => {
                // Nobody knows whether it was sent, or carried out, or will be.
                draft.machine().pending = None;
                if pending.request.is_change() {
                    draft.machine().uncertain_since = Some(facts.now);
                }
                None
            }
            None => return draft.decision,
        },
    };
    // A decision that neither asks nor waits shall be looked at again now.
    draft.machine().wake_at = facts.now;
    if draft.m().unconfirmed {
        rest::observe_only(&mut draft);
    } else if !refused_for_good(&mut draft, &came) {
        step(&mut draft, &came);
    }
    draft.decision
}

/// Whether a machine's next step may depend on what was found in it: else its inventory
/// and firmware can be left out, which is most of its record.
pub fn looks_inside(machine: &Machine) -> bool {
    machine.step != Step::Rest
}

fn step(draft: &mut Draft<'_>, came: &Came<'_>) {
    // Whatever is done on a tenant's machine meanwhile.
    rest::warn(draft);
    if let Some((request, BmcReply::Failed { .. } | BmcReply::Uncertain { .. })) = came
        && pauses(&draft.m().step, request)
    {
        let pause = draft.backoff();
        draft.sleep(pause);
        return;
    }
    match draft.m().step.clone() {
        Step::Rest => rest::rest(draft),
        Step::Discover => rest::discover(draft, came),
        Step::ReadSettings { then } => settings::read(draft, came, then),
        Step::Restore { then } => settings::restore(draft, came, then),
        Step::Rotate {
            at,
            form,
            sent,
            then,
        } => rotate::rotate(draft, came, at, form, sent, then),
        Step::LookOver => look_over::look_over(draft, came),
        Step::Ramdisk { at, boot, then } => ramdisk::ramdisk(draft, came, at, boot, then),
        Step::Working { kind, boot, .. } => working::working(draft, kind, boot),
        Step::Rescue { .. } => visit::rescue(draft),
        Step::PowerBreak { off_since } => ramdisk::power_break(draft, off_since),
        Step::Install { at, boot } => install::install(draft, came, at, boot),
        Step::DiskBoot { at } => disk::disk_boot(draft, came, at),
        Step::FirstBoot { by } => disk::first_boot(draft, by),
        Step::Warming { at, boot } => warm::warming(draft, came, at, boot),
        Step::Warm { boot } => warm::warm(draft, came, boot),
        Step::Shelve { at } => shelve::shelve(draft, came, at),
        Step::ChangePower { action } => rest::change_power(draft, came, action),
    }
}

/// Whether a request that failed in this step is just asked for again, after a
/// pause that grows. The steps that are left out look at the failure themselves.
fn pauses(step: &Step, request: &BmcRequest) -> bool {
    match step {
        Step::Rest
        | Step::Discover
        | Step::Rescue { .. }
        | Step::Warm { .. }
        | Step::Install {
            at: InstallStep::Run,
            ..
        } => false,
        Step::ChangePower { .. } => *request == BmcRequest::ReadPower,
        Step::Rotate { .. } => *request == BmcRequest::TryPassword,
        _ => true,
    }
}

/// Takes what a reply says of power and trouble, whatever the step.
fn absorb(draft: &mut Draft<'_>, request: &BmcRequest, reply: &BmcReply) {
    let now = draft.now();
    let words = told::words(draft, reply);
    let machine = draft.machine();
    match reply {
        BmcReply::Done { fact } => {
            machine.bmc_trouble = None;
            machine.notes.failures = 0;
            if let BmcFact::Power { power } | BmcFact::Discovered { power, .. } = fact {
                machine.power = Some(PowerReading {
                    power: *power,
                    at: now,
                });
            }
        }
        BmcReply::Failed { kind, detail } => {
            machine.notes.failures += 1;
            machine.notes.last_failure = words;
            let since = machine
                .bmc_trouble
                .as_ref()
                .filter(|t| t.kind == *kind)
                .map_or(now, |t| t.since);
            machine.bmc_trouble = Some(BmcTrouble {
                kind: *kind,
                detail: detail.clone(),
                since,
            });
        }
        BmcReply::Uncertain { .. } => {
            machine.notes.failures += 1;
            machine.notes.last_failure = words;
            if request.is_change() {
                machine.uncertain_since = Some(now);
            }
        }
    }
}

/// A wrong password or certificate does not mend itself by trying again.
fn refused_for_good(draft: &mut Draft<'_>, came: &Came<'_>) -> bool {
    if !draft.m().lifecycle.is_working() {
        return false;
    }
    let Some((_, reply @ BmcReply::Failed { kind, .. })) = came else {
        return false;
    };
    // A rotation looks itself which password is taken.
    let rotating = matches!(draft.m().step, Step::Rotate { .. });
    let hold = match kind {
        BmcFailure::Credentials | BmcFailure::PasswordChange if rotating => return false,
        BmcFailure::PasswordChange => {
            if let Step::ReadSettings { then } = draft.m().step
                && draft.m().upkeep.rotate
                && draft.m().upkeep.rotation_failed.is_none()
            {
                let goal = match then {
                    // The ramdisk that waits is given up meanwhile.
                    Goal::DeployWarm { .. } => {
                        warm_start::falls_back(draft, "its BMC wanted another password first");
                        Goal::Deploy
                    }
                    other => other,
                };
                rotate::begin(draft, AfterRotation::Settings { goal });
                return true;
            }
            HoldKind::BmcCredentials
        }
        BmcFailure::Credentials => HoldKind::BmcCredentials,
        BmcFailure::Certificate => HoldKind::BmcCertificate,
        _ => return false,
    };
    let said = told::words(draft, reply).unwrap_or_default();
    let detail = format!("the BMC: {said}");
    if draft.m().lifecycle == Lifecycle::Deploying {
        let why = "its machine's BMC could not be used";
        if visit::lasts(draft) {
            visit::broken_and_held(draft, why);
        } else {
            procedure::fail_lease(draft, why);
        }
    }
    draft.hold(hold, &detail);
    true
}

/// Whether a request that changes things was just done.
pub(crate) fn was_done(came: &Came<'_>, of: impl Fn(&BmcRequest) -> bool) -> bool {
    matches!(came, Some((request, BmcReply::Done { .. })) if of(request))
}

/// Asks for something that can safely be asked for again, until it is done.
/// `true` once it is.
pub(crate) fn insist(draft: &mut Draft<'_>, came: &Came<'_>, request: BmcRequest) -> bool {
    if was_done(came, |r| *r == request) {
        return true;
    }
    draft.ask(request);
    false
}
