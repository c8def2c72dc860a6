//! What can be told of an image by looking at it.
//!
//! Nothing here is needed to write the image to a drive. What cannot be told is
//! said to be unknown, and an image whose file systems are nonsense is no error.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use billet_model::image::{BootKind, ImageStorage};
use ext4_view::{Ext4, Ext4Read};
use fatfs::{FileSystem, FsOptions};
use gpt::disk::LogicalBlockSize;
use gpt::partition_types;

use super::reader::{ImageDisk, ImageReader};
use crate::window::Window;

/// What was found in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    /// It has a partition table (GPT) that checks out.
    pub gpt: bool,
    /// Where its table says that the disk ends, in bytes.
    pub table_end: Option<u64>,
    /// The number of its EFI system partition, from 1.
    pub esp: Option<u32>,
    /// How it boots.
    pub boot: BootKind,
    /// The number of its root partition, from 1.
    pub root_partition: Option<u32>,
    /// The system's name for itself (`PRETTY_NAME`), where the root file system is ext4.
    pub system: Option<String>,
    /// Whether cloud-init is installed; `None` where the root file system cannot be read.
    pub cloud_init: Option<bool>,
    /// What it brings for drives beside the root's.
    pub storage: ImageStorage,
    /// Whether boot entries name the root by its file system's UUID or label.
    pub root_by_file_system: bool,
}

const SECTOR: u64 = 512;
/// Reads that looking at one image may take.
const BUDGET: u64 = 100_000;
/// Entries looked at in any one directory.
const ENTRIES: usize = 1000;
/// Bytes of a boot entry that are looked at.
const ENTRY_BYTES: u64 = 64 << 10;
/// More partitions than any real table has.
const PARTITIONS: u32 = 1024;
/// The fewest blocks that a group of ext4's may have.
const GROUP_BLOCKS: u64 = 256;
/// Bytes of an `os-release` that are believed.
const RELEASE_BYTES: u64 = 64 << 10;
/// The size of a table's entry that the GPT reader knows.
const PARTITION_ENTRY: u32 = 128;

/// Looks at an image.
pub fn look(image: &ImageReader) -> Facts {
    catch_unwind(AssertUnwindSafe(|| {
        let mut facts = Facts::default();
        partitions(image, &mut facts);
        facts
    }))
    .unwrap_or_default()
}

fn partitions(image: &ImageReader, facts: &mut Facts) {
    let mut disk = image.disk().with_budget(BUDGET);
    let Some(table_end) = table_end(&mut disk) else {
        return;
    };
    facts.table_end = Some(table_end);
    let opened = gpt::GptConfig::new()
        .writable(false)
        .logical_block_size(LogicalBlockSize::Lb512)
        .open_from_device(disk);
    let Ok(table) = opened else {
        return;
    };
    facts.gpt = table.primary_header().is_ok();
    let extent = |number: u32| {
        let partition = table.partitions().get(&number)?;
        let start = partition.first_lba.checked_mul(SECTOR)?;
        let sectors = partition.last_lba.checked_add(1)?;
        let sectors = sectors.checked_sub(partition.first_lba)?;
        Some((start, sectors.checked_mul(SECTOR)?))
    };
    facts.esp = table
        .partitions()
        .iter()
        .find(|(_, partition)| partition.part_type_guid == partition_types::EFI)
        .map(|(number, _)| *number);
    // The type that says "root" is surest; else the largest with Linux on it.
    facts.root_partition = table
        .partitions()
        .iter()
        .filter(|(_, partition)| {
            partition.part_type_guid == partition_types::LINUX_ROOT_X64
                || partition.part_type_guid == partition_types::LINUX_FS
        })
        .max_by_key(|(_, partition)| {
            (
                partition.part_type_guid == partition_types::LINUX_ROOT_X64,
                partition.last_lba.saturating_sub(partition.first_lba),
            )
        })
        .map(|(number, _)| *number);
    if let Some((start, len)) = facts.esp.and_then(extent) {
        let disk = image.disk().with_budget(BUDGET);
        (facts.boot, facts.root_by_file_system) =
            boot_kind(Window::new(disk, start, len)).unwrap_or_default();
    }
    if let Some((start, len)) = facts.root_partition.and_then(extent) {
        look_at_root(image, start, len, facts);
    }
}

/// Reads the primary header far enough to know that the GPT reader can be let at it.
fn table_end(disk: &mut ImageDisk) -> Option<u64> {
    let mut header = [0; 92];
    disk.seek(SeekFrom::Start(SECTOR)).ok()?;
    disk.read_exact(&mut header).ok()?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let sound =
        header.starts_with(b"EFI PART") && word(80) <= PARTITIONS && word(84) == PARTITION_ENTRY;
    let mut alternate = [0; 8];
    alternate.copy_from_slice(&header[32..40]);
    sound
        .then(|| {
            u64::from_le_bytes(alternate)
                .checked_add(1)?
                .checked_mul(SECTOR)
        })
        .flatten()
}

/// How it boots, and whether its entries name the root by its file system.
fn boot_kind(esp: Window<ImageDisk>) -> io::Result<(BootKind, bool)> {
    let volume = FileSystem::new(esp, FsOptions::new().update_accessed_date(false))?;
    let root = volume.root_dir();
    if let Ok(entries) = root.open_dir("loader/entries") {
        let (mut any, mut by_file_system) = (false, true);
        for entry in entries.iter().take(ENTRIES) {
            let entry = entry?;
            if !entry.file_name().to_ascii_lowercase().ends_with(".conf") {
                continue;
            }
            any = true;
            let mut text = String::new();
            let read = entry.to_file().take(ENTRY_BYTES).read_to_string(&mut text);
            by_file_system &= read.is_ok()
                && text
                    .split_whitespace()
                    .filter_map(|word| word.strip_prefix("root="))
                    .all(|root| root.starts_with("UUID=") || root.starts_with("LABEL="));
        }
        if any {
            return Ok((BootKind::Bls, by_file_system));
        }
    }
    if let Ok(vendors) = root.open_dir("EFI") {
        for vendor in vendors.iter().take(ENTRIES) {
            let vendor = vendor?;
            if vendor.is_dir()
                && !vendor.file_name().starts_with('.')
                && vendor.to_dir().open_file("grub.cfg").is_ok()
            {
                return Ok((BootKind::Grub, false));
            }
        }
    }
    Ok((BootKind::Unknown, false))
}

fn look_at_root(image: &ImageReader, start: u64, len: u64, facts: &mut Facts) {
    let part = Part {
        disk: image.disk().with_budget(BUDGET),
        start,
    };
    let there = image.manifest().virtual_bytes.saturating_sub(start);
    if !is_sized_right(&mut part.clone(), len.min(there)).unwrap_or(false) {
        return;
    }
    let Ok(root) = Ext4::load(Box::new(part)) else {
        return;
    };
    facts.cloud_init = root.exists("/usr/bin/cloud-init").ok();
    // Where `/usr` is merged the one is the other.
    let brings = |name: &str| {
        let found = ["/usr/sbin", "/sbin", "/usr/bin"]
            .map(|directory| root.exists(format!("{directory}/{name}").as_str()).ok());
        found
            .into_iter()
            .try_fold(false, |any, here| Some(any || here?))
    };
    facts.storage = ImageStorage {
        mdadm: brings("mdadm"),
        ext4: brings("mkfs.ext4"),
        xfs: brings("mkfs.xfs"),
        mirror: None,
    };
    // Only where the initrd is put together by what is known to take mdadm along,
    // and stands where nothing of the root has to be read before the array is up.
    let hook = root.exists("/usr/share/initramfs-tools/hooks/mdadm").ok();
    let fstab = root.read_to_string("/etc/fstab").ok();
    facts.storage.mirror = match (hook, fstab, facts.boot) {
        (Some(hook), Some(fstab), BootKind::Bls) => Some(
            hook && facts.storage.mdadm == Some(true)
                && mounts_by_file_system(&fstab)
                && facts.root_by_file_system,
        ),
        _ => None,
    };
    facts.system = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .filter(|path| {
            root.metadata(**path)
                .is_ok_and(|m| m.len() <= RELEASE_BYTES)
        })
        .find_map(|path| root.read_to_string(*path).ok())
        .and_then(|text| {
            let name = text
                .lines()
                .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            Some(name.trim_matches('"').chars().take(100).collect())
        });
}

/// Whether the file system that an ext4 superblock speaks of fits where it is: the
/// reader makes room for all of its block groups before it looks at any.
fn is_sized_right(
    part: &mut Part,
    len: u64,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let mut superblock = [0; 1024];
    part.read(1024, &mut superblock)?;
    let word = |at: usize| {
        let bytes = [0, 1, 2, 3].map(|n| superblock[at + n]);
        u64::from(u32::from_le_bytes(bytes))
    };
    // Count of blocks, low and high half; the block's size as a power; blocks in a group.
    let blocks = word(0x04) | word(0x150) << 32;
    let block_bytes = 1024_u64
        .checked_shl(u32::try_from(word(0x18))?)
        .unwrap_or(0);
    let fits = blocks
        .checked_mul(block_bytes)
        .is_some_and(|all| all <= len);
    Ok(block_bytes > 0 && fits && word(0x20) >= GROUP_BLOCKS)
}

/// Whether all that is mounted is told by what is in the file system: a name by
/// partition would be that of a member of the mirror.
fn mounts_by_file_system(fstab: &str) -> bool {
    let lines = fstab.lines().map(str::trim);
    let mut devices = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next());
    devices.all(|device| {
        !(device.starts_with("PARTUUID=")
            || device.starts_with("PARTLABEL=")
            || device.starts_with("/dev/"))
    })
}

/// A partition for the ext4 reader.
#[derive(Clone)]
struct Part {
    disk: ImageDisk,
    start: u64,
}

impl Ext4Read for Part {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        let at = self
            .start
            .checked_add(start_byte)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.disk.seek(SeekFrom::Start(at))?;
        self.disk.read_exact(dst)?;
        Ok(())
    }
}
