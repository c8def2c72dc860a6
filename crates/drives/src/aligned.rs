//! Memory as uncached reads and writes want it: aligned to 4096 bytes.

use std::ops::{Deref, DerefMut};

/// What addresses, offsets and lengths of uncached access are multiples of.
pub const ALIGN: u64 = 4096;

/// A zeroed buffer that begins at a multiple of [`ALIGN`].
#[derive(Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// A buffer of `length` zero bytes.
    pub fn zeroed(length: usize) -> Self {
        let align = ALIGN as usize;
        let bytes = vec![0; length + align];
        // The vector is never grown, so its memory stays where it is.
        let start = bytes.as_ptr().align_offset(align);
        Self {
            bytes,
            start,
            length,
        }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

/// Whether every byte is zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(256)
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_of_their_length() {
        for length in [1, 512, 4096, 1 << 20] {
            let buffer = Aligned::zeroed(length);
            assert_eq!(buffer.as_ptr() as usize % 4096, 0);
            assert_eq!(buffer.len(), length);
            assert!(is_zero(&buffer));
        }
        let mut buffer = Aligned::zeroed(1000);
        buffer[999] = 1;
        assert!(!is_zero(&buffer));
    }
}
