//! What an image's file systems say, and what is done to them: a disk of two MiB with changes.
//!
//! The first byte: 1 mends the table's checksums after the changes, 2 asks for kernel arguments.
//! Then each change is three bytes of an offset, one of a length, and so many bytes.

use std::{
    io::{self, Read},
    sync::{LazyLock, Mutex, PoisonError},
};

use billet_drives::{
    Device, ImageSource, SourceError, WriteError, watch::Stopped, write::Placed, write_image,
};
use billet_media::image::{ImageReader, ImportOptions, import};
use billet_model::{
    LeaseId,
    image::ImageManifest,
    work::{EraseMethod, Progress, WriteOrder},
};

use super::directory;

static DISK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let packed: &[u8] = include_bytes!("../../fixtures/disk.raw.zst");
    zstd::decode_all(packed).expect("a disk")
});

/// Bytes of the drive that is written.
const DRIVE: usize = 3 << 20;

/// A drive in memory.
pub(super) struct Drive(Mutex<Vec<u8>>);

impl Drive {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    fn part<T>(
        &self,
        offset: u64,
        length: usize,
        with: impl FnOnce(&mut [u8]) -> T,
    ) -> io::Result<T> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at.checked_add(length);
        let part = end.and_then(|end| bytes.get_mut(at..end));
        part.map(with)
            .ok_or_else(|| io::Error::other("beyond the end"))
    }
}

impl Device for Drive {
    fn size(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn block_bytes(&self) -> u32 {
        512
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.part(offset, into.len(), |part| into.copy_from_slice(part))
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.part(offset, from.len(), |part| part.copy_from_slice(from))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.part(offset, length as usize, |part| part.fill(0))
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.discard(offset, length)
    }

    fn command(&self, _: EraseMethod, _: &dyn Fn(u16)) -> Result<(), String> {
        Err("it has none".into())
    }
}

/// An image at hand.
pub(super) struct Stored {
    pub manifest: ImageManifest,
    pub blob: Vec<u8>,
}

impl ImageSource for Stored {
    fn manifest(&self, _: &str) -> Result<ImageManifest, SourceError> {
        Ok(self.manifest.clone())
    }

    fn blob(&self, _: &str, offset: u64, length: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let end = offset
            .checked_add(length)
            .and_then(|end| usize::try_from(end).ok());
        let part = end.and_then(|end| self.blob.get(usize::try_from(offset).ok()?..end));
        let part = part.ok_or_else(|| SourceError::Final("beyond the end".into()))?;
        Ok(Box::new(io::Cursor::new(part.to_vec())))
    }
}

/// Whatever is to be written may be.
pub(super) struct Yes;

impl billet_drives::Watch for Yes {
    fn progress(&self, progress: Progress) {
        assert!(progress.done <= progress.total, "{progress:?}");
    }

    fn may_write(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Nothing that only a kernel could mount.
pub(super) struct NoMounts;

impl NoMounts {
    pub fn none(_: &[String]) -> Result<Option<Placed>, WriteError> {
        Ok(None)
    }
}

/// An order to write an image, as one that brings nothing else would be sent.
pub(super) fn order(image: &str, kernel_args: &[&str]) -> WriteOrder {
    let order = serde_json::json!({
        "lease": LeaseId::from_parts(1, [1; 10]),
        "image": image,
        "drive": {"serial": "D1", "wwn": null},
        "kernel_args": kernel_args,
        "seed": null,
    });
    serde_json::from_value(order).expect("an order")
}

fn changed(bytes: &[u8]) -> (Vec<u8>, u8) {
    let mut disk = DISK.clone();
    let (flags, mut changes) = bytes.split_first().unwrap_or((&0, &[]));
    while let [a, b, c, length, rest @ ..] = changes {
        let at = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        let at = at % disk.len();
        let (new, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let room = new.len().min(disk.len() - at);
        disk[at..at + room].copy_from_slice(&new[..room]);
        changes = rest;
    }
    if flags & 1 != 0 {
        mend_table(&mut disk);
    }
    (disk, *flags)
}

/// Makes the primary table's checksums right for what stands in it.
fn mend_table(disk: &mut [u8]) {
    const HEADER: usize = 512;
    let word = |disk: &[u8], at: usize| {
        u32::from_le_bytes(
            disk[HEADER + at..HEADER + at + 4]
                .try_into()
                .expect("4 bytes"),
        )
    };
    let (count, size) = (word(disk, 80) as usize, word(disk, 84) as usize);
    let entries = u64::from_le_bytes(disk[HEADER + 72..HEADER + 80].try_into().expect("8 bytes"));
    let start = usize::try_from(entries)
        .ok()
        .and_then(|block| block.checked_mul(512));
    let end = start
        .zip(count.checked_mul(size))
        .and_then(|(start, length)| start.checked_add(length));
    if let Some((start, end)) = start.zip(end)
        && let Some(entries) = disk.get(start..end)
    {
        let sum = crc32fast::hash(entries);
        disk[HEADER + 88..HEADER + 92].copy_from_slice(&sum.to_le_bytes());
    }
    disk[HEADER + 16..HEADER + 20].fill(0);
    let sum = crc32fast::hash(&disk[HEADER..HEADER + 92]);
    disk[HEADER + 16..HEADER + 20].copy_from_slice(&sum.to_le_bytes());
}

/// Takes the disk in, and writes it to a drive.
pub fn run(bytes: &[u8]) {
    let (disk, flags) = changed(bytes);
    let directory = directory();
    let options = ImportOptions {
        checksum: None,
        max_virtual_size: disk.len() as u64,
        expected_bytes: None,
        dir: directory.path().to_owned(),
    };
    let Ok(imported) = import(&disk[..], &options, &mut |_| {}) else {
        return;
    };
    let system = imported.facts.system.as_deref().unwrap_or_default();
    assert!(system.chars().count() <= 100);
    let digest = imported.content.digest;
    let stored = ImageReader::open(directory.path(), &digest).expect("it was stored");
    let source = Stored {
        manifest: stored.manifest().clone(),
        blob: std::fs::read(&imported.blob_path).expect("its blob"),
    };
    let kernel_args: &[&str] = match flags & 2 {
        0 => &[],
        _ => &["billet.try=1"],
    };
    let order = order(&digest, kernel_args);
    let drive = Drive::new(vec![0x5a; DRIVE]);
    if let Ok(report) = write_image(&drive, &order, &source, &NoMounts::none, &Yes) {
        assert_eq!(report.verified_bytes, disk.len() as u64);
        assert!(report.root_bytes.is_none_or(|bytes| bytes <= DRIVE as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this the target could go on fuzzing a disk on which nothing is found.
    #[test]
    fn everything_is_found_on_the_disk_without_changes() {
        let directory = directory();
        let options = ImportOptions {
            checksum: None,
            max_virtual_size: DISK.len() as u64,
            expected_bytes: None,
            dir: directory.path().to_owned(),
        };
        let imported = import(&changed(&[1]).0[..], &options, &mut |_| {}).expect("an image");
        let facts = imported.facts;
        assert!(facts.gpt);
        assert_eq!((facts.esp, facts.root_partition), (Some(1), Some(2)));
        assert_eq!(facts.system.as_deref(), Some("A system to try"));
        assert_eq!(facts.cloud_init, Some(true));
        assert_eq!(facts.boot, billet_model::image::BootKind::Bls);
    }
}
