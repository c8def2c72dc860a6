//! Instance metadata for leased machines, over plain HTTP, for a site whose
//! operator routes 169.254.169.254 to it.
//!
//! Who asks is known by the address alone, and an address on a shared network
//! can be taken by others while its machine is off. So nothing private is told
//! here: what is in user data or vendor data is on the lease's drive and nowhere
//! else. And a page on the machine that can be made to fetch an address of
//! somebody's choice shall not get at it: first comes a PUT for a token, as in
//! the field's version 2 of this service, and what comes by way of a proxy is
//! refused.
//!
//! It is no part of the API, has no token of the API's, and reaches nothing else.

use std::net::{SocketAddr, TcpListener};

use axum::{
    Router,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, HeaderName, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use axum_server::{Handle, accept::NoDelayAcceptor};
use billet_control::{Control, Instance};
use hyper_util::rt::TokioTimer;

use crate::serve::{HEADER_BYTES, HEADER_TIME, HEADERS, ServeError};

const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The longest that a token is good for, in seconds.
const LONGEST: i64 = 21_600;

/// The metadata's port, until this is dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
}

impl Listening {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Serves metadata at `listen`.
///
/// # Errors
/// When that cannot be listened on.
pub(crate) fn serve(control: Control, listen: SocketAddr) -> Result<Listening, ServeError> {
    let failed = |source| ServeError::Listen {
        address: listen,
        source,
    };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(failed)?
        .acceptor(NoDelayAcceptor::new())
        .handle(handle.clone());
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS);
    let service = router(control).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = server.serve(service).await {
            tracing::error!(%error, "serving instance metadata ended");
        }
    });
    tracing::info!(%address, "serving instance metadata");
    Ok(Listening { address, handle })
}

fn router(control: Control) -> Router {
    Router::new()
        .route("/latest/api/token", put(token))
        .route("/", get(|s, c, h| tree(s, c, h, None)))
        .route(
            "/{*path}",
            get(|s, c, h, Path(path): Path<String>| tree(s, c, h, Some(path))),
        )
        .layer(axum::extract::DefaultBodyLimit::max(1024))
        .with_state(control)
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, body.into()).into_response()
}

/// The lease whose machine asks, by its address.
async fn whose(
    control: &Control,
    from: SocketAddr,
    headers: &HeaderMap,
) -> Result<Instance, Response> {
    if headers.contains_key(FORWARDED) {
        let why = "metadata is for the machine itself, and not by way of a proxy\n";
        return Err(text(StatusCode::FORBIDDEN, why));
    }
    match control.instance_at(from.ip().to_canonical()).await {
        Ok(Some(instance)) => Ok(instance),
        Ok(None) => Err(text(
            StatusCode::NOT_FOUND,
            "no lease's machine has this address\n",
        )),
        Err(error) => {
            tracing::error!(%error, "looking up who asks for metadata");
            Err(text(StatusCode::SERVICE_UNAVAILABLE, "try again\n"))
        }
    }
}

async fn token(
    State(control): State<Control>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let instance = match whose(&control, from, &headers).await {
        Ok(instance) => instance,
        Err(refused) => return refused,
    };
    let asked = headers.get(TTL).and_then(|v| v.to_str().ok());
    let Some(ttl) = asked
        .and_then(|v| v.parse::<i64>().ok())
        .filter(|t| (1..=LONGEST).contains(t))
    else {
        let why = format!("{TTL} must say for how many seconds, 1 to {LONGEST}\n");
        return text(StatusCode::BAD_REQUEST, why);
    };
    let token = control.metadata_token(instance.lease, ttl);
    let mut response = text(StatusCode::OK, token.expose());
    response.headers_mut().insert(TTL, ttl.into());
    response
}

async fn tree(
    State(control): State<Control>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    path: Option<String>,
) -> Response {
    let instance = match whose(&control, from, &headers).await {
        Ok(instance) => instance,
        Err(refused) => return refused,
    };
    let given = headers.get(TOKEN).and_then(|v| v.to_str().ok());
    if !given.is_some_and(|t| control.metadata_token_is_good(instance.lease, t)) {
        let why = format!(
            "{TOKEN} is wanted: curl -X PUT -H '{TTL}: 60' http://169.254.169.254/latest/api/token\n"
        );
        return text(StatusCode::UNAUTHORIZED, why);
    }
    let path = path.unwrap_or_default();
    match instance.at(path.trim_matches('/')) {
        Some(body) => text(StatusCode::OK, body),
        None => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    }
}
