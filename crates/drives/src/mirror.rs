//! A root on several drives, each of which can boot by itself.
//!
//! Every drive has the whole image. Its partitions are mirrored one by one, and
//! not the drives: each keeps a partition table of its own, so that firmware
//! finds a system partition on it and its backup table stands where it belongs.
//! The superblock is at the end of each partition (version 1.0), so that what is
//! in front reads as it does without one: firmware sees FAT, and Linux sees a
//! member of an array and not a second file system of the same UUID. A partition
//! whose file system reaches to its end has no room for that: it is a plain copy,
//! and the report says so. The root must be mirrored.

use std::{
    io::{self, Read, Seek, SeekFrom},
    time::{SystemTime, UNIX_EPOCH},
};

use billet_model::{
    LeaseId,
    layout::{Level, derived},
    measure::DriveChange,
    work::{MirrorWritten, Seed, WriteOrder, WriteReport},
};

use crate::{
    arrays,
    canary::random,
    copies::Copies,
    device::Device,
    error::{DriveError, WriteError},
    fetch, gpt,
    layout::{self, random_guid},
    md::{Array, Place, SECTOR},
    measure, readback,
    source::ImageSource,
    view::View,
    watch::Watch,
    write::{self, Mounted},
};

/// Kinds of partitions that hold no file system, or one of Billet's own.
const NOT_MIRRORED: &[[u8; 16]] = &[gpt::BASIC_DATA, gpt::BIOS_BOOT];

/// One partition that is mirrored.
struct Mirrored {
    number: u32,
    name: String,
    start: u64,
    place: Place,
}

/// One drive of a mirror.
pub struct Member<'a> {
    /// Its serial number.
    pub serial: String,
    /// The drive.
    pub device: &'a dyn Device,
    /// Sets kernel arguments where GRUB reads them on it.
    pub mounted: Mounted<'a>,
}

/// Writes an image to all of these drives, the first of which is the one that the
/// order names.
///
/// # Errors
/// See [`WriteError`].
pub fn write_mirror(
    members: &[Member<'_>],
    order: &WriteOrder,
    source: &dyn ImageSource,
    watch: &dyn Watch,
) -> Result<WriteReport, WriteError> {
    let copies = Copies(members.iter().map(|m| m.device).collect());
    let manifest = source.manifest(&order.image)?;
    write::check_manifest(&order.image, &manifest)?;
    write::check_fit(&copies, order, &manifest)?;
    write::check_table(&copies, order, &manifest, source)?;

    watch.may_write()?;
    write::discard_all(&copies, watch)?;
    let fetched = fetch::fetch(&copies, &order.image, &manifest, source, watch)?;
    copies.flush().map_err(DriveError::io("flushing", 0))?;
    let (verified_bytes, found) = readback::read_back(&copies, &manifest, watch)?;
    let measured = measure::compared(&copies, &order.image, &manifest, &found);
    if !write::has_table(&copies)? {
        return Err(WriteError::Unsuitable(
            "the image has no GUID partition table for drives with blocks of 512 bytes, which a mirror needs"
                .into(),
        ));
    }
    let mut laid = lay_out(
        &copies,
        layout::Image::of(&manifest),
        order.seed.as_ref(),
        order.lease,
        watch,
    )?;
    let mut said = None;
    if !order.kernel_args.is_empty() {
        watch.may_write()?;
        for (member, changes) in members.iter().zip(&mut laid.changes) {
            let placed = write::kernel_args(member.device, order, member.mounted)?;
            said.get_or_insert(placed.said);
            changes.extend(placed.files);
        }
        copies.flush().map_err(DriveError::io("flushing", 0))?;
    }
    let mut changes = laid.changes.into_iter();
    let first = changes.next().unwrap_or_default();
    Ok(WriteReport {
        image: order.image.clone(),
        written_bytes: fetched.written_bytes,
        discarded_bytes: manifest.virtual_bytes - fetched.written_bytes,
        verified_bytes,
        resumed: fetched.resumed,
        root_bytes: Some(laid.root_bytes),
        kernel_args: said,
        measured: Some(Box::new(measured)),
        changes: first,
        arrays: Vec::new(),
        mirrors: members[1..]
            .iter()
            .zip(changes)
            .map(|(member, changes)| MirrorWritten {
                serial: member.serial.clone(),
                changes,
            })
            .collect(),
        mirrored: laid.said,
    })
}

/// How the drives were laid out.
struct Laid {
    root_bytes: u64,
    /// What was put on each drive, read back.
    changes: Vec<Vec<DriveChange>>,
    said: Vec<String>,
}

/// Lays the drives out: as [`layout::lay_out`] does for one, and marks their
/// partitions as each other's copies.
fn lay_out(
    copies: &Copies<'_>,
    image: layout::Image,
    seed: Option<&Seed>,
    lease: LeaseId,
    watch: &dyn Watch,
) -> Result<Laid, WriteError> {
    let root = image.root.ok_or_else(|| {
        WriteError::Unsuitable("it is not known which partition of the image is its root".into())
    })?;
    let mut planned = layout::plan(copies, image, seed, watch)?;
    let block = u64::from(copies.block_bytes());
    let mut mirrored = Vec::new();
    let mut said = Vec::new();
    for partition in planned.table.partitions() {
        if NOT_MIRRORED.contains(&partition.kind) {
            continue;
        }
        let start = partition.first * block;
        let length = (partition.last + 1 - partition.first) * block;
        let end =
            file_system_end(copies, start).map_err(DriveError::io("reading a partition", start))?;
        let number = partition.number;
        let name = match partition.kind {
            _ if number == root => "root".to_owned(),
            gpt::ESP => "esp".to_owned(),
            _ => format!("part{number}"),
        };
        match (Place::at_end(length), end) {
            (Some(place), Some(end)) if end <= place.sectors * SECTOR => {
                said.push(format!("partition {number} ({name}) is mirrored"));
                mirrored.push(Mirrored {
                    number,
                    name,
                    start,
                    place,
                });
            }
            _ if number == root => {
                return Err(WriteError::Unsuitable(
                    "the image's root file system leaves no room behind it for a mirror's superblock"
                        .into(),
                ));
            }
            _ => said.push(format!(
                "partition {number} ({name}) is a plain copy: its file system leaves no room for a mirror's superblock"
            )),
        }
    }
    // Nothing may take a member for the file system that is on the array. What
    // firmware looks for keeps its type.
    planned.table.set_kind(root, gpt::LINUX_RAID);
    let mut changes = Vec::new();
    for (n, device) in copies.0.iter().enumerate() {
        watch.may_write()?;
        let mut table = planned.table.clone();
        table.fit(device.size());
        // Each to its own end: one may be larger than the others.
        layout::forget(*device, planned.free, device.size() - table.tail_bytes())?;
        for partition in table.partitions() {
            let is_mirrored = mirrored.iter().any(|m| m.number == partition.number);
            if n > 0 || is_mirrored {
                table.set_unique(partition.number, random_guid());
            }
        }
        if n > 0 {
            table.set_disk(random_guid());
        }
        let writing = DriveError::io("writing the partition table", 0);
        table.write(&mut View::whole(*device)).map_err(writing)?;
        device.flush().map_err(DriveError::io("flushing", 0))?;
        let mut own = planned.layout.changes.clone();
        own.extend(layout::read_back(*device, &table)?);
        changes.push(own);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    for part in &mirrored {
        let array = Array {
            name: &part.name,
            id: *derived(lease, &format!("mirror of partition {}", part.number)).as_bytes(),
            level: Level::Raid1,
            places: vec![part.place; copies.0.len()],
            now,
        };
        for (n, device) in copies.0.iter().enumerate() {
            let mut own = [0; 16];
            random(&mut own);
            changes[n].push(arrays::mark(*device, &array, n, own, part.start)?);
        }
    }
    let root = mirrored.iter().find(|m| m.number == root);
    Ok(Laid {
        root_bytes: root.map_or(0, |m| m.place.sectors * SECTOR),
        changes,
        said,
    })
}

/// Where the file system that begins at `start` ends, in bytes from there; `None`
/// where it is none that is known.
fn file_system_end(device: &dyn Device, start: u64) -> io::Result<Option<u64>> {
    let mut view = View::whole(device);
    view.seek(SeekFrom::Start(start))?;
    let mut head = [0; 2048];
    view.read_exact(&mut head)?;
    let half = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let word = |at: usize| half(at) | half(at + 2) << 16;
    // ext4's superblock is at 1024: s_magic, s_log_block_size, s_blocks_count.
    if half(1024 + 56) == 0xef53 {
        let mut blocks = word(1024 + 4);
        let has_64_bits = word(1024 + 96) & 0x80 != 0;
        if has_64_bits {
            blocks |= word(1024 + 336) << 32;
        }
        let shift = 10 + word(1024 + 24).min(16);
        return Ok(blocks.checked_shl(shift as u32));
    }
    // XFS: sb_blocksize and sb_dblocks, which are big-endian.
    if head[..4] == *b"XFSB" {
        let size = u64::from(u32::from_be_bytes([head[4], head[5], head[6], head[7]]));
        let mut count = [0; 8];
        count.copy_from_slice(&head[8..16]);
        return Ok(u64::from_be_bytes(count).checked_mul(size));
    }
    // FAT: BPB_BytsPerSec, and BPB_TotSec16 or BPB_TotSec32.
    let jumps = head[0] == 0xeb || head[0] == 0xe9;
    if jumps && head[510..512] == [0x55, 0xaa] && (half(11) == 512 || half(11) == 4096) {
        let sectors = if half(19) == 0 { word(32) } else { half(19) };
        return Ok(Some(sectors * half(11)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
