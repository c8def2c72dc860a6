//! Processors, those GPUs that are listed among them, and memory.

use billet_model::inventory::{Cpu, Gpu, Memory, MemoryModule};

use super::walk::Walk;
use crate::link;
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

/// The machine's processors; from other systems (a GPU baseboard's) and from
/// chassis (modules and trays) the GPUs, and the CPUs only where the machine's
/// own system lists none.
pub(crate) async fn processors(
    walk: &Walk<'_>,
    system: &Resource,
    others: &[Resource],
    chassis: &[Resource],
) -> Processors {
    let mut found = Processors {
        cpus: Vec::new(),
        gpus: Vec::new(),
    };
    let mut elsewhere: Vec<Cpu> = Vec::new();
    let mut known: Vec<String> = Vec::new();
    let places = std::iter::once(system).chain(others).chain(chassis);
    for (index, place) in places.enumerate() {
        let mut listed = walk.collection(place.link("/Processors")).await;
        let linked = place.links("/Links/Processors").into_iter();
        let linked = linked.filter(|l| !known.iter().any(|k| link::same(k, l)));
        listed.extend(walk.all(linked.collect()).await);
        let modules: Vec<_> = listed
            .iter()
            .filter(|p| is_module(p))
            .filter_map(|p| p.link("/SubProcessors"))
            .collect();
        for module in modules {
            listed.extend(walk.collection(Some(module)).await);
        }
        for processor in listed {
            if processor.absent() || known.iter().any(|k| link::same(k, &processor.path)) {
                continue;
            }
            known.push(processor.path.clone());
            let kind = processor.text("/ProcessorType").unwrap_or_default();
            match kind.as_str() {
                "GPU" | "Accelerator" => keep(&mut found.gpus, gpu(&processor)),
                "CPU" | "" if index == 0 => found.cpus.push(cpu(&processor)),
                "CPU" if index <= others.len() => elsewhere.push(cpu(&processor)),
                _ => {}
            }
        }
    }
    if found.cpus.is_empty() && !elsewhere.is_empty() {
        walk.note("the processors are listed by another system of the same BMC");
        found.cpus = elsewhere;
    }
    if found.cpus.is_empty() {
        walk.note("no processor could be read");
    }
    found.cpus.sort_by(|a, b| a.socket.cmp(&b.socket));
    found
}

/// Whether its parts are processors of their own, and not cores.
fn is_module(processor: &Resource) -> bool {
    let kind = processor.text("/ProcessorType").unwrap_or_default();
    !["CPU", "GPU", "Accelerator", "Core", "Thread"].contains(&kind.as_str())
}

/// Keeps a GPU that is not there yet: host and baseboard may both list it.
fn keep(found: &mut Vec<ListedGpu>, new: ListedGpu) {
    let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
    let twin = found.iter_mut().find(|known| {
        same(&known.gpu.uuid, &new.gpu.uuid)
            || (same(&known.gpu.serial, &new.gpu.serial) && known.gpu.model == new.gpu.model)
    });
    match twin {
        Some(known) => {
            known.pcie.extend(new.pcie);
            known.gpu.memory_bytes = known.gpu.memory_bytes.or(new.gpu.memory_bytes);
            known.gpu.uuid = known.gpu.uuid.take().or(new.gpu.uuid);
        }
        None => found.push(new),
    }
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
            memory_bytes: memory.map(|mib| mib.saturating_mul(1 << 20)),
            ..Gpu::default()
        },
        pcie,
    }
}

/// The machine's memory: modules that are there, and the sum. Another system's
/// counts only where the machine's own lists none and says no sum.
pub(crate) async fn memory(walk: &Walk<'_>, system: &Resource, others: &[Resource]) -> Memory {
    let found = memory_of(walk, system).await;
    if found.total_bytes > 0 {
        return found;
    }
    for other in others {
        let found = memory_of(walk, other).await;
        // A baseboard lists its GPUs' memory too, which is not the machine's.
        if found.total_bytes > 0 && !found.modules.is_empty() {
            walk.note("the memory is listed by another system of the same BMC");
            return found;
        }
    }
    walk.note("the BMC does not say how much memory there is");
    found
}

async fn memory_of(walk: &Walk<'_>, system: &Resource) -> Memory {
    let mut modules: Vec<MemoryModule> = Vec::new();
    for module in walk.collection(system.link("/Memory")).await {
        let kind = module.text("/MemoryDeviceType").unwrap_or_default();
        if kind.starts_with("HBM") || kind.starts_with("GDDR") {
            continue;
        }
        let size = whole(&module.body, "/CapacityMiB").unwrap_or(0);
        if module.absent() || size == 0 {
            continue;
        }
        modules.push(MemoryModule {
            slot: module
                .text("/DeviceLocator")
                .or_else(|| module.text("/Name"))
                .unwrap_or_else(|| module.id()),
            size_bytes: size.saturating_mul(1 << 20),
            speed_mts: small(&module.body, "/OperatingSpeedMhz").filter(|s| *s > 0),
            manufacturer: module.text("/Manufacturer"),
            part: module.text("/PartNumber"),
            serial: module.text("/SerialNumber"),
        });
    }
    let sum = modules
        .iter()
        .fold(0, |sum: u64, m| sum.saturating_add(m.size_bytes));
    let summary = real(&system.body, "/MemorySummary/TotalSystemMemoryGiB")
        .map_or(0, |gib| (gib * f64::from(1 << 30)) as u64);
    let total_bytes = match (sum, summary) {
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
