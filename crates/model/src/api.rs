//! Bodies of the REST API that are not nouns by themselves: requests, views, pages and
//! problems. What is of one noun is in a file named for it.

mod images;
mod leases;
mod machines;
mod people;
mod places;
mod records;
mod webhooks;

pub use images::*;
pub use leases::*;
pub use machines::*;
pub use people::*;
pub use places::*;
pub use records::*;
pub use webhooks::*;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Name;

/// A problem (RFC 9457), `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `https://billet.dev/problems/<word>`: what kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, in a few words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What exactly, and the way out, in a sentence or two.
    pub detail: String,
    /// What it is about (`name`, `ssh_keys[0]`), where it is about one thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, oldest first unless said otherwise.
    pub items: Vec<T>,
    /// What to pass as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Change a name: of an organisation or a project.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameChange {
    /// The new one; as it is where absent.
    #[serde(default)]
    pub name: Option<Name>,
}

/// A value that was said, be it null: tells it from one that is absent.
fn said<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(value).map(Some)
}

/// What the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// Billet's version.
    pub version: String,
    /// Version of the database's schema.
    pub schema: i64,
}
