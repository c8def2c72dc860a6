//! Planted bugs: each a decision that is wrong in one way. The checkers must
//! catch every one of them, and know of none.

use billet_model::{
    bmc::{BmcFact, BmcReply, BmcRequest, PowerAction},
    lease::{ActiveBecause, BeforeReinstall, LeaseState},
    lifecycle::{Lifecycle, Power, PowerReading},
    machine::Machine,
    step::{
        DiskStep, EraseRecord, Goal, InstallStep, Pending, RamdiskStep, ShelveStep, Step,
        WarmingStep,
    },
    upkeep::Restoration,
    work::{ArrayOrder, Work, WorkKind, WorkOutcome},
};
use billet_plan::{
    AuditNote, Decision, Effect, Facts, PasswordWrite, next_step, warm_choice::Wish,
};
use jiff::SignedDuration;

/// A planted bug.
#[derive(Debug)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// What it does wrong.
    pub story: &'static str,
    /// The decision instead of the right one.
    pub decide: fn(&Facts<'_>) -> Decision,
    /// What is wrong in the agents' channel.
    pub channel: Channel,
}

/// What is wrong in the agents' channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Nothing.
    Right,
    /// "May I write?" is always answered with yes.
    AlwaysYes,
}

/// All of them.
pub static ALL: &[Mutant] = &[
    mutant(
        "no-settle",
        "forgets that an outcome is uncertain",
        no_settle,
    ),
    mutant(
        "no-settle-at-handover",
        "hands over without waiting for what may come late",
        no_settle_at_handover,
    ),
    mutant(
        "power-again-unseen",
        "sends power again because the answer was lost",
        power_again_unseen,
    ),
    mutant(
        "uncertain-is-done",
        "takes an uncertain change for done",
        uncertain_is_done,
    ),
    mutant(
        "unmarked-grant",
        "does not mark a machine that is being written",
        unmarked_grant,
    ),
    mutant(
        "blind-verify",
        "accepts an erase whatever the read-back found",
        blind_verify,
    ),
    mutant(
        "no-erase",
        "gives a machine back without an erase",
        no_erase,
    ),
    mutant(
        "early-release",
        "lets go of a machine before its certificate",
        early_release,
    ),
    mutant(
        "effect-of-the-next",
        "after a crash, goes on as if the request had been done",
        effect_of_the_next,
    ),
    mutant(
        "forgotten-request",
        "after a crash, forgets that a request was pending",
        forgotten_request,
    ),
    mutant(
        "medium-stays",
        "does not take the boot medium out",
        medium_stays,
    ),
    mutant(
        "installer-stays",
        "does not take an installer's medium out",
        installer_stays,
    ),
    mutant(
        "installer-cut-off",
        "powers the machine off when its installer says that it is done",
        installer_cut_off,
    ),
    mutant(
        "installer-for-ever",
        "waits for an installer's word for ever",
        installer_for_ever,
    ),
    mutant(
        "medium-out-too-early",
        "takes the boot medium out before what may come late has had its time",
        medium_out_too_early,
    ),
    mutant(
        "medium-while-on",
        "inserts the boot medium without powering off",
        medium_while_on,
    ),
    mutant(
        "active-unheard",
        "calls a lease active before anything was heard of it",
        active_unheard,
    ),
    mutant(
        "eager-enrolment",
        "powers a machine off when it is enrolled",
        eager_enrolment,
    ),
    mutant(
        "off-record",
        "changes the lifecycle without saying so",
        off_record,
    ),
    mutant("no-deadline", "waits without a deadline", no_deadline),
    mutant("for-ever", "never gives up", for_ever),
    mutant(
        "stale-reading",
        "takes an old reading of the power for a new one",
        stale_reading,
    ),
    mutant(
        "no-power-break",
        "reads an erase back without a power break",
        no_power_break,
    ),
    mutant(
        "sleepy",
        "goes to sleep over a request that was orphaned",
        sleepy,
    ),
    mutant(
        "wipes-kept-drives",
        "erases drives that the tenant keeps",
        wipes_kept_drives,
    ),
    mutant(
        "marks-kept-arrays",
        "makes arrays anew that the tenant keeps",
        marks_kept_arrays,
    ),
    mutant(
        "no-arrays",
        "hands over without the arrays that were asked for",
        no_arrays,
    ),
    mutant(
        "rescue-that-wipes",
        "erases drives in a rescue",
        rescue_that_wipes,
    ),
    mutant(
        "measure-that-wipes",
        "erases drives that it was to measure",
        measure_that_wipes,
    ),
    mutant(
        "no-way-back",
        "erases a tenant's machine when a reinstallation fails",
        no_way_back,
    ),
    mutant(
        "forgets-the-writing",
        "takes a drive that may have been written for the one that came up before",
        forgets_the_writing,
    ),
    mutant(
        "password-unkept",
        "sends a password before it is kept",
        password_unkept,
    ),
    mutant(
        "password-forgotten",
        "forgets the next password when the answer to it is lost",
        password_forgotten,
    ),
    mutant(
        "restores-on-paper",
        "says that what a lease left was put back, and asks for nothing",
        restores_on_paper,
    ),
    mutant(
        "private-image",
        "puts a project's own image on a machine before its lease",
        private_image,
    ),
    mutant(
        "warm-medium-stays",
        "does not take the boot medium out of a machine that waits warm",
        warm_medium_stays,
    ),
    mutant(
        "no-fallback",
        "calls a lease active once its kernel is started",
        no_fallback,
    ),
    Mutant {
        name: "always-yes",
        story: "an agent may always write",
        decide: next_step,
        channel: Channel::AlwaysYes,
    },
];

const fn mutant(
    name: &'static str,
    story: &'static str,
    decide: fn(&Facts<'_>) -> Decision,
) -> Mutant {
    Mutant {
        name,
        story,
        decide,
        channel: Channel::Right,
    }
}

/// The mutant of this name.
pub fn named(name: &str) -> Option<&'static Mutant> {
    ALL.iter().find(|m| m.name == name)
}

/// The right decision for a machine that is first made another.
fn with(facts: &Facts<'_>, change: impl FnOnce(&mut Machine)) -> Decision {
    let mut machine = facts.machine.clone();
    change(&mut machine);
    next_step(&Facts {
        machine: &machine,
        ..facts.clone()
    })
}

fn no_settle(facts: &Facts<'_>) -> Decision {
    with(facts, |m| m.uncertain_since = None)
}

fn no_settle_at_handover(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if matches!(m.step, Step::FirstBoot { .. } | Step::DiskBoot { .. }) {
            m.uncertain_since = None;
        }
    })
}

/// What was once a bug of ours: the settling came after the medium was taken out.
fn medium_out_too_early(facts: &Facts<'_>) -> Decision {
    let since = facts.machine.uncertain_since;
    let early = matches!(
        facts.machine.step,
        Step::DiskBoot { at: DiskStep::Off }
            | Step::Shelve {
                at: ShelveStep::Off
            }
    );
    if !early {
        return next_step(facts);
    }
    let mut decision = with(facts, |m| m.uncertain_since = None);
    let uncertain = &mut decision.machine.uncertain_since;
    *uncertain = uncertain.or(since);
    decision
}

fn power_again_unseen(facts: &Facts<'_>) -> Decision {
    let lost = match (&facts.machine.pending, facts.reply) {
        (
            Some(Pending {
                request: BmcRequest::Power { action },
                ..
            }),
            Some(BmcReply::Uncertain { .. }),
        ) => Some(*action),
        _ => None,
    };
    let mut decision = next_step(facts);
    if let Some(action) = lost
        && decision.effect.is_none()
    {
        ask(&mut decision, facts, BmcRequest::Power { action });
    }
    decision
}

fn ask(decision: &mut Decision, facts: &Facts<'_>, request: BmcRequest) {
    let machine = &mut decision.machine;
    machine.requests += 1;
    let pending = Pending {
        number: machine.requests,
        request,
        since: facts.now,
    };
    machine.pending = Some(pending.clone());
    decision.effect = Some(Effect::Ask(pending));
}

fn uncertain_is_done(facts: &Facts<'_>) -> Decision {
    let done = BmcReply::Done {
        fact: BmcFact::Done,
    };
    match facts.reply {
        Some(BmcReply::Uncertain { .. }) => next_step(&Facts {
            reply: Some(&done),
            ..facts.clone()
        }),
        _ => next_step(facts),
    }
}

fn unmarked_grant(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if facts.machine.step == (Step::ReadSettings { then: Goal::Deploy }) {
        decision.machine.may_hold_data = false;
        decision.audit.push(note("machine.cleared", &()));
    }
    decision
}

fn note(action: &'static str, detail: &impl serde::Serialize) -> AuditNote {
    AuditNote {
        action,
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn blind_verify(facts: &Facts<'_>) -> Decision {
    let Some(mut task) = facts.task.cloned() else {
        return next_step(facts);
    };
    if let Some(WorkOutcome::Verified { drives, .. }) = &mut task.outcome {
        for drive in drives {
            drive.canaries_found = 0;
            drive.samples_with_data = 0;
        }
    }
    next_step(&Facts {
        task: Some(&task),
        ..facts.clone()
    })
}

fn no_erase(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if facts.machine.step != (Step::ReadSettings { then: Goal::Erase })
        || facts.machine.pending.is_some()
    {
        return decision;
    }
    let from = facts.machine.lifecycle;
    decision.audit.push(note(
        "machine.lifecycle",
        &serde_json::json!({ "from": from, "to": Lifecycle::Testing, "why": "in a hurry" }),
    ));
    let machine = &mut decision.machine;
    machine.lifecycle = Lifecycle::Testing;
    machine.may_hold_data = false;
    machine.lease = None;
    machine.erase = None;
    machine.step = Step::Shelve {
        at: ShelveStep::Off,
    };
    if let Some(lease) = facts.lease.filter(|l| l.state == LeaseState::Releasing) {
        let mut lease = lease.clone();
        lease.state = LeaseState::Released;
        lease.ended_at = Some(facts.now);
        decision.lease = Some(lease);
        decision.audit.push(note(
            "lease.state",
            &serde_json::json!({ "from": LeaseState::Releasing, "to": LeaseState::Released }),
        ));
    }
    decision
}

fn early_release(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if facts.machine.step == (Step::ReadSettings { then: Goal::Erase })
        && decision.machine.lease.is_some()
    {
        decision.machine.lease = None;
        decision.audit.push(note("machine.released", &()));
    }
    decision
}

fn effect_of_the_next(facts: &Facts<'_>) -> Decision {
    let done = BmcReply::Done {
        fact: BmcFact::Done,
    };
    if facts.orphaned
        && facts
            .machine
            .pending
            .as_ref()
            .is_some_and(|p| p.request.is_change())
    {
        return next_step(&Facts {
            reply: Some(&done),
            orphaned: false,
            ..facts.clone()
        });
    }
    next_step(facts)
}

fn forgotten_request(facts: &Facts<'_>) -> Decision {
    if facts.orphaned {
        return with(facts, |m| m.pending = None);
    }
    next_step(facts)
}

fn medium_stays(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if m.step
            == (Step::DiskBoot {
                at: DiskStep::Eject,
            })
            && m.pending.is_none()
        {
            m.step = Step::DiskBoot {
                at: DiskStep::SetBoot,
            };
        }
    })
}

fn installer_stays(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if let Step::Install {
            at: at @ InstallStep::Eject,
            ..
        } = &mut m.step
            && m.pending.is_none()
        {
            *at = InstallStep::SetDisk;
        }
    })
}

fn installer_cut_off(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if let Step::Install {
            at: InstallStep::Eject,
            ..
        } = m.step
            && m.pending.is_none()
        {
            m.step = Step::DiskBoot { at: DiskStep::Off };
        }
    })
}

fn installer_for_ever(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if let Step::Install {
        at: InstallStep::Run,
        ..
    } = decision.machine.step
        && let Some(waiting) = &mut decision.machine.waiting
    {
        waiting.deadline = facts.now + SignedDuration::from_hours(1000);
    }
    decision
}

fn medium_while_on(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if let Step::Ramdisk {
            at: at @ RamdiskStep::Off,
            ..
        } = &mut m.step
            && m.pending.is_none()
        {
            *at = RamdiskStep::Insert;
        }
    })
}

fn active_unheard(facts: &Facts<'_>) -> Decision {
    let lease = facts.lease.cloned().map(|mut lease| {
        if matches!(facts.machine.step, Step::FirstBoot { .. }) {
            lease.active_because = Some(ActiveBecause::PortAnswered);
        }
        lease
    });
    next_step(&Facts {
        lease: lease.as_ref(),
        ..facts.clone()
    })
}

fn eager_enrolment(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if facts.machine.step == Step::Discover
        && decision.machine.step == Step::Rest
        && decision.effect.is_none()
    {
        ask(
            &mut decision,
            facts,
            BmcRequest::Power {
                action: PowerAction::Off,
            },
        );
    }
    decision
}

fn off_record(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    for row in &mut decision.audit {
        if row.action == "machine.lifecycle" {
            row.action = "machine.note";
        }
    }
    decision
}

fn no_deadline(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    decision.machine.waiting = None;
    decision
}

fn for_ever(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if let Some(waiting) = &mut decision.machine.waiting
        && matches!(
            decision.machine.step,
            Step::Ramdisk {
                at: RamdiskStep::AwaitAgent,
                ..
            } | Step::FirstBoot { .. }
        )
    {
        waiting.deadline = facts.now + SignedDuration::from_hours(1000);
    }
    decision
}

fn stale_reading(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if let Some(PowerReading { at, .. }) = &mut m.power {
            *at = facts.now;
        }
    })
}

fn no_power_break(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if matches!(m.step, Step::PowerBreak { .. }) && m.pending.is_none() {
            m.step = Step::PowerBreak {
                off_since: Some(facts.now - facts.policy.power_break),
            };
            m.power = Some(PowerReading {
                power: Power::Off,
                at: facts.now,
            });
        }
    })
}

fn sleepy(facts: &Facts<'_>) -> Decision {
    let orphaned = facts.orphaned && facts.machine.pending.is_some();
    let mut decision = next_step(facts);
    if orphaned
        && !matches!(
            decision.machine.step,
            Step::Working {
                kind: WorkKind::Test,
                ..
            }
        )
    {
        decision.machine.wake_at = facts.now + SignedDuration::from_hours(1000);
        decision.effect = None;
        decision.machine.pending = None;
    }
    decision
}

/// Another work for the agent than the one that the ramdisk was booted for.
fn instead(facts: &Facts<'_>, of: WorkKind) -> Decision {
    with(facts, |m| {
        if let Step::Ramdisk {
            at: RamdiskStep::AwaitAgent,
            then,
            ..
        } = &mut m.step
            && *then == of
            && facts.lease.is_some_and(|l| l.state.is_tenants())
        {
            *then = WorkKind::Wipe;
        }
    })
}

fn wipes_kept_drives(facts: &Facts<'_>) -> Decision {
    let mut decision = instead(facts, WorkKind::Write);
    let kept = facts.lease.and_then(|l| l.visits.last());
    if let Some(record) = &mut decision.task
        && let Work::Wipe(order) = &mut record.task.work
        && let Some(visit) = kept
    {
        let drives = facts.machine.drives.iter();
        let kept = drives.filter(|d| visit.kept_drives.contains(&d.serial));
        order.drives.extend(kept.cloned());
    }
    decision
}

/// The right decision, but for what is ordered of arrays.
fn with_arrays(facts: &Facts<'_>, change: fn(&mut Vec<ArrayOrder>)) -> Decision {
    let mut decision = next_step(facts);
    if let Some(record) = &mut decision.task
        && let Work::Write(order) = &mut record.task.work
    {
        change(&mut order.arrays);
    }
    decision
}

fn marks_kept_arrays(facts: &Facts<'_>) -> Decision {
    with_arrays(facts, |arrays| {
        for array in arrays {
            array.kept = false;
        }
    })
}

fn no_arrays(facts: &Facts<'_>) -> Decision {
    with_arrays(facts, Vec::clear)
}

fn rescue_that_wipes(facts: &Facts<'_>) -> Decision {
    instead(facts, WorkKind::Rescue)
}

fn measure_that_wipes(facts: &Facts<'_>) -> Decision {
    instead(facts, WorkKind::Measure)
}

fn forgets_the_writing(facts: &Facts<'_>) -> Decision {
    let lease = facts.lease.cloned().map(|mut lease| {
        if lease.state == LeaseState::Reinstalling && lease.active_because.is_none() {
            lease.before_reinstall = Some(Box::new(BeforeReinstall {
                image: lease.image,
                ssh_keys: lease.spec.ssh_keys.clone(),
                user_data: None,
                kernel_args: Vec::new(),
                active_because: ActiveBecause::PhonedHome,
                host_keys: Vec::new(),
                written: None,
                measurements: Vec::new(),
                install: None,
                layout_wanted: lease.spec.layout.clone(),
                layout: lease.layout.clone(),
                root_drive: lease.root_drive.clone(),
                file_systems: None,
            }));
        }
        lease
    });
    next_step(&Facts {
        lease: lease.as_ref(),
        ..facts.clone()
    })
}

fn no_way_back(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    let Some(lease) = &mut decision.lease else {
        return decision;
    };
    if lease.state != LeaseState::Broken || decision.machine.lifecycle != Lifecycle::Deploying {
        return decision;
    }
    lease.state = LeaseState::Failed;
    lease.ended_at = Some(facts.now);
    decision.audit.retain(|n| n.action != "lease.state");
    let from = facts.lease.map(|l| l.state);
    decision.audit.push(note(
        "lease.state",
        &serde_json::json!({ "from": from, "to": LeaseState::Failed }),
    ));
    decision.audit.push(note(
        "machine.lifecycle",
        &serde_json::json!({ "from": Lifecycle::Deploying, "to": Lifecycle::Erasing }),
    ));
    let machine = &mut decision.machine;
    machine.lifecycle = Lifecycle::Erasing;
    machine.erase = Some(EraseRecord {
        lease: machine.lease,
        began: Some(facts.now),
        ..EraseRecord::default()
    });
    machine.step = Step::ReadSettings { then: Goal::Erase };
    decision
}

fn private_image(facts: &Facts<'_>) -> Decision {
    let mut facts = facts.clone();
    if let Some(Wish::Warm { image: Some(image) }) = &mut facts.wish {
        image.digest = format!("sha256:{}", crate::sim::OWN);
    }
    next_step(&facts)
}

fn warm_medium_stays(facts: &Facts<'_>) -> Decision {
    with(facts, |m| {
        if let Step::Warming { at, .. } = &mut m.step
            && *at == WarmingStep::Eject
        {
            *at = WarmingStep::SetBoot;
        }
    })
}

fn no_fallback(facts: &Facts<'_>) -> Decision {
    let by = matches!(facts.machine.step, Step::FirstBoot { by: Some(_) });
    let mut lease = facts.lease.cloned();
    if by && let Some(lease) = &mut lease {
        lease.active_because = Some(ActiveBecause::PortAnswered);
    }
    next_step(&Facts {
        lease: lease.as_ref(),
        ..facts.clone()
    })
}

fn password_unkept(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if let Some(PasswordWrite::Next { .. }) = decision.password {
        decision.password = None;
    }
    decision
}

fn password_forgotten(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    let sent = facts
        .machine
        .pending
        .as_ref()
        .is_some_and(|p| p.request == BmcRequest::SetPassword);
    let lost = facts.orphaned || matches!(facts.reply, Some(BmcReply::Uncertain { .. }));
    if sent && lost {
        decision.password = Some(PasswordWrite::Forget);
        decision.machine.upkeep.next_password = None;
    }
    decision
}

fn restores_on_paper(facts: &Facts<'_>) -> Decision {
    let mut decision = next_step(facts);
    if let Some(restoring) = decision
        .machine
        .erase
        .as_mut()
        .and_then(|e| e.restoring.as_mut())
    {
        restoring.queue.clear();
        restoring.look_again = false;
        for change in &mut restoring.report.changes {
            change.came_of_it = Restoration::PutBack;
        }
    }
    decision
}
