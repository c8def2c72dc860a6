//! A range of a drive as a stream that can be read, written and sought, for
//! code that knows files. Every write goes through to the drive at once.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::{
    aligned::{ALIGN, Aligned},
    device::Device,
};

/// Bytes held in memory: the last page read.
const PAGE: u64 = 64 << 10;

/// A range of a drive.
pub(crate) struct View<'a> {
    device: &'a dyn Device,
    start: u64,
    length: u64,
    position: u64,
    page: Option<(u64, Aligned)>,
    budget: Option<u64>,
}

impl<'a> View<'a> {
    /// The bytes of `device` from `start`, a multiple of 512, on.
    pub fn new(device: &'a dyn Device, start: u64, length: u64) -> Self {
        Self {
            device,
            start,
            length,
            position: 0,
            page: None,
            budget: None,
        }
    }

    /// Fails after so many reads and writes: the file systems of an image are made by
    /// anyone, and can lead who reads them in circles.
    #[must_use]
    pub fn with_budget(mut self, budget: u64) -> Self {
        self.budget = Some(budget);
        self
    }

    fn spend(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.budget {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("the file system leads in circles"))?;
        }
        Ok(())
    }

    /// All of a drive.
    pub fn whole(device: &'a dyn Device) -> Self {
        Self::new(device, 0, device.size())
    }

    /// The page that holds the current position, and where in it that is.
    fn page(&mut self) -> io::Result<(&mut (u64, Aligned), usize)> {
        let at = self.start + self.position;
        let base = at / PAGE * PAGE;
        if self.page.as_ref().is_none_or(|(b, _)| *b != base) {
            let length = PAGE.min(self.device.size() - base);
            let mut page = Aligned::zeroed(length as usize);
            self.device.read(base, &mut page)?;
            self.page = Some((base, page));
        }
        match &mut self.page {
            Some(page) => Ok((page, (at - base) as usize)),
            None => Err(io::Error::other("no page")),
        }
    }

    /// How many of `wanted` bytes there are from the current position on.
    fn available(&self, wanted: usize) -> usize {
        let left = self.length.saturating_sub(self.position);
        usize::try_from(left).unwrap_or(usize::MAX).min(wanted)
    }
}

impl Read for View<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.spend()?;
        let wanted = self.available(into.len());
        if wanted == 0 {
            return Ok(0);
        }
        let ((_, page), at) = self.page()?;
        let count = wanted.min(page.len() - at);
        into[..count].copy_from_slice(&page[at..at + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for View<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.spend()?;
        let wanted = self.available(from.len());
        if wanted == 0 {
            return Ok(0);
        }
        let device = self.device;
        let ((base, page), at) = self.page()?;
        let count = wanted.min(page.len() - at);
        page[at..at + count].copy_from_slice(&from[..count]);
        let align = ALIGN as usize;
        let first = at / align * align;
        let end = (at + count).next_multiple_of(align).min(page.len());
        device.write(*base + first as u64, &page[first..end])?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for View<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn writes_across_pages_leave_their_neighbours_alone() -> io::Result<()> {
        let fake = Fake::new(3 * PAGE as usize, 7);
        let mut view = View::new(&fake, 512, 2 * PAGE);
        view.seek(SeekFrom::Start(PAGE - 700))?;
        view.write_all(&[9; 1000])?;
        view.seek(SeekFrom::Start(PAGE - 701))?;
        let mut seen = [0; 1002];
        view.read_exact(&mut seen)?;
        assert_eq!((seen[0], seen[1], seen[1000], seen[1001]), (7, 9, 9, 7));
        let bytes = fake.bytes.lock().expect("the lock");
        assert_eq!(bytes.iter().filter(|b| **b == 9).count(), 1000);
        assert_eq!(bytes[512 + PAGE as usize - 700], 9);
        Ok(())
    }

    #[test]
    fn a_view_with_a_budget_ends_who_goes_in_circles() -> io::Result<()> {
        let fake = Fake::new(PAGE as usize, 7);
        let mut view = View::whole(&fake).with_budget(3);
        for _ in 0..3 {
            view.seek(SeekFrom::Start(0))?;
            view.read_exact(&mut [0; 4])?;
        }
        let error = view.read_exact(&mut [0; 4]).expect_err("spent");
        assert!(error.to_string().contains("circles"), "{error}");
        Ok(())
    }

    #[test]
    fn a_view_ends_where_it_ends() -> io::Result<()> {
        let fake = Fake::new(2 * PAGE as usize, 7);
        let mut view = View::new(&fake, 512, 100);
        view.seek(SeekFrom::Start(90))?;
        assert_eq!(view.write(&[1; 50])?, 10);
        assert_eq!(view.write(&[1; 50])?, 0);
        assert_eq!(view.read(&mut [0; 9])?, 0);
        Ok(())
    }
}
