//! What a tenant wants of its machine's drives.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::inventory::DriveKind;

/// Which drive holds the root. What is not said is not asked of it; where
/// several fit, the machine's first of them is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RootDrive {
    /// The one with this serial number.
    pub serial: Option<String>,
    /// Of this kind.
    pub kind: Option<DriveKind>,
    /// By size among those that fit.
    pub size: Option<Size>,
}

/// An end of the order by size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// The smallest.
    Smallest,
    /// The largest.
    Largest,
}

/// Text that is no wish for a drive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a drive is `first`, `smallest` or `largest`, of a kind if need be (`smallest-nvme`, `first-ssd`, `hdd`), or `serial=SERIAL`"
)]
pub struct NoSuchDrive;

impl std::str::FromStr for RootDrive {
    type Err = NoSuchDrive;

    fn from_str(text: &str) -> Result<Self, NoSuchDrive> {
        if let Some(serial) = text.strip_prefix("serial=") {
            let serial = Some(serial.trim().to_owned()).filter(|s| !s.is_empty());
            return match serial {
                None => Err(NoSuchDrive),
                serial => Ok(Self {
                    serial,
                    ..Self::default()
                }),
            };
        }
        let kind = |word: &str| match word {
            "nvme" => Some(DriveKind::Nvme),
            "ssd" => Some(DriveKind::Ssd),
            "hdd" => Some(DriveKind::Hdd),
            _ => None,
        };
        let size = |word: &str| match word {
            "first" => Some(None),
            "smallest" => Some(Some(Size::Smallest)),
            "largest" => Some(Some(Size::Largest)),
            _ => None,
        };
        let (size, kind) = match text.split_once('-') {
            Some((s, k)) => (size(s), Some(kind(k).ok_or(NoSuchDrive)?)),
            None => match kind(text) {
                Some(kind) => (Some(None), Some(kind)),
                None => (size(text), None),
            },
        };
        Ok(Self {
            serial: None,
            kind,
            size: size.ok_or(NoSuchDrive)?,
        })
    }
}

impl std::fmt::Display for RootDrive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(serial) = &self.serial {
            return write!(f, "the drive with serial number {serial}");
        }
        let size = match self.size {
            None => "first",
            Some(Size::Smallest) => "smallest",
            Some(Size::Largest) => "largest",
        };
        let kind = match self.kind {
            None => "drive",
            Some(DriveKind::Nvme) => "NVMe drive",
            Some(DriveKind::Ssd) => "SSD",
            Some(DriveKind::Hdd) => "HDD",
            Some(DriveKind::Other) => "drive of another kind",
        };
        write!(f, "the {size} {kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_drives_are_read_and_others_refused() {
        let read = |text: &str| text.parse::<RootDrive>().map(|r| r.to_string());
        for (text, said) in [
            ("first", "the first drive"),
            ("smallest", "the smallest drive"),
            ("largest-nvme", "the largest NVMe drive"),
            ("ssd", "the first SSD"),
            ("first-hdd", "the first HDD"),
            ("serial=S-1", "the drive with serial number S-1"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(said), "{text}");
        }
        for text in ["", "serial=", "big", "smallest-tape", "nvme-smallest"] {
            assert_eq!(read(text), Err(NoSuchDrive), "{text}");
        }
        assert_eq!("first".parse(), Ok(RootDrive::default()));
    }
}
