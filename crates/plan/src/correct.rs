//! What an operator corrects of a machine after its enrolment.
//!
//! A name and a rack are labels, and change at any time. Where a machine stands and which
//! addresses it has is promised to whoever leases it, and stands in what was booted there: that
//! changes while no lease holds it and nothing runs on it. Which hardware is expected of it
//! changes only where every way to an offer goes through an inspection.

use billet_model::{
    Name, SiteId,
    lifecycle::Lifecycle,
    machine::Machine,
    site::{Address, ExpectedParts},
    step::Step,
};
use serde_json::{Map, Value, json};

use crate::{
    Decision, Facts,
    decision::Draft,
    inspection,
    requests::{Refused, refuse, steady},
};

/// What is to be otherwise; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Correction {
    /// Its name.
    pub name: Option<Name>,
    /// Its rack, or none.
    pub rack: Option<Option<String>>,
    /// Its site.
    pub site: Option<SiteId>,
    /// Its machine type.
    pub machine_type: Option<Name>,
    /// What is expected of the type that it is of then, for the comparison with what was found.
    pub expected: ExpectedParts,
    /// The serial number that it should have, or none.
    pub serial: Option<Option<String>>,
    /// All of its addresses; interfaces are theirs to find.
    pub addresses: Option<Vec<Address>>,
    /// Whether its BMC gets another password when it is taken over, and after each lease.
    pub rotate_password: Option<bool>,
}

/// Corrects what is recorded of a machine. Where nothing differs nothing is decided.
///
/// # Errors
/// When the machine's state stands against it; the sentence tells the way out.
pub fn correct(facts: &Facts<'_>, to: &Correction) -> Result<Decision, Refused> {
    let machine = facts.machine;
    let name = &machine.name;
    if machine.lifecycle == Lifecycle::Retired {
        return refuse(format!("{name} is retired, and its record stays as it is"));
    }
    let mut draft = Draft::new(facts);
    let mut said = Said::default();
    if let Some(to) = &to.name {
        said.set("name", &mut draft.machine().name, to.clone());
    }
    if let Some(to) = &to.rack {
        said.set("rack", &mut draft.machine().rack, to.clone());
    }
    if let Some(to) = to.rotate_password {
        said.set("rotate_password", &mut draft.machine().upkeep.rotate, to);
    }
    let labels = said.0.len();

    if let Some(to) = to.site {
        said.set("site", &mut draft.machine().site, to);
    }
    if let Some(addresses) = &to.addresses {
        readdress(&mut draft, addresses, &mut said);
    }
    if said.0.len() > labels {
        at_rest(machine)?;
    }
    let places = said.0.len();

    if let Some(to) = &to.machine_type {
        let kind = &mut draft.machine().machine_type;
        said.set("machine_type", kind, to.clone());
    }
    if let Some(to) = &to.serial {
        let serial = &mut draft.machine().expected_serial;
        said.set("serial", serial, to.clone());
    }
    if said.0.len() > places {
        at_rest(machine)?;
        if !machine.lifecycle.is_set_aside() {
            return refuse(format!(
                "{name} is {}, and would be offered without being compared with what is expected then: `billet machine maintenance {name}` takes it out first, and `billet machine repair {name}` inspects it afterwards",
                machine.lifecycle
            ));
        }
        let machine = draft.machine();
        if let Some(inventory) = &machine.inventory {
            let serial = machine.expected_serial.as_deref();
            machine.differences = inspection::differences(serial, Some(&to.expected), inventory);
        }
    }
    if !said.0.is_empty() {
        draft.audit("machine.change", Value::Object(said.0));
    }
    Ok(draft.decision)
}

/// Whether a machine's place and addresses may change: nobody has it, and nothing runs on it.
fn at_rest(machine: &Machine) -> Result<(), Refused> {
    let name = &machine.name;
    if machine.lease.is_some() {
        return refuse(format!(
            "{name} is held by a lease, and its tenant was promised what it is: that is changed once the lease is over and the machine erased"
        ));
    }
    steady(machine)?;
    if machine.step != Step::Rest {
        return refuse(match machine.lifecycle {
            Lifecycle::Available => format!(
                "{name} waits warm, or is on the way to it, with Billet's ramdisk at work: `billet machine cordon {name}` has it powered off, and then that can be changed"
            ),
            _ => format!("something is being done on {name}: wait until it is over"),
        });
    }
    Ok(())
}

/// Gives a machine these addresses. One that it has on a network already keeps its interface;
/// others find one among those that are known.
fn readdress(draft: &mut Draft<'_>, addresses: &[Address], said: &mut Said) {
    let machine = draft.machine();
    let place = |a: &Address| (a.network, a.ip);
    let same = addresses.len() == machine.addresses.len()
        && addresses
            .iter()
            .all(|a| machine.addresses.iter().any(|is| place(is) == place(a)));
    if same {
        return;
    }
    let mut now = addresses.to_vec();
    for address in &mut now {
        let of = |a: &&Address| a.network == address.network;
        let before = machine.addresses.iter().find(of);
        address.mac = before.and_then(|a| a.mac.clone());
    }
    if let Some(inventory) = &machine.inventory {
        inspection::bind_addresses(&mut now, inventory);
    }
    let told = |addresses: &[Address]| -> Value {
        let each = addresses.iter();
        each.map(|a| json!({ "network": a.network, "ip": a.ip }))
            .collect()
    };
    let change = json!({ "was": told(&machine.addresses), "is": told(&now) });
    said.0.insert("addresses".into(), change);
    machine.addresses = now;
}

/// What became otherwise, for the record.
#[derive(Default)]
struct Said(Map<String, Value>);

impl Said {
    fn set<T: PartialEq + serde::Serialize>(&mut self, field: &str, is: &mut T, to: T) {
        if *is != to {
            let change = json!({ "was": is, "is": to });
            self.0.insert(field.to_owned(), change);
            *is = to;
        }
    }
}
