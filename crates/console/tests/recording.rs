//! A recording through crashes, compression and pruning.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};

use billet_console::{Content, Limits, Reader, Record, Recorder};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("a time")
}

fn read(recorder: &Recorder, from: u64) -> Vec<Record> {
    let mut reader = Reader::at(recorder, from);
    let mut records = Vec::new();
    while let Some(record) = reader.read().expect("readable") {
        records.push(record);
    }
    records
}

fn bytes(records: &[Record]) -> Vec<u8> {
    let output = records.iter().filter_map(|r| match &r.content {
        Content::Bytes(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    output.collect::<Vec<_>>().concat()
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect();
    files.sort();
    files
}

/// Output that does not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Cut off at any byte, a recording has all that was whole before it, goes on
    /// behind that, and gives no place twice.
    #[test]
    fn a_torn_end_costs_itself_alone(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..12),
        cut in any::<prop::sample::Index>(),
        rubbish in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let recorder = Recorder::open(dir.path()).expect("opens");
        let mut ends = vec![(0_u64, 0_usize)];
        let mut whole = Vec::new();
        let open = || files(dir.path(), "open").remove(0);
        for (number, piece) in pieces.iter().enumerate() {
            recorder.output(second(number as i64), piece).expect("written");
            whole.extend_from_slice(piece);
            ends.push((std::fs::metadata(open()).expect("there").len(), whole.len()));
        }
        drop(recorder);
        let file = open();
        let written = std::fs::read(&file).expect("readable");
        let cut = cut.index(written.len() + 1);
        let mut torn = written[..cut].to_vec();
        torn.extend_from_slice(&rubbish);
        std::fs::write(&file, &torn).expect("torn");
        let (_, kept) = ends.iter().rev().find(|(at, _)| *at as usize <= cut).expect("some");

        let again = Recorder::open(dir.path()).expect("repaired");
        prop_assert_eq!(bytes(&read(&again, 0)), &whole[..*kept]);
        prop_assert_eq!(again.head(), *kept as u64);
        again.gap(second(100), second(50), "killed").expect("written");
        again.output(second(101), b"more").expect("written");
        let records = read(&again, *kept as u64);
        prop_assert!(matches!(&records[0].content, Content::Gap(why) if why == "killed"));
        prop_assert_eq!(&records[1].content, &Content::Bytes(b"more".to_vec()));
        prop_assert_eq!(records[1].offset, *kept as u64 + 1);
    }

    /// From any place on, through closed segments and the open one, exactly what
    /// was written from there on is read.
    #[test]
    fn every_place_is_found(from in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().expect("a directory");
        let recorder = Recorder::open(dir.path()).expect("opens");
        let whole = noise(7, 2_500_000);
        for (number, piece) in whole.chunks(50_000).enumerate() {
            recorder.output(second(number as i64), piece).expect("written");
        }
        prop_assert!(files(dir.path(), "zst").len() == 2);
        let from = from.index(whole.len());
        prop_assert!(bytes(&read(&recorder, from as u64)) == whole[from..]);
        let since = recorder.since(second(40));
        let later = read(&recorder, since);
        prop_assert!(later[0].at <= second(40) && later[0].offset > 0);
        drop(recorder);
        let again = Recorder::open(dir.path()).expect("opens again");
        prop_assert!(bytes(&read(&again, from as u64)) == whole[from..]);
    }
}

/// A reader that is in the middle of the open segment when it is closed under it
/// goes on without a byte lost or read twice.
#[test]
fn a_slow_reader_survives_that_its_segment_is_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path()).expect("opens");
    let whole = noise(3, 3_000_000);
    let mut reader = Reader::at(&recorder, 0);
    let mut seen = Vec::new();
    for (number, piece) in whole.chunks(10_000).enumerate() {
        recorder
            .output(second(number as i64), piece)
            .expect("written");
        if number % 7 == 0 {
            for _ in 0..3 {
                if let Some(record) = reader.read().expect("readable") {
                    seen.push(record);
                }
            }
        }
    }
    while let Some(record) = reader.read().expect("readable") {
        seen.push(record);
    }
    assert!(bytes(&seen) == whole);
    for two in seen.windows(2) {
        assert_eq!(two[0].end(), two[1].offset);
    }
}

/// What a process that was killed while closing a segment leaves is the same
/// recording, at each of its steps.
#[test]
fn killed_while_a_segment_is_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path()).expect("opens");
    let whole = noise(5, 1_100_000);
    recorder
        .output(second(0), &whole[..1_048_200])
        .expect("written");
    let open = files(dir.path(), "open").remove(0);
    let before = std::fs::read(&open).expect("readable");
    recorder
        .output(second(1), &whole[1_048_200..])
        .expect("written");
    drop(recorder);
    let closed = files(dir.path(), "zst").remove(0);
    assert!(!open.exists());

    // Compressed, and not removed yet: once, and not twice.
    std::fs::write(&open, &before).expect("back");
    let again = Recorder::open(dir.path()).expect("opens");
    assert!(bytes(&read(&again, 0)) == whole && !open.exists());
    drop(again);
    // Half compressed.
    for path in files(dir.path(), "open") {
        std::fs::remove_file(path).expect("gone");
    }
    let half = std::fs::read(&closed).expect("readable");
    std::fs::write(closed.with_extension("new"), &half[..half.len() / 2]).expect("half");
    std::fs::remove_file(&closed).expect("gone");
    std::fs::write(&open, &before).expect("back");
    let again = Recorder::open(dir.path()).expect("opens");
    assert!(bytes(&read(&again, 0)) == whole[..1_048_200]);
    assert!(files(dir.path(), "new").is_empty());
}

/// A closed segment that is damaged is a gap, and what comes after it is read.
#[test]
fn a_damaged_segment_is_a_gap() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path()).expect("opens");
    let whole = noise(9, 1_200_000);
    for (number, piece) in whole.chunks(60_000).enumerate() {
        recorder
            .output(second(number as i64), piece)
            .expect("written");
    }
    let closed = files(dir.path(), "zst").remove(0);
    let mut damaged = std::fs::read(&closed).expect("readable");
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0);
    std::fs::write(&closed, damaged).expect("damaged");
    let records = read(&recorder, 0);
    let gaps = records
        .iter()
        .filter(|r| matches!(r.content, Content::Gap(_)));
    assert_eq!(gaps.count(), 1);
    assert!(whole.ends_with(&bytes(&records[records.len() - 2..])[..1000]) || !records.is_empty());
    let last = records.last().expect("some");
    assert_eq!(last.end(), recorder.head());
}

/// What is too old goes, and what is too much, oldest first; a mark says so, and
/// places are not given again.
#[test]
fn what_is_beyond_the_limits_goes_and_is_marked() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path()).expect("opens");
    let day = 24 * 3600;
    for number in 0..40 {
        recorder
            .output(second(number * day), b"a day's output\r\n")
            .expect("written");
    }
    let head = recorder.head();
    let keep = SignedDuration::from_hours(24 * 31);
    let limits = Limits {
        keep,
        bytes: 1 << 30,
    };
    let pruned = recorder.prune(second(40 * day), limits).expect("pruned");
    assert!((8..=9).contains(&pruned.segments), "{pruned:?}");
    let records = read(&recorder, 0);
    assert!(records[0].at >= second(8 * day) && records[0].offset > 0);
    let last = records.last().expect("some");
    assert!(matches!(&last.content, Content::Removed(why) if why.contains("31 days")));
    assert_eq!(last.offset, head);
    assert_eq!(
        recorder
            .prune(second(40 * day), limits)
            .expect("again")
            .segments,
        0
    );

    let limits = Limits {
        keep,
        bytes: recorder.size() / 2,
    };
    assert!(
        recorder
            .prune(second(40 * day), limits)
            .expect("pruned")
            .segments
            > 5
    );
    assert!(recorder.size() <= limits.bytes + 200);
    // With all of it gone, places go on.
    let none = Limits {
        keep: SignedDuration::ZERO,
        bytes: 0,
    };
    recorder.prune(second(200 * day), none).expect("pruned");
    let end = recorder.head();
    drop(recorder);
    let again = Recorder::open(dir.path()).expect("opens");
    assert_eq!(again.head(), end);
    assert!(end > head);
}

/// A BMC that sends what it has kept: what is recorded stands there once, what is
/// new is of after the gap, and what cannot be dated may be of any time.
#[test]
fn a_replay_is_recognised() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path()).expect("opens");
    recorder
        .replayed(second(0), second(0), b"of whom?\r\n")
        .expect("written");
    recorder
        .output(second(1), b"debian login: ")
        .expect("written");
    drop(recorder);
    let recorder = Recorder::open(dir.path()).expect("opens");
    let replay = b"of whom?\r\ndebian login: panic\r\n";
    recorder
        .replayed(second(9), second(2), replay)
        .expect("written");
    recorder
        .replayed(second(19), second(12), b"something else")
        .expect("written");
    let records = read(&recorder, 0);
    let told: Vec<_> = records
        .iter()
        .map(|r| (bytes(std::slice::from_ref(r)), r.from))
        .collect();
    assert_eq!(
        told,
        [
            (b"of whom?\r\n".to_vec(), Timestamp::UNIX_EPOCH),
            (b"debian login: ".to_vec(), second(1)),
            (b"panic\r\n".to_vec(), second(2)),
            (b"something else".to_vec(), Timestamp::UNIX_EPOCH),
        ]
    );
}

/// A clock that is set back does not put records out of order.
#[test]
fn times_do_not_run_backwards() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorder = Recorder::open(dir.path()).expect("opens");
    recorder.output(second(100), b"a").expect("written");
    recorder.output(second(50), b"b").expect("written");
    let times: Vec<_> = read(&recorder, 0).iter().map(|r| r.at).collect();
    assert_eq!(times, [second(100), second(100)]);
}
