//! Why a call failed, by what the caller can do about it.

use std::path::PathBuf;

use billet_model::api::Problem;

use crate::trust::Fingerprint;

/// Why a call was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server understood and said no.
    #[error("{asked}: {}", said(.problem))]
    Problem {
        /// The call, as `GET /v1/machines`.
        asked: String,
        /// What the server said.
        problem: Box<Problem>,
    },
    /// No connection to the server came about.
    #[error("connecting to {server}: {detail}")]
    Unreachable {
        /// The server's base URL.
        server: String,
        /// The innermost cause.
        detail: String,
    },
    /// The server showed a certificate that is not the one known.
    #[error("connecting to {server}: its certificate is not trusted: {detail}")]
    Untrusted {
        /// The server's base URL.
        server: String,
        /// What was wrong with it.
        detail: String,
    },
    /// None of the certificates that the server shows has the fingerprint asked for.
    #[error(
        "connecting to {server}: it shows certificates with fingerprints {}, none of them {wanted}",
        list(.shown)
    )]
    WrongFingerprint {
        /// The server's base URL.
        server: String,
        /// What was asked for.
        wanted: Fingerprint,
        /// What the server showed, its own first.
        shown: Vec<Fingerprint>,
    },
    /// The request was sent, and its answer did not come, though it was asked for again.
    #[error("{asked}: the answer was lost: {detail}")]
    Lost {
        /// The call.
        asked: String,
        /// The innermost cause.
        detail: String,
    },
    /// The answer is not one of Billet's.
    #[error("{asked}: the answer cannot be understood: {detail}")]
    Malformed {
        /// The call.
        asked: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A file on this machine could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The client could not be made.
    #[error("setting up the connection: {detail}")]
    Setup {
        /// What went wrong.
        detail: String,
    },
}

fn said(problem: &Problem) -> String {
    match &problem.field {
        Some(field) => format!("{} ({field})", problem.detail),
        None => problem.detail.clone(),
    }
}

fn list(prints: &[Fingerprint]) -> String {
    let prints: Vec<String> = prints.iter().map(ToString::to_string).collect();
    prints.join(" and ")
}

impl ClientError {
    /// The HTTP status, where the server answered with a problem.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { problem, .. } => Some(problem.status),
            _ => None,
        }
    }

    /// Whether the server was not reached, or was lost on the way: trying later may help.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost { .. })
    }
}

/// The innermost cause of an error: the one that says what happened.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
