//! The enrolment manifest of a lab: the same file that an operator writes for real machines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::facts::Kind;
use crate::lab::Summary;
use crate::options::LabOptions;

/// The manifest in TOML: the site, networks and machine types of the lab, then its machines.
///
/// Each table is what the API takes to make such a thing.
#[must_use]
pub fn manifest(summary: &Summary, options: &LabOptions) -> String {
    let mut out = String::from("# The machines of a lab. All of it is made up.\n\n");
    // Writing to a String does not fail.
    let _ = write(&mut out, summary, options);
    out
}

fn quoted(text: &str) -> String {
    // TOML's basic strings escape as JSON's do.
    serde_json::Value::from(text).to_string()
}

fn write(out: &mut String, summary: &Summary, options: &LabOptions) -> std::fmt::Result {
    writeln!(out, "[[sites]]\nname = \"lab\"\njurisdiction = \"LAB\"\n")?;
    if summary.machines.iter().any(|m| m.address.is_some()) {
        let net = &options.net;
        let at = |last: u32| Ipv4Addr::from_bits(net.subnet.to_bits() + last);
        let first = u32::from(net.first);
        writeln!(out, "[[networks]]\nname = {}", quoted(&net.name))?;
        writeln!(out, "subnet = \"{}/24\"", net.subnet)?;
        writeln!(out, "gateway = \"{}\"", summary.host_alias)?;
        writeln!(out, "pool = [\"{}\", \"{}\"]", at(first), at(254))?;
        writeln!(out, "reached_at = \"{}\"\n", summary.reached_at)?;
    }
    let mut types = BTreeMap::new();
    for machine in &summary.machines {
        types.entry(&machine.machine_type).or_insert(machine);
    }
    for (name, machine) in types {
        writeln!(out, "[[machine_types]]\nname = {}", quoted(name))?;
        writeln!(out, "description = {}", quoted(&machine.model))?;
        writeln!(out, "[machine_types.expected]")?;
        writeln!(out, "drives = {}", machine.drives.len())?;
        writeln!(out, "gpus = {}\n", machine.gpus)?;
    }
    for machine in &summary.machines {
        writeln!(out, "[[machines]]\nname = {}", quoted(&machine.name))?;
        writeln!(out, "site = \"lab\"\nrack = {}", quoted(&machine.rack))?;
        writeln!(out, "machine_type = {}", quoted(&machine.machine_type))?;
        writeln!(out, "serial = {}", quoted(&machine.serial))?;
        if let (Kind::Emulated, Some(address)) = (machine.kind, machine.address) {
            let name = quoted(&options.net.name);
            writeln!(out, "networks = {{ {name} = \"{address}\" }}")?;
        }
        writeln!(out, "[machines.bmc]\naddress = {}", quoted(&machine.bmc))?;
        writeln!(out, "user = {}", quoted(&machine.user))?;
        writeln!(out, "password = {}", quoted(&machine.password))?;
        writeln!(out, "fingerprint = {}\n", quoted(&machine.fingerprint))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LabMachine, Power};
    use billet_model::api::{NewMachine, NewMachineType, NewNetwork, NewSite};

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Manifest {
        sites: Vec<NewSite>,
        networks: Vec<NewNetwork>,
        machine_types: Vec<NewMachineType>,
        machines: Vec<NewMachine>,
    }

    fn machine(name: &str, kind: Kind) -> LabMachine {
        LabMachine {
            name: name.into(),
            kind,
            bmc: "https://127.0.0.1:18001".into(),
            user: "admin".into(),
            password: "a \"quoted\" \\ password".into(),
            fingerprint: "ab".repeat(32),
            console: ([127, 0, 0, 1], 18002).into(),
            serial: format!("S-{name}"),
            model: "Server (emulated)".into(),
            machine_type: "emulated.4x".into(),
            rack: "r1".into(),
            address: (kind == Kind::Emulated).then(|| [10, 88, 0, 11].into()),
            ssh: None,
            gpus: 4,
            drives: vec!["D1".into(), "D2".into()],
            drive_files: vec![],
            power: Power::Off,
        }
    }

    #[test]
    fn the_manifest_is_what_the_api_takes() {
        let summary = Summary {
            api: "http://127.0.0.1:18000".into(),
            dir: "/tmp".into(),
            accel: None,
            host_alias: [10, 88, 0, 1].into(),
            reached_at: [127, 88, 0, 0].into(),
            notes: vec![],
            machines: vec![
                machine("lab-001", Kind::Emulated),
                machine("phantom-0001", Kind::Phantom),
            ],
        };
        let text = manifest(&summary, &LabOptions::default());
        let read: Manifest = toml::from_str(&text).expect(&text);
        assert_eq!(read.sites.len(), 1);
        assert_eq!(read.networks[0].reached_at, Some([127, 88, 0, 0].into()));
        assert_eq!(read.machine_types[0].expected.gpus, Some(4));
        let first = &read.machines[0];
        assert_eq!(first.serial.as_deref(), Some("S-lab-001"));
        assert_eq!(first.bmc.password.expose(), summary.machines[0].password);
        assert_eq!(
            first.networks.values().next(),
            Some(&Some([10, 88, 0, 11].into()))
        );
        assert!(read.machines[1].networks.is_empty());
    }
}
