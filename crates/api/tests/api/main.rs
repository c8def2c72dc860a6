//! The server as its callers meet it: in this process, on the loopback, over
//! TLS, with a database and keys of its own in a directory that goes away.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

mod access;
mod audit;
mod bodies;
mod calls;
mod document;
mod events;
mod images;
mod keys;
mod leases;
mod machines;
mod metadata;
mod people;
mod problems;
mod site;
mod tls;
mod users;
mod webhooks;
