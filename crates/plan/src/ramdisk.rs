//! Bringing the ramdisk up: off, medium in, boot target, on, agent.

use billet_model::{
    BootId, Time,
    bmc::{BmcFact, BmcReply, BmcRequest, BootTarget},
    lifecycle::{HoldKind, Power},
    step::{Goal, RamdiskStep, Step},
    work::{
        DriveRef, EraseOrder, MeasureOrder, RescueOrder, StartOrder, VerifyOrder, Work, WorkKind,
        WriteOrder,
    },
};

use crate::{
    decision::Draft,
    layout,
    next::{Came, insist},
    power, procedure, settings, storage, warm, warm_start,
};

pub(crate) fn ramdisk(
    draft: &mut Draft<'_>,
    came: &Came<'_>,
    at: RamdiskStep,
    boot: BootId,
    then: WorkKind,
) {
    if at == RamdiskStep::AwaitAgent && draft.facts.boot.is_some_and(|b| b.hello_at.is_some()) {
        if matches!(then, WorkKind::Prepare | WorkKind::Trial) {
            warm::arrived(draft, boot);
            return;
        }
        match work(draft, then) {
            Ok(work) => draft.give_task(boot, work),
            Err(why) => procedure::again(draft, HoldKind::AgentFailed, &why, then),
        }
        return;
    }
    if draft.overdue() {
        if warm::trial_overdue(draft, boot) {
            return;
        }
        let why = failed(draft, at);
        let kind = match at {
            RamdiskStep::AwaitAgent => HoldKind::BootFailed,
            _ => HoldKind::BmcUnreachable,
        };
        procedure::again(draft, kind, &why, then);
        return;
    }
    let policy = draft.facts.policy;
    // Some BMCs obey a boot override that they do not show: the boot will tell.
    let unshown = match came {
        Some((
            BmcRequest::SetBoot { .. },
            BmcReply::Done {
                fact: BmcFact::Unshown { shows },
            },
        )) => Some(shows),
        _ => None,
    };
    if let Some(shows) = unshown {
        draft.audit(
            "machine.boot_unshown",
            serde_json::json!({ "asked": BootTarget::CdOnce, "shows": shows }),
        );
    }
    let (done, next, reason, within) = match at {
        RamdiskStep::Off => (
            power::see(draft, Power::Off),
            RamdiskStep::Insert,
            "power is off; inserting the boot medium",
            policy.bmc_deadline,
        ),
        RamdiskStep::Insert => (
            insist(draft, came, BmcRequest::InsertMedia { boot }),
            RamdiskStep::SetBoot,
            "setting the next boot to the medium",
            policy.bmc_deadline,
        ),
        RamdiskStep::SetBoot => (
            insist(
                draft,
                came,
                BmcRequest::SetBoot {
                    target: BootTarget::CdOnce,
                },
            ),
            RamdiskStep::On,
            if unshown.is_some() {
                "powering on, though the BMC does not show the boot target that it accepted"
            } else {
                "powering on"
            },
            policy.power_deadline,
        ),
        RamdiskStep::On => (
            power::see(draft, Power::On),
            RamdiskStep::AwaitAgent,
            "power is on; waiting for the agent",
            policy.boot_deadline,
        ),
        RamdiskStep::AwaitAgent => {
            draft.sleep(policy.boot_deadline);
            return;
        }
    };
    if done {
        draft.enter(
            Step::Ramdisk {
                at: next,
                boot,
                then,
            },
            reason,
            within,
            "if it does not come, it is tried again from power off",
        );
    }
}

fn failed(draft: &Draft<'_>, at: RamdiskStep) -> String {
    let said = draft
        .m()
        .notes
        .last_failure
        .as_ref()
        .map_or(String::new(), |d| format!(" ({d})"));
    match at {
        RamdiskStep::Off => format!("the machine could not be seen powered off{said}"),
        RamdiskStep::Insert => format!("the BMC did not take the boot medium{said}"),
        RamdiskStep::SetBoot => format!("the BMC did not take the boot target{said}"),
        RamdiskStep::On => format!("the machine could not be seen powered on{said}"),
        RamdiskStep::AwaitAgent => "the ramdisk's agent did not call in time".to_owned(),
    }
}

/// The work itself, from what is known of the machine and its lease.
pub(crate) fn work(draft: &Draft<'_>, kind: WorkKind) -> Result<Work, String> {
    let (machine, policy) = (draft.m(), draft.facts.policy);
    Ok(match kind {
        WorkKind::Inspect => Work::Inspect,
        WorkKind::Test => Work::Test {
            may_write: !machine.may_hold_data,
        },
        WorkKind::Erase => Work::Erase(EraseOrder {
            drives: machine.drives.clone(),
            canaries: policy.canaries,
        }),
        WorkKind::Verify => Work::Verify(VerifyOrder {
            // One that was let go has nothing to be read back.
            erased: machine
                .erase
                .clone()
                .unwrap_or_default()
                .drives
                .into_iter()
                .filter(|d| d.failure.is_none() && d.method.is_some())
                .collect(),
            samples: policy.samples,
            clear_tpm: true,
        }),
        WorkKind::Wipe => Work::Wipe(EraseOrder {
            drives: draft
                .lease()
                .map(|l| storage::to_wipe(l, machine))
                .ok_or("the lease is gone")?,
            canaries: policy.canaries,
        }),
        WorkKind::Rescue => Work::Rescue(RescueOrder {
            ssh_keys: draft
                .lease()
                .map(|l| l.spec.ssh_keys.clone())
                .ok_or("the lease is gone")?,
        }),
        WorkKind::Measure => Work::Measure(MeasureOrder {
            image: image(draft)?,
            drive: root(draft)?,
            mirror: mirror(draft)?,
        }),
        WorkKind::Write => {
            let lease = draft.lease().ok_or("the lease is gone")?;
            Work::Write(WriteOrder {
                lease: lease.id,
                image: image(draft)?,
                drive: root(draft)?,
                kernel_args: lease.spec.kernel_args.clone(),
                mirror: mirror(draft)?,
                arrays: layout::orders(lease),
                // It carries a token, so it is made when the agent asks, and
                // never stored.
                seed: None,
                prepared: warm_start::stands_prepared(draft),
            })
        }
        WorkKind::Start => Work::Start(StartOrder {
            lease: draft.lease().ok_or("the lease is gone")?.id,
            drive: root(draft)?,
        }),
        // They are made where it is known what for.
        WorkKind::Prepare | WorkKind::Trial => {
            return Err(format!("it is not known what to {kind}"));
        }
    })
}

/// The digest of the lease's image.
pub(crate) fn image(draft: &Draft<'_>) -> Result<String, String> {
    let content = draft.facts.image.and_then(|i| i.content.as_ref());
    let digest = content.map(|c| c.digest.clone());
    digest.ok_or_else(|| "the image is gone".into())
}

/// The drive that the image stands on.
pub(crate) fn root(draft: &Draft<'_>) -> Result<DriveRef, String> {
    storage::root(draft.lease().ok_or("the lease is gone")?, draft.m())
}

/// The drives that have a copy of it.
fn mirror(draft: &Draft<'_>) -> Result<Vec<DriveRef>, String> {
    let roots = storage::roots(draft.lease().ok_or("the lease is gone")?, draft.m())?;
    Ok(roots.into_iter().skip(1).collect())
}

/// Power is off between erase and read-back: memory forgets, and so do caches
/// of drives that only pretended to write.
pub(crate) fn power_break(draft: &mut Draft<'_>, off_since: Option<Time>) {
    let (now, policy) = (draft.now(), draft.facts.policy);
    if draft.overdue() {
        procedure::again(
            draft,
            HoldKind::BmcUnreachable,
            "the machine could not be seen powered off after the erase",
            WorkKind::Erase,
        );
        return;
    }
    let Some(since) = off_since else {
        if power::see(draft, Power::Off) {
            let seen = draft.m().power.map_or(now, |r| r.at);
            draft.machine().step = Step::PowerBreak {
                off_since: Some(seen),
            };
            draft.sleep(policy.power_break);
        }
        return;
    };
    let over = since + policy.power_break;
    if now < over {
        draft.sleep(over.duration_since(now));
        return;
    }
    match draft.m().power.filter(|r| r.at >= over) {
        None => draft.ask(BmcRequest::ReadPower),
        Some(reading) if reading.power == Power::Off => {
            if let Some(erase) = &mut draft.machine().erase {
                erase.off_from = Some(since);
                erase.off_until = Some(reading.at);
            }
            if settings::looks_again(draft) {
                settings::begin(draft, Goal::Verify);
            } else {
                procedure::boot_ramdisk(draft, RamdiskStep::Insert, WorkKind::Verify);
            }
        }
        // It came on in between (a late request, a person): begin the break anew.
        Some(_) => draft.machine().step = Step::PowerBreak { off_since: None },
    }
}
