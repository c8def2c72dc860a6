//! One HTTP exchange, and whether its request can have arrived.
//!
//! Changes go over a connection of their own: a connection kept from before
//! may be dead, and a request written to a dead connection cannot be told from
//! one whose answer was lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use billet_model::bmc::BmcEndpoint;
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER};
use reqwest::{Method, Url};
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::HashAlgorithm;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::error::{BmcError, Timeouts};
use crate::pin::{Pin, wrong_certificate};
use crate::stand_in::{StandIn, answered};
use crate::tickets::Tickets;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 8 << 20;
/// Requests to one BMC at a time: they are small computers.
const AT_ONCE: usize = 4;
/// The same where each answer is a whole collection: those keep a BMC busy for seconds, and
/// there are few of them.
const LARGE_AT_ONCE: usize = 2;
/// How long a connection is kept for the next request. A kept one is 30 KiB of buffers.
const IDLE: Duration = Duration::from_secs(5);

/// What encrypts: one for all BMCs. SHA-256 comes first: processors have instructions for it,
/// and few for SHA-384, of which a handshake takes dozens.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let hash = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider.algorithm(),
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider.algorithm(),
    };
    provider
        .cipher_suites
        .sort_by_key(|suite| hash(suite) != HashAlgorithm::SHA256);
    Arc::new(provider)
});

/// The connection to one BMC.
pub(crate) struct Http {
    endpoint: Url,
    /// Sessions of it can be resumed by whichever client is made of it.
    tls: rustls::ClientConfig,
    /// What reads, with its connections, as long as there is something to read.
    reads: Mutex<Option<reqwest::Client>>,
    /// Whoever answers in the network's place.
    stand_in: Option<Arc<dyn StandIn>>,
    pin: Arc<Pin>,
    slots: Semaphore,
    large: AtomicBool,
    met: AtomicBool,
    pub timeouts: Timeouts,
}

/// What is sent.
pub(crate) struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    pub header: Option<(HeaderName, HeaderValue)>,
    pub if_match: Option<&'a str>,
    pub body: Option<&'a Value>,
    pub timeout: Duration,
}

/// What came back. The status is certain; the body may have been cut off.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Result<Vec<u8>, String>,
}

impl Answer {
    pub fn bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.bytes()).ok()
    }

    fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn etag(&self) -> Option<String> {
        self.header(ETAG).map(str::to_owned)
    }

    pub fn location(&self) -> Option<&str> {
        self.header(LOCATION)
    }

    /// The pause the BMC asks for, in whole seconds; dates are ignored.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header(RETRY_AFTER)?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// Which connection a request goes over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// One that was kept from the request before, where there is one.
    Kept,
    /// One of its own.
    Own,
}

/// No answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// Not a byte of the request was sent.
    NotSent(BmcError),
    /// It may have arrived.
    MaybeSent(String),
}

impl Http {
    pub fn new(endpoint: &BmcEndpoint, timeouts: Timeouts) -> Result<Self, BmcError> {
        let what = || format!("BMC at {:?}", endpoint.address);
        let address = match endpoint.address.contains("://") {
            true => endpoint.address.clone(),
            false => format!("https://{}", endpoint.address),
        };
        let url: Url = address
            .parse()
            .map_err(|e| BmcError::malformed(what(), format!("not an address: {e}")))?;
        if url.scheme() != "https" || url.host_str().is_none() {
            return Err(BmcError::malformed(
                what(),
                "an address is https://host[:port]",
            ));
        }
        let provider = PROVIDER.clone();
        let pin = Arc::new(Pin::new(provider.clone(), endpoint.fingerprint.as_deref()));
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| BmcError::malformed(what(), e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(pin.clone())
            .with_no_client_auth();
        tls.resumption = rustls::client::Resumption::store(Arc::new(Tickets::default()));
        // What is made of it later is made in the same way.
        client(&tls, &timeouts, 0).map_err(|e| BmcError::malformed(what(), e.to_string()))?;
        Ok(Self {
            tls,
            reads: Mutex::default(),
            stand_in: None,
            endpoint: url,
            pin,
            slots: Semaphore::new(AT_ONCE),
            large: AtomicBool::new(false),
            met: AtomicBool::new(false),
            timeouts,
        })
    }

    /// The same, with nothing sent anywhere: `stand_in` answers.
    pub fn answered_by(self, stand_in: Arc<dyn StandIn>) -> Self {
        Self {
            stand_in: Some(stand_in),
            ..self
        }
    }

    /// The fingerprint pinned or shown, once there was a connection.
    pub fn fingerprint(&self) -> Option<String> {
        self.pin.fingerprint()
    }

    /// Whether it has ever answered: then one that cannot be reached may be
    /// restarting, and is worth waiting for.
    pub fn met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    /// Closes the connections that are kept, and frees what goes with them: nothing is asked
    /// for a while. A thousand machines at rest would keep four thousand.
    pub fn rest(&self) {
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        *reads = None;
    }

    /// Asks less at a time from now on, because answers will be large.
    pub fn expect_large(&self) {
        if !self.large.swap(true, Ordering::Relaxed) {
            self.slots.forget_permits(AT_ONCE - LARGE_AT_ONCE);
        }
    }

    /// The same taken back.
    pub fn expect_small(&self) {
        if self.large.swap(false, Ordering::Relaxed) {
            self.slots.add_permits(AT_ONCE - LARGE_AT_ONCE);
        }
    }

    /// What sends a request over such a connection.
    fn client(&self, over: Over) -> Result<reqwest::Client, reqwest::Error> {
        if over == Over::Own {
            return client(&self.tls, &self.timeouts, 0);
        }
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reads) = &*reads {
            return Ok(reads.clone());
        }
        let made = client(&self.tls, &self.timeouts, AT_ONCE)?;
        *reads = Some(made.clone());
        Ok(made)
    }

    /// Sends one request and reads its answer.
    pub async fn exchange(&self, call: Call<'_>) -> Result<Answer, Lost> {
        let over = match call.method {
            Method::GET => Over::Kept,
            _ => Over::Own,
        };
        self.exchange_over(over, call).await
    }

    /// The same for a login: over a kept connection, and once more over one of its own where
    /// the answer was lost. A second session does no harm.
    pub async fn exchange_login(&self, call: Call<'_>) -> Result<Answer, Lost> {
        let again = Call {
            method: call.method.clone(),
            header: call.header.clone(),
            ..call
        };
        match self.exchange_over(Over::Kept, call).await {
            Err(Lost::MaybeSent(detail)) => {
                tracing::debug!(%detail, "a login was lost; once more");
                self.exchange_over(Over::Own, again).await
            }
            ended => ended,
        }
    }

    async fn exchange_over(&self, over: Over, call: Call<'_>) -> Result<Answer, Lost> {
        let what = format!("{} {}", call.method, call.path);
        let url = crate::link::url(&self.endpoint, call.path);
        if let Some(stand_in) = &self.stand_in {
            self.met.store(true, Ordering::Relaxed);
            return Ok(answered(stand_in.as_ref(), &call.method, &url, LARGEST));
        }
        let _slot = self.slots.acquire().await;
        // A change's connection has its own, shorter limit, which must strike
        // first: it is what tells "never sent" from "maybe sent".
        let timeout = match over {
            Over::Kept => call.timeout,
            Over::Own => call.timeout + self.timeouts.connect,
        };
        let client = match self.client(over) {
            Ok(client) => client,
            Err(error) => return Err(self.lost(what, &error)),
        };
        let mut request = client
            .request(call.method.clone(), url)
            .timeout(timeout)
            .header("Accept", "application/json")
            .header("OData-Version", "4.0");
        if let Some((name, value)) = call.header {
            request = request.header(name, value);
        }
        // What cannot stand in a header cannot have come from one: it goes without.
        if let Some(etag) = call.if_match.and_then(|e| HeaderValue::from_str(e).ok()) {
            request = request.header(IF_MATCH, etag);
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.lost(what, &error)),
        };
        self.met.store(true, Ordering::Relaxed);
        let status = response.status().as_u16();
        tracing::debug!(%what, status, "bmc answered");
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        let body = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LARGEST => {
                    break Err(format!("larger than {LARGEST} bytes"));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break Ok(body),
                Err(error) => break Err(chain(&error)),
            }
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    fn lost(&self, what: String, error: &reqwest::Error) -> Lost {
        if let Some(wrong) = wrong_certificate(error) {
            return Lost::NotSent(BmcError::Certificate {
                what,
                pinned: wrong.pinned,
                shown: wrong.shown,
            });
        }
        let detail = chain(error);
        if error.is_connect() || error.is_builder() {
            return Lost::NotSent(BmcError::Unreachable { what, detail });
        }
        Lost::MaybeSent(detail)
    }
}

/// A client that keeps so many idle connections.
fn client(
    tls: &rustls::ClientConfig,
    timeouts: &Timeouts,
    idle: usize,
) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .connect_timeout(timeouts.connect)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(idle)
        .pool_idle_timeout(IDLE)
        .http1_only()
        .no_proxy()
        .user_agent(concat!("billet/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// An error with all its causes, which is where reqwest keeps what happened.
fn chain(error: &reqwest::Error) -> String {
    let mut said = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said.push_str(": ");
            said.push_str(&cause_said);
        }
        next = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_is_there_again_once() {
        let endpoint = BmcEndpoint {
            address: "https://192.0.2.1".into(),
            user: "root".into(),
            fingerprint: None,
        };
        let http = Http::new(&endpoint, Timeouts::default()).expect("a client");
        for _ in 0..2 {
            http.expect_large();
            assert_eq!(http.slots.available_permits(), LARGE_AT_ONCE);
        }
        for _ in 0..2 {
            http.expect_small();
            assert_eq!(http.slots.available_permits(), AT_ONCE);
        }
    }
}
