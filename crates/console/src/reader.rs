//! Reading a recording from any place on, while it is written.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use jiff::Timestamp;

use crate::{
    error::{RecordingError, at},
    frame::{self, Content, Decoded, Record},
    recorder::Recorder,
    recording::At,
};

/// The largest segment that is unfolded: one is closed at a MiB.
const MOST: u64 = 16 << 20;
/// Bytes of an open segment that are read at once.
const PIECE: u64 = 256 * 1024;

/// Reads a recording, record by record. It holds one segment at most.
pub struct Reader {
    recorder: Recorder,
    cursor: Cursor,
}

impl Reader {
    /// A reader that begins at a place; at what comes after it, where it was removed.
    pub fn at(recorder: &Recorder, offset: u64) -> Self {
        Self {
            recorder: recorder.clone(),
            cursor: Cursor::at(offset),
        }
    }

    /// The next place.
    pub fn offset(&self) -> u64 {
        self.cursor.offset
    }

    /// The next record; none where there is none yet. Reads files: not for a
    /// thread that must not wait.
    ///
    /// # Errors
    /// When a file cannot be opened. One that can, and holds nonsense, is a gap.
    pub fn read(&mut self) -> Result<Option<Record>, RecordingError> {
        let recorder = &self.recorder;
        self.cursor.read(|offset| recorder.locate(offset))
    }
}

/// A place in a recording, and what was read around it.
pub(crate) struct Cursor {
    /// What is wanted next.
    offset: u64,
    /// The segment that is read.
    segment: Option<Reading>,
}

struct Reading {
    base: u64,
    /// The place of what stands at the beginning of `bytes`.
    place: u64,
    bytes: Vec<u8>,
    used: usize,
    /// More of it, where it was open: its file, and how much was read.
    file: Option<(File, PathBuf, u64)>,
    last: Timestamp,
}

impl Cursor {
    pub fn at(offset: u64) -> Self {
        Self {
            offset,
            segment: None,
        }
    }

    pub fn read(&mut self, locate: impl Fn(u64) -> At) -> Result<Option<Record>, RecordingError> {
        loop {
            let Some(reading) = &mut self.segment else {
                match self.load(locate(self.offset))? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            match frame::decode(&reading.bytes[reading.used..], reading.place) {
                Decoded::Whole(mut record, length) => {
                    reading.used += length;
                    reading.place = record.end();
                    reading.last = record.at;
                    if record.content == Content::Alive || record.end() <= self.offset {
                        continue;
                    }
                    if let Content::Bytes(bytes) = &mut record.content
                        && let Some(skip) = self.offset.checked_sub(record.offset)
                    {
                        bytes.drain(..usize::try_from(skip).unwrap_or(0));
                        record.offset = self.offset;
                    }
                    self.offset = record.end();
                    return Ok(Some(record));
                }
                Decoded::Short => {
                    // First where the segment ends, then what is in it: it may
                    // grow, and be closed, in between.
                    let now = locate(self.offset);
                    if reading.more(&now)? {
                        continue;
                    }
                    match now {
                        At::Open(base, _, _) if base == reading.base => return Ok(None),
                        At::Nothing => return Ok(None),
                        At::Closed(closed, _) if closed.base == reading.base => {
                            // It ends before its name says: the rest is lost.
                            let (from, at) = (reading.last, closed.last);
                            return Ok(Some(self.lost(closed.end, from, at)));
                        }
                        _ => self.segment = None,
                    }
                }
                Decoded::Broken => match locate(self.offset) {
                    At::Closed(closed, _) if closed.base == reading.base => {
                        let (from, at) = (reading.last, closed.last);
                        return Ok(Some(self.lost(closed.end, from, at)));
                    }
                    At::Open(base, _, _) if base == reading.base => return Ok(None),
                    _ => self.segment = None,
                },
            }
        }
    }

    /// The rest of a segment that cannot be read, as what it is to a reader.
    fn lost(&mut self, end: u64, from: Timestamp, at: Timestamp) -> Record {
        let offset = self.offset;
        self.offset = end;
        self.segment = None;
        Record {
            offset,
            at,
            from,
            content: Content::Gap("a part of the recording is damaged".into()),
        }
    }

    /// Begins with another segment; whether there is one.
    fn load(&mut self, found: At) -> Result<bool, RecordingError> {
        let (base, last) = match &found {
            At::Closed(segment, _) => (segment.base, segment.first),
            At::Open(base, _, _) => (*base, Timestamp::UNIX_EPOCH),
            At::Nothing => return Ok(false),
        };
        self.offset = self.offset.max(base);
        let mut reading = Reading {
            base,
            place: base,
            bytes: Vec::new(),
            used: 0,
            file: None,
            last,
        };
        match found {
            At::Closed(_, path) => {
                let file = match File::open(&path) {
                    Ok(file) => file,
                    // It was pruned meanwhile.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return Ok(true);
                    }
                    Err(error) => return Err(at("opening", &path)(error)),
                };
                // What does not unfold is found to end early.
                if let Ok(decoder) = zstd::Decoder::new(file) {
                    let _ = decoder.take(MOST).read_to_end(&mut reading.bytes);
                }
            }
            At::Open(_, path, _) => match File::open(&path) {
                Ok(file) => reading.file = Some((file, path, 0)),
                // It was closed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
                Err(error) => return Err(at("opening", &path)(error)),
            },
            At::Nothing => return Ok(false),
        }
        self.segment = Some(reading);
        Ok(true)
    }
}

impl Reading {
    /// Reads more of a segment that was open when it was begun; whether there was any.
    fn more(&mut self, now: &At) -> Result<bool, RecordingError> {
        let Some((file, path, read)) = &mut self.file else {
            return Ok(false);
        };
        let length = match now {
            At::Open(base, _, length) if *base == self.base => *length,
            // It was closed: all that is in the file, which is ours still, is whole.
            _ => file.metadata().map_err(at("reading", path))?.len(),
        };
        let wanted = length.saturating_sub(*read).min(PIECE);
        if wanted == 0 {
            return Ok(false);
        }
        self.bytes.drain(..self.used);
        self.used = 0;
        file.seek(SeekFrom::Start(*read))
            .map_err(at("reading", path))?;
        let got = file.take(wanted).read_to_end(&mut self.bytes);
        *read += got.map_err(at("reading", path))? as u64;
        Ok(true)
    }
}
