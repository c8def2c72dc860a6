//! Keys that live outside the data directory: the master key, from which
//! tokens are derived and under which secrets are encrypted, and the key that
//! signs evidence.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use billet_evidence::{Keyring, SiteKey, keyfile};
use billet_model::{
    BootId, LeaseId, MachineId, Secret, Time, api::SigningKey, lease::Lease, step::PasswordForm,
};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::World;

/// What went wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file could not be read or written.
    #[error("{doing} {path}: {source}", path = path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The master key is not one, or readable by others.
    #[error("{path}: {why}", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, and the way out.
        why: String,
    },
    /// The evidence key.
    #[error("the key that signs evidence: {0}")]
    Evidence(#[from] keyfile::KeyFileError),
    /// The evidence key could not be made.
    #[error("the key that signs evidence: {0}")]
    Made(#[from] billet_evidence::KeyError),
    /// A secret could not be opened.
    #[error("a stored secret does not open with this master key: were data and keys mixed up?")]
    NotOurs,
}

/// The keys of a control plane.
pub struct Keys {
    master: Zeroizing<[u8; 32]>,
    evidence: SiteKey,
    ring: Keyring,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys([redacted], signs as {})", self.evidence.id())
    }
}

impl Keys {
    /// Opens the keys in a directory, and makes those that are not there.
    ///
    /// # Errors
    /// When a key cannot be read or written, or others can read it.
    pub fn open(directory: &Path, world: &dyn World) -> Result<Self, KeysError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| file("making the directory", directory, e))?;
        let master = master(&directory.join("master.key"), world)?;
        let path = directory.join("evidence.pem");
        let evidence = if path.exists() {
            keyfile::load(&path)?
        } else {
            let key = SiteKey::generate()?;
            keyfile::save(&key, &path)?;
            key
        };
        let path = directory.join("evidence-keyring.json");
        let mut ring = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| KeysError::Unusable {
                path: path.clone(),
                why: format!("not a keyring: {e}"),
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Keyring::default(),
            Err(e) => return Err(file("reading", &path, e)),
        };
        if ring
            .current()
            .is_none_or(|k| k.public_key.id() != evidence.id())
        {
            ring.rotate(evidence.public().clone(), world.now());
            let bytes = serde_json::to_vec_pretty(&ring).unwrap_or_default();
            write_whole(&path, &bytes)?;
        }
        Ok(Self {
            master,
            evidence,
            ring,
        })
    }

    /// Keys of a seed, for simulations.
    pub fn of_seed(seed: [u8; 32], now: Time) -> Self {
        let evidence = SiteKey::from_seed(&seed);
        let mut ring = Keyring::default();
        ring.rotate(evidence.public().clone(), now);
        Self {
            master: Zeroizing::new(seed),
            evidence,
            ring,
        }
    }

    /// What tells these keys from others without telling anything of them: kept
    /// with the data, so that data and keys that do not belong together are
    /// noticed before a secret is needed.
    pub fn check_value(&self) -> String {
        let mac = self.mac("check value", &[]);
        mac[..8].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The key that signs evidence.
    pub fn evidence(&self) -> &SiteKey {
        &self.evidence
    }

    /// The keys that sign or signed evidence, as shown.
    pub fn signing_keys(&self) -> Vec<SigningKey> {
        self.ring
            .trusted()
            .iter()
            .map(|key| SigningKey {
                keyid: key.id().to_string(),
                public_pem: key.to_pem().unwrap_or_default(),
                current: key.id() == self.evidence.id(),
            })
            .collect()
    }

    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of any length.
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(self.master.as_ref())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(purpose.as_bytes());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn derived(&self, word: &str, id: Uuid, more: &[u8]) -> String {
        let mac = self.mac(word, &[id.as_bytes(), more]);
        let hex: String = mac[..24].iter().map(|b| format!("{b:02x}")).collect();
        format!("{word}-{}-{hex}", id.simple())
    }

    /// The token of a boot. It is derived and not stored; whether it is good is
    /// told by the machine's step.
    pub fn boot_token(&self, boot: BootId) -> Secret {
        Secret::new(self.derived("boot", boot.0, b""))
    }

    /// The boot that a token is of.
    pub fn boot_of(&self, token: &str) -> Option<BootId> {
        let boot = BootId(id_in(token, "boot")?);
        same(token, self.boot_token(boot).expose()).then_some(boot)
    }

    /// The secret part of a boot medium's address.
    pub fn medium_token(&self, boot: BootId) -> Secret {
        Secret::new(self.derived("medium", boot.0, b""))
    }

    /// The boot whose medium an address is of.
    pub fn medium_of(&self, token: &str) -> Option<BootId> {
        let boot = BootId(id_in(token, "medium")?);
        same(token, self.medium_token(boot).expose()).then_some(boot)
    }

    /// The token with which a tenant's machine phones home, once: it is of the
    /// lease, of the operation that deploys it, and of how often that was begun anew.
    pub fn phone_token(&self, lease: &Lease) -> Secret {
        let mut of = lease.operation.0.as_bytes().to_vec();
        if lease.begun_anew > 0 {
            of.extend(lease.begun_anew.to_be_bytes());
        }
        Secret::new(self.derived("home", lease.id.0, &of))
    }

    /// The lease that a phone-home token names. Compare it with
    /// [`Keys::phone_token`] before believing it.
    pub fn phone_names(token: &str) -> Option<LeaseId> {
        id_in(token, "home").map(LeaseId)
    }

    /// The single-use token of a lease's installer, for the operation that installs
    /// it. Derived and not stored.
    pub fn install_token(&self, lease: &Lease) -> Secret {
        Secret::new(self.derived("install", lease.id.0, lease.operation.0.as_bytes()))
    }

    /// The lease that an installer's token names. Compare it with
    /// [`Keys::install_token`] before believing it.
    pub fn install_names(token: &str) -> Option<LeaseId> {
        id_in(token, "install").map(LeaseId)
    }

    /// The token with which a lease's machine reads its metadata, until that
    /// second since 1970: it begins with it.
    pub fn metadata_token(&self, lease: LeaseId, until: i64) -> Secret {
        let mac = self.mac("metadata", &[lease.0.as_bytes(), &until.to_be_bytes()]);
        let hex: String = mac[..24].iter().map(|b| format!("{b:02x}")).collect();
        Secret::new(format!("{until}.{hex}"))
    }

    /// The password of this number and form for a machine's BMC. It follows from
    /// the master key, so that a restored database has lost none for good.
    ///
    /// 16 characters, the most that every BMC takes (IPMI's limit, which some keep
    /// to in Redfish as well), of each class one at least, none that is easily
    /// taken for another.
    pub fn bmc_password(&self, machine: MachineId, number: u32, form: PasswordForm) -> Secret {
        const CLASSES: [&[u8]; 3] = [
            b"ABCDEFGHJKLMNPQRSTUVWXYZ",
            b"abcdefghijkmnpqrstuvwxyz",
            b"23456789",
        ];
        let mac = self.mac(
            "bmc password",
            &[machine.0.as_bytes(), &number.to_be_bytes()],
        );
        let all: Vec<u8> = CLASSES.concat();
        let mut text = String::with_capacity(16);
        for (at, byte) in mac.iter().take(16).enumerate() {
            let of = CLASSES.get(at).copied().unwrap_or(&all);
            text.push(char::from(of[usize::from(*byte) % of.len()]));
        }
        if form == PasswordForm::Marked {
            text.replace_range(7..8, "-");
            text.replace_range(12..13, "_");
        }
        Secret::new(text)
    }

    /// Encrypts a secret, bound to its owner and kind.
    pub fn seal(&self, world: &dyn World, owner: Uuid, kind: &str, plain: &Secret) -> Vec<u8> {
        let mut nonce = [0; 24];
        world.fill(&mut nonce);
        let aad = format!("{owner}/{kind}");
        let payload = Payload {
            msg: plain.expose().as_bytes(),
            aad: aad.as_bytes(),
        };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .unwrap_or_else(|_| unreachable!("encryption in memory does not fail"));
        let mut out = nonce.to_vec();
        out.extend(sealed);
        out
    }

    /// Decrypts what [`Keys::seal`] made for the same owner and kind.
    ///
    /// # Errors
    /// When it was made with other keys or for something else.
    pub fn unseal(&self, owner: Uuid, kind: &str, sealed: &[u8]) -> Result<Secret, KeysError> {
        let (nonce, body) = sealed.split_at_checked(24).ok_or(KeysError::NotOurs)?;
        let nonce: [u8; 24] = nonce.try_into().map_err(|_| KeysError::NotOurs)?;
        let aad = format!("{owner}/{kind}");
        let payload = Payload {
            msg: body,
            aad: aad.as_bytes(),
        };
        let plain = self
            .cipher()
            .decrypt(&XNonce::from(nonce), payload)
            .map_err(|_| KeysError::NotOurs)?;
        String::from_utf8(plain)
            .map(Secret::new)
            .map_err(|_| KeysError::NotOurs)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let key = self.mac("encrypt secrets", &[]);
        XChaCha20Poly1305::new(&key.into())
    }
}

fn id_in(token: &str, word: &str) -> Option<Uuid> {
    let rest = token.strip_prefix(word)?.strip_prefix('-')?;
    let (id, _) = rest.split_once('-')?;
    Uuid::try_parse(id).ok()
}

/// Whether two tokens are the same, in the same time whatever they are.
pub fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn file(doing: &'static str, path: &Path, source: std::io::Error) -> KeysError {
    KeysError::File {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Writes a file for its owner alone; a kill leaves the old one or the new one,
/// and never a part.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), KeysError> {
    let partial = path.with_extension("partial");
    match fs::remove_file(&partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(file("removing", &partial, e));
        }
        _ => {}
    }
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&partial)
        .map_err(|e| file("making", &partial, e))?;
    out.write_all(bytes)
        .and_then(|()| out.sync_all())
        .map_err(|e| file("writing", &partial, e))?;
    fs::rename(&partial, path).map_err(|e| file("moving into place", path, e))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| file("writing", directory, e))
}

fn master(path: &Path, world: &dyn World) -> Result<Zeroizing<[u8; 32]>, KeysError> {
    let mut key = Zeroizing::new([0; 32]);
    match fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => {
            let mode = fs::metadata(path)
                .map_err(|e| file("looking at", path, e))?
                .permissions()
                .mode();
            if mode & 0o077 != 0 {
                return Err(KeysError::Unusable {
                    path: path.to_owned(),
                    why: "others can read the master key: `chmod 600` it, and consider what it protected as known".into(),
                });
            }
            if bytes.len() != key.len() {
                return Err(KeysError::Unusable {
                    path: path.to_owned(),
                    why: "not a master key: restore the file that belongs to this data".into(),
                });
            }
            key.copy_from_slice(&bytes);
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            world.fill(key.as_mut());
            write_whole(path, key.as_ref())?;
        }
        Err(e) => return Err(file("reading", path, e)),
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::System;

    fn keys() -> Keys {
        Keys::of_seed([7; 32], Time::UNIX_EPOCH)
    }

    #[test]
    fn tokens_name_what_they_are_of_and_nothing_else() {
        let keys = keys();
        let boot = BootId::from_parts(1, [1; 10]);
        let token = keys.boot_token(boot);
        assert_eq!(keys.boot_of(token.expose()), Some(boot));
        assert_eq!(keys.medium_of(token.expose()), None);
        let other = BootId::from_parts(2, [2; 10]);
        let forged = token
            .expose()
            .replace(&boot.0.simple().to_string(), &other.0.simple().to_string());
        assert_eq!(keys.boot_of(&forged), None);
        assert_eq!(keys.boot_of("boot-"), None);
        assert_eq!(keys.boot_of(""), None);
    }

    #[test]
    fn keys_are_kept_whole_and_for_their_owner() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        // A kill in the middle of an earlier first start.
        fs::write(dir.path().join("master.partial"), b"half")?;
        let keys = Keys::open(dir.path(), &System)?;
        let again = Keys::open(dir.path(), &System)?;
        assert_eq!(keys.check_value(), again.check_value());
        for entry in fs::read_dir(dir.path())? {
            let entry = entry?;
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        }
        fs::remove_file(dir.path().join("master.key"))?;
        let other = Keys::open(dir.path(), &System)?;
        assert_ne!(keys.check_value(), other.check_value());
        Ok(())
    }

    #[test]
    fn passwords_are_of_every_class_and_each_its_own() {
        let keys = keys();
        let mut seen = std::collections::BTreeSet::new();
        for machine in 1..20 {
            let id = MachineId::from_parts(machine, [1; 10]);
            for number in 0..20 {
                let plain = keys.bmc_password(id, number, PasswordForm::Plain);
                let text = plain.expose();
                assert_eq!(text.len(), 16);
                assert!(text.chars().all(|c| c.is_ascii_alphanumeric()), "{text}");
                for class in [
                    char::is_uppercase as fn(char) -> bool,
                    char::is_lowercase,
                    char::is_numeric,
                ] {
                    assert!(text.chars().any(class), "{text}");
                }
                let marked = keys.bmc_password(id, number, PasswordForm::Marked);
                assert!(marked.expose().contains('-') && marked.expose().contains('_'));
                assert!(seen.insert(text.to_owned()), "{text} was made twice");
            }
        }
    }

    #[test]
    fn a_sealed_secret_opens_for_its_owner_only() -> Result<(), KeysError> {
        let keys = keys();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = keys.seal(&System, a, "bmc", &Secret::new("calvin"));
        assert_eq!(keys.unseal(a, "bmc", &sealed)?.expose(), "calvin");
        assert!(keys.unseal(b, "bmc", &sealed).is_err());
        assert!(keys.unseal(a, "other", &sealed).is_err());
        let mut changed = sealed.clone();
        if let Some(last) = changed.last_mut() {
            *last ^= 1;
        }
        assert!(keys.unseal(a, "bmc", &changed).is_err());
        assert!(!String::from_utf8_lossy(&sealed).contains("calvin"));
        Ok(())
    }
}
