//! Drives behind the SCSI layer (SATA, SAS, USB, iSCSI) and virtio: as sysfs tells.

use billet_model::inventory::{Drive, DriveKind, EraseCapabilities};

use crate::Tree;

/// Whether a path of sysfs goes over a network: iSCSI sessions, Fibre Channel
/// remote ports.
fn is_remote(real: &str) -> bool {
    real.split('/')
        .any(|part| part.starts_with("session") || part.starts_with("rport-"))
}

pub(crate) fn drive(tree: &Tree, name: &str, notes: &mut Vec<String>) -> Drive {
    let at = format!("sys/block/{name}");
    let real = tree.real(&at).unwrap_or_default();
    let usb = real.split('/').any(|part| part.starts_with("usb"));
    let text = |file: &str| tree.text(&format!("{at}/{file}"));
    let number = |file: &str| tree.value::<u64>(&format!("{at}/{file}"));
    let scsi = name.starts_with("sd") || name.starts_with("sr");
    let optical = name.starts_with("sr");
    let drive = Drive {
        kind: match (scsi && !optical, text("queue/rotational").as_deref()) {
            (true, Some("0")) => DriveKind::Ssd,
            (true, Some("1")) => DriveKind::Hdd,
            _ => DriveKind::Other,
        },
        manufacturer: text("device/vendor").filter(|v| v != "ATA" && scsi),
        model: text("device/model"),
        serial: serial(tree, &at),
        wwn: text("device/wwid").and_then(|w| world_wide(&w)),
        firmware: text("device/rev"),
        size_bytes: number("size").unwrap_or(0) * 512,
        block_bytes: tree.value(&format!("{at}/queue/logical_block_size")),
        remote: is_remote(&real) || name.starts_with("nbd") || name.starts_with("rbd"),
        removable: optical || usb || text("removable").as_deref() == Some("1"),
        erase: EraseCapabilities {
            write_zeroes: number("queue/write_zeroes_max_bytes").unwrap_or(0) > 0,
            discard: number("queue/discard_max_bytes").unwrap_or(0) > 0,
            ..EraseCapabilities::default()
        },
        name: name.to_owned(),
        ..Drive::default()
    };
    if scsi && !drive.removable && !drive.remote {
        notes.push(format!(
            "{name}: ATA secure erase and SCSI sanitize were not asked for"
        ));
    }
    drive
}

/// The serial number: VPD page 0x80 (four bytes of header) or virtio's own.
fn serial(tree: &Tree, at: &str) -> Option<String> {
    if let Some(page) = tree.bytes(&format!("{at}/device/vpd_pg80")) {
        let text = String::from_utf8_lossy(page.get(4..)?);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if !text.is_empty() {
            return Some(text.to_owned());
        }
    }
    tree.text(&format!("{at}/serial"))
        .or_else(|| tree.text(&format!("{at}/device/serial")))
}

/// Only names that are unique in the world count: `t10.` is made from model and serial.
fn world_wide(wwid: &str) -> Option<String> {
    wwid.strip_prefix("naa.")
        .or_else(|| wwid.strip_prefix("eui."))
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_over_a_network_is_remote() {
        assert!(is_remote(
            "sys/devices/platform/host3/session1/target3:0:0/3:0:0:1/block/sdb"
        ));
        assert!(is_remote(
            "sys/devices/pci0000:00/0000:3b:00.0/host5/rport-5:0-1/target5:0:0/5:0:0:0/block/sdc"
        ));
        assert!(!is_remote(
            "sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda"
        ));
    }
}
