//! The listening server: TLS, limits of time and size, renewal, an orderly end.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use axum_server::{
    Handle,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use billet_control::Control;
use hyper_util::rt::TokioTimer;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    app::App,
    calls,
    fetch::AddressRange,
    metadata, router,
    tls::{Authority, RENEW_DAYS, TlsError},
    webhooks,
};

/// Bytes of all headers of a request, at most.
pub(crate) const HEADER_BYTES: usize = 32 * 1024;
/// Headers of a request, at most.
pub(crate) const HEADERS: usize = 100;
/// How long a request's headers may take to come.
pub(crate) const HEADER_TIME: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take: BMCs are slow.
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Names and addresses under which the server is reached, for its
    /// certificate. The loopback is always among them.
    pub names: Vec<String>,
    /// Private addresses that images may be fetched from all the same.
    pub fetch_allow: Vec<AddressRange>,
    /// Private addresses that projects' webhooks may name all the same. The
    /// operator's own webhooks may name any.
    pub webhook_allow: Vec<AddressRange>,
    /// Webhooks may be sent to by http, unencrypted, and not to the loopback alone.
    pub webhook_http: bool,
    /// A webhook that took nothing for so long is switched off.
    pub webhook_give_up: jiff::SignedDuration,
    /// Largest image taken in, in bytes as fetched or uploaded.
    pub image_bytes: u64,
    /// Largest disk that an image may unfold to, in bytes.
    pub disk_bytes: u64,
    /// For how long the record of calls is kept.
    pub calls_keep: jiff::SignedDuration,
    /// Where to serve instance metadata, over plain HTTP.
    pub metadata: Option<SocketAddr>,
    /// How many streams of events and consoles a caller may have open at once.
    pub streams: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8443)),
            names: Vec::new(),
            fetch_allow: Vec::new(),
            webhook_allow: Vec::new(),
            webhook_http: false,
            webhook_give_up: jiff::SignedDuration::from_hours(72),
            image_bytes: 64 << 30,
            disk_bytes: 256 << 30,
            calls_keep: jiff::SignedDuration::from_hours(31 * 24),
            metadata: None,
            streams: 32,
        }
    }
}

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not this address.
    #[error("listening on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A client that goes out to others could not be made.
    #[error("setting up the client for images or webhooks: {0}")]
    Fetch(String),
    /// Images that a stop had left half-way could not be looked after.
    #[error("cleaning up after images that were being taken in: {0}")]
    Images(String),
    /// The server ended by itself.
    #[error("serving ended: {0}")]
    Ended(String),
}

/// A server that listens.
pub struct Server {
    app: App,
    /// Told true at the end.
    end: watch::Sender<bool>,
    address: SocketAddr,
    metadata: Option<metadata::Listening>,
    fingerprint: String,
    handle: Handle<SocketAddr>,
    serving: JoinHandle<std::io::Result<()>>,
    helpers: Vec<JoinHandle<()>>,
}

/// Starts to serve `control` over TLS.
///
/// # Errors
/// When there is no certificate, or the address cannot be listened on.
pub async fn serve(control: Control, options: ServeOptions) -> Result<Server, ServeError> {
    // One provider for all of the program; a second call changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = control.settings();
    let authority = Arc::new(Authority::open(&settings.keys, &settings.data)?);
    let fingerprint = authority.fingerprint();
    let config = authority.server_config(&options.names, control.now())?;
    let config = RustlsConfig::from_config(config);

    let failed = |source| ServeError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;

    let (end, ending) = watch::channel(false);
    let app = App::new(control.clone(), &options, &fingerprint, ending)?;
    let metadata = options
        .metadata
        .map(|at| metadata::serve(control.clone(), at))
        .transpose()?;
    app.images().recover().await.map_err(ServeError::Images)?;
    let helpers = vec![
        tokio::spawn(renew(config.clone(), authority, options.names, control)),
        tokio::spawn(app.clone().keep_house()),
        tokio::spawn(webhooks::deliver(app.clone())),
        tokio::spawn(calls::keep(app.clone())),
    ];

    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(failed)?
        // An answer of two pieces is else held back for what the other side acknowledges, which
        // takes its time: 40 ms.
        .acceptor(
            RustlsAcceptor::new(config)
                .handshake_timeout(HANDSHAKE_TIME)
                .acceptor(NoDelayAcceptor::new()),
        )
        .first_request_timeout(HEADER_TIME)
        .handle(handle.clone());
    let builder = server.http_builder();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_header_list_size(HEADER_BYTES as u32)
        .max_concurrent_streams(100);
    let service = router::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let serving = tokio::spawn(server.serve(service));
    tracing::info!(%address, authority = fingerprint, "serving");
    Ok(Server {
        app,
        end,
        address,
        metadata,
        fingerprint,
        handle,
        serving,
        helpers,
    })
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves instance metadata, if it does.
    pub fn metadata_address(&self) -> Option<SocketAddr> {
        self.metadata.as_ref().map(metadata::Listening::address)
    }

    /// SHA-256 of the authority's certificate, for `billet login`.
    pub fn authority_fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Takes no more requests, and gives those under way `grace` to end.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub async fn stop(mut self, grace: Duration) -> Result<(), ServeError> {
        let _ = self.end.send(true);
        self.handle.graceful_shutdown(Some(grace));
        self.ended().await
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        let ended = (&mut self.serving).await;
        for helper in &self.helpers {
            helper.abort();
        }
        self.app.calls().flush(self.app.store()).await;
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(ServeError::Ended(e.to_string())),
            Err(e) => Err(ServeError::Ended(e.to_string())),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end.send(true);
        self.handle.shutdown();
        for helper in &self.helpers {
            helper.abort();
        }
    }
}

/// Issues a new certificate long before the present one ends.
async fn renew(
    config: RustlsConfig,
    authority: Arc<Authority>,
    names: Vec<String>,
    control: Control,
) {
    let period = Duration::from_secs(RENEW_DAYS * 24 * 3600);
    loop {
        tokio::time::sleep(period).await;
        match authority.server_config(&names, control.now()) {
            Ok(fresh) => {
                config.reload_from_config(fresh);
                tracing::info!("renewed the server's certificate");
            }
            Err(error) => tracing::error!(%error, "could not renew the server's certificate"),
        }
    }
}
