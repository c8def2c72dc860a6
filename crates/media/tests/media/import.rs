//! Images in every form, whole and damaged, are taken in or refused.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::Command;

use crate::common::{MIB, disk, have, sh};
use billet_media::image::{Checksum, ImageReader, ImportError, ImportOptions, Imported, import};
use billet_model::image::BootKind;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256, Sha512};

const LIMIT: u64 = 64 << 20;

fn options(dir: &Path) -> ImportOptions {
    ImportOptions {
        checksum: None,
        max_virtual_size: LIMIT,
        expected_bytes: None,
        dir: dir.to_owned(),
    }
}

fn take(bytes: &[u8], dir: &Path) -> Result<Imported, ImportError> {
    import(bytes, &options(dir), &mut |_| {})
}

/// Imports what must be refused, and sees that nothing of it is kept.
fn refuse(bytes: &[u8], change: impl Fn(&mut ImportOptions)) -> ImportError {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    change(&mut options);
    let error = import(bytes, &options, &mut |_| {}).unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{error}");
    error
}

fn exported(imported: &Imported, dir: &Path) -> Vec<u8> {
    let out = dir.join("out.raw");
    ImageReader::open(dir, &imported.content.digest)
        .unwrap()
        .export(&out, &mut |_| {})
        .unwrap();
    fs::read(out).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    liblzma::read::XzEncoder::new(bytes, 0)
        .read_to_end(&mut out)
        .unwrap();
    out
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Compress = fn(&[u8]) -> Vec<u8>;
const COMPRESSIONS: [(&str, Compress); 4] = [
    ("plain", <[u8]>::to_vec),
    ("gzip", gzip),
    ("xz", xz),
    ("zstd", zst),
];

/// The disk as qcow2, made with `qemu-img convert` and these arguments.
fn qcow2(disk: &[u8], arguments: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    let out = dir.path().join("disk.qcow2");
    fs::write(&raw, disk).unwrap();
    sh(Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .args(arguments)
        .arg(&raw)
        .arg(&out));
    fs::read(out).unwrap()
}

#[test]
fn every_form_of_an_image_is_the_same_image() {
    let plain = disk(&[("loader/entries/a.conf", "options quiet")]);
    let mut forms = vec![("raw".to_owned(), plain.clone())];
    if have("qemu-img", "qcow2 forms") {
        for arguments in [
            &[][..],
            &["-c"],
            &["-o", "compat=0.10"],
            &["-o", "cluster_size=512"],
            &["-o", "cluster_size=2M"],
            &["-o", "preallocation=metadata,lazy_refcounts=on"],
        ] {
            forms.push((format!("qcow2 {arguments:?}"), qcow2(&plain, arguments)));
        }
    }
    let mut digests = Vec::new();
    for (form, bytes) in &forms {
        for (compression, compress) in COMPRESSIONS {
            let dir = tempfile::tempdir().unwrap();
            let imported = take(&compress(bytes), dir.path())
                .unwrap_or_else(|e| panic!("{form}, {compression}: {e}"));
            assert!(
                exported(&imported, dir.path()) == plain,
                "{form}, {compression}"
            );
            assert!(imported.content.data_bytes < 8 * MIB as u64);
            assert_eq!(imported.content.boot, BootKind::Bls);
            digests.push(imported.content.digest);
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

#[test]
fn facts_are_found_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    for (files, boot) in [
        (&[("loader/entries/a.conf", "x")][..], BootKind::Bls),
        (&[("EFI/debian/grub.cfg", "x")], BootKind::Grub),
        (&[("EFI/BOOT/BOOTX64.EFI", "x")], BootKind::Unknown),
        (&[("loader/entries/readme.txt", "x")], BootKind::Unknown),
    ] {
        let facts = take(&disk(files), dir.path()).unwrap().facts;
        assert_eq!(facts.boot, boot, "{files:?}");
        assert!(facts.gpt);
        assert_eq!((facts.esp, facts.root_partition), (Some(2), Some(1)));
        assert_eq!(facts.cloud_init, None);
    }
    let nothing = take(&[1; 4096], dir.path()).unwrap();
    assert_eq!(nothing.facts, Default::default());
    assert_eq!(nothing.content.boot, BootKind::Unknown);
}

#[test]
fn a_table_or_a_file_system_of_nonsense_is_no_danger() {
    let dir = tempfile::tempdir().unwrap();
    let good = disk(&[("loader/entries/a.conf", "x")]);
    // The table's header, its entries, and the ESP's first sectors, one byte at a time.
    let places = (512..604).chain(1024..1060).chain(MIB..MIB + 64);
    for place in places.step_by(5) {
        for value in [0, 0xff] {
            let mut bad = good.clone();
            bad[place] = value;
            match take(&bad, dir.path()) {
                Ok(_) | Err(ImportError::Truncated(_)) => {}
                Err(e) => panic!("byte {place} as {value}: {e}"),
            }
        }
    }
}

/// A disk whose one partition begins at a MiB and holds the beginning of an ext4 file
/// system that says it has so many blocks, in groups of so many.
fn disk_with_ext4(blocks: u64, group: u32) -> Vec<u8> {
    let mut disk = disk(&[]);
    let root = 10 * MIB;
    let superblock = root + 1024;
    let mut put = |at: usize, bytes: &[u8]| {
        disk[superblock + at..superblock + at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &[0; 1024]);
    put(0x00, &16_u32.to_le_bytes());
    put(0x04, &(blocks as u32).to_le_bytes());
    put(0x150, &((blocks >> 32) as u32).to_le_bytes());
    put(0x14, &1_u32.to_le_bytes());
    put(0x20, &group.to_le_bytes());
    put(0x28, &16_u32.to_le_bytes());
    put(0x38, &0xef53_u16.to_le_bytes());
    put(0x58, &128_u16.to_le_bytes());
    put(0x60, &2_u32.to_le_bytes());
    disk
}

/// The reader makes room for every group before it looks at one: what was asked for here
/// were a hundred gigabytes, and a process that cannot have them ends.
#[test]
fn a_file_system_larger_than_its_partition_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    for (blocks, group) in [(u64::from(u32::MAX), 1), (u64::MAX, 1 << 15), (64, 1)] {
        let facts = take(&disk_with_ext4(blocks, group), dir.path())
            .unwrap()
            .facts;
        assert_eq!((facts.cloud_init, facts.system), (None, None));
    }
}

#[test]
fn checksums_are_of_the_bytes_as_they_arrive() {
    let bytes = gzip(&disk(&[]));
    let dir = tempfile::tempdir().unwrap();
    let hex = |digest: &[u8]| {
        digest
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    for checksum in [
        Checksum::Sha256(hex(&Sha256::digest(&bytes))),
        Checksum::Sha512(hex(&Sha512::digest(&bytes))),
    ] {
        let mut options = options(dir.path());
        options.checksum = Some(checksum.clone());
        let imported = import(&bytes[..], &options, &mut |_| {}).unwrap();
        assert_eq!(imported.checksum, checksum);
        assert_eq!(imported.source_bytes, bytes.len() as u64);

        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        for wrong in [&bytes[..bytes.len() / 2], &changed] {
            let error = refuse(wrong, |options| options.checksum = Some(checksum.clone()));
            assert!(
                matches!(error, ImportError::ChecksumMismatch { .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn damage_is_noticed_without_a_checksum() {
    let plain = disk(&[]);
    for (name, compress) in COMPRESSIONS {
        let whole = compress(&plain);
        let error = refuse(&whole[..whole.len() * 2 / 3], |_| {});
        assert!(
            matches!(error, ImportError::Truncated(_)),
            "{name}: {error}"
        );
        if name != "plain" {
            let mut changed = whole.clone();
            let middle = changed.len() / 2;
            changed[middle..middle + 32].fill(0x55);
            let error = refuse(&changed, |_| {});
            assert!(
                matches!(error, ImportError::Corrupt(_) | ImportError::Truncated(_)),
                "{name}: {error}"
            );
        }
    }
    assert!(matches!(refuse(&[], |_| {}), ImportError::Empty));
    assert!(matches!(
        refuse(&[7; 1000], |_| {}),
        ImportError::Truncated(_)
    ));
}

#[test]
fn a_disk_over_the_limit_is_refused_before_it_fills_ours() {
    let bomb = zst(&vec![0; 80 * MIB]);
    assert!(bomb.len() < 100_000);
    for bytes in [bomb, vec![1; 65 * MIB]] {
        let error = refuse(&bytes, |_| {});
        assert!(matches!(error, ImportError::TooLarge { .. }), "{error}");
    }
    if have("qemu-img", "a qcow2 image over the limit") {
        let small = qcow2(&vec![0; 65 * MIB], &[]);
        assert!(small.len() < MIB);
        let error = refuse(&gzip(&small), |_| {});
        assert!(
            matches!(error, ImportError::TooLarge { size: Some(size), .. } if size == 65 * MIB as u64),
            "{error}"
        );
    }
}

#[test]
fn a_qcow2_image_that_leads_elsewhere_is_refused() {
    if !have("qemu-img", "qcow2 refusals") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base.raw");
    fs::write(&base, vec![0x41; MIB]).unwrap();
    let image = dir.path().join("image.qcow2");
    let create = |arguments: &[&str]| {
        sh(Command::new("qemu-img")
            .current_dir(dir.path())
            .args(["create", "-q", "-f", "qcow2"])
            .args(arguments));
        fs::read(&image).unwrap()
    };
    let backing = create(&["-b", "base.raw", "-F", "raw", "image.qcow2"]);
    let data = create(&["-o", "data_file=base.raw", "image.qcow2", "1M"]);
    for (bytes, kind) in [(backing, "backing file"), (data, "data file")] {
        let error = refuse(&bytes, |_| {});
        assert!(
            matches!(error, ImportError::RefersToFile { kind: found } if found == kind),
            "{error}"
        );
    }
    // LUKS, as the header says it: making a real one depends on the machine's load.
    let mut encrypted = create(&["image.qcow2", "1M"]);
    encrypted[32..36].copy_from_slice(&2u32.to_be_bytes());
    assert!(matches!(refuse(&encrypted, |_| {}), ImportError::Encrypted));
    for option in ["compression_type=zstd", "extended_l2=on"] {
        let unsupported = create(&["-o", option, "image.qcow2", "1M"]);
        let error = refuse(&unsupported, |_| {});
        assert!(matches!(error, ImportError::Unsupported { .. }), "{error}");
    }
}

#[test]
fn a_damaged_qcow2_image_is_refused_or_read_but_never_harms() {
    if !have("qemu-img", "damaged qcow2") {
        return;
    }
    let plain: Vec<u8> = (0..MIB as u32)
        .flat_map(|at| (at / 3).to_le_bytes())
        .collect();
    let whole = qcow2(&plain, &[]);
    for keep in [50, 80, 200, 65536, whole.len() / 2, whole.len() - 70_000] {
        let error = refuse(&whole[..keep], |_| {});
        assert!(
            matches!(error, ImportError::Truncated(_) | ImportError::Corrupt(_)),
            "{keep}: {error}"
        );
    }
    // Every byte of the header, and of the tables' beginnings.
    let dir = tempfile::tempdir().unwrap();
    for place in (4..112).chain((0x10000..0x50000).step_by(0x3005)) {
        for value in [0, 0x7f, 0xff] {
            let mut bad = whole.clone();
            bad[place] = value;
            let _ = take(&bad, dir.path());
        }
    }
}

#[test]
fn what_is_no_image_is_called_by_its_name() {
    for (bytes, name) in [
        (
            &b"<!DOCTYPE html><title>404</title>"[..],
            "a page for a browser",
        ),
        (b"KDMV\x01\0\0\0", "a VMDK image"),
        (b"vhdxfile", "a VHD image"),
        (b"PK\x03\x04rest", "an archive"),
    ] {
        let error = refuse(bytes, |_| {});
        assert!(
            matches!(&error, ImportError::Unsupported { found, .. } if found == name),
            "{error}"
        );
    }
}

/// A source that breaks off.
struct Broken(Cursor<Vec<u8>>);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::ErrorKind::ConnectionReset.into()),
            read => Ok(read),
        }
    }
}

#[test]
fn a_source_that_fails_is_not_taken_for_a_damaged_image() {
    for (name, compress) in COMPRESSIONS {
        let dir = tempfile::tempdir().unwrap();
        let bytes = compress(&disk(&[]));
        let half = bytes[..bytes.len() / 2].to_vec();
        let error =
            import(Broken(Cursor::new(half)), &options(dir.path()), &mut |_| {}).unwrap_err();
        assert!(
            matches!(&error, ImportError::Source(e) if e.kind() == std::io::ErrorKind::ConnectionReset),
            "{name}: {error}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn damage_to_a_stored_image_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let imported = take(&disk(&[]), dir.path()).unwrap();
    let reader = || ImageReader::open(dir.path(), &imported.content.digest);
    reader().unwrap().verify(&mut |_| {}).unwrap();

    let blob = fs::read(&imported.blob_path).unwrap();
    let mut changed = blob.clone();
    changed[blob.len() / 2] ^= 1;
    fs::write(&imported.blob_path, &changed).unwrap();
    let error = reader().unwrap().verify(&mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");

    fs::write(&imported.blob_path, &blob[..blob.len() - 1]).unwrap();
    assert!(reader().is_err());

    fs::write(&imported.blob_path, &blob).unwrap();
    let manifest = fs::read_to_string(&imported.manifest_path).unwrap();
    fs::write(&imported.manifest_path, manifest + " ").unwrap();
    assert!(reader().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_disk_comes_out_as_it_went_in(
        sectors in 1usize..7000,
        extents in prop::collection::vec((0usize..7000, 1usize..3000, any::<u8>()), 0..6),
        form in 0..COMPRESSIONS.len(),
    ) {
        let mut plain = vec![0u8; sectors * 512];
        for (start, len, byte) in extents {
            let end = ((start + len) * 512).min(plain.len());
            if start * 512 < end {
                plain[start * 512..end].fill(byte);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        // A disk of one byte's repetition may look like something else; that is not at stake here.
        plain[0] = 0;
        let imported = take(&COMPRESSIONS[form].1(&plain), dir.path()).unwrap();
        prop_assert_eq!(imported.content.virtual_bytes, plain.len() as u64);
        prop_assert!(exported(&imported, dir.path()) == plain);
        let reader = ImageReader::open(dir.path(), &imported.content.digest).unwrap();
        let mut read = Vec::new();
        reader.disk().read_to_end(&mut read).unwrap();
        prop_assert!(read == plain);
    }
}
