//! What an emulated machine is made of: the same facts for its BMC and for QEMU.

use crate::facts::{Cpu, Dimm, Drive, Facts, Gpu, Kind, MANUFACTURER, Maker, Nic};

use super::command::node_bus;

/// Sizes of an emulated machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub cpus: u32,
    pub memory_mib: u64,
    pub drives: u32,
    pub drive_bytes: u64,
    pub gpus: u32,
}

/// A machine with two NUMA nodes, NVMe drives, and display devices that stand in for GPUs.
pub(crate) fn parts(maker: &Maker, sizes: Sizes) -> Facts {
    let nodes = 2;
    let cpus = (0..nodes)
        .map(|_| Cpu {
            manufacturer: "QEMU".into(),
            model: "Virtual CPU (emulated)".into(),
            cores: sizes.cpus / nodes,
            threads: sizes.cpus / nodes,
            max_mhz: 2000,
        })
        .collect();
    let drives = (0..sizes.drives)
        .map(|n| Drive {
            manufacturer: "QEMU".into(),
            model: "QEMU NVMe Ctrl".into(),
            serial: format!("BLN{}", maker.letters(&format!("drive{n}"), 10)),
            firmware: "1.0".into(),
            bytes: sizes.drive_bytes,
            // Firmware is told to boot a drive by its path, and finds none with a name there.
            wwn: None,
            // Root ports come first on the bus; each has its drive as its only device.
            pci: format!("0000:0{}:00.0", n + 1),
            numa: 0,
        })
        .collect();
    let gpus = (0..sizes.gpus)
        .map(|n| {
            let numa = n * nodes / sizes.gpus;
            let within = n - (0..n).filter(|m| m * nodes / sizes.gpus != numa).count() as u32;
            Gpu {
                manufacturer: "QEMU".into(),
                model: "Display device in place of a GPU (emulated)".into(),
                serial: format!("BLG{}", maker.letters(&format!("gpu{n}"), 10)),
                uuid: format!("GPU-{}", maker.uuid(&format!("gpu{n}"))),
                memory_mib: 0,
                pci: format!("0000:{:02x}:00.0", node_bus(numa) + 1 + within),
                numa,
                vendor_id: 0x1234,
                device_id: 0x1111,
                link_gen: 4,
                link_width: 16,
            }
        })
        .collect();
    Facts {
        kind: Kind::Emulated,
        manufacturer: MANUFACTURER.into(),
        model: "Emulated Server (emulated)".into(),
        serial: format!("BLE{}", maker.letters("serial", 8)),
        uuid: maker.uuid("system"),
        machine_type: format!("emulated.{}x", sizes.gpus),
        firmware_vendor: "Billet Lab (EDK II)".into(),
        firmware_version: "OVMF 4M".into(),
        bmc_firmware: env!("CARGO_PKG_VERSION").into(),
        cpus,
        numa_nodes: nodes,
        dimms: vec![Dimm {
            slot: "DIMM 0".into(),
            mib: sizes.memory_mib,
            mts: 3200,
            kind: "DRAM".into(),
            manufacturer: "QEMU".into(),
            part: "RAM".into(),
            serial: format!("BLM{}", maker.letters("dimm0", 8)),
        }],
        drives,
        nics: vec![Nic {
            manufacturer: "Red Hat".into(),
            model: "Virtio network device".into(),
            mac: maker.mac("nic0"),
            speed_mbps: 10_000,
            link_up: true,
            // Its root port comes behind those of the drives.
            pci: format!("0000:{:02x}:00.0", sizes.drives + 1),
            numa: 0,
            vendor_id: 0x1af4,
            device_id: 0x1041,
        }],
        gpus,
        tpm: true,
    }
}
