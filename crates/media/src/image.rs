//! Disk images: taken in once from whatever form they come in, and kept in Billet's own.
//!
//! A stored image is two files in one directory: `DIGEST.json`, the manifest, and
//! `DIGEST.blob`. The disk is cut into chunks of 1 MiB; a chunk that is all zeros is
//! not stored, any other is one zstd frame in the blob, and the manifest lists it
//! with the SHA-256 of its plain bytes. So an agent can fetch any chunk on its own,
//! check it, go on where it broke off, and discard what is empty. The image is known
//! by the SHA-256 of its manifest.
//!
//! [`import`] streams: whatever the image's size, it holds a few megabytes. It
//! trusts nothing that comes in: see [`ImportError`] for what it refuses.

mod chunks;
mod error;
mod facts;
mod import;
mod qcow2;
mod reader;
mod source;

pub use error::ImportError;
pub use facts::Facts;
pub use import::{ImportOptions, Imported, import};

pub use reader::{ImageDisk, ImageError, ImageReader};
pub use source::Checksum;
