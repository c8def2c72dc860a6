//! A request that is not carried out, and why.

use billet_plan::requests::Refused;
use billet_store::StoreError;

/// Nothing was changed, and this is why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Which kind.
    pub kind: RefusalKind,
    /// What exactly, and the way out.
    pub detail: String,
    /// What it is about, where it is about one thing.
    pub field: Option<String>,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// There is no such thing (for this caller).
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// What there is stands against it.
    Conflict,
    /// None is free.
    Unavailable,
    /// A quota is used up.
    OverQuota,
    /// It was changed since the caller read it.
    Precondition,
    /// Too much of something.
    TooLarge,
    /// Billet's own fault.
    Internal,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
        }
    }

    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..Self::new(RefusalKind::Invalid, detail)
        }
    }

    pub(crate) fn missing(what: &str, which: impl std::fmt::Display) -> Self {
        Self::new(RefusalKind::NotFound, format!("there is no {what} {which}"))
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self {
            kind: RefusalKind::Conflict,
            detail: refused.detail,
            field: refused.field.map(str::to_owned),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Conflict { .. }
            | StoreError::Held { .. }
            | StoreError::Duplicate { .. }
            | StoreError::Referenced { .. } => RefusalKind::Conflict,
            StoreError::OverQuota { .. } => RefusalKind::OverQuota,
            StoreError::NotFound { .. } => RefusalKind::NotFound,
            _ => RefusalKind::Internal,
        };
        if kind == RefusalKind::Internal {
            tracing::error!(%error, "the store failed");
            return Self::new(kind, "the database failed; the server's log says how");
        }
        Self::new(kind, error.to_string())
    }
}
