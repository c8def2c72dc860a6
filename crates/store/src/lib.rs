//! Persistence: SQLite by default, PostgreSQL for several control planes.
//!
//! A caller reads nouns, decides, and hands a [`Batch`] of changes with their
//! audit rows to [`Store::commit`], which makes it so in one transaction or not
//! at all. What must never be true of the data is refused by the schema, not by
//! care in callers: two holders of a unit, a machine on offer that may hold
//! someone's data, an audit row changed.
//!
//! Each table has the columns that constraints, indexes and filters need, and
//! the whole noun as JSON in `doc`, which is what a reading returns.

mod backup;
mod batch;
mod engine;
mod error;
mod migrate;
mod read;
mod run;
mod seal;
mod select;
mod statement;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod write;

pub use batch::{Batch, PutWebhook, Write};
pub use engine::EngineKind;
pub use error::{Result, StoreError};
pub use read::{
    AuditFilter, CallFilter, Due, EvidenceFilter, ImageFilter, LeaseFilter, MachineFilter,
    MachineInShort, OfferCount, OperationFilter, StoredReply, WebhookFilter,
};
pub use seal::AuditHead;
pub use store::Store;
pub use url::StoreUrl;
