//! The targets, one file each.

pub mod agent;
pub mod api;
pub mod boot_config;
pub mod boot_record;
pub mod console;
pub mod disk;
pub mod evidence;
pub mod image;
pub mod manifest;
pub mod phone_home;
pub mod redfish;
pub mod stored;
pub mod user_data;

use std::{fmt::Debug, path::Path};

use serde::{Serialize, de::DeserializeOwned};

/// How the directories of this program begin.
const PREFIX: &str = "billet-fuzz-";

/// A directory of the process's own: in memory, where there is such a place. It has the process's
/// number in its name, so that what a killed one left is known for it.
pub(crate) fn directory() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    let prefix = format!("{PREFIX}{}-", std::process::id());
    builder.prefix(&prefix);
    let made = builder
        .tempdir_in(MEMORY)
        .or_else(|_| builder.tempdir_in(std::env::temp_dir()));
    made.expect("a directory")
}

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";

/// Removes what processes left that are no more: fuzzers are killed, and end by the input that they
/// were looking for.
pub(crate) fn sweep() {
    for place in [Path::new(MEMORY), &std::env::temp_dir()] {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if process_of(&name).is_some_and(|id| !Path::new("/proc").join(id).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// The number of the process whose directory has this name.
fn process_of(name: &str) -> Option<&str> {
    let (id, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    (!id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())).then_some(id)
}

/// That nothing is in a directory.
fn assert_empty(directory: &Path) {
    let left = std::fs::read_dir(directory)
        .expect("the directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect::<Vec<_>>();
    assert!(left.is_empty(), "{left:?} was left");
}

/// Reads JSON as a `T`; what can be read is the same when it is written and read again.
fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(json).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    let back: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(back, read);
    Some(read)
}

/// Text up to a mark, and what is behind it.
fn cut<'a>(bytes: &'a [u8], mark: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.windows(mark.len()).position(|window| window == mark) {
        Some(at) => (&bytes[..at], &bytes[at + mark.len()..]),
        None => (bytes, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_left_is_swept_and_what_one_has_stays() {
        let mine = directory();
        std::fs::write(mine.path().join("file"), "mine").expect("written");
        // No process has so large a number.
        let beside = mine.path().parent().expect("a parent");
        let left = beside.join(format!("{PREFIX}999999999-left"));
        let other = beside.join(format!("{PREFIX}image-mutation-{}", std::process::id()));
        for path in [&left, &other] {
            std::fs::create_dir_all(path.join("data")).expect("made");
        }
        sweep();
        assert!(!left.exists());
        assert!(other.exists() && mine.path().join("file").exists());
        std::fs::remove_dir_all(&other).expect("removed");
    }
}
