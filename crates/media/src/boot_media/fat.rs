//! The FAT file system that the firmware boots from, with a place kept free for the boot record.

use std::fs::File;
use std::io::{self, Cursor, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

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

/// A FAT file system in a file, for programs that are too large for memory.
pub struct Volume<'a> {
    file: &'a File,
    size: u64,
}

impl<'a> Volume<'a> {
    /// Makes an empty one with room for so many bytes of files.
    pub fn format(file: &'a File, room: u64) -> io::Result<Self> {
        let least = (LEAST_CLUSTERS + 64) as u64 * u64::from(CLUSTER);
        let size = (room + SLACK as u64).max(least);
        // FAT16 has less than 65525 clusters, which grow with what is in them.
        let cluster = (CLUSTER..=32 * 1024)
            .step_by(CLUSTER as usize)
            .filter(|bytes| bytes.is_power_of_two())
            .find(|bytes| size / u64::from(*bytes) < 65_000)
            .ok_or_else(|| io::Error::other("it has more bytes than a FAT16 file system takes"))?;
        let size = size.next_multiple_of(u64::from(cluster));
        file.set_len(size)?;
        fatfs::format_volume(
            file,
            FormatVolumeOptions::new()
                .fat_type(FatType::Fat16)
                .bytes_per_cluster(cluster)
                .volume_id(0x4249_4c4c)
                .volume_label(*b"BILLET     "),
        )?;
        Ok(Self { file, size })
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes a file, with the directories above it.
    pub fn write(
        &self,
        path: &str,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut file = self.file;
        file.seek(SeekFrom::Start(0))?;
        let volume = FileSystem::new(file, FsOptions::new())?;
        let root = volume.root_dir();
        for (at, _) in path.match_indices('/') {
            root.create_dir(&path[..at])?;
        }
        write(&mut root.create_file(path)?)
    }

    /// Where so many bytes stand, which stand there once and begin at a sector.
    pub fn find(&self, wanted: &[u8]) -> io::Result<u64> {
        self.only(512, |bytes| bytes.starts_with(wanted), wanted.len())
    }

    /// Where the directory entry is of a file whose short name begins so and that
    /// has so many bytes.
    pub fn entry(&self, short: &[u8], length: u32) -> io::Result<u64> {
        let length = length.to_le_bytes();
        let entry = |bytes: &[u8]| bytes.starts_with(short) && bytes[28..32] == length;
        self.only(32, entry, 32)
    }

    /// The one place at a multiple of `step` where `is` holds of so many bytes.
    fn only(&self, step: usize, is: impl Fn(&[u8]) -> bool, need: usize) -> io::Result<u64> {
        const WINDOW: usize = 1 << 20;
        let mut found = Vec::new();
        let mut buffer = vec![0; WINDOW + need];
        let mut offset = 0;
        while offset < self.size {
            let mut filled = 0;
            while filled < buffer.len() {
                let read = self
                    .file
                    .read_at(&mut buffer[filled..], offset + filled as u64)?;
                if read == 0 {
                    break;
                }
                filled += read;
            }
            let places = (0..WINDOW.min(filled)).step_by(step);
            let within = places.filter(|at| at + need <= filled && is(&buffer[*at..filled]));
            found.extend(within.map(|at| offset + at as u64));
            offset += WINDOW as u64;
        }
        only(found.into_iter())
    }
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
fn only<T>(mut found: impl Iterator<Item = T>) -> io::Result<T> {
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        _ => Err(io::Error::other(
            "the place of what is a machine's own was not found exactly once",
        )),
    }
}
