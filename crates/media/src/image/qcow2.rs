//! Reads qcow2: the header is judged here before anything else looks at the file.
//!
//! The clusters themselves are read by `imago`, a reader in safe Rust that is told
//! the format, may open no other file, and never writes. What it could be made to
//! allocate or loop over is bounded by the header checks here. (Source of the
//! numbers: QEMU's `docs/interop/qcow2.txt`.)

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use billet_model::image::CHUNK_BYTES;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder as _, Mapping};

use super::chunks::ChunkWriter;
use super::error::ImportError;
use crate::progress::{OnProgress, Progress};

/// The first bytes of a qcow2 file.
pub const MAGIC: &[u8] = b"QFI\xfb";

/// An encrypted image has another value than this.
const NO_ENCRYPTION: u32 = 0;
/// Incompatible feature bits.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
/// The largest table of either kind, in bytes, that QEMU itself accepts.
const LARGEST_TABLE: u64 = 32 << 20;
/// An L1 entry's bits that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What of a header matters here.
#[derive(Debug)]
pub struct Header {
    /// Bytes of the disk.
    pub virtual_bytes: u64,
    cluster: u64,
    l1_entries: u64,
    l1_offset: u64,
}

/// Reads the header and refuses what Billet does not take, before a byte is converted.
pub fn check(file: &File, limit: u64) -> Result<Header, ImportError> {
    let file_len = file.metadata().map_err(ImportError::Source)?.len();
    let mut bytes = [0; 112];
    let have = usize::try_from(file_len).unwrap_or(usize::MAX).min(112);
    file.read_exact_at(&mut bytes[..have], 0)
        .map_err(ImportError::Source)?;
    if have < 72 {
        return Err(ImportError::Truncated("within its header".to_owned()));
    }
    let word =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));

    let version = word(4);
    if version != 2 && version != 3 {
        return Err(ImportError::Unsupported {
            found: format!("a qcow image of version {version}"),
            remedy: "convert it with `qemu-img convert -O qcow2`",
        });
    }
    let incompatible = if version == 3 { long(72) } else { 0 };
    let backing_offset = long(8);
    if backing_offset != 0 {
        return Err(ImportError::RefersToFile {
            kind: "backing file",
        });
    }
    if incompatible & DATA_FILE != 0 {
        return Err(ImportError::RefersToFile { kind: "data file" });
    }
    if word(32) != NO_ENCRYPTION {
        return Err(ImportError::Encrypted);
    }
    if incompatible & CORRUPT != 0 {
        return Err(ImportError::Corrupt("it is marked as corrupt".to_owned()));
    }
    if incompatible & !(DIRTY | COMPRESSION) != 0 {
        return Err(ImportError::Unsupported {
            found: format!("a qcow2 image with features of its own ({incompatible:#x})"),
            remedy: "convert it with `qemu-img convert -O qcow2`",
        });
    }
    if incompatible & COMPRESSION != 0 && bytes[104] != 0 {
        return Err(ImportError::Unsupported {
            found: "a qcow2 image with clusters compressed by zstd".to_owned(),
            remedy: "convert it with `qemu-img convert -O qcow2`, and compress the file as a whole",
        });
    }
    let virtual_bytes = long(24);
    if virtual_bytes > limit {
        return Err(ImportError::TooLarge {
            size: Some(virtual_bytes),
            limit,
        });
    }
    let cluster_bits = word(20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(ImportError::Corrupt(format!(
            "clusters of 2^{cluster_bits} bytes"
        )));
    }
    let header = Header {
        virtual_bytes,
        cluster: 1 << cluster_bits,
        l1_entries: u64::from(word(36)),
        l1_offset: long(40),
    };
    let refcount_table = u64::from(word(56)) * header.cluster;
    if header.l1_entries * 8 > LARGEST_TABLE || refcount_table > LARGEST_TABLE {
        return Err(ImportError::Corrupt("its tables are too large".to_owned()));
    }
    check_tables(file, file_len, &header)?;
    Ok(header)
}

/// Every second-level table must lie within the file: behind its end are zeros for
/// a reader, and the image would be one with a hole that nobody notices.
fn check_tables(file: &File, file_len: u64, header: &Header) -> Result<(), ImportError> {
    let cut = || ImportError::Truncated("its tables lie behind its end".to_owned());
    let end = header
        .l1_offset
        .checked_add(header.l1_entries * 8)
        .ok_or_else(cut)?;
    if end > file_len {
        return Err(cut());
    }
    let mut table = vec![0; (header.l1_entries * 8) as usize];
    file.read_exact_at(&mut table, header.l1_offset)
        .map_err(ImportError::Source)?;
    for entry in table.chunks_exact(8) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(entry);
        let offset = u64::from_be_bytes(bytes) & OFFSET;
        if offset != 0 && offset + header.cluster > file_len {
            return Err(cut());
        }
    }
    Ok(())
}

/// Reads the whole disk into `writer`, whose files are in `dir`. `file` has passed [`check`].
pub fn convert(
    file: File,
    header: &Header,
    writer: &mut ChunkWriter,
    dir: &Path,
    progress: OnProgress<'_>,
) -> Result<(), ImportError> {
    // A parser that was made to panic has found a damaged image, not a dead server.
    catch_unwind(AssertUnwindSafe(|| {
        copy(file, header, writer, dir, progress)
    }))
    .unwrap_or_else(|_| Err(ImportError::Corrupt("its tables make no sense".to_owned())))
}

fn copy(
    file: File,
    header: &Header,
    writer: &mut ChunkWriter,
    dir: &Path,
    progress: OnProgress<'_>,
) -> Result<(), ImportError> {
    let corrupt = |e: io::Error| ImportError::Corrupt(e.to_string());
    let file_len = file.metadata().map_err(ImportError::Source)?.len();
    // A last cluster may be shorter than it counts for.
    let data_end = file_len.next_multiple_of(header.cluster);
    let storage = imago::file::File::try_from(file).map_err(corrupt)?;
    let disk = Qcow2::<imago::file::File>::builder(storage)
        .write(false)
        .open(DenyImplicitOpenGate::default())
        .map_err(corrupt)?;
    let disk = FormatAccess::new(disk);
    if disk.size() != header.virtual_bytes {
        return Err(ImportError::Corrupt("its size is unclear".to_owned()));
    }
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    let mut at = 0;
    while at < header.virtual_bytes {
        let (mapping, length) = disk
            .get_mapping(at, header.virtual_bytes - at)
            .map_err(corrupt)?;
        if length == 0 {
            return Err(ImportError::Corrupt(format!("nothing is mapped at {at}")));
        }
        let written = |e| ImportError::io("writing to", dir, e);
        match mapping {
            Mapping::Zero { .. } => {
                writer.write_zeros(length).map_err(written)?;
                at += length;
            }
            mapping => {
                let count = length.min(CHUNK_BYTES);
                if let Mapping::Raw { offset, .. } = mapping
                    && offset.checked_add(count).is_none_or(|end| end > data_end)
                {
                    return Err(ImportError::Truncated(
                        "some of its data lies behind its end".to_owned(),
                    ));
                }
                let part = &mut buffer[..count as usize];
                disk.read(&mut *part, at).map_err(corrupt)?;
                writer.write(part).map_err(written)?;
                at += count;
            }
        }
        progress(Progress {
            step: "converting the image",
            done: at,
            total: Some(header.virtual_bytes),
        });
    }
    Ok(())
}
