use std::{collections::HashMap, fs, process::Command, sync::Arc};

use billet_model::work::{DriveRef, EraseMethod};

use super::*;
use crate::fake::{Allow, Fake};

/// A machine of fakes, by serial number.
struct Machine {
    fakes: HashMap<String, Arc<Fake>>,
    drives: Vec<Drive>,
}

/// A fake that outlives who opened it.
struct Shared(Arc<Fake>);

impl Device for Shared {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn block_bytes(&self) -> u32 {
        self.0.block_bytes()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, from)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }
    fn discard(&self, offset: u64, length: u64) -> std::io::Result<()> {
        self.0.discard(offset, length)
    }
    fn zero(&self, offset: u64, length: u64) -> std::io::Result<()> {
        self.0.zero(offset, length)
    }
    fn command(&self, method: EraseMethod, progress: &dyn Fn(u16)) -> Result<(), String> {
        self.0.command(method, progress)
    }
}

impl Machine {
    fn new(drives: &[(&str, usize)]) -> Self {
        Self {
            fakes: drives
                .iter()
                .map(|(serial, mib)| ((*serial).to_owned(), Arc::new(Fake::new(mib << 20, 0))))
                .collect(),
            drives: drives
                .iter()
                .map(|(serial, mib)| Drive {
                    serial: Some((*serial).into()),
                    size_bytes: (mib << 20) as u64,
                    ..Drive::default()
                })
                .collect(),
        }
    }

    fn write(&self, orders: &[ArrayOrder], watch: &Allow) -> Result<Vec<ArrayWritten>, WriteError> {
        let open = |drive: &Drive| {
            let serial = drive.serial.as_deref().expect("a serial number");
            Ok(Box::new(Shared(self.fakes[serial].clone())) as Box<dyn Device>)
        };
        write(orders, &self.drives, &open, watch)
    }

    fn bytes(&self, serial: &str) -> Vec<u8> {
        self.fakes[serial].bytes.lock().expect("the lock").clone()
    }
}

fn order(name: &str, level: Level, drives: &[&str]) -> ArrayOrder {
    ArrayOrder {
        name: name.parse().expect("a name"),
        level,
        id: billet_model::layout::derived(
            billet_model::LeaseId::from_parts(1, [1; 10]),
            &format!("array {name}"),
        ),
        drives: drives
            .iter()
            .map(|serial| DriveRef {
                serial: (*serial).into(),
                wwn: None,
            })
            .collect(),
        kept: false,
    }
}

#[test]
fn each_drive_gets_a_table_and_a_mark_that_mdadm_knows() {
    let machine = Machine::new(&[("A", 96), ("B", 96), ("C", 96), ("D", 64)]);
    let data = order("data", Level::Raid5, &["A", "B", "C"]);
    let single = order("single", Level::Single, &["D"]);
    let written = machine
        .write(&[data.clone(), single.clone()], &Allow::always())
        .expect("written");
    // 96 MiB less one at each end and what is kept in front: 78 MiB on each drive.
    assert_eq!(written[0].bytes, 2 * (78 << 20));
    let kinds = |n: usize, m: usize| -> Vec<ChangeKind> {
        written[n].drives[m]
            .changes
            .iter()
            .map(|c| c.what)
            .collect()
    };
    let table = [ChangeKind::PartitionTable, ChangeKind::BackupTable];
    assert_eq!(kinds(0, 2), [&table[..], &[ChangeKind::ArrayMark]].concat());
    assert_eq!(kinds(1, 0), table);

    let dir = tempfile::tempdir().expect("a directory");
    let mut devices = std::collections::BTreeSet::new();
    for serial in ["A", "B", "C"] {
        let path = dir.path().join(serial);
        let bytes = machine.bytes(serial);
        // As the kernel has the partition.
        fs::write(&path, &bytes[1 << 20..95 << 20]).expect("written");
        let ran = Command::new("mdadm")
            .args(["--examine", "--export"])
            .arg(&path)
            .output();
        let ran = ran.expect("mdadm is here: scripts/setup installs it");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(said.contains("MD_LEVEL=raid5\n"), "{said}");
        assert!(said.contains("MD_DEVICES=3\n"), "{said}");
        assert!(said.contains("MD_NAME=any:data\n"), "{said}");
        devices.insert(
            said.lines()
                .find(|l| l.starts_with("MD_DEV_UUID="))
                .map(str::to_owned),
        );
    }
    assert_eq!(devices.len(), 3, "each member has a UUID of its own");

    let fake = Fake::new(0, 0);
    *fake.bytes.lock().expect("the lock") = machine.bytes("D");
    let table = Table::read(&mut View::whole(&fake), 512).expect("a table");
    let partitions = table.partitions();
    assert_eq!(partitions.len(), 1);
    assert_eq!(partitions[0].kind, gpt::LINUX);
    assert_eq!(partitions[0].unique, single.id.to_bytes_le());
}

#[test]
fn what_is_kept_is_looked_at_and_not_written() {
    let machine = Machine::new(&[("A", 96), ("B", 96), ("D", 64)]);
    let mut orders = [
        order("data", Level::Raid1, &["A", "B"]),
        order("single", Level::Single, &["D"]),
    ];
    machine.write(&orders, &Allow::always()).expect("written");
    let before = machine.bytes("A");
    for order in &mut orders {
        order.kept = true;
    }
    // No yes is asked for: nothing is written.
    let marks = |orders: &[ArrayOrder]| -> Vec<Option<bool>> {
        let found = machine.write(orders, &Allow::times(0)).expect("looked at");
        found
            .iter()
            .flat_map(|a| &a.drives)
            .map(|d| d.marked)
            .collect()
    };
    assert_eq!(marks(&orders), [Some(true), Some(true), Some(true)]);
    assert_eq!(machine.bytes("A"), before);
    // Another array's marks are not taken for it.
    orders[0].id = orders[1].id;
    assert_eq!(marks(&orders), [Some(false), Some(false), Some(true)]);
    // Nor is a drive that was made something else of, or is gone.
    machine.fakes["D"].bytes.lock().expect("the lock").fill(0);
    orders[1].drives.push(DriveRef {
        serial: "gone".into(),
        wwn: None,
    });
    assert_eq!(marks(&orders)[2..], [Some(false), Some(false)]);
}

#[test]
fn nothing_is_written_before_every_drive_is_there_and_large_enough() {
    let machine = Machine::new(&[("A", 96), ("B", 17)]);
    let small = [
        order("one", Level::Single, &["A"]),
        order("two", Level::Single, &["B"]),
    ];
    let error = machine
        .write(&small, &Allow::always())
        .expect_err("too small");
    assert!(error.to_string().contains("drive B has only"), "{error}");
    let gone = [
        order("one", Level::Single, &["A"]),
        order("two", Level::Single, &["C"]),
    ];
    let error = machine.write(&gone, &Allow::always()).expect_err("missing");
    assert!(matches!(error, WriteError::Missing(_)), "{error}");
    let stopped = machine
        .write(&small[..1], &Allow::times(0))
        .expect_err("stopped");
    assert!(matches!(stopped, WriteError::Superseded), "{stopped}");
    assert!(machine.bytes("A").iter().all(|b| *b == 0));
}
