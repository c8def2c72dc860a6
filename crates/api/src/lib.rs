//! HTTP: the REST API and its document, the agents' channel, boot media.
//!
//! A request comes through the `gate`, which knows every endpoint from one
//! table ([`access::TABLE`]): who may call it, and which things they then see.
//! What is not in the table does not exist. Handlers look things up (`lookup`),
//! ask `billet-control` or write a batch with its audit row, and answer; what
//! goes wrong anywhere leaves as problem details (`problem`).
//!
//! [`serve()`] makes the control plane's own authority on first start ([`tls`]):
//! there is no unencrypted port but that of instance metadata (`metadata`),
//! where an operator asks for it, which tells nothing private.

pub mod access;
mod agents;
mod app;
mod auth;
mod calls;
mod console;
mod extract;
mod fetch;
mod gate;
mod idempotency;
mod images;
mod in_use;
mod linger;
mod lookup;
mod metadata;
mod metrics;
pub mod openapi;
mod page;
mod problem;
mod range;
mod respond;
mod router;
mod routes;
mod serve;
mod service;
mod signin;
mod streams;
pub mod tls;
mod views;
mod webhooks;

pub use auth::{TOKEN_PREFIX, bootstrap};
pub use fetch::{AddressRange, InvalidRange};
pub use serve::{ServeError, ServeOptions, Server, serve};
pub use service::Service;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256, lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
