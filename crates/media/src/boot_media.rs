//! Boot media: the virtual CD that a BMC shows its machine for one boot.
//!
//! An ISO 9660 image with an El Torito entry for UEFI. The entry is a FAT file
//! system with the ramdisk as `EFI/BOOT/BOOTX64.EFI` and, in the directory where
//! systemd's stub looks for credentials, the machine's own [`BootRecord`]. The
//! stub hands it to the ramdisk, so that the agent needs no driver to read it.
//! The record stands a second time in the image's last bytes
//! ([`boot::TAIL_BYTES`]), where a phantom machine finds it by a range request.
//!
//! A [`BootMediaTemplate`] is made once for a ramdisk, and takes its size on disk
//! once; a [`BootMedium`] is that template and a few kilobytes that lie over it,
//! so a medium for each of ten thousand machines costs nothing to make. A medium
//! holds a secret: the record's token.

mod fat;
mod iso;

pub(crate) use self::{
    fat::Volume,
    iso::{TAIL, frame as iso_frame},
};

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use billet_protocol::boot::{self, BootRecord};

/// Why there is no boot medium.
#[derive(Debug, thiserror::Error)]
pub enum BootMediaError {
    /// A file could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The FAT file system could not be made.
    #[error("making the boot medium's FAT file system: {0}")]
    Fat(io::Error),
    /// The ISO image could not be made.
    #[error("making the boot medium's ISO image: {0}")]
    Iso(String),
    /// What is put beside an installer is larger than a medium has room for.
    #[error("{what} has {size} bytes, a boot medium has room for {room}")]
    NoRoom {
        /// What.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// How many bytes there is room for.
        room: usize,
    },
    /// The unified kernel image could not be put together.
    #[error(transparent)]
    Uki(#[from] crate::ramdisk::UkiError),
    /// The record is larger than a medium has room for.
    #[error(
        "the boot record has {size} bytes, a boot medium has room for {}",
        boot::MAX_BYTES
    )]
    RecordTooLarge {
        /// Its size in bytes.
        size: usize,
    },
}

/// The part of a boot medium that is the same for every machine.
///
/// Backed by a file that stays open; clones share it.
#[derive(Clone, Debug)]
pub struct BootMediaTemplate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Arc<File>,
    len: u64,
    slot: Slot,
}

/// Where a record goes, in bytes from the image's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// The credential's content.
    content: u64,
    /// The four bytes in its directory entry that are its length.
    size: u64,
    /// The copy at the image's end.
    tail: u64,
}

impl BootMediaTemplate {
    /// Makes the template for the ramdisk at `uki` and keeps it in a file at
    /// `path`, replacing what is there. Takes about twice the ramdisk's size of
    /// memory while it works.
    pub fn create(uki: &Path, path: &Path) -> Result<Self, BootMediaError> {
        let uki_bytes = fs::read(uki).map_err(|e| io_error("reading", uki, e))?;
        let fat = fat::build(&uki_bytes).map_err(BootMediaError::Fat)?;
        drop(uki_bytes);
        let iso = iso::build(&fat.image)?;
        let slot = Slot {
            content: iso.fat_offset + fat.content,
            size: iso.fat_offset + fat.size,
            tail: iso.tail_offset,
        };
        let partial = path.with_extension("partial");
        File::create(&partial)
            .and_then(|mut file| file.write_all(&iso.image))
            .map_err(|e| io_error("writing", &partial, e))?;
        fs::rename(&partial, path).map_err(|e| io_error("moving into place", path, e))?;
        let file = File::open(path).map_err(|e| io_error("opening", path, e))?;
        Ok(Self {
            inner: Arc::new(Inner {
                file: Arc::new(file),
                len: iso.image.len() as u64,
                slot,
            }),
        })
    }

    /// The medium for one boot of one machine.
    pub fn for_record(&self, record: &BootRecord) -> Result<BootMedium, BootMediaError> {
        let json = record.to_json();
        let size = json.len();
        let length = u32::try_from(size).map_err(|_| BootMediaError::RecordTooLarge { size })?;
        if size > boot::MAX_BYTES {
            return Err(BootMediaError::RecordTooLarge { size });
        }
        let slot = self.inner.slot;
        let mut content = json;
        content.resize(boot::MAX_BYTES, 0);
        Ok(BootMedium {
            file: Arc::clone(&self.inner.file),
            len: self.inner.len,
            overlays: vec![
                (slot.size, length.to_le_bytes().to_vec()),
                (slot.content, content),
                (slot.tail, record.to_tail()),
            ],
        })
    }
}

/// A boot medium: a read-only image of [`BootMedium::len`] bytes.
#[derive(Clone)]
pub struct BootMedium {
    file: Arc<File>,
    len: u64,
    /// What lies over the file, and where.
    overlays: Vec<(u64, Vec<u8>)>,
}

impl fmt::Debug for BootMedium {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The overlays hold the boot's token.
        formatter
            .debug_struct("BootMedium")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[allow(clippy::len_without_is_empty)] // A medium is never empty.
impl BootMedium {
    /// A file with something laid over it.
    pub(crate) fn new(file: Arc<File>, len: u64, overlays: Vec<(u64, Vec<u8>)>) -> Self {
        Self {
            file,
            len,
            overlays,
        }
    }

    /// SHA-256 of all its bytes, in hexadecimal.
    pub fn sha256(&self) -> io::Result<String> {
        let mut hasher = crate::digest::Hashing::default();
        self.write_to(&mut hasher)?;
        Ok(hasher.finish())
    }

    /// The image's size in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads from byte `offset` on into `buffer`; returns how many bytes it got:
    /// all of `buffer`, or less where the image ends.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let buffer = &mut buffer[..count];
        self.file.read_exact_at(buffer, offset)?;
        for (start, bytes) in &self.overlays {
            lay_over(buffer, offset, bytes, *start);
        }
        Ok(count)
    }

    /// Writes the whole image, for a medium that is to be a file.
    pub fn write_to(&self, writer: &mut impl io::Write) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        let mut offset = 0;
        loop {
            match self.read_at(offset, &mut buffer)? {
                0 => return Ok(()),
                read => {
                    writer.write_all(&buffer[..read])?;
                    offset += read as u64;
                }
            }
        }
    }
}

/// Copies the part of `bytes`, which begin at `start`, that lies within `buffer`,
/// which begins at `offset`.
fn lay_over(buffer: &mut [u8], offset: u64, bytes: &[u8], start: u64) {
    let from = offset.max(start);
    let to = (offset + buffer.len() as u64).min(start + bytes.len() as u64);
    if from < to {
        let target = (from - offset) as usize..(to - offset) as usize;
        let source = (from - start) as usize..(to - start) as usize;
        buffer[target].copy_from_slice(&bytes[source]);
    }
}

pub(crate) fn io_error(operation: &'static str, path: &Path, source: io::Error) -> BootMediaError {
    BootMediaError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::lay_over;

    #[test]
    fn an_overlay_shows_in_every_window_that_meets_it() {
        let whole: Vec<u8> = (0..20)
            .map(|at| if (7..12).contains(&at) { b'x' } else { b'.' })
            .collect();
        for start in 0..20 {
            for end in start..20 {
                let mut window = vec![b'.'; end - start];
                lay_over(&mut window, start as u64, b"xxxxx", 7);
                assert_eq!(window, whole[start..end], "{start}..{end}");
            }
        }
    }
}
