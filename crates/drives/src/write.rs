//! Writing an image to a drive: everything that can be refused is refused before
//! the first write, and everything written is read back.

use std::{io::Read, thread, time::Duration};

use billet_model::{
    image::{BootKind, ImageChunk, ImageManifest},
    measure::{ChangeKind, DriveChange},
    work::{WriteOrder, WriteReport},
};

use crate::{
    aligned::{Aligned, is_zero},
    args, bls,
    canary::sha256,
    device::Device,
    error::{DriveError, WriteError},
    fetch::{self, padded},
    gpt::{self, Table},
    layout, measure, readback, seed,
    source::{ImageSource, SourceError},
    view::View,
    watch::Watch,
};

/// Chunks larger than this are not held in memory.
const LARGEST_CHUNK: u64 = 16 << 20;
/// Disks larger than this are not believed: a PiB.
const LARGEST_DISK: u64 = 1 << 50;
/// Bytes discarded by one command.
const DISCARD_STEP: u64 = 1 << 30;
/// Reads and writes that one look at a FAT file system may take: enough to go through
/// the whole table of a large one.
const FAT_BUDGET: u64 = 4_000_000;
/// How often the first chunk is asked for again, a second apart.
const LOOKS: u32 = 120;

/// Where kernel arguments were put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// In words.
    pub said: String,
    /// The files, read back.
    pub files: Vec<DriveChange>,
}

/// Changes kernel arguments in file systems that only the kernel can mount.
/// Returns where it put them.
pub type Mounted<'a> = &'a dyn Fn(&[String]) -> Result<Option<Placed>, WriteError>;

/// An image that stands on a drive as it was written and read back, and nothing
/// beside it yet.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Without its chunks, which are many.
    manifest: ImageManifest,
    /// What was written and measured.
    report: WriteReport,
    /// The first chunk's SHA-256; `None` where it is all zero.
    first: Option<String>,
}

impl Standing {
    /// What writing it did.
    pub fn report(&self) -> &WriteReport {
        &self.report
    }
}

/// Writes an image to `device`, which is the drive that the order names.
/// `mounted` sets kernel arguments where GRUB reads them.
///
/// # Errors
/// See [`WriteError`].
pub fn write_image(
    device: &dyn Device,
    order: &WriteOrder,
    source: &dyn ImageSource,
    mounted: Mounted<'_>,
    watch: &dyn Watch,
) -> Result<WriteReport, WriteError> {
    let manifest = source.manifest(&order.image)?;
    check_manifest(&order.image, &manifest)?;
    check_fit(device, order, &manifest)?;
    check_table(device, order, &manifest, source)?;
    let standing = put(device, &order.image, manifest, source, watch)?;
    finish(device, order, &standing, mounted, watch)
}

/// Writes an image to a drive for whoever will have it, and nothing beside it.
///
/// # Errors
/// See [`WriteError`].
pub fn prepare_image(
    device: &dyn Device,
    image: &str,
    source: &dyn ImageSource,
    watch: &dyn Watch,
) -> Result<Standing, WriteError> {
    let manifest = source.manifest(image)?;
    check_manifest(image, &manifest)?;
    check_size(device, padded(manifest.virtual_bytes))?;
    put(device, image, manifest, source, watch)
}

/// Writes what is missing to a drive on which the image stands.
///
/// # Errors
/// [`WriteError::NotPrepared`] where the drive or the image is another; else see
/// [`WriteError`].
pub fn finish_prepared(
    device: &dyn Device,
    order: &WriteOrder,
    standing: &Standing,
    mounted: Mounted<'_>,
    watch: &dyn Watch,
) -> Result<WriteReport, WriteError> {
    let not = |why| WriteError::NotPrepared {
        image: order.image.clone(),
        serial: order.drive.serial.clone(),
        why,
    };
    if standing.report.image != order.image {
        return Err(not("it holds another image"));
    }
    let length = standing.manifest.plain_len(0);
    let mut first = Aligned::zeroed(padded(length) as usize);
    device
        .read(0, &mut first)
        .map_err(DriveError::io("reading", 0))?;
    let first = &first[..length as usize];
    if (!is_zero(first)).then(|| sha256(first)) != standing.first {
        return Err(not("it begins with something else than the image"));
    }
    check_fit(device, order, &standing.manifest)?;
    if order.seed.is_some() || !order.kernel_args.is_empty() {
        check_begins_with_table(device, gpt::begins_with_table(first))?;
    }
    finish(device, order, standing, mounted, watch)
}

/// Writes the image alone, and reads it back.
fn put(
    device: &dyn Device,
    image: &str,
    manifest: ImageManifest,
    source: &dyn ImageSource,
    watch: &dyn Watch,
) -> Result<Standing, WriteError> {
    watch.may_write()?;
    discard_all(device, watch)?;
    let fetched = fetch::fetch(device, image, &manifest, source, watch)?;
    device.flush().map_err(DriveError::io("flushing", 0))?;
    let (verified_bytes, found) = readback::read_back(device, &manifest, watch)?;
    let report = WriteReport {
        image: image.to_owned(),
        written_bytes: fetched.written_bytes,
        discarded_bytes: manifest.virtual_bytes - fetched.written_bytes,
        verified_bytes,
        resumed: fetched.resumed,
        root_bytes: None,
        kernel_args: None,
        measured: Some(Box::new(measure::compared(
            device, image, &manifest, &found,
        ))),
        changes: Vec::new(),
        arrays: Vec::new(),
        mirrors: Vec::new(),
        mirrored: Vec::new(),
    };
    Ok(Standing {
        first: found.into_iter().next().flatten(),
        manifest: ImageManifest {
            chunks: Vec::new(),
            ..manifest
        },
        report,
    })
}

/// Makes the image that stands on a drive the tenant's.
fn finish(
    device: &dyn Device,
    order: &WriteOrder,
    standing: &Standing,
    mounted: Mounted<'_>,
    watch: &dyn Watch,
) -> Result<WriteReport, WriteError> {
    let mut report = standing.report.clone();
    if has_table(device)? {
        let image = layout::Image::of(&standing.manifest);
        let laid = layout::lay_out(device, image, order.seed.as_ref(), watch)?;
        report.root_bytes = laid.root_bytes;
        report.changes = laid.changes;
    }
    if !order.kernel_args.is_empty() {
        watch.may_write()?;
        let placed = kernel_args(device, order, mounted)?;
        report.kernel_args = Some(placed.said);
        report.changes.extend(placed.files);
        device.flush().map_err(DriveError::io("flushing", 0))?;
    }
    Ok(report)
}

/// Whether the manifest is the one that was ordered, and makes sense.
pub(crate) fn check_manifest(digest: &str, manifest: &ImageManifest) -> Result<(), WriteError> {
    let corrupt = |detail: &str| WriteError::Corrupt {
        image: digest.into(),
        detail: detail.into(),
    };
    let wanted = digest.strip_prefix("sha256:").unwrap_or(digest);
    if sha256(&manifest.canonical()) != wanted {
        return Err(corrupt("the manifest has another SHA-256"));
    }
    if manifest.version != 1 {
        return Err(WriteError::Unsuitable(format!(
            "the manifest is of version {}, and this agent knows 1",
            manifest.version
        )));
    }
    let size = manifest.chunk_bytes;
    let sized = (1..=LARGEST_DISK).contains(&manifest.virtual_bytes);
    if size == 0 || size > LARGEST_CHUNK || size != padded(size) || !sized {
        return Err(corrupt("the manifest's sizes make no sense"));
    }
    let count = manifest.virtual_bytes.div_ceil(size);
    let in_order = manifest.chunks.windows(2).all(|w| w[0].index < w[1].index);
    let in_range = manifest.chunks.iter().all(|c| {
        // A frame of zstd is never much longer than what it holds.
        let length = u64::from(c.length);
        c.index < count && length <= size + (64 << 10) && c.offset.checked_add(length).is_some()
    });
    if !in_order || !in_range {
        return Err(corrupt("the manifest's chunks make no sense"));
    }
    Ok(())
}

fn check_size(device: &dyn Device, needed: u64) -> Result<(), WriteError> {
    if needed <= device.size() {
        return Ok(());
    }
    Err(WriteError::Unsuitable(format!(
        "the image needs {needed} bytes, and the drive has {}",
        device.size()
    )))
}

/// Whether the image can be made what was asked, on this drive.
pub(crate) fn check_fit(
    device: &dyn Device,
    order: &WriteOrder,
    manifest: &ImageManifest,
) -> Result<(), WriteError> {
    let mut needed = padded(manifest.virtual_bytes);
    if order.seed.is_some() {
        needed += seed::BYTES + layout::SLACK;
    }
    check_size(device, needed)?;
    if order.kernel_args.is_empty() {
        return Ok(());
    }
    if manifest.boot == BootKind::Unknown {
        return Err(WriteError::Unsuitable(
            "kernel arguments were asked for, and it is not known how this image boots".into(),
        ));
    }
    let plain = manifest.boot != BootKind::Bls;
    match order
        .kernel_args
        .iter()
        .find_map(|a| args::objection(a, plain))
    {
        Some(objection) => Err(WriteError::Unsuitable(objection)),
        None => Ok(()),
    }
}

/// Whether the image has the partition table that a seed or arguments need: its
/// first chunk is fetched to see.
pub(crate) fn check_table(
    device: &dyn Device,
    order: &WriteOrder,
    manifest: &ImageManifest,
    source: &dyn ImageSource,
) -> Result<(), WriteError> {
    if order.seed.is_none() && order.kernel_args.is_empty() {
        return Ok(());
    }
    let has_table = match manifest.chunks.first().filter(|c| c.index == 0) {
        None => false,
        Some(chunk) => {
            let packed = look(&order.image, chunk, source)?;
            let plain = zstd::bulk::decompress(&packed, manifest.chunk_bytes as usize);
            // What does not unpack is found and named when it is written.
            plain.map_or(true, |p| gpt::begins_with_table(&p))
        }
    };
    check_begins_with_table(device, has_table)
}

fn check_begins_with_table(device: &dyn Device, has_table: bool) -> Result<(), WriteError> {
    if !has_table {
        return Err(WriteError::Unsuitable(
            "the image has no GUID partition table, which a seed or kernel arguments need".into(),
        ));
    }
    if device.block_bytes() != 512 {
        return Err(WriteError::Unsuitable(format!(
            "the image is made for drives with blocks of 512 bytes, and this one has {}",
            device.block_bytes()
        )));
    }
    Ok(())
}

/// One chunk as it is stored, asked for a few times.
fn look(image: &str, chunk: &ImageChunk, source: &dyn ImageSource) -> Result<Vec<u8>, WriteError> {
    let length = u64::from(chunk.length);
    let mut tries = 0;
    loop {
        let read = source
            .blob(image, chunk.offset, length)
            .and_then(|mut blob| {
                let mut packed = vec![0; length as usize];
                blob.read_exact(&mut packed)
                    .map(|()| packed)
                    .map_err(|e| SourceError::Passing(format!("the stream broke: {e}")))
            });
        match read {
            Err(SourceError::Passing(_)) if tries < LOOKS => {
                tries += 1;
                thread::sleep(Duration::from_secs(1));
            }
            other => return Ok(other?),
        }
    }
}

/// Says that nothing on the drive is needed. A drive that knows no discard is
/// told in vain: what is not written is read back in any case.
pub(crate) fn discard_all(device: &dyn Device, watch: &dyn Watch) -> Result<(), WriteError> {
    let mut offset = 0;
    while offset < device.size() {
        watch.may_write()?;
        let length = DISCARD_STEP.min(device.size() - offset);
        if device.discard(offset, length).is_err() {
            break;
        }
        offset += length;
    }
    Ok(())
}

pub(crate) fn has_table(device: &dyn Device) -> Result<bool, WriteError> {
    let mut first = Aligned::zeroed(4096);
    device
        .read(0, &mut first)
        .map_err(DriveError::io("reading", 0))?;
    Ok(device.block_bytes() == 512 && gpt::begins_with_table(&first))
}

/// Sets kernel arguments: in boot loader entries on FAT partitions, else through
/// the kernel. Returns where they are.
pub(crate) fn kernel_args(
    device: &dyn Device,
    order: &WriteOrder,
    mounted: Mounted<'_>,
) -> Result<Placed, WriteError> {
    let block = u64::from(device.block_bytes());
    let reading = DriveError::io("reading the partition table", 0);
    let table = Table::read(&mut View::whole(device), block).map_err(reading)?;
    let mut places = Vec::new();
    let mut files = Vec::new();
    for partition in table.partitions() {
        if partition.kind != gpt::ESP && partition.kind != gpt::XBOOTLDR {
            continue;
        }
        let start = partition.first * block;
        let length = (partition.last + 1 - partition.first) * block;
        let view = || View::new(device, start, length).with_budget(FAT_BUDGET);
        let unsuitable = |e| {
            WriteError::Unsuitable(format!("partition {}: boot entries: {e}", partition.number))
        };
        let changed = match bls::set(view(), &order.kernel_args) {
            Ok(changed) => changed,
            // An extended boot partition need not be FAT.
            Err(_) if partition.kind == gpt::XBOOTLDR => continue,
            Err(error) => return Err(unsuitable(error)),
        };
        device.flush().map_err(DriveError::io("flushing", start))?;
        if !changed.is_empty() {
            if !bls::check(view(), &order.kernel_args).map_err(unsuitable)? {
                return Err(DriveError::Differs { offset: start }.into());
            }
            for (name, text) in bls::read(view()).map_err(unsuitable)? {
                files.push(DriveChange {
                    what: ChangeKind::KernelArguments,
                    place: format!("partition {}: /loader/entries/{name}", partition.number),
                    bytes: text.len() as u64,
                    sha256: sha256(text.as_bytes()),
                });
            }
            places.push(format!("boot loader entries {}", changed.join(", ")));
        }
    }
    match mounted(&order.kernel_args) {
        Ok(Some(placed)) => {
            places.push(placed.said);
            files.extend(placed.files);
        }
        Ok(None) => {}
        // Boot loader entries suffice for this boot; files for later updates are extra.
        Err(_) if !places.is_empty() => {}
        Err(error) => return Err(error),
    }
    if places.is_empty() {
        return Err(WriteError::Unsuitable(
            "no boot loader entry and no GRUB configuration was found for kernel arguments".into(),
        ));
    }
    Ok(Placed {
        said: places.join("; "),
        files,
    })
}

#[cfg(test)]
pub(crate) mod tests;
