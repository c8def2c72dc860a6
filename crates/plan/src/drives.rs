//! The list of a machine's drives: an operator strikes one that left the
//! building, lets go one that cannot be erased, and confirms one that came.

use billet_model::{
    lifecycle::{HoldKind, Lifecycle},
    step::Step,
    upkeep::{StruckDrive, UnerasedDrive},
    work::DriveRef,
};

use crate::{
    Decision, Facts,
    decision::Draft,
    requests::{Refused, refuse, steady},
    visit,
};

/// What is changed of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriveChange {
    /// It left the machine, and will not be erased by Billet.
    Strike {
        /// Its serial number.
        serial: String,
        /// Why, for the record and the certificate.
        reason: String,
    },
    /// It cannot be erased, and is let go all the same: the next erase is accepted
    /// without it.
    LetGo {
        /// Its serial number.
        serial: String,
        /// Why, for the record and the certificate.
        reason: String,
        /// Who says so, for the certificate.
        by: String,
    },
    /// It came, and may be erased.
    Add {
        /// Its serial number.
        serial: String,
    },
}

/// Changes the list.
///
/// # Errors
/// When something is at work on the machine, the drive is not (or is already) on
/// the list, or it is the last one.
pub fn change(facts: &Facts<'_>, change: &DriveChange) -> Result<Decision, Refused> {
    let machine = facts.machine;
    let name = &machine.name;
    steady(machine)?;
    let open = matches!(
        machine.lifecycle,
        Lifecycle::Quarantined | Lifecycle::Maintenance | Lifecycle::Active | Lifecycle::Available
    );
    if !open || !matches!(machine.step, Step::Rest | Step::Rescue { .. }) {
        return refuse(format!(
            "{name} is {}: its list of drives is changed while nothing is done to it",
            machine.lifecycle
        ));
    }
    if machine.drives.is_empty() {
        return refuse(format!(
            "{name} was never taken over: `billet machine take-over {name}` names its drives"
        ));
    }
    let at = |serial: &str| machine.drives.iter().position(|d| d.serial == serial);
    let listed = || {
        let serials: Vec<&str> = machine.drives.iter().map(|d| d.serial.as_str()).collect();
        serials.join(", ")
    };
    let mut draft = Draft::new(facts);
    match change {
        DriveChange::Strike { serial, reason } => {
            let Some(at) = at(serial) else {
                return Err(Refused {
                    detail: format!("{serial} is not a drive of {name}: it has {}", listed()),
                    field: Some("serial"),
                });
            };
            if machine.drives.len() == 1 {
                return refuse(format!(
                    "{serial} is the last drive of {name}: add the one that came in its place first"
                ));
            }
            let drive = draft.machine().drives.remove(at);
            let upkeep = &mut draft.machine().upkeep;
            upkeep.let_go.retain(|u| u.drive != drive);
            upkeep.unerased.retain(|u| u.drive != drive);
            upkeep.sizes.remove(&drive.serial);
            // What was erased already left nothing.
            if machine.may_hold_data {
                draft.machine().upkeep.struck.push(StruckDrive {
                    drive,
                    reason: reason.clone(),
                    at: facts.now,
                });
            }
            draft.audit(
                "machine.drive_struck",
                serde_json::json!({
                    "serial": serial, "reason": reason, "may_hold_data": machine.may_hold_data,
                }),
            );
            visit::note(
                &mut draft,
                format!("drive {serial} left the machine without an erase: {reason}"),
            );
        }
        DriveChange::LetGo { serial, reason, by } => {
            let Some(at) = at(serial) else {
                return Err(Refused {
                    detail: format!("{serial} is not a drive of {name}: it has {}", listed()),
                    field: Some("serial"),
                });
            };
            let held = machine.hold.as_ref().map(|h| h.kind);
            let for_a_drive = matches!(held, Some(HoldKind::EraseFailed | HoldKind::WrongHardware));
            if machine.lifecycle != Lifecycle::Quarantined || !for_a_drive {
                return refuse(format!(
                    "{name} is not held for a drive that could not be erased: there is nothing to let go"
                ));
            }
            if machine.upkeep.lets_go(serial) {
                return refuse(format!("the next erase of {serial} is accepted already"));
            }
            let drive = machine.drives[at].clone();
            draft.machine().upkeep.let_go.push(UnerasedDrive {
                drive,
                reason: reason.clone(),
                by: by.clone(),
                at: facts.now,
                failure: None,
            });
            if let Some(waiting) = &mut draft.machine().waiting {
                waiting.next_action = format!(
                    "`billet machine repair {name}` erases the others, and lets {serial} go"
                );
            }
            draft.audit(
                "machine.erase_overridden",
                serde_json::json!({ "serial": serial, "reason": reason, "by": by }),
            );
        }
        DriveChange::Add { serial } => {
            if machine.lifecycle == Lifecycle::Available {
                return refuse(format!(
                    "{name} is available, and a drive that came may hold data: `billet machine maintenance {name}` first; `repair` erases it then"
                ));
            }
            if at(serial).is_some() {
                return refuse(format!("{serial} is on the list of {name} already"));
            }
            draft.machine().drives.push(DriveRef {
                serial: serial.clone(),
                wwn: None,
            });
            draft.machine().may_hold_data = true;
            draft.audit(
                "machine.drive_added",
                serde_json::json!({ "serial": serial }),
            );
            visit::note(&mut draft, format!("drive {serial} was put in"));
        }
    }
    Ok(draft.decision)
}
