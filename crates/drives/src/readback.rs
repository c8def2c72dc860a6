//! Reading a written image back, past every cache: every chunk by its hash, and
//! what was not written as zeroes.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use billet_model::image::ImageManifest;

use crate::{
    aligned::{Aligned, is_zero},
    canary::sha256,
    device::Device,
    error::{DriveError, WriteError},
    fetch::padded,
    measure::Found,
    watch::{Watch, bytes},
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
    let count = manifest.virtual_bytes.div_ceil(manifest.chunk_bytes);
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let found: Mutex<Found> = Mutex::new(vec![None; count as usize]);
    let stop = AtomicBool::new(false);
    let failure: Mutex<Option<WriteError>> = Mutex::new(None);
    let workers = thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut buffer = Aligned::zeroed(padded(manifest.chunk_bytes) as usize);
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let hash = hashes.get(&index).copied();
                    match check(device, manifest, index, hash, &mut buffer, watch) {
                        Ok((length, read)) => {
                            found.lock().unwrap_or_else(|e| e.into_inner())[index as usize] = read;
                            let so_far = done.fetch_add(length, Ordering::Relaxed) + length;
                            let total = manifest.virtual_bytes;
                            watch.progress(bytes("reading back", so_far, total));
                        }
                        Err(error) => {
                            stop.store(true, Ordering::Relaxed);
                            failure
                                .lock()
                                .unwrap_or_else(|e| e.into_inner())
                                .get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok((
            done.into_inner(),
            found.into_inner().unwrap_or_else(|e| e.into_inner()),
        )),
    }
}

/// Checks one chunk; returns its length, and its hash where it is not empty.
fn check(
    device: &dyn Device,
    manifest: &ImageManifest,
    index: u64,
    hash: Option<&str>,
    buffer: &mut Aligned,
    watch: &dyn Watch,
) -> Result<(u64, Option<String>), WriteError> {
    let offset = index * manifest.chunk_bytes;
    let length = manifest.plain_len(index);
    let whole = padded(length);
    let read = |buffer: &mut Aligned| {
        device
            .read(offset, &mut buffer[..whole as usize])
            .map_err(DriveError::io("reading back", offset))
    };
    read(buffer)?;
    if let Some(hash) = hash {
        let read = sha256(&buffer[..length as usize]);
        if read != hash {
            return Err(DriveError::Differs { offset }.into());
        }
        return Ok((length, Some(read)));
    }
    if !is_zero(&buffer[..whole as usize]) {
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
    Ok((length, None))
}
