//! Reading a written image back, past every cache: every chunk by its hash, and
//! what was not written as zeroes.

use std::collections::HashMap;

use billet_model::image::ImageManifest;

use crate::{
    aligned::{Aligned, is_zero},
    canary::sha256,
    chunks::{self, Found},
    copies,
    device::Device,
    error::{DriveError, WriteError},
    fetch::padded,
    watch::Watch,
};

/// Reads the image back. Ranges that were discarded and do not read as zero are
/// zeroed. Returns the bytes found to be the image's, and each chunk's hash as it
/// was read.
pub(crate) fn read_back(
    device: &dyn Device,
    manifest: &ImageManifest,
    watch: &dyn Watch,
) -> Result<(u64, Found), WriteError> {
    let hashes: HashMap<u64, &str> = manifest
        .chunks
        .iter()
        .map(|c| (c.index, c.sha256.as_str()))
        .collect();
    let found = chunks::each(manifest, "reading back", watch, |index, buffer| {
        check(
            device,
            manifest,
            index,
            hashes.get(&index).copied(),
            buffer,
            watch,
        )
    })?;
    Ok((manifest.virtual_bytes, found))
}

/// Checks one chunk; returns its hash where it is not empty.
fn check(
    device: &dyn Device,
    manifest: &ImageManifest,
    index: u64,
    hash: Option<&str>,
    buffer: &mut Aligned,
    watch: &dyn Watch,
) -> Result<Option<String>, WriteError> {
    let offset = index * manifest.chunk_bytes;
    let length = manifest.plain_len(index);
    let whole = padded(length);
    let read = |buffer: &mut Aligned| {
        device
            .read(offset, &mut buffer[..whole as usize])
            .map_err(DriveError::io("reading back", offset))
    };
    let first = device.read(offset, &mut buffer[..whole as usize]);
    // Copies may differ where the image has nothing: it is zeroed on all.
    let differ = hash.is_none() && first.as_ref().is_err_and(copies::differ);
    if !differ {
        first.map_err(DriveError::io("reading back", offset))?;
    }
    if let Some(hash) = hash {
        let read = sha256(&buffer[..length as usize]);
        if read != hash {
            return Err(DriveError::Differs { offset }.into());
        }
        return Ok(Some(read));
    }
    if differ || !is_zero(&buffer[..whole as usize]) {
        watch.may_write()?;
        if device.zero(offset, whole).is_err() {
            let zeroes = Aligned::zeroed(whole as usize);
            device
                .write(offset, &zeroes)
                .map_err(DriveError::io("zeroing", offset))?;
        }
        device.flush().map_err(DriveError::io("flushing", offset))?;
        read(buffer)?;
        if !is_zero(&buffer[..whole as usize]) {
            return Err(DriveError::Differs { offset }.into());
        }
    }
    Ok(None)
}
