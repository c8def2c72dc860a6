//! Bodies that are far larger than anything that is taken: answered at once, over both versions of
//! HTTP, with next to nothing of them read.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use reqwest::{Body, Client, Method, Version, header::CONTENT_LENGTH};
use serde_json::Value;
use tokio_rustls::{TlsConnector, rustls};

use crate::site::{Answer, Site};

/// Ten GB.
const LARGE: u64 = 10_000_000_000;
/// What may have left the client when the answer comes: what is read, and what the windows and
/// buffers between hold.
const SENT: u64 = 32 << 20;

/// A body of ten GB, made as it is sent; and how much of it was.
fn body() -> (Body, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let pieces = std::iter::repeat_with(move || {
        count.fetch_add(50_000, Ordering::SeqCst);
        Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 50_000]))
    });
    let pieces = futures::stream::iter(pieces.take((LARGE / 50_000) as usize));
    (Body::wrap_stream(pieces), sent)
}

fn client(site: &Site, version: Version) -> Client {
    let authority = reqwest::Certificate::from_pem(site.control.settings().authority.as_bytes());
    let builder = Client::builder().tls_certs_only([authority.expect("the authority")]);
    let builder = match version {
        Version::HTTP_11 => builder.http1_only(),
        _ => builder.http2_prior_knowledge(),
    };
    builder.build().expect("a client")
}

#[tokio::test]
async fn a_body_of_ten_gb_is_answered_at_once() {
    let site = Site::new().await;
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    let rows = [
        ("/v1/organisations", json, true, 413, "a body may have"),
        ("/v1/organisations", json, false, 401, "billet login"),
        ("/phone-home/v1/nobody", form, false, 413, "a form may have"),
        ("/v1/nothing", json, false, 404, "GET /v1/openapi.json"),
        ("/healthz", json, false, 405, "this path takes GET"),
    ];
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let client = client(&site, version);
        for (path, media_type, signed_in, status, told) in rows {
            for declared in [true, false] {
                let row = format!("{version:?} {path}, signed in: {signed_in}, {declared}");
                let url = format!("https://{}{path}", site.server.address());
                let (body, sent) = body();
                let mut request = client.request(Method::POST, url).body(body);
                request = request.header("content-type", media_type);
                if signed_in {
                    request = request.bearer_auth(&site.operator);
                }
                if declared {
                    request = request.header(CONTENT_LENGTH, LARGE);
                }
                let response = request.send().await;
                let response = response.unwrap_or_else(|e| panic!("{row}: {e:?}"));
                assert_eq!(response.version(), version, "{row}");
                let answer = Answer {
                    status: response.status(),
                    headers: response.headers().clone(),
                    body: response.text().await.expect("a body"),
                };
                let problem = answer.problem(status);
                assert!(problem.detail.contains(told), "{row}: {problem:?}");
                let sent = sent.load(Ordering::SeqCst);
                assert!(sent < SENT, "{row}: {sent} bytes were sent");
            }
        }
    }
    let made: Value = site.get("/v1/organisations").await.ok().value();
    assert_eq!(made["items"], serde_json::json!([]));
}

/// A caller that still sends must find the answer before its stream is cut: some throw away an
/// answer that comes together with `RST_STREAM`, though it may.
#[tokio::test]
async fn the_answer_is_not_cut_off_by_a_reset() {
    let site = Site::new().await;
    let authority = site.control.settings().authority.clone();
    for declared in [true, false] {
        let (mut requests, mut connection) = connect(&site, &authority).await;
        let mut pings = connection.ping_pong().expect("pings");
        let connection = tokio::spawn(connection);
        let url = format!("https://{}/v1/organisations", site.server.address());
        let mut request = axum::http::Request::post(url)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", site.operator));
        if declared {
            request = request.header("content-length", LARGE);
        }
        let request = request.body(()).expect("a request");
        let (answer, mut stream) = requests.send_request(request, false).expect("sent");
        // More than is read, and less than the windows let through.
        for _ in 0..40 {
            let piece = Bytes::from_static(&[b' '; 50_000]);
            stream.send_data(piece, false).expect("taken");
        }
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 413);
        let mut body = answer.into_body();
        while let Some(piece) = body.data().await {
            piece.expect("the whole answer");
        }
        // What was sent with the answer has come when this is back.
        pings.ping(h2::Ping::opaque()).await.expect("answered");
        let reset = poll_fn(|context| std::task::Poll::Ready(stream.poll_reset(context))).await;
        assert!(reset.is_pending(), "declared: {declared}: {reset:?}");
        connection.abort();
    }
}

async fn connect(
    site: &Site,
    authority: &str,
) -> (
    h2::client::SendRequest<Bytes>,
    h2::client::Connection<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, Bytes>,
) {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes());
    roots.add(authority.expect("a certificate")).expect("taken");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(site.server.address()).await;
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp.expect("connected"));
    h2::client::handshake(tls.await.expect("a handshake"))
        .await
        .expect("HTTP/2")
}
