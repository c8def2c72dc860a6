//! The inputs that are kept.

use std::path::{Path, PathBuf};

/// Where the inputs of a target are.
pub fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// The inputs of a target by name.
///
/// # Panics
/// When they cannot be read.
pub fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = directory(target);
    let listed = std::fs::read_dir(&directory)
        .unwrap_or_else(|e| panic!("there is no corpus in {}: {e}", directory.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = listed
        .map(|entry| {
            let entry = entry.expect("an entry of the corpus");
            let bytes = std::fs::read(entry.path()).expect("an input of the corpus");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    inputs.sort();
    inputs
}
