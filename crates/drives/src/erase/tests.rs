use std::{collections::HashMap, io, sync::Arc};

use billet_model::work::VerifyOrder;
use proptest::prelude::*;

use super::*;
use crate::{
    fake::{Allow, Behaviour, Fake},
    verify::verify,
};

const SIZE: usize = 64 * 4096;

/// Lets the test keep the fake that it hands out.
struct Shared(Arc<Fake>);

impl Device for Shared {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn block_bytes(&self) -> u32 {
        self.0.block_bytes()
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, into)
    }
    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.0.write(offset, from)
    }
    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.0.discard(offset, length)
    }
    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.0.zero(offset, length)
    }
    fn command(&self, method: EraseMethod, progress: &dyn Fn(u16)) -> Result<(), String> {
        self.0.command(method, progress)
    }
    fn hidden(&self) -> Option<String> {
        self.0.hidden()
    }
}

fn drive(serial: &str, can: EraseCapabilities) -> Drive {
    Drive {
        serial: Some(serial.into()),
        size_bytes: SIZE as u64,
        erase: can,
        ..Drive::default()
    }
}

fn wanted(serial: &str) -> DriveRef {
    DriveRef {
        serial: serial.into(),
        wwn: None,
    }
}

fn run(drive: &Drive, fake: &Arc<Fake>) -> DriveErase {
    let order = EraseOrder {
        drives: vec![wanted(drive.serial.as_deref().expect("a serial"))],
        canaries: 8,
    };
    let open = |_: &Drive| Ok(Box::new(Shared(fake.clone())) as Box<dyn Device>);
    let drives = std::slice::from_ref(drive);
    let (mut erased, unordered) =
        erase(&order, drives, &open, &Allow::always()).expect("not stopped");
    assert!(unordered.is_empty());
    erased.remove(0)
}

#[test]
fn a_crypto_format_that_lies_is_found_out() {
    let can = EraseCapabilities {
        format_crypto: true,
        format_user: true,
        ..EraseCapabilities::default()
    };
    let mut fake = Fake::new(SIZE, 0xaa);
    fake.behaviour
        .insert(EraseMethod::FormatCrypto, Behaviour::Liar);
    let fake = Arc::new(fake);
    let report = run(&drive("S", can), &fake);
    assert_eq!(report.method, Some(EraseMethod::FormatUser));
    assert_eq!(report.tried.len(), 1);
    assert_eq!(report.tried[0].method, EraseMethod::FormatCrypto);
    assert!(report.tried[0].reason.contains("8 of 8 canaries"));
    assert_eq!(report.failure, None);
}

#[test]
fn what_capability_bits_do_not_offer_is_never_tried() {
    let fake = Arc::new(Fake::new(SIZE, 0xaa));
    let report = run(&drive("S", EraseCapabilities::default()), &fake);
    assert_eq!(report.method, Some(EraseMethod::Overwrite));
    assert!(report.tried.is_empty());
    assert!(fake.commands.lock().expect("the lock").is_empty());
}

#[test]
fn what_blocks_do_not_reach_is_not_erased_by_writing_them() {
    let hides = || {
        let mut fake = Fake::new(SIZE, 0xaa);
        fake.hidden = Some("namespaces [2] are not attached".into());
        fake
    };
    let can = EraseCapabilities {
        write_zeroes: true,
        ..EraseCapabilities::default()
    };
    let fake = Arc::new(hides());
    let report = run(&drive("S", can.clone()), &fake);
    assert_eq!((report.method, report.bytes), (None, 0));
    assert_eq!(report.tried.len(), 2, "writing zeroes, and overwriting");
    assert!(
        report
            .failure
            .expect("not erased")
            .contains("namespaces [2]")
    );
    // A method of the whole drive's reaches it.
    let can = EraseCapabilities {
        sanitize_block: true,
        ..can
    };
    let mut fake = hides();
    fake.behaviour
        .insert(EraseMethod::SanitizeBlock, Behaviour::Honest);
    let report = run(&drive("S", can), &Arc::new(fake));
    assert_eq!(report.method, Some(EraseMethod::SanitizeBlock));
    assert_eq!(report.failure, None);
}

#[test]
fn a_drive_that_cannot_be_erased_says_so() {
    let mut fake = Fake::new(SIZE, 0xaa);
    fake.drops_zero_writes = true;
    let fake = Arc::new(fake);
    let report = run(&drive("S", EraseCapabilities::default()), &fake);
    assert_eq!(report.method, None);
    assert_eq!(report.bytes, 0);
    assert!(report.failure.is_some());
}

#[test]
fn a_locked_drive_is_not_touched() {
    let can = EraseCapabilities {
        locked: true,
        ..EraseCapabilities::default()
    };
    let fake = Arc::new(Fake::new(SIZE, 0xaa));
    let report = run(&drive("S", can), &fake);
    assert!(report.failure.is_some_and(|f| f.contains("locked")));
    assert!(
        fake.bytes
            .lock()
            .expect("the lock")
            .iter()
            .all(|b| *b == 0xaa)
    );
}

#[test]
fn a_missing_drive_is_a_failure_and_one_not_ordered_is_left_alone() {
    let order = EraseOrder {
        drives: vec![wanted("GONE")],
        canaries: 4,
    };
    let mut usb = drive("USB", EraseCapabilities::default());
    usb.removable = true;
    let drives = [drive("OTHER", EraseCapabilities::default()), usb];
    let open = |d: &Drive| -> Result<Box<dyn Device>, DriveError> { panic!("opened {d:?}") };
    let (erased, unordered) = erase(&order, &drives, &open, &Allow::always()).expect("not stopped");
    assert!(erased[0].failure.is_some());
    assert_eq!(unordered, [wanted("OTHER")]);
}

#[test]
fn a_stop_ends_the_overwriting() {
    let fake = Arc::new(Fake::new(SIZE, 0xaa));
    let order = EraseOrder {
        drives: vec![wanted("S")],
        canaries: 1,
    };
    let open = |_: &Drive| Ok(Box::new(Shared(fake.clone())) as Box<dyn Device>);
    let drives = [drive("S", EraseCapabilities::default())];
    // One yes at the start, one for the canaries, one for the method; none for a write.
    let stopped = erase(&order, &drives, &open, &Allow::times(3));
    assert_eq!(stopped.err(), Some(Stopped));
    let bytes = fake.bytes.lock().expect("the lock");
    assert!(bytes[4096..].iter().all(|b| *b == 0xaa));
}

#[test]
fn verify_counts_canaries_and_samples() {
    let fake = Arc::new(Fake::new(SIZE, 0));
    let canaries = canary::plant(fake.as_ref(), 3).expect("planted");
    let mut erased = failed(&wanted("S"), SIZE as u64, String::new());
    erased.canaries = canaries;
    let open = |_: &Drive| Ok(Box::new(Shared(fake.clone())) as Box<dyn Device>);
    let drives = [drive("S", EraseCapabilities::default())];
    let order = VerifyOrder {
        erased: vec![erased],
        samples: 64,
        clear_tpm: false,
    };
    let seen = verify(&order, &drives, &open, &|_| {}).remove(0);
    assert_eq!((seen.canaries_read, seen.canaries_found), (3, 3));
    assert_eq!((seen.samples_read, seen.samples_with_data), (64, 3));
    fake.bytes.lock().expect("the lock").fill(0xff);
    let seen = verify(&order, &drives, &open, &|_| {}).remove(0);
    assert_eq!((seen.canaries_found, seen.samples_with_data), (0, 0));
    assert_eq!(seen.failure, None);
    fake.fail_reads.store(true, Ordering::Relaxed);
    let seen = verify(&order, &drives, &open, &|_| {}).remove(0);
    assert!(seen.failure.is_some());
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        Just(Behaviour::Honest),
        Just(Behaviour::Liar),
        Just(Behaviour::Half),
        Just(Behaviour::Refuses),
    ]
}

proptest! {
    /// Whatever a drive offers and however it lies, the method reported is the
    /// strongest honest one, all stronger ones are on record, and nothing is left.
    #[test]
    fn the_strongest_honest_method_is_reported(
        bits in proptest::array::uniform6(any::<bool>()),
        behaviours in proptest::array::uniform6(behaviour()),
    ) {
        let [sanitize_crypto, sanitize_block, format_crypto, sanitize_overwrite, format_user, write_zeroes] = bits;
        let can = EraseCapabilities {
            sanitize_crypto, sanitize_block, format_crypto, sanitize_overwrite, format_user, write_zeroes,
            discard: true,
            ..EraseCapabilities::default()
        };
        let order = [
            EraseMethod::SanitizeCrypto, EraseMethod::SanitizeBlock, EraseMethod::FormatCrypto,
            EraseMethod::SanitizeOverwrite, EraseMethod::FormatUser, EraseMethod::WriteZeroes,
        ];
        let mut fake = Fake::new(SIZE, 0xaa);
        fake.behaviour = order.into_iter().zip(behaviours).collect::<HashMap<_, _>>();
        let fake = Arc::new(fake);
        let expected = order.iter().zip(bits).zip(behaviours)
            .find(|((_, offered), b)| *offered && *b == Behaviour::Honest)
            .map_or(EraseMethod::Overwrite, |((m, _), _)| *m);
        let report = run(&drive("S", can.clone()), &fake);
        prop_assert_eq!(report.method, Some(expected));
        let stronger: Vec<_> = methods(&can).into_iter().take_while(|m| *m != expected).collect();
        let tried: Vec<_> = report.tried.iter().map(|t| t.method).collect();
        prop_assert_eq!(tried, stronger);
        prop_assert!(fake.bytes.lock().expect("the lock").iter().all(|b| *b == 0));
        prop_assert_eq!(fake.discarded.load(Ordering::Relaxed), 0);
        prop_assert_eq!(report.canaries.len(), 8);
    }
}
