//! A drive as everything here sees it: real, of a file, or a liar in tests.

use std::io;

use billet_model::work::EraseMethod;

/// Bytes that can be read and written past every cache of the system.
///
/// Offsets and lengths are multiples of [`crate::aligned::ALIGN`], but for the
/// last bytes of a drive whose size is none.
pub trait Device: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Logical block size in bytes.
    fn block_bytes(&self) -> u32;

    /// Fills `into` with what stands at `offset`.
    ///
    /// # Errors
    /// The drive's or the kernel's.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes `from` at `offset`.
    ///
    /// # Errors
    /// The drive's or the kernel's.
    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()>;

    /// Waits until everything written is on the medium.
    ///
    /// # Errors
    /// The drive's or the kernel's.
    fn flush(&self) -> io::Result<()>;

    /// Says that a range is not needed. What it reads as afterwards is open.
    ///
    /// # Errors
    /// Also where the drive has no such command.
    fn discard(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes a range read as zero, by the drive's write-zeroes command.
    ///
    /// # Errors
    /// Also where the drive has no such command.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Lets the drive erase itself by one of its own methods (sanitize, format),
    /// calling `progress` with a share in parts of 65536. Success says that the
    /// drive said so, no more.
    ///
    /// # Errors
    /// A sentence: the drive's refusal, or that it has no such method.
    fn command(&self, method: EraseMethod, progress: &dyn Fn(u16)) -> Result<(), String>;

    /// What of the drive its blocks do not reach, so that writing all of them does not erase
    /// all of it, in a sentence; `None` where they reach everything.
    fn hidden(&self) -> Option<String> {
        None
    }
}
