//! Images: what tenants' machines are written with, or what installs them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ImageId, Name, ProjectId};

/// Bytes of one chunk of a stored image.
pub const CHUNK_BYTES: u64 = 1024 * 1024;

/// An image as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Id.
    pub id: ImageId,
    /// Name, unique in its project (or among the operator's).
    pub name: Name,
    /// Whose it is; `None` is the operator's, for everyone.
    pub project: Option<ProjectId>,
    /// What it is, in a line.
    pub description: String,
    /// Which kind of image.
    #[serde(default)]
    pub kind: ImageKind,
    /// Where it came from (`upload`, or the URL without credentials). Of an
    /// install configuration, each part says so.
    pub origin: String,
    /// The checksum that was asked for (`sha256:…`), if one was.
    pub checksum: Option<String>,
    /// State.
    pub state: ImageState,
    /// Why it failed, where it did.
    pub reason: Option<String>,
    /// What is known of a disk image's content, once imported.
    pub content: Option<ImageContent>,
    /// What an install configuration is made of; `None` for a disk image.
    #[serde(default)]
    pub install: Option<InstallConfig>,
    /// Whether it brings cloud-init: without, Billet knows only that a port answers.
    pub cloud_init: bool,
    /// Whoever added it says that it boots with its root mirrored.
    #[serde(default)]
    pub root_mirror: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Kinds of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageKind {
    /// A disk image: written to the drive, and read back.
    #[default]
    Disk,
    /// An install configuration: a kernel, initrds and a command line, which
    /// install the machine by themselves.
    Kernel,
    /// An install configuration: an iPXE script.
    Ipxe,
}

impl ImageKind {
    /// Whether it is an install configuration.
    pub fn installs(self) -> bool {
        self != Self::Disk
    }
}

impl std::fmt::Display for ImageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Disk => "disk image",
            Self::Kernel => "kernel and initrd",
            Self::Ipxe => "iPXE script",
        })
    }
}

/// An install configuration: what the tenant's own installer is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallConfig {
    /// Its parts: `kernel` and then `initrd-1`, `initrd-2` and so on; or `script`.
    pub parts: Vec<InstallPart>,
    /// The kernel's command line, with its placeholders as they were given.
    #[serde(default)]
    pub command_line: Option<String>,
    /// For how many seconds the installer may run before its time is over.
    pub seconds: u64,
    /// What it is known by, once all parts are there: SHA-256, in hexadecimal,
    /// of its kind, of the digests of its parts and of its command line.
    #[serde(default)]
    pub digest: Option<String>,
}

/// One part of an install configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallPart {
    /// Which: `kernel`, `initrd-1` and so on, or `script`.
    pub name: String,
    /// Where it came from (`upload`, or the URL without credentials).
    pub origin: String,
    /// The checksum that was asked for (`sha256:…`), if one was.
    #[serde(default)]
    pub checksum: Option<String>,
    /// SHA-256 of its bytes, in hexadecimal, once they are there.
    #[serde(default)]
    pub sha256: Option<String>,
    /// How many bytes it has.
    #[serde(default)]
    pub bytes: u64,
}

impl InstallConfig {
    /// The bytes that its digest is of, once all parts are there: a line each.
    pub fn canonical(&self, kind: ImageKind) -> Option<Vec<u8>> {
        let mut text = format!("billet install configuration 1\n{kind}\n");
        for part in &self.parts {
            let sha256 = part.sha256.as_ref()?;
            text.push_str(&format!("{} {sha256} {}\n", part.name, part.bytes));
        }
        if let Some(line) = &self.command_line {
            text.push_str(&format!("command line {line}\n"));
        }
        Some(text.into_bytes())
    }
}

/// Where an image is on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Made known; bytes are to be uploaded.
    AwaitingUpload,
    /// Being fetched or converted.
    Importing,
    /// There.
    Available,
    /// It could not be taken in.
    Failed,
}

/// What was found in an image when it was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageContent {
    /// SHA-256 of the canonical manifest: what the image is known by.
    pub digest: String,
    /// Bytes that the drive must have at least.
    pub virtual_bytes: u64,
    /// Bytes of data, without empty chunks.
    pub data_bytes: u64,
    /// Bytes stored, compressed.
    pub stored_bytes: u64,
    /// How it boots.
    pub boot: BootKind,
    /// Number of the root partition, where it could be told (1-based).
    pub root_partition: Option<u32>,
    /// What it can do with drives, as far as its root file system could be read.
    #[serde(default)]
    pub storage: ImageStorage,
}

/// What an image brings for drives beside the root's. What is `None` could not
/// be told: its root file system is not one that is read at import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImageStorage {
    /// `mdadm`, and so Linux's software RAID.
    pub mdadm: Option<bool>,
    /// `mkfs.ext4`.
    pub ext4: Option<bool>,
    /// `mkfs.xfs`.
    pub xfs: Option<bool>,
    /// It boots with its root mirrored: `mdadm` is in its initrd, which stands on the
    /// EFI system partition, and its file systems are mounted by UUID or label.
    pub mirror: Option<bool>,
}

/// How an image boots, as far as can be told without running it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BootKind {
    /// Boot loader specification entries on the EFI system partition: kernel
    /// arguments can be set.
    Bls,
    /// GRUB.
    Grub,
    /// Not told.
    #[default]
    Unknown,
}

/// The list of an image's chunks: made once, at import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageManifest {
    /// Version of this form: 1.
    pub version: u32,
    /// Bytes of the disk.
    pub virtual_bytes: u64,
    /// Bytes of a chunk (the last may be shorter).
    pub chunk_bytes: u64,
    /// Chunks that are not empty, in order of `index`. What is not listed is zero.
    pub chunks: Vec<ImageChunk>,
    /// How it boots.
    pub boot: BootKind,
    /// Number of the root partition (1-based).
    pub root_partition: Option<u32>,
}

/// One chunk with data in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageChunk {
    /// Which: byte `index * chunk_bytes` of the disk is its first.
    pub index: u64,
    /// SHA-256 of its plain bytes, lower-case hex.
    pub sha256: String,
    /// Where its stored form begins in the blob.
    pub offset: u64,
    /// Length of its stored form (one zstd frame).
    pub length: u32,
}

impl ImageManifest {
    /// The manifest's bytes that its digest is of. Field order is fixed by the type.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Bytes of the plain chunk `index`.
    pub fn plain_len(&self, index: u64) -> u64 {
        self.chunk_bytes.min(
            self.virtual_bytes
                .saturating_sub(index.saturating_mul(self.chunk_bytes)),
        )
    }
}
