//! A tenant's machine after an operator worked on it: what its BMC lists is held
//! against what was there, before the tenant has it again. Only reads.

use billet_model::{
    bmc::{BmcFact, BmcReply, BmcRequest},
    inventory::Inventory,
    step::Step,
};

use crate::{decision::Draft, next::Came, requests, visit};

/// Begins to look.
pub(crate) fn begin(draft: &mut Draft<'_>) {
    let within = draft.facts.policy.bmc_deadline;
    draft.enter(
        Step::LookOver,
        "looking at what is in the machine",
        within,
        "it is given back without that, and the visit says so",
    );
}

pub(crate) fn look_over(draft: &mut Draft<'_>, came: &Came<'_>) {
    let told = match came {
        Some((
            BmcRequest::Discover,
            BmcReply::Done {
                fact: BmcFact::Discovered { inventory, .. },
            },
        )) => differences(draft, inventory),
        _ if draft.m().notes.failures >= 3 || draft.overdue() => {
            vec!["nothing told what is in it: not looked at".to_owned()]
        }
        _ => {
            draft.ask(BmcRequest::Discover);
            return;
        }
    };
    draft.audit(
        "machine.looked_over",
        serde_json::json!({ "differences": told }),
    );
    for one in &told {
        visit::note(draft, one.clone());
    }
    draft.machine().differences = told;
    requests::given_back(draft);
}

/// Drives, as far as the BMC lists any: many know of no drive that hangs on the
/// processor directly.
fn differences(draft: &Draft<'_>, found: &Inventory) -> Vec<String> {
    let listed: Vec<&str> = found
        .own_drives()
        .filter_map(|d| d.serial.as_deref())
        .collect();
    if listed.is_empty() {
        return vec!["no drives are listed from outside: they were not looked at".to_owned()];
    }
    let known = &draft.m().drives;
    let mut told: Vec<String> = listed
        .iter()
        .filter(|serial| !known.iter().any(|d| d.serial == **serial))
        .map(|serial| format!("drive {serial} is in it, and was not before"))
        .collect();
    told.extend(
        known
            .iter()
            .filter(|d| !listed.contains(&d.serial.as_str()))
            .map(|d| {
                format!(
                    "drive {} is not among those that are listed from outside",
                    d.serial
                )
            }),
    );
    told
}
