//! The image's partitions, and what is on its EFI system partition.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types;
use uuid::Uuid;

use super::bootstrap::{RELEASE, Tree};
use super::recipe::Recipe;
use super::{BuildError, io_error};
use crate::window::Window;

/// Bytes of a sector, as the partition table counts them.
const SECTOR: u64 = 512;
/// Partitions begin at multiples of this, in bytes; so much is free at the end, too.
const ALIGNMENT: u64 = 1 << 20;
/// Bytes of the ESP: enough for three kernels with their initrds.
const ESP_SIZE: u64 = 256 << 20;

/// A part of the image, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub len: u64,
}

/// Where things are in the image, and what they are known by.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The image's size in bytes.
    pub size: u64,
    /// The EFI system partition.
    pub esp: Extent,
    /// The root partition, the last.
    pub root: Extent,
    /// The root file system's UUID.
    pub root_fs: Uuid,
    /// The system partition's volume id.
    esp_fs: u32,
    disk: Uuid,
    esp_part: Uuid,
    root_part: Uuid,
}

impl Layout {
    /// The layout of an image of `size` bytes, which is rounded down to whole MiB.
    pub fn new(size: u64) -> Self {
        let size = size / ALIGNMENT * ALIGNMENT;
        let esp = Extent {
            start: ALIGNMENT,
            len: ESP_SIZE,
        };
        let start = esp.start + esp.len;
        Self {
            size,
            esp,
            root: Extent {
                start,
                len: size - start - ALIGNMENT,
            },
            root_fs: Uuid::new_v4(),
            esp_fs: Uuid::new_v4().as_fields().0,
            disk: Uuid::new_v4(),
            esp_part: Uuid::new_v4(),
            root_part: Uuid::new_v4(),
        }
    }

    /// The image's `/etc/fstab`. By file systems and not by partitions: so it holds
    /// where partitions are mirrored too.
    pub fn fstab(&self) -> String {
        format!(
            "UUID={} / ext4 defaults,errors=remount-ro 0 1\nUUID={:04X}-{:04X} /boot/efi vfat umask=0077,nofail,noauto,x-systemd.automount,x-systemd.idle-timeout=60 0 0\n",
            self.root_fs,
            self.esp_fs >> 16,
            self.esp_fs & 0xffff
        )
    }
}

/// Writes partition table and ESP into the image; returns the kernel's release.
pub fn finish(recipe: &Recipe, layout: &Layout, tree: &Tree) -> Result<String, BuildError> {
    let release_path = tree.taken(RELEASE);
    let release = fs::read_to_string(&release_path)
        .map_err(|e| io_error("reading", &release_path, e))?
        .trim()
        .to_owned();
    let path = tree.image();
    write_esp(recipe, layout, tree, &release, &path)
        .map_err(|e| io_error("writing the EFI system partition of", &path, e))?;
    write_table(layout, &path).map_err(|e| BuildError::Partitions(e.to_string()))?;
    Ok(release)
}

fn write_table(layout: &Layout, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let sectors = u32::try_from(layout.size / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut file)?;
    let mut disk = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(file, Some(layout.disk))?;
    let partition = |kind, name: &str, guid, extent: Extent| Partition {
        part_type_guid: kind,
        part_guid: guid,
        first_lba: extent.start / SECTOR,
        last_lba: (extent.start + extent.len) / SECTOR - 1,
        flags: 0,
        name: name.to_owned(),
    };
    disk.update_partitions(BTreeMap::from([
        (
            1,
            partition(partition_types::EFI, "esp", layout.esp_part, layout.esp),
        ),
        (
            2,
            partition(
                partition_types::LINUX_ROOT_X64,
                "root",
                layout.root_part,
                layout.root,
            ),
        ),
    ]))?;
    disk.write()?;
    Ok(())
}

fn write_esp(
    recipe: &Recipe,
    layout: &Layout,
    tree: &Tree,
    release: &str,
    path: &Path,
) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    // What is left free at its end is for the superblock of a mirror.
    let mut window = Window::new(file, layout.esp.start, layout.esp.len - ALIGNMENT);
    fatfs::format_volume(
        &mut window,
        FormatVolumeOptions::new()
            .fat_type(FatType::Fat32)
            .bytes_per_cluster(1024)
            .volume_id(layout.esp_fs)
            .volume_label(*b"ESP        "),
    )?;
    let volume = FileSystem::new(window, FsOptions::new())?;
    {
        let root = volume.root_dir();
        let kernels = format!("{}/{release}", recipe.token);
        for directory in [
            "EFI",
            "EFI/BOOT",
            "EFI/systemd",
            "EFI/Linux",
            "loader",
            "loader/entries",
            recipe.token,
            &kernels,
        ] {
            root.create_dir(directory)?;
        }
        let copy = |from: &str, to: &str| -> io::Result<()> {
            let mut from = File::open(tree.taken(from))?;
            io::copy(&mut from, &mut root.create_file(to)?)?;
            Ok(())
        };
        copy("systemd-boot", "EFI/BOOT/BOOTX64.EFI")?;
        copy("systemd-boot", "EFI/systemd/systemd-bootx64.efi")?;
        copy("linux", &format!("{kernels}/linux"))?;
        copy("initrd", &format!("{kernels}/initrd.img"))?;
        root.create_file("loader/loader.conf")?
            .write_all(b"timeout 0\nconsole-mode keep\n")?;
        root.create_file("loader/entries.srel")?
            .write_all(b"type1\n")?;
        let entry = entry(recipe, layout, release);
        root.create_file(&format!("loader/entries/{}-{release}.conf", recipe.token))?
            .write_all(entry.as_bytes())?;
    }
    volume.unmount()
}

/// The boot loader specification's entry (type 1).
fn entry(recipe: &Recipe, layout: &Layout, release: &str) -> String {
    let Recipe {
        title,
        token,
        cmdline,
        ..
    } = recipe;
    format!(
        "title      {title}\n\
         version    {release}\n\
         sort-key   {token}\n\
         options    root=UUID={root} {cmdline}\n\
         linux      /{token}/{release}/linux\n\
         initrd     /{token}/{release}/initrd.img\n",
        root = layout.root_fs
    )
}
