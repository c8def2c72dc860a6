//! A drive's file systems, mounted by the kernel for reading alone while what it
//! boots is looked for and copied.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
};

use super::{BootError, Boots, LARGEST_PROGRAM, Piece, Volume, section, volume::Role};
use crate::{
    block::BlockDevice,
    device::Device,
    gpt::{self, Table},
    mounted,
    view::View,
};

const AT: &str = "/run/billet-boots";

/// A drive's file systems, unmounted when dropped.
#[derive(Debug)]
pub struct Mounts(Vec<Mounted>);

#[derive(Debug)]
struct Mounted {
    at: PathBuf,
    root: OwnedFd,
    role: Role,
    number: u32,
    uuid: Option<String>,
    label: Option<String>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It is open below, and goes with that: only the name is taken now.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

impl Mounts {
    /// Mounts every file system of a known kind. One that cannot be mounted is
    /// left out: what a drive boots need not be on it.
    ///
    /// # Errors
    /// When the drive's partitions cannot be read.
    pub fn of(device: &BlockDevice) -> Result<Self, BootError> {
        // What was written past the page cache is read from the drive.
        device
            .reread_partitions()
            .map_err(BootError::io("reading partitions anew"))?;
        let roles = roles(device);
        let partitions =
            mounted::partitions(device.path()).map_err(BootError::io("listing partitions"))?;
        let mut mounts = Vec::new();
        for partition in partitions {
            let number = number(&partition);
            let role = roles
                .iter()
                .find(|(n, _)| *n == number)
                .map_or(Role::Other, |(_, role)| *role);
            let Some(found) = FileSystem::on(&partition) else {
                continue;
            };
            let at = Path::new(AT).join(number.to_string());
            fs::create_dir_all(&at).map_err(BootError::io(format!("making {}", at.display())))?;
            let flags = MountFlags::RDONLY
                | MountFlags::NODEV
                | MountFlags::NOSUID
                | MountFlags::NOEXEC
                | MountFlags::NOATIME;
            if mount(&partition, &at, found.kind, flags, found.options).is_err() {
                continue;
            }
            let root = rustix::fs::open(
                &at,
                OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            );
            match root {
                Ok(root) => mounts.push(Mounted {
                    at,
                    root,
                    role,
                    number,
                    uuid: found.uuid,
                    label: found.label,
                }),
                Err(_) => {
                    let _ = unmount(&at, UnmountFlags::DETACH);
                }
            }
        }
        Ok(Self(mounts))
    }

    /// Finds what the drive would boot.
    ///
    /// # Errors
    /// As [`super::find`].
    pub fn find(&self) -> Result<Boots, BootError> {
        super::find(&self.0)
    }

    /// Where a kernel or an initrd is, in words.
    pub fn place(&self, piece: &Piece) -> String {
        let number = self.0[piece.volume].number;
        let section = piece.section.map(|s| format!(", section {s}"));
        format!(
            "partition {number}: {}{}",
            piece.path,
            section.unwrap_or_default()
        )
    }

    /// Copies a kernel or an initrd. Returns its size in bytes.
    ///
    /// # Errors
    /// The kernel's, and where it is too large.
    pub fn copy(&self, piece: &Piece, to: &mut impl Write) -> Result<u64, BootError> {
        let volume = &self.0[piece.volume];
        let failed = || BootError::io(format!("reading {}", piece.path));
        if let Some(name) = piece.section {
            let program = volume
                .read(&piece.path, LARGEST_PROGRAM)
                .map_err(failed())?;
            let program = program.unwrap_or_default();
            let bytes = section(&program, name).unwrap_or_default();
            to.write_all(bytes).map_err(failed())?;
            return Ok(bytes.len() as u64);
        }
        let file = volume.open(&piece.path).map_err(failed())?;
        let Some(file) = file else {
            return Err(BootError::unknown(piece.path.clone(), "it is gone"));
        };
        let mut limited = file.take(LARGEST_PROGRAM + 1);
        let copied = io::copy(&mut limited, to).map_err(failed())?;
        if copied > LARGEST_PROGRAM {
            return Err(failed()(too_large()));
        }
        Ok(copied)
    }
}

fn too_large() -> io::Error {
    io::Error::other("it is larger than anything that boots")
}

/// What each partition is for, by the drive's table.
fn roles(device: &dyn Device) -> Vec<(u32, Role)> {
    let block = u64::from(device.block_bytes());
    let Ok(table) = Table::read(&mut View::whole(device), block) else {
        return Vec::new();
    };
    let role = |kind| match kind {
        gpt::ESP => Role::System,
        gpt::XBOOTLDR => Role::Boot,
        _ => Role::Other,
    };
    let partitions = table.partitions();
    partitions
        .iter()
        .map(|p| (p.number, role(p.kind)))
        .collect()
}

fn number(partition: &Path) -> u32 {
    let name = partition.file_name().unwrap_or_default();
    let sys = Path::new("/sys/class/block").join(name).join("partition");
    let text = fs::read_to_string(sys).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// A file system as its superblock describes it.
struct FileSystem {
    kind: &'static str,
    /// Nothing is to be written, not even what a journal still holds.
    options: Option<&'static std::ffi::CStr>,
    uuid: Option<String>,
    label: Option<String>,
}

impl FileSystem {
    fn on(partition: &Path) -> Option<Self> {
        let file = File::open(partition).ok()?;
        let mut head = vec![0; 128 << 10];
        let mut filled = 0;
        while let Ok(read @ 1..) = file.read_at(&mut head[filled..], filled as u64) {
            filled += read;
        }
        Self::of(&head[..filled])
    }

    fn of(head: &[u8]) -> Option<Self> {
        let at = |offset: usize, length: usize| head.get(offset..offset + length);
        let label = |offset, length| {
            let bytes = at(offset, length)?;
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(length);
            let text = String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned();
            (!text.is_empty()).then_some(text)
        };
        let uuid = |offset| at(offset, 16).map(uuid);
        if at(1024 + 56, 2) == Some(&[0x53, 0xEF]) {
            return Some(Self {
                kind: "ext4",
                options: Some(c"noload"),
                uuid: uuid(1024 + 0x68),
                label: label(1024 + 0x78, 16),
            });
        }
        if at(0, 4) == Some(b"XFSB") {
            return Some(Self {
                kind: "xfs",
                options: Some(c"norecovery"),
                uuid: uuid(32),
                label: label(108, 12),
            });
        }
        if at(65536 + 64, 8) == Some(b"_BHRfS_M") {
            return Some(Self {
                kind: "btrfs",
                options: Some(c"rescue=nologreplay"),
                uuid: uuid(65536 + 0x20),
                label: label(65536 + 0x12B, 256),
            });
        }
        if at(510, 2) == Some(&[0x55, 0xAA]) {
            // FAT32 has its fields behind those of the smaller ones.
            let base = match (at(82, 5), at(54, 3)) {
                (Some(b"FAT32"), _) => 0x43,
                (_, Some(b"FAT")) => 0x27,
                _ => return None,
            };
            let serial = at(base, 4)?;
            return Some(Self {
                kind: "vfat",
                options: None,
                uuid: Some(format!(
                    "{:02X}{:02X}-{:02X}{:02X}",
                    serial[3], serial[2], serial[1], serial[0]
                )),
                label: label(base + 4, 11),
            });
        }
        None
    }
}

fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    let parts: Vec<&str> = parts.into_iter().filter_map(|r| hex.get(r)).collect();
    parts.join("-")
}

impl Mounted {
    /// Opens a file or directory below the file system's root, which no symbolic
    /// link leads out of.
    fn below(&self, path: &str, flags: OFlags) -> io::Result<Option<OwnedFd>> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let opened = openat2(
            self.root.as_fd(),
            relative,
            flags | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
        );
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens an ordinary file.
    fn open(&self, path: &str) -> io::Result<Option<File>> {
        let file = self.below(path, OFlags::RDONLY)?.map(File::from);
        match file {
            Some(file) if file.metadata()?.is_file() => Ok(Some(file)),
            _ => Ok(None),
        }
    }
}

impl Volume for Mounted {
    fn role(&self) -> Role {
        self.role
    }

    fn number(&self) -> u32 {
        self.number
    }

    fn uuid(&self) -> Option<&str> {
        self.uuid.as_deref()
    }

    fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        Ok(Some(bytes))
    }

    fn size(&self, path: &str) -> io::Result<Option<u64>> {
        let file = self.open(path)?;
        file.map(|f| f.metadata().map(|m| m.len())).transpose()
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Some(directory) = self.below(path, flags)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_superblock() {
        let mut ext4 = vec![0; 4096];
        ext4[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xEF]);
        ext4[1024 + 0x68..1024 + 0x78].copy_from_slice(&[0xAB; 16]);
        ext4[1024 + 0x78..1024 + 0x7C].copy_from_slice(b"root");
        let found = FileSystem::of(&ext4).expect("ext4");
        assert_eq!(found.kind, "ext4");
        assert_eq!(
            found.uuid.as_deref(),
            Some("abababab-abab-abab-abab-abababababab")
        );
        assert_eq!(found.label.as_deref(), Some("root"));

        let mut fat = vec![0; 1 << 20];
        fatfs::format_volume(
            io::Cursor::new(&mut fat[..]),
            fatfs::FormatVolumeOptions::new()
                .volume_id(0x1234_ABCD)
                .volume_label(*b"EFI        "),
        )
        .expect("formatted");
        let found = FileSystem::of(&fat).expect("FAT");
        assert_eq!(found.kind, "vfat");
        assert_eq!(found.uuid.as_deref(), Some("1234-ABCD"));
        assert_eq!(found.label.as_deref(), Some("EFI"));

        for length in [0, 511, 1024, 70000] {
            assert!(FileSystem::of(&vec![0; length]).is_none());
        }
    }
}
