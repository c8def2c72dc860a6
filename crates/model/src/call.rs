//! Calls of the API: who asked for what, when, and how it was answered.
//!
//! The audit log says what was changed and is kept for ever; this says what was
//! asked, reading and refusals included, and is kept for a while.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CallId, Name, TokenId, UserId};

/// One call that took, or should have had, an access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiCall {
    /// The request's id, as its answer's `X-Request-Id` has it.
    pub id: CallId,
    /// When it was answered.
    pub at: Timestamp,
    /// The token; `None` where nobody was signed in.
    pub token: Option<TokenId>,
    /// The token's name then.
    pub name: Option<Name>,
    /// The user that the token stands for.
    pub user: Option<UserId>,
    /// The address it came from.
    pub from: Option<String>,
    /// Method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Milliseconds until the answer began.
    pub ms: u64,
}

impl ApiCall {
    /// Longest path kept, in bytes.
    pub const PATH_BYTES: usize = 512;
}
