//! Bringing the tenant's system up from its disk, and handing over.

use billet_model::{
    BootId,
    bmc::{BmcRequest, BootTarget},
    lease::{ActiveBecause, LeaseState},
    lifecycle::{Lifecycle, Power},
    operation::OperationState,
    step::{DiskStep, Step},
};

use crate::{
    Effect,
    decision::Draft,
    install,
    next::{Came, insist},
    power, procedure, visit, warm_start,
};

/// Begins the way to the tenant's disk.
pub(crate) fn begin(draft: &mut Draft<'_>, reason: &str) {
    // The agent's boot is over: nothing it still says counts.
    draft.machine().epoch += 1;
    let within = draft.facts.policy.settle + draft.facts.policy.power_deadline;
    let otherwise = otherwise(draft);
    draft.enter(
        Step::DiskBoot { at: DiskStep::Off },
        reason,
        within,
        otherwise,
    );
}

/// What is done where the disk does not come up.
fn otherwise(draft: &Draft<'_>) -> &'static str {
    if visit::parks(draft) {
        "the machine is held"
    } else if visit::lasts(draft) {
        "the machine is powered off and stays the tenant's"
    } else {
        "the lease fails and the machine is erased"
    }
}

pub(crate) fn disk_boot(draft: &mut Draft<'_>, came: &Came<'_>, at: DiskStep) {
    let policy = draft.facts.policy;
    if draft.overdue() {
        let said = draft.m().notes.last_failure.clone().unwrap_or_default();
        if visit::parks(draft) {
            visit::cannot_park(draft, &said);
            return;
        }
        let why = format!("the machine could not be booted from its drive {said}");
        procedure::cannot_deploy(draft, why.trim_end());
        return;
    }
    let (done, next, reason, within) = match at {
        // A late request may also put the medium back, or choose it for the
        // next boot: its time is waited for before they are seen to.
        DiskStep::Off => (
            power::see(draft, Power::Off) && power::settled(draft),
            DiskStep::Eject,
            "taking the boot medium out",
            policy.bmc_deadline,
        ),
        DiskStep::Eject => (
            insist(draft, came, BmcRequest::EjectMedia),
            DiskStep::SetBoot,
            "setting the boot to the drive",
            policy.bmc_deadline,
        ),
        DiskStep::SetBoot => (
            insist(
                draft,
                came,
                BmcRequest::SetBoot {
                    target: BootTarget::Disk,
                },
            ),
            DiskStep::Settle,
            "making sure that nothing asked of the BMC comes late",
            policy.settle + policy.power_deadline,
        ),
        DiskStep::Settle => {
            if !power::settled(draft) {
                return;
            }
            // Off must be what was read last: a late request may have come.
            match draft.m().power.map(|r| r.power) {
                Some(Power::Off) => {}
                _ => {
                    begin(draft, "powering off again: it came on by itself");
                    return;
                }
            }
            if visit::parks(draft) {
                visit::park(draft);
                return;
            }
            (
                true,
                DiskStep::On,
                "powering on, from the drive",
                policy.power_deadline,
            )
        }
        DiskStep::On => {
            if power::see(draft, Power::On) {
                let first = draft.lease().is_some_and(|l| l.active_because.is_none());
                let (reason, next) = if first {
                    ("the image boots for the first time", otherwise(draft))
                } else {
                    ("the tenant's system boots", otherwise(draft))
                };
                let step = Step::FirstBoot { by: None };
                draft.enter(step, reason, policy.first_boot_deadline, next);
            }
            return;
        }
    };
    if done {
        if at == DiskStep::Eject {
            install::out(draft);
        }
        let otherwise = otherwise(draft);
        draft.enter(Step::DiskBoot { at: next }, reason, within, otherwise);
    }
}

/// The image boots for the first time, started by kexec from the boot `by`, or by
/// firmware.
pub(crate) fn first_boot(draft: &mut Draft<'_>, by: Option<BootId>) {
    let policy = draft.facts.policy;
    let silent = draft.facts.image.is_some_and(|i| !i.cloud_init);
    let up = draft.lease().and_then(|l| l.active_because);
    if up.is_some() {
        // Handed over only when no power action of ours can come late.
        if power::settled(draft) {
            hand_over(draft);
        }
        return;
    }
    if draft.overdue() && by.is_some() {
        warm_start::did_not_come(draft);
        return;
    }
    if draft.overdue() {
        let why = not_up(draft, silent);
        procedure::cannot_deploy(draft, &why);
        return;
    }
    match draft.facts.probed {
        Some(true) if silent => {
            draft.audit("lease.port_answered", serde_json::json!({}));
            draft.change_lease(|l| l.active_because = Some(ActiveBecause::PortAnswered));
            first_boot(draft, by);
        }
        None if silent => draft.decision.effect = Some(Effect::Probe),
        _ => draft.sleep(if silent { policy.probe } else { policy.look }),
    }
}

/// Why an image that did not come up is given up, and where its owner looks on.
fn not_up(draft: &Draft<'_>, silent: bool) -> String {
    let within = draft.allowed();
    let lease = draft.lease().map(|l| l.name.to_string());
    let lease = lease.unwrap_or_default();
    let missing = if silent {
        "its SSH port does not answer"
    } else {
        "its cloud-init did not phone home (an image without cloud-init is added with \
         --no-cloud-init)"
    };
    format!(
        "the image's first boot did not end within {within}: {missing}; `billet lease \
         console {lease} --log` shows what it wrote"
    )
}

pub(crate) fn hand_over(draft: &mut Draft<'_>) {
    let look = draft.facts.policy.look;
    visit::over(draft);
    let reason = draft
        .lease()
        .filter(|l| l.active_because == Some(ActiveBecause::Unreported))
        .and_then(|l| l.install.as_ref())
        .map(|i| install::unreported(i.seconds));
    draft.lease_state(LeaseState::Active, reason);
    draft.lifecycle(Lifecycle::Active, "handed over");
    draft.end_operation(OperationState::Succeeded, "active");
    let now = draft.now();
    let machine = draft.machine();
    machine.step = Step::Rest;
    machine.step_since = now;
    machine.attempts = 0;
    machine.waiting = None;
    machine.wake_at = now + look;
}
