//! Takes an image in: decompresses, recognises, converts, looks, and stores.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use billet_model::image::{CHUNK_BYTES, ImageContent, ImageManifest};
use tempfile::NamedTempFile;

use super::chunks::{ChunkWriter, Chunks};
use super::error::ImportError;
use super::facts::{self, Facts};
use super::qcow2;
use super::reader::ImageReader;
use super::source::{self, Checksum, Source};
use crate::digest;
use crate::progress::{OnProgress, Progress};

/// How an image is taken in.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// What the bytes as they arrive must hash to.
    pub checksum: Option<Checksum>,
    /// The most bytes that the disk may have.
    pub max_virtual_size: u64,
    /// How many bytes will arrive, where that is known; for progress only.
    pub expected_bytes: Option<u64>,
    /// Where the stored image goes. Room for the unpacked qcow2 file is needed
    /// there, too, while it is converted.
    pub dir: PathBuf,
}

/// An image that was taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What the control plane keeps of it.
    pub content: ImageContent,
    /// What was found by looking.
    pub facts: Facts,
    /// The checksum of what arrived: of the kind that was stated, else SHA-256.
    pub checksum: Checksum,
    /// How many bytes arrived.
    pub source_bytes: u64,
    /// The stored manifest.
    pub manifest_path: PathBuf,
    /// The stored blob.
    pub blob_path: PathBuf,
}

/// What a qcow2 file may have beside its disk's bytes: tables, and what was written
/// twice. One part in eight, and a little for small ones.
const QCOW2_OVERHEAD: u64 = 64 << 20;

/// Reads an image from `reader` to its end and stores it.
///
/// Raw and qcow2 are known, each with gzip, xz or zstd around it or not; which it
/// is, is told by its first bytes. Memory stays flat. Blocks: call it from a thread
/// that may. Nothing is left in [`ImportOptions::dir`] if it fails.
pub fn import(
    reader: impl Read,
    options: &ImportOptions,
    progress: OnProgress<'_>,
) -> Result<Imported, ImportError> {
    let wanted = options.checksum.as_ref();
    let arriving = options
        .max_virtual_size
        .saturating_add(options.max_virtual_size / 8)
        .saturating_add(QCOW2_OVERHEAD);
    let mut source = Source::new(reader, arriving, wanted);
    let taken = take_in(&mut source, options, progress);
    // A checksum says best what is wrong with an image that makes no sense.
    source.drain();
    if let Some(failure) = source.take_failure() {
        return Err(ImportError::Source(failure));
    }
    if source.over_limit() {
        return Err(too_large(options));
    }
    let checksum = match &taken {
        Ok(_) | Err(ImportError::Corrupt(_) | ImportError::Truncated(_) | ImportError::Empty) => {
            source.verify(wanted)?
        }
        Err(_) => source.verify(None)?,
    };
    let chunks = taken?;
    progress(Progress::begin("looking at the image"));
    store(chunks, checksum, source.arrived(), options)
}

fn take_in<R: Read>(
    source: &mut Source<R>,
    options: &ImportOptions,
    progress: OnProgress<'_>,
) -> Result<Chunks, ImportError> {
    let dir = &options.dir;
    fs::create_dir_all(dir).map_err(|e| ImportError::io("creating", dir, e))?;
    let blob = NamedTempFile::with_prefix_in("importing-", dir)
        .map_err(|e| ImportError::io("creating a file in", dir, e))?;
    let writer = ChunkWriter::new(blob).map_err(|e| ImportError::io("writing to", dir, e))?;
    let counted = Counted {
        source,
        expected: options.expected_bytes,
        told: 0,
        progress: &mut *progress,
    };
    let unpacked = source::decompress(counted).map_err(decoding)?;
    let (head, mut unpacked) = source::peek(unpacked, 4096).map_err(decoding)?;
    recognise(&head)?;
    if head.starts_with(qcow2::MAGIC) {
        let spooled = spool(&mut unpacked, options)?;
        drop(unpacked);
        from_qcow2(spooled, writer, options, progress)
    } else {
        from_raw(&mut unpacked, writer, options)
    }
}

fn from_raw(
    unpacked: &mut impl Read,
    mut writer: ChunkWriter,
    options: &ImportOptions,
) -> Result<Chunks, ImportError> {
    let written = |e| ImportError::io("writing to", &options.dir, e);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = read_some(unpacked, &mut buffer)?;
        if read == 0 {
            break;
        }
        if writer.position() + read as u64 > options.max_virtual_size {
            return Err(too_large(options));
        }
        writer.write(&buffer[..read]).map_err(written)?;
    }
    let bytes = writer.position();
    if !bytes.is_multiple_of(512) {
        return Err(ImportError::Truncated(format!(
            "{bytes} bytes are no whole number of sectors"
        )));
    }
    writer.finish().map_err(written)
}

fn from_qcow2(
    spooled: File,
    mut writer: ChunkWriter,
    options: &ImportOptions,
    progress: OnProgress<'_>,
) -> Result<Chunks, ImportError> {
    let header = qcow2::check(&spooled, options.max_virtual_size)?;
    qcow2::convert(spooled, &header, &mut writer, &options.dir, progress)?;
    writer
        .finish()
        .map_err(|e| ImportError::io("writing to", &options.dir, e))
}

/// Puts a qcow2 file where it can be read back and forth; gone when closed.
fn spool(unpacked: &mut impl Read, options: &ImportOptions) -> Result<File, ImportError> {
    let failed = |e| ImportError::io("writing to", &options.dir, e);
    let mut file = tempfile::tempfile_in(&options.dir).map_err(failed)?;
    let limit = options
        .max_virtual_size
        .saturating_add(options.max_virtual_size / 8)
        .saturating_add(QCOW2_OVERHEAD);
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = read_some(unpacked, &mut buffer)?;
        if read == 0 {
            return Ok(file);
        }
        bytes += read as u64;
        if bytes > limit {
            return Err(too_large(options));
        }
        file.write_all(&buffer[..read]).map_err(failed)?;
    }
}

/// Keeps the chunks under their digest, and looks at what is in them.
fn store(
    chunks: Chunks,
    checksum: Checksum,
    source_bytes: u64,
    options: &ImportOptions,
) -> Result<Imported, ImportError> {
    let dir = &options.dir;
    let mut manifest = ImageManifest {
        version: 1,
        virtual_bytes: chunks.virtual_bytes,
        chunk_bytes: CHUNK_BYTES,
        chunks: chunks.chunks,
        boot: Default::default(),
        root_partition: None,
    };
    let blob = chunks
        .blob
        .reopen()
        .map_err(|e| ImportError::io("opening", chunks.blob.path(), e))?;
    let reader = ImageReader::from_parts(manifest.clone(), blob, chunks.blob.path().to_owned());
    let facts = facts::look(&reader);
    if let Some(end) = facts.table_end
        && end > manifest.virtual_bytes
    {
        return Err(ImportError::Truncated(format!(
            "its partition table says that the disk has {end} bytes, and there are {}",
            manifest.virtual_bytes
        )));
    }
    manifest.boot = facts.boot;
    manifest.root_partition = facts.root_partition;

    let canonical = manifest.canonical();
    let digest = digest::sha256(&canonical);
    let manifest_path = dir.join(format!("{digest}.json"));
    let blob_path = dir.join(format!("{digest}.blob"));
    chunks
        .blob
        .persist(&blob_path)
        .map_err(|e| ImportError::io("moving into place", &blob_path, e.error))?;
    // The manifest last: where it is, the blob is whole.
    write_durably(dir, &manifest_path, &canonical)?;
    Ok(Imported {
        content: ImageContent {
            digest,
            virtual_bytes: manifest.virtual_bytes,
            data_bytes: chunks.data_bytes,
            stored_bytes: chunks.stored_bytes,
            boot: facts.boot,
            storage: facts.storage,
            root_partition: facts.root_partition,
        },
        facts,
        checksum,
        source_bytes,
        manifest_path,
        blob_path,
    })
}

fn write_durably(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
    let write = || -> io::Result<()> {
        let mut file = NamedTempFile::with_prefix_in("importing-", dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| ImportError::io("writing", path, e))
}

/// Refuses what is plainly something else.
fn recognise(head: &[u8]) -> Result<(), ImportError> {
    let text = head[..head.len().min(64)].to_ascii_lowercase();
    let text = text.trim_ascii_start();
    let found = if head.is_empty() {
        return Err(ImportError::Empty);
    } else if head.starts_with(b"KDMV")
        || head.starts_with(b"COWD")
        || text.starts_with(b"# disk descriptorfile")
    {
        "a VMDK image"
    } else if head.starts_with(b"vhdxfile") || head.starts_with(b"conectix") {
        "a VHD image"
    } else if head.get(64..68) == Some(&[0x7f, 0x10, 0xda, 0xbe]) {
        "a VirtualBox image"
    } else if text.starts_with(b"<!doctype")
        || text.starts_with(b"<html")
        || text.starts_with(b"<?xml")
    {
        return Err(ImportError::Unsupported {
            found: "a page for a browser".to_owned(),
            remedy: "the address is probably that of a page about the image, or of an error",
        });
    } else if head.starts_with(b"PK\x03\x04")
        || head.starts_with(b"BZh")
        || head.starts_with(b"7z\xbc\xaf")
        || head.get(257..262) == Some(b"ustar")
    {
        return Err(ImportError::Unsupported {
            found: "an archive".to_owned(),
            remedy: "unpack it, and give the image that is in it",
        });
    } else {
        return Ok(());
    };
    Err(ImportError::Unsupported {
        found: found.to_owned(),
        remedy: "convert it with `qemu-img convert -O qcow2`",
    })
}

fn too_large(options: &ImportOptions) -> ImportError {
    ImportError::TooLarge {
        size: None,
        limit: options.max_virtual_size,
    }
}

/// Reads some bytes of what came out of a decoder.
fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ImportError> {
    loop {
        match reader.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(decoding),
        }
    }
}

/// What a decoder complains of. That the source failed is found out later.
fn decoding(error: io::Error) -> ImportError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        ImportError::Truncated("within its compressed data".to_owned())
    } else {
        ImportError::Corrupt(format!("decompressing it: {error}"))
    }
}

/// How much arrives between two signs of progress, in bytes.
const TELL_EVERY: u64 = 4 << 20;

/// Tells how far it has come as the image is read.
struct Counted<'a, 'p, R> {
    source: &'a mut Source<R>,
    expected: Option<u64>,
    told: u64,
    progress: OnProgress<'p>,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let done = self.source.arrived();
        if done - self.told >= TELL_EVERY || read == 0 {
            self.told = done;
            (self.progress)(Progress {
                step: "taking in the image",
                done,
                total: self.expected,
            });
        }
        Ok(read)
    }
}
