//! Processor packages: counted from the kernel's topology, named by SMBIOS.

use std::collections::{BTreeMap, BTreeSet};

use billet_model::inventory::Cpu;

use crate::{Tree, smbios::Tables};

#[derive(Default)]
struct Package {
    cores: BTreeSet<(u32, u32)>,
    threads: u32,
    first: Option<u32>,
}

pub(crate) fn packages(tree: &Tree, tables: &Tables) -> Vec<Cpu> {
    let mut found: BTreeMap<u32, Package> = BTreeMap::new();
    for name in tree.list("sys/devices/system/cpu") {
        let Some(number) = name.strip_prefix("cpu").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let at = format!("sys/devices/system/cpu/{name}/topology");
        let Some(id) = tree.value::<u32>(&format!("{at}/physical_package_id")) else {
            continue;
        };
        let package = found.entry(id).or_default();
        let core = tree.value(&format!("{at}/core_id")).unwrap_or(number);
        let die = tree.value(&format!("{at}/die_id")).unwrap_or(0);
        package.cores.insert((die, core));
        package.threads += 1;
        package.first.get_or_insert(number);
    }
    let info = tree.text("proc/cpuinfo").unwrap_or_default();
    // Populated sockets, in the table's order, which is the order of package ids.
    let sockets: Vec<_> = tables
        .of(4)
        .filter(|s| s.byte(0x18).is_none_or(|status| status & 0x40 != 0))
        .collect();
    found
        .iter()
        .enumerate()
        .map(|(at, (id, package))| {
            let socket = sockets.get(at);
            let max_khz = package.first.and_then(|cpu| {
                tree.value::<u32>(&format!(
                    "sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq"
                ))
            });
            Cpu {
                socket: socket
                    .and_then(|s| s.text(0x04))
                    .unwrap_or_else(|| id.to_string()),
                model: info_field(&info, package.first, "model name"),
                manufacturer: info_field(&info, package.first, "vendor_id"),
                cores: u32::try_from(package.cores.len()).ok(),
                threads: Some(package.threads),
                max_mhz: max_khz.map(|khz| khz / 1000).or_else(|| {
                    let mhz = socket?.word(0x14)?;
                    (mhz > 0).then_some(u32::from(mhz))
                }),
                architecture: Some(std::env::consts::ARCH.into()),
                serial: socket.and_then(|s| s.text(0x20)),
            }
        })
        .collect()
}

/// Whether the CPU says that it runs under a hypervisor.
pub(crate) fn hypervisor(tree: &Tree) -> Option<bool> {
    let info = tree.text("proc/cpuinfo")?;
    let flags = info.lines().find(|line| line.starts_with("flags"))?;
    Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// A field of one processor's paragraph in `/proc/cpuinfo`.
fn info_field(info: &str, cpu: Option<u32>, name: &str) -> Option<String> {
    let cpu = cpu?.to_string();
    let paragraph = info
        .split("\n\n")
        .find(|paragraph| value_of(paragraph, "processor").is_some_and(|number| number == cpu))?;
    value_of(paragraph, name).map(str::to_owned)
}

fn value_of<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}
