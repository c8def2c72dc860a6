use std::{fs, path::Path, process::Command};

use super::*;

fn array(level: Level, sectors: &[u64]) -> Array<'static> {
    Array {
        name: "data",
        id: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10",
        level,
        places: sectors
            .iter()
            .map(|s| Place::in_front((s + FRONT) * SECTOR).expect("room"))
            .collect(),
        now: 1_700_000_000,
    }
}

/// What the real `mdadm --examine` says of a member.
fn examined(array: &Array<'_>, role: usize) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("member");
    let place = array.places[role];
    let mut bytes = vec![0; ((place.bitmap + BITMAP_SECTORS) * SECTOR) as usize];
    let at = (place.superblock * SECTOR) as usize;
    let superblock = array.superblock(role, [role as u8 + 1; 16]);
    bytes[at..at + superblock.len()].copy_from_slice(&superblock);
    if let Some(bitmap) = array.bitmap() {
        let at = (place.bitmap * SECTOR) as usize;
        bytes[at..at + bitmap.len()].copy_from_slice(&bitmap);
    }
    fs::write(&path, bytes).expect("written");
    let file = fs::File::options().write(true).open(&path).expect("opened");
    file.set_len((place.data + place.sectors) * SECTOR)
        .expect("sized");
    let mut said = mdadm("--examine", &path);
    // Of a file it takes a bitmap to be all.
    if let Some(bitmap) = array.bitmap() {
        let path = dir.path().join("bitmap");
        fs::write(&path, bitmap).expect("written");
        said.push_str(&mdadm("--examine-bitmap", &path));
    }
    said
}

fn mdadm(what: &str, path: &Path) -> String {
    let ran = Command::new("mdadm")
        .arg(what)
        .arg(path)
        .output()
        .expect("mdadm is here: scripts/setup installs it");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// The value of a line of `mdadm`'s.
fn value(said: &str, key: &str) -> String {
    said.lines()
        .find_map(|line| {
            let (name, value) = line.split_once(" : ")?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
        .unwrap_or_else(|| panic!("no {key:?} in\n{said}"))
}

#[test]
fn mdadm_reads_what_is_written() {
    // A gibibyte, and a chunk or less beyond it.
    let gib = (1 << 30) / SECTOR;
    for (level, sectors, size) in [
        (Level::Raid0, vec![gib, gib + 7], None),
        (Level::Raid1, vec![gib, gib + 1000], Some(1)),
        (Level::Raid5, vec![gib; 4], Some(3)),
        (Level::Raid6, vec![gib; 5], Some(3)),
        (Level::Raid10, vec![gib; 4], Some(2)),
    ] {
        let array = array(level, &sectors);
        for role in 0..sectors.len() {
            let said = examined(&array, role);
            let is = |key: &str, wanted: &str| {
                let found = value(&said, key);
                assert!(found.contains(wanted), "{level}, {key}: {found}\n{said}");
            };
            is("Magic", "a92b4efc");
            is("Version", "1.2");
            is("Array UUID", "01234567:89abcdef:fedcba98:76543210");
            is("Name", "any:data");
            is("Raid Level", level.as_str());
            is("Raid Devices", &sectors.len().to_string());
            is("Device Role", &format!("Active device {role}"));
            is("Checksum", "correct");
            is("Array State", &"A".repeat(sectors.len()));
            if let Some(gibs) = size {
                is("Array Size", &(gibs << 20).to_string());
                is("State", "active");
                // The bitmap's own record, and how much of it is set: all.
                is(
                    "Sync Size",
                    &((array.bytes() / 1024) / if level == Level::Raid10 { 1 } else { gibs })
                        .to_string(),
                );
                is("Bitmap", "100.0%");
            } else {
                is("State", "clean");
            }
        }
    }
}

#[test]
fn stripes_over_unlike_drives_use_all_of_each() {
    let gib = (1 << 30) / SECTOR;
    let uneven = array(Level::Raid0, &[gib, 2 * gib]);
    assert_eq!(uneven.bytes(), 3 << 30);
    let said = examined(&uneven, 0);
    assert!(value(&said, "Feature Map").contains("0x1000"), "{said}");
    let even = array(Level::Raid0, &[gib, gib]);
    assert!(value(&examined(&even, 0), "Feature Map").contains("0x0"));
}

#[test]
fn a_mark_is_known_by_its_sum() {
    let array = array(Level::Raid1, &[4096, 4096]);
    let mut bytes = array.superblock(1, [2; 16]);
    assert_eq!(array_of(&bytes), Some(array.id));
    for at in [0, 5, 20, 100, 300] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(array_of(&damaged), None, "byte {at}");
    }
    bytes.truncate(500);
    assert_eq!(array_of(&bytes), None);
    assert_eq!(array_of(&[]), None);
}

#[test]
fn a_large_arrays_bitmap_fits_its_place() {
    let tib = (1u64 << 40) / SECTOR;
    let large = array(Level::Raid6, &[100 * tib; 12]);
    let bitmap = large.bitmap().expect("one");
    assert_eq!(bitmap.len() as u64, BITMAP_SECTORS * SECTOR);
    let chunk = u64::from(u32::from_le_bytes(
        bitmap[52..56].try_into().expect("a word"),
    ));
    assert!(100 * (1u64 << 40) / chunk <= (bitmap.len() as u64 - 256) * 8);
    assert!(Place::in_front(16 << 20).is_none(), "no room for data");
}
