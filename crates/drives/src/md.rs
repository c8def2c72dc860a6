//! Linux's software RAID on a drive: the superblock that marks a member of an
//! array, and the map of what is yet to be brought in step beside it.
//!
//! Version 1 of the superblock, as `struct mdp_superblock_1` in the kernel's
//! `include/uapi/linux/raid/md_p.h` has it, and version 4 of the bitmap, as in
//! `drivers/md/md-bitmap.h`. All numbers are little-endian, and count sectors of
//! 512 bytes. The kernel finds an array by these alone: nothing else stands on
//! its members, and no driver is needed to make one.

use billet_model::layout::Level;

/// Bytes of a sector, as md counts them.
pub(crate) const SECTOR: u64 = 512;
/// What begins a superblock.
const MAGIC: u32 = 0xa92b_4efc;
/// What begins a bitmap: `bitm`.
const BITMAP_MAGIC: u32 = 0x6d74_6962;
/// Places for members' roles, as `mdadm` leaves them.
const ROLES: u32 = 384;
/// Bytes of a superblock with its roles.
pub(crate) const BYTES: usize = 256 + 2 * ROLES as usize;
/// The role of a place that has no member.
const SPARE: u16 = 0xffff;
/// There is a bitmap.
const HAS_BITMAP: u32 = 1;
/// `layout` says how stripes over members of several sizes lie.
const STRIPED_UNEVENLY: u32 = 4096;
/// Sectors of a stripe's piece on one member: 512 KiB, as `mdadm` has it.
const CHUNK: u32 = 1024;
/// Sectors that a bitmap may take.
pub(crate) const BITMAP_SECTORS: u64 = 256;
/// Bytes of the array that one bit stands for, where that fits.
const BITMAP_CHUNK: u64 = 64 << 20;
/// Sectors from the superblock to the bitmap, where it stands behind it.
const BITMAP_AT: u64 = 8;
/// Sectors before the data of a member with the superblock in front: room for the
/// bitmap, and for what `mdadm --grow` needs.
const FRONT: u64 = 32768;
/// Sectors before the superblock in front.
const FRONT_SUPER: u64 = 8;
/// Sectors from the superblock at the end to the member's last, at least.
const END_SUPER: u64 = 16;

/// Where things stand on a member, in sectors from its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub superblock: u64,
    pub bitmap: u64,
    pub data: u64,
    /// How many sectors of data there are.
    pub sectors: u64,
}

impl Place {
    /// With the superblock in front (version 1.2) on a member of `bytes`; `None`
    /// where it is too small.
    pub fn in_front(bytes: u64) -> Option<Self> {
        let sectors = (bytes / SECTOR).checked_sub(FRONT)?;
        (sectors >= u64::from(CHUNK)).then_some(Self {
            superblock: FRONT_SUPER,
            bitmap: FRONT_SUPER + BITMAP_AT,
            data: FRONT,
            sectors,
        })
    }
}

impl Place {
    /// With the superblock at the end (version 1.0), and the bitmap in front of it,
    /// on a member of `bytes`; `None` where it is too small.
    pub fn at_end(bytes: u64) -> Option<Self> {
        let superblock = (bytes / SECTOR).checked_sub(END_SUPER)? / 8 * 8;
        let bitmap = superblock.checked_sub(BITMAP_SECTORS)?;
        (bitmap >= u64::from(CHUNK)).then_some(Self {
            superblock,
            bitmap,
            data: 0,
            sectors: bitmap,
        })
    }
}

/// An array, as each of its members tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Array<'a> {
    pub name: &'a str,
    pub id: [u8; 16],
    pub level: Level,
    /// Where things stand on each member.
    pub places: Vec<Place>,
    /// Seconds since 1970.
    pub now: u64,
}

impl Array<'_> {
    /// Linux's number for the level.
    fn number(&self) -> u32 {
        self.level.number().unwrap_or(0)
    }

    /// Whether members hold copies or parity, which must be brought in step.
    pub fn is_redundant(&self) -> bool {
        self.number() > 0
    }

    fn chunk(&self) -> u32 {
        if self.level == Level::Raid1 { 0 } else { CHUNK }
    }

    /// Sectors that each member gives; for stripes it is what each has.
    fn each(&self) -> u64 {
        let least = self.places.iter().map(|p| p.sectors).min().unwrap_or(0);
        if self.is_redundant() {
            least / u64::from(CHUNK) * u64::from(CHUNK)
        } else {
            0
        }
    }

    /// Bytes of the array.
    pub fn bytes(&self) -> u64 {
        let chunk = u64::from(CHUNK);
        let sizes: Vec<u64> = self
            .places
            .iter()
            .map(|p| p.sectors / chunk * chunk)
            .collect();
        self.level.bytes(&sizes) * SECTOR
    }

    fn is_uneven(&self) -> bool {
        self.places.windows(2).any(|w| w[0].sectors != w[1].sectors)
    }

    /// The layout's number, which means another thing at each level.
    fn layout(&self) -> u32 {
        match self.level {
            Level::Single | Level::Raid1 => 0,
            // As kernels since 3.14 have it.
            Level::Raid0 => 2 * u32::from(self.is_uneven()),
            // Left-symmetric.
            Level::Raid5 | Level::Raid6 => 2,
            // Two copies, near each other.
            Level::Raid10 => 0x102,
        }
    }

    /// The superblock of the member `role`, which is called `device`.
    pub fn superblock(&self, role: usize, device: [u8; 16]) -> Vec<u8> {
        let place = self.places[role];
        let mut bytes = vec![0; BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let mut features = 0;
        if self.is_redundant() {
            features |= HAS_BITMAP;
        }
        if self.level == Level::Raid0 && self.is_uneven() {
            features |= STRIPED_UNEVENLY;
        }
        let disks = self.places.len() as u32;
        // A host's own arrays are told by its name before the colon; this is anybody's.
        let name = format!("any:{}", self.name);
        let name = &name.as_bytes()[..name.len().min(32)];
        put(0, &MAGIC.to_le_bytes());
        put(4, &1u32.to_le_bytes());
        put(8, &features.to_le_bytes());
        put(16, &self.id);
        put(32, name);
        put(64, &self.now.to_le_bytes());
        put(72, &self.number().to_le_bytes());
        put(76, &self.layout().to_le_bytes());
        put(80, &self.each().to_le_bytes());
        put(88, &self.chunk().to_le_bytes());
        put(92, &disks.to_le_bytes());
        if self.is_redundant() {
            let offset = place.bitmap as i64 - place.superblock as i64;
            put(96, &(offset as i32).to_le_bytes());
        }
        put(128, &place.data.to_le_bytes());
        put(136, &place.sectors.to_le_bytes());
        put(144, &place.superblock.to_le_bytes());
        put(160, &(role as u32).to_le_bytes());
        put(168, &device);
        put(192, &self.now.to_le_bytes());
        // Nothing was written yet; what must be in step is brought there from the
        // first sector on.
        put(200, &0u64.to_le_bytes());
        let synced: u64 = if self.is_redundant() { 0 } else { u64::MAX };
        put(208, &synced.to_le_bytes());
        put(220, &ROLES.to_le_bytes());
        for n in 0..ROLES {
            let role = if n < disks { n as u16 } else { SPARE };
            put(256 + 2 * n as usize, &role.to_le_bytes());
        }
        let sum = checksum(&bytes);
        bytes[216..220].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The bitmap with every bit set: nothing is known to be in step. `None` where
    /// there is nothing to bring in step.
    pub fn bitmap(&self) -> Option<Vec<u8>> {
        if !self.is_redundant() {
            return None;
        }
        let sectors = match self.level {
            Level::Raid10 => self.bytes() / SECTOR,
            _ => self.each(),
        };
        let mut bytes = vec![0xff; (BITMAP_SECTORS * SECTOR) as usize];
        let room = (bytes.len() as u64 - 256) * 8;
        let mut chunk = BITMAP_CHUNK;
        while (sectors * SECTOR).div_ceil(chunk) > room {
            chunk *= 2;
        }
        bytes[..256].fill(0);
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &BITMAP_MAGIC.to_le_bytes());
        put(4, &4u32.to_le_bytes());
        put(8, &self.id);
        put(40, &sectors.to_le_bytes());
        put(52, &(chunk as u32).to_le_bytes());
        // Seconds between two writings of it.
        put(56, &5u32.to_le_bytes());
        put(64, &(BITMAP_SECTORS as u32).to_le_bytes());
        Some(bytes)
    }
}

/// The sum of a superblock's words, taken with its own field zero.
fn checksum(bytes: &[u8]) -> u32 {
    let sum: u64 = bytes
        .chunks_exact(4)
        .enumerate()
        .filter(|(n, _)| *n != 216 / 4)
        .map(|(_, word)| u64::from(u32::from_le_bytes(word.try_into().unwrap_or_default())))
        .sum();
    (sum as u32).wrapping_add((sum >> 32) as u32)
}

/// The UUID of the array that a superblock is of, where it is one.
pub(crate) fn array_of(bytes: &[u8]) -> Option<[u8; 16]> {
    let word = |at: usize| {
        let field = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        field.map(u32::from_le_bytes)
    };
    if word(0)? != MAGIC || word(4)? != 1 {
        return None;
    }
    let length = 256 + 2 * word(220)? as usize;
    let whole = bytes.get(..length)?;
    // The last role may be half a word, which `checksum` would leave out.
    let mut padded = whole.to_vec();
    padded.resize(length.next_multiple_of(4), 0);
    (checksum(&padded) == word(216)?).then(|| whole[16..32].try_into().ok())?
}

#[cfg(test)]
mod tests;
