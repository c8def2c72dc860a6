//! Signed statements and the audit log's proofs: made here, verified anywhere.
//!
//! Everything here is a function from bytes to bytes, but for [`keyfile`], which keeps the signing
//! key on a disk, and two that ask the system for random bytes. Verifying asks nobody: a file and
//! the public keys one trusts are enough.
//!
//! | to make or check | use |
//! |---|---|
//! | an erase certificate or handover report | [`sign_statement`], [`verify_file`], [`erase`] |
//! | a log that only grows | [`Frontier`], [`proof`], [`merkle`] |
//! | that log's head, to hand out | [`Checkpoint`] |
//! | a slice of the audit log | [`audit`] |
//!
//! One Ed25519 key signs both envelopes and checkpoints. Neither can be taken for the other: what
//! is signed of an envelope begins with `DSSEv1` and a space, and a checkpoint begins with its
//! origin, which has no space.

pub mod audit;
pub mod canonical;
pub mod checkpoint;
pub mod dsse;
pub mod erase;
mod frontier;
mod hex;
pub mod keyfile;
mod keys;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod statement;
mod trust;
mod verify;

pub use checkpoint::Checkpoint;
pub use dsse::{Envelope, EnvelopeError};
pub use frontier::{Frontier, FrontierError};
pub use keys::{KeyError, KeyId, PublicKey, SiteKey};
pub use merkle::TreeHash;
pub use statement::{Statement, Subject};
pub use trust::{Keyring, KeyringEntry, TrustError, TrustedKeys};
pub use verify::{EvidenceError, Verified, sign_statement, verify_file, verify_file_in_time};
