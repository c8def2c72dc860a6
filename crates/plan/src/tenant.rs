//! What a tenant asks of the machine that it leases, beyond power and release:
//! to be written anew, to be rescued.

use billet_model::{
    ImageId,
    layout::DriveLayout,
    lease::{ActiveBecause, BeforeReinstall, Install, Lease, LeaseState, VisitKind},
    lifecycle::Lifecycle,
    operation::{OperationKind, OperationState},
    step::{InstallStep, RamdiskStep, Step},
    work::WorkKind,
};

use crate::{
    Decision, Facts,
    decision::Draft,
    disk, install,
    layout::{self, Keep},
    procedure,
    requests::{Refused, begin, refuse},
    visit,
};

/// A lease's drive, written anew: with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reinstall {
    /// The image.
    pub image: ImageId,
    /// SSH public keys for root.
    pub ssh_keys: Vec<String>,
    /// cloud-init user data.
    pub user_data: Option<String>,
    /// Added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// What is served, where the image is an install configuration.
    pub install: Option<Install>,
    /// What is left alone of the other drives.
    pub keep: Keep,
    /// Another layout of them.
    pub layout: Option<DriveLayout>,
}

/// The lease, where its machine can be worked on for it now.
fn own<'a>(facts: &Facts<'a>, what: &str) -> Result<&'a Lease, Refused> {
    let Some(lease) = facts.lease else {
        return refuse("the lease is over");
    };
    let machine = facts.machine;
    let ready = matches!(
        lease.state,
        LeaseState::Active | LeaseState::Installing | LeaseState::Rescue | LeaseState::Broken
    );
    if machine.unconfirmed {
        return refuse("its machine was restored from a backup and waits for an operator");
    }
    if machine.lifecycle == Lifecycle::Maintenance || lease.state == LeaseState::Maintenance {
        return refuse("an operator works on its machine: wait until it is given back");
    }
    if machine.lifecycle == Lifecycle::Quarantined {
        return refuse(format!(
            "its machine is held for a fault until an operator mends it: wait, or release it (`billet lease release {}`)",
            lease.name
        ));
    }
    if !ready || machine.lifecycle != Lifecycle::Active {
        return refuse(format!(
            "{} is {}: {what} while it is active, in rescue or broken",
            lease.name, lease.state
        ));
    }
    let at_rest = matches!(machine.step, Step::Rest | Step::Rescue { .. });
    // An installer that runs is the tenant's own, and so is the wish to end it.
    let at_work = machine.operation.is_some() && !installing(machine);
    if at_work || machine.power_request.is_some() || !(at_rest || installing(machine)) {
        return refuse(format!(
            "something is at work on it: wait for it (`billet operation follow {}`)",
            lease.operation
        ));
    }
    Ok(lease)
}

/// Whether the tenant's own installer runs.
fn installing(machine: &billet_model::machine::Machine) -> bool {
    matches!(
        machine.step,
        Step::Install {
            at: InstallStep::Run,
            ..
        }
    )
}

/// Takes the machine in hand for its tenant, for an operation.
fn take(draft: &mut Draft<'_>, state: LeaseState, kind: OperationKind, message: &str) {
    draft.end_operation(
        OperationState::Failed,
        "the installer was given up for something else",
    );
    draft.lease_state(state, None);
    begin(draft, kind, message);
    draft.lifecycle(Lifecycle::Deploying, message);
    let machine = draft.machine();
    machine.attempts = 0;
    machine.epoch += 1;
}

/// Writes the lease's drive anew, with another image or the same.
///
/// # Errors
/// When something else is at work on the machine, or the lease is over.
pub fn reinstall(facts: &Facts<'_>, with: &Reinstall) -> Result<Decision, Refused> {
    let lease = own(facts, "it is reinstalled")?;
    let relaid =
        layout::relaid(lease, facts.machine, &with.keep, with.layout.as_ref()).or_else(refuse)?;
    let kept = relaid.kept.clone();
    let mut draft = Draft::new(facts);
    let erased: Vec<String> = facts
        .machine
        .drives
        .iter()
        .map(|d| d.serial.clone())
        // An installer finds its drive empty; an image is written over it.
        .filter(|serial| {
            with.install.is_some() || !relaid.layout.root.iter().any(|r| r.serial == *serial)
        })
        .filter(|serial| !kept.contains(serial))
        .filter(|serial| !facts.machine.upkeep.is_unerased(serial))
        .collect();
    draft.audit(
        "lease.reinstall",
        serde_json::json!({
            "image": with.image,
            "kernel_args": with.kernel_args,
            "user_data": with.user_data.is_some(),
            "kept_drives": kept,
            "erased_drives": erased,
            "layout": with.layout,
        }),
    );
    let mut done = match &with.install {
        Some(_) => format!("to be installed by configuration {}", with.image),
        None => format!("image {} to be written", with.image),
    };
    for (what, drives) in [("drives left alone", &kept), ("drives to erase", &erased)] {
        if !drives.is_empty() {
            done.push_str(&format!("; {what}: {}", drives.join(", ")));
        }
    }
    visit::begin(&mut draft, VisitKind::Reinstall, kept, &done);
    draft.change_lease(|lease| {
        // As long as nothing was written, what stands on the drive is what came up.
        let whole = lease.active_because.map(|active_because| {
            Box::new(BeforeReinstall {
                image: lease.image,
                ssh_keys: lease.spec.ssh_keys.clone(),
                user_data: lease.spec.user_data.clone(),
                kernel_args: lease.spec.kernel_args.clone(),
                active_because,
                host_keys: lease.host_keys.clone(),
                written: lease.written.clone(),
                measurements: lease.measurements.clone(),
                install: lease.install.clone(),
                layout_wanted: lease.spec.layout.clone(),
                layout: lease.layout.clone(),
                root_drive: lease.root_drive.clone(),
                file_systems: lease.file_systems.clone(),
            })
        });
        lease.before_reinstall = whole;
        lease.image = with.image;
        lease.spec.ssh_keys.clone_from(&with.ssh_keys);
        lease.spec.user_data.clone_from(&with.user_data);
        lease.spec.kernel_args.clone_from(&with.kernel_args);
        lease.install.clone_from(&with.install);
        if let Some(layout) = &with.layout {
            lease.spec.layout.clone_from(layout);
        }
        lease.root_drive = relaid.layout.root.first().cloned();
        lease.layout = Some(relaid.layout);
        // What is to stand there has never come up.
        lease.active_because = None;
        lease.host_keys.clear();
        lease.file_systems = None;
        lease.written = None;
        lease.measurements.clear();
    });
    take(
        &mut draft,
        LeaseState::Reinstalling,
        OperationKind::Reinstall,
        "reinstalling",
    );
    let work = if erased.is_empty() {
        WorkKind::Write
    } else {
        WorkKind::Wipe
    };
    procedure::boot_ramdisk(&mut draft, RamdiskStep::Off, work);
    Ok(draft.decision)
}

/// Boots the ramdisk for the tenant.
///
/// # Errors
/// When something else is at work on the machine, the lease is over, or nobody
/// could get in.
pub fn rescue(facts: &Facts<'_>) -> Result<Decision, Refused> {
    let lease = own(facts, "it is rescued")?;
    let up = lease.state == LeaseState::Rescue && matches!(facts.machine.step, Step::Rescue { .. });
    if up && visit::lost(facts.machine, facts).is_none() {
        return refuse(format!(
            "{} is in rescue: get in with `billet ssh {}`",
            lease.name, lease.name
        ));
    }
    if lease.spec.ssh_keys.is_empty() {
        return refuse(format!(
            "{} has no SSH key, so nobody could get into the ramdisk: reinstall it with one",
            lease.name
        ));
    }
    let mut draft = Draft::new(facts);
    draft.audit("lease.rescue", serde_json::json!({}));
    visit::begin(
        &mut draft,
        VisitKind::Rescue,
        Vec::new(),
        "the ramdisk booted; no drive is written by Billet",
    );
    take(
        &mut draft,
        LeaseState::Rescue,
        OperationKind::Rescue,
        "bringing the ramdisk up for its tenant",
    );
    procedure::boot_ramdisk(&mut draft, RamdiskStep::Off, WorkKind::Rescue);
    Ok(draft.decision)
}

/// Boots the ramdisk to compare the lease's drive with its image, and boots the
/// drive again. Nothing is written.
///
/// # Errors
/// When something else is at work on the machine, or the lease is not active.
pub fn measure(facts: &Facts<'_>) -> Result<Decision, Refused> {
    let lease = own(facts, "it is measured")?;
    if let Some(install) = &lease.install {
        return refuse(format!(
            "{0} was installed by its tenant's own configuration ({1}), so there is no image to compare its drive with: `billet lease show {0}` says what was served",
            lease.name, install.kind
        ));
    }
    if lease.state != LeaseState::Active || lease.written.is_none() {
        return refuse(format!(
            "{} is {}: a drive is measured while its lease is active, for it is booted again afterwards",
            lease.name, lease.state
        ));
    }
    let mut draft = Draft::new(facts);
    draft.audit(
        "lease.measure",
        serde_json::json!({ "image": lease.written.as_ref().map(|w| &w.image) }),
    );
    visit::begin(
        &mut draft,
        VisitKind::Measure,
        Vec::new(),
        "the ramdisk booted to read the drive; no drive is written by Billet",
    );
    take(
        &mut draft,
        LeaseState::Measuring,
        OperationKind::Measure,
        "comparing the drive with its image",
    );
    procedure::boot_ramdisk(&mut draft, RamdiskStep::Off, WorkKind::Measure);
    Ok(draft.decision)
}

/// Ends the rescue: boots the drive again.
///
/// # Errors
/// When there is none, or what is on the drive never came up.
pub fn end_rescue(facts: &Facts<'_>) -> Result<Decision, Refused> {
    let lease = own(facts, "a rescue is ended")?;
    if lease.state == LeaseState::Active {
        return refuse(format!("{} is not in rescue", lease.name));
    }
    if lease.active_because.is_none() {
        return refuse(format!(
            "what is on the drive of {0} never came up, so there is nothing to go back to: `billet lease reinstall {0}`",
            lease.name
        ));
    }
    let mut draft = Draft::new(facts);
    draft.audit("lease.rescue_end", serde_json::json!({}));
    take(
        &mut draft,
        LeaseState::Rescue,
        OperationKind::Rescue,
        "ending the rescue",
    );
    disk::begin(&mut draft, "the rescue ends; powering off");
    Ok(draft.decision)
}

/// The tenant says that its machine is installed: the installer's medium is taken
/// out, and the lease is active.
///
/// # Errors
/// When no installer runs.
pub fn installed(facts: &Facts<'_>) -> Result<Decision, Refused> {
    let lease = own(facts, "it is said to be installed")?;
    if !installing(facts.machine) || lease.install.as_ref().is_none_or(|i| i.ended.is_some()) {
        return refuse(format!(
            "{} is {}: no installer runs that could be done",
            lease.name, lease.state
        ));
    }
    let mut draft = Draft::new(facts);
    draft.audit(
        "lease.installed",
        serde_json::json!({ "said_by": "tenant" }),
    );
    install::end(&mut draft, ActiveBecause::TenantSaid);
    draft.machine().wake_at = facts.now;
    // It goes on as it is: what is to be followed is still the installation.
    if let Some(operation) = facts.operation.cloned() {
        draft.put_operation(operation);
    }
    Ok(draft.decision)
}
