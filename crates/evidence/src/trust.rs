//! Whose signatures count: a set of public keys, and a site's keyring of present and past ones.
//!
//! A keyring says from when until when each key signed. A statement's own time is only as good as
//! its signature: whoever holds a key of the past can write a past time, so a key that leaked is to
//! be taken out of the ring, not retired.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::keys::{KeyError, KeyId, PublicKey};

/// The public keys that somebody trusts.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys(Vec<PublicKey>);

/// Why a file of trusted keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is neither PEM nor a keyring.
    #[error("reading trusted keys: neither public keys in PEM nor a keyring")]
    Malformed,
    /// The file has no key in it.
    #[error("reading trusted keys: there is no key in it")]
    Empty,
    /// A key in the file cannot be used.
    #[error("reading trusted keys: key {position} cannot be used")]
    Key {
        /// The key's position in the file, from 1.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
}

impl TrustedKeys {
    /// Reads what a person has at hand: one or more public keys in PEM, one after the other, or a
    /// [`Keyring`]'s JSON.
    ///
    /// # Errors
    /// When it is something else, has no key in it, or has one that cannot be used.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TrustError> {
        let text = std::str::from_utf8(bytes).map_err(|_| TrustError::Malformed)?;
        let keys = if text.trim_start().starts_with('{') {
            let ring: Keyring = serde_json::from_str(text).map_err(|_| TrustError::Malformed)?;
            ring.keys
                .into_iter()
                .map(|entry| entry.public_key)
                .collect()
        } else {
            public_keys(text)?
        };
        if keys.is_empty() {
            Err(TrustError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    /// The key with this name.
    pub fn get(&self, id: &KeyId) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.id() == id)
    }

    /// All of the keys.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter()
    }
}

impl From<PublicKey> for TrustedKeys {
    fn from(key: PublicKey) -> Self {
        Self(vec![key])
    }
}

impl FromIterator<PublicKey> for TrustedKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

fn public_keys(text: &str) -> Result<Vec<PublicKey>, TrustError> {
    const END: &str = "-----END PUBLIC KEY-----";
    let mut keys = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let length = rest.find(END).ok_or(TrustError::Malformed)? + END.len();
        let (pem, after) = rest.split_at(length);
        let key = PublicKey::from_pem(pem).map_err(|source| TrustError::Key {
            position: keys.len() + 1,
            source,
        })?;
        keys.push(key);
        rest = after.trim_start();
    }
    Ok(keys)
}

/// A public key with the time in which a site signed with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringEntry {
    /// The key.
    pub public_key: PublicKey,
    /// When the site began to sign with it.
    pub valid_from: Timestamp,
    /// When it stopped; nothing while it still signs.
    pub valid_until: Option<Timestamp>,
}

/// A site's public keys, present and past, oldest first. At most one of them is current.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyring {
    /// The keys with their times.
    pub keys: Vec<KeyringEntry>,
}

impl Keyring {
    /// Makes `key` the current one from `now` on, and ends the one before it.
    ///
    /// A key that is current already stays as it is, so this can be said at every start.
    pub fn rotate(&mut self, key: PublicKey, now: Timestamp) {
        if self.current().is_some_and(|entry| entry.public_key == key) {
            return;
        }
        for entry in self
            .keys
            .iter_mut()
            .filter(|entry| entry.valid_until.is_none())
        {
            entry.valid_until = Some(now);
        }
        self.keys.push(KeyringEntry {
            public_key: key,
            valid_from: now,
            valid_until: None,
        });
    }

    /// The key that signs now.
    pub fn current(&self) -> Option<&KeyringEntry> {
        self.keys
            .iter()
            .rev()
            .find(|entry| entry.valid_until.is_none())
    }

    /// The keys that signed at `time`; for a statement, the time that it gives.
    pub fn trusted_at(&self, time: Timestamp) -> TrustedKeys {
        self.keys
            .iter()
            .filter(|entry| entry.valid_from <= time)
            .filter(|entry| entry.valid_until.is_none_or(|until| time <= until))
            .map(|entry| entry.public_key.clone())
            .collect()
    }

    /// Every key, whatever its time.
    pub fn trusted(&self) -> TrustedKeys {
        self.keys
            .iter()
            .map(|entry| entry.public_key.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SiteKey;

    fn key(seed: u8) -> PublicKey {
        SiteKey::from_seed(&[seed; 32]).public().clone()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn ids(keys: &TrustedKeys) -> Vec<&KeyId> {
        keys.iter().map(PublicKey::id).collect()
    }

    #[test]
    fn rotation_keeps_the_past_listed() {
        let mut ring = Keyring::default();
        ring.rotate(key(1), at(100));
        ring.rotate(key(1), at(150));
        ring.rotate(key(2), at(200));
        assert_eq!(ring.keys.len(), 2);
        assert_eq!(ring.current().map(|entry| &entry.public_key), Some(&key(2)));
        assert_eq!(ids(&ring.trusted_at(at(99))), Vec::<&KeyId>::new());
        assert_eq!(ids(&ring.trusted_at(at(150))), [key(1).id()]);
        assert_eq!(ids(&ring.trusted_at(at(201))), [key(2).id()]);

        let json = serde_json::to_vec(&ring).expect("JSON");
        assert_eq!(
            serde_json::from_slice::<Keyring>(&json).expect("a keyring"),
            ring
        );
        let trusted = TrustedKeys::from_bytes(&json).expect("trusted keys");
        assert_eq!(ids(&trusted), [key(1).id(), key(2).id()]);
    }

    #[test]
    fn reads_pem_files() {
        let (one, two) = (key(1).to_pem().expect("PEM"), key(2).to_pem().expect("PEM"));
        let both = TrustedKeys::from_bytes(format!("{one}\n{two}").as_bytes()).expect("two keys");
        assert_eq!(ids(&both), [key(1).id(), key(2).id()]);
        assert!(both.get(key(3).id()).is_none());
        assert!(matches!(
            TrustedKeys::from_bytes(b" \n"),
            Err(TrustError::Empty)
        ));
        assert!(matches!(
            TrustedKeys::from_bytes(b"{}"),
            Err(TrustError::Malformed)
        ));
        assert!(matches!(
            TrustedKeys::from_bytes(&[0xff]),
            Err(TrustError::Malformed)
        ));
        assert!(matches!(
            TrustedKeys::from_bytes(format!("{one}junk").as_bytes()),
            Err(TrustError::Malformed)
        ));
        let broken = format!("{one}{}", two.replace('M', "A"));
        assert!(matches!(
            TrustedKeys::from_bytes(broken.as_bytes()),
            Err(TrustError::Key { position: 2, .. })
        ));
    }
}
