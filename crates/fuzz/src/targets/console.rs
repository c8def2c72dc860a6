//! A recording's files, as a crash or a bad disk may leave them, and what machines write.
//!
//! A file is a kind, a length of two bytes and so many bytes; what is behind the last one is output
//! of a machine. Kinds: an open segment, a closed one, one that is closed and packed here, and a
//! name with its content after a NUL.

use std::path::Path;

use billet_console::{Content, Lines, Matcher, Reader, Recorder, plain};
use billet_model::console::{ConsoleItem, ConsoleNotice};
use jiff::Timestamp;

use super::{again, cut, directory};

/// More records than there are bytes cannot be.
const MOST: usize = 300_000;

/// Lays the files out; what is left over is output.
fn lay_out<'a>(directory: &Path, mut bytes: &'a [u8]) -> &'a [u8] {
    for place in 0..8_u64 {
        let [kind @ 0..4, low, high, rest @ ..] = bytes else {
            break;
        };
        let length = usize::from(*low) | usize::from(*high) << 8;
        let (content, rest) = rest.split_at(length.min(rest.len()));
        bytes = rest;
        let base = place * 1000;
        let closed = format!("{base:020}-{:020}-0-1000000.zst", base + 1000);
        let (name, content) = match kind {
            0 => (format!("{base:020}.open"), content.to_vec()),
            1 => (closed, content.to_vec()),
            2 => (closed, zstd::encode_all(content, 1).expect("packed")),
            _ => {
                let (name, content) = cut(content, b"\0");
                let Ok(name) = std::str::from_utf8(name) else {
                    continue;
                };
                let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
                if name.len() > 200 || !name.chars().all(plain) || name.starts_with('.') {
                    continue;
                }
                (name.to_owned(), content.to_vec())
            }
        };
        if !name.is_empty() {
            std::fs::write(directory.join(name), content).expect("written");
        }
    }
    bytes
}

fn read(recorder: &Recorder) -> Vec<billet_console::Record> {
    let mut reader = Reader::at(recorder, 0);
    let mut records: Vec<billet_console::Record> = Vec::new();
    while let Ok(Some(record)) = reader.read() {
        let before = records.last().map_or(0, billet_console::Record::end);
        assert!(record.offset >= before, "places run backwards");
        records.push(record);
        assert!(records.len() < MOST, "a recording that never ends");
    }
    records
}

/// Opens a recording, reads it, goes on with it, and reads it again.
pub fn run(bytes: &[u8]) {
    let directory = directory();
    let output = lay_out(directory.path(), bytes);
    let now = Timestamp::from_second(2_000_000_000).expect("a time");
    if let Ok(recorder) = Recorder::open(directory.path()) {
        let before = read(&recorder);
        let head = recorder.head();
        if recorder.output(now, output).is_ok() && !output.is_empty() {
            let _ = recorder.replayed(now, now, output);
            let _ = recorder.gap(now, now, &String::from_utf8_lossy(output));
            let after = read(&recorder);
            assert!(after.len() > before.len(), "what was written is not read");
            let mut seen = Vec::new();
            for record in after.iter().filter(|r| r.end() > head) {
                if let Content::Bytes(bytes) = &record.content {
                    let skip = head.saturating_sub(record.offset) as usize;
                    seen.extend_from_slice(&bytes[skip..]);
                }
            }
            assert!(
                seen.starts_with(output),
                "what is read is not what was written"
            );
            drop(recorder);
            let again = Recorder::open(directory.path()).expect("it opened before");
            assert_eq!(read(&again), after, "read otherwise after a restart");
        }
    }
    lines(output, now);
    again::<ConsoleItem>(output);
    again::<ConsoleNotice>(output);
    let (pattern, text) = cut(output, b"\n");
    if let Ok(pattern) = std::str::from_utf8(pattern) {
        for is_regex in [false, true] {
            if let Ok(matcher) = Matcher::new(pattern, is_regex, true) {
                matcher.matches(&String::from_utf8_lossy(text));
            }
        }
    }
}

/// Lines are the same in however many pieces the output came, and hold nothing that a terminal obeys.
fn lines(output: &[u8], now: Timestamp) {
    let made = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut lines, mut out, mut at) = (Lines::default(), Vec::new(), 0);
        for piece in pieces {
            lines.push(at, now, piece, &mut out);
            at += piece.len() as u64;
        }
        out.extend(lines.flush());
        out
    };
    let whole = made(&mut std::iter::once(output));
    assert_eq!(made(&mut output.chunks(7)), whole);
    let control = |c: char| c.is_ascii_control() && c != '\t';
    assert!(whole.iter().all(|line| !line.text.contains(control)));
    assert!(!plain(output).contains(|c: char| control(c) && c != '\n'));
}
