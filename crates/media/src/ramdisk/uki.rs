//! Puts sections behind systemd's UEFI stub: the unified kernel image.
//!
//! Written by hand and not with `objcopy`, because the placing is all there is to
//! it, and because the same inputs must give the same bytes whichever binutils is
//! installed.

use std::path::Path;
use std::process::Command;

use object::read::pe::PeFile64;
use object::{Object as _, ObjectSection as _};

use super::{SignError, SigningKey};
use crate::command;

/// A section of a UKI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name, at most eight bytes (`.linux`).
    pub name: &'a str,
    /// What is in it.
    pub data: &'a [u8],
}

impl<'a> Section<'a> {
    /// A section of this name and content.
    pub fn new(name: &'a str, data: &'a [u8]) -> Self {
        Self { name, data }
    }
}

/// Why a UKI could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// The stub, or the file to read, is not a 64 bit PE program.
    #[error("this is not a 64 bit UEFI program: {0}")]
    NotPe(String),
    /// There is no room for another section header in front of the first section.
    #[error("the UEFI stub has no room for the section headers of a unified kernel image")]
    NoRoom,
    /// The image would be larger than a PE program can be.
    #[error("the unified kernel image would be larger than 4 GiB")]
    TooLarge,
}

const SECTION_HEADER: usize = 40;
/// Initialised data, readable: `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const CHARACTERISTICS: u32 = 0x4000_0040;
/// Sections start at pages in memory, whatever smaller alignment the stub asks for.
const PAGE: u32 = 0x1000;

// Offsets in the optional header of a PE32+ program (PE format specification, 3.4).
const OPTIONAL_INITIALIZED_SIZE: usize = 8;
const OPTIONAL_SECTION_ALIGNMENT: usize = 32;
const OPTIONAL_FILE_ALIGNMENT: usize = 36;
const OPTIONAL_IMAGE_SIZE: usize = 56;
const OPTIONAL_HEADERS_SIZE: usize = 60;
const OPTIONAL_CHECKSUM: usize = 64;

/// A UKI without what is in its sections: for those that are too large to be put
/// together in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stub with the headers of all sections, up to where the first one begins.
    pub head: Vec<u8>,
    /// Where each section's content goes, and where its header is, in bytes from
    /// the image's beginning.
    pub places: Vec<Place>,
    /// Bytes of the image. What lies between the sections is zero.
    pub len: u64,
}

/// Where a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its content.
    pub content: u64,
    /// Its header of 40 bytes. The four at 8 say how long the content is.
    pub header: u64,
}

/// Appends `added` to the stub, in that order.
pub fn join(stub: &[u8], added: &[Section<'_>]) -> Result<Vec<u8>, UkiError> {
    let sizes: Vec<(&str, u64)> = added
        .iter()
        .map(|section| (section.name, section.data.len() as u64))
        .collect();
    let frame = frame(stub, &sizes)?;
    let mut image = frame.head;
    for (section, place) in added.iter().zip(&frame.places) {
        image.resize(place.content as usize, 0);
        image.extend_from_slice(section.data);
    }
    image.resize(frame.len as usize, 0);
    Ok(image)
}

/// The frame of a UKI with sections of these names and sizes, in that order.
pub fn frame(stub: &[u8], added: &[(&str, u64)]) -> Result<Frame, UkiError> {
    // Let the reader judge whether all headers lie within the file.
    let parsed = PeFile64::parse(stub).map_err(|e| UkiError::NotPe(e.to_string()))?;
    let pe = get(stub, 0x3c)? as usize;
    let file_header = pe + 4;
    let optional = file_header + 20;
    let count = parsed.section_table().len();
    let optional_size = usize::from(u16::from_le_bytes([
        stub[file_header + 16],
        stub[file_header + 17],
    ]));
    let table = optional + optional_size;

    let section_alignment = get(stub, optional + OPTIONAL_SECTION_ALIGNMENT)?.max(PAGE);
    let file_alignment = get(stub, optional + OPTIONAL_FILE_ALIGNMENT)?.max(1);
    let headers_size = get(stub, optional + OPTIONAL_HEADERS_SIZE)? as usize;
    if table + (count + added.len()) * SECTION_HEADER > headers_size {
        return Err(UkiError::NoRoom);
    }
    let mut address = parsed
        .section_table()
        .iter()
        .map(|section| {
            section.virtual_address.get(object::LittleEndian)
                + section.virtual_size.get(object::LittleEndian)
        })
        .max()
        .unwrap_or(0);

    // Behind the stub's sections there may be a symbol table, which nothing reads.
    // A gap would be hashed by some and not by others when the image is signed.
    let end = parsed
        .section_table()
        .iter()
        .map(|section| {
            section.pointer_to_raw_data.get(object::LittleEndian) as usize
                + section.size_of_raw_data.get(object::LittleEndian) as usize
        })
        .max()
        .unwrap_or(headers_size);
    let mut head = stub.get(..end).unwrap_or(stub).to_vec();
    pad(&mut head, file_alignment);
    put(&mut head, file_header + 8, 0);
    put(&mut head, file_header + 12, 0);
    let mut end = u32::try_from(head.len()).map_err(|_| UkiError::TooLarge)?;
    let mut initialized = get(stub, optional + OPTIONAL_INITIALIZED_SIZE)?;
    let mut places = Vec::with_capacity(added.len());
    for (index, (section, size)) in added.iter().enumerate() {
        address = align(address, section_alignment)?;
        let size = u32::try_from(*size).map_err(|_| UkiError::TooLarge)?;
        let raw_size = align(size, file_alignment)?;

        let header = table + (count + index) * SECTION_HEADER;
        let mut name = [0; 8];
        let length = section.len().min(8);
        name[..length].copy_from_slice(&section.as_bytes()[..length]);
        head[header..header + 8].copy_from_slice(&name);
        put(&mut head, header + 8, size);
        put(&mut head, header + 12, address);
        put(&mut head, header + 16, raw_size);
        put(&mut head, header + 20, end);
        head[header + 24..header + 36].fill(0);
        put(&mut head, header + 36, CHARACTERISTICS);
        places.push(Place {
            content: u64::from(end),
            header: header as u64,
        });
        let grown = |of: u32, by: u32| of.checked_add(by).ok_or(UkiError::TooLarge);
        initialized = grown(initialized, raw_size)?;
        address = grown(address, size)?;
        end = grown(end, raw_size)?;
    }

    let total = u16::try_from(count + added.len()).map_err(|_| UkiError::NoRoom)?;
    head[file_header + 2..file_header + 4].copy_from_slice(&total.to_le_bytes());
    put(&mut head, optional + OPTIONAL_INITIALIZED_SIZE, initialized);
    put(
        &mut head,
        optional + OPTIONAL_IMAGE_SIZE,
        align(address, section_alignment)?,
    );
    // UEFI does not look at the checksum; the stub's own is no longer true.
    put(&mut head, optional + OPTIONAL_CHECKSUM, 0);
    Ok(Frame {
        head,
        places,
        len: u64::from(end),
    })
}

/// The sections of a UKI, with the padding taken off.
pub fn sections(uki: &[u8]) -> Result<Vec<(String, Vec<u8>)>, UkiError> {
    let not_pe = |e: object::Error| UkiError::NotPe(e.to_string());
    let parsed = PeFile64::parse(uki).map_err(not_pe)?;
    parsed
        .sections()
        .map(|section| {
            let name = section.name().map_err(not_pe)?.to_owned();
            let data = section.data().map_err(not_pe)?;
            let size = usize::try_from(section.size()).unwrap_or(usize::MAX);
            Ok((name, data[..data.len().min(size)].to_vec()))
        })
        .collect()
}

/// Signs a UKI in place, with `sbsign`.
pub fn sign(uki: &Path, signing: &SigningKey) -> Result<(), SignError> {
    command::run(
        Command::new("sbsign")
            .arg("--key")
            .arg(&signing.key)
            .arg("--cert")
            .arg(&signing.certificate)
            .arg("--output")
            .arg(uki)
            .arg(uki),
        "sbsigntool",
    )
    .map(|_| ())
    .map_err(|source| SignError {
        path: uki.to_owned(),
        source,
    })
}

fn get(image: &[u8], at: usize) -> Result<u32, UkiError> {
    image
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| UkiError::NotPe("it ends within its headers".to_owned()))
}

fn put(image: &mut [u8], at: usize, value: u32) {
    image[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn align(value: u32, to: u32) -> Result<u32, UkiError> {
    value.checked_next_multiple_of(to).ok_or(UkiError::TooLarge)
}

fn pad(image: &mut Vec<u8>, to: u32) {
    image.resize(image.len().next_multiple_of(to as usize), 0);
}
