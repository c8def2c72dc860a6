//! What makes an image at home on a drive: the partition table covers it, the
//! root partition is grown, a seed stands at the end. Each is read back.

use std::io;

use billet_model::{
    image::ImageManifest,
    measure::{ChangeKind, DriveChange},
    work::Seed,
};

use crate::{
    aligned::{ALIGN, Aligned, is_zero},
    canary::{random, sha256},
    device::Device,
    error::{DriveError, WriteError},
    gpt::{BASIC_DATA, Partition, Table},
    measure::digest_of,
    seed,
    view::View,
    watch::Watch,
};

/// What partitions begin and end at multiples of.
pub(crate) const GRAIN: u64 = 1 << 20;
/// Room at the end that the backup table and rounding may take.
pub(crate) const SLACK: u64 = 2 * GRAIN;

/// What lies so close to the end of a drive or of a partition may be what a RAID or a
/// ZFS that stood there before is found by: of `md`'s records the oldest begin 128 KiB
/// before it, and two of ZFS's labels 512 KiB.
const RECORDS: u64 = GRAIN;

/// What the layout became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub root_bytes: Option<u64>,
    /// What was written for it, read back.
    pub changes: Vec<DriveChange>,
}

/// A partition table that is made, and not written yet; the seed is.
pub(crate) struct Planned {
    pub table: Table,
    pub layout: Layout,
    /// Where what stands on the drive ends: up to the backup table there is nothing.
    pub free: u64,
}

/// What is to be known of the image that stands on the drive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// The number of its root partition.
    pub root: Option<u32>,
    /// How long it is: so much of the drive is its own.
    pub bytes: u64,
}

impl Image {
    pub fn of(manifest: &ImageManifest) -> Self {
        Self {
            root: manifest.root_partition,
            bytes: manifest.virtual_bytes,
        }
    }
}

/// Lays the drive out.
pub(crate) fn lay_out(
    device: &dyn Device,
    image: Image,
    seed: Option<&Seed>,
    watch: &dyn Watch,
) -> Result<Layout, WriteError> {
    let Planned {
        table,
        mut layout,
        free,
    } = plan(device, image, seed, watch)?;
    forget(device, free, device.size() - table.tail_bytes())?;
    let writing = DriveError::io("writing the partition table", 0);
    table.write(&mut View::whole(device)).map_err(writing)?;
    device.flush().map_err(DriveError::io("flushing", 0))?;
    layout.changes.extend(read_back(device, &table)?);
    Ok(layout)
}

/// Puts the seed at the drive's end, and makes the table that covers all.
pub(crate) fn plan(
    device: &dyn Device,
    image: Image,
    seed: Option<&Seed>,
    watch: &dyn Watch,
) -> Result<Planned, WriteError> {
    watch.may_write()?;
    let block = u64::from(device.block_bytes());
    let unsuitable = |e: io::Error| WriteError::Unsuitable(format!("the image's partitions: {e}"));
    let mut table = Table::read(&mut View::whole(device), block).map_err(unsuitable)?;
    let before = table.partitions();
    table.fit(device.size());
    let end_of_data = before.iter().map(|p| p.last).max().unwrap_or(0);
    let mut free_end = table.last_usable() + 1;
    let mut layout = Layout::default();
    if let Some(seed) = seed {
        let first = (free_end * block).saturating_sub(seed::BYTES) / GRAIN * GRAIN / block;
        if first <= end_of_data {
            let text = "the image leaves no room for cloud-init's seed at the drive's end";
            return Err(WriteError::Unsuitable(text.into()));
        }
        let sha256 = put_seed(device, seed, first * block)?;
        layout.changes.push(DriveChange {
            what: ChangeKind::Seed,
            place: place(first * block, seed::BYTES),
            bytes: seed::BYTES,
            sha256,
        });
        let partition = Partition {
            number: 0,
            kind: BASIC_DATA,
            unique: random_guid(),
            first,
            last: first + seed::BYTES / block - 1,
        };
        table.add(&partition, "cidata").map_err(unsuitable)?;
        free_end = first;
    }
    // Grown only where nothing stands behind it.
    let root = image
        .root
        .and_then(|number| before.iter().find(|p| p.number == number));
    if let Some(root) = root {
        let mut last = root.last;
        if root.last == end_of_data {
            let end = free_end * block / GRAIN * GRAIN / block;
            last = last.max(end.saturating_sub(1));
            table.set_last(root.number, last);
        }
        layout.root_bytes = Some((last + 1 - root.first) * block);
    }
    // Where the image has nothing: at the end of its root, where that is grown, and behind
    // all.
    let own = image.bytes.max((end_of_data + 1) * block);
    forget(device, own, free_end * block / GRAIN * GRAIN)?;
    let ends = table.partitions().into_iter().map(|p| (p.last + 1) * block);
    let free = ends.fold(own, u64::max);
    Ok(Planned {
        table,
        layout,
        free,
    })
}

/// Writes zeroes over what ends there and may tell of an array that stood on the drive
/// before: not every drive forgets what is discarded, and a system that finds an old array
/// on its root does not start.
pub(crate) fn forget(device: &dyn Device, from: u64, end: u64) -> Result<(), WriteError> {
    let end = end / ALIGN * ALIGN;
    let from = from
        .next_multiple_of(ALIGN)
        .max(end.saturating_sub(RECORDS));
    if from >= end {
        return Ok(());
    }
    let mut bytes = Aligned::zeroed((end - from) as usize);
    device
        .write(from, &bytes)
        .map_err(DriveError::io("writing over old records", from))?;
    device.flush().map_err(DriveError::io("flushing", from))?;
    device
        .read(from, &mut bytes)
        .map_err(DriveError::io("reading what was written over", from))?;
    if is_zero(&bytes) {
        Ok(())
    } else {
        Err(DriveError::Differs { offset: from }.into())
    }
}

/// Reads a partition table back that was written: what stands where.
pub(crate) fn read_back(
    device: &dyn Device,
    table: &Table,
) -> Result<Vec<DriveChange>, WriteError> {
    let block = u64::from(device.block_bytes());
    let again = Table::read(&mut View::whole(device), block)
        .map_err(DriveError::io("reading the partition table back", 0))?;
    if again.partitions() != table.partitions() {
        return Err(DriveError::Differs { offset: 0 }.into());
    }
    let tail = device.size() - table.tail_bytes();
    let mut changes = Vec::new();
    for (what, start, length) in [
        (ChangeKind::PartitionTable, 0, table.head_bytes()),
        (ChangeKind::BackupTable, tail, table.tail_bytes()),
    ] {
        changes.push(DriveChange {
            what,
            place: place(start, length),
            bytes: length,
            sha256: digest_of(device, start, length)
                .map_err(DriveError::io("reading the partition table back", start))?,
        });
    }
    Ok(changes)
}

pub(crate) fn place(start: u64, length: u64) -> String {
    format!("bytes {start} to {} of the drive", start + length - 1)
}

/// Writes the seed's file system, and reads it back: its SHA-256 as read.
fn put_seed(device: &dyn Device, seed: &Seed, offset: u64) -> Result<String, WriteError> {
    let image =
        seed::image(seed).map_err(|e| WriteError::Unsuitable(format!("cloud-init's seed: {e}")))?;
    let mut buffer = Aligned::zeroed(image.len());
    buffer.copy_from_slice(&image);
    device
        .write(offset, &buffer)
        .map_err(DriveError::io("writing the seed", offset))?;
    device.flush().map_err(DriveError::io("flushing", offset))?;
    buffer.fill(0);
    device
        .read(offset, &mut buffer)
        .map_err(DriveError::io("reading the seed back", offset))?;
    if buffer[..] != image[..] || seed::check(&buffer, seed).is_err() {
        return Err(DriveError::Differs { offset }.into());
    }
    Ok(sha256(&buffer))
}

/// A GUID of version 4, as on disk.
pub(crate) fn random_guid() -> [u8; 16] {
    let mut guid = [0; 16];
    random(&mut guid);
    guid[7] = guid[7] & 0x0f | 0x40;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}
