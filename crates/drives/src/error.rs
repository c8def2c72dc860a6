//! What goes wrong at a drive, and with an image.

use std::io;

use billet_model::work::{DriveRef, WorkFailure};

use crate::{source::SourceError, watch::Stopped};

/// A drive failed.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A call failed.
    #[error("{operation} at byte {offset}: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// Where.
        offset: u64,
        /// What the drive or the kernel said.
        source: io::Error,
    },
    /// It could not be opened.
    #[error("opening /dev/{name}: {source}")]
    Open {
        /// The kernel's name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It reads other than it was written.
    #[error("the drive reads back other than written at byte {offset}")]
    Differs {
        /// Where.
        offset: u64,
    },
}

impl DriveError {
    /// Wraps the error of a call.
    pub(crate) fn io(operation: &'static str, offset: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            offset,
            source,
        }
    }
}

/// An image could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The image's bytes are not what its manifest says.
    #[error("image {image}: {detail}")]
    Corrupt {
        /// Digest.
        image: String,
        /// What is wrong.
        detail: String,
    },
    /// The image does not fit, or cannot be made what was asked.
    #[error("{0}")]
    Unsuitable(String),
    /// The image was not prepared on that drive in this boot.
    #[error(
        "image {image} does not stand ready on drive {serial}: {why}. It has to be written whole"
    )]
    NotPrepared {
        /// Digest.
        image: String,
        /// The drive's serial number.
        serial: String,
        /// What is the case instead.
        why: &'static str,
    },
    /// The drive is not there.
    #[error("no drive has serial {} {}", .0.serial, .0.wwn.as_deref().unwrap_or("(any WWN)"))]
    Missing(DriveRef),
    /// The drive failed.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// The work is not wanted any more.
    #[error("the control plane said that this task is no longer current")]
    Superseded,
    /// The image could not be fetched.
    #[error("fetching the image: {0}")]
    Network(String),
}

impl WriteError {
    /// The kind that goes into a report.
    pub fn kind(&self) -> WorkFailure {
        match self {
            Self::Corrupt { .. } => WorkFailure::ImageCorrupt,
            Self::Unsuitable(_) => WorkFailure::ImageUnsuitable,
            Self::NotPrepared { .. } => WorkFailure::Other,
            Self::Missing(_) => WorkFailure::DriveMissing,
            Self::Drive(_) => WorkFailure::DriveFailed,
            Self::Superseded => WorkFailure::Superseded,
            Self::Network(_) => WorkFailure::Network,
        }
    }
}

impl From<Stopped> for WriteError {
    fn from(_: Stopped) -> Self {
        Self::Superseded
    }
}

impl From<SourceError> for WriteError {
    fn from(error: SourceError) -> Self {
        Self::Network(error.to_string())
    }
}
