//! All chunks of an image's drive, by several workers at a time: a drive is read
//! faster than one processor hashes.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use billet_model::image::ImageManifest;

use crate::{
    aligned::Aligned,
    error::WriteError,
    fetch::padded,
    watch::{Watch, bytes},
};

/// How many work on chunks side by side: while some hash, others wait for the drive. Each
/// holds a chunk in memory.
pub(crate) fn workers() -> usize {
    thread::available_parallelism().map_or(4, |n| (2 * n.get()).clamp(4, 8))
}

/// What a chunk was found to be, by its index: its SHA-256, or `None` where it is
/// all zero.
pub(crate) type Found = Vec<Option<String>>;

/// Looks at every chunk with `one`, which is given the chunk's index and a buffer
/// with room for it, and tells `watch` how far it is under the word `step`.
///
/// # Errors
/// The first of `one`'s; no further chunk is begun then.
pub(crate) fn each(
    manifest: &ImageManifest,
    step: &str,
    watch: &dyn Watch,
    one: impl Fn(u64, &mut Aligned) -> Result<Option<String>, WriteError> + Sync,
) -> Result<Found, WriteError> {
    let count = manifest.virtual_bytes.div_ceil(manifest.chunk_bytes);
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let found: Mutex<Found> = Mutex::new(vec![None; count as usize]);
    let failure: Mutex<Option<WriteError>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..workers() {
            scope.spawn(|| {
                let mut buffer = Aligned::zeroed(padded(manifest.chunk_bytes) as usize);
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    match one(index, &mut buffer) {
                        Ok(hash) => {
                            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                            found[index as usize] = hash;
                            drop(found);
                            let length = manifest.plain_len(index);
                            let so_far = done.fetch_add(length, Ordering::Relaxed) + length;
                            watch.progress(bytes(step, so_far, manifest.virtual_bytes));
                        }
                        Err(error) => {
                            stop.store(true, Ordering::Relaxed);
                            let mut failure =
                                failure.lock().unwrap_or_else(PoisonError::into_inner);
                            failure.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}
