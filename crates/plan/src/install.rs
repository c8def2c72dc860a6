//! The tenant's own installer: its medium goes in while the machine is off and is
//! booted once, the installer runs with nothing of Billet's beside it, and when
//! it says that it is done the medium is taken out.
//!
//! From the moment that the installer's machine is on it is the tenant's, and
//! its power is not touched: who says "done" may still be writing. Whatever goes
//! wrong then, the machine stays the tenant's.

use billet_model::{
    BootId, Time,
    bmc::{BmcFact, BmcReply, BmcRequest, BootTarget},
    lease::{ActiveBecause, InstallEnded, LeaseState},
    lifecycle::{Lifecycle, Power},
    operation::OperationState,
    step::{BootOf, InstallStep, Step},
};
use jiff::SignedDuration;

use crate::{
    decision::Draft,
    disk,
    next::{Came, insist},
    power, procedure, rest, visit,
};

/// Whether the lease is installed by a configuration of its tenant's.
pub(crate) fn wanted(draft: &Draft<'_>) -> bool {
    draft.lease().is_some_and(|l| l.install.is_some())
}

/// Begins the way to the installer.
pub(crate) fn begin(draft: &mut Draft<'_>) {
    let boot = draft.new_boot(BootOf::Installer);
    draft.machine().warm.boot = None;
    let policy = draft.facts.policy;
    draft.enter(
        Step::Install {
            at: InstallStep::Off,
            boot,
        },
        "powering off, to boot the tenant's own installer",
        policy.settle + policy.power_deadline,
        AGAIN,
    );
}

/// What is done where the installer's medium does not boot.
const AGAIN: &str = "if that fails, it is tried again from power off";

pub(crate) fn install(draft: &mut Draft<'_>, came: &Came<'_>, at: InstallStep, boot: BootId) {
    match at {
        InstallStep::Run => runs(draft, boot),
        InstallStep::Eject | InstallStep::SetDisk | InstallStep::HandOver => {
            take_out(draft, came, at, boot);
        }
        _ => bring_up(draft, came, at, boot),
    }
}

fn bring_up(draft: &mut Draft<'_>, came: &Came<'_>, at: InstallStep, boot: BootId) {
    if draft.overdue() {
        let why = failed(draft, at);
        again(draft, &why);
        return;
    }
    let policy = draft.facts.policy;
    // Some BMCs obey a boot override that they do not show: the boot will tell.
    if let Some((
        BmcRequest::SetBoot { .. },
        BmcReply::Done {
            fact: BmcFact::Unshown { shows },
        },
    )) = came
    {
        draft.audit(
            "machine.boot_unshown",
            serde_json::json!({ "asked": BootTarget::CdOnce, "shows": shows }),
        );
    }
    let (done, next, reason, within) = match at {
        // Nothing that was asked before may come while the installer runs.
        InstallStep::Off => (
            power::see(draft, Power::Off) && power::settled(draft),
            InstallStep::Insert,
            "power is off; inserting the installer's medium",
            policy.bmc_deadline,
        ),
        InstallStep::Insert => (
            insist(draft, came, BmcRequest::InsertMedia { boot }),
            InstallStep::SetBoot,
            "setting the next boot, and only that, to the medium",
            policy.bmc_deadline,
        ),
        InstallStep::SetBoot => (
            insist(
                draft,
                came,
                BmcRequest::SetBoot {
                    target: BootTarget::CdOnce,
                },
            ),
            InstallStep::Settle,
            "making sure that nothing asked of the BMC comes late",
            policy.settle + policy.power_deadline,
        ),
        InstallStep::Settle => {
            if !power::settled(draft) {
                return;
            }
            if draft.m().power.map(|r| r.power) != Some(Power::Off) {
                again(draft, "the machine came on by itself");
                return;
            }
            (
                true,
                InstallStep::On,
                "powering on, from the installer's medium",
                policy.power_deadline,
            )
        }
        _ => {
            if power::see(draft, Power::On) {
                run(draft, boot);
            }
            return;
        }
    };
    if done {
        draft.enter(Step::Install { at: next, boot }, reason, within, AGAIN);
    }
}

fn failed(draft: &Draft<'_>, at: InstallStep) -> String {
    let said = draft.m().notes.last_failure.as_ref();
    let said = said.map_or(String::new(), |d| format!(" ({d})"));
    match at {
        InstallStep::Off | InstallStep::Settle => {
            format!("the machine could not be seen powered off{said}")
        }
        InstallStep::Insert => format!("the BMC did not take the installer's medium{said}"),
        InstallStep::SetBoot => format!("the BMC did not take the boot target{said}"),
        _ => format!("the machine could not be seen powered on{said}"),
    }
}

/// Tries it again from power off, or gives it up. The installer has not run.
fn again(draft: &mut Draft<'_>, why: &str) {
    draft.machine().attempts += 1;
    let (attempts, most) = (draft.m().attempts, draft.facts.policy.max_attempts);
    draft.audit(
        "machine.retry",
        serde_json::json!({ "why": why, "attempt": attempts, "of": most, "work": "install" }),
    );
    if attempts < most {
        begin(draft);
        draft.say(&format!("{why}; trying again ({} of {most})", attempts + 1));
    } else {
        procedure::cannot_deploy(draft, why);
    }
}

/// The installer runs: the machine is the tenant's from here on.
fn run(draft: &mut Draft<'_>, boot: BootId) {
    let now = draft.now();
    let Some(mut install) = draft.lease().and_then(|l| l.install.clone()) else {
        procedure::cannot_deploy(draft, "the install configuration is gone");
        return;
    };
    draft.audit(
        "lease.installer_runs",
        serde_json::json!({
            "boot": boot,
            "kind": install.kind,
            "digest": install.digest,
            "parts": install.parts,
        }),
    );
    visit::note(
        draft,
        "the tenant's own installer was booted from a medium".into(),
    );
    visit::over(draft);
    install.began_at = Some(now);
    let within = lasts(install.seconds);
    draft.change_lease(|l| l.install = Some(install));
    draft.lease_state(LeaseState::Installing, None);
    draft.lifecycle(Lifecycle::Active, "the tenant's own installer runs");
    draft.machine().attempts = 0;
    draft.enter(
        Step::Install {
            at: InstallStep::Run,
            boot,
        },
        "the tenant's own installer runs, until it says that it is done",
        within,
        "the medium is taken out, and the machine is the tenant's as it is",
    );
}

fn lasts(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000_000))
}

fn runs(draft: &mut Draft<'_>, boot: BootId) {
    let Some(pause) = rest::term(draft) else {
        return;
    };
    let install = draft.lease().and_then(|l| l.install.clone());
    if install.as_ref().is_none_or(|i| i.ended.is_some()) {
        ended(draft, boot, "the installer is done; taking its medium out");
        return;
    }
    if draft.overdue() {
        let why = unreported(install.map_or(0, |i| i.seconds));
        end(draft, ActiveBecause::Unreported);
        draft.audit("lease.install_overdue", serde_json::json!({ "why": why }));
        draft.end_operation(OperationState::Failed, &why);
        ended(
            draft,
            boot,
            "the installer's time is over; taking its medium out",
        );
        return;
    }
    rest::look_at_power(draft, pause);
    let deadline = draft.m().waiting.as_ref().map(|w| w.deadline);
    if let Some(deadline) = deadline
        && draft.decision.effect.is_none()
    {
        let machine = draft.machine();
        machine.wake_at = machine.wake_at.min(deadline);
    }
}

/// What is said of a lease whose installer did not say that it is done.
pub(crate) fn unreported(seconds: u64) -> String {
    format!(
        "its installer did not say within {} that it is done: its medium is out, and what is on the drive is not known",
        words(seconds)
    )
}

fn words(seconds: u64) -> String {
    match seconds {
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Notes how the installation ended.
pub(crate) fn end(draft: &mut Draft<'_>, because: ActiveBecause) {
    let at: Time = draft.now();
    draft.change_lease(|l| {
        l.active_because = Some(because);
        if let Some(install) = &mut l.install {
            install.ended = Some(InstallEnded { at, because });
        }
    });
}

fn ended(draft: &mut Draft<'_>, boot: BootId, reason: &str) {
    let within = draft.facts.policy.bmc_deadline;
    draft.enter(
        Step::Install {
            at: InstallStep::Eject,
            boot,
        },
        reason,
        within,
        OFF,
    );
}

/// What is done where a BMC keeps the medium.
const OFF: &str = "if the BMC keeps it, the machine is powered off to take it out";

/// The medium is taken out and the drive chosen, with the power left as it is:
/// the installer may still be writing, and boots the drive by itself.
fn take_out(draft: &mut Draft<'_>, came: &Came<'_>, at: InstallStep, boot: BootId) {
    let policy = draft.facts.policy;
    if draft.overdue() {
        let said = draft.m().notes.last_failure.clone().unwrap_or_default();
        draft.audit(
            "lease.install_medium_stays",
            serde_json::json!({ "said": said }),
        );
        let why = "powering off: the BMC keeps the installer's medium while the machine is on";
        draft.lifecycle(Lifecycle::Deploying, why);
        disk::begin(draft, why);
        return;
    }
    match at {
        InstallStep::Eject => {
            if insist(draft, came, BmcRequest::EjectMedia) {
                out(draft);
                draft.enter(
                    Step::Install {
                        at: InstallStep::SetDisk,
                        boot,
                    },
                    "the medium is out; setting the boot to the drive",
                    policy.bmc_deadline,
                    OFF,
                );
            }
        }
        InstallStep::SetDisk => {
            let target = BootTarget::Disk;
            if insist(draft, came, BmcRequest::SetBoot { target }) {
                draft.enter(
                    Step::Install {
                        at: InstallStep::HandOver,
                        boot,
                    },
                    "making sure that nothing asked of the BMC comes late",
                    policy.settle + policy.power_deadline,
                    OFF,
                );
            }
        }
        _ => {
            if power::settled(draft) {
                disk::hand_over(draft);
            }
        }
    }
}

/// The medium is out, on the lease's record.
pub(crate) fn out(draft: &mut Draft<'_>) {
    let now = draft.now();
    let served = draft
        .lease()
        .and_then(|l| l.install.as_ref()?.medium.clone())
        .filter(|m| m.out_at.is_none());
    if !wanted(draft) {
        return;
    }
    draft.audit(
        "lease.install_medium_out",
        serde_json::json!({ "sha256": served.as_ref().map(|m| &m.sha256) }),
    );
    draft.change_lease(|l| {
        if let Some(medium) = l.install.as_mut().and_then(|i| i.medium.as_mut()) {
            medium.out_at = medium.out_at.or(Some(now));
        }
    });
}
