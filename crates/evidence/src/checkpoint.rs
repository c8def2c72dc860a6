//! The signed head of the audit log, in the checkpoint format of C2SP tlog.
//!
//! Three lines (the log's origin, its number of rows, its root) in a [`crate::note`] that the site
//! signed under the origin's name. Whoever kept an earlier checkpoint can hold the site to it with
//! a consistency proof. See <https://c2sp.org/tlog-checkpoint>.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    keys::{KeyId, SiteKey},
    merkle::TreeHash,
    note::{self, NoteError},
    trust::TrustedKeys,
};

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log it is, such as `billet.example.org/audit`: no white space, no plus sign.
    pub origin: String,
    /// The number of rows in the log.
    pub size: u64,
    /// The root of the tree over them.
    pub root: TreeHash,
}

/// Why a checkpoint is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note that carries it does not hold.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note holds, and its text is not a checkpoint.
    #[error("reading a checkpoint: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The checkpoint is another log's.
    #[error("checking a checkpoint: it is of the log {found:?}, not {wanted:?}")]
    WrongOrigin {
        /// The origin that was found.
        found: String,
        /// The origin that was asked for.
        wanted: String,
    },
}

impl Checkpoint {
    /// The note with this checkpoint, signed under the origin's name.
    ///
    /// # Errors
    /// When the origin cannot be a signer's name.
    pub fn sign(&self, key: &SiteKey) -> Result<String, NoteError> {
        let root = STANDARD.encode(self.root.0);
        let text = format!("{}\n{}\n{root}\n", self.origin, self.size);
        note::sign(&text, &self.origin, key)
    }

    /// Reads a note and checks that a trusted key signed it for the log `origin`.
    ///
    /// # Errors
    /// When it is not a checkpoint, is another log's, or its signature does not hold.
    pub fn verify(
        note: &[u8],
        origin: &str,
        trusted: &TrustedKeys,
    ) -> Result<(Self, KeyId), CheckpointError> {
        let (text, keyid) = note::verify(note, origin, trusted)?;
        let checkpoint = Self::parse(text)?;
        if checkpoint.origin != origin {
            return Err(CheckpointError::WrongOrigin {
                found: checkpoint.origin,
                wanted: origin.to_owned(),
            });
        }
        Ok((checkpoint, keyid))
    }

    /// Reads a note's text. Lines after the third are for extensions and mean nothing here.
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |what| CheckpointError::Malformed { what };
        let mut lines = text.split_terminator('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed("it has fewer than three lines"));
        };
        if lines.any(str::is_empty) {
            return Err(malformed("it has an empty line"));
        }
        let number: u64 = size
            .parse()
            .map_err(|_| malformed("its size is not a number"))?;
        if number.to_string() != size {
            return Err(malformed("its size is not written plainly"));
        }
        let root = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| malformed("its root is not 32 bytes in base64"))?;
        if !note::is_name(origin) {
            return Err(malformed("its origin is not a name"));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: number,
            root: TreeHash(root),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    const ORIGIN: &str = "billet.example/audit";

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size: 2,
            root: TreeHash::node(&TreeHash::leaf(b"one"), &TreeHash::leaf(b"two")),
        }
    }

    /// Built by the letter of the specification, with nothing of this crate but the key.
    fn expected(text: &str, key: &SiteKey) -> String {
        let mut hashed = format!("{ORIGIN}\n").into_bytes();
        hashed.push(1);
        hashed.extend_from_slice(key.public().as_bytes());
        let mut blob = Sha256::digest(hashed)[..4].to_vec();
        blob.extend_from_slice(&key.sign(text.as_bytes()));
        format!("{text}\n— {ORIGIN} {}\n", STANDARD.encode(blob))
    }

    #[test]
    fn is_written_by_the_specification_and_read_back() {
        let key = SiteKey::from_seed(&[3; 32]);
        let leaf = |content: &[u8]| Sha256::digest([&[0], content].concat());
        let root = Sha256::digest([&[1], &leaf(b"one")[..], &leaf(b"two")[..]].concat());
        let text = format!("{ORIGIN}\n2\n{}\n", STANDARD.encode(root));
        let note = checkpoint().sign(&key).expect("a note");
        assert_eq!(note, expected(&text, &key));

        let trusted = TrustedKeys::from(key.public().clone());
        let (read, keyid) =
            Checkpoint::verify(note.as_bytes(), ORIGIN, &trusted).expect("verified");
        assert_eq!((read, &keyid), (checkpoint(), key.id()));

        let extended = expected(&format!("{text}an extension\n"), &key);
        assert!(Checkpoint::verify(extended.as_bytes(), ORIGIN, &trusted).is_ok());
    }

    #[test]
    fn signed_nonsense_is_still_nonsense() {
        let key = SiteKey::from_seed(&[3; 32]);
        let trusted = TrustedKeys::from(key.public().clone());
        let root = STANDARD.encode(checkpoint().root.0);
        for text in [
            format!("{ORIGIN}\n2\n"),
            format!("{ORIGIN}\n02\n{root}\n"),
            format!("{ORIGIN}\n+2\n{root}\n"),
            format!("{ORIGIN}\n-2\n{root}\n"),
            format!("{ORIGIN}\n2\n{}\n", &root[4..]),
            format!("\n2\n{root}\n"),
        ] {
            let outcome = Checkpoint::verify(expected(&text, &key).as_bytes(), ORIGIN, &trusted);
            assert!(
                matches!(outcome, Err(CheckpointError::Malformed { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn another_logs_head_is_refused() {
        let key = SiteKey::from_seed(&[3; 32]);
        let trusted = TrustedKeys::from(key.public().clone());
        let note = checkpoint().sign(&key).expect("a note");
        assert!(matches!(
            Checkpoint::verify(note.as_bytes(), "billet.example/other", &trusted),
            Err(CheckpointError::Note(NoteError::UnknownSigner { .. }))
        ));
        let root = STANDARD.encode(checkpoint().root.0);
        let text = format!("billet.example/other\n2\n{root}\n");
        let note = expected(&text, &key);
        assert!(matches!(
            Checkpoint::verify(note.as_bytes(), ORIGIN, &trusted),
            Err(CheckpointError::WrongOrigin { .. })
        ));
    }
}
