//! Webhooks: addresses that are told what happens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, ProjectId, WebhookId};

/// An address that every event of its owner's is sent to, in order, until it
/// was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Id.
    pub id: WebhookId,
    /// Name, unique among its owner's.
    pub name: Name,
    /// The project whose events it is sent; the operator's, and all events, where none.
    pub project: Option<ProjectId>,
    /// Where to.
    pub url: String,
    /// Only events whose action begins with one of these; all where empty.
    #[serde(default)]
    pub actions: Vec<String>,
    /// The certificate authority that the receiver is known by, PEM, in place of
    /// those that the system trusts.
    #[serde(default)]
    pub ca: Option<String>,
    /// Why nothing is sent, where nothing is.
    #[serde(default)]
    pub disabled: Option<Disabled>,
    /// Until when events are signed with the secret before this one as well.
    #[serde(default)]
    pub old_secret_until: Option<Timestamp>,
    /// Since when.
    pub created_at: Timestamp,
    /// Rises with each change of the above.
    #[serde(default)]
    pub version: i64,
}

/// That a webhook is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disabled {
    /// Since when.
    pub since: Timestamp,
    /// Why, and the way out.
    pub why: String,
}

/// How far a webhook has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Delivery {
    /// The place in the log that is looked at next: all before it were taken, or
    /// are not for this webhook.
    pub next: u64,
    /// Events that were taken.
    pub delivered: u64,
    /// When it was last tried.
    pub last_at: Option<Timestamp>,
    /// The HTTP status of the last answer; none where there was none.
    pub last_status: Option<u16>,
    /// What was wrong the last time, if anything was.
    pub last_error: Option<String>,
    /// When an event was last taken.
    pub last_taken_at: Option<Timestamp>,
    /// Attempts that failed since then.
    pub failures: u32,
    /// Since when every attempt fails.
    pub failing_since: Option<Timestamp>,
    /// Not tried again before then.
    pub retry_at: Option<Timestamp>,
}

/// What came of one attempt to send an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Taken {
        /// HTTP status.
        status: u16,
    },
    /// It was not.
    Failed {
        /// HTTP status, where there was an answer.
        status: Option<u16>,
        /// What was wrong.
        why: String,
        /// How many seconds the receiver asks to be left alone.
        wait_seconds: Option<u64>,
    },
}
