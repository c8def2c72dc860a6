//! The loop: facts from the store, a decision from `billet-plan`, one
//! transaction, and only then the effect.
//!
//! [`Core`] is everything but time, chance and the outside: the simulator runs
//! the same one. [`Control`] adds the clock, the BMCs and the files.

mod agents;
mod bmcs;
pub mod consoles;
mod core;
mod correct;
mod enroll;
mod facts;
mod grants;
mod install;
mod instance;
pub mod keys;
mod media;
mod open;
mod operations;
mod passwords;
mod refusal;
mod requests;
mod runner;
mod tenant;
#[cfg(test)]
mod tests;
mod turned_away;
mod user_data;
mod warm;
mod world;

pub use agents::AgentError;
pub use core::{Core, Input, OnRecord, Stepped};
pub use instance::Instance;
pub use open::{Control, OpenError, Settings};
pub use operations::Followers;
pub use refusal::{Refusal, RefusalKind};
pub use requests::MachineCommand;
pub use turned_away::TurnedAway;
pub use user_data::check as check_user_data;
pub use warm::WarmChoices;
pub use world::{System, World};
