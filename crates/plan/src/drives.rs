//! The list of a machine's drives: an operator strikes one that left the
//! building, and confirms one that came.

use billet_model::{lifecycle::Lifecycle, step::Step, upkeep::StruckDrive, work::DriveRef};

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
    let mut draft = Draft::new(facts);
    match change {
        DriveChange::Strike { serial, reason } => {
            let listed = || {
                let serials: Vec<&str> = machine.drives.iter().map(|d| d.serial.as_str()).collect();
                serials.join(", ")
            };
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
