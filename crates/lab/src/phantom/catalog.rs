//! Well-known servers that phantoms pretend to be.
//!
//! Parts are those of the makers' data sheets: NVIDIA DGX H100, H200 and A100 user guides, and
//! common four-GPU and two-socket rack servers for the others.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::facts::{Cpu, Dimm, Drive, Facts, Gpu, Kind, MANUFACTURER, Maker, Nic};

/// A server to pretend to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Model {
    /// Eight H100 80 GB on SXM5.
    #[serde(rename = "h100")]
    H100,
    /// Eight H200 141 GB on SXM5.
    #[serde(rename = "h200")]
    H200,
    /// Eight A100 80 GB on SXM4.
    #[serde(rename = "a100")]
    A100,
    /// Four L40S 48 GB on PCIe.
    #[serde(rename = "l40s")]
    L40s,
    /// Two processors, no GPU.
    #[serde(rename = "cpu")]
    Cpu,
}

/// A model's name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no model of a phantom; there are h100, h200, a100, l40s and cpu")]
pub struct UnknownModel(String);

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|m| m.name() == s)
            .ok_or_else(|| UnknownModel(s.to_owned()))
    }
}

struct Shape {
    server: &'static str,
    machine_type: &'static str,
    cpu: (&'static str, &'static str, u32, u32),
    dimms: (u32, u64, u32, &'static str),
    drives: (u32, &'static str, &'static str, u64),
    nics: (u32, &'static str, u64, u16),
    gpus: Option<GpuShape>,
    nodes: u32,
}

struct GpuShape {
    count: u32,
    model: &'static str,
    memory_mib: u64,
    device_id: u16,
    generation: u8,
}

impl Model {
    /// All of them, in the order in which a lab deals them out.
    pub const ALL: [Self; 5] = [Self::H100, Self::H200, Self::A100, Self::L40s, Self::Cpu];

    /// Its short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::H100 => "h100",
            Self::H200 => "h200",
            Self::A100 => "a100",
            Self::L40s => "l40s",
            Self::Cpu => "cpu",
        }
    }

    fn shape(self) -> Shape {
        let sapphire = ("Intel", "Intel(R) Xeon(R) Platinum 8480C", 56, 3800);
        let samsung = ("Samsung", "SAMSUNG MZWLO3T8HCLS-00A07", 3_840_755_982_336);
        let connectx7 = ("ConnectX-7 MT2910", 400_000, 0x1021);
        match self {
            Self::H100 => Shape {
                server: "8x H100 SXM5 Server (phantom)",
                machine_type: "h100-sxm5-80g.8x",
                cpu: sapphire,
                dimms: (32, 65_536, 4800, "DDR5"),
                drives: (10, samsung.0, samsung.1, samsung.2),
                nics: (10, connectx7.0, connectx7.1, connectx7.2),
                gpus: Some(GpuShape {
                    count: 8,
                    model: "NVIDIA H100 80GB HBM3",
                    memory_mib: 81_559,
                    device_id: 0x2330,
                    generation: 5,
                }),
                nodes: 2,
            },
            Self::H200 => Shape {
                server: "8x H200 SXM5 Server (phantom)",
                machine_type: "h200-sxm5-141g.8x",
                cpu: sapphire,
                dimms: (32, 65_536, 4800, "DDR5"),
                drives: (10, samsung.0, samsung.1, samsung.2),
                nics: (10, connectx7.0, connectx7.1, connectx7.2),
                gpus: Some(GpuShape {
                    count: 8,
                    model: "NVIDIA H200",
                    memory_mib: 143_771,
                    device_id: 0x2335,
                    generation: 5,
                }),
                nodes: 2,
            },
            Self::A100 => Shape {
                server: "8x A100 SXM4 Server (phantom)",
                machine_type: "a100-sxm4-80g.8x",
                cpu: ("AMD", "AMD EPYC 7742 64-Core Processor", 64, 3400),
                dimms: (32, 65_536, 3200, "DDR4"),
                drives: (
                    6,
                    "Samsung",
                    "SAMSUNG MZWLJ3T8HBLS-00007",
                    3_840_755_982_336,
                ),
                nics: (9, "ConnectX-6 MT28908", 200_000, 0x101b),
                gpus: Some(GpuShape {
                    count: 8,
                    model: "NVIDIA A100-SXM4-80GB",
                    memory_mib: 81_920,
                    device_id: 0x20b2,
                    generation: 4,
                }),
                nodes: 8,
            },
            Self::L40s => Shape {
                server: "4x L40S Server (phantom)",
                machine_type: "l40s-48g.4x",
                cpu: ("AMD", "AMD EPYC 9354 32-Core Processor", 32, 3800),
                dimms: (24, 32_768, 4800, "DDR5"),
                drives: (4, "Micron", "Micron_7450_MTFDKCC3T8TFR", 3_840_755_982_336),
                nics: (2, "ConnectX-7 MT2910", 200_000, 0x1021),
                gpus: Some(GpuShape {
                    count: 4,
                    model: "NVIDIA L40S",
                    memory_mib: 46_068,
                    device_id: 0x26b9,
                    generation: 4,
                }),
                nodes: 2,
            },
            Self::Cpu => Shape {
                server: "Two-Socket Server (phantom)",
                machine_type: "cpu-epyc-9654.2s",
                cpu: ("AMD", "AMD EPYC 9654 96-Core Processor", 96, 3700),
                dimms: (24, 32_768, 4800, "DDR5"),
                drives: (2, "Micron", "Micron_7450_MTFDKCC1T9TFR", 1_920_383_410_176),
                nics: (2, "BCM57508 NetXtreme-E", 100_000, 0x1750),
                gpus: None,
                nodes: 2,
            },
        }
    }

    /// What a phantom of this model is made of.
    #[must_use]
    pub fn parts(self, maker: &Maker) -> Facts {
        let shape = self.shape();
        let (cpu_maker, cpu_model, cores, max_mhz) = shape.cpu;
        let nodes = shape.nodes;
        Facts {
            kind: Kind::Phantom,
            manufacturer: MANUFACTURER.into(),
            model: shape.server.into(),
            serial: format!("BLP{}", maker.digits("serial", 10)),
            uuid: maker.uuid("system"),
            machine_type: shape.machine_type.into(),
            firmware_vendor: "Billet Lab".into(),
            firmware_version: "1.6.9 (phantom)".into(),
            bmc_firmware: "24.09.17 (phantom)".into(),
            cpus: (0..2)
                .map(|_| Cpu {
                    manufacturer: cpu_maker.into(),
                    model: cpu_model.into(),
                    cores,
                    threads: cores * 2,
                    max_mhz,
                })
                .collect(),
            numa_nodes: nodes,
            dimms: dimms(&shape, maker),
            drives: drives(&shape, maker),
            nics: nics(&shape, maker),
            gpus: shape
                .gpus
                .as_ref()
                .map_or_else(Vec::new, |g| gpus(g, nodes, maker)),
            tpm: true,
        }
    }
}

fn dimms(shape: &Shape, maker: &Maker) -> Vec<Dimm> {
    let (count, mib, mts, kind) = shape.dimms;
    (0..count)
        .map(|n| Dimm {
            slot: format!("CPU{}_DIMM_{}", n * 2 / count, n % (count / 2) + 1),
            mib,
            mts,
            kind: kind.into(),
            manufacturer: "Samsung".into(),
            part: "M321R8GA0BB0-CQKZJ".into(),
            serial: maker.hex(&format!("dimm{n}"), 8).to_uppercase(),
        })
        .collect()
}

fn drives(shape: &Shape, maker: &Maker) -> Vec<Drive> {
    let (count, manufacturer, model, bytes) = shape.drives;
    (0..count)
        .map(|n| Drive {
            manufacturer: manufacturer.into(),
            model: model.into(),
            serial: format!("S7{}", maker.letters(&format!("drive{n}"), 12)),
            firmware: "OPPA4B5Q".into(),
            bytes,
            wwn: Some(format!("eui.36{}", maker.hex(&format!("wwn{n}"), 14))),
            pci: format!("0000:{:02x}:00.0", 0x01 + n),
            numa: n % 2 * (shape.nodes / 2),
        })
        .collect()
}

fn nics(shape: &Shape, maker: &Maker) -> Vec<Nic> {
    let (count, model, speed_mbps, device_id) = shape.nics;
    let broadcom = model.starts_with("BCM");
    (0..count)
        .map(|n| Nic {
            manufacturer: if broadcom { "Broadcom" } else { "Mellanox" }.into(),
            model: model.into(),
            mac: maker.mac(&format!("nic{n}")),
            speed_mbps,
            link_up: true,
            pci: format!("0000:{:02x}:00.0", 0x20 + n),
            numa: n % shape.nodes,
            vendor_id: if broadcom { 0x14e4 } else { 0x15b3 },
            device_id,
        })
        .collect()
}

fn gpus(shape: &GpuShape, nodes: u32, maker: &Maker) -> Vec<Gpu> {
    (0..shape.count)
        .map(|n| Gpu {
            manufacturer: "NVIDIA".into(),
            model: shape.model.into(),
            serial: maker.digits(&format!("gpu{n}"), 13),
            uuid: format!("GPU-{}", maker.uuid(&format!("gpu{n}"))),
            memory_mib: shape.memory_mib,
            pci: format!("0000:{:02x}:00.0", 0x40 + n * 0x10),
            numa: n * nodes / shape.count,
            vendor_id: 0x10de,
            device_id: shape.device_id,
            link_gen: shape.generation,
            link_width: 16,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_model_says_that_it_is_a_phantom_and_repeats_no_serial() {
        for model in Model::ALL {
            let facts = model.parts(&Maker::new(1, "phantom-0001"));
            assert_eq!(facts.manufacturer, "Billet Lab");
            assert!(facts.model.ends_with("(phantom)"), "{}", facts.model);
            assert_eq!(model.name().parse(), Ok(model));
            let serials: HashSet<_> = facts.drives.iter().map(|d| &d.serial).collect();
            assert_eq!(serials.len(), facts.drives.len());
            let places: HashSet<_> = facts
                .drives
                .iter()
                .map(|d| &d.pci)
                .chain(facts.nics.iter().map(|n| &n.pci))
                .chain(facts.gpus.iter().map(|g| &g.pci))
                .collect();
            let parts = facts.drives.len() + facts.nics.len() + facts.gpus.len();
            assert_eq!(places.len(), parts, "{}", facts.model);
        }
    }

    #[test]
    fn a_well_known_server_has_its_well_known_parts() {
        let h100 = Model::H100.parts(&Maker::new(1, "a"));
        assert_eq!(h100.machine_type, "h100-sxm5-80g.8x");
        assert_eq!(h100.gpus.len(), 8);
        assert_eq!(h100.memory_mib(), 2 * 1024 * 1024);
        assert_eq!(h100.gpus.iter().filter(|g| g.numa == 1).count(), 4);
        assert!(Model::Cpu.parts(&Maker::new(1, "a")).gpus.is_empty());
    }
}
