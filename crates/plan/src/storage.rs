//! Which of a machine's drives holds the root file system.

use billet_model::{
    inventory::{Drive, DriveKind},
    lease::{Lease, LeaseState},
    machine::Machine,
    storage::{RootDrive, Size},
    work::DriveRef,
};

use crate::layout;

/// The drive that a wish is for, among a machine's own; `known` tells of their
/// kinds and sizes.
///
/// Where sizes are equal the one that is named first counts, so that the same
/// machine always gives the same answer.
///
/// # Errors
/// What was wanted and what is there, in a sentence.
pub fn choose(wish: &RootDrive, own: &[DriveRef], known: &[Drive]) -> Result<DriveRef, String> {
    if own.is_empty() {
        return Err("the machine has no drive".into());
    }
    let about = |r: &DriveRef| about(known, r);
    let size = |r: &&DriveRef| about(r).map_or(0, |d| d.size_bytes);
    let mut fitting = own.iter().filter(|r| {
        let named = wish.serial.as_ref().is_none_or(|s| *s == r.serial);
        let kind = about(r).map(|d| d.kind);
        named && wish.kind.is_none_or(|k| kind == Some(k))
    });
    let chosen = match wish.size {
        None => fitting.next(),
        Some(Size::Smallest) => fitting.min_by_key(size),
        // The first of the largest: `max_by_key` would give the last.
        Some(Size::Largest) => fitting.min_by_key(|r| std::cmp::Reverse(size(r))),
    };
    chosen.cloned().ok_or_else(|| {
        let there: Vec<String> = own.iter().map(|r| told(about(r))).collect();
        format!(
            "the root is wanted on {wish}, and the drives are: {}. Choose one of these by \
             --root-drive",
            there.join(", ")
        )
    })
}

/// What is known of a drive.
pub(crate) fn about<'a>(known: &'a [Drive], drive: &DriveRef) -> Option<&'a Drive> {
    known
        .iter()
        .find(|d| d.serial.as_deref() == Some(drive.serial.as_str()))
}

/// A drive in words, as far as it is known.
pub(crate) fn told(drive: Option<&Drive>) -> String {
    match drive {
        Some(d) => format!("{} of {} bytes", word(d.kind), d.size_bytes),
        None => "one that nothing is known of".to_owned(),
    }
}

/// Drives of a kind, in words.
pub(crate) fn plural(kind: DriveKind) -> &'static str {
    match kind {
        DriveKind::Nvme => "NVMe drives",
        DriveKind::Ssd => "SSDs",
        DriveKind::Hdd => "HDDs",
        DriveKind::Other => "drives of another kind",
    }
}

fn word(kind: DriveKind) -> &'static str {
    match kind {
        DriveKind::Nvme => "NVMe",
        DriveKind::Ssd => "SSD",
        DriveKind::Hdd => "HDD",
        DriveKind::Other => "another kind",
    }
}

/// As [`choose`], for a machine.
///
/// # Errors
/// As there.
pub fn choose_of(wish: &RootDrive, machine: &Machine) -> Result<DriveRef, String> {
    let known = machine.inventory.as_ref().map_or(&[][..], |i| &i.drives);
    choose(wish, &erased(machine), known)
}

/// The machine's drives without those that could not be erased, which do for
/// nothing that Billet makes.
pub(crate) fn erased(machine: &Machine) -> Vec<DriveRef> {
    let unerased = &machine.upkeep.unerased;
    let drives = machine.drives.iter();
    drives
        .filter(|d| !unerased.iter().any(|u| u.drive.serial == d.serial))
        .cloned()
        .collect()
}

/// The drive that a lease's image stands on: the one that was chosen when the
/// machine was granted, and the first where the lease is older than the choice.
///
/// # Errors
/// When it is not among the machine's drives any more.
pub fn root(lease: &Lease, machine: &Machine) -> Result<DriveRef, String> {
    let Some(root) = &lease.root_drive else {
        return choose_of(&RootDrive::default(), machine);
    };
    let found = machine.drives.iter().find(|d| d.serial == root.serial);
    found.cloned().ok_or_else(|| {
        format!(
            "drive {}, which holds the root, is not the machine's any more: release the lease and take another",
            root.serial
        )
    })
}

/// The drives that a lease's image stands on: more than one where it is mirrored.
///
/// # Errors
/// When one of them is not among the machine's drives any more.
pub fn roots(lease: &Lease, machine: &Machine) -> Result<Vec<DriveRef>, String> {
    let Some(layout) = lease.layout.as_ref().filter(|l| l.root.len() > 1) else {
        return Ok(vec![root(lease, machine)?]);
    };
    let found = layout.root.iter().map(|wanted| {
        let found = machine.drives.iter().find(|d| d.serial == wanted.serial);
        found.cloned().ok_or_else(|| {
            format!(
                "drive {}, which holds a copy of the root, is not the machine's any more: reinstall the lease with another layout, or release it",
                wanted.serial
            )
        })
    });
    found.collect()
}

/// The drives that are erased before the lease's image is written: at a new
/// lease the one, if it is another, on which an image was put before anybody
/// leased the machine, for firmware might boot that; at a reinstallation all but
/// those of the root, which are written anew from first to last block, and those
/// that the tenant keeps. An installer finds the root's empty as well.
pub fn to_wipe(lease: &Lease, machine: &Machine) -> Vec<DriveRef> {
    let mut drives = match &lease.install {
        None => others(lease, machine),
        Some(_) => machine.drives.clone(),
    };
    // One that was let go could not be erased: asked again it would cost the tenant the lease.
    drives.retain(|d| !machine.upkeep.is_unerased(&d.serial));
    if lease.state != LeaseState::Deploying {
        let kept = layout::kept_drives(lease);
        let wiped = |d: &DriveRef| !kept.contains(&d.serial);
        return drives.into_iter().filter(wiped).collect();
    }
    let prepared = machine.warm.prepared.as_ref();
    let is = |d: &DriveRef| prepared.is_some_and(|p| p.drive.serial == d.serial);
    drives.into_iter().filter(is).collect()
}

/// The machine's drives on which the image does not stand.
pub fn others(lease: &Lease, machine: &Machine) -> Vec<DriveRef> {
    let roots = match &lease.layout {
        Some(layout) if !layout.root.is_empty() => layout.root.clone(),
        _ => root(lease, machine).into_iter().collect(),
    };
    let is_root = |d: &&DriveRef| roots.iter().any(|r| r.serial == d.serial);
    machine
        .drives
        .iter()
        .filter(|d| !is_root(d))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serial, kind, size.
    const DRIVES: &[(&str, DriveKind, u64)] = &[
        ("H1", DriveKind::Hdd, 8000),
        ("N1", DriveKind::Nvme, 4000),
        ("N2", DriveKind::Nvme, 1000),
        ("N3", DriveKind::Nvme, 4000),
        ("S1", DriveKind::Ssd, 500),
        ("S2", DriveKind::Ssd, 500),
    ];

    fn chosen(wish: &str) -> Result<String, String> {
        let own: Vec<DriveRef> = DRIVES
            .iter()
            .map(|(serial, ..)| DriveRef {
                serial: (*serial).into(),
                wwn: None,
            })
            .collect();
        let known: Vec<Drive> = DRIVES
            .iter()
            .map(|(serial, kind, size_bytes)| Drive {
                serial: Some((*serial).into()),
                kind: *kind,
                size_bytes: *size_bytes,
                ..Drive::default()
            })
            .collect();
        let wish = wish.parse().map_err(|e| format!("{e}"))?;
        choose(&wish, &own, &known).map(|d| d.serial)
    }

    #[test]
    fn each_wish_has_one_answer() {
        for (wish, drive) in [
            ("first", "H1"),
            ("nvme", "N1"),
            ("smallest", "S1"),
            ("largest", "H1"),
            ("smallest-nvme", "N2"),
            ("largest-nvme", "N1"),
            ("smallest-ssd", "S1"),
            ("serial=N3", "N3"),
        ] {
            assert_eq!(chosen(wish).as_deref(), Ok(drive), "{wish}");
        }
    }

    #[test]
    fn what_is_wanted_and_what_is_there_is_said() {
        let said = chosen("serial=X").expect_err("there is none");
        assert!(said.contains("the drive with serial number X"), "{said}");
        assert!(said.contains("HDD of 8000 bytes, NVMe of 4000 bytes"));
        assert!(choose(&RootDrive::default(), &[], &[]).is_err());
    }
}
