//! The nouns of Billet: data only, used by every other room and using none.
//!
//! A type here says what a thing *is*; what happens to it is decided in
//! `billet-plan` and kept in `billet-store`.

pub mod api;
pub mod bmc;
pub mod call;
pub mod condition;
pub mod console;
pub mod event;
pub mod evidence;
pub mod id;
pub mod image;
pub mod inventory;
pub mod layout;
pub mod lease;
pub mod lifecycle;
pub mod machine;
pub mod measure;
pub mod name;
pub mod operation;
pub mod people;
pub mod scope;
pub mod secret;
pub mod site;
pub mod ssh_key;
pub mod step;
pub mod storage;
pub mod upkeep;
pub mod warm;
pub mod webhook;
pub mod work;

pub use id::*;
pub use name::Name;
pub use secret::Secret;

/// The time as everything of Billet's tells it: UTC, written as RFC 3339.
pub type Time = jiff::Timestamp;
