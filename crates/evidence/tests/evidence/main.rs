//! Evidence, its proofs and the audit log, from outside of the crate.

mod audit;
mod erase;
mod evidence;
mod merkle;
