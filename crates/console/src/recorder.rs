//! A recording that is shared: one writes, many read.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    error::RecordingError,
    frame::Content,
    recording::{At, Limits, Pruned, Recording},
};

/// A machine's recording. Cheap to clone; clones are the same one.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    recording: Mutex<Recording>,
    head: watch::Sender<u64>,
}

impl Recorder {
    /// Opens the recording in a directory, which is made where it is missing.
    ///
    /// # Errors
    /// When its files cannot be used.
    pub fn open(dir: &Path) -> Result<Self, RecordingError> {
        let recording = Recording::open(dir)?;
        let head = watch::Sender::new(recording.head());
        Ok(Self {
            inner: Arc::new(Inner {
                recording: Mutex::new(recording),
                head,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        let recording = self.inner.recording.lock();
        recording.unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Recording) -> Result<T, RecordingError>,
    ) -> Result<T, RecordingError> {
        let mut recording = self.lock();
        let changed = change(&mut recording);
        let head = recording.head();
        drop(recording);
        self.inner.head.send_if_modified(|known| {
            let grown = *known != head;
            *known = head;
            grown
        });
        changed
    }

    /// The machine wrote this.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn output(&self, now: Timestamp, bytes: &[u8]) -> Result<(), RecordingError> {
        self.change(|recording| recording.output(now, now, bytes))
    }

    /// A BMC sent this when it was connected to, after nothing was seen since `gap`.
    /// What is recorded already is left out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replayed(
        &self,
        now: Timestamp,
        gap: Timestamp,
        bytes: &[u8],
    ) -> Result<(), RecordingError> {
        self.change(|recording| recording.replayed(now, gap, bytes))
    }

    /// Nothing was seen from `from` until now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn gap(&self, now: Timestamp, from: Timestamp, why: &str) -> Result<(), RecordingError> {
        let mut why = why.to_owned();
        why.truncate(why.floor_char_boundary(1024));
        self.change(|recording| recording.append(now, from, &Content::Gap(why)))
    }

    /// Nothing was written so far, and that was seen.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn alive(&self, now: Timestamp) -> Result<(), RecordingError> {
        self.change(|recording| recording.append(now, now, &Content::Alive))
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// When that fails.
    pub fn sync(&self) -> Result<(), RecordingError> {
        self.lock().sync()
    }

    /// Removes what is beyond the limits; a mark says so.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn prune(&self, now: Timestamp, limits: Limits) -> Result<Pruned, RecordingError> {
        self.change(|recording| recording.prune(now, limits))
    }

    /// Bytes on the disk.
    pub fn size(&self) -> u64 {
        self.lock().size()
    }

    /// The first place that is still there.
    pub fn first(&self) -> u64 {
        self.lock().first_offset()
    }

    /// The next place.
    pub fn head(&self) -> u64 {
        *self.inner.head.borrow()
    }

    /// Tells of each new head.
    pub fn heads(&self) -> watch::Receiver<u64> {
        self.inner.head.subscribe()
    }

    /// When the last record was made.
    pub fn last(&self) -> Option<Timestamp> {
        self.lock().last()
    }

    /// A place at or before which nothing was recorded at `since` or later.
    pub fn since(&self, since: Timestamp) -> u64 {
        self.lock().since(since)
    }

    pub(crate) fn locate(&self, offset: u64) -> At {
        self.lock().at(offset)
    }
}
