//! Drives, from wherever a BMC lists them.

use billet_model::inventory::{Drive, DriveKind};

use super::walk::Walk;
use crate::link;
use crate::value::{Resource, list, small, text, whole, yes};

/// All drives, each once. A simple storage list, which has no serial numbers,
/// counts only where nothing better is there.
pub(crate) async fn drives(walk: &Walk<'_>, system: &Resource, chassis: &[Resource]) -> Vec<Drive> {
    let mut paths: Vec<String> = Vec::new();
    let mut add = |path: String| {
        if !paths.iter().any(|p| link::same(p, &path)) {
            paths.push(path);
        }
    };
    for storage in walk.tree(system.link("/Storage")).await {
        let listed = storage.links("/Drives");
        if listed.is_empty() {
            for drive in linked(walk, storage.link("/Drives")).await {
                add(drive);
            }
        }
        listed.into_iter().for_each(&mut add);
    }
    for place in chassis {
        place.links("/Links/Drives").into_iter().for_each(&mut add);
        for drive in linked(walk, place.link("/Drives")).await {
            add(drive);
        }
    }
    let mut found: Vec<Drive> = Vec::new();
    for resource in walk.all(paths).await {
        if !resource.absent() {
            keep(&mut found, drive(&resource));
        }
    }
    if let Some(below) = walk.quirks.more_drives {
        for resource in behind_controllers(walk, system, below).await {
            keep(&mut found, drive(&resource));
        }
    }
    if found.is_empty() {
        found = simple(walk, system).await;
    }
    if found.is_empty() {
        walk.note("no drive could be read");
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Keeps a drive that is not there yet: the same one is often listed twice.
fn keep(found: &mut Vec<Drive>, drive: Drive) {
    let twin = |d: &Drive| match (&d.serial, &drive.serial) {
        (Some(a), Some(b)) => a == b,
        _ => d.name == drive.name && d.model == drive.model && drive.serial.is_none(),
    };
    if !found.iter().any(twin) {
        found.push(drive);
    }
}

/// The links in a collection, unread.
async fn linked(walk: &Walk<'_>, collection: Option<String>) -> Vec<String> {
    let collection = walk.resource(collection).await;
    collection.map_or_else(Vec::new, |c| c.links("/Members"))
}

fn drive(resource: &Resource) -> Drive {
    let body = &resource.body;
    let protocol = text(body, "/Protocol")
        .or_else(|| text(body, "/InterfaceType"))
        .unwrap_or_default()
        .to_ascii_lowercase();
    let media = text(body, "/MediaType")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let name = text(body, "/Name").unwrap_or_default().to_ascii_lowercase();
    let size = whole(body, "/CapacityBytes")
        .or_else(|| whole(body, "/CapacityMiB").map(|mib| mib.saturating_mul(1 << 20)))
        .or_else(|| whole(body, "/CapacityGB").map(|gb| gb.saturating_mul(1_000_000_000)))
        .unwrap_or(0);
    let wwn = list(body, "/Identifiers")
        .iter()
        .find_map(|i| text(i, "/DurableName"));
    Drive {
        name: place(resource),
        kind: kind(&protocol, &media),
        manufacturer: text(body, "/Manufacturer"),
        model: text(body, "/Model"),
        serial: text(body, "/SerialNumber"),
        wwn,
        firmware: text(body, "/Revision")
            .or_else(|| text(body, "/FirmwareVersion"))
            .or_else(|| text(body, "/FirmwareVersion/Current/VersionString")),
        size_bytes: size,
        block_bytes: small(body, "/BlockSizeBytes").filter(|b| *b > 0),
        remote: [
            "iscsi",
            "fcoe",
            "nvmeoverfabrics",
            "fc",
            "fcp",
            "tcp",
            "rocev2",
            "infiniband",
        ]
        .contains(&protocol.as_str()),
        removable: name.contains("virtual") || ["usb", "sd"].contains(&protocol.as_str()),
        healthy: healthy(resource),
        power_on_hours: whole(body, "/PowerOnHours"),
        ..Drive::default()
    }
}

/// Its id; where that is only a number, where it sits, if that is said in words.
fn place(resource: &Resource) -> String {
    let id = resource.id();
    let number = id.chars().all(|c| c.is_ascii_digit());
    let place = resource.text("/Location").filter(|_| number);
    place.unwrap_or(id)
}

fn kind(protocol: &str, media: &str) -> DriveKind {
    match (protocol, media) {
        (p, _) if p.contains("nvme") => DriveKind::Nvme,
        ("pcie", "ssd" | "") => DriveKind::Nvme,
        (_, "ssd") => DriveKind::Ssd,
        (_, "hdd" | "smr") => DriveKind::Hdd,
        _ => DriveKind::Other,
    }
}

/// The drive's own verdict, in so far as it gives one.
fn healthy(resource: &Resource) -> Option<bool> {
    let fails = yes(&resource.body, "/FailurePredicted") == Some(true);
    match resource.text("/Status/Health").as_deref() {
        _ if fails => Some(false),
        Some("OK") => Some(true),
        Some(_) => Some(false),
        None => None,
    }
}

/// Drives that a RAID controller hides from the standard's list.
async fn behind_controllers(walk: &Walk<'_>, system: &Resource, below: &str) -> Vec<Resource> {
    let top = format!("{}/{below}", system.path.trim_end_matches('/'));
    // Most machines of this vendor have none: not to have it is no note.
    let Ok(top) = walk.reader.read(&top).await else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let controllers = top
        .link("/Links/ArrayControllers")
        .or_else(|| top.link("/ArrayControllers"));
    for controller in walk.collection(controllers).await {
        let drives = controller
            .link("/Links/PhysicalDrives")
            .or_else(|| controller.link("/PhysicalDrives"));
        found.extend(walk.collection(drives).await);
    }
    found
}

/// Drives without serial numbers, which is better than nothing.
async fn simple(walk: &Walk<'_>, system: &Resource) -> Vec<Drive> {
    let mut found = Vec::new();
    for storage in walk.collection(system.link("/SimpleStorage")).await {
        for (index, device) in list(&storage.body, "/Devices").iter().enumerate() {
            let size = whole(device, "/CapacityBytes").unwrap_or(0);
            if size == 0 || crate::value::absent(device) {
                continue;
            }
            found.push(Drive {
                name: text(device, "/Name").unwrap_or_else(|| format!("{}-{index}", storage.id())),
                manufacturer: text(device, "/Manufacturer"),
                model: text(device, "/Model"),
                size_bytes: size,
                ..Drive::default()
            });
        }
    }
    if !found.is_empty() {
        walk.note("the BMC lists drives without their serial numbers");
    }
    found
}
