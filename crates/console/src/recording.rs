//! One machine's recording on the disk: appended to, repaired, closed segment by
//! segment, pruned.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    error::{RecordingError, at},
    frame::{self, Content, Decoded, MOST},
    overlap,
    segment::{self, Segment},
};

/// Bytes after which a segment is closed.
const SEGMENT: u64 = 1 << 20;
/// Time after which a segment is closed, so that what is old can go.
const SEGMENT_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Bytes of the end that are kept at hand, to know a replay by.
const TAIL: usize = 4096;
/// How hard segments are compressed: text shrinks to a tenth, in a few milliseconds.
const LEVEL: i32 = 6;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For how long.
    pub keep: SignedDuration,
    /// Bytes on the disk for one machine, at most, to the size of a segment.
    pub bytes: u64,
}

/// What pruning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Segments.
    pub segments: usize,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// The segment that is written to.
struct Open {
    file: File,
    path: PathBuf,
    base: u64,
    /// Bytes of whole records in the file.
    length: u64,
    first: Option<Timestamp>,
    dirty: bool,
}

/// What is at a place.
pub(crate) enum At {
    /// This closed segment.
    Closed(Segment, PathBuf),
    /// The open segment: its beginning, its file, and the bytes that are whole.
    Open(u64, PathBuf, u64),
    /// Nothing yet.
    Nothing,
}

pub(crate) struct Recording {
    dir: PathBuf,
    /// Oldest first.
    closed: Vec<Segment>,
    open: Option<Open>,
    /// The next place.
    head: u64,
    last: Option<Timestamp>,
    tail: Vec<u8>,
}

impl Recording {
    /// Opens the recording in `dir`, which is made where it is missing, and
    /// repairs what a killed process left.
    pub fn open(dir: &Path) -> Result<Self, RecordingError> {
        make_directory(dir)?;
        let mut closed = Vec::new();
        let mut opened = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(at("listing", dir))? {
            let entry = entry.map_err(at("listing", dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let size = entry.metadata().map(|m| m.len()).unwrap_or(0);
            if let Some(found) = Segment::of(&name, size) {
                closed.push(found);
            } else if let Some(base) = segment::open_base(&name) {
                opened.push(base);
            } else if name.ends_with(".new") {
                let path = entry.path();
                std::fs::remove_file(&path).map_err(at("removing", &path))?;
            }
        }
        closed.sort_by_key(|s| s.base);
        let mut recording = Self {
            dir: dir.to_owned(),
            head: closed.last().map_or(0, |s| s.end),
            last: closed.last().map(|s| s.last),
            closed,
            open: None,
            tail: Vec::new(),
        };
        opened.sort_unstable();
        for base in opened {
            let path = segment::open_path(dir, base);
            if recording.closed.iter().any(|s| s.base == base) {
                // It was closed, and the process killed before it was removed.
                std::fs::remove_file(&path).map_err(at("removing", &path))?;
                continue;
            }
            // Only the last one can be open: one before it is closed now.
            recording.close()?;
            recording.repair(path, base)?;
        }
        recording.read_tail();
        Ok(recording)
    }

    /// Takes an open segment up again: what is torn at its end is cut off.
    fn repair(&mut self, path: PathBuf, base: u64) -> Result<(), RecordingError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(at("opening", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(at("reading", &path))?;
        let (mut good, mut head, mut first) = (0, base, None);
        while let Decoded::Whole(record, length) = frame::decode(&bytes[good..], head) {
            good += length;
            head = record.end();
            first = first.or(Some(record.at));
            self.last = self.last.max(Some(record.at));
        }
        if good < bytes.len() {
            tracing::warn!(path = %path.display(), bytes = bytes.len() - good, "cut a torn end off");
            file.set_len(good as u64).map_err(at("cutting", &path))?;
        }
        file.seek(SeekFrom::End(0)).map_err(at("reading", &path))?;
        self.head = head;
        self.open = Some(Open {
            file,
            path,
            base,
            length: good as u64,
            first,
            dirty: true,
        });
        Ok(())
    }

    /// Fills the tail from what is on the disk.
    fn read_tail(&mut self) {
        let mut at = self.head.saturating_sub(TAIL as u64);
        at = at.max(self.first_offset());
        let mut reader = crate::reader::Cursor::at(at);
        let mut tail = Vec::new();
        while let Ok(Some(record)) = reader.read(|offset| self.at(offset)) {
            if let Content::Bytes(bytes) = &record.content {
                tail.extend_from_slice(bytes);
            }
        }
        self.tail = tail;
    }

    /// Appends a record. Times never run backwards: a clock that was set back
    /// waits until it has caught up.
    pub fn append(
        &mut self,
        now: Timestamp,
        from: Timestamp,
        content: &Content,
    ) -> Result<(), RecordingError> {
        let now = self.last.map_or(now, |last| now.max(last));
        let from = from.min(now);
        if let Some(open) = &self.open
            && (open.length >= SEGMENT
                || open
                    .first
                    .is_some_and(|first| now.duration_since(first) >= SEGMENT_AGE))
        {
            self.close()?;
        }
        let bytes = frame::encode(now, from, content);
        let head = self.head;
        let open = self.opened()?;
        if let Err(error) = open.file.write_all(&bytes) {
            // Half a record must not stand before the next one.
            let _ = open.file.set_len(open.length);
            let _ = open.file.seek(SeekFrom::End(0));
            return Err(at("writing", &open.path)(error));
        }
        open.length += bytes.len() as u64;
        open.first = open.first.or(Some(now));
        open.dirty = true;
        self.head = head + content.places();
        self.last = Some(now);
        if let Content::Bytes(bytes) = content {
            self.tail.extend_from_slice(bytes);
            let over = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..over);
        }
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut Open, RecordingError> {
        if self.open.is_none() {
            let path = segment::open_path(&self.dir, self.head);
            let file = create(&path).map_err(at("making", &path))?;
            self.open = Some(Open {
                file,
                path,
                base: self.head,
                length: 0,
                first: None,
                dirty: true,
            });
        }
        self.open.as_mut().ok_or_else(|| {
            at("opening", &self.dir)(std::io::Error::other("there is no open segment"))
        })
    }

    /// Appends output, in records of a bearable size.
    pub fn output(
        &mut self,
        now: Timestamp,
        from: Timestamp,
        bytes: &[u8],
    ) -> Result<(), RecordingError> {
        for part in bytes.chunks(MOST) {
            self.append(now, from, &Content::Bytes(part.to_vec()))?;
        }
        Ok(())
    }

    /// Appends what a BMC sent when it was connected to: what is not recorded yet
    /// is of after `gap` if what stands before it is known, and of any time else.
    pub fn replayed(
        &mut self,
        now: Timestamp,
        gap: Timestamp,
        bytes: &[u8],
    ) -> Result<(), RecordingError> {
        let (new, from) = match overlap::known(&self.tail, bytes) {
            Some(known) => (&bytes[known..], gap),
            None => (bytes, Timestamp::UNIX_EPOCH),
        };
        self.output(now, from, new)
    }

    /// Compresses the open segment, if there is one.
    fn close(&mut self) -> Result<(), RecordingError> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let (Some(first), Some(last)) = (open.first, self.last) else {
            return std::fs::remove_file(&open.path).map_err(at("removing", &open.path));
        };
        let mut segment = Segment {
            base: open.base,
            end: self.head,
            first,
            last,
            size: 0,
        };
        match compress(&mut open, &segment.path(&self.dir)) {
            Ok(size) => segment.size = size,
            Err(error) => {
                // Nothing is lost: it stays open, and is closed another time.
                let _ = open.file.seek(SeekFrom::End(0));
                self.open = Some(open);
                return Err(error);
            }
        }
        self.closed.push(segment);
        std::fs::remove_file(&open.path).map_err(at("removing", &open.path))?;
        sync_directory(&self.dir)
    }

    /// Brings what was written to the disk.
    pub fn sync(&mut self) -> Result<(), RecordingError> {
        match &mut self.open {
            Some(open) if open.dirty => {
                open.file.sync_data().map_err(at("syncing", &open.path))?;
                open.dirty = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Removes what is older than it is kept, and the oldest where there is too
    /// much; a mark says so.
    pub fn prune(&mut self, now: Timestamp, limits: Limits) -> Result<Pruned, RecordingError> {
        if let Some(open) = &self.open
            && open
                .first
                .is_some_and(|first| now.duration_since(first) >= SEGMENT_AGE)
        {
            self.close()?;
        }
        let mut pruned = Pruned::default();
        let mut mark = None;
        while let Some(oldest) = self.closed.first().copied() {
            let old = now.duration_since(oldest.last) > limits.keep;
            if !old && self.size() <= limits.bytes {
                break;
            }
            let path = oldest.path(&self.dir);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(at("removing", &path)(error));
                }
                _ => {}
            }
            self.closed.remove(0);
            pruned.segments += 1;
            pruned.bytes += oldest.size;
            let why = if old {
                format!("it is kept for {} days", limits.keep.as_hours() / 24)
            } else {
                format!("at most {} bytes are kept for a machine", limits.bytes)
            };
            mark = Some((oldest.last, why));
        }
        if let Some((last, why)) = mark {
            self.append(now, last, &Content::Removed(why))?;
        }
        Ok(pruned)
    }

    /// Bytes on the disk.
    pub fn size(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|s| s.size).sum();
        closed + self.open.as_ref().map_or(0, |open| open.length)
    }

    /// The next place.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The first place that is still there.
    pub fn first_offset(&self) -> u64 {
        let open = self.open.as_ref().map_or(self.head, |open| open.base);
        self.closed.first().map_or(open, |s| s.base)
    }

    /// When the last record was made.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Where what was recorded at `since` or later begins, or something before it.
    pub fn since(&self, since: Timestamp) -> u64 {
        let found = self.closed.iter().find(|s| s.last >= since);
        let open = self.open.as_ref().map_or(self.head, |open| open.base);
        found.map_or(open, |s| s.base)
    }

    /// What is at a place; what was removed is answered with what comes after.
    pub fn at(&self, offset: u64) -> At {
        let next = self.closed.partition_point(|s| s.end <= offset);
        if let Some(segment) = self.closed.get(next) {
            return At::Closed(*segment, segment.path(&self.dir));
        }
        match &self.open {
            Some(open) => At::Open(open.base, open.path.clone(), open.length),
            None => At::Nothing,
        }
    }
}

fn compress(open: &mut Open, to: &Path) -> Result<u64, RecordingError> {
    let fresh = to.with_extension("new");
    let file = create(&fresh).map_err(at("making", &fresh))?;
    open.file
        .seek(SeekFrom::Start(0))
        .map_err(at("reading", &open.path))?;
    let write = || -> std::io::Result<u64> {
        let mut writer = zstd::Encoder::new(file, LEVEL)?;
        std::io::copy(&mut (&open.file).take(open.length), &mut writer)?;
        let file = writer.finish()?;
        file.sync_all()?;
        file.metadata().map(|m| m.len())
    };
    let size = write().map_err(at("compressing to", &fresh))?;
    std::fs::rename(&fresh, to).map_err(at("renaming", &fresh))?;
    if let Some(dir) = to.parent() {
        sync_directory(dir)?;
    }
    Ok(size)
}

/// A file that its owner alone can read: it may hold what people typed.
fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn make_directory(dir: &Path) -> Result<(), RecordingError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(at("making", dir))
}

fn sync_directory(dir: &Path) -> Result<(), RecordingError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(at("syncing", dir))
}
