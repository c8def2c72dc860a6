use std::{fs, process::Command, sync::Mutex};

use billet_model::{measure::ChangeKind, work::DriveRef};

use super::*;
use crate::{
    fake::{Allow, Fake},
    write::tests::{Store, bootable},
};

fn nothing_mounted(_: &[String]) -> Result<Option<write::Placed>, WriteError> {
    Ok(None)
}

/// The image of other tests with an ext4's superblock on its root, which says that
/// it has so many blocks of 1 KiB, and a system partition whose file system ends
/// `spare` bytes before it does.
fn image(blocks: u32, spare: u64) -> Vec<u8> {
    let mut disk = bootable();
    let root = 10240 * 512;
    disk[root + 1024 + 4..root + 1024 + 8].copy_from_slice(&blocks.to_le_bytes());
    disk[root + 1024 + 56..root + 1024 + 58].copy_from_slice(&[0x53, 0xef]);
    let esp = 2048 * 512;
    let sectors = 8192 - spare / 512;
    disk[esp + 19..esp + 21].copy_from_slice(&(sectors as u16).to_le_bytes());
    disk
}

fn kept(disk: &[u8]) -> Store {
    Store::new(disk, billet_model::image::BootKind::Bls, Some(1))
}

fn order(store: &Store) -> WriteOrder {
    WriteOrder {
        kernel_args: vec!["iommu=pt".into()],
        seed: Some(Seed {
            meta_data: "instance-id: i\n".into(),
            user_data: String::new(),
            vendor_data: String::new(),
            network_config: String::new(),
        }),
        mirror: vec![DriveRef {
            serial: "T".into(),
            wwn: None,
        }],
        ..store.order()
    }
}

fn mirrored(store: &Store, drives: &[&Fake]) -> Result<WriteReport, WriteError> {
    let members: Vec<Member<'_>> = ["S", "T"]
        .iter()
        .zip(drives)
        .map(|(serial, fake)| Member {
            serial: (*serial).into(),
            device: *fake,
            mounted: &nothing_mounted,
        })
        .collect();
    write_mirror(&members, &order(store), store, &Allow::always())
}

fn table(fake: &Fake) -> Vec<gpt::Partition> {
    let table = gpt::Table::read(&mut View::whole(fake), 512).expect("a table");
    table.partitions()
}

/// What the real `mdadm` says of a partition.
fn examined(fake: &Fake, partition: &gpt::Partition) -> String {
    let range = partition.first as usize * 512..(partition.last as usize + 1) * 512;
    let bytes = fake.bytes.lock().expect("the lock")[range].to_vec();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), bytes).expect("written");
    let ran = Command::new("mdadm")
        .arg("--examine")
        .arg(file.path())
        .output();
    let ran = ran.expect("mdadm is here: scripts/setup installs it");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[test]
fn arrays_that_stood_on_the_drives_before_are_forgotten_to_the_end_of_each() {
    let store = kept(&image(1024, 1 << 20));
    // Neither forgets what is discarded.
    let drives = [64 << 20, 65 << 20].map(|size| {
        let mut fake = Fake::new(size, 0xaa);
        fake.discards = false;
        fake
    });
    mirrored(&store, &[&drives[0], &drives[1]]).expect("written");
    for fake in &drives {
        let table = gpt::Table::read(&mut View::whole(fake), 512).expect("a table");
        let bytes = fake.bytes.lock().expect("the lock");
        let tail = (bytes.len() - table.tail_bytes() as usize) / 4096 * 4096;
        let ends = table.partitions().into_iter().map(|p| p.last as usize + 1);
        let last = (ends.max().expect("partitions") * 512).max(tail - (1 << 20));
        assert!(last < tail && bytes[last..tail].iter().all(|b| *b == 0));
    }
}

#[test]
fn each_drive_has_the_image_a_table_of_its_own_and_the_arrays_marks() {
    let store = kept(&image(1024, 1 << 20));
    // The other is a little larger, as another maker's, and reads otherwise where
    // nothing was written.
    let first = Fake::new(64 << 20, 0);
    let mut other = Fake::new(65 << 20, 0);
    other.discard_fill = 0xff;
    let report = mirrored(&store, &[&first, &other]).expect("written");
    assert!(report.measured.expect("measured").chunks.all_same());
    assert_eq!(report.mirrors.len(), 1);
    assert_eq!(report.mirrors[0].serial, "T");
    let kinds = |changes: &[DriveChange]| changes.iter().map(|c| c.what).collect::<Vec<_>>();
    let wanted = [
        ChangeKind::Seed,
        ChangeKind::PartitionTable,
        ChangeKind::BackupTable,
        ChangeKind::ArrayMark,
        ChangeKind::ArrayMark,
        ChangeKind::KernelArguments,
    ];
    assert_eq!(kinds(&report.changes), wanted);
    assert_eq!(kinds(&report.mirrors[0].changes), wanted);

    let (a, b) = (table(&first), table(&other));
    let places = |t: &[gpt::Partition]| -> Vec<(u32, u64, u64)> {
        t.iter().map(|p| (p.number, p.first, p.last)).collect()
    };
    assert_eq!(places(&a), places(&b));
    for (a, b) in a.iter().zip(&b) {
        assert_ne!(a.unique, b.unique, "partition {}", a.number);
        assert_eq!(a.kind, b.kind);
    }
    let by_number = |t: &[gpt::Partition], n: u32| t.iter().find(|p| p.number == n).cloned();
    let root = by_number(&a, 1).expect("the root");
    assert_eq!(root.kind, gpt::LINUX_RAID);
    assert_eq!(by_number(&a, 15).expect("the ESP").kind, gpt::ESP);
    // Grown to the seed, less what the mirror keeps.
    let length = (root.last + 1 - root.first) * 512;
    assert!(length > 30 << 20);
    let grown = report.root_bytes.expect("grown");
    assert!(
        grown < length && length - grown < 256 << 10,
        "{grown} of {length}"
    );

    let mut arrays = std::collections::BTreeSet::new();
    for (fake, role) in [(&first, 0), (&other, 1)] {
        let partitions = table(fake);
        for number in [1, 15] {
            let said = examined(fake, &by_number(&partitions, number).expect("there"));
            assert!(said.contains("Version : 1.0"), "{said}");
            assert!(said.contains("Raid Level : raid1"), "{said}");
            assert!(said.contains("Raid Devices : 2"), "{said}");
            assert!(
                said.contains(&format!("Device Role : Active device {role}")),
                "{said}"
            );
            assert!(said.contains("- correct"), "{said}");
            assert!(said.contains("State : active"), "not in step yet: {said}");
            let uuid = said
                .lines()
                .find(|l| l.contains("Array UUID"))
                .map(str::to_owned);
            arrays.insert((number, uuid));
        }
    }
    assert_eq!(
        arrays.len(),
        2,
        "both drives are of the same two arrays: {arrays:?}"
    );

    // Both are the image's still, but where they must not be.
    let order = billet_model::work::MeasureOrder {
        image: store.digest(),
        drive: store.order().drive,
        mirror: order(&store).mirror,
    };
    let others = [("T".to_owned(), &other as &dyn Device)];
    let found = measure::measure_copies(&first, &others, &order, &store, &Allow::always());
    let found = found.expect("measured");
    assert_eq!(found.copies[0].drive, "T");
    assert_eq!(
        found.copies[0].differ, 2,
        "the chunk with the partition table, and the one with the ESP's superblock"
    );
    assert_eq!(found.copies[0].chunks, found.chunks);
}

#[test]
fn a_partition_without_room_is_a_copy_and_a_root_without_room_is_refused() {
    let drives = || (Fake::new(64 << 20, 0), Fake::new(64 << 20, 0));
    let (first, other) = drives();
    let store = kept(&image(1024, 0));
    let report = mirrored(&store, &[&first, &other]).expect("written");
    let said = report.mirrored.join("; ");
    assert!(
        said.contains("partition 15 (esp) is a plain copy"),
        "{said}"
    );
    assert!(said.contains("partition 1 (root) is mirrored"), "{said}");
    let (first, other) = drives();
    let store = kept(&image(200 << 10, 1 << 20));
    let error = mirrored(&store, &[&first, &other]).expect_err("no room");
    assert!(error.to_string().contains("leaves no room"), "{error}");
}

/// A drive that keeps one byte wrong.
struct Liar(Fake, Mutex<u64>);

impl Device for Liar {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn block_bytes(&self) -> u32 {
        512
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, into)?;
        let wrong = *self.1.lock().expect("the lock");
        if let Some(at) = wrong
            .checked_sub(offset)
            .filter(|at| *at < into.len() as u64)
        {
            into[at as usize] ^= 1;
        }
        Ok(())
    }
    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.0.write(offset, from)
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.0.discard(offset, length)
    }
    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.0.zero(offset, length)
    }
    fn command(
        &self,
        method: billet_model::work::EraseMethod,
        progress: &dyn Fn(u16),
    ) -> Result<(), String> {
        self.0.command(method, progress)
    }
}

#[test]
fn a_copy_that_reads_back_wrong_is_found() {
    let store = kept(&image(1024, 1 << 20));
    let good = Fake::new(64 << 20, 0);
    let liar = Liar(Fake::new(64 << 20, 0), Mutex::new(2048 * 512 + 11));
    for drives in [[&good as &dyn Device, &liar], [&liar as &dyn Device, &good]] {
        let members: Vec<Member<'_>> = drives
            .iter()
            .map(|device| Member {
                serial: String::new(),
                device: *device,
                mounted: &nothing_mounted,
            })
            .collect();
        let error = write_mirror(&members, &order(&store), &store, &Allow::always());
        let error = error.expect_err("it differs").to_string();
        assert!(
            error.contains("copies differ") || error.contains("other than written"),
            "{error}"
        );
    }
}
