//! The connection to one server.

use std::time::Duration;

use billet_model::Secret;
use url::Url;

use crate::{Result, config::Server, error::ClientError};

/// How long the client keeps at a call before it gives up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection to come about.
    pub connect: Duration,
    /// For an answer, beyond what a long poll waits on purpose. Uploads have no limit of their own.
    pub answer: Duration,
    /// How often a call is asked again when the connection broke.
    pub retries: u32,
    /// Before the first retry; doubled for each further one.
    pub pause: Duration,
    /// How long [`Client::follow`] waits for a server that cannot be reached.
    pub follow: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            retries: 4,
            pause: Duration::from_millis(250),
            follow: Duration::from_secs(300),
        }
    }
}

/// A client of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) token: Option<Secret>,
    pub(crate) patience: Patience,
}

impl Client {
    /// A client with ordinary patience.
    ///
    /// # Errors
    /// When what is kept of the server's certificate cannot be used.
    pub fn new(server: Server) -> Result<Self> {
        Self::with_patience(server, Patience::default())
    }

    /// A client that gives up as `patience` says.
    ///
    /// # Errors
    /// When what is kept of the server's certificate cannot be used.
    pub fn with_patience(server: Server, patience: Patience) -> Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(server.trust.tls()?)
            .connect_timeout(patience.connect)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("billet/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Setup {
                detail: crate::error::root_cause(&error),
            })?;
        Ok(Self {
            http,
            base: server.url,
            token: server.token,
            patience,
        })
    }

    /// The server's base URL.
    pub fn server(&self) -> &Url {
        &self.base
    }

    /// Whether there is a token to show.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }
}
