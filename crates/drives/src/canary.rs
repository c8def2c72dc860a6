//! Canaries: blocks of known content, planted before an erase to see whether
//! it happens.

use std::collections::BTreeSet;

use billet_model::work::Canary;
use sha2::{Digest, Sha256};

use crate::{
    aligned::{ALIGN, Aligned},
    device::Device,
    error::DriveError,
};

/// Lower-case hex of a SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Fills a buffer with the kernel's randomness.
pub(crate) fn random(mut into: &mut [u8]) {
    while !into.is_empty() {
        // Interrupted calls are made again; the pool is long ready at this point.
        if let Ok(n) = rustix::rand::getrandom(&mut *into, rustix::rand::GetRandomFlags::empty()) {
            into = &mut into[n..];
        }
    }
}

/// A random number below `limit`.
fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    u64::from_le_bytes(bytes) % limit.max(1)
}

/// Distinct offsets of blocks: the first, the last, and random ones between.
pub(crate) fn offsets(size: u64, count: u32) -> Vec<u64> {
    let blocks = size / ALIGN;
    let count = u64::from(count).min(blocks);
    let mut chosen = BTreeSet::new();
    if count > 0 {
        chosen.insert(0);
    }
    if count > 1 {
        chosen.insert(blocks - 1);
    }
    while (chosen.len() as u64) < count {
        chosen.insert(random_below(blocks));
    }
    chosen.into_iter().map(|block| block * ALIGN).collect()
}

/// Plants canaries, and reads them back.
pub(crate) fn plant(device: &dyn Device, count: u32) -> Result<Vec<Canary>, DriveError> {
    let mut canaries = Vec::new();
    let mut block = Aligned::zeroed(ALIGN as usize);
    for offset in offsets(device.size(), count) {
        random(&mut block);
        device
            .write(offset, &block)
            .map_err(DriveError::io("planting a canary", offset))?;
        canaries.push(Canary {
            offset,
            sha256: sha256(&block),
        });
    }
    device
        .flush()
        .map_err(DriveError::io("flushing canaries", 0))?;
    for canary in &canaries {
        if !present(device, canary)? {
            return Err(DriveError::Differs {
                offset: canary.offset,
            });
        }
    }
    Ok(canaries)
}

/// Whether a canary is still there.
pub(crate) fn present(device: &dyn Device, canary: &Canary) -> Result<bool, DriveError> {
    let mut block = Aligned::zeroed(ALIGN as usize);
    device
        .read(canary.offset, &mut block)
        .map_err(DriveError::io("reading a canary", canary.offset))?;
    Ok(sha256(&block) == canary.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_hold_the_first_and_the_last_block() {
        for (size, count, expected) in [
            (1 << 30, 16, 16),
            (3 * 4096, 16, 3),
            (4096, 2, 1),
            (0, 4, 0),
        ] {
            let offsets = offsets(size, count);
            assert_eq!(offsets.len(), expected);
            if count > 0 && size >= 4096 {
                assert_eq!(offsets.first(), Some(&0));
                assert_eq!(offsets.last(), Some(&(size - 4096)));
            }
            assert!(offsets.iter().all(|o| o % 4096 == 0));
        }
    }
}
