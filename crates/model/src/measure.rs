//! What a drive was found to hold, beside the image that it was written with.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::BootId;

/// A drive read and compared with an image, chunk by chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Measured {
    /// Digest of the image that the drive was compared with.
    pub image: String,
    /// The same digest, made of what was read: the image's manifest with the
    /// SHA-256 of each chunk as the drive gave it. Equal to `image` where no
    /// byte differs.
    pub content: String,
    /// Bytes read, past every cache: all that the image covers.
    pub bytes: u64,
    /// How the image's chunks fared.
    pub chunks: ChunkCount,
    /// The same for each partition that the drive has now, and for what lies
    /// outside of all. A chunk that reaches into two counts for both.
    #[serde(default)]
    pub parts: Vec<MeasuredPart>,
    /// The other drives of a mirror, read in the same way.
    #[serde(default)]
    pub copies: Vec<MeasuredCopy>,
}

/// Another drive of a mirror, compared with the image and with the first drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeasuredCopy {
    /// Its serial number.
    pub drive: String,
    /// The image's digest, made of what was read of it.
    pub content: String,
    /// How the image's chunks fared on it.
    pub chunks: ChunkCount,
    /// Chunks that are not as they are on the first drive. One at least, for each
    /// drive has a partition table of its own; more while a mirror is not in step.
    pub differ: u64,
}

/// Chunks, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChunkCount {
    /// With data in the image.
    pub data: u64,
    /// Of these, as they were delivered.
    pub data_same: u64,
    /// Empty in the image.
    pub empty: u64,
    /// Of these, still empty.
    pub empty_same: u64,
}

impl ChunkCount {
    /// Adds one chunk.
    pub fn add(&mut self, has_data: bool, same: bool) {
        let (all, as_it_was) = if has_data {
            (&mut self.data, &mut self.data_same)
        } else {
            (&mut self.empty, &mut self.empty_same)
        };
        *all += 1;
        *as_it_was += u64::from(same);
    }

    /// Whether every chunk is as it was delivered.
    pub fn all_same(&self) -> bool {
        self.data == self.data_same && self.empty == self.empty_same
    }

    /// Tenths of a per cent of the chunks with data that are as delivered,
    /// rounded down: 1000 only where all are.
    pub fn per_mille(&self) -> u64 {
        (self.data_same * 1000)
            .checked_div(self.data)
            .unwrap_or(1000)
    }
}

/// One partition of a drive, or what lies outside of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeasuredPart {
    /// Its number; `None` is what lies outside of partitions.
    pub partition: Option<u32>,
    /// How the image's chunks within it fared.
    pub chunks: ChunkCount,
}

/// What is put on a drive beside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The partition table, made to cover the drive.
    PartitionTable,
    /// Its backup at the drive's end.
    BackupTable,
    /// The partition with cloud-init's seed.
    Seed,
    /// A file with the kernel's arguments.
    KernelArguments,
    /// What marks a drive or a partition as one of an array's (an md superblock),
    /// with the array's map of what is yet to be brought in step.
    ArrayMark,
}

impl std::fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::PartitionTable => "partition table",
            Self::BackupTable => "backup partition table",
            Self::Seed => "cloud-init's seed",
            Self::KernelArguments => "kernel arguments",
            Self::ArrayMark => "array superblock",
        })
    }
}

/// Something that was put on the drive after the image, and read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriveChange {
    /// What.
    pub what: ChangeKind,
    /// Where: bytes of the drive, or a file on one of its file systems.
    pub place: String,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 of it as it was read back, lower-case hex.
    pub sha256: String,
}

/// When a drive was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredWhen {
    /// After it was written, and before anything ran from it.
    BeforeFirstBoot,
    /// After the tenant's system had run.
    Since,
}

/// One measurement, on a lease's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Measurement {
    /// When it was told.
    pub at: Timestamp,
    /// The boot of Billet's ramdisk that measured.
    pub boot: BootId,
    /// Before or after the tenant's system ran.
    pub when: MeasuredWhen,
    /// The drive's serial number.
    pub drive: String,
    /// What was found.
    pub found: Measured,
    /// What was put there afterwards on purpose: it changes some of the chunks.
    #[serde(default)]
    pub changes: Vec<DriveChange>,
}
