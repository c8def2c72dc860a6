//! How a server is known again: by its authority's certificate, or by its own.
//!
//! A server's authority is its own, so no public one vouches for it. Whoever runs it hands out a
//! fingerprint; [`Trust::recognise`] looks for it among the certificates that the server shows and
//! keeps what it found. Nothing secret is sent before that.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use url::Url;

use crate::error::{ClientError, root_cause};

/// SHA-256 of a certificate's DER. Written as 64 hexadecimal digits; read also in capitals, with
/// colons between bytes, and with `sha256:` before.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// What is wrong with a text that was meant as a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint: use the SHA-256 of a certificate, 64 hexadecimal digits")]
pub struct InvalidFingerprint(String);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let invalid = || InvalidFingerprint(text.chars().take(120).collect());
        let lower = text.trim().to_ascii_lowercase();
        let digits: Vec<u8> = lower
            .strip_prefix("sha256:")
            .unwrap_or(&lower)
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| match byte {
                b'0'..=b'9' => Ok(byte - b'0'),
                b'a'..=b'f' => Ok(byte - b'a' + 10),
                _ => Err(invalid()),
            })
            .collect::<Result<_, _>>()?;
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        if digits.len() != 64 {
            return Err(invalid());
        }
        bytes.try_into().map(Self).map_err(|_| invalid())
    }
}

/// How a server is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By a certificate that this authority signed, in the name under which it is reached. PEM.
    Authority(String),
    /// By its own certificate, whatever name that has.
    Leaf(Fingerprint),
}

impl Trust {
    /// Connects to `server`, looks at the certificates that it shows, and keeps the one with the
    /// fingerprint `wanted`. Sends nothing.
    ///
    /// # Errors
    /// [`ClientError::WrongFingerprint`] when none has it; [`ClientError::Unreachable`] when there
    /// is no TLS server there.
    pub async fn recognise(server: &Url, wanted: Fingerprint) -> Result<Self, ClientError> {
        let chain = shown_chain(server).await?;
        match chain.iter().position(|c| Fingerprint::of(c) == wanted) {
            Some(0) => Ok(Self::Leaf(wanted)),
            Some(position) => Ok(Self::Authority(to_pem(&chain[position]))),
            None => Err(ClientError::WrongFingerprint {
                server: server.to_string(),
                wanted,
                shown: chain.iter().map(Fingerprint::of).collect(),
            }),
        }
    }

    /// The fingerprints of the certificates that `server` shows, its own first, the authority last.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when there is no TLS server there.
    pub async fn shown(server: &Url) -> Result<Vec<Fingerprint>, ClientError> {
        let chain = shown_chain(server).await?;
        Ok(chain.iter().map(Fingerprint::of).collect())
    }

    /// The fingerprint of what is trusted; nothing where the authority's PEM is not one.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Leaf(fingerprint) => Some(*fingerprint),
            Self::Authority(pem) => CertificateDer::from_pem_slice(pem.as_bytes())
                .ok()
                .map(|certificate| Fingerprint::of(&certificate)),
        }
    }

    /// TLS settings that accept this server and no other.
    pub(crate) fn tls(&self) -> Result<ClientConfig, ClientError> {
        let setup = |detail: String| ClientError::Setup { detail };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(error.to_string()))?;
        Ok(match self {
            Self::Authority(pem) => {
                let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
                    .map_err(|_| setup("the authority's certificate is not PEM".to_owned()))?;
                let mut roots = RootCertStore::empty();
                roots.add(certificate).map_err(|error| {
                    setup(format!(
                        "the authority's certificate cannot be used: {error}"
                    ))
                })?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Self::Leaf(wanted) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned {
                    wanted: Some(*wanted),
                    provider,
                }))
                .with_no_client_auth(),
        })
    }
}

/// Accepts one certificate, or any where none is `wanted`: the name does not count.
#[derive(Debug)]
struct Pinned {
    wanted: Option<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Fingerprint::of(end_entity);
        match self.wanted {
            Some(wanted) if wanted != shown => Err(rustls::Error::General(format!(
                "it has the fingerprint {shown}, not {wanted}"
            ))),
            _ => Ok(ServerCertVerified::assertion()),
        }
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

/// How long a look at a server's certificates may take.
const LOOK: Duration = Duration::from_secs(10);

async fn shown_chain(server: &Url) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let unreachable = |detail: String| ClientError::Unreachable {
        server: server.to_string(),
        detail,
    };
    let look = async {
        let host = server
            .host_str()
            .ok_or_else(|| unreachable("the URL has no host".to_owned()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = server.port_or_known_default().unwrap_or(443);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| unreachable(format!("{host:?} is neither a name nor an address")))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unreachable(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned {
                wanted: None,
                provider,
            }))
            .with_no_client_auth();
        let tcp = tokio::net::TcpStream::connect((host, port))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .map_err(|error| unreachable(root_cause(&error)))?;
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(chain.iter().map(|c| c.clone().into_owned()).collect())
    };
    tokio::time::timeout(LOOK, look)
        .await
        .map_err(|_| unreachable(format!("no answer in {} seconds", LOOK.as_secs())))?
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let body = STANDARD.encode(certificate.as_ref());
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (position, character) in body.chars().enumerate() {
        if position > 0 && position % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let plain = "0123456789abcdef".repeat(4);
        let print: Fingerprint = plain.parse().expect("a fingerprint");
        assert_eq!(print.to_string(), plain);
        let colons: Vec<String> = plain
            .to_uppercase()
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).into_owned())
            .collect();
        for same in [
            format!("sha256:{plain}"),
            format!(" {plain}\n"),
            colons.join(":"),
            format!("SHA256:{}", colons.join(":")),
        ] {
            assert_eq!(same.parse(), Ok(print), "{same}");
        }
        let (short, long) = (&plain[1..], format!("{plain}0"));
        for bad in ["", "abc", short, long.as_str(), &plain.replace('0', "g")] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn pem_comes_back_as_it_was() {
        let certificate = CertificateDer::from(vec![7; 100]);
        let pem = to_pem(&certificate);
        assert_eq!(
            CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM"),
            certificate
        );
        let authority = Trust::Authority(pem);
        assert_eq!(authority.fingerprint(), Some(Fingerprint::of(&certificate)));
    }
}
