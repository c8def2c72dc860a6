//! The hardware found, against the hardware expected.

use std::collections::BTreeMap;

use billet_model::{
    inventory::Inventory,
    site::{Address, ExpectedParts},
    work::DriveRef,
};

/// What differs from what was expected, in sentences. What the one who looked
/// could not see is not a difference.
pub fn differences(
    serial: Option<&str>,
    expected: Option<&ExpectedParts>,
    found: &Inventory,
) -> Vec<String> {
    let mut out = Vec::new();
    if let (Some(want), Some(is)) = (serial, &found.system.serial)
        && want != is
    {
        out.push(format!("serial number: expected {want}, found {is}"));
    }
    let Some(expected) = expected else { return out };
    let mut exact = |what: &str, want: Option<u32>, is: usize| {
        if let Some(want) = want
            && u32::try_from(is) != Ok(want)
        {
            out.push(format!("{what}: expected {want}, found {is}"));
        }
    };
    exact("GPUs", expected.gpus, found.gpus.len());
    exact("drives", expected.drives, found.own_drives().count());
    if let Some(model) = &expected.gpu_model {
        for gpu in &found.gpus {
            let is = gpu.model.as_deref().unwrap_or("no model");
            if !is.to_lowercase().contains(&model.to_lowercase()) {
                out.push(format!("GPU {}: expected {model}, found {is}", gpu.address));
            }
        }
    }
    let threads: u32 = found.cpus.iter().filter_map(|c| c.threads).sum();
    let mut least = |what: &str, want: Option<u64>, is: u64| {
        if let Some(want) = want
            && is > 0
            && is < want
        {
            out.push(format!("{what}: expected at least {want}, found {is}"));
        }
    };
    least(
        "threads",
        expected.min_threads.map(u64::from),
        threads.into(),
    );
    least(
        "memory bytes",
        expected.min_memory_bytes,
        found.memory.total_bytes,
    );
    least(
        "network interfaces",
        expected.min_nics.map(u64::from),
        found.nics.len() as u64,
    );
    out
}

/// The drives found, against those that may be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drives {
    /// All there and none more; with what was learned of their names.
    AsConfirmed(Vec<DriveRef>),
    /// These serials were found and not confirmed.
    Unconfirmed(Vec<String>),
    /// These serials were confirmed and not found.
    Missing(Vec<String>),
}

/// Compares the drives found with those that the operator confirmed.
pub fn drives(confirmed: &[DriveRef], found: &Inventory) -> Drives {
    let label = |serial: &Option<String>, name: &str| {
        serial
            .clone()
            .unwrap_or_else(|| format!("{name} (without a serial number)"))
    };
    let known = |serial: &str| confirmed.iter().any(|c| c.serial == serial);
    let strangers: Vec<String> = found
        .own_drives()
        .filter(|d| !d.serial.as_deref().is_some_and(known))
        .map(|d| label(&d.serial, &d.name))
        .collect();
    if !strangers.is_empty() {
        return Drives::Unconfirmed(strangers);
    }
    let found: Vec<DriveRef> = found
        .own_drives()
        .filter_map(|d| {
            Some(DriveRef {
                serial: d.serial.clone()?,
                wwn: d.wwn.clone(),
            })
        })
        .collect();
    let missing: Vec<String> = confirmed
        .iter()
        .filter(|c| !found.iter().any(|f| f.serial == c.serial))
        .map(|c| c.serial.clone())
        .collect();
    if missing.is_empty() {
        Drives::AsConfirmed(found)
    } else {
        Drives::Missing(missing)
    }
}

/// Notes the size of each drive, where it had no larger one before.
pub fn note_sizes(sizes: &mut BTreeMap<String, u64>, found: &Inventory) {
    for drive in found.own_drives() {
        if let Some(serial) = &drive.serial {
            let had = sizes.entry(serial.clone()).or_default();
            *had = drive.size_bytes.max(*had);
        }
    }
}

/// Gives each address that is not bound to an interface yet the next one that
/// is free: those with a link first, in the order in which they were found.
pub fn bind_addresses(addresses: &mut [Address], found: &Inventory) {
    let mut free: Vec<&String> = [Some(true), None, Some(false)]
        .into_iter()
        .flat_map(|link| found.nics.iter().filter(move |n| n.link == link))
        .filter_map(|n| n.mac.as_ref())
        .collect();
    free.retain(|mac| !addresses.iter().any(|a| a.mac.as_ref() == Some(*mac)));
    let mut free = free.into_iter();
    for address in addresses.iter_mut().filter(|a| a.mac.is_none()) {
        address.mac = free.next().cloned();
    }
}

#[cfg(test)]
mod tests {
    use billet_model::inventory::{Drive, Gpu};

    use super::*;

    fn drive(serial: &str) -> Drive {
        Drive {
            serial: Some(serial.into()),
            ..Drive::default()
        }
    }

    fn confirmed(serials: &[&str]) -> Vec<DriveRef> {
        serials
            .iter()
            .map(|s| DriveRef {
                serial: (*s).into(),
                wwn: None,
            })
            .collect()
    }

    #[test]
    fn only_confirmed_drives_pass() {
        let remote = Drive {
            remote: true,
            ..drive("R")
        };
        let found = Inventory {
            drives: vec![drive("A"), drive("B"), remote],
            ..Inventory::default()
        };
        assert!(matches!(
            drives(&confirmed(&["A", "B"]), &found),
            Drives::AsConfirmed(d) if d.len() == 2
        ));
        assert_eq!(
            drives(&confirmed(&["A"]), &found),
            Drives::Unconfirmed(vec!["B".into()])
        );
        assert_eq!(
            drives(&confirmed(&["A", "B", "C"]), &found),
            Drives::Missing(vec!["C".into()])
        );
        let nameless = Inventory {
            drives: vec![Drive {
                name: "nvme0n1".into(),
                ..Drive::default()
            }],
            ..Inventory::default()
        };
        assert!(matches!(
            drives(&confirmed(&["A"]), &nameless),
            Drives::Unconfirmed(_)
        ));
    }

    #[test]
    fn addresses_are_bound_to_interfaces_with_a_link_first() {
        use billet_model::{NetworkId, inventory::Nic};
        let nic = |mac: &str, link| Nic {
            mac: Some(mac.into()),
            link,
            ..Nic::default()
        };
        let found = Inventory {
            nics: vec![nic("a", Some(false)), nic("b", None), nic("c", Some(true))],
            ..Inventory::default()
        };
        let address = |mac: Option<&str>| Address {
            network: NetworkId::from_parts(0, [0; 10]),
            ip: [10, 0, 0, 2].into(),
            prefix: 24,
            gateway: None,
            dns: vec![],
            reached_at: [10, 0, 0, 2].into(),
            mac: mac.map(str::to_owned),
        };
        let mut addresses = vec![address(None), address(Some("b")), address(None)];
        bind_addresses(&mut addresses, &found);
        let macs: Vec<_> = addresses.iter().filter_map(|a| a.mac.as_deref()).collect();
        assert_eq!(macs, ["c", "b", "a"]);
    }

    #[test]
    fn differences_are_told_in_sentences() {
        let mut found = Inventory {
            gpus: vec![Gpu {
                address: "01".into(),
                model: Some("NVIDIA A100".into()),
                ..Gpu::default()
            }],
            ..Inventory::default()
        };
        found.system.serial = Some("X1".into());
        found.memory.total_bytes = 10;
        let expected = ExpectedParts {
            gpus: Some(8),
            gpu_model: Some("H100".into()),
            min_memory_bytes: Some(11),
            min_threads: Some(4),
            ..ExpectedParts::default()
        };
        assert_eq!(
            differences(Some("X2"), Some(&expected), &found),
            [
                "serial number: expected X2, found X1",
                "GPUs: expected 8, found 1",
                "GPU 01: expected H100, found NVIDIA A100",
                "memory bytes: expected at least 11, found 10",
            ]
        );
    }
}
