//! Where an image comes from.

use std::io::Read;

use billet_model::image::ImageManifest;

/// The image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Asking again may help.
    #[error("{0}")]
    Passing(String),
    /// Asking again will not help.
    #[error("{0}")]
    Final(String),
}

/// Gives images by their digest.
pub trait ImageSource: Sync {
    /// The list of chunks.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn manifest(&self, digest: &str) -> Result<ImageManifest, SourceError>;

    /// `length` bytes of the blob from `offset` on. The stream may end early
    /// or break; it is asked for again from there.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn blob(
        &self,
        digest: &str,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn Read + Send>, SourceError>;
}
