//! Reading: one file for each group of nouns, all of them methods of [`crate::Store`].

mod audit;
mod calls;
mod counts;
mod evidence;
mod leases;
mod machines;
mod people;
mod places;
mod quotas;
mod users;
mod webhooks;
mod work;

pub use audit::AuditFilter;
pub use calls::CallFilter;
pub use evidence::EvidenceFilter;
pub use leases::LeaseFilter;
pub use machines::{Due, MachineFilter, MachineInShort, OfferCount};
pub use people::{ImageFilter, StoredReply};
pub use webhooks::WebhookFilter;
pub use work::OperationFilter;
