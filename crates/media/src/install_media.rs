//! Boot media with a tenant's own installer: a kernel with initrds, joined with
//! systemd's stub into one UEFI program, or iPXE with a script.
//!
//! Made once for an install configuration and kept as a file; what is a lease's
//! own, the command line or the script with its values, is laid over the file when
//! a medium is read ([`BootMedium`]). Nothing is held in memory: an initrd may have
//! hundreds of megabytes.
//!
//! The programs are not signed. Firmware with Secure Boot on does not start them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use billet_protocol::install::InstallRecord;
use serde::{Deserialize, Serialize};

use crate::boot_media::{BootMediaError, BootMedium, TAIL, Volume, io_error, iso_frame};
use crate::ramdisk::frame;

/// The most that kernel and initrds may have together, in bytes: every
/// installation carries it through a BMC's virtual medium, and firmware loads all
/// of it into memory.
pub const SIZE_LIMIT: u64 = 1 << 30;

/// The most that a script may have, in bytes.
pub const SCRIPT_LIMIT: u64 = 64 << 10;

/// Room for a command line: a kernel takes less.
const COMMAND_LINE_ROOM: usize = 4 << 10;
/// Room for a script with a lease's values before it.
const SCRIPT_ROOM: usize = 96 << 10;
/// Where firmware looks for the program on a removable medium.
const PROGRAM: &str = "EFI/BOOT/BOOTX64.EFI";
/// What iPXE runs from where it was loaded.
const AUTOEXEC: &str = "autoexec.ipxe";

/// What is wrong with a part of an install configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The kernel is none that UEFI starts.
    #[error(
        "this is not a Linux kernel for UEFI on x86-64: give the bzImage as distributions install it (/boot/vmlinuz-...)"
    )]
    NotAKernel,
    /// The script is none.
    #[error("an iPXE script begins with the line #!ipxe")]
    NotAScript,
}

/// Looks at the beginning of a kernel: a PE program with a boot header of Linux's
/// that says it is of 64 bits.
pub fn check_kernel(head: &[u8]) -> Result<(), PartError> {
    // Linux's boot protocol: `HdrS` at 0x202, `xloadflags` at 0x236, whose first
    // bit is a 64 bit entry.
    let signed = head.starts_with(b"MZ") && head.get(0x202..0x206) == Some(b"HdrS");
    let wide = head.get(0x236).is_some_and(|flags| flags & 1 == 1);
    (signed && wide).then_some(()).ok_or(PartError::NotAKernel)
}

/// Looks at the beginning of a script.
pub fn check_script(script: &[u8]) -> Result<(), PartError> {
    let text = std::str::from_utf8(script).ok();
    let first = text.and_then(|t| t.lines().next()).unwrap_or_default();
    let is = first.trim_end() == "#!ipxe" || first.starts_with("#!ipxe ");
    is.then_some(()).ok_or(PartError::NotAScript)
}

/// A medium of an install configuration, without what is a lease's own.
#[derive(Clone, Debug)]
pub struct InstallMedia {
    file: Arc<File>,
    places: Places,
}

/// Where things go, in bytes from the image's beginning: kept beside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Places {
    /// The text's content.
    content: u64,
    /// The room that it has.
    room: usize,
    /// The four bytes that say how long it is.
    size: u64,
    /// The room at the image's end.
    tail: u64,
    /// Bytes of the image.
    len: u64,
}

impl InstallMedia {
    /// Makes it of a kernel and initrds, at `path`.
    pub fn of_kernel(
        stub: &Path,
        kernel: &Path,
        initrds: &[&Path],
        path: &Path,
    ) -> Result<Self, BootMediaError> {
        let stub = fs::read(stub).map_err(|e| io_error("reading", stub, e))?;
        let os_release =
            b"ID=install\nNAME=Installer\nPRETTY_NAME=\"Installer of the tenant's own\"\n";
        let mut initrd_len = 0;
        for initrd in initrds {
            // The kernel wants each to begin at a multiple of four.
            initrd_len += length(initrd)?.next_multiple_of(4);
        }
        let program = frame(
            &stub,
            &[
                (".osrel", os_release.len() as u64),
                (".cmdline", COMMAND_LINE_ROOM as u64),
                (".initrd", initrd_len),
                // Last, because the stub may expand the kernel in place behind it.
                (".linux", length(kernel)?),
            ],
        )?;
        let mark = mark(COMMAND_LINE_ROOM);
        make(path, program.len, |volume| {
            volume.write(PROGRAM, |out| {
                let mut out = Counted { out, at: 0 };
                out.write_all(&program.head)?;
                out.pad_to(program.places[0].content)?;
                out.write_all(os_release)?;
                out.pad_to(program.places[1].content)?;
                out.write_all(&mark)?;
                let mut at = program.places[2].content;
                for initrd in initrds {
                    out.pad_to(at)?;
                    at += io::copy(&mut File::open(initrd)?, &mut out)?.next_multiple_of(4);
                }
                out.pad_to(program.places[3].content)?;
                io::copy(&mut File::open(kernel)?, &mut out)?;
                out.pad_to(program.len)
            })?;
            let content = volume.find(&mark)?;
            let start = content - program.places[1].content;
            Ok((
                content,
                COMMAND_LINE_ROOM,
                start + program.places[1].header + 8,
            ))
        })
    }

    /// Makes it of iPXE, which runs a script that lies beside it, at `path`.
    pub fn of_script(ipxe: &Path, path: &Path) -> Result<Self, BootMediaError> {
        let mark = mark(SCRIPT_ROOM);
        let room = length(ipxe)? + SCRIPT_ROOM as u64;
        make(path, room, |volume| {
            volume.write(PROGRAM, |out| {
                io::copy(&mut File::open(ipxe)?, out).map(|_| ())
            })?;
            volume.write(AUTOEXEC, |out| out.write_all(&mark))?;
            let content = volume.find(&mark)?;
            let size = volume.entry(b"AUTOEX", SCRIPT_ROOM as u32)? + 28;
            Ok((content, SCRIPT_ROOM, size))
        })
    }

    /// Opens one that was made.
    pub fn open(path: &Path) -> Result<Self, BootMediaError> {
        let beside = places_path(path);
        let json = fs::read(&beside).map_err(|e| io_error("reading", &beside, e))?;
        let places = serde_json::from_slice(&json)
            .map_err(|e| io_error("reading", &beside, io::Error::other(e)))?;
        let file = File::open(path).map_err(|e| io_error("opening", path, e))?;
        Ok(Self {
            file: Arc::new(file),
            places,
        })
    }

    /// The medium of one lease: with this command line or script, and this record
    /// at its end.
    pub fn medium(&self, text: &str, record: &InstallRecord) -> Result<BootMedium, BootMediaError> {
        let places = self.places;
        let size = text.len();
        if size > places.room {
            return Err(BootMediaError::NoRoom {
                what: "the installer's command line or script",
                size,
                room: places.room,
            });
        }
        let mut content = text.as_bytes().to_vec();
        content.resize(places.room, 0);
        let tail = record.to_tail();
        if tail.len() > TAIL {
            return Err(BootMediaError::NoRoom {
                what: "the installer's record",
                size: tail.len(),
                room: TAIL,
            });
        }
        let length = u32::try_from(size).unwrap_or(u32::MAX);
        Ok(BootMedium::new(
            Arc::clone(&self.file),
            places.len,
            vec![
                (places.size, length.to_le_bytes().to_vec()),
                (places.content, content),
                (places.tail, tail),
            ],
        ))
    }
}

/// The file beside a medium that says where things are in it.
pub fn places_path(path: &Path) -> std::path::PathBuf {
    path.with_extension("places")
}

/// Content, room and the place of the length, in a FAT file system.
type Found = (u64, usize, u64);

/// Makes a medium around a FAT file system that `fill` fills. What stands at
/// `path` is whole, or not there.
fn make(
    path: &Path,
    room: u64,
    fill: impl FnOnce(&Volume<'_>) -> io::Result<Found>,
) -> Result<InstallMedia, BootMediaError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let wrote = |e| io_error("writing", path, e);
    let scratch = |name: &str| {
        tempfile::Builder::new()
            .prefix(name)
            .tempfile_in(directory)
            .map_err(wrote)
    };
    let fat = scratch("importing-fat-")?;
    let volume = Volume::format(fat.as_file(), room).map_err(BootMediaError::Fat)?;
    let (content, room, size) = fill(&volume).map_err(BootMediaError::Fat)?;
    let iso = iso_frame(volume.size())?;
    let start = iso.head.len() as u64;
    let mut image = scratch("importing-iso-")?;
    let written = (|| {
        image.write_all(&iso.head)?;
        io::copy(&mut fat.reopen()?, &mut image)?;
        image.as_file().set_len(iso.len)?;
        // What was laid out for the text is not handed out.
        image
            .as_file()
            .write_all_at(&vec![0; room], start + content)?;
        image.as_file().sync_all()
    })();
    written.map_err(wrote)?;
    let places = Places {
        content: start + content,
        room,
        size: start + size,
        tail: iso.tail_offset,
        len: iso.len,
    };
    let mut beside = scratch("importing-places-")?;
    let json = serde_json::to_vec(&places).unwrap_or_default();
    beside.write_all(&json).map_err(wrote)?;
    beside
        .persist(places_path(path))
        .map_err(|e| wrote(e.error))?;
    image.persist(path).map_err(|e| wrote(e.error))?;
    InstallMedia::open(path)
}

/// Bytes that stand nowhere else.
fn mark(room: usize) -> Vec<u8> {
    let lines = (0..).map(|n| format!("place of the installer's text {n:06}\n"));
    let mut bytes = Vec::with_capacity(room + 64);
    for line in lines {
        if bytes.len() >= room {
            break;
        }
        bytes.extend(line.bytes());
    }
    bytes.truncate(room);
    bytes
}

fn length(path: &Path) -> Result<u64, BootMediaError> {
    let about = fs::metadata(path).map_err(|e| io_error("reading", path, e))?;
    Ok(about.len())
}

/// Counts what is written, and fills gaps.
struct Counted<'a> {
    out: &'a mut dyn io::Write,
    at: u64,
}

impl Counted<'_> {
    fn pad_to(&mut self, at: u64) -> io::Result<()> {
        let gap = at
            .checked_sub(self.at)
            .ok_or_else(|| io::Error::other("a section reaches into the next"))?;
        io::copy(&mut io::Read::take(io::repeat(0), gap), self).map(|_| ())
    }
}

impl io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_scripts_are_told_from_other_files() {
        let mut kernel = vec![0; 0x400];
        kernel[..2].copy_from_slice(b"MZ");
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(check_kernel(&kernel), Err(PartError::NotAKernel));
        kernel[0x236] = 0x3f;
        assert_eq!(check_kernel(&kernel), Ok(()));
        for other in [&b"\x7fELF"[..], b"", b"#!ipxe\n", b"MZ"] {
            assert_eq!(check_kernel(other), Err(PartError::NotAKernel));
        }
        for script in ["#!ipxe\nboot\n", "#!ipxe", "#!ipxe \r\nshell"] {
            assert_eq!(check_script(script.as_bytes()), Ok(()), "{script}");
        }
        for other in ["", "#!/bin/sh\n", "\n#!ipxe\n", "#!ipxefoo"] {
            let said = check_script(other.as_bytes());
            assert_eq!(said, Err(PartError::NotAScript), "{other}");
        }
    }
}
