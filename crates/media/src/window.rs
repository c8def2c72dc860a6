//! A part of a file or device, as if it were one of its own.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes `start` to `start + len` of `inner`.
pub struct Window<D> {
    inner: D,
    start: u64,
    len: u64,
    position: u64,
}

impl<D: Seek> Window<D> {
    /// A window on `inner`, at its beginning.
    pub fn new(inner: D, start: u64, len: u64) -> Self {
        Self {
            inner,
            start,
            len,
            position: 0,
        }
    }

    /// Goes to where the window's position is; returns how much of `wanted` lies within.
    fn place(&mut self, wanted: usize) -> io::Result<usize> {
        let at = self
            .start
            .checked_add(self.position)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.inner.seek(SeekFrom::Start(at))?;
        let left = self.len.saturating_sub(self.position);
        Ok(wanted.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }
}

impl<D: Read + Seek> Read for Window<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.place(buffer.len())?;
        let read = self.inner.read(&mut buffer[..count])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl<D: Write + Seek> Write for Window<D> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.place(buffer.len())?;
        let written = self.inner.write(&buffer[..count])?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<D> Seek for Window<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_beyond_the_window_is_read_or_written() {
        let mut bytes = *b"0123456789";
        let mut window = Window::new(io::Cursor::new(&mut bytes[..]), 3, 4);
        let mut read = String::new();
        window.read_to_string(&mut read).unwrap();
        assert_eq!(read, "3456");
        window.seek(SeekFrom::End(-1)).unwrap();
        assert_eq!(window.write(b"xyz").unwrap(), 1);
        assert_eq!(&bytes, b"012345x789");
    }
}
