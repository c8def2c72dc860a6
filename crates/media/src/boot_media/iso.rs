//! The ISO 9660 image around the FAT file system, with an El Torito entry for UEFI.

use std::io::Cursor;
use std::num::NonZeroU16;
use std::sync::Arc;

use billet_protocol::boot;
use hadris_iso::boot::EmulationType;
use hadris_iso::boot::options::{BootEntryOptions, BootOptions};
use hadris_iso::read::PathSeparator;
use hadris_iso::write::options::{BaseIsoLevel, CreationFeatures, IsoFormatOptions};
use hadris_iso::write::{File, InputFiles, IsoImageWriter};

use super::BootMediaError;

/// An ISO image, and where things are in it.
pub struct IsoImage {
    pub image: Vec<u8>,
    /// Offset of the FAT file system.
    pub fat_offset: u64,
    /// Offset of the room for the record's second copy.
    pub tail_offset: u64,
}

/// An ISO image without the FAT file system in it: it goes behind `head`, and
/// zeroes go behind it.
pub struct Frame {
    /// What comes before the FAT file system.
    pub head: Vec<u8>,
    /// Offset of the room at the end, [`TAIL`] bytes.
    pub tail_offset: u64,
    /// Bytes of the image.
    pub len: u64,
}

const SECTOR: usize = 2048;
const BOOT_IMAGE: &str = "EFIBOOT.IMG";
/// The platform that El Torito means UEFI by.
const PLATFORM_UEFI: u8 = 0xef;
/// Room at the end for magic, length and record.
pub const TAIL: usize = 32 * 1024;

// The record with its magic fits into the tail, and the tail into what readers look at.
const _: () = assert!(boot::MAX_BYTES + 64 <= TAIL && TAIL as u64 <= boot::TAIL_BYTES);

/// Makes the image.
pub fn build(fat: &[u8]) -> Result<IsoImage, BootMediaError> {
    let frame = frame(fat.len() as u64)?;
    let fat_offset = frame.head.len() as u64;
    let mut image = frame.head;
    image.reserve_exact(frame.len as usize - image.len());
    image.extend_from_slice(fat);
    image.resize(frame.len as usize, 0);
    Ok(IsoImage {
        image,
        fat_offset,
        tail_offset: frame.tail_offset,
    })
}

/// The frame for a FAT file system of `fat_len` bytes.
///
/// The image is made with one sector that stands for it; then it is said that the
/// file begins behind all that was made, and how long it is.
pub fn frame(fat_len: u64) -> Result<Frame, BootMediaError> {
    let length = u32::try_from(fat_len)
        .map_err(|_| malformed("its file system is larger than a file in an ISO image can be"))?;
    // In sectors of 512 bytes. What does not fit into the field is said as 1,
    // which UEFI takes as "to the end of the medium".
    let sectors = u16::try_from(length / 512).unwrap_or(1).max(1);
    let stand_in: Vec<u8> = b"stands for the FAT file system. "
        .iter()
        .copied()
        .cycle()
        .take(SECTOR)
        .collect();
    let options = IsoFormatOptions {
        volume_name: "BILLET".to_owned(),
        sector_size: SECTOR,
        path_separator: PathSeparator::ForwardSlash,
        features: CreationFeatures {
            filenames: BaseIsoLevel::Level1 {
                supports_lowercase: false,
                supports_rrip: false,
            },
            long_filenames: false,
            joliet: None,
            rock_ridge: None,
            el_torito: Some(BootOptions {
                write_boot_catalog: true,
                default: BootEntryOptions {
                    boot_image_path: BOOT_IMAGE.to_owned(),
                    load_size: NonZeroU16::new(sectors),
                    boot_info_table: false,
                    grub2_boot_info: false,
                    emulation: EmulationType::NoEmulation,
                },
                entries: vec![],
            }),
            ..CreationFeatures::default()
        },
        system_id: None,
        volume_set_id: None,
        publisher_id: None,
        preparer_id: None,
        application_id: None,
        strict_charset: false,
    };
    let files = InputFiles {
        path_separator: PathSeparator::ForwardSlash,
        files: vec![File::File {
            name: Arc::new(BOOT_IMAGE.to_owned()),
            contents: stand_in.clone(),
        }],
    };
    let written = IsoImageWriter::create(Cursor::new(Vec::with_capacity(1 << 20)), files, options)
        .map_err(|e| BootMediaError::Iso(e.to_string()))?;
    let mut head = written.into_inner();

    let start = mark_as_uefi(&mut head)?;
    if head.get(start..start + SECTOR) != Some(&stand_in[..]) {
        return Err(malformed("the boot entry does not lead to the FAT image"));
    }
    head.resize(head.len().next_multiple_of(SECTOR), 0);
    let behind = u32::try_from(head.len() / SECTOR)
        .map_err(|_| malformed("it is larger than an ISO image can be"))?;
    move_file(&mut head, start, behind, length)?;
    let tail_offset = (head.len() as u64 + fat_len).next_multiple_of(SECTOR as u64);
    let len = tail_offset + TAIL as u64;
    grow_volume(&mut head, len)?;
    Ok(Frame {
        head,
        tail_offset,
        len,
    })
}

/// Says in the directory and in the boot catalogue that the file which begins at
/// `start` begins at another sector and is so long.
fn move_file(
    image: &mut [u8],
    start: usize,
    sector: u32,
    length: u32,
) -> Result<(), BootMediaError> {
    // ISO 9660, 9.1: where a file is and how long, each in both byte orders.
    let both = |value: u32| [value.to_le_bytes(), value.to_be_bytes()].concat();
    let was = u32::try_from(start / SECTOR).unwrap_or(u32::MAX);
    let entry = [both(was), both(SECTOR as u32)].concat();
    let found: Vec<usize> = (0..image.len().saturating_sub(entry.len()))
        .filter(|at| image[*at..].starts_with(&entry))
        .collect();
    let [at] = found[..] else {
        return Err(malformed("its directory does not name the FAT image once"));
    };
    image[at..at + 16].copy_from_slice(&[both(sector), both(length)].concat());
    let catalogue = field(image, 17 * SECTOR + 0x47)? as usize * SECTOR;
    image[catalogue + 32 + 8..catalogue + 32 + 12].copy_from_slice(&sector.to_le_bytes());
    Ok(())
}

/// Makes the boot catalogue's default entry one for UEFI, and returns where its
/// boot image begins. The writer offers UEFI only as a second entry behind one for
/// a BIOS, which some firmware never gets to.
fn mark_as_uefi(image: &mut [u8]) -> Result<usize, BootMediaError> {
    // El Torito: the boot record descriptor is at sector 17 and has the catalogue's sector at 0x47.
    let catalogue = field(image, 17 * SECTOR + 0x47)? as usize * SECTOR;
    let entries = image
        .get_mut(catalogue..catalogue + 64)
        .ok_or_else(|| malformed("its boot catalogue is not within it"))?;
    entries[1] = PLATFORM_UEFI;
    entries[28..30].fill(0);
    let sum = entries[..32]
        .chunks_exact(2)
        .map(|word| u16::from_le_bytes([word[0], word[1]]))
        .fold(0u16, u16::wrapping_add);
    entries[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let start = field(image, catalogue + 32 + 8)? as usize * SECTOR;
    if start >= image.len() {
        return Err(malformed("its boot image is not within it"));
    }
    Ok(start)
}

/// Tells the primary volume descriptor the image's full size.
fn grow_volume(image: &mut [u8], len: u64) -> Result<(), BootMediaError> {
    let sectors = u32::try_from(len / SECTOR as u64)
        .map_err(|_| malformed("it is larger than an ISO image can be"))?;
    // ISO 9660, 8.4.8: volume space size, in both byte orders.
    let at = 16 * SECTOR + 80;
    image[at..at + 4].copy_from_slice(&sectors.to_le_bytes());
    image[at + 4..at + 8].copy_from_slice(&sectors.to_be_bytes());
    Ok(())
}

fn field(image: &[u8], at: usize) -> Result<u32, BootMediaError> {
    image
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| malformed("it ends within its descriptors"))
}

fn malformed(what: &str) -> BootMediaError {
    BootMediaError::Iso(format!("the image is not as expected: {what}"))
}
