//! The Ed25519 keys of evidence: the site's own, which signs, and public ones, which are trusted.
//!
//! A site's private key is a PKCS#8 PEM file that nobody but its owner may read; a file that
//! others can read is refused, not repaired, because the key may be known already. The public key
//! is an SPKI PEM file, as `openssl pkey -pubout` writes it.

use std::fmt;

use ed25519_dalek::{
    Signature, Signer, SigningKey, VerifyingKey,
    pkcs8::{
        DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
        spki::der::pem::LineEnding,
    },
};
use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Names a public key: the SHA-256 of its SPKI DER, as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no random bytes.
    #[error("generating a signing key: the system's random source failed")]
    NoRandomness(#[source] rand::rngs::SysError),
    /// The text is not a PKCS#8 PEM with an Ed25519 key.
    #[error("reading a signing key: not an Ed25519 private key in PKCS#8 PEM")]
    NotASigningKey,
    /// The text is not an SPKI PEM with an Ed25519 key.
    #[error("reading a public key: not an Ed25519 public key in PEM")]
    NotAPublicKey,
    /// The public key is one under which anybody can sign.
    #[error("reading a public key: it is a weak one, under which anybody can sign")]
    WeakKey,
    /// The key could not be written as PEM.
    #[error("writing a key as PEM failed")]
    NotEncoded,
}

/// The key with which a site signs. Its `Debug` shows the key id alone.
pub struct SiteKey {
    signing: SigningKey,
    public: PublicKey,
}

impl SiteKey {
    /// A new key from the operating system's random source.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        SysRng
            .try_fill_bytes(&mut *seed)
            .map_err(KeyError::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a seed, for simulations that must give the same key each time.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::new(SigningKey::from_bytes(seed))
    }

    fn new(signing: SigningKey) -> Self {
        let public = PublicKey::new(signing.verifying_key());
        Self { signing, public }
    }

    /// Reads a PKCS#8 PEM.
    ///
    /// # Errors
    /// When it is anything else, or a key of another algorithm.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let signing = SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::NotASigningKey)?;
        Ok(Self::new(signing))
    }

    /// The key as PKCS#8 PEM, in its version 1: OpenSSL does not read the one with a public part.
    ///
    /// # Errors
    /// When encoding fails, which no key of the right length makes happen.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let bytes = KeypairBytes {
            secret_key: self.signing.to_bytes(),
            public_key: None,
        };
        bytes
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::NotEncoded)
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The name of the public half.
    pub fn id(&self) -> &KeyId {
        &self.public.id
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SiteKey({})", self.public.id)
    }
}

/// A public key under which evidence can be checked. Its JSON is its PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    fn new(key: VerifyingKey) -> Self {
        // SPKI of Ed25519 is a constant head and the 32 bytes of the key (RFC 8410).
        const HEAD: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
        let mut hasher = Sha256::new();
        hasher.update(HEAD);
        hasher.update(key.as_bytes());
        let id = KeyId(crate::hex::encode(&hasher.finalize()));
        Self { key, id }
    }

    /// Reads an SPKI PEM.
    ///
    /// # Errors
    /// When it is anything else, a key of another algorithm, or a weak key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_public_key_pem(pem).map_err(|_| KeyError::NotAPublicKey)?;
        if key.is_weak() {
            return Err(KeyError::WeakKey);
        }
        Ok(Self::new(key))
    }

    /// The key as SPKI PEM.
    ///
    /// # Errors
    /// When encoding fails, which no key of the right length makes happen.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.key
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| KeyError::NotEncoded)
    }

    /// The key's name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether `signature` is this key's over `message`; the strict check, which refuses the
    /// second spellings of a signature that plain Ed25519 lets through.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.key.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", self.id)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_pem().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_pem(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8410, section 10, as OpenSSL writes it.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn reads_and_writes_what_openssl_does() {
        let key = SiteKey::from_pem(PRIVATE).expect("a private key");
        assert_eq!(&*key.to_pem().expect("PEM"), PRIVATE);
        assert_eq!(key.public().to_pem().expect("PEM"), PUBLIC);
        assert_eq!(
            PublicKey::from_pem(PUBLIC).expect("a public key"),
            *key.public()
        );
        let spki = key.public().key.to_public_key_der().expect("DER");
        assert_eq!(
            key.id().0,
            crate::hex::encode(&Sha256::digest(spki.as_bytes()))
        );
    }

    #[test]
    fn refuses_other_files() {
        assert!(matches!(
            SiteKey::from_pem(PUBLIC),
            Err(KeyError::NotASigningKey)
        ));
        assert!(matches!(
            PublicKey::from_pem(PRIVATE),
            Err(KeyError::NotAPublicKey)
        ));
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak = VerifyingKey::from_bytes(&identity).expect("a point");
        let pem = PublicKey::new(weak).to_pem().expect("PEM");
        assert!(matches!(PublicKey::from_pem(&pem), Err(KeyError::WeakKey)));
    }

    #[test]
    fn generated_keys_differ_and_hide_themselves() {
        let (one, other) = (
            SiteKey::generate().expect("a key"),
            SiteKey::generate().expect("a key"),
        );
        assert_ne!(one.id(), other.id());
        assert_eq!(format!("{one:?}"), format!("SiteKey({})", one.id()));
    }
}
