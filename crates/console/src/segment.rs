//! Segments and their names, which are the index.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// The last place that is believed: a machine that writes a gigabyte each second gets
/// there in thirty years. What is counted on from one below it does not overflow.
const LAST: u64 = 1 << 60;

/// A closed segment, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The place of its first record.
    pub base: u64,
    /// The place behind its last record.
    pub end: u64,
    /// When its first record was made.
    pub first: Timestamp,
    /// When its last record was made.
    pub last: Timestamp,
    /// Bytes on the disk.
    pub size: u64,
}

impl Segment {
    /// Its file.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!(
            "{:020}-{:020}-{}-{}.zst",
            self.base,
            self.end,
            self.first.as_microsecond(),
            self.last.as_microsecond()
        ))
    }

    /// What a name tells.
    pub fn of(name: &str, size: u64) -> Option<Self> {
        let mut parts = name.strip_suffix(".zst")?.split('-');
        let base = parts.next()?.parse().ok()?;
        let end = parts.next()?.parse().ok()?;
        let mut time = || Timestamp::from_microsecond(parts.next()?.parse().ok()?).ok();
        let (first, last) = (time()?, time()?);
        let segment = Self {
            base,
            end,
            first,
            last,
            size,
        };
        let ordered = base <= end && end <= LAST && first <= last;
        (ordered && parts.next().is_none()).then_some(segment)
    }
}

/// The file of the open segment that begins at `base`.
pub(crate) fn open_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.open"))
}

/// Where the open segment of this name begins.
pub(crate) fn open_base(name: &str) -> Option<u64> {
    let base = name.strip_suffix(".open")?.parse().ok()?;
    (base <= LAST).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_segment_can_have_is_passed_over() {
        assert!(Segment::of("00000000000000000005-00000000000000000009-0-1.zst", 1).is_some());
        for name in [
            // Backwards, in places and in time; beyond what there can be; one more part.
            "00000000000000000009-00000000000000000005-0-1.zst",
            "00000000000000000005-00000000000000000009-1-0.zst",
            "00000000000000000005-18446744073709551615-0-1.zst",
            "00000000000000000005-00000000000000000009-0-1-2.zst",
        ] {
            assert_eq!(Segment::of(name, 1), None, "{name}");
        }
        assert_eq!(open_base("00000000000000000007.open"), Some(7));
        assert_eq!(open_base("18446744073709551615.open"), None);
    }
}
