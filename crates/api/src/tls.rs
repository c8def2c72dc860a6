//! The control plane's own certificate authority, and the server certificates
//! that it issues.
//!
//! Made on first start: the authority's key in the keys' directory (mode 0600),
//! its certificate with the data. Everybody who talks to Billet trusts this one
//! certificate and no other: `billet login` by its fingerprint, machines from
//! their boot record. A server certificate is never kept: each start issues one,
//! and it is renewed long before its end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};

/// File of the authority's key, in the keys' directory.
pub const KEY_FILE: &str = "authority.key";
/// File of the authority's certificate, in the data directory.
pub const CERTIFICATE_FILE: &str = "authority.pem";

/// For how many days a server certificate is good.
const SERVER_DAYS: i64 = 90;
/// After how many days it is renewed.
pub(crate) const RENEW_DAYS: u64 = 30;
/// For how many years the authority is good.
const AUTHORITY_YEARS: i64 = 20;

/// Why there is no authority, or no certificate of it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The certificate is there and its key is not.
    #[error(
        "the authority's certificate {} is there, but its key {} is not: put the key back, or \
         remove the certificate to make a new authority, which everyone must then trust anew",
        certificate.display(), key.display()
    )]
    KeyMissing {
        /// The certificate.
        certificate: PathBuf,
        /// Where its key should be.
        key: PathBuf,
    },
    /// Others than its owner can reach the key.
    #[error("the authority's key {} has mode {mode:04o}: `chmod 600` it, if nobody has read it", path.display())]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Key and certificate are not each other's.
    #[error("the authority's key {} is not that of its certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// A name that no certificate can carry.
    #[error("making a certificate for {names:?}: {reason}")]
    Certificate {
        /// The names it was to carry.
        names: Vec<String>,
        /// Why not.
        reason: String,
    },
}

/// The authority: its certificate, and the key that signs with it.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

impl Authority {
    /// Opens the authority of this control plane, and makes it where there is none.
    ///
    /// # Errors
    /// When a file cannot be read or written, when one of the two is missing or
    /// not the other's, or when others can reach the key.
    pub fn open(keys: &Path, data: &Path) -> Result<Self, TlsError> {
        let now = Timestamp::now();
        let key_path = keys.join(KEY_FILE);
        let certificate_path = data.join(CERTIFICATE_FILE);
        let key = match read_key(&key_path)? {
            Some(key) => key,
            None if certificate_path.exists() => {
                return Err(TlsError::KeyMissing {
                    certificate: certificate_path,
                    key: key_path,
                });
            }
            None => {
                let key = KeyPair::generate().map_err(|e| refused(&[], &e))?;
                write_new(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
                tracing::info!(path = %key_path.display(), "made the authority's key");
                key
            }
        };
        let pem = match fs::read_to_string(&certificate_path) {
            Ok(pem) => pem,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let pem = self_signed(&key, now)?;
                write_new(&certificate_path, pem.as_bytes(), 0o644)?;
                pem
            }
            Err(e) => return Err(failed("reading", &certificate_path, e)),
        };
        let mismatch = || TlsError::Mismatch {
            key: key_path.clone(),
            certificate: certificate_path.clone(),
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| mismatch())?;
        let spki = key.public_key_raw().to_vec();
        // The public key stands in the certificate byte for byte.
        if !der.windows(spki.len()).any(|window| window == spki) {
            return Err(mismatch());
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|e| refused(&[], &e))?;
        Ok(Self { pem, der, issuer })
    }

    /// The certificate, PEM: what machines and clients trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the certificate, lower-case hex: what `billet login` is given.
    pub fn fingerprint(&self) -> String {
        crate::hex(&Sha256::digest(&self.der))
    }

    /// A TLS configuration with a fresh certificate for `names` and the loopback.
    /// The authority's certificate is sent along, so that a client that knows
    /// only its fingerprint can find it.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn server_config(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
        for name in names {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        let key = KeyPair::generate().map_err(|e| refused(&all, &e))?;
        let mut params = CertificateParams::new(all.clone()).map_err(|e| refused(&all, &e))?;
        params.distinguished_name = distinguished("Billet");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = validity(now, SERVER_DAYS.days())?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|e| refused(&all, &e))?;
        let chain = vec![certificate.der().clone(), self.der.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|e| refused(&all, &e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn self_signed(key: &KeyPair, now: Timestamp) -> Result<String, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished("Billet authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(now, (AUTHORITY_YEARS * 365).days())?;
    let certificate = params.self_signed(key).map_err(|e| refused(&[], &e))?;
    Ok(certificate.pem())
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, "Billet");
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From two days before `now`, for clocks that are behind, until `span` after it.
fn validity(
    now: Timestamp,
    span: jiff::Span,
) -> Result<(time::OffsetDateTime, time::OffsetDateTime), TlsError> {
    let day = |span: jiff::Span| {
        let date = now.to_zoned(TimeZone::UTC).date().checked_add(span);
        date.map_err(|e| refused(&[], &e)).map(|date| {
            let small = |n: i8| u8::try_from(n).unwrap_or(1);
            rcgen::date_time_ymd(
                i32::from(date.year()),
                small(date.month()),
                small(date.day()),
            )
        })
    };
    Ok((day(-2.days())?, day(span)?))
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, TlsError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("opening", path, e)),
    };
    let mode = file
        .metadata()
        .map_err(|e| failed("looking at", path, e))?
        .mode()
        & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let pem = io::read_to_string(file).map_err(|e| failed("reading", path, e))?;
    KeyPair::from_pem(&pem)
        .map(Some)
        .map_err(|e| failed("reading the key in", path, io::Error::other(e)))
}

/// Writes a file that appears whole or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| failed("making the directory", parent, e))?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".new");
    let partial = PathBuf::from(partial);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|e| failed("writing", &partial, e))?;
    fs::rename(&partial, path).map_err(|e| failed("moving into place", path, e))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> TlsError {
    TlsError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn refused(names: &[String], reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Certificate {
        names: names.to_vec(),
        reason: reason.to_string(),
    }
}
