//! Drives of the machine: block devices opened past the page cache.
//!
//! A [`BlockDevice`] is all namespaces of an NVMe controller one after the
//! other, or the one disk behind anything else. An image is written to the
//! first namespace alone: see [`BlockDevice::open_first`].

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use billet_model::{
    inventory::{Drive, DriveKind},
    work::EraseMethod,
};

use crate::{
    aligned::{ALIGN, Aligned},
    device::Device,
    error::DriveError,
    nvme::{Controller, Namespace},
    sys,
};

/// One block device.
#[derive(Debug)]
struct Part {
    file: File,
    start: u64,
    length: u64,
}

/// A drive of the machine.
#[derive(Debug)]
pub struct BlockDevice {
    parts: Vec<Part>,
    path: PathBuf,
    size: u64,
    block_bytes: u32,
    controller: Option<Controller>,
}

impl BlockDevice {
    /// Opens a drive, all of its namespaces.
    ///
    /// # Errors
    /// When it cannot be opened, or has no active namespace.
    pub fn open(drive: &Drive) -> Result<Self, DriveError> {
        Self::open_all(drive, true)
    }

    /// Opens a drive, all of its namespaces, so that it cannot be written.
    ///
    /// # Errors
    /// When it cannot be opened, or has no active namespace.
    pub fn open_to_read(drive: &Drive) -> Result<Self, DriveError> {
        Self::open_all(drive, false)
    }

    fn open_all(drive: &Drive, write: bool) -> Result<Self, DriveError> {
        if drive.kind != DriveKind::Nvme {
            return Self::from_names(drive, std::slice::from_ref(&drive.name), None, write);
        }
        let failed = |source| DriveError::Open {
            name: drive.name.clone(),
            source,
        };
        let (controller, blocks) = nvme_blocks(&drive.name).map_err(failed)?;
        let names: Vec<String> = blocks.iter().map(|(_, name)| name.clone()).collect();
        let active: Vec<u32> = blocks.iter().map(|(nsid, _)| *nsid).collect();
        let controller = Controller {
            path: Path::new("/dev").join(controller),
            namespaces: active.into_iter().map(Namespace).collect(),
            allocated: drive.namespaces.iter().copied().map(Namespace).collect(),
        };
        Self::from_names(drive, &names, Some(controller), write)
    }

    /// Opens a drive's first namespace: what an image is written to.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_first(drive: &Drive) -> Result<Self, DriveError> {
        Self::from_names(drive, std::slice::from_ref(&drive.name), None, true)
    }

    /// Opens a drive's first namespace, so that it cannot be written.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_first_to_read(drive: &Drive) -> Result<Self, DriveError> {
        Self::from_names(drive, std::slice::from_ref(&drive.name), None, false)
    }

    fn from_names(
        drive: &Drive,
        names: &[String],
        controller: Option<Controller>,
        write: bool,
    ) -> Result<Self, DriveError> {
        let mut parts = Vec::new();
        let mut size = 0;
        for name in names {
            let failed = |source| DriveError::Open {
                name: name.clone(),
                source,
            };
            let path = Path::new("/dev").join(name);
            let mut file = OpenOptions::new()
                .read(true)
                .write(write)
                .custom_flags(libc::O_DIRECT)
                .open(&path)
                .map_err(failed)?;
            let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
            parts.push(Part {
                file,
                start: size,
                length,
            });
            size += length;
        }
        if size == 0 {
            return Err(DriveError::Open {
                name: drive.name.clone(),
                source: io::Error::other("it has no size"),
            });
        }
        Ok(Self {
            parts,
            path: Path::new("/dev").join(&drive.name),
            size,
            block_bytes: drive.block_bytes.unwrap_or(512),
            controller,
        })
    }

    /// Where its first block device lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the kernel read the partition table again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reread_partitions(&self) -> io::Result<()> {
        match self.parts.first() {
            Some(part) => sys::reread_partitions(&part.file),
            None => Ok(()),
        }
    }

    /// Calls `f` for each piece of a range, with the offset within its part and
    /// the offset within the range.
    fn pieces(
        &self,
        offset: u64,
        length: u64,
        mut f: impl FnMut(&File, u64, u64, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset + length;
        if end > self.size {
            return Err(io::Error::other("beyond the drive's end"));
        }
        for part in &self.parts {
            let from = offset.max(part.start);
            let to = end.min(part.start + part.length);
            if from < to {
                f(&part.file, from - part.start, to - from, from - offset)?;
            }
        }
        Ok(())
    }
}

impl Device for BlockDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.pieces(offset, into.len() as u64, |file, at, length, start| {
            let piece = &mut into[start as usize..(start + length) as usize];
            if (piece.as_ptr() as u64).is_multiple_of(ALIGN) {
                return file.read_exact_at(piece, at);
            }
            let mut aligned = Aligned::zeroed(piece.len());
            file.read_exact_at(&mut aligned, at)?;
            piece.copy_from_slice(&aligned);
            Ok(())
        })
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.pieces(offset, from.len() as u64, |file, at, length, start| {
            let piece = &from[start as usize..(start + length) as usize];
            if (piece.as_ptr() as u64).is_multiple_of(ALIGN) {
                return file.write_all_at(piece, at);
            }
            let mut aligned = Aligned::zeroed(piece.len());
            aligned.copy_from_slice(piece);
            file.write_all_at(&aligned, at)
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| part.file.sync_all())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.pieces(offset, length, |file, at, length, _| {
            sys::discard(file, at, length)
        })
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.pieces(offset, length, |file, at, length, _| {
            sys::zero_out(file, at, length)
        })
    }

    fn command(&self, method: EraseMethod, progress: &dyn Fn(u16)) -> Result<(), String> {
        match &self.controller {
            Some(controller) => controller.erase(method, progress),
            None => Err("this drive has no such command".into()),
        }
    }

    fn hidden(&self) -> Option<String> {
        self.controller.as_ref().and_then(Controller::hidden)
    }
}

/// The controller of an NVMe block device, and all block devices of that
/// controller with their namespace ids, in order.
fn nvme_blocks(name: &str) -> io::Result<(String, Vec<(u32, String)>)> {
    let sys = Path::new("/sys/block");
    let parent = |block: &str| fs::canonicalize(sys.join(block).join("device"));
    let home = parent(name)?;
    let mut blocks = Vec::new();
    for entry in fs::read_dir(sys)?.flatten() {
        let block = entry.file_name().to_string_lossy().into_owned();
        if block.starts_with("nvme") && parent(&block).is_ok_and(|p| p == home) {
            let nsid = fs::read_to_string(sys.join(&block).join("nsid"))?;
            let nsid = nsid.trim().parse().map_err(io::Error::other)?;
            blocks.push((nsid, block));
        }
    }
    blocks.sort();
    let home_name = |path: &Path| {
        path.file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let mut controller = home_name(&home);
    if controller.starts_with("nvme-subsys") {
        // With the kernel's multipathing, block devices hang below the subsystem.
        controller = fs::read_dir(&home)?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .find(|n| {
                n.strip_prefix("nvme")
                    .is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_ascii_digit()))
            })
            .ok_or_else(|| io::Error::other("the subsystem has no controller"))?;
    }
    Ok((controller, blocks))
}
