//! A seeded simulator of the control loop: the real core on the real store,
//! machines, BMCs, agents, tenants and operators in virtual time, faults of
//! every kind, and checkers that see what really happens.
//!
//! The same seed gives the same history, byte for byte: clock, ids and chance
//! are the simulator's own, and one call at a time is made into the core.
//!
//! ```text
//! plane (one process at a time, dies)  ── Core::step ──► store (SQLite in memory)
//!    │ requests: answered, refused, lost, late, unheard        ▲
//!    ▼                                                         │ hello, task, confirm, outcome
//! BMC ──► metal: power, medium, drives ──► agent or a tenant's system ──┘
//! ```

mod agent;
mod block;
mod bmc;
mod calls;
mod check;
mod clock;
mod dice;
mod event;
mod finding;
mod history;
mod metal;
pub mod mutants;
mod network;
mod people;
mod plane;
mod queue;
mod quiet;
mod real;
mod sim;

pub use finding::{Finding, Violation};
pub use sim::{Options, Outcome, SimError, policy, run};
