//! GUID partition tables: read, changed entry by entry, written with the backup
//! at the drive's end (UEFI specification 2.10, chapter 5).
//!
//! Entries keep their numbers. The `gpt` crate packs them when it writes, which
//! renumbers partitions of images that leave gaps (Debian's have 1, 14 and 15).

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::view::View;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_BYTES: usize = 92;
/// Entries beyond this are not believed: a table has 128 by custom.
const MAX_ENTRIES: u32 = 4096;
/// Entries of a table that is made here, and the bytes of each.
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;

/// EFI system partition, `C12A7328-F81F-11D2-BA4B-00A0C93EC93B`.
pub(crate) const ESP: [u8; 16] = guid(
    0xC12A7328,
    0xF81F,
    0x11D2,
    [0xBA, 0x4B, 0, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B],
);
/// Extended boot loader partition, `BC13C2FF-59E6-4262-A352-B275FD6F7172`.
pub(crate) const XBOOTLDR: [u8; 16] = guid(
    0xBC13C2FF,
    0x59E6,
    0x4262,
    [0xA3, 0x52, 0xB2, 0x75, 0xFD, 0x6F, 0x71, 0x72],
);
/// Basic data, `EBD0A0A2-B9E5-4433-87C0-68B6B72699C7`.
pub(crate) const BASIC_DATA: [u8; 16] = guid(
    0xEBD0A0A2,
    0xB9E5,
    0x4433,
    [0x87, 0xC0, 0x68, 0xB6, 0xB7, 0x26, 0x99, 0xC7],
);

/// Linux's file systems, `0FC63DAF-8483-4772-8E79-3D69D8477DE4`.
pub(crate) const LINUX: [u8; 16] = guid(
    0x0FC63DAF,
    0x8483,
    0x4772,
    [0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4],
);
/// The boot loader of machines without UEFI, `21686148-6449-6E6F-744E-656564454649`.
pub(crate) const BIOS_BOOT: [u8; 16] = guid(
    0x21686148,
    0x6449,
    0x6E6F,
    [0x74, 0x4E, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49],
);
/// Linux's software RAID, `A19D880F-05FC-4D3B-A006-743F0F84911E`.
pub(crate) const LINUX_RAID: [u8; 16] = guid(
    0xA19D880F,
    0x05FC,
    0x4D3B,
    [0xA0, 0x06, 0x74, 0x3F, 0x0F, 0x84, 0x91, 0x1E],
);

/// A GUID as it stands on disk: the first three fields little-endian.
const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [
        a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6],
        d[7],
    ]
}

/// One partition. Blocks are logical blocks of the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Type, as on disk.
    pub kind: [u8; 16],
    /// Its own GUID, as on disk.
    pub unique: [u8; 16],
    /// First block.
    pub first: u64,
    /// Last block.
    pub last: u64,
}

/// A partition table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    header: Vec<u8>,
    entries: Vec<u8>,
    entry_bytes: usize,
    block: u64,
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    u32::from_le_bytes(field.unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    u64::from_le_bytes(field.unwrap_or_default())
}

/// Whether the first bytes of a disk with 512-byte blocks hold a GPT header.
pub(crate) fn begins_with_table(first: &[u8]) -> bool {
    first.get(512..520) == Some(SIGNATURE)
}

impl Table {
    /// Reads the primary table of a drive with blocks of `block` bytes.
    pub fn read(view: &mut View<'_>, block: u64) -> io::Result<Self> {
        let mut header = vec![0; HEADER_BYTES];
        view.seek(SeekFrom::Start(block))?;
        view.read_exact(&mut header)?;
        if header[..8] != *SIGNATURE {
            return Err(bad("no GUID partition table"));
        }
        let stated = u32_at(&header, 16);
        if u32_at(&header, 12) as usize != HEADER_BYTES || header_crc(&header) != stated {
            return Err(bad("the partition table's header is damaged"));
        }
        let (count, entry_bytes) = (u32_at(&header, 80), u32_at(&header, 84));
        if count == 0 || count > MAX_ENTRIES || !(128..=4096).contains(&entry_bytes) {
            return Err(bad("the partition table has an odd size"));
        }
        let entry_bytes = entry_bytes as usize;
        let mut entries = vec![0; count as usize * entry_bytes];
        let at = u64_at(&header, 72).checked_mul(block);
        view.seek(SeekFrom::Start(at.ok_or_else(|| bad("beyond the end"))?))?;
        view.read_exact(&mut entries)?;
        if crc32fast::hash(&entries) != u32_at(&header, 88) {
            return Err(bad("the partition table's entries are damaged"));
        }
        let table = Self {
            header,
            entries,
            entry_bytes,
            block,
        };
        table.check(view.seek(SeekFrom::End(0))? / block)?;
        Ok(table)
    }

    /// Whether what it speaks of can be on a drive of so many blocks, beside the
    /// table itself and its backup. Sums with what passes cannot overflow.
    fn check(&self, blocks: u64) -> io::Result<()> {
        let tables = 2 * (self.entry_blocks() + 1) + 1;
        if tables >= blocks || u64_at(&self.header, 72) + self.entry_blocks() > blocks {
            return Err(bad("the drive is too small for its partition table"));
        }
        let beyond = |p: &Partition| p.first > p.last || p.last >= blocks;
        match self.partitions().into_iter().find(beyond) {
            Some(partition) => Err(bad(&format!(
                "partition {} is not within the drive",
                partition.number
            ))),
            None => Ok(()),
        }
    }

    /// A table without partitions, for a drive of `size` bytes with blocks of
    /// `block` bytes; `None` where it is too small for one.
    pub fn blank(size: u64, block: u64, disk: [u8; 16]) -> Option<Self> {
        let entries = vec![0; ENTRIES * ENTRY_BYTES];
        let entry_blocks = (entries.len() as u64).div_ceil(block);
        if size / block < 2 * entry_blocks + 4 {
            return None;
        }
        let mut header = vec![0; HEADER_BYTES];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        header[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
        header[40..48].copy_from_slice(&(2 + entry_blocks).to_le_bytes());
        header[56..72].copy_from_slice(&disk);
        header[72..80].copy_from_slice(&2u64.to_le_bytes());
        header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
        let mut table = Self {
            header,
            entries,
            entry_bytes: ENTRY_BYTES,
            block,
        };
        table.fit(size);
        Some(table)
    }

    /// Bytes from the drive's first to the end of the table's entries.
    pub fn head_bytes(&self) -> u64 {
        (2 + self.entry_blocks()) * self.block
    }

    /// Bytes at the drive's end that the backup takes.
    pub fn tail_bytes(&self) -> u64 {
        (1 + self.entry_blocks()) * self.block
    }

    /// Writes a protective MBR where there is none.
    pub fn protect_blank(&self, view: &mut View<'_>) -> io::Result<()> {
        let mut mbr = [0; 512];
        // One partition of the kind that says "GPT", from the second block on.
        mbr[446..454].copy_from_slice(&[0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF]);
        mbr[454..458].copy_from_slice(&1u32.to_le_bytes());
        mbr[510..].copy_from_slice(&[0x55, 0xAA]);
        view.seek(SeekFrom::Start(0))?;
        view.write_all(&mbr)
    }

    /// The partitions, by number.
    pub fn partitions(&self) -> Vec<Partition> {
        self.entries
            .chunks_exact(self.entry_bytes)
            .zip(1..)
            .filter(|(entry, _)| entry[..16] != [0; 16])
            .map(|(entry, number)| Partition {
                number,
                kind: entry[..16].try_into().unwrap_or_default(),
                unique: entry[16..32].try_into().unwrap_or_default(),
                first: u64_at(entry, 32),
                last: u64_at(entry, 40),
            })
            .collect()
    }

    /// Moves the backup to the end of a drive of `size` bytes.
    pub fn fit(&mut self, size: u64) {
        let last = size / self.block - 1;
        self.header[32..40].copy_from_slice(&last.to_le_bytes());
        let usable = last - self.entry_blocks() - 1;
        self.header[48..56].copy_from_slice(&usable.to_le_bytes());
    }

    /// The last block that a partition may have.
    pub fn last_usable(&self) -> u64 {
        u64_at(&self.header, 48)
    }

    /// Sets the last block of a partition.
    pub fn set_last(&mut self, number: u32, last: u64) {
        if let Some(entry) = self.entry(number) {
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
    }

    /// Sets a partition's type.
    pub fn set_kind(&mut self, number: u32, kind: [u8; 16]) {
        if let Some(entry) = self.entry(number) {
            entry[..16].copy_from_slice(&kind);
        }
    }

    /// Sets a partition's own GUID.
    pub fn set_unique(&mut self, number: u32, unique: [u8; 16]) {
        if let Some(entry) = self.entry(number) {
            entry[16..32].copy_from_slice(&unique);
        }
    }

    /// Sets the drive's own GUID.
    pub fn set_disk(&mut self, disk: [u8; 16]) {
        self.header[56..72].copy_from_slice(&disk);
    }

    /// Adds a partition under the first free number.
    pub fn add(&mut self, partition: &Partition, name: &str) -> io::Result<u32> {
        let free = self
            .entries
            .chunks_exact(self.entry_bytes)
            .position(|entry| entry[..16] == [0; 16])
            .ok_or_else(|| bad("the partition table is full"))?;
        let number = u32::try_from(free).map_err(io::Error::other)? + 1;
        let entry = self.entry(number).ok_or_else(|| bad("no such entry"))?;
        entry.fill(0);
        entry[..16].copy_from_slice(&partition.kind);
        entry[16..32].copy_from_slice(&partition.unique);
        entry[32..40].copy_from_slice(&partition.first.to_le_bytes());
        entry[40..48].copy_from_slice(&partition.last.to_le_bytes());
        for (at, unit) in name.encode_utf16().take(35).enumerate() {
            entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
        Ok(number)
    }

    /// Writes both tables, the backup first, and the protective MBR.
    pub fn write(&self, view: &mut View<'_>) -> io::Result<()> {
        let last = u64_at(&self.header, 32);
        let mut backup = self.header.clone();
        backup[24..32].copy_from_slice(&last.to_le_bytes());
        backup[32..40].copy_from_slice(&1u64.to_le_bytes());
        let entries_at = last - self.entry_blocks();
        backup[72..80].copy_from_slice(&entries_at.to_le_bytes());
        self.put(view, backup)?;
        let mut primary = self.header.clone();
        primary[24..32].copy_from_slice(&1u64.to_le_bytes());
        self.put(view, primary)?;
        self.protect(view, last)
    }

    /// Writes a header and its entries to where the header says.
    fn put(&self, view: &mut View<'_>, mut header: Vec<u8>) -> io::Result<()> {
        let at = |field| u64_at(&header, field) * self.block;
        let (header_at, entries_at) = (at(24), at(72));
        view.seek(SeekFrom::Start(entries_at))?;
        view.write_all(&self.entries)?;
        let crc = crc32fast::hash(&self.entries);
        header[88..92].copy_from_slice(&crc.to_le_bytes());
        let crc = header_crc(&header);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header.resize(self.block as usize, 0);
        view.seek(SeekFrom::Start(header_at))?;
        view.write_all(&header)
    }

    /// Lets the protective MBR cover the whole drive, where there is one.
    fn protect(&self, view: &mut View<'_>, last: u64) -> io::Result<()> {
        let mut mbr = [0; 512];
        view.seek(SeekFrom::Start(0))?;
        view.read_exact(&mut mbr)?;
        if mbr[450] == 0xEE && mbr[510..] == [0x55, 0xAA] {
            let blocks = u32::try_from(last).unwrap_or(u32::MAX);
            mbr[458..462].copy_from_slice(&blocks.to_le_bytes());
            view.seek(SeekFrom::Start(0))?;
            view.write_all(&mbr)?;
        }
        Ok(())
    }

    fn entry(&mut self, number: u32) -> Option<&mut [u8]> {
        let at = (number as usize).checked_sub(1)? * self.entry_bytes;
        self.entries.get_mut(at..at + self.entry_bytes)
    }

    fn entry_blocks(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.block)
    }
}

/// The checksum of a header, taken with its own field zero.
fn header_crc(header: &[u8]) -> u32 {
    let mut copy = header[..HEADER_BYTES].to_vec();
    copy[16..20].fill(0);
    crc32fast::hash(&copy)
}

/// A table with these partitions `(number, type, first, last)` on a drive of
/// `size` bytes with blocks of 512, for tests.
#[cfg(test)]
pub(crate) fn sample(size: u64, partitions: &[(u32, [u8; 16], u64, u64)]) -> Vec<u8> {
    let mut disk = vec![0; size as usize];
    disk[450] = 0xEE;
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let fake = crate::fake::Fake::new(0, 0);
    *fake.bytes.lock().expect("the lock") = disk;
    let mut table = Table::blank(size, 512, [0; 16]).expect("room for a table");
    for (number, kind, first, last) in partitions {
        let entry = table.entry(*number).expect("an entry");
        entry[..16].copy_from_slice(kind);
        entry[16] = *number as u8;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
    }
    table.write(&mut View::whole(&fake)).expect("written");
    fake.bytes.into_inner().expect("the lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    const LINUX: [u8; 16] = [7; 16];

    #[test]
    fn a_table_moves_to_a_larger_drive_and_keeps_its_numbers() -> io::Result<()> {
        let mut disk = sample(4 << 20, &[(1, LINUX, 4096, 8000), (15, ESP, 2048, 4095)]);
        assert!(begins_with_table(&disk));
        disk.resize(16 << 20, 0);
        let fake = Fake::new(0, 0);
        *fake.bytes.lock().expect("the lock") = disk;
        let mut table = Table::read(&mut View::whole(&fake), 512)?;
        table.fit(16 << 20);
        table.set_last(1, 20000);
        let seed = Partition {
            number: 0,
            kind: BASIC_DATA,
            unique: [9; 16],
            first: 20480,
            last: 30000,
        };
        assert_eq!(table.add(&seed, "cidata")?, 2);
        table.write(&mut View::whole(&fake))?;

        let again = Table::read(&mut View::whole(&fake), 512)?;
        let numbers: Vec<_> = again
            .partitions()
            .iter()
            .map(|p| (p.number, p.last))
            .collect();
        assert_eq!(numbers, [(1, 20000), (2, 30000), (15, 4095)]);
        assert_eq!(again.last_usable(), (16 << 20) / 512 - 34);
        let bytes = fake.bytes.lock().expect("the lock");
        assert_eq!(&bytes[(16 << 20) - 512..][..8], SIGNATURE);
        assert_eq!(u32_at(&bytes, 458), (16 << 20) / 512 - 1);
        Ok(())
    }

    #[test]
    fn what_leads_beyond_the_drive_is_no_table() {
        let size = 4 << 20;
        for (first, last, good) in [
            (4096, 8000, true),
            (4096, u64::MAX, false),
            (4096, size / 512, false),
            (8000, 4096, false),
        ] {
            let fake = Fake::new(0, 0);
            *fake.bytes.lock().expect("the lock") = sample(size, &[(1, LINUX, first, last)]);
            let read = Table::read(&mut View::whole(&fake), 512);
            assert_eq!(read.is_ok(), good, "{first} to {last}");
        }
        // A table that is larger than the drive it is to be moved to.
        let mut disk = sample(size, &[]);
        disk.truncate(34 * 512);
        let fake = Fake::new(0, 0);
        *fake.bytes.lock().expect("the lock") = disk;
        assert!(Table::read(&mut View::whole(&fake), 512).is_err());
    }

    #[test]
    fn damage_is_seen() {
        let disk = sample(4 << 20, &[(1, LINUX, 4096, 8000)]);
        for at in [512, 530, 600, 700, 1024 + 40] {
            let mut damaged = disk.clone();
            damaged[at] ^= 1;
            let fake = Fake::new(0, 0);
            *fake.bytes.lock().expect("the lock") = damaged;
            let read = Table::read(&mut View::whole(&fake), 512);
            // Byte 700 is past the header and says nothing.
            assert_eq!(read.is_ok(), at == 700, "byte {at}");
        }
    }
}
