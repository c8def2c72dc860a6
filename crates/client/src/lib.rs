//! The typed client of Billet's API.
//!
//! The one thing to know: **a request may be repeated without harm.** Reads are retried when a
//! connection breaks; a POST carries an idempotency key of its own, so a repeated one is answered
//! as the first was; anything else is repeated only where it never reached the server.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use billet_client::{Client, Environment, Target};
//! let client = Client::new(Target::find(&Environment::read(), None)?.server().await?)?;
//! for machine in client.machines(&[("lifecycle", "available")]).all().await? {
//!     tracing::info!(%machine.name, %machine.lifecycle);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | know a server again by its fingerprint | [`Trust::recognise`] |
//! | keep servers and tokens in a file | [`Config`] |
//! | find which server is meant | [`Environment`], [`Target`] |
//! | ask | [`Client`] and its methods, one for each call of the API |
//! | get long lists | [`Pages`] |
//! | wait for an operation | [`Client::follow`] |
//! | follow what happens | [`Client::events`] |
//! | read a serial console, and type on it | [`Client::console_log`], [`Client::console`] |

mod call;
mod client;
mod config;
mod console;
mod error;
mod events;
mod follow;
mod images;
mod leases;
mod machines;
mod pages;
mod people;
mod places;
mod records;
mod trust;
mod upload;
mod webhooks;

pub use client::{Client, Patience};
pub use config::{Config, ConfigError, Context, Environment, Server, Target};
pub use console::{ConsoleLog, ConsoleMessage, ConsoleOf, ConsoleSession};
pub use error::ClientError;
pub use events::Events;
pub use follow::Followed;
pub use machines::MachineVerb;
pub use pages::Pages;
pub use trust::{Fingerprint, InvalidFingerprint, Trust};

/// What every call gives.
pub type Result<T> = std::result::Result<T, ClientError>;
