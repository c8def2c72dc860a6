//! The channel to the control plane: HTTP over TLS, one authority trusted.
//!
//! An answer of 401 ends the machine: the callback given at the start is called
//! wherever in the program it arrives.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use billet_model::{
    Secret, TaskId,
    image::ImageManifest,
    work::{Progress, Task, WorkOutcome},
};
use billet_protocol::{
    agent::{Confirm, Hello, PREFIX, Welcome},
    boot::BootRecord,
};
use rustls::crypto::CryptoProvider;
use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Agent, Body,
    http::{Response, Uri, uri::Scheme},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

/// A manifest of 100 bytes for each of a million chunks (a terabyte) fits.
const MANIFEST_LIMIT: u64 = 256 << 20;
/// The ramdisk, kernel included, may have 48 MiB, and its stub has little.
const RAMDISK_LIMIT: u64 = 64 << 20;
/// Other answers are small.
const ANSWER_LIMIT: u64 = 1 << 20;
/// How long an ordinary answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of a call.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The token of this boot is not, or no longer, known.
    #[error("the control plane does not know this boot (any more)")]
    Unauthorized,
    /// An answer that says no.
    #[error("the control plane answered {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        detail: String,
    },
    /// No server answered.
    #[error("the control plane is out of reach: {detail}")]
    Unreachable {
        /// What happened with the last one tried.
        detail: String,
    },
    /// An answer that cannot be understood.
    #[error("the control plane's answer to {call} is malformed: {detail}")]
    Malformed {
        /// Which call.
        call: String,
        /// What is wrong.
        detail: String,
    },
    /// The boot record's authority is no certificate.
    #[error("the authority is not a certificate: {detail}")]
    Authority {
        /// What is wrong.
        detail: String,
    },
}

impl ChannelError {
    /// Whether asking again later may help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

/// The channel of one boot.
pub struct Channel {
    http: Agent,
    servers: Vec<String>,
    /// The server that answered last.
    current: AtomicUsize,
    token: Secret,
    wait_seconds: AtomicU64,
    on_unauthorized: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// A channel as the boot record describes it. `on_unauthorized` is called at
    /// every answer of 401.
    ///
    /// # Errors
    /// When the authority is no certificate.
    pub fn new(
        record: &BootRecord,
        on_unauthorized: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, ChannelError> {
        let roots: Vec<Certificate<'static>> = parse_pem(record.authority.as_bytes())
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
            .collect::<Result<_, _>>()
            .map_err(|error| ChannelError::Authority {
                detail: error.to_string(),
            })?;
        if roots.is_empty() {
            return Err(ChannelError::Authority {
                detail: "there is none in it".into(),
            });
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("billet-agent/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(8)))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build();
        Ok(Self {
            http: Agent::with_parts(config, DefaultConnector::default(), Literal),
            servers: record
                .servers
                .iter()
                .map(|s| s.trim_end_matches('/').to_owned())
                .collect(),
            current: AtomicUsize::new(0),
            token: record.token.clone(),
            wait_seconds: AtomicU64::new(20),
            on_unauthorized,
        })
    }

    /// The server that answered last.
    pub fn server(&self) -> &str {
        let at = self.current.load(Ordering::Relaxed);
        self.servers.get(at).map_or("", String::as_str)
    }

    /// How long a call for a task waits, as the control plane wants it.
    pub fn set_wait(&self, seconds: u64) {
        self.wait_seconds.store(seconds.min(300), Ordering::Relaxed);
    }

    /// I run.
    ///
    /// # Errors
    /// As [`ChannelError`].
    pub fn hello(&self, hello: &Hello) -> Result<Welcome, ChannelError> {
        let mut answer = self.post("/hello", hello)?;
        json(&mut answer, "hello")
    }

    /// What is to be done? `None` after waiting in vain.
    ///
    /// # Errors
    /// As [`ChannelError`].
    pub fn task(&self) -> Result<Option<Task>, ChannelError> {
        let wait = self.wait_seconds.load(Ordering::Relaxed);
        let patience = PATIENCE + Duration::from_secs(wait);
        let mut answer = self.each_server(|base| {
            self.http
                .get(format!("{base}{PREFIX}/task?wait={wait}"))
                .header("Authorization", self.bearer())
                .config()
                .timeout_recv_response(Some(patience))
                .timeout_per_read(Some(patience))
                .build()
                .call()
        })?;
        if answer.status() == 204 {
            return Ok(None);
        }
        json(&mut answer, "task").map(Some)
    }

    /// May I write now?
    ///
    /// # Errors
    /// As [`ChannelError`].
    pub fn confirm(&self, task: TaskId) -> Result<Confirm, ChannelError> {
        let mut answer = self.post(&format!("/tasks/{task}/confirm"), &serde_json::json!({}))?;
        json(&mut answer, "confirm")
    }

    /// So far I am.
    ///
    /// # Errors
    /// As [`ChannelError`].
    pub fn progress(&self, task: TaskId, progress: &Progress) -> Result<Confirm, ChannelError> {
        let mut answer = self.post(&format!("/tasks/{task}/progress"), progress)?;
        json(&mut answer, "progress")
    }

    /// This came of it.
    ///
    /// # Errors
    /// As [`ChannelError`].
    pub fn outcome(&self, task: TaskId, outcome: &WorkOutcome) -> Result<(), ChannelError> {
        self.post(&format!("/tasks/{task}/outcome"), outcome)?;
        Ok(())
    }

    /// An image's list of chunks.
    ///
    /// # Errors
    /// As [`ChannelError`].
    pub fn manifest(&self, digest: &str) -> Result<ImageManifest, ChannelError> {
        let mut answer = self.get(&format!("/images/{digest}/manifest"), None)?;
        let bytes = body(&mut answer, MANIFEST_LIMIT, "manifest")?;
        parse(&bytes, "manifest")
    }

    /// `length` stored bytes of an image's blob, from `offset` on.
    ///
    /// # Errors
    /// As [`ChannelError`]; the stream may break later, as an I/O error.
    pub fn blob(
        &self,
        digest: &str,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn Read + Send>, ChannelError> {
        let last = offset + length.saturating_sub(1);
        let range = format!("bytes={offset}-{last}");
        let answer = self.get(&format!("/images/{digest}/blob"), Some(&range))?;
        if answer.status() != 206 {
            return Err(ChannelError::Malformed {
                call: "blob".into(),
                detail: format!("status {} where a range was asked for", answer.status()),
            });
        }
        let reader = answer.into_body().into_with_config().limit(length).reader();
        Ok(Box::new(reader))
    }

    /// The ramdisk that the control plane boots: a UEFI program.
    ///
    /// # Errors
    /// As [`ChannelError`].
    pub fn ramdisk(&self) -> Result<Vec<u8>, ChannelError> {
        let mut answer = self.get("/ramdisk", None)?;
        body(&mut answer, RAMDISK_LIMIT, "ramdisk")
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose())
    }

    fn get(&self, path: &str, range: Option<&str>) -> Result<Response<Body>, ChannelError> {
        self.each_server(|base| {
            let mut request = self
                .http
                .get(format!("{base}{PREFIX}{path}"))
                .header("Authorization", self.bearer());
            if let Some(range) = range {
                request = request.header("Range", range);
            }
            request.call()
        })
    }

    fn post(&self, path: &str, body: &impl Serialize) -> Result<Response<Body>, ChannelError> {
        self.each_server(|base| {
            self.http
                .post(format!("{base}{PREFIX}{path}"))
                .header("Authorization", self.bearer())
                .send_json(body)
        })
    }

    /// Calls the servers in turn, the one that answered last first.
    fn each_server(
        &self,
        call: impl Fn(&str) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ChannelError> {
        let first = self.current.load(Ordering::Relaxed);
        let mut detail = "the boot record names no server".to_owned();
        for at in 0..self.servers.len() {
            let at = (first + at) % self.servers.len();
            let base = &self.servers[at];
            // A connection kept from before may have been closed meanwhile: that
            // shows only when it is used. Every call can be made twice.
            match call(base).or_else(|_| call(base)) {
                Ok(answer) => {
                    self.current.store(at, Ordering::Relaxed);
                    return self.judge(answer);
                }
                Err(error) => detail = format!("{base}: {error}"),
            }
        }
        Err(ChannelError::Unreachable { detail })
    }

    fn judge(&self, mut answer: Response<Body>) -> Result<Response<Body>, ChannelError> {
        let status = answer.status();
        if status == 401 {
            (self.on_unauthorized)();
            return Err(ChannelError::Unauthorized);
        }
        if status.is_success() {
            return Ok(answer);
        }
        let text = body(&mut answer, ANSWER_LIMIT, "error").unwrap_or_default();
        let detail: String = String::from_utf8_lossy(&text).chars().take(400).collect();
        Err(ChannelError::Refused {
            status: status.as_u16(),
            detail,
        })
    }
}

/// The crypto to use. Where the processor has no AES instructions, ChaCha20 goes
/// first: AES in constant time is ten times slower there, and images are large.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !has_aes() {
        provider
            .cipher_suites
            .sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("CHACHA20"));
    }
    provider
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_aes() -> bool {
    true
}

fn body(answer: &mut Response<Body>, limit: u64, call: &str) -> Result<Vec<u8>, ChannelError> {
    answer
        .body_mut()
        .with_config()
        .limit(limit)
        .read_to_vec()
        .map_err(|error| ChannelError::Unreachable {
            detail: format!("the answer to {call} broke off: {error}"),
        })
}

fn json<T: DeserializeOwned>(answer: &mut Response<Body>, call: &str) -> Result<T, ChannelError> {
    parse(&body(answer, ANSWER_LIMIT, call)?, call)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], call: &str) -> Result<T, ChannelError> {
    serde_json::from_slice(bytes).map_err(|error| ChannelError::Malformed {
        call: call.into(),
        detail: error.to_string(),
    })
}

/// Takes addresses as they stand: a static program cannot look names up.
#[derive(Debug)]
struct Literal;

impl Resolver for Literal {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let ip = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| ureq::Error::HostNotFound)?;
        let default = if uri.scheme() == Some(&Scheme::HTTP) {
            80
        } else {
            443
        };
        let mut addresses = self.empty();
        addresses.push(std::net::SocketAddr::new(
            ip,
            uri.port_u16().unwrap_or(default),
        ));
        Ok(addresses)
    }
}
