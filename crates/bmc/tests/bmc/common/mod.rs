//! What these tests share: a server over TLS with a certificate of its own,
//! on loopback, stopped when it is dropped.

pub mod fake;
pub mod tree;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use billet_bmc::{BmcClient, Timeouts};
use billet_model::Secret;
use billet_model::bmc::BmcEndpoint;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

pub const USER: &str = "billet";
pub const PASSWORD: &str = "correct horse";

pub struct Serving {
    pub address: SocketAddr,
    pub fingerprint: String,
    handle: axum_server::Handle<SocketAddr>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Serving {
    pub fn endpoint(&self) -> BmcEndpoint {
        BmcEndpoint {
            address: format!("https://{}", self.address),
            user: USER.into(),
            fingerprint: Some(self.fingerprint.clone()),
        }
    }

    pub fn client(&self) -> BmcClient {
        client(&self.endpoint(), PASSWORD)
    }
}

pub fn client(endpoint: &BmcEndpoint, password: &str) -> BmcClient {
    BmcClient::new(endpoint, Secret::new(password), quick()).unwrap()
}

/// Waits short enough for tests, long enough for a busy machine.
pub fn quick() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(5),
        read: Duration::from_secs(2),
        read_budget: Duration::from_secs(4),
        backoff: Duration::from_millis(50),
        change: Duration::from_millis(500),
        task: Duration::from_secs(3),
        settle: Duration::from_millis(300),
        poll: Duration::from_millis(50),
        discover: Duration::from_secs(120),
    }
}

pub async fn serve(app: Router) -> Serving {
    let certified = rcgen::generate_simple_self_signed(vec!["bmc.test".into()]).unwrap();
    let der = certified.cert.der().clone();
    let fingerprint = Sha256::digest(&der)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
        certified.signing_key.serialize_der(),
    ));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let handle = axum_server::Handle::new();
    let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls)))
        .unwrap()
        .handle(handle.clone());
    tokio::spawn(server.serve(app.into_make_service()));
    Serving {
        address,
        fingerprint,
        handle,
    }
}
