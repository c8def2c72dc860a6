//! What a tenant wants made of its machine's drives beyond the one of the root:
//! mirrors, arrays, scratch; and what was decided.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    LeaseId, Name,
    inventory::DriveKind,
    measure::DriveChange,
    storage::{RootDrive, Size},
    work::DriveRef,
};

/// What is wanted of a machine's drives. What is empty is not asked for: the
/// root on one drive, and the others blank.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DriveLayout {
    /// The root on several drives, each with a whole copy (RAID1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_mirror: Option<RootMirror>,
    /// Arrays, and drives by themselves, with a file system each. They are dealt
    /// drives in this order.
    pub arrays: Vec<ArrayWish>,
    /// File systems on whatever drives are left, for what may be lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
}

impl DriveLayout {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether file systems are to be made beside the root's.
    pub fn has_file_systems(&self) -> bool {
        !self.arrays.is_empty() || self.scratch.is_some()
    }
}

/// A mirror of the root. The first drive is the one that `root_drive` chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RootMirror {
    /// How many drives in all, 2 or more.
    #[serde(default = "two")]
    pub drives: u32,
    /// Its other drives by serial number; those most like the first where empty.
    #[serde(default)]
    pub serials: Vec<String>,
}

fn two() -> u32 {
    2
}

/// An array that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArrayWish {
    /// What it is called: its name in Linux, and the file system's label.
    pub name: Name,
    /// How drives are put together.
    pub level: Level,
    /// Which drives.
    #[serde(default)]
    pub drives: Choice,
    /// The file system on it.
    #[serde(default)]
    pub file_system: FileSystem,
    /// Where that is mounted; `/` and the array's name where not said.
    #[serde(default)]
    pub mount: Option<String>,
}

/// How drives are put together: Linux's software RAID.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// One drive by itself.
    #[default]
    Single,
    /// Striped: the room and the speed of all, lost with any of them.
    Raid0,
    /// Mirrored: the room of one, there while one of them is.
    Raid1,
    /// Striped with one drive's worth of parity: outlives one.
    Raid5,
    /// Striped with two drives' worth of parity: outlives two.
    Raid6,
    /// Striped over mirrored pairs: outlives one of each pair.
    Raid10,
}

impl Level {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Raid0 => "raid0",
            Self::Raid1 => "raid1",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
            Self::Raid10 => "raid10",
        }
    }

    /// The fewest drives that it takes.
    pub fn least(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Raid0 | Self::Raid1 | Self::Raid10 => 2,
            Self::Raid5 => 3,
            Self::Raid6 => 4,
        }
    }

    /// Linux's number for it; `None` where it takes no array.
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Single => None,
            Self::Raid0 => Some(0),
            Self::Raid1 => Some(1),
            Self::Raid5 => Some(5),
            Self::Raid6 => Some(6),
            Self::Raid10 => Some(10),
        }
    }

    /// Whether each drive gives only as much as the smallest has.
    pub fn is_even(self) -> bool {
        !matches!(self, Self::Single | Self::Raid0)
    }

    /// Bytes that drives of these sizes make, before what Linux keeps for itself.
    pub fn bytes(self, sizes: &[u64]) -> u64 {
        let count = sizes.len() as u64;
        let least = sizes.iter().min().copied().unwrap_or(0);
        match self {
            Self::Single | Self::Raid0 => sizes.iter().sum(),
            Self::Raid1 => least,
            Self::Raid5 => least * count.saturating_sub(1),
            Self::Raid6 => least * count.saturating_sub(2),
            Self::Raid10 => least * count / 2,
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is single, 0, 1, 5, 6 or 10")]
pub struct NoSuchLevel;

impl std::str::FromStr for Level {
    type Err = NoSuchLevel;

    fn from_str(text: &str) -> Result<Self, NoSuchLevel> {
        Ok(match text.strip_prefix("raid").unwrap_or(text) {
            "single" => Self::Single,
            "0" => Self::Raid0,
            "1" => Self::Raid1,
            "5" => Self::Raid5,
            "6" => Self::Raid6,
            "10" => Self::Raid10,
            _ => return Err(NoSuchLevel),
        })
    }
}

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileSystem {
    /// ext4.
    #[default]
    Ext4,
    /// XFS.
    Xfs,
}

impl FileSystem {
    /// Linux's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Characters that its label may have.
    pub fn label(self) -> usize {
        match self {
            Self::Ext4 => 16,
            Self::Xfs => 12,
        }
    }
}

impl std::fmt::Display for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Text that is no file system that is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file system is ext4 or xfs")]
pub struct NoSuchFileSystem;

impl std::str::FromStr for FileSystem {
    type Err = NoSuchFileSystem;

    fn from_str(text: &str) -> Result<Self, NoSuchFileSystem> {
        match text {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            _ => Err(NoSuchFileSystem),
        }
    }
}

/// Drives, chosen among those that nothing before took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Choice {
    /// These, by serial number; nothing else is asked then.
    pub serials: Vec<String>,
    /// Of this kind.
    pub kind: Option<DriveKind>,
    /// From which end by size; in the machine's order where not said.
    pub size: Option<Size>,
    /// So many; all that fit where not said, and one for [`Level::Single`].
    pub count: Option<u32>,
}

/// What is to become of the drives that are left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scratch {
    /// All as one, or each by itself.
    pub how: ScratchKind,
    /// The file system.
    pub file_system: FileSystem,
    /// Where it is mounted, `/scratch` where not said; where each is by itself,
    /// they are numbered below it.
    pub mount: Option<String>,
}

/// How scratch is made of several drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScratchKind {
    /// Striped over all of them: as fast and as large as it gets.
    #[default]
    Striped,
    /// A file system on each: what one loses, the others keep.
    Each,
}

/// Text that is no way to make scratch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scratch is `striped` or `each`")]
pub struct NoSuchScratch;

impl std::str::FromStr for ScratchKind {
    type Err = NoSuchScratch;

    fn from_str(text: &str) -> Result<Self, NoSuchScratch> {
        match text {
            "striped" => Ok(Self::Striped),
            "each" => Ok(Self::Each),
            _ => Err(NoSuchScratch),
        }
    }
}

/// What was decided for one machine: each drive has one place or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct LaidOut {
    /// The drives of the root; more than one is a mirror.
    pub root: Vec<DriveRef>,
    /// The arrays, scratch among them.
    pub arrays: Vec<LaidArray>,
}

/// An array of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaidArray {
    /// What it is called.
    pub name: Name,
    /// How its drives are put together.
    pub level: Level,
    /// Its drives, in the array's order.
    pub drives: Vec<DriveRef>,
    /// The array's UUID, which is on each of its drives; that of the partition
    /// where it is a drive by itself.
    #[schema(value_type = String, format = Uuid)]
    pub id: Uuid,
    /// The file system.
    pub file_system: FileSystem,
    /// The file system's UUID, by which it is mounted.
    #[schema(value_type = String, format = Uuid)]
    pub file_system_id: Uuid,
    /// Where it is mounted.
    pub mount: String,
    /// Whether it is scratch, where anybody may write.
    pub scratch: bool,
}

impl LaidArray {
    /// The device that the tenant's system has for it, by a name that does not
    /// depend on the order in which drives are found.
    pub fn device(&self) -> String {
        if self.level == Level::Single {
            return format!("/dev/disk/by-partuuid/{}", self.id);
        }
        let hex = self.id.simple().to_string();
        let words: Vec<&str> = (0..4).map(|n| &hex[n * 8..n * 8 + 8]).collect();
        format!("/dev/disk/by-id/md-uuid-{}", words.join(":"))
    }
}

/// A UUID of a lease's own for something of it: the same each time it is asked
/// for, so that nobody has to throw dice (RFC 9562, version 8).
pub fn derived(lease: LeaseId, what: &str) -> Uuid {
    let digest = Sha256::new()
        .chain_update("billet drive layout\n")
        .chain_update(lease.0.as_bytes())
        .chain_update(what)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

/// What was put on the drives of one array, or found there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArrayWritten {
    /// What it is called.
    pub name: Name,
    /// Whether it was left alone, at the tenant's wish.
    pub kept: bool,
    /// Bytes that it has for a file system; 0 where it was left alone.
    pub bytes: u64,
    /// Its drives.
    pub drives: Vec<MemberWritten>,
}

/// One drive of an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberWritten {
    /// Serial number.
    pub serial: String,
    /// Where it was left alone: whether it bears the array's mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked: Option<bool>,
    /// What was written, and read back.
    pub changes: Vec<DriveChange>,
}

/// Drives for an array that one line names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadWish(String);

impl std::str::FromStr for ArrayWish {
    type Err = BadWish;

    /// `NAME,level=5,drives=4,of=largest-nvme,fs=xfs,mount=/data`, or `serial=S`
    /// some times in place of `drives` and `of`.
    fn from_str(text: &str) -> Result<Self, BadWish> {
        let bad = |said: String| BadWish(format!("{text:?}: {said}"));
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let mut wish = Self {
            name: name
                .parse()
                .map_err(|e| bad(format!("the array's name comes first: {e}")))?,
            level: Level::Single,
            drives: Choice::default(),
            file_system: FileSystem::default(),
            mount: None,
        };
        for part in parts {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| bad(format!("{part:?} is not KEY=VALUE")))?;
            match key {
                "level" => wish.level = value.parse().map_err(|e| bad(format!("{e}")))?,
                "drives" if value == "all" => wish.drives.count = None,
                "drives" => {
                    let count = value.parse().map_err(|_| {
                        bad(format!("drives={value} is neither a number nor `all`"))
                    })?;
                    wish.drives.count = Some(count);
                }
                "of" => {
                    let of: RootDrive = value.parse().map_err(|e| bad(format!("{e}")))?;
                    (wish.drives.kind, wish.drives.size) = (of.kind, of.size);
                    wish.drives.serials.extend(of.serial);
                }
                "serial" if !value.is_empty() => wish.drives.serials.push(value.to_owned()),
                "fs" => wish.file_system = value.parse().map_err(|e| bad(format!("{e}")))?,
                "mount" => wish.mount = Some(value.to_owned()),
                _ => {
                    return Err(bad(format!(
                        "{part:?} is none of level=, drives=, of=, serial=, fs= and mount="
                    )));
                }
            }
        }
        Ok(wish)
    }
}

impl std::str::FromStr for Scratch {
    type Err = BadWish;

    /// `striped` or `each`, with `fs=` and `mount=` behind a comma.
    fn from_str(text: &str) -> Result<Self, BadWish> {
        let bad = |said: String| BadWish(format!("{text:?}: {said}"));
        let mut scratch = Self::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                Some(("fs", value)) => {
                    scratch.file_system = value.parse().map_err(|e| bad(format!("{e}")))?;
                }
                Some(("mount", value)) => scratch.mount = Some(value.to_owned()),
                Some(_) => return Err(bad(format!("{part:?} is neither fs= nor mount="))),
                None => scratch.how = part.parse().map_err(|e| bad(format!("{e}")))?,
            }
        }
        Ok(scratch)
    }
}

impl std::str::FromStr for RootMirror {
    type Err = BadWish;

    /// A number of drives, or the serial numbers of the others.
    fn from_str(text: &str) -> Result<Self, BadWish> {
        if let Ok(drives) = text.parse() {
            return Ok(Self {
                drives,
                serials: Vec::new(),
            });
        }
        let serials: Option<Vec<String>> = text
            .split(',')
            .map(|part| {
                let serial = part.trim().strip_prefix("serial=")?.trim();
                (!serial.is_empty()).then(|| serial.to_owned())
            })
            .collect();
        match serials {
            Some(serials) => Ok(Self {
                drives: serials.len() as u32 + 1,
                serials,
            }),
            None => Err(BadWish(format!(
                "{text:?} is neither a number of drives nor `serial=SERIAL[,serial=SERIAL]`"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_all_of_an_array() {
        let wish: ArrayWish = "data,level=5,drives=4,of=largest-nvme,fs=xfs,mount=/srv/data"
            .parse()
            .expect("a wish");
        assert_eq!(wish.name.to_string(), "data");
        assert_eq!(
            (wish.level, wish.file_system),
            (Level::Raid5, FileSystem::Xfs)
        );
        assert_eq!(wish.drives.kind, Some(DriveKind::Nvme));
        assert_eq!(wish.drives.size, Some(Size::Largest));
        assert_eq!(wish.drives.count, Some(4));
        assert_eq!(wish.mount.as_deref(), Some("/srv/data"));
        let wish: ArrayWish = "x,level=raid1,serial=A,serial=B".parse().expect("a wish");
        assert_eq!(wish.drives.serials, ["A", "B"]);
        for (text, said) in [
            ("", "name comes first"),
            ("x,level=3", "single, 0, 1, 5, 6 or 10"),
            ("x,five", "KEY=VALUE"),
            ("x,size=5", "none of level="),
            ("x,drives=few", "neither a number"),
            ("x,fs=zfs", "ext4 or xfs"),
        ] {
            let error = text.parse::<ArrayWish>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn scratch_is_striped_or_each() {
        let scratch: Scratch = "each,fs=xfs,mount=/fast".parse().expect("scratch");
        assert_eq!(scratch.how, ScratchKind::Each);
        assert_eq!(scratch.file_system, FileSystem::Xfs);
        assert_eq!(scratch.mount.as_deref(), Some("/fast"));
        assert_eq!("striped".parse(), Ok(Scratch::default()));
        for text in ["", "some", "each,size=5", "striped,fs=zfs"] {
            assert!(text.parse::<Scratch>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mirror_is_a_number_or_serials() {
        let read = |text: &str| text.parse::<RootMirror>().map(|m| (m.drives, m.serials));
        assert_eq!(read("3"), Ok((3, Vec::new())));
        assert_eq!(
            read("serial=A, serial=B"),
            Ok((3, vec!["A".into(), "B".into()]))
        );
        assert!(read("A").is_err());
    }

    #[test]
    fn ids_are_a_leases_own_and_stay() {
        let lease = |n| LeaseId::from_parts(n, [n as u8; 10]);
        let id = derived(lease(1), "array data");
        assert_eq!(id, derived(lease(1), "array data"));
        assert_ne!(id, derived(lease(2), "array data"));
        assert_ne!(id, derived(lease(1), "array date"));
        assert_eq!(id.get_version_num(), 8);
    }

    #[test]
    fn levels_make_so_much_of_drives() {
        for (level, bytes) in [
            (Level::Raid0, 390),
            (Level::Raid1, 90),
            (Level::Raid5, 270),
            (Level::Raid6, 180),
            (Level::Raid10, 180),
        ] {
            assert_eq!(level.bytes(&[100, 100, 100, 90]), bytes, "{level}");
        }
    }
}
