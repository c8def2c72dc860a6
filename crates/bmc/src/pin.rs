//! Trust in a BMC's certificate: exactly the pinned one, or, without a pin,
//! the first one shown, which is then reported and held to.
//!
//! BMC certificates are self-signed, expired and named for nothing; who signed
//! them says nothing. The handshake's signature is verified in every case: it
//! is what proves that the certificate's key is there.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};

/// The wrong certificate, as it travels up through TLS and HTTP.
#[derive(Clone, Debug, thiserror::Error)]
#[error("certificate {shown} was shown, but {pinned} is pinned")]
pub(crate) struct WrongCertificate {
    pub pinned: String,
    pub shown: String,
}

/// Verifies by fingerprint and remembers what was shown first.
#[derive(Debug)]
pub(crate) struct Pin {
    provider: Arc<CryptoProvider>,
    /// Lower-case hex of SHA-256; filled by the first certificate where it was empty.
    expected: Mutex<Option<String>>,
}

impl Pin {
    pub fn new(provider: Arc<CryptoProvider>, fingerprint: Option<&str>) -> Self {
        let expected = fingerprint.map(normal);
        Self {
            provider,
            expected: Mutex::new(expected),
        }
    }

    /// The pinned fingerprint, or the one shown first.
    pub fn fingerprint(&self) -> Option<String> {
        self.expected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// People paste fingerprints with colons and capitals.
fn normal(fingerprint: &str) -> String {
    fingerprint
        .trim()
        .to_ascii_lowercase()
        .trim_start_matches("sha256:")
        .replace([':', ' '], "")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = hex(&Sha256::digest(end_entity.as_ref()));
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = expected.get_or_insert_with(|| shown.clone());
        if *pinned == shown {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::Other(rustls::OtherError(Arc::new(
            WrongCertificate {
                pinned: pinned.clone(),
                shown,
            },
        ))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Finds the wrong certificate in a chain of errors, wherever it was wrapped.
pub(crate) fn wrong_certificate(
    error: &(dyn std::error::Error + 'static),
) -> Option<WrongCertificate> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(wrong) = e.downcast_ref::<WrongCertificate>() {
            return Some(wrong.clone());
        }
        if let Some(rustls::Error::Other(other)) = e.downcast_ref::<rustls::Error>()
            && let Some(found) = wrong_certificate(other.0.as_ref())
        {
            return Some(found);
        }
        // An I/O error's source is its payload's source: the payload itself is skipped.
        if let Some(inner) = e
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            && let Some(found) = wrong_certificate(inner)
        {
            return Some(found);
        }
        next = e.source();
    }
    None
}
