//! A BMC's own certificate, made at first start and kept, because callers pin it.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

use crate::metal::MetalError;

/// A certificate and what serves it.
#[derive(Clone)]
pub(super) struct Identity {
    pub tls: Arc<ServerConfig>,
    /// SHA-256 of the certificate in DER, lower-case hexadecimal.
    pub fingerprint: String,
}

fn wrong(doing: &'static str, e: impl std::fmt::Display) -> MetalError {
    MetalError::Emulator {
        doing,
        message: e.to_string(),
    }
}

/// The certificate kept in `dir`, or a new one, kept there.
pub(super) fn identity(dir: &Path, serial: &str) -> Result<Identity, MetalError> {
    let cert_file = dir.join("cert.der");
    let key_file = dir.join("key.der");
    let (cert, key) = match (std::fs::read(&cert_file), std::fs::read(&key_file)) {
        (Ok(cert), Ok(key)) => (cert, key),
        _ => return renew(dir, serial),
    };
    served(cert, key)
}

/// A new certificate, kept in `dir` in place of what was there.
pub(super) fn renew(dir: &Path, serial: &str) -> Result<Identity, MetalError> {
    let (cert, key) = make(serial)?;
    for (name, bytes) in [("key.der", &key), ("cert.der", &cert)] {
        let file = dir.join(name);
        std::fs::write(&file, bytes).map_err(MetalError::io("writing", file.display()))?;
    }
    served(cert, key)
}

fn served(cert: Vec<u8>, key: Vec<u8>) -> Result<Identity, MetalError> {
    let fingerprint = Sha256::digest(&cert)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("setting up TLS", e))?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(cert)],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        )
        .map_err(|e| wrong("setting up TLS", e))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    // There may be thousands of BMCs, each with few callers.
    tls.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    Ok(Identity {
        tls: Arc::new(tls),
        fingerprint,
    })
}

fn make(serial: &str) -> Result<(Vec<u8>, Vec<u8>), MetalError> {
    let doing = "making a certificate";
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .map_err(|e| wrong(doing, e))?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, crate::facts::MANUFACTURER);
    name.push(DnType::CommonName, format!("BMC of {serial}"));
    params.distinguished_name = name;
    let key = KeyPair::generate().map_err(|e| wrong(doing, e))?;
    let cert = params.self_signed(&key).map_err(|e| wrong(doing, e))?;
    Ok((cert.der().to_vec(), key.serialize_der()))
}
