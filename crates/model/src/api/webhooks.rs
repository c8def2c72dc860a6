//! Webhooks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Name,
    webhook::{Delivery, Webhook},
};

/// Make a webhook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Name, unique among the project's, or the operator's.
    pub name: Name,
    /// The project whose events it is sent, by name or id. An operator who says none
    /// makes one that is sent all events.
    #[serde(default)]
    pub project: Option<String>,
    /// Where to: https, without a user in it.
    pub url: String,
    /// Only events whose action begins with one of these, such as `lease.`; all
    /// where empty.
    #[serde(default)]
    pub actions: Vec<String>,
    /// The certificate authority that the receiver is known by, PEM, in place of
    /// those that the system trusts.
    #[serde(default)]
    pub ca: Option<String>,
}

/// Change a webhook; what is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookChange {
    /// Where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Which events; empty for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<String>>,
    /// The receiver's certificate authority, PEM; empty for those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Disable or enable it. Enabled, it goes on where it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Send nothing of what happened until now: go on with what comes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
}

/// A webhook, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The project's name.
    pub project_name: Option<Name>,
    /// How far it has come.
    pub delivery: Delivery,
    /// Events that it was not sent yet; counted up to 1000.
    pub behind: u64,
    /// When the first of them happened.
    pub behind_since: Option<Timestamp>,
}

/// A webhook that was made, or has another secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookMade {
    /// The webhook.
    pub webhook: WebhookView,
    /// `whsec_…`: what its events are signed with. Keep it, it is not shown again.
    pub secret: String,
}

/// What came of sending a webhook an event that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookTested {
    /// Whether it was taken.
    pub taken: bool,
    /// HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    /// What was wrong.
    pub error: Option<String>,
    /// How long it took.
    pub milliseconds: u64,
}
