//! The FAT file system that the firmware boots from, with a place kept free for the boot record.

use std::io::{self, Cursor, Write as _};

use billet_protocol::boot;
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

/// A FAT image, and where the record goes in it.
pub struct FatImage {
    pub image: Vec<u8>,
    /// Offset of the credential's content, [`boot::MAX_BYTES`] long.
    pub content: u64,
    /// Offset of the four bytes that say how long the credential is.
    pub size: u64,
}

/// Beside the ramdisk, what the file system's own tables and rounding need.
const SLACK: usize = 1 << 20;
/// Bytes. Keeps the number of clusters within FAT16's bounds up to 128 MiB.
const CLUSTER: u32 = 2048;
/// FAT16 has at least this many clusters (Microsoft's FAT specification); tables and root
/// directory, in front of them, take no more than another 64.
const LEAST_CLUSTERS: usize = 4085;
/// The directory where systemd's stub looks for what comes beside the program.
const EXTRA: &str = "EFI/BOOT/BOOTX64.EFI.extra.d";

/// Makes the file system around the ramdisk.
pub fn build(uki: &[u8]) -> io::Result<FatImage> {
    let least = (LEAST_CLUSTERS + 64) * CLUSTER as usize;
    let size = (uki.len() + boot::MAX_BYTES + SLACK)
        .max(least)
        .next_multiple_of(CLUSTER as usize);
    let mut image = vec![0; size];
    fatfs::format_volume(
        Cursor::new(&mut image[..]),
        FormatVolumeOptions::new()
            .fat_type(FatType::Fat16)
            .bytes_per_cluster(CLUSTER)
            .volume_id(0x4249_4c4c)
            .volume_label(*b"BILLET     "),
    )?;
    let placeholder = placeholder();
    {
        let volume = FileSystem::new(Cursor::new(&mut image[..]), FsOptions::new())?;
        let root = volume.root_dir();
        root.create_dir("EFI")?;
        root.create_dir("EFI/BOOT")?;
        root.create_dir(EXTRA)?;
        root.create_file("EFI/BOOT/BOOTX64.EFI")?.write_all(uki)?;
        root.create_file(&format!("{EXTRA}/{}", boot::CREDENTIAL))?
            .write_all(&placeholder)?;
    }
    let content = only(
        (0..image.len() - placeholder.len())
            .step_by(CLUSTER as usize / 4)
            .filter(|at| image[*at..].starts_with(&placeholder)),
    )?;
    let length = (boot::MAX_BYTES as u32).to_le_bytes();
    let entry = only(
        (0..image.len() - 32)
            .step_by(32)
            .filter(|at| is_entry(&image[*at..*at + 32], length)),
    )?;
    image[content..content + placeholder.len()].fill(0);
    Ok(FatImage {
        image,
        content: content as u64,
        size: (entry + 28) as u64,
    })
}

/// True for a directory entry that is the credential's: its short name is made
/// from `billet-boot.cred`, and its length is that of the placeholder.
fn is_entry(bytes: &[u8], length: [u8; 4]) -> bool {
    bytes.starts_with(b"BILLET") && bytes[8..11] == *b"CRE" && bytes[28..32] == length
}

/// Bytes that stand nowhere else in an image.
fn placeholder() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(boot::MAX_BYTES + 32);
    let mut line = 0;
    while bytes.len() < boot::MAX_BYTES {
        bytes.extend(format!("place of the boot record {line:06}\n").bytes());
        line += 1;
    }
    bytes.truncate(boot::MAX_BYTES);
    bytes
}

/// The only one; more or none means that the file system was not laid out as expected.
fn only(mut found: impl Iterator<Item = usize>) -> io::Result<usize> {
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        _ => Err(io::Error::other(
            "the boot record's place was not found exactly once",
        )),
    }
}
