//! The TLS listener of a BMC.
//!
//! It speaks to hyper directly because a fault may have to lose an answer: a service that ends
//! in an error closes the connection without a word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Bmc;
use super::http::{self, Closed};
use crate::faults::{FaultKind, Point};

/// How long a caller may take over the TLS handshake, or over a request's headers.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn serve(bmc: Arc<Bmc>, listener: TcpListener, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (bmc, stop) = (Arc::clone(&bmc), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = connection(bmc, stream) => {}
                    }
                });
            }
            Err(e) => {
                // Out of descriptors, most likely; they come back when others hang up.
                tracing::warn!(machine = bmc.name, error = %e, "accepting a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn away(bmc: &Bmc) -> bool {
    bmc.lock()
        .away_until
        .is_some_and(|until| Instant::now() < until)
}

async fn connection(bmc: Arc<Bmc>, stream: TcpStream) {
    if away(&bmc) {
        return;
    }
    match bmc.faults.strike(&bmc.name, &[Point::Connect], |_| true) {
        Some(FaultKind::Refuse) => return,
        Some(FaultKind::Hang { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            return;
        }
        Some(FaultKind::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(FaultKind::NewCertificate) => bmc.renew_identity(),
        _ => {}
    }
    let tls = TlsAcceptor::from(bmc.identity().tls);
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let bmc = Arc::clone(&bmc);
        async move {
            if away(&bmc) {
                return Err(Closed);
            }
            http::answer(&bmc, request.map(Body::new)).await
        }
    });
    // How it ends is the caller's affair, or a fault's.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
