//! What can go wrong with a recording.

use std::path::{Path, PathBuf};

/// A file of a recording that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}: {source}", path.display())]
pub struct RecordingError {
    /// What was being done.
    pub doing: &'static str,
    /// To which file.
    pub path: PathBuf,
    /// Why not.
    pub source: std::io::Error,
}

/// Says of an error what was being done to which file.
pub(crate) fn at(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> RecordingError {
    let path = path.to_owned();
    move |source| RecordingError {
        doing,
        path,
        source,
    }
}
