//! A lease on a machine that waited warm: its system is started by kexec. And the
//! way back to the full one, whatever fails.

use billet_model::{
    BootId,
    lifecycle::Lifecycle,
    step::{RamdiskStep, Step},
    warm::{FirstStart, Way},
    work::{DriveRef, StartReport, WorkKind},
};

use crate::{decision::Draft, disk, placement, procedure, ramdisk, warm, working};

/// Which way a new lease goes on the machine: the boot in which it waits warm, or
/// why it is the cold way.
pub(crate) fn way(
    draft: &Draft<'_>,
    root: &DriveRef,
    cold: Option<&str>,
) -> Result<BootId, String> {
    if let Some(why) = cold {
        return Err(why.to_owned());
    }
    let boot = warm::takes(draft)?;
    if placement::holds_elsewhere(draft.m(), root) {
        return Err("its machine waited with an image on another drive".into());
    }
    Ok(boot)
}

/// Whether the lease's image stands on its drive since before the lease, written
/// and read back in the boot that the step names.
pub(crate) fn stands_prepared(draft: &Draft<'_>) -> bool {
    let image = ramdisk::image(draft);
    let root = ramdisk::root(draft);
    draft.m().warm.prepared.as_ref().is_some_and(|p| {
        p.read_back
            && Some(p.boot) == draft.m().step.boot()
            && image.as_ref() == Ok(&p.digest)
            && root.is_ok_and(|r| r.serial == p.drive.serial)
    })
}

/// Whether this is the boot in which the machine waited warm.
pub(crate) fn is_warm(draft: &Draft<'_>, boot: BootId) -> bool {
    let warm = draft.m().warm.boot.as_ref();
    draft.m().lifecycle == Lifecycle::Deploying && warm.is_some_and(|w| w.id == boot)
}

/// The drive is written: the system on it is to be started.
pub(crate) fn begin(draft: &mut Draft<'_>, boot: BootId, prepared: bool) {
    let warm = draft.m().warm.boot.clone();
    let again = warm.as_ref().is_some_and(|w| w.by_kexec);
    let measured_boot = if again {
        FirstStart::WARM_AGAIN
    } else {
        FirstStart::WARM
    };
    draft.change_lease(|lease| {
        lease.first_start = Some(FirstStart {
            way: Way::Warm,
            prepared,
            ramdisk: warm.map(|w| w.ramdisk),
            measured_boot: measured_boot.to_owned(),
            ..FirstStart::cold(Vec::new())
        });
    });
    working::give(draft, boot, WorkKind::Start);
}

/// The agent is about to jump. What comes next comes from the tenant's system.
pub(crate) fn starting(draft: &mut Draft<'_>, boot: BootId, report: StartReport) {
    draft.audit(
        "lease.kexec",
        serde_json::json!({
            "boot": boot,
            "kernel": report.kernel,
            "initrd": report.initrd,
            "done": report.done,
        }),
    );
    draft.change_lease(|lease| {
        if let Some(start) = &mut lease.first_start {
            start.kernel = Some(report.kernel);
            start.initrd = report.initrd;
            start.cmdline = Some(report.cmdline);
            start.done = report.done;
        }
    });
    let machine = draft.machine();
    machine.warm.boot = None;
    machine.attempts = 0;
    // The agent's boot is over: nothing it still says counts.
    machine.epoch += 1;
    let within = draft.facts.policy.kexec_deadline;
    draft.enter(
        Step::FirstBoot { by: Some(boot) },
        "its kernel is started by kexec; the image boots for the first time",
        within,
        "it is written anew and booted through firmware",
    );
}

/// The system could not be started, and the drive is as it was written: firmware
/// boots it.
pub(crate) fn not_started(draft: &mut Draft<'_>, why: &str) {
    cold_after_all(draft, why);
    disk::begin(
        draft,
        &format!("{why}; powering off, to boot it through firmware"),
    );
}

/// It was started and did not come up. Its first boot may be half done, which is
/// not handed over: the drive is written anew, the full way.
pub(crate) fn did_not_come(draft: &mut Draft<'_>) {
    let within = draft.allowed();
    let why = format!("started by kexec, the image's first boot did not end within {within}");
    cold_after_all(draft, &why);
    draft.change_lease(|lease| {
        lease.written = None;
        lease.measurements.clear();
        lease.begun_anew += 1;
    });
    draft.machine().attempts = 0;
    procedure::boot_ramdisk(draft, RamdiskStep::Off, WorkKind::Write);
    draft.say(&format!("{why}; writing it anew, the full way"));
}

/// Something failed on a machine that waited warm, and is tried again from power
/// off: the lease goes the cold way from here.
pub(crate) fn falls_back(draft: &mut Draft<'_>, why: &str) {
    let waited = draft.m().warm.boot.is_some() && draft.m().lifecycle == Lifecycle::Deploying;
    if waited {
        cold_after_all(draft, why);
    }
}

fn cold_after_all(draft: &mut Draft<'_>, why: &str) {
    draft.audit("lease.not_warm", serde_json::json!({ "why": why }));
    draft.machine().warm.boot = None;
    let why = why.to_owned();
    draft.change_lease(|lease| lease.first_start = Some(FirstStart::cold(vec![why])));
}
