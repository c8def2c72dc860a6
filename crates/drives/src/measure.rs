//! What a drive holds, beside the image that it was written with. Only reads.

use std::{
    collections::HashMap,
    io::{self, Read, Seek, SeekFrom},
};

use billet_model::{
    image::{ImageChunk, ImageManifest},
    measure::{ChunkCount, Measured, MeasuredCopy, MeasuredPart},
    work::MeasureOrder,
};

use crate::{
    aligned::{Aligned, is_zero},
    canary::sha256,
    chunks::{self, Found},
    device::Device,
    error::{DriveError, WriteError},
    fetch::padded,
    gpt::{self, Partition, Table},
    source::ImageSource,
    view::View,
    watch::Watch,
    write::check_manifest,
};

/// Reads `device`, which is the drive that the order names, and compares it with
/// the image, chunk by chunk.
///
/// # Errors
/// When the drive or the image's manifest cannot be read, or the drive is
/// smaller than the image.
pub fn measure(
    device: &dyn Device,
    order: &MeasureOrder,
    source: &dyn ImageSource,
    watch: &dyn Watch,
) -> Result<Measured, WriteError> {
    measure_copies(device, &[], order, source, watch)
}

/// As [`measure`], of the drives of a mirror, by serial number, the first of which
/// is the one that the others are compared with too.
///
/// # Errors
/// As there.
pub fn measure_copies(
    first: &dyn Device,
    others: &[(String, &dyn Device)],
    order: &MeasureOrder,
    source: &dyn ImageSource,
    watch: &dyn Watch,
) -> Result<Measured, WriteError> {
    let manifest = source.manifest(&order.image)?;
    check_manifest(&order.image, &manifest)?;
    for device in [first].into_iter().chain(others.iter().map(|(_, d)| *d)) {
        check_size(device, &manifest)?;
    }
    let found = read(first, &manifest, watch)?;
    let mut measured = compared(first, &order.image, &manifest, &found);
    for (serial, device) in others {
        let copy = read(*device, &manifest, watch)?;
        let differ = found.iter().zip(&copy).filter(|(a, b)| a != b).count();
        let alone = compared(*device, &order.image, &manifest, &copy);
        measured.copies.push(MeasuredCopy {
            drive: serial.clone(),
            content: alone.content,
            chunks: alone.chunks,
            differ: differ as u64,
        });
    }
    Ok(measured)
}

fn check_size(device: &dyn Device, manifest: &ImageManifest) -> Result<(), WriteError> {
    if padded(manifest.virtual_bytes) <= device.size() {
        return Ok(());
    }
    Err(WriteError::Unsuitable(format!(
        "the image has {} bytes, and the drive only {}",
        manifest.virtual_bytes,
        device.size()
    )))
}

fn read(
    device: &dyn Device,
    manifest: &ImageManifest,
    watch: &dyn Watch,
) -> Result<Found, WriteError> {
    chunks::each(manifest, "reading the drive", watch, |index, buffer| {
        let offset = index * manifest.chunk_bytes;
        let length = manifest.plain_len(index);
        let whole = &mut buffer[..padded(length) as usize];
        device
            .read(offset, whole)
            .map_err(DriveError::io("reading", offset))?;
        let plain = &whole[..length as usize];
        Ok((!is_zero(plain)).then(|| sha256(plain)))
    })
}

/// What was found, beside what the manifest says.
pub(crate) fn compared(
    device: &dyn Device,
    image: &str,
    manifest: &ImageManifest,
    found: &Found,
) -> Measured {
    let wanted: HashMap<u64, &ImageChunk> = manifest.chunks.iter().map(|c| (c.index, c)).collect();
    let partitions = partitions(device);
    let block = u64::from(device.block_bytes());
    let mut parts: Vec<MeasuredPart> = partitions
        .iter()
        .map(|p| Some(p.number))
        .chain([None])
        .map(|partition| MeasuredPart {
            partition,
            chunks: ChunkCount::default(),
        })
        .collect();
    let mut chunks = ChunkCount::default();
    for (index, hash) in (0..).zip(found) {
        let expected = wanted.get(&index);
        let same = expected.map(|c| &c.sha256) == hash.as_ref();
        chunks.add(expected.is_some(), same);
        let begin = index * manifest.chunk_bytes;
        let end = begin + manifest.plain_len(index);
        let within = |p: &Partition| p.first * block < end && (p.last + 1) * block > begin;
        let mut inside = false;
        for (part, partition) in parts.iter_mut().zip(&partitions) {
            if within(partition) {
                inside = true;
                part.chunks.add(expected.is_some(), same);
            }
        }
        if !inside && let Some(outside) = parts.last_mut() {
            outside.chunks.add(expected.is_some(), same);
        }
    }
    parts.retain(|p| p.chunks != ChunkCount::default());
    Measured {
        image: image.to_owned(),
        content: content(image, manifest, found),
        bytes: manifest.virtual_bytes,
        chunks,
        parts,
        copies: Vec::new(),
    }
}

/// The image's digest, made of what was found: where each chunk is stored stays
/// as the manifest has it, and its hash is the drive's.
fn content(image: &str, manifest: &ImageManifest, found: &Found) -> String {
    let mut wanted = manifest.chunks.iter().peekable();
    let mut read = ImageManifest {
        chunks: Vec::with_capacity(manifest.chunks.len()),
        ..manifest.clone()
    };
    for (index, hash) in (0..).zip(found) {
        let expected = wanted.next_if(|c| c.index == index);
        let (offset, length) = expected.map_or((0, 0), |c| (c.offset, c.length));
        if let Some(sha256) = hash.clone() {
            read.chunks.push(ImageChunk {
                index,
                sha256,
                offset,
                length,
            });
        }
    }
    let prefix = if image.starts_with("sha256:") {
        "sha256:"
    } else {
        ""
    };
    format!("{prefix}{}", sha256(&read.canonical()))
}

/// The drive's partitions as they are now; none where it has no table.
fn partitions(device: &dyn Device) -> Vec<Partition> {
    let block = u64::from(device.block_bytes());
    let mut first = Aligned::zeroed(4096);
    if device.read(0, &mut first).is_err() || !gpt::begins_with_table(&first) {
        return Vec::new();
    }
    Table::read(&mut View::whole(device), block).map_or_else(|_| Vec::new(), |t| t.partitions())
}

/// The SHA-256 of a range of the drive, which is short.
///
/// # Errors
/// The drive's.
pub(crate) fn digest_of(device: &dyn Device, start: u64, length: u64) -> io::Result<String> {
    let mut view = View::whole(device);
    view.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![0; length as usize];
    view.read_exact(&mut bytes)?;
    Ok(sha256(&bytes))
}
