//! A boot medium is an ISO image that boots a FAT image that holds ramdisk and record.

use std::fs;
use std::io::Cursor;

use billet_media::boot_media::{BootMediaError, BootMediaTemplate};
use billet_model::Secret;
use billet_protocol::boot::{self, BootRecord};
use hadris_iso::read::IsoImage;

use crate::common::iso::{boot_image, file, whole};

fn record(token: &str) -> BootRecord {
    BootRecord {
        servers: vec!["https://10.88.0.1:8443".to_owned()],
        authority: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        token: Secret::new(token),
        addresses: vec![],
        made_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn template(uki: &[u8], dir: &tempfile::TempDir) -> BootMediaTemplate {
    let path = dir.path().join("ramdisk.efi");
    fs::write(&path, uki).unwrap();
    BootMediaTemplate::create(&path, &dir.path().join("template")).unwrap()
}

const CREDENTIAL: &str = "EFI/BOOT/BOOTX64.EFI.extra.d/billet-boot.cred";

#[test]
fn firmware_finds_ramdisk_and_record() {
    // Sizes on both sides of what the boot entry's 16 bit sector count can say.
    for size in [100_000, 9 << 20, 40 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let uki: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let template = template(&uki, &dir);
        let record = record("t0ken");
        let iso = whole(&template.for_record(&record).unwrap());

        let opened = IsoImage::open(Cursor::new(&iso[..])).unwrap();
        let names: Vec<String> = opened
            .root_dir()
            .iter(&opened)
            .entries()
            .map(|entry| String::from_utf8_lossy(entry.unwrap().name()).into_owned())
            .collect();
        assert!(
            names.iter().any(|name| name.starts_with("EFIBOOT.IMG")),
            "{names:?}"
        );

        let fat = boot_image(&iso);
        assert!(file(fat, "EFI/BOOT/BOOTX64.EFI") == uki);
        assert_eq!(file(fat, CREDENTIAL), record.to_json());
    }
}

#[test]
fn the_record_stands_in_the_last_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let medium = template(&[1; 5000], &dir)
        .for_record(&record("t0ken"))
        .unwrap();
    let mut tail = vec![0; boot::TAIL_BYTES as usize];
    let read = medium
        .read_at(medium.len() - boot::TAIL_BYTES, &mut tail)
        .unwrap();
    assert_eq!(read as u64, boot::TAIL_BYTES);
    assert_eq!(BootRecord::find(&tail), Some(record("t0ken")));
}

#[test]
fn media_of_one_template_differ_in_their_records_only() {
    let dir = tempfile::tempdir().unwrap();
    let template = template(&[1; 5000], &dir);
    let one = whole(&template.for_record(&record("one")).unwrap());
    let other = whole(&template.for_record(&record("quite another")).unwrap());
    assert_eq!(file(boot_image(&one), CREDENTIAL), record("one").to_json());
    assert_eq!(
        file(boot_image(&other), CREDENTIAL),
        record("quite another").to_json()
    );
    let differing = one.iter().zip(&other).filter(|(a, b)| a != b).count();
    assert!(differing < 1000, "{differing}");
}

#[test]
fn any_range_is_a_piece_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let medium = template(&[1; 5000], &dir)
        .for_record(&record("t0ken"))
        .unwrap();
    let all = whole(&medium);
    for (start, length) in [
        (0, 1),
        (0, 2048),
        (777, 100_000),
        (all.len() - 70_000, 70_000),
        (all.len() - 10, 100),
        (all.len(), 10),
        (all.len() + 5, 10),
    ] {
        let mut part = vec![0xaa; length];
        let read = medium.read_at(start as u64, &mut part).unwrap();
        let expected = &all[start.min(all.len())..(start + length).min(all.len())];
        assert_eq!(&part[..read], expected, "{start}+{length}");
    }
}

#[test]
fn a_record_too_large_is_refused_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let template = template(&[1; 5000], &dir);
    let mut large = record("hush");
    large.authority = "x".repeat(boot::MAX_BYTES);
    assert!(matches!(
        template.for_record(&large),
        Err(BootMediaError::RecordTooLarge { .. })
    ));
    let medium = template.for_record(&record("hush")).unwrap();
    assert!(!format!("{medium:?}").contains("hush"));
}
