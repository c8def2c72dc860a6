//! Why an image was not taken in; each says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image was not taken in. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The stated checksum is not one.
    #[error("`{0}` is not a checksum: write sha256: or sha512: and the digest in hexadecimal")]
    ChecksumSyntax(String),
    /// What arrived is not what the checksum is of.
    #[error(
        "the image's checksum is {actual}, not {expected} as stated ({bytes} bytes arrived): it is damaged, was changed, or the checksum belongs to another file"
    )]
    ChecksumMismatch {
        /// As stated.
        expected: String,
        /// As calculated.
        actual: String,
        /// How much arrived, in bytes.
        bytes: u64,
    },
    /// Nothing arrived.
    #[error("the image is empty: see whether the address or the file is the right one")]
    Empty,
    /// The image ends too early.
    #[error("the image ends too early ({0}): fetch it again")]
    Truncated(String),
    /// The image contradicts itself.
    #[error("the image is damaged ({0}): fetch it again, or check it with `qemu-img check`")]
    Corrupt(String),
    /// The disk is larger than allowed.
    #[error(
        "the disk in this image has {}, more than the {limit} bytes allowed: shrink it, or have the operator raise the limit",
        size.map_or_else(|| "more bytes".to_owned(), |size| format!("{size} bytes"))
    )]
    TooLarge {
        /// Its size in bytes, where the image states one.
        size: Option<u64>,
        /// The most allowed, in bytes.
        limit: u64,
    },
    /// It is something else than an image that Billet reads.
    #[error(
        "this is {found}, and Billet reads raw and qcow2 images (with gzip, xz or zstd around them): {remedy}"
    )]
    Unsupported {
        /// What it is.
        found: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A qcow2 image that refers to another file.
    #[error(
        "this qcow2 image has a {kind}, a file beside it that it would be read from: make it whole with `qemu-img convert -O qcow2 IMAGE NEW`"
    )]
    RefersToFile {
        /// `backing file` or `data file`.
        kind: &'static str,
    },
    /// An encrypted qcow2 image.
    #[error(
        "this qcow2 image is encrypted: decrypt it with `qemu-img convert -O qcow2` and its secret"
    )]
    Encrypted,
    /// The source failed while it was read.
    #[error("reading the image as it arrives: {0}")]
    Source(io::Error),
    /// Billet's own files could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl ImportError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}
