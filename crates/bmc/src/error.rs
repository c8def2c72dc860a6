//! What can go wrong with a BMC, told apart by what is known of its effect.

use std::time::Duration;

use billet_model::bmc::{BmcFailure, BmcReply};

/// A failed exchange. Every variant names the operation and what it was done to.
///
/// Only [`BmcError::Uncertain`] leaves open whether something was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BmcError {
    /// No connection, or no usable answer to a read.
    #[error("{what}: the BMC cannot be reached: {detail}")]
    Unreachable {
        /// The operation and its object.
        what: String,
        /// What happened.
        detail: String,
    },
    /// User or password refused, or the account may not do this.
    #[error("{what}: the BMC refused the user or password: {detail}")]
    Credentials {
        /// The operation and its object.
        what: String,
        /// The BMC's words.
        detail: String,
    },
    /// The account may do nothing before its password is changed.
    #[error(
        "{what}: the BMC lets {user:?} do nothing before its password is changed: {detail}; \
         change it at the BMC{}, and give the new one here",
        account.as_ref().map_or(String::new(), |a| format!(" (PATCH of Password at {a}, or its own page)"))
    )]
    PasswordChange {
        /// The operation and its object.
        what: String,
        /// Whose password.
        user: String,
        /// The account's resource, where the BMC names it.
        account: Option<String>,
        /// The BMC's words.
        detail: String,
    },
    /// Another certificate than the pinned one: nothing was sent.
    #[error("{what}: the BMC showed certificate {shown}, but {pinned} is pinned")]
    Certificate {
        /// The operation and its object.
        what: String,
        /// SHA-256 expected, lower-case hex.
        pinned: String,
        /// SHA-256 shown, lower-case hex.
        shown: String,
    },
    /// The BMC said no, or does not offer it.
    #[error("{what}: refused: {detail}")]
    Refused {
        /// The operation and its object.
        what: String,
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// The BMC's words, or what is missing.
        detail: String,
    },
    /// An answer that cannot be understood.
    #[error("{what}: the answer cannot be understood: {detail}")]
    Malformed {
        /// The operation and its object.
        what: String,
        /// What was wrong with it.
        detail: String,
    },
    /// A change that may have been carried out, or may yet be, minutes from now.
    #[error("{what}: it is not known whether this was done: {detail}")]
    Uncertain {
        /// The operation and its object.
        what: String,
        /// Why nothing is known.
        detail: String,
    },
}

impl BmcError {
    pub(crate) fn refused(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Refused {
            what: what.into(),
            status: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn malformed(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Malformed {
            what: what.into(),
            detail: detail.into(),
        }
    }

    /// The same failure, seen after a change was accepted: what a read would
    /// have told stays unknown, and so does the outcome.
    pub(crate) fn after_change(self) -> Self {
        match self {
            Self::Uncertain { .. } => self,
            other => Self::Uncertain {
                what: "reading back a change".to_owned(),
                detail: other.to_string(),
            },
        }
    }

    /// The HTTP status, where the BMC refused with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => *status,
            _ => None,
        }
    }

    /// Which kind of certain failure this is; `None` where nothing is certain.
    pub fn kind(&self) -> Option<BmcFailure> {
        match self {
            Self::Unreachable { .. } => Some(BmcFailure::Unreachable),
            Self::Credentials { .. } => Some(BmcFailure::Credentials),
            Self::PasswordChange { .. } => Some(BmcFailure::PasswordChange),
            Self::Certificate { .. } => Some(BmcFailure::Certificate),
            Self::Refused { .. } => Some(BmcFailure::Refused),
            Self::Malformed { .. } => Some(BmcFailure::Malformed),
            Self::Uncertain { .. } => None,
        }
    }
}

impl From<BmcError> for BmcReply {
    fn from(error: BmcError) -> Self {
        let detail = error.to_string();
        match error.kind() {
            Some(kind) => Self::Failed { kind, detail },
            None => Self::Uncertain { detail },
        }
    }
}

/// How long to wait for what. BMCs are slow: one answer can take 90 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS.
    pub connect: Duration,
    /// One answer to a read.
    pub read: Duration,
    /// One read with all its repetitions.
    pub read_budget: Duration,
    /// The first pause before a read is repeated; it doubles.
    pub backoff: Duration,
    /// One answer to a change.
    pub change: Duration,
    /// A task that a change started, to its end.
    pub task: Duration,
    /// How long a change may take to show when it is read back.
    pub settle: Duration,
    /// Pause between looks at a task or a read-back.
    pub poll: Duration,
    /// A whole discovery; what was not read by then becomes a note.
    pub discover: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(120),
            read_budget: Duration::from_secs(240),
            backoff: Duration::from_millis(500),
            change: Duration::from_secs(120),
            task: Duration::from_secs(300),
            settle: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            discover: Duration::from_secs(600),
        }
    }
}
