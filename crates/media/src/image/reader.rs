//! Reads a stored image: chunk by chunk as an agent does, or as a whole disk.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use billet_model::image::{CHUNK_BYTES, ImageChunk, ImageManifest};

use crate::digest;
use crate::progress::{OnProgress, Progress};

/// Why a stored image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The manifest is not one, or not the one that the image is known by.
    #[error("the manifest {} is damaged: {reason}. Import the image again", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A chunk is not what the manifest says.
    #[error("chunk {index} of the image stored in {} is damaged. Import the image again", path.display())]
    Chunk {
        /// The blob.
        path: PathBuf,
        /// The chunk's index.
        index: u64,
    },
}

/// A stored image. Clones share the open files.
#[derive(Clone, Debug)]
pub struct ImageReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    manifest: ImageManifest,
    blob: File,
    blob_path: PathBuf,
}

impl ImageReader {
    /// Opens the image of this digest in `directory`, and checks that its manifest
    /// is the one that the digest is of.
    pub fn open(directory: &Path, digest: &str) -> Result<Self, ImageError> {
        let path = directory.join(format!("{digest}.json"));
        let bytes = fs::read(&path).map_err(|source| ImageError::Io {
            operation: "reading",
            path: path.clone(),
            source,
        })?;
        let damaged = |reason: String| ImageError::Manifest {
            path: path.clone(),
            reason,
        };
        let found = digest::sha256(&bytes);
        if found != digest {
            return Err(damaged(format!("its SHA-256 is {found}")));
        }
        let manifest: ImageManifest =
            serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        let blob_path = directory.join(format!("{digest}.blob"));
        let io = |source| ImageError::Io {
            operation: "opening",
            path: blob_path.clone(),
            source,
        };
        let blob = File::open(&blob_path).map_err(io)?;
        let blob_len = blob.metadata().map_err(io)?.len();
        check(&manifest, blob_len).map_err(damaged)?;
        Ok(Self::from_parts(manifest, blob, blob_path))
    }

    pub(super) fn from_parts(manifest: ImageManifest, blob: File, blob_path: PathBuf) -> Self {
        Self {
            inner: Arc::new(Inner {
                manifest,
                blob,
                blob_path,
            }),
        }
    }

    /// What is in the image.
    pub fn manifest(&self) -> &ImageManifest {
        &self.inner.manifest
    }

    /// A chunk as it is stored: one zstd frame. Not checked; who unpacks it does.
    pub fn stored(&self, chunk: &ImageChunk) -> Result<Vec<u8>, ImageError> {
        let mut stored = vec![0; chunk.length as usize];
        self.inner
            .blob
            .read_exact_at(&mut stored, chunk.offset)
            .map_err(|source| ImageError::Io {
                operation: "reading",
                path: self.inner.blob_path.clone(),
                source,
            })?;
        Ok(stored)
    }

    /// A chunk's plain bytes, checked against the manifest.
    pub fn plain(&self, chunk: &ImageChunk) -> Result<Vec<u8>, ImageError> {
        let damaged = || ImageError::Chunk {
            path: self.inner.blob_path.clone(),
            index: chunk.index,
        };
        let stored = self.stored(chunk)?;
        let length = self.manifest().plain_len(chunk.index) as usize;
        let plain = zstd::bulk::decompress(&stored, length).map_err(|_| damaged())?;
        if plain.len() != length || digest::sha256(&plain) != chunk.sha256 {
            return Err(damaged());
        }
        Ok(plain)
    }

    /// The image as a disk to read from.
    pub fn disk(&self) -> ImageDisk {
        ImageDisk {
            image: self.clone(),
            position: 0,
            cache: VecDeque::new(),
            budget: None,
        }
    }

    /// Reads every chunk and checks it.
    pub fn verify(&self, progress: OnProgress<'_>) -> Result<(), ImageError> {
        self.each(progress, "checking the image", |_, _| Ok(()))
    }

    /// Writes the whole disk to `target`, raw. Empty chunks become holes.
    pub fn export(&self, target: &Path, progress: OnProgress<'_>) -> Result<(), ImageError> {
        let io = |source| ImageError::Io {
            operation: "writing",
            path: target.to_owned(),
            source,
        };
        let file = File::create(target).map_err(io)?;
        file.set_len(self.manifest().virtual_bytes).map_err(io)?;
        self.each(progress, "writing the image", |chunk, plain| {
            file.write_all_at(plain, chunk.index * CHUNK_BYTES)
                .map_err(io)
        })
    }

    fn each(
        &self,
        progress: OnProgress<'_>,
        step: &'static str,
        mut act: impl FnMut(&ImageChunk, &[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let chunks = &self.manifest().chunks;
        for (done, chunk) in chunks.iter().enumerate() {
            let plain = self.plain(chunk)?;
            act(chunk, &plain)?;
            progress(Progress {
                step,
                done: (done as u64 + 1) * CHUNK_BYTES,
                total: Some(chunks.len() as u64 * CHUNK_BYTES),
            });
        }
        Ok(())
    }
}

/// What the digest cannot vouch for when the blob is another file.
fn check(manifest: &ImageManifest, blob_len: u64) -> Result<(), String> {
    if manifest.version != 1 || manifest.chunk_bytes != CHUNK_BYTES {
        return Err("it is of a form that this version does not know".to_owned());
    }
    let count = manifest.virtual_bytes.div_ceil(CHUNK_BYTES);
    let mut next = 0;
    for chunk in &manifest.chunks {
        let end = chunk.offset.checked_add(u64::from(chunk.length));
        if chunk.index < next || chunk.index >= count || end.is_none_or(|end| end > blob_len) {
            return Err(format!("chunk {} is not where it can be", chunk.index));
        }
        next = chunk.index + 1;
    }
    Ok(())
}

/// A stored image as a disk: read and seek, never written.
#[derive(Clone, Debug)]
pub struct ImageDisk {
    image: ImageReader,
    position: u64,
    cache: VecDeque<(u64, Vec<u8>)>,
    budget: Option<u64>,
}

/// Chunks kept at hand: file systems go back and forth between tables and data.
const CACHED_CHUNKS: usize = 8;

impl ImageDisk {
    /// Fails after so many reads: the file systems in an image are made by anyone,
    /// and can lead a reader in circles.
    #[must_use]
    pub fn with_budget(mut self, reads: u64) -> Self {
        self.budget = Some(reads);
        self
    }

    fn chunk(&mut self, index: u64) -> io::Result<&[u8]> {
        if let Some(at) = self.cache.iter().position(|(cached, _)| *cached == index) {
            return Ok(&self.cache[at].1);
        }
        let manifest = self.image.manifest();
        let plain = match manifest
            .chunks
            .binary_search_by_key(&index, |chunk| chunk.index)
        {
            Ok(at) => self
                .image
                .plain(&manifest.chunks[at])
                .map_err(io::Error::other)?,
            Err(_) => vec![0; manifest.plain_len(index) as usize],
        };
        if self.cache.len() == CACHED_CHUNKS {
            self.cache.pop_back();
        }
        self.cache.push_front((index, plain));
        Ok(&self.cache[0].1)
    }
}

impl Read for ImageDisk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(left) = &mut self.budget {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("the image leads in circles"))?;
        }
        if buffer.is_empty() || self.position >= self.image.manifest().virtual_bytes {
            return Ok(0);
        }
        let from = (self.position % CHUNK_BYTES) as usize;
        let chunk = self.chunk(self.position / CHUNK_BYTES)?;
        let count = buffer.len().min(chunk.len() - from);
        buffer[..count].copy_from_slice(&chunk[from..from + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for ImageDisk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.image.manifest().virtual_bytes.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// Refuses: here because file system readers ask for it.
impl Write for ImageDisk {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
