//! A drive in memory that does what a test tells it: also lie.

use std::{
    collections::HashMap,
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use billet_model::work::{EraseMethod, Progress};

use crate::{
    device::Device,
    watch::{Stopped, Watch},
};

/// What a fake does when told to erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Erases.
    Honest,
    /// Says that it did.
    Liar,
    /// Erases the first half and says that it did all.
    Half,
    /// Says no.
    Refuses,
}

/// A drive in memory.
pub(crate) struct Fake {
    pub bytes: Mutex<Vec<u8>>,
    pub behaviour: HashMap<EraseMethod, Behaviour>,
    /// What a discarded byte reads as.
    pub discard_fill: u8,
    pub discards: bool,
    /// Writes of zeroes by ordinary writes are dropped.
    pub drops_zero_writes: bool,
    pub commands: Mutex<Vec<EraseMethod>>,
    pub discarded: AtomicUsize,
    pub fail_reads: AtomicBool,
    /// What its blocks do not reach.
    pub hidden: Option<String>,
}

impl Fake {
    pub fn new(size: usize, fill: u8) -> Self {
        Self {
            bytes: Mutex::new(vec![fill; size]),
            behaviour: HashMap::new(),
            discard_fill: 0,
            discards: true,
            drops_zero_writes: false,
            commands: Mutex::default(),
            discarded: AtomicUsize::new(0),
            fail_reads: AtomicBool::new(false),
            hidden: None,
        }
    }

    fn act(&self, method: EraseMethod, range: std::ops::Range<usize>) -> io::Result<()> {
        let mut bytes = self.bytes.lock().expect("the lock");
        let half = bytes.len() / 2;
        match self.behaviour.get(&method).unwrap_or(&Behaviour::Honest) {
            Behaviour::Honest => bytes[range].fill(0),
            Behaviour::Liar => {}
            Behaviour::Half => {
                if range.start < half {
                    bytes[range.start..range.end.min(half)].fill(0);
                }
            }
            Behaviour::Refuses => return Err(io::Error::other("NVMe status 0x2001")),
        }
        Ok(())
    }
}

impl Device for Fake {
    fn size(&self) -> u64 {
        self.bytes.lock().expect("the lock").len() as u64
    }

    fn block_bytes(&self) -> u32 {
        512
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if self.fail_reads.load(Ordering::Relaxed) {
            return Err(io::Error::other("a read error"));
        }
        let bytes = self.bytes.lock().expect("the lock");
        let at = offset as usize;
        let from = bytes
            .get(at..at + into.len())
            .ok_or_else(|| io::Error::other("beyond the end"))?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        if self.drops_zero_writes && from.iter().all(|b| *b == 0) {
            return Ok(());
        }
        let mut bytes = self.bytes.lock().expect("the lock");
        let at = offset as usize;
        let into = bytes
            .get_mut(at..at + from.len())
            .ok_or_else(|| io::Error::other("beyond the end"))?;
        into.copy_from_slice(from);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        if !self.discards {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.discarded.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.bytes.lock().expect("the lock");
        bytes[offset as usize..(offset + length) as usize].fill(self.discard_fill);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.act(
            EraseMethod::WriteZeroes,
            offset as usize..(offset + length) as usize,
        )
    }

    fn hidden(&self) -> Option<String> {
        self.hidden.clone()
    }

    fn command(&self, method: EraseMethod, progress: &dyn Fn(u16)) -> Result<(), String> {
        self.commands.lock().expect("the lock").push(method);
        progress(1000);
        let all = 0..self.size() as usize;
        self.act(method, all).map_err(|e| e.to_string())
    }
}

/// A watch that says yes a number of times.
pub(crate) struct Allow {
    pub left: AtomicUsize,
}

impl Allow {
    pub fn always() -> Self {
        Self::times(usize::MAX)
    }

    pub fn times(n: usize) -> Self {
        Self {
            left: AtomicUsize::new(n),
        }
    }
}

impl Watch for Allow {
    fn progress(&self, progress: Progress) {
        assert!(progress.done <= progress.total, "{progress:?}");
    }

    fn may_write(&self) -> Result<(), Stopped> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .map(|_| ())
            .map_err(|_| Stopped)
    }
}
