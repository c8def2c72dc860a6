//! A server with an authority of its own, as a Billet server shows itself, that answers as a test
//! wants.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// A server that listens until it is dropped.
pub struct Fake {
    /// `https://127.0.0.1:PORT/`.
    pub url: String,
    /// SHA-256 of its own certificate.
    pub leaf: String,
    /// SHA-256 of its authority's certificate.
    pub authority: String,
    handle: Handle<SocketAddr>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Starts a server on a free port.
pub fn serve(router: Router) -> Fake {
    let authority_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|params| params.signed_by(&key, &issuer))
        .expect("a certificate");

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone(), authority.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .expect("TLS settings");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.set_nonblocking(true).expect("nonblocking");
    let address = listener.local_addr().expect("an address");
    let handle = Handle::new();
    let server =
        axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(config)))
            .expect("a server")
            .handle(handle.clone());
    tokio::spawn(server.serve(router.into_make_service()));
    Fake {
        url: format!("https://{address}/"),
        leaf: hex(leaf.der()),
        authority: hex(authority.der()),
        handle,
    }
}

fn hex(der: &[u8]) -> String {
    let digest = Sha256::digest(der);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
