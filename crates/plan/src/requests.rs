//! What operators and tenants ask for: whether it can be, and what it begins.

use billet_model::{
    LeaseId, OperationId, ProjectId, Time,
    bmc::{BmcFailure, PowerAction},
    lease::{Lease, LeaseState},
    lifecycle::{HoldKind, Lifecycle, Waiting},
    machine::Machine,
    operation::{Operation, OperationKind, OperationState},
    step::{AfterRotation, Goal, Step, StepNotes},
    warm::FirstStart,
    work::DriveRef,
};

use crate::{
    Decision, Facts, Policy, decision::Draft, layout, look_over, procedure, rotate, settings,
    shelve, visit, warm_start, working,
};

/// Why a request is not carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// What stands against it, and the way out.
    pub detail: String,
    /// What it is about, where it is about one thing.
    pub field: Option<&'static str>,
}

pub(crate) fn refuse<T>(detail: impl Into<String>) -> Result<T, Refused> {
    Err(Refused {
        detail: detail.into(),
        field: None,
    })
}

/// What an operator asks of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineRequest {
    /// List its parts again, then test; or read an enrolled one again.
    Inspect,
    /// Test again.
    Test,
    /// Bring a held machine back: inspect, erase if need be, test.
    Repair,
    /// Keep it off offers.
    Cordon {
        /// Why.
        reason: String,
    },
    /// Put it on offers again.
    Uncordon,
    /// Hold it from tenants.
    Quarantine {
        /// Why.
        reason: String,
    },
    /// Take it out.
    Maintenance {
        /// Why.
        reason: String,
    },
    /// Take it out under the tenant that has it, and erase nothing.
    BreakFix {
        /// Why.
        reason: String,
    },
    /// Never use it again.
    Retire,
    /// Change its power.
    Power(PowerAction),
    /// Give its BMC another password.
    RotatePassword {
        /// Whether it is rotated after each lease from now on; as it was where
        /// not said.
        after_each_lease: Option<bool>,
    },
    /// Take accounts, settings and firmware as they are for what is wanted.
    AcceptFirmware,
    /// After a restore: what is recorded is what is.
    Confirm,
}

/// A new operation about a machine.
pub fn operation(
    id: OperationId,
    kind: OperationKind,
    machine: &Machine,
    lease: Option<&Lease>,
    message: &str,
    now: Time,
) -> Operation {
    Operation {
        id,
        kind,
        state: OperationState::Running,
        machine: Some(machine.id),
        lease: lease.map(|l| l.id),
        project: lease.map(|l| l.project),
        message: message.to_owned(),
        progress: None,
        created_at: now,
        ended_at: None,
    }
}

pub(crate) fn begin(draft: &mut Draft<'_>, kind: OperationKind, message: &str) {
    let id = draft.facts.fresh.operation;
    let lease = draft.lease().cloned();
    let op = operation(id, kind, draft.m(), lease.as_ref(), message, draft.now());
    draft.machine().operation = Some(id);
    if let Some(lease) = &lease
        && matches!(
            kind,
            OperationKind::Release
                | OperationKind::Power
                | OperationKind::Reinstall
                | OperationKind::Rescue
                | OperationKind::Measure
        )
        && draft.m().lease == Some(lease.id)
    {
        draft.change_lease(|l| l.operation = id);
    }
    draft.put_operation(op);
}

pub(crate) fn steady(machine: &Machine) -> Result<(), Refused> {
    if machine.unconfirmed {
        return refuse(format!(
            "{0} was restored from a backup and is not confirmed; compare it with reality, then `billet machine confirm {0}`",
            machine.name
        ));
    }
    if let Some(operation) = machine.operation {
        return refuse(format!(
            "an operation is at work on {}: wait for it (`billet operation follow {operation}`)",
            machine.name
        ));
    }
    Ok(())
}

/// Confirms the take-over of a machine, naming its drives.
///
/// # Errors
/// When it is not to be taken over now, or the drives named are not the drives
/// that its BMC tells of.
pub fn take_over(
    facts: &Facts<'_>,
    drives: &[String],
    rotate_password: Option<bool>,
) -> Result<Decision, Refused> {
    let machine = facts.machine;
    let unconfirmed_drive = machine
        .hold
        .as_ref()
        .is_some_and(|h| h.kind == HoldKind::UnconfirmedDrive);
    steady(machine)?;
    let held = matches!(
        machine.lifecycle,
        Lifecycle::Quarantined | Lifecycle::Maintenance
    );
    if machine.lifecycle != Lifecycle::Enrolled
        && !(held && (unconfirmed_drive || machine.lease.is_none()))
    {
        return refuse(format!(
            "{} is {}: only an enrolled or a held machine is taken over",
            machine.name, machine.lifecycle
        ));
    }
    let Some(inventory) = &machine.inventory else {
        return refuse(format!(
            "{0} was not read yet: `billet machine inspect {0}` reads it through its BMC",
            machine.name
        ));
    };
    if let (Some(want), Some(is)) = (&machine.expected_serial, &inventory.system.serial)
        && want != is
    {
        return refuse(format!(
            "{} should have serial number {want} and has {is}: it may be another machine; correct the manifest or the BMC's address",
            machine.name
        ));
    }
    let mut known: Vec<&str> = inventory
        .own_drives()
        .filter_map(|d| d.serial.as_deref())
        .collect();
    let mut named: Vec<&str> = drives.iter().map(String::as_str).collect();
    known.sort_unstable();
    named.sort_unstable();
    named.dedup();
    if known != named {
        return Err(Refused {
            detail: format!(
                "the drives of {} are [{}], and [{}] were named: name each one by its serial number, for each will be erased",
                machine.name,
                known.join(", "),
                named.join(", ")
            ),
            field: Some("drives"),
        });
    }
    let mut draft = Draft::new(facts);
    draft.machine().drives = inventory
        .own_drives()
        .filter_map(|d| {
            Some(DriveRef {
                serial: d.serial.clone()?,
                wwn: d.wwn.clone(),
            })
        })
        .collect();
    draft.machine().may_hold_data = true;
    let rotate = rotate_password.unwrap_or(machine.upkeep.rotate);
    draft.machine().upkeep.rotate = rotate;
    draft.machine().upkeep.rotation_failed = None;
    draft.audit(
        "machine.take_over",
        serde_json::json!({ "drives": named, "rotate_password": rotate }),
    );
    begin(&mut draft, OperationKind::TakeOver, "taking over");
    working::begin_take_over(&mut draft, "the operator confirmed the take-over");
    Ok(draft.decision)
}

/// Carries out an operator's request about a machine.
///
/// # Errors
/// When the machine's state stands against it; the sentence tells the way out.
pub fn machine(facts: &Facts<'_>, request: &MachineRequest) -> Result<Decision, Refused> {
    let machine = facts.machine;
    let (name, lifecycle) = (&machine.name, machine.lifecycle);
    if *request == MachineRequest::Confirm {
        return confirm(facts);
    }
    let mut draft = Draft::new(facts);
    match request {
        MachineRequest::Cordon { reason } => {
            draft.machine().cordoned = Some(reason.clone());
            draft.audit("machine.cordon", serde_json::json!({ "reason": reason }));
            return Ok(draft.decision);
        }
        MachineRequest::Uncordon => {
            draft.machine().cordoned = None;
            draft.audit("machine.uncordon", serde_json::json!({}));
            return Ok(draft.decision);
        }
        _ => steady(machine)?,
    }
    let held =
        machine.lease.is_some() && matches!(lifecycle, Lifecycle::Active | Lifecycle::Deploying);
    // Whatever its lifecycle: who never named its drives has not allowed that
    // anything is done to it.
    let only_reads = matches!(
        request,
        // Where it lets itself not even be read before.
        MachineRequest::RotatePassword { .. } if lifecycle == Lifecycle::Enrolled
    ) || matches!(
        request,
        MachineRequest::Cordon { .. }
            | MachineRequest::Uncordon
            | MachineRequest::Retire
            | MachineRequest::Maintenance { .. }
    ) || (*request == MachineRequest::Inspect && lifecycle == Lifecycle::Enrolled);
    if machine.drives.is_empty() && machine.may_hold_data && !only_reads {
        return refuse(format!(
            "{name} was never taken over, and is only read from: `billet machine take-over {name}` names its drives and begins"
        ));
    }
    let tenants = facts.lease.is_some_and(|l| l.state.is_tenants());
    match request {
        MachineRequest::Inspect | MachineRequest::Test if tenants => {
            return refuse(format!(
                "{name} is a tenant's, and is not looked into: `billet machine repair {name}` gives it back, or its lease is released"
            ));
        }
        MachineRequest::BreakFix { reason } => {
            let ready = matches!(machine.step, Step::Rest | Step::Rescue { .. })
                && lifecycle == Lifecycle::Active
                && machine.power_request.is_none();
            if !(tenants && ready) {
                return refuse(format!(
                    "{name} is {lifecycle}: a break/fix visit is for a machine that a tenant has; any other goes to maintenance"
                ));
            }
            begin(
                &mut draft,
                OperationKind::Repair,
                "taking it out for its tenant",
            );
            visit::break_fix(&mut draft, reason);
        }
        MachineRequest::Inspect if lifecycle == Lifecycle::Enrolled => {
            begin(&mut draft, OperationKind::Enroll, "reading the BMC");
            start_discovery(&mut draft);
        }
        MachineRequest::Inspect | MachineRequest::Test
            if matches!(lifecycle, Lifecycle::Available | Lifecycle::Maintenance) =>
        {
            let kind = if *request == MachineRequest::Test {
                OperationKind::Test
            } else {
                OperationKind::Inspect
            };
            begin(&mut draft, kind, "inspecting and testing");
            working::begin_inspection(&mut draft, "an operator asked for it");
        }
        MachineRequest::Repair
            if matches!(lifecycle, Lifecycle::Quarantined | Lifecycle::Maintenance) =>
        {
            begin(&mut draft, OperationKind::Repair, "bringing it back");
            bring_back(&mut draft);
        }
        MachineRequest::Quarantine { reason } if !held && lifecycle != Lifecycle::Retired => {
            draft.hold(HoldKind::Operator, reason);
        }
        MachineRequest::Maintenance { reason }
            if matches!(lifecycle, Lifecycle::Available | Lifecycle::Quarantined) =>
        {
            draft.lifecycle(Lifecycle::Maintenance, reason);
            let (now, remind) = (facts.now, facts.policy.remind);
            let machine = draft.machine();
            machine.waiting = Some(Waiting {
                reason: format!("in maintenance: {reason}"),
                deadline: now + remind,
                next_action: format!("`billet machine repair {}` brings it back", machine.name),
            });
            if machine.step != Step::Rest {
                // It waits warm, or is on the way to or from it.
                machine.warm.boot = None;
                shelve::begin(&mut draft, "powering off, for an operator to work on it");
            }
        }
        // One that is at work, or waits warm, is powered off first: nobody looks at it after.
        MachineRequest::Retire
            if machine.lease.is_none()
                && machine.step == Step::Rest
                && matches!(
                    lifecycle,
                    Lifecycle::Enrolled
                        | Lifecycle::Available
                        | Lifecycle::Quarantined
                        | Lifecycle::Maintenance
                ) =>
        {
            draft.lifecycle(Lifecycle::Retired, "an operator retired it");
            let machine = draft.machine();
            machine.hold = None;
            machine.waiting = None;
        }
        MachineRequest::Power(action)
            if matches!(
                lifecycle,
                Lifecycle::Available | Lifecycle::Quarantined | Lifecycle::Maintenance
            ) && machine.step == Step::Rest =>
        {
            begin(&mut draft, OperationKind::Power, &format!("power {action}"));
            draft.audit("machine.power", serde_json::json!({ "asked": action }));
            draft.machine().power_request = Some(*action);
            draft.machine().wake_at = facts.now;
        }
        MachineRequest::RotatePassword { after_each_lease }
            if machine.step == Step::Rest
                && (matches!(
                    lifecycle,
                    Lifecycle::Available | Lifecycle::Quarantined | Lifecycle::Maintenance
                ) || must_change(machine)) =>
        {
            begin(
                &mut draft,
                OperationKind::RotatePassword,
                "giving the BMC another password",
            );
            let upkeep = &mut draft.machine().upkeep;
            if let Some(after_each_lease) = after_each_lease {
                upkeep.rotate = *after_each_lease;
            }
            upkeep.rotation_failed = None;
            draft.audit(
                "machine.rotate_password",
                serde_json::json!({ "after_each_lease": after_each_lease }),
            );
            let then = if lifecycle == Lifecycle::Enrolled {
                AfterRotation::Discover
            } else {
                AfterRotation::Rest
            };
            rotate::begin(&mut draft, then);
        }
        MachineRequest::AcceptFirmware
            if machine.step == Step::Rest
                && matches!(
                    lifecycle,
                    Lifecycle::Available | Lifecycle::Quarantined | Lifecycle::Maintenance
                ) =>
        {
            begin(
                &mut draft,
                OperationKind::AcceptSettings,
                "reading what is set in it",
            );
            draft.audit("machine.accept_firmware", serde_json::json!({}));
            settings::begin(&mut draft, Goal::Accept);
        }
        MachineRequest::RotatePassword { .. } if lifecycle == Lifecycle::Enrolled => {
            return refuse(format!(
                "{name} is only enrolled, and only read from: its BMC gets another password when it is taken over (`billet machine enroll --rotate-password`), or now if the BMC lets nothing be done before"
            ));
        }
        _ if lifecycle == Lifecycle::Available && machine.step != Step::Rest => {
            return refuse(format!(
                "{name} waits warm, or is on the way to it, with Billet's ramdisk at work: `billet machine cordon {name}` has it powered off, and then that can be done"
            ));
        }
        _ if held => {
            return refuse(format!(
                "{name} is held by a lease: that is first released; `billet machine break-fix {name}` takes it out under its tenant"
            ));
        }
        _ if machine.step != Step::Rest => {
            return refuse(format!(
                "{name} is at work: ask again when that is over (`billet machine show {name}` tells)"
            ));
        }
        _ => {
            return refuse(format!("{name} is {lifecycle}, where that cannot be done"));
        }
    }
    Ok(draft.decision)
}

/// A machine whose tenant may have data on it is brought back to the tenant, and
/// nothing on it is touched; any other is inspected, and erased if need be.
fn bring_back(draft: &mut Draft<'_>) {
    let restored = draft
        .m()
        .hold
        .as_ref()
        .is_some_and(|h| h.kind == HoldKind::Restored);
    let state = draft.lease().map(|l| l.state);
    if state.is_some_and(LeaseState::is_tenants) && !restored {
        look_over::begin(draft);
        return;
    }
    inspected_again(draft, state);
}

/// A tenant's machine was looked over: it is given back, unless its lease ended
/// meanwhile.
pub(crate) fn given_back(draft: &mut Draft<'_>) {
    let state = draft.lease().map(|l| l.state);
    if state.is_some_and(LeaseState::is_tenants) {
        visit::bring_back(draft);
    } else {
        inspected_again(draft, state);
    }
}

fn inspected_again(draft: &mut Draft<'_>, state: Option<LeaseState>) {
    if state.is_some_and(|s| s == LeaseState::Deploying || s.is_tenants()) {
        // It may have been another tenant's since the backup.
        let why = "its machine was in the middle of something when a backup was restored";
        draft.lease_state(LeaseState::Failed, Some(why.into()));
    }
    working::begin_inspection(draft, "an operator brings it back");
}

/// Whether its BMC lets nothing be done before its password is changed.
fn must_change(machine: &Machine) -> bool {
    machine.lifecycle == Lifecycle::Enrolled
        && machine
            .bmc_trouble
            .as_ref()
            .is_some_and(|t| t.kind == BmcFailure::PasswordChange)
}

/// Begins to read a new machine.
pub fn start_discovery_of(machine: &mut Machine, policy: &Policy, now: Time) {
    machine.step = Step::Discover;
    machine.step_since = now;
    machine.notes = StepNotes::default();
    machine.waiting = Some(Waiting {
        reason: "reading the BMC".into(),
        deadline: now + policy.bmc_deadline,
        next_action: "it is tried a few times, then left to the operator".into(),
    });
    machine.wake_at = now;
}

pub(crate) fn start_discovery(draft: &mut Draft<'_>) {
    let (policy, now) = (draft.facts.policy, draft.now());
    start_discovery_of(draft.machine(), policy, now);
}

fn confirm(facts: &Facts<'_>) -> Result<Decision, Refused> {
    let machine = facts.machine;
    if !machine.unconfirmed {
        return refuse(format!("{} needs no confirmation", machine.name));
    }
    let mut draft = Draft::new(facts);
    draft.audit("machine.confirm", serde_json::json!({}));
    let now = draft.now();
    // Requests of the time before the backup may have been carried out.
    let m = draft.machine();
    m.unconfirmed = false;
    m.pending = None;
    m.uncertain_since = Some(now);
    m.epoch += 1_000_000;
    // Passwords made since the backup are not made again.
    m.upkeep.password_number += 1_000;
    m.notes = StepNotes::default();
    m.wake_at = now;
    let lifecycle = m.lifecycle;
    // What was handed over stays its tenant's, whatever was being done there.
    let state = draft.lease().map(|l| l.state);
    let tenants = state.is_some_and(LeaseState::is_tenants);
    // A reinstallation may have written since.
    draft.change_lease(|l| l.before_reinstall = None);
    if tenants && lifecycle != Lifecycle::Active {
        let to = match state {
            Some(LeaseState::Maintenance) => Lifecycle::Maintenance,
            _ => Lifecycle::Active,
        };
        draft.lifecycle(to, "restored from a backup, and its tenant's");
        draft.machine().hold = None;
    }
    let settled = matches!(
        lifecycle,
        Lifecycle::Active | Lifecycle::Enrolled | Lifecycle::Retired
    );
    let m = draft.machine();
    if tenants || settled {
        m.waiting = None;
        if tenants || lifecycle == Lifecycle::Active {
            // Yesterday's wish to change the power is nobody's today.
            m.power_request = None;
            m.step = Step::Rest;
            draft.end_operation(
                OperationState::Failed,
                "given up: restored from a backup of the time when it was asked for",
            );
            if let Some(
                state @ (LeaseState::Rescue
                | LeaseState::Measuring
                | LeaseState::Reinstalling
                | LeaseState::Installing),
            ) = state
            {
                let why = format!("restored from a backup of the time when it was {state}");
                visit::broken(&mut draft, &why);
            }
        }
    } else {
        // What was under way then is not gone on with; and what was free then
        // may have been someone's since.
        if m.lifecycle != Lifecycle::Enrolled {
            m.may_hold_data = true;
        }
        draft.hold(
            HoldKind::Restored,
            "restored from a backup: it goes through inspection and erase before it is offered",
        );
    }
    Ok(draft.decision)
}

/// What a new lease does to the machine it gets.
pub struct Grant<'a> {
    /// The lease, made and not yet kept.
    pub lease: &'a Lease,
    /// Its operation.
    pub operation: OperationId,
    /// Why it goes through firmware whatever the machine it gets, where it does.
    pub cold: Option<String>,
}

/// Gives a free machine to a lease.
///
/// # Errors
/// When it is not free (any more).
pub fn grant(facts: &Facts<'_>, grant: &Grant<'_>) -> Result<Decision, Refused> {
    if !crate::placement::is_free(facts.machine) {
        return refuse(format!("{} is not free", facts.machine.name));
    }
    let wanted = layout::Wanted {
        lease: grant.lease.id,
        root: &grant.lease.spec.root_drive,
        layout: &grant.lease.spec.layout,
        kept: &[],
    };
    let laid_out = layout::lay_out_on(&wanted, facts.machine).or_else(refuse)?;
    let Some(root) = laid_out.root.first().cloned() else {
        return refuse("no drive was found for the root");
    };
    let mut draft = Draft::new(facts);
    let op = operation(
        grant.operation,
        OperationKind::Deploy,
        facts.machine,
        Some(grant.lease),
        "deploying",
        facts.now,
    );
    draft.put_operation(op);
    let cold = match &grant.lease.install {
        Some(_) => Some("its tenant's own installer is booted from a medium"),
        None => grant.cold.as_deref(),
    };
    let way = warm_start::way(&draft, &root, cold);
    draft.decision.lease = Some(Lease {
        root_drive: Some(root),
        layout: Some(laid_out),
        first_start: way
            .as_ref()
            .err()
            .map(|why| FirstStart::cold(vec![why.clone()])),
        ..grant.lease.clone()
    });
    draft.lifecycle(Lifecycle::Deploying, "leased");
    let machine = draft.machine();
    machine.lease = Some(grant.lease.id);
    machine.operation = Some(grant.operation);
    machine.may_hold_data = true;
    machine.attempts = 0;
    machine.epoch += 1;
    let goal = way.map_or(Goal::Deploy, |boot| Goal::DeployWarm { boot });
    settings::begin(&mut draft, goal);
    Ok(draft.decision)
}

/// Takes a machine back at the tenant's wish.
///
/// # Errors
/// When the lease is not one that can be released now.
pub fn release(facts: &Facts<'_>) -> Result<Decision, Refused> {
    let Some(lease) = facts.lease else {
        return refuse("the lease is over");
    };
    match lease.state {
        LeaseState::Active
        | LeaseState::Deploying
        | LeaseState::Installing
        | LeaseState::Reinstalling
        | LeaseState::Rescue
        | LeaseState::Measuring
        | LeaseState::Broken
        | LeaseState::Maintenance => {}
        LeaseState::Releasing => return refuse(format!("{} is being released", lease.name)),
        LeaseState::Released | LeaseState::Failed => {
            return refuse(format!("{} is over", lease.name));
        }
    }
    if facts.machine.unconfirmed {
        return refuse("its machine was restored from a backup and waits for an operator");
    }
    let mut draft = Draft::new(facts);
    // What was being done for the tenant ends with the tenant's own wish.
    draft.end_operation(OperationState::Failed, "the lease was released");
    draft.lease_state(LeaseState::Releasing, None);
    begin(&mut draft, OperationKind::Release, "releasing");
    let held = matches!(
        facts.machine.lifecycle,
        Lifecycle::Quarantined | Lifecycle::Maintenance
    );
    if held {
        waits_for_repair(&mut draft);
    } else {
        procedure::begin_erase(&mut draft, "the tenant released it");
    }
    Ok(draft.decision)
}

/// The machine is an operator's, for a fault: the erase waits for its repair.
pub(crate) fn waits_for_repair(draft: &mut Draft<'_>) {
    let told = "its machine is held for a fault; an operator repairs and erases it";
    draft.change_lease(|l| l.reason = Some(told.into()));
    draft.end_operation(OperationState::Failed, told);
}

/// Changes the power at the tenant's wish.
///
/// # Errors
/// When the lease is not active, or something is at work on its machine.
pub fn lease_power(facts: &Facts<'_>, action: PowerAction) -> Result<Decision, Refused> {
    let Some(lease) = facts.lease else {
        return refuse("the lease is over");
    };
    if lease.state != LeaseState::Active || facts.machine.lifecycle != Lifecycle::Active {
        return refuse(format!(
            "{} is {}: its power is the tenant's while it is active",
            lease.name, lease.state
        ));
    }
    if facts.machine.operation.is_some() || facts.machine.power_request.is_some() {
        return refuse("another change of power is under way: wait for it");
    }
    if facts.machine.unconfirmed {
        return refuse("its machine was restored from a backup and waits for an operator");
    }
    let mut draft = Draft::new(facts);
    begin(&mut draft, OperationKind::Power, &format!("power {action}"));
    draft.audit("lease.power", serde_json::json!({ "asked": action }));
    draft.machine().power_request = Some(action);
    draft.machine().wake_at = facts.now;
    Ok(draft.decision)
}

/// A lease's id and project, for the record.
pub fn subject(lease: Option<&Lease>) -> (Option<LeaseId>, Option<ProjectId>) {
    (lease.map(|l| l.id), lease.map(|l| l.project))
}
