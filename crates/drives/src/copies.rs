//! Several drives written as one: each with a whole copy.

use std::io;

use billet_model::work::EraseMethod;

use crate::device::Device;

/// Drives that are written alike. What is read is what all of them have; where
/// they differ, reading fails with [`io::ErrorKind::InvalidData`].
pub struct Copies<'a>(pub Vec<&'a dyn Device>);

impl Copies<'_> {
    fn each(&self, mut one: impl FnMut(&dyn Device) -> io::Result<()>) -> io::Result<()> {
        self.0.iter().try_for_each(|device| one(*device))
    }
}

/// Whether copies were read and differ.
pub(crate) fn differ(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

impl Device for Copies<'_> {
    /// That of the smallest.
    fn size(&self) -> u64 {
        self.0.iter().map(|d| d.size()).min().unwrap_or(0)
    }

    fn block_bytes(&self) -> u32 {
        self.0.iter().map(|d| d.block_bytes()).max().unwrap_or(512)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut copies = self.0.iter();
        if let Some(first) = copies.next() {
            first.read(offset, into)?;
        }
        let mut other = crate::aligned::Aligned::zeroed(into.len());
        for copy in copies {
            copy.read(offset, &mut other)?;
            if other[..] != *into {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the copies differ",
                ));
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.each(|d| d.write(offset, from))
    }

    fn flush(&self) -> io::Result<()> {
        self.each(|d| d.flush())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.each(|d| d.discard(offset, length))
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.each(|d| d.zero(offset, length))
    }

    fn command(&self, method: EraseMethod, progress: &dyn Fn(u16)) -> Result<(), String> {
        self.0
            .iter()
            .try_for_each(|device| device.command(method, progress))
    }
}
