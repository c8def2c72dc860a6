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

/// A directory of the process's own: in memory, where there is such a place.
pub(crate) fn directory() -> tempfile::TempDir {
    let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    made.expect("a directory")
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
