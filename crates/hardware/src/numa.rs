//! NUMA nodes, with the distances between them.

use billet_model::inventory::NumaNode;

use crate::Tree;

pub(crate) fn nodes(tree: &Tree) -> Vec<NumaNode> {
    tree.list("sys/devices/system/node")
        .iter()
        .filter_map(|name| {
            let id = name.strip_prefix("node")?.parse().ok()?;
            let at = format!("sys/devices/system/node/{name}");
            let info = tree.text(&format!("{at}/meminfo")).unwrap_or_default();
            let kib = info.lines().find_map(|line| {
                let (_, rest) = line.split_once("MemTotal:")?;
                rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
            });
            let distances = tree.text(&format!("{at}/distance")).unwrap_or_default();
            Some(NumaNode {
                id,
                cpus: tree.text(&format!("{at}/cpulist")).unwrap_or_default(),
                memory_bytes: kib.unwrap_or(0) * 1024,
                distances: distances
                    .split_whitespace()
                    .filter_map(|d| d.parse().ok())
                    .collect(),
            })
        })
        .collect()
}
