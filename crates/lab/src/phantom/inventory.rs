//! A phantom's inventory, as an agent on it would find it.

use billet_model::inventory::{
    Cpu, Drive, DriveKind, EraseCapabilities, Firmware, Gpu, Inventory, Memory, MemoryModule, Nic,
    NumaNode, PciDevice, PciLink, Source, System, Tpm,
};

use crate::facts::Facts;

const MIB: u64 = 1024 * 1024;

/// Transfers per lane in units of 0.1 GT/s, by PCIe generation.
fn speed(generation: u8) -> u32 {
    match generation {
        5 => 320,
        4 => 160,
        3 => 80,
        _ => 25,
    }
}

/// What the agent finds.
pub(super) fn inventory(facts: &Facts) -> Inventory {
    let node_threads = threads(facts) / facts.numa_nodes.max(1);
    Inventory {
        source: Source::Agent,
        system: System {
            manufacturer: Some(facts.manufacturer.clone()),
            model: Some(facts.model.clone()),
            serial: Some(facts.serial.clone()),
            uuid: Some(facts.uuid.clone()),
            ..System::default()
        },
        firmware: vec![Firmware {
            component: "BIOS".into(),
            version: facts.firmware_version.clone(),
        }],
        cpus: facts
            .cpus
            .iter()
            .enumerate()
            .map(|(n, c)| Cpu {
                socket: n.to_string(),
                model: Some(c.model.clone()),
                manufacturer: Some(c.manufacturer.clone()),
                cores: Some(c.cores),
                threads: Some(c.threads),
                max_mhz: Some(c.max_mhz),
                architecture: Some("x86_64".into()),
                serial: None,
            })
            .collect(),
        numa: (0..facts.numa_nodes)
            .map(|id| NumaNode {
                id,
                cpus: format!("{}-{}", id * node_threads, (id + 1) * node_threads - 1),
                memory_bytes: facts.memory_mib() * MIB / u64::from(facts.numa_nodes),
                distances: (0..facts.numa_nodes)
                    .map(|other| if other == id { 10 } else { 21 })
                    .collect(),
            })
            .collect(),
        memory: Memory {
            total_bytes: facts.memory_mib() * MIB,
            modules: facts
                .dimms
                .iter()
                .map(|d| MemoryModule {
                    slot: d.slot.clone(),
                    size_bytes: d.mib * MIB,
                    speed_mts: Some(d.mts),
                    manufacturer: Some(d.manufacturer.clone()),
                    part: Some(d.part.clone()),
                    serial: Some(d.serial.clone()),
                })
                .collect(),
        },
        pci: pci(facts),
        drives: drives(facts),
        nics: nics(facts),
        tpm: facts.tpm.then(|| Tpm {
            version: "2.0".into(),
            manufacturer: Some("phantom".into()),
            firmware: None,
        }),
        gpus: facts
            .gpus
            .iter()
            .map(|g| Gpu {
                address: g.pci.clone(),
                model: Some(g.model.clone()),
                manufacturer: Some(g.manufacturer.clone()),
                serial: Some(g.serial.clone()),
                uuid: Some(g.uuid.clone()),
                memory_bytes: Some(g.memory_mib * MIB),
                numa: Some(g.numa),
                stand_in: true,
            })
            .collect(),
        sensors: vec![],
        hypervisor: Some(false),
        notes: vec!["A phantom of the lab: it only pretends to have these parts.".into()],
    }
}

fn threads(facts: &Facts) -> u32 {
    facts.cpus.iter().map(|c| c.threads).sum()
}

fn drives(facts: &Facts) -> Vec<Drive> {
    facts
        .drives
        .iter()
        .enumerate()
        .map(|(n, d)| Drive {
            name: format!("nvme{n}n1"),
            kind: DriveKind::Nvme,
            manufacturer: Some(d.manufacturer.clone()),
            model: Some(d.model.clone()),
            serial: Some(d.serial.clone()),
            wwn: d.wwn.clone(),
            firmware: Some(d.firmware.clone()),
            size_bytes: d.bytes,
            block_bytes: Some(512),
            erase: EraseCapabilities {
                sanitize_crypto: true,
                sanitize_block: true,
                format_crypto: true,
                format_user: true,
                write_zeroes: true,
                discard: true,
                ..EraseCapabilities::default()
            },
            power_on_hours: Some(1200),
            healthy: Some(true),
            namespaces: vec![1],
            ..Drive::default()
        })
        .collect()
}

fn nics(facts: &Facts) -> Vec<Nic> {
    facts
        .nics
        .iter()
        .enumerate()
        .map(|(n, nic)| Nic {
            name: format!("eth{n}"),
            mac: Some(nic.mac.clone()),
            link: Some(nic.link_up),
            speed_mbps: Some(nic.speed_mbps),
            pci: Some(nic.pci.clone()),
            driver: Some(
                if nic.vendor_id == 0x15b3 {
                    "mlx5_core"
                } else {
                    "bnxt_en"
                }
                .into(),
            ),
            model: Some(nic.model.clone()),
        })
        .collect()
}

fn pci(facts: &Facts) -> Vec<PciDevice> {
    let device = |address: &str, ids: (u16, u16), class: &str, name: &str, numa, link| PciDevice {
        address: address.into(),
        vendor: format!("{:04x}", ids.0),
        device: format!("{:04x}", ids.1),
        class: class.into(),
        name: Some(name.into()),
        parent: None,
        numa: Some(numa),
        driver: None,
        link,
    };
    let link = |generation: u8, width: u8| {
        Some(PciLink {
            width: Some(width.into()),
            max_width: Some(width.into()),
            speed: Some(speed(generation)),
            max_speed: Some(speed(generation)),
        })
    };
    let gpus = facts.gpus.iter().map(|g| {
        device(
            &g.pci,
            (g.vendor_id, g.device_id),
            "030200",
            &g.model,
            g.numa,
            link(g.link_gen, g.link_width),
        )
    });
    let nics = facts.nics.iter().map(|n| {
        device(
            &n.pci,
            (n.vendor_id, n.device_id),
            "020000",
            &n.model,
            n.numa,
            link(5, 16),
        )
    });
    let drives = facts.drives.iter().map(|d| {
        device(
            &d.pci,
            (0x144d, 0xa824),
            "010802",
            &d.model,
            d.numa,
            link(4, 4),
        )
    });
    gpus.chain(nics).chain(drives).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Maker;
    use crate::phantom::Model;
    use billet_model::inventory::Emulation;

    #[test]
    fn a_phantoms_inventory_says_what_it_is() {
        for model in Model::ALL {
            let facts = model.parts(&Maker::new(3, "p"));
            let found = inventory(&facts);
            assert_eq!(found.emulation(), Emulation::Phantom);
            assert_eq!(found.own_drives().count(), facts.drives.len());
            assert_eq!(found.gpus.len(), facts.gpus.len());
        }
    }
}
