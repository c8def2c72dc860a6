use std::{
    io,
    sync::Mutex,
    sync::atomic::{AtomicUsize, Ordering},
};

use billet_model::{
    LeaseId,
    image::ImageChunk,
    measure::Measured,
    work::{DriveRef, MeasureOrder, Seed, WorkFailure},
};
use proptest::prelude::*;

use super::*;
use crate::{
    fake::{Allow, Fake},
    source::SourceError,
};

const CHUNK: u64 = 64 << 10;

/// An image in memory, given out by a source that breaks.
pub(crate) struct Store {
    manifest: ImageManifest,
    blob: Vec<u8>,
    /// After so many bytes of each answer the stream breaks; taken in turn.
    breaks: Mutex<Vec<usize>>,
    asked: AtomicUsize,
}

impl Store {
    pub fn new(disk: &[u8], boot: BootKind, root: Option<u32>) -> Self {
        let mut blob = Vec::new();
        let mut chunks = Vec::new();
        for (index, plain) in (0..).zip(disk.chunks(CHUNK as usize)) {
            if plain.iter().all(|b| *b == 0) {
                continue;
            }
            let packed = zstd::bulk::compress(plain, 1).expect("packed");
            chunks.push(ImageChunk {
                index,
                sha256: sha256(plain),
                offset: blob.len() as u64,
                length: packed.len() as u32,
            });
            blob.extend(packed);
        }
        Self {
            manifest: ImageManifest {
                version: 1,
                virtual_bytes: disk.len() as u64,
                chunk_bytes: CHUNK,
                chunks,
                boot,
                root_partition: root,
            },
            blob,
            breaks: Mutex::default(),
            asked: AtomicUsize::new(0),
        }
    }

    pub fn digest(&self) -> String {
        sha256(&self.manifest.canonical())
    }

    pub fn order(&self) -> WriteOrder {
        WriteOrder {
            lease: LeaseId::from_parts(0, [0; 10]),
            image: self.digest(),
            arrays: Vec::new(),
            mirror: Vec::new(),
            drive: DriveRef {
                serial: "S".into(),
                wwn: None,
            },
            kernel_args: vec![],
            seed: None,
            prepared: false,
        }
    }
}

impl ImageSource for Store {
    fn manifest(&self, _: &str) -> Result<ImageManifest, SourceError> {
        Ok(self.manifest.clone())
    }

    fn blob(&self, _: &str, offset: u64, length: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let at = offset as usize;
        let whole = &self.blob[at..at + length as usize];
        let keep = self.breaks.lock().expect("the lock").pop();
        let part = &whole[..keep.unwrap_or(whole.len()).min(whole.len())];
        Ok(Box::new(io::Cursor::new(part.to_vec())))
    }
}

fn nothing_mounted(_: &[String]) -> Result<Option<Placed>, WriteError> {
    Ok(None)
}

fn write(fake: &Fake, order: &WriteOrder, store: &Store) -> Result<WriteReport, WriteError> {
    write_image(fake, order, store, &nothing_mounted, &Allow::always())
}

/// A disk image with an ESP that has a boot entry, and a root partition behind it.
pub(crate) fn bootable() -> Vec<u8> {
    let (esp, root) = ((2048, 2048 + 8191), (10240, 12287));
    let mut disk = gpt::sample(
        8 << 20,
        &[(1, [7; 16], root.0, root.1), (15, gpt::ESP, esp.0, esp.1)],
    );
    let range = esp.0 as usize * 512..(esp.1 as usize + 1) * 512;
    let mut fat = disk[range.clone()].to_vec();
    fatfs::format_volume(
        io::Cursor::new(&mut fat[..]),
        fatfs::FormatVolumeOptions::new(),
    )
    .expect("formatted");
    let fs = fatfs::FileSystem::new(io::Cursor::new(&mut fat[..]), fatfs::FsOptions::new())
        .expect("a file system");
    let root_dir = fs.root_dir();
    let dir = root_dir
        .create_dir("loader")
        .and_then(|d| d.create_dir("entries"));
    let mut file = dir
        .and_then(|d| d.create_file("debian.conf"))
        .expect("a file");
    io::Write::write_all(&mut file, b"title Debian\noptions root=LABEL=root\n").expect("written");
    drop((file, root_dir));
    fs.unmount().expect("unmounted");
    disk[range].copy_from_slice(&fat);
    disk
}

fn seed() -> Seed {
    Seed {
        meta_data: "instance-id: i\n".into(),
        user_data: "#cloud-config\n".into(),
        vendor_data: "v".into(),
        network_config: "version: 2\n".into(),
    }
}

#[test]
fn a_bootable_image_is_grown_seeded_and_given_arguments() {
    let store = Store::new(&bootable(), BootKind::Bls, Some(1));
    let size = 64 << 20;
    let mut fake = Fake::new(size, 0xaa);
    fake.discards = false;
    let mut order = store.order();
    order.seed = Some(seed());
    order.kernel_args = vec!["iommu=pt".into()];
    let report = write(&fake, &order, &store).expect("written");
    assert_eq!(report.verified_bytes, 8 << 20);
    assert_eq!(report.written_bytes + report.discarded_bytes, 8 << 20);
    assert_eq!(
        report.kernel_args.as_deref(),
        Some("boot loader entries debian.conf")
    );

    let table = Table::read(&mut View::whole(&fake), 512).expect("a table");
    let parts = table.partitions();
    let numbers: Vec<_> = parts.iter().map(|p| p.number).collect();
    assert_eq!(numbers, [1, 2, 15]);
    assert_eq!(parts[0].last + 1, parts[1].first, "grown up to the seed");
    assert_eq!(report.root_bytes, Some((parts[0].last + 1 - 10240) * 512));
    assert!(report.root_bytes.expect("a root") > 40 << 20);
    let at = parts[1].first as usize * 512;
    let bytes = fake.bytes.lock().expect("the lock");
    seed::check(&bytes[at..at + seed::BYTES as usize], &seed()).expect("the seed");
    // The drive forgets nothing when told to discard: what an array that stood there
    // before is found by is written over, and no more than that.
    let root_end = (parts[0].last as usize + 1) * 512;
    let seed_end = (parts[1].last as usize + 1) * 512;
    let tail = (size - table.tail_bytes() as usize) / 4096 * 4096;
    assert_eq!(bytes[root_end - (1 << 20) - 1], 0xaa);
    for (from, end) in [(root_end - (1 << 20), root_end), (seed_end, tail)] {
        assert!(from < end && bytes[from..end].iter().all(|b| *b == 0));
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("options root=LABEL=root iommu=pt"));
}

#[test]
fn an_image_that_was_prepared_is_finished_without_its_source() {
    let disk = bootable();
    let store = Store::new(&disk, BootKind::Bls, Some(1));
    let order = WriteOrder {
        kernel_args: vec!["iommu=pt".into()],
        seed: Some(seed()),
        prepared: true,
        ..store.order()
    };
    let fake = Fake::new(64 << 20, 0xAA);
    let standing =
        prepare_image(&fake, &store.digest(), &store, &Allow::always()).expect("prepared");
    let report = standing.report();
    assert_eq!(report.verified_bytes, disk.len() as u64);
    assert_eq!((&report.changes[..], report.root_bytes), (&[][..], None));
    assert_eq!(fake.bytes.lock().expect("the lock")[..disk.len()], disk);

    // As written in one go, but for what is random.
    let asked = store.asked.load(Ordering::Relaxed);
    let finish = |fake: &Fake, order: &WriteOrder| {
        finish_prepared(fake, order, &standing, &nothing_mounted, &Allow::always())
    };
    let finished = finish(&fake, &order).expect("finished");
    assert_eq!(
        store.asked.load(Ordering::Relaxed),
        asked,
        "nothing is fetched"
    );
    let whole = write(&Fake::new(64 << 20, 0xAA), &order, &store).expect("written");
    let same = |report: &WriteReport| WriteReport {
        changes: vec![],
        ..report.clone()
    };
    assert_eq!(same(&finished), same(&whole));
    let places = |report: &WriteReport| {
        let places = report.changes.iter().map(|c| (c.what, c.place.clone()));
        places.collect::<Vec<_>>()
    };
    assert_eq!(places(&finished), places(&whole));
    assert!(!finished.changes.is_empty());

    // Not this image, and not this drive any more.
    let other = WriteOrder {
        image: "another".into(),
        ..order.clone()
    };
    for (fake, order, part) in [
        (&fake, &other, "another image"),
        (&fake, &order, "something else"),
        (&Fake::new(64 << 20, 0), &order, "something else"),
    ] {
        let error = finish(fake, order).expect_err(part);
        assert_eq!(error.kind(), WorkFailure::Other);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn an_image_larger_than_the_drive_is_not_prepared() {
    let store = Store::new(&bootable(), BootKind::Bls, Some(1));
    let fake = Fake::new(4 << 20, 0xAA);
    let error = prepare_image(&fake, &store.digest(), &store, &Allow::always());
    assert_eq!(
        error.expect_err("too large").kind(),
        WorkFailure::ImageUnsuitable
    );
    let untouched = |b: &u8| *b == 0xAA;
    assert!(fake.bytes.lock().expect("the lock").iter().all(untouched));
}

#[test]
fn a_written_drive_is_measured_and_what_differs_is_told_by_partition() {
    let store = Store::new(&bootable(), BootKind::Bls, Some(1));
    let fake = Fake::new(64 << 20, 0xaa);
    let mut order = store.order();
    order.seed = Some(seed());
    order.kernel_args = vec!["iommu=pt".into()];
    let report = write(&fake, &order, &store).expect("written");
    let first = report.measured.expect("measured");
    assert_eq!(first.content, order.image, "made of what was read");
    assert!(first.chunks.all_same());
    assert_eq!(first.chunks.data, store.manifest.chunks.len() as u64);
    assert_eq!(first.chunks.data + first.chunks.empty, (8 << 20) / CHUNK);

    // What was put there on purpose has digests of its own.
    let kinds: Vec<_> = report.changes.iter().map(|c| c.what).collect();
    assert_eq!(
        kinds,
        [
            ChangeKind::Seed,
            ChangeKind::PartitionTable,
            ChangeKind::BackupTable,
            ChangeKind::KernelArguments
        ]
    );
    let bytes = fake.bytes.lock().expect("the lock").clone();
    assert_eq!(report.changes[1].sha256, sha256(&bytes[..34 * 512]));
    let tail = &bytes[bytes.len() - 33 * 512..];
    assert_eq!(report.changes[2].sha256, sha256(tail));
    let text = "title Debian\noptions root=LABEL=root iommu=pt\n";
    assert_eq!(report.changes[3].sha256, sha256(text.as_bytes()));
    assert_eq!(
        report.changes[3].place,
        "partition 15: /loader/entries/debian.conf"
    );

    let measured = |fake: &Fake| {
        let order = MeasureOrder {
            image: order.image.clone(),
            mirror: Vec::new(),
            drive: order.drive.clone(),
        };
        // A watch that never lets anything be written.
        measure::measure(fake, &order, &store, &Allow::times(0)).expect("measured")
    };
    let part = |m: &Measured, number| {
        let part = m.parts.iter().find(|p| p.partition == number);
        part.expect("the partition").chunks
    };
    let since = measured(&fake);
    assert_ne!(since.content, order.image);
    assert!(part(&since, Some(1)).all_same(), "the root is untouched");
    assert!(
        !part(&since, Some(15)).all_same(),
        "arguments were put here"
    );
    assert!(!part(&since, None).all_same(), "and the table was changed");

    // The tenant writes where the image was empty.
    let root = 10240 * 512;
    fake.bytes.lock().expect("the lock")[root + 700_000] = 9;
    let later = measured(&fake);
    let (before, after) = (part(&since, Some(1)), part(&later, Some(1)));
    assert_eq!(before.empty_same, after.empty_same + 1);
    assert_eq!(before.data_same, after.data_same);
    assert_ne!(later.content, since.content);

    // A drive that cannot be read is no measurement.
    fake.fail_reads.store(true, Ordering::Relaxed);
    let order = MeasureOrder {
        image: order.image.clone(),
        mirror: Vec::new(),
        drive: order.drive.clone(),
    };
    let error = measure::measure(&fake, &order, &store, &Allow::always());
    assert_eq!(error.expect_err("read").kind(), WorkFailure::DriveFailed);
}

#[test]
fn a_drive_whose_discard_leaves_data_is_zeroed() {
    let mut disk = vec![0; 8 * CHUNK as usize];
    disk[3 * CHUNK as usize] = 1;
    let store = Store::new(&disk, BootKind::Unknown, None);
    let mut fake = Fake::new(disk.len(), 0xaa);
    fake.discard_fill = 0x5a;
    write(&fake, &store.order(), &store).expect("written");
    assert_eq!(*fake.bytes.lock().expect("the lock"), disk);

    let mut fake = Fake::new(disk.len(), 0xaa);
    fake.discards = false;
    write(&fake, &store.order(), &store).expect("written");
    assert_eq!(*fake.bytes.lock().expect("the lock"), disk);
}

/// Checks that an order fails so, and that nothing was written.
fn refused(store: &Store, order: &WriteOrder, size: usize, kind: WorkFailure) {
    let fake = Fake::new(size, 0xaa);
    let error = write(&fake, order, store).expect_err("must be refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(
        fake.bytes
            .lock()
            .expect("the lock")
            .iter()
            .all(|b| *b == 0xaa)
    );
}

#[test]
fn what_can_be_refused_is_refused_before_the_first_write() {
    let store = Store::new(&bootable(), BootKind::Bls, Some(1));
    let plain = store.order();
    refused(&store, &plain, 4 << 20, WorkFailure::ImageUnsuitable);

    let mut order = plain.clone();
    order.seed = Some(seed());
    refused(&store, &order, 20 << 20, WorkFailure::ImageUnsuitable);

    let mut order = plain.clone();
    order.kernel_args = vec!["two words".into()];
    refused(&store, &order, 64 << 20, WorkFailure::ImageUnsuitable);

    let mut order = plain.clone();
    order.image = "0".repeat(64);
    refused(&store, &order, 64 << 20, WorkFailure::ImageCorrupt);

    let store = Store::new(&bootable(), BootKind::Unknown, Some(1));
    let mut order = store.order();
    order.kernel_args = vec!["a".into()];
    refused(&store, &order, 64 << 20, WorkFailure::ImageUnsuitable);

    let store = Store::new(&[1; 1 << 20], BootKind::Bls, None);
    let mut order = store.order();
    order.seed = Some(seed());
    refused(&store, &order, 64 << 20, WorkFailure::ImageUnsuitable);
}

#[test]
fn a_wrong_byte_in_the_blob_is_found_and_its_chunk_not_written() {
    let mut store = Store::new(&[3; 1 << 20], BootKind::Unknown, None);
    let last = store.manifest.chunks.last().cloned().expect("a chunk");
    let other = zstd::bulk::compress(&[4; CHUNK as usize], 1).expect("packed");
    assert_eq!(other.len(), last.length as usize);
    store.blob.splice(last.offset as usize.., other);
    let fake = Fake::new(1 << 20, 0);
    let error = write(&fake, &store.order(), &store).expect_err("corrupt");
    assert_eq!(error.kind(), WorkFailure::ImageCorrupt);
    assert!(!fake.bytes.lock().expect("the lock").contains(&4));
}

#[test]
fn a_stop_ends_the_writing() {
    let store = Store::new(&[3; 1 << 20], BootKind::Unknown, None);
    let fake = Fake::new(1 << 20, 0);
    let watch = Allow::times(6);
    let error = write_image(&fake, &store.order(), &store, &nothing_mounted, &watch);
    assert_eq!(error.expect_err("stopped").kind(), WorkFailure::Superseded);
    let written = fake
        .bytes
        .lock()
        .expect("the lock")
        .iter()
        .filter(|b| **b == 3)
        .count();
    assert!(written <= 4 * CHUNK as usize);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever image, and wherever the stream breaks, the drive holds the image.
    #[test]
    fn the_drive_holds_the_image(
        fills in proptest::collection::vec(prop_oneof![Just(0u8), 1..=255u8], 1..12),
        tail in 1..CHUNK as usize,
        breaks in proptest::collection::vec(0..100usize, 0..3),
    ) {
        let mut disk: Vec<u8> = fills.iter().flat_map(|b| vec![*b; CHUNK as usize]).collect();
        disk.truncate(disk.len() - CHUNK as usize + tail);
        // Each chunk differs from the others of its fill.
        for (n, at) in (0..disk.len()).step_by(CHUNK as usize).enumerate() {
            if disk[at] != 0 { disk[at] = n as u8; }
        }
        let store = Store::new(&disk, BootKind::Unknown, None);
        *store.breaks.lock().expect("the lock") = breaks.clone();
        let fake = Fake::new(disk.len().next_multiple_of(4096) + 8192, 0xaa);
        let report = write(&fake, &store.order(), &store).expect("written");
        let bytes = fake.bytes.lock().expect("the lock");
        prop_assert_eq!(&bytes[..disk.len()], &disk[..]);
        prop_assert_eq!(report.verified_bytes, disk.len() as u64);
        prop_assert!(report.resumed as usize <= breaks.len());
    }
}
