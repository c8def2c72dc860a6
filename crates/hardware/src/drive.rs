//! The drives: one for each NVMe controller and each SCSI or virtio disk.
//!
//! An NVMe drive is its controller: serial and firmware are the controller's,
//! and erasing covers all of its namespaces. Its name is its first namespace's.

use std::collections::BTreeMap;

use billet_model::inventory::{Drive, DriveKind};

use crate::{
    Tree,
    nvme::{self, NvmeProbe},
    scsi,
};

/// Block devices that are no drives: made by the kernel from memory, files or others.
const NOT_DRIVES: &[&str] = &["loop", "ram", "zram", "dm-", "md", "fd"];

pub(crate) fn drives(tree: &Tree, probe: &dyn NvmeProbe, notes: &mut Vec<String>) -> Vec<Drive> {
    let mut drives = nvme_drives(tree, probe, notes);
    for name in tree.list("sys/block") {
        let skip = name.starts_with("nvme") || NOT_DRIVES.iter().any(|p| name.starts_with(p));
        // An nbd device with nothing behind it has no size.
        let empty_nbd = name.starts_with("nbd")
            && tree
                .value::<u64>(&format!("sys/block/{name}/size"))
                .unwrap_or(0)
                == 0;
        if !skip && !empty_nbd {
            drives.push(scsi::drive(tree, &name, notes));
        }
    }
    for drive in &drives {
        if drive.serial.is_none() && !drive.remote && !drive.removable {
            notes.push(format!("{}: no serial number", drive.name));
        }
    }
    drives
}

fn nvme_drives(tree: &Tree, probe: &dyn NvmeProbe, notes: &mut Vec<String>) -> Vec<Drive> {
    let blocks = namespaces_by_controller(tree);
    tree.list("sys/class/nvme")
        .into_iter()
        .map(|controller| {
            let names = blocks.get(&controller).map_or(&[][..], Vec::as_slice);
            nvme_drive(tree, probe, &controller, names, notes)
        })
        .collect()
}

/// The block devices of each controller. With the kernel's multipathing a block
/// device hangs below the subsystem, which lists its controllers.
fn namespaces_by_controller(tree: &Tree) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for block in tree.list("sys/block") {
        let hidden = tree.text(&format!("sys/block/{block}/hidden")).as_deref() == Some("1");
        if !block.starts_with("nvme") || hidden {
            continue;
        }
        let Some(real) = tree.real(&format!("sys/block/{block}/device")) else {
            continue;
        };
        let Some(parent) = real.rsplit('/').next() else {
            continue;
        };
        if parent.starts_with("nvme-subsys") {
            let first = tree.list(&real).into_iter().find(|n| is_controller(n));
            if let Some(controller) = first {
                found.entry(controller).or_default().push(block);
            }
        } else {
            found.entry(parent.to_owned()).or_default().push(block);
        }
    }
    found
}

/// Whether a name is `nvme` and a number.
fn is_controller(name: &str) -> bool {
    name.strip_prefix("nvme")
        .is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()))
}

fn nvme_drive(
    tree: &Tree,
    probe: &dyn NvmeProbe,
    controller: &str,
    blocks: &[String],
    notes: &mut Vec<String>,
) -> Drive {
    let at = format!("sys/class/nvme/{controller}");
    let text = |file: &str| tree.text(&format!("{at}/{file}"));
    let transport = text("transport").unwrap_or_else(|| "pcie".into());
    let first = blocks.first();
    let mut drive = Drive {
        name: first.cloned().unwrap_or_else(|| controller.to_owned()),
        kind: DriveKind::Nvme,
        model: text("model"),
        serial: text("serial"),
        firmware: text("firmware_rev"),
        size_bytes: blocks
            .iter()
            .filter_map(|b| tree.value::<u64>(&format!("sys/block/{b}/size")))
            .sum::<u64>()
            * 512,
        block_bytes: first
            .and_then(|b| tree.value(&format!("sys/block/{b}/queue/logical_block_size"))),
        remote: transport != "pcie",
        ..Drive::default()
    };
    if blocks.is_empty() {
        notes.push(format!("{controller}: no active namespace"));
    }
    match probe.controller(controller) {
        Ok(identify) => {
            drive.erase = nvme::capabilities(&identify);
            let allocated = nvme::manages_namespaces(&identify);
            let listed = probe.namespace_list(controller, allocated);
            drive.namespaces = match listed {
                Ok(list) => nvme::listed(&list),
                // It can have no other, and may be too old to list it.
                Err(_) if nvme::has_one_namespace(&identify) => vec![1],
                Err(error) => {
                    notes.push(format!(
                        "{controller}: its namespaces cannot be listed ({error}): only its own methods erase it"
                    ));
                    Vec::new()
                }
            };
        }
        Err(error) => notes.push(format!(
            "{controller}: Identify Controller failed ({error}): erase capabilities are not known"
        )),
    }
    let nsid = first.and_then(|b| tree.value::<u32>(&format!("sys/block/{b}/nsid")));
    drive.wwn = probe
        .namespace(controller, nsid.unwrap_or(1))
        .ok()
        .and_then(|identify| nvme::wwn(&identify));
    if let Some(health) = probe
        .health(controller)
        .ok()
        .and_then(|log| nvme::Health::parse(&log))
    {
        drive.power_on_hours = Some(health.power_on_hours);
        drive.healthy = Some(health.critical_warning == 0);
    }
    drive
}
