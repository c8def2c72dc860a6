//! Processors, those GPUs that are listed among them, and memory.

use billet_model::inventory::{Cpu, Gpu, Memory, MemoryModule};

use super::walk::Walk;
use crate::value::{Resource, real, small, text, whole};

/// What the processor collections hold.
pub(crate) struct Processors {
    pub cpus: Vec<Cpu>,
    pub gpus: Vec<ListedGpu>,
}

/// A GPU that is listed as a processor, and where it says it sits.
pub(crate) struct ListedGpu {
    pub gpu: Gpu,
    /// Paths of its PCIe device and functions, where it links to them.
    pub pcie: Vec<String>,
}

/// The machine's processors; from other systems (a GPU baseboard's) only GPUs.
pub(crate) async fn processors(
    walk: &Walk<'_>,
    system: &Resource,
    others: &[Resource],
) -> Processors {
    let mut found = Processors {
        cpus: Vec::new(),
        gpus: Vec::new(),
    };
    for (index, place) in std::iter::once(system).chain(others).enumerate() {
        for processor in walk.collection(place.link("/Processors")).await {
            if processor.absent() {
                continue;
            }
            let kind = processor.text("/ProcessorType").unwrap_or_default();
            match kind.as_str() {
                "GPU" | "Accelerator" => found.gpus.push(gpu(&processor)),
                "CPU" | "" if index == 0 => found.cpus.push(cpu(&processor)),
                _ => {}
            }
        }
    }
    if found.cpus.is_empty() {
        walk.note("no processor could be read");
    }
    found.cpus.sort_by(|a, b| a.socket.cmp(&b.socket));
    found
}

fn cpu(processor: &Resource) -> Cpu {
    let body = &processor.body;
    let set = ["/InstructionSet", "/ProcessorArchitecture"]
        .iter()
        .find_map(|p| text(body, p))
        .map(|s| s.to_ascii_lowercase());
    Cpu {
        socket: text(body, "/Socket").unwrap_or_else(|| processor.id()),
        model: text(body, "/Model").or_else(|| text(body, "/Version")),
        manufacturer: text(body, "/Manufacturer"),
        cores: small(body, "/TotalCores").or_else(|| small(body, "/TotalEnabledCores")),
        threads: small(body, "/TotalThreads"),
        max_mhz: small(body, "/MaxSpeedMHz"),
        architecture: set.map(|s| match s.as_str() {
            "x86-64" | "x86" => "x86_64".to_owned(),
            "arm-a64" | "arm" => "aarch64".to_owned(),
            _ => s,
        }),
        serial: text(body, "/SerialNumber"),
    }
}

fn gpu(processor: &Resource) -> ListedGpu {
    let body = &processor.body;
    let memory = whole(body, "/MemorySummary/TotalMemorySizeMiB")
        .or_else(|| {
            let parts = crate::value::list(body, "/ProcessorMemory");
            parts.iter().filter_map(|m| whole(m, "/CapacityMiB")).max()
        })
        .filter(|mib| *mib > 0);
    let mut pcie: Vec<String> = processor.link("/Links/PCIeDevice").into_iter().collect();
    pcie.extend(processor.links("/Links/PCIeFunctions"));
    ListedGpu {
        gpu: Gpu {
            address: processor.id(),
            model: text(body, "/Model"),
            manufacturer: text(body, "/Manufacturer"),
            serial: text(body, "/SerialNumber"),
            uuid: text(body, "/UUID"),
            memory_bytes: memory.map(|mib| mib << 20),
            ..Gpu::default()
        },
        pcie,
    }
}

/// The machine's memory: modules that are there, and the sum.
pub(crate) async fn memory(walk: &Walk<'_>, system: &Resource) -> Memory {
    let mut modules: Vec<MemoryModule> = Vec::new();
    for module in walk.collection(system.link("/Memory")).await {
        let size = whole(&module.body, "/CapacityMiB").unwrap_or(0);
        if module.absent() || size == 0 {
            continue;
        }
        modules.push(MemoryModule {
            slot: module
                .text("/DeviceLocator")
                .or_else(|| module.text("/Name"))
                .unwrap_or_else(|| module.id()),
            size_bytes: size << 20,
            speed_mts: small(&module.body, "/OperatingSpeedMhz").filter(|s| *s > 0),
            manufacturer: module.text("/Manufacturer"),
            part: module.text("/PartNumber"),
            serial: module.text("/SerialNumber"),
        });
    }
    let sum: u64 = modules.iter().map(|m| m.size_bytes).sum();
    let summary = real(&system.body, "/MemorySummary/TotalSystemMemoryGiB")
        .map_or(0, |gib| (gib * f64::from(1 << 30)) as u64);
    let total_bytes = match (sum, summary) {
        (0, 0) => {
            walk.note("the BMC does not say how much memory there is");
            0
        }
        (0, summary) => summary,
        (sum, _) => sum,
    };
    // A BMC may count in GB where it says GiB: a tenth is not worth a note.
    if sum > 0 && summary > 0 && sum.abs_diff(summary) > sum / 10 {
        walk.note(format!(
            "memory modules add up to {} GiB, the summary says {} GiB",
            sum >> 30,
            summary >> 30
        ));
    }
    Memory {
        total_bytes,
        modules,
    }
}
