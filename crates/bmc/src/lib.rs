//! Out-of-band control: a Redfish client that survives real vendors.
//!
//! The one thing to know: a power command cannot be fenced. So every change
//! ends in one of three ways, and the difference is kept with care: it was
//! done, it is *known* that it was not and will not be, or nobody knows
//! ([`billet_model::bmc::BmcReply::Uncertain`]). Nothing here repeats a change
//! whose answer was lost; reads are repeated, within a budget.
//!
//! What real BMCs get wrong is tolerated: a resource that is missing, empty or
//! malformed costs itself and nothing else, and is written down as a note.
//! Differences between vendors live in one table, `vendors.rs`.

mod accounts;
mod boot;
mod change;
mod client;
pub mod console;
mod discover;
mod error;
mod expand;
mod http;
mod link;
mod media;
mod messages;
mod password;
mod pin;
mod power;
mod read;
mod restore;
mod service;
mod session;
mod settings;
mod stand_in;
mod system;
mod task;
mod tickets;
mod value;
mod vendors;

pub use client::BmcClient;
pub use discover::{BootChoices, BootOption, Discovery, MediaSlot, ServiceFacts};
pub use error::{BmcError, Timeouts};
pub use stand_in::{Answered, StandIn};
