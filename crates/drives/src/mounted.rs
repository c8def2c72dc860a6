//! The image's own file systems, mounted by the kernel for a moment, where
//! nothing else can change what is in them.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use billet_model::measure::{ChangeKind, DriveChange};

use crate::{
    block::BlockDevice,
    canary::sha256,
    error::{DriveError, WriteError},
    grub::{self, Changed},
    inside::Inside,
    write::Placed,
};

/// File systems, and what stands where in one of them.
const KINDS: &[(&str, u64, &[u8])] = &[
    ("ext4", 1024 + 56, &[0x53, 0xEF]),
    ("xfs", 0, b"XFSB"),
    ("btrfs", 65536 + 64, b"_BHRfS_M"),
];
const AT: &str = "/run/billet-image";

/// Sets kernel arguments in every file system of the drive that GRUB or an
/// update reads them from. Returns where they are; `None` where nothing boots
/// from there.
///
/// # Errors
/// When a file system cannot be written.
pub fn set_kernel_args(
    device: &BlockDevice,
    args: &[String],
) -> Result<Option<Placed>, WriteError> {
    let failed = |e: io::Error| WriteError::from(DriveError::io("reading partitions anew", 0)(e));
    device.reread_partitions().map_err(failed)?;
    let mut all = Changed::default();
    let mut files = Vec::new();
    for partition in partitions(device.path()).map_err(failed)? {
        let (changed, read_back) = in_file_system(&partition, args).map_err(|e| {
            WriteError::Unsuitable(format!("kernel arguments in {}: {e}", partition.display()))
        })?;
        files.extend(read_back);
        all.boots.extend(changed.boots);
        all.updates.extend(changed.updates);
    }
    if all.boots.is_empty() && all.updates.is_empty() {
        return Ok(None);
    }
    let mut said = all.boots;
    if !all.updates.is_empty() {
        said.push(format!("for updates {}", all.updates.join(", ")));
    }
    Ok(Some(Placed {
        said: said.join(", "),
        files,
    }))
}

/// The block devices of a drive's partitions. The kernel makes them a moment
/// after it was told.
pub(crate) fn partitions(drive: &Path) -> io::Result<Vec<PathBuf>> {
    let name = drive.file_name().unwrap_or_default();
    let sys = Path::new("/sys/block").join(name);
    for _ in 0..50 {
        let mut found = Vec::new();
        for entry in fs::read_dir(&sys)?.flatten() {
            if entry.path().join("partition").exists() {
                found.push(Path::new("/dev").join(entry.file_name()));
            }
        }
        if !found.is_empty() && found.iter().all(|p| p.exists()) {
            found.sort();
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(Vec::new())
}

/// Mounts, changes, unmounts. What is no file system of a known kind is left, and
/// what has nothing to change is mounted for reading alone.
fn in_file_system(partition: &Path, args: &[String]) -> io::Result<(Changed, Vec<DriveChange>)> {
    let Some(kind) = kind(partition)? else {
        return Ok(Default::default());
    };
    fs::create_dir_all(AT)?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount(partition, AT, kind, flags | MountFlags::RDONLY, None)?;
    let concerned = grub::concerned(Path::new(AT));
    unmount(AT, UnmountFlags::empty())?;
    if !concerned? {
        return Ok(Default::default());
    }
    mount(partition, AT, kind, flags, None)?;
    let changed = grub::set(Path::new(AT), args);
    unmount(AT, UnmountFlags::empty())?;
    let changed = changed?;
    // Mounted anew, so that it is read from the drive and not from memory.
    mount(partition, AT, kind, flags | MountFlags::RDONLY, None)?;
    let name = partition.file_name().unwrap_or_default().to_string_lossy();
    let files = changed.boots.iter().chain(&changed.updates).map(|file| {
        let inside = Inside::new(Path::new(AT))?;
        let text = inside.read(file.trim_start_matches('/'))?;
        let bytes = text.unwrap_or_default().into_bytes();
        Ok(DriveChange {
            what: ChangeKind::KernelArguments,
            place: format!("{name}: {file}"),
            bytes: bytes.len() as u64,
            sha256: sha256(&bytes),
        })
    });
    let files: io::Result<Vec<_>> = files.collect();
    unmount(AT, UnmountFlags::empty())?;
    Ok((changed, files?))
}

/// The kind of file system on a partition, by its magic number.
fn kind(partition: &Path) -> io::Result<Option<&'static str>> {
    let file = fs::File::open(partition)?;
    let found = KINDS.iter().find(|(_, offset, magic)| {
        let mut bytes = vec![0; magic.len()];
        file.read_exact_at(&mut bytes, *offset).is_ok() && bytes == *magic
    });
    Ok(found.map(|(kind, _, _)| *kind))
}
