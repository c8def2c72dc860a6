//! The signed note of C2SP: a text for people and programs, with signatures beneath it.
//!
//! Used for [`crate::checkpoint`] alone. A signer is a name and a key; lines of unknown signers are
//! passed over, so that witnesses may add theirs. See <https://c2sp.org/signed-note>.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::{
    keys::{KeyId, PublicKey, SiteKey},
    trust::TrustedKeys,
};

/// The byte that says Ed25519 in a key's hash.
const ED25519: u8 = 0x01;
/// Longer notes are refused unread: a checkpoint has a few hundred bytes.
const MAX_BYTES: usize = 64 * 1024;
/// More signatures than this are refused unread.
const MAX_SIGNATURES: usize = 100;

/// Why a note could not be signed, or is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// A signer's name must not be empty, nor have white space or a plus sign in it.
    #[error("signing a note: {name:?} cannot be a signer's name")]
    BadName {
        /// The name.
        name: String,
    },
    /// The text must end in a newline and have no other control characters.
    #[error("signing a note: the text does not end in a newline, or has control characters")]
    BadText,
    /// The bytes are not a signed note.
    #[error("reading a signed note: {what}")]
    Malformed {
        /// What is wrong with them.
        what: &'static str,
    },
    /// No trusted key is among the signers of the name that was asked for.
    #[error("checking a signed note: no trusted key signed it as {name:?}")]
    UnknownSigner {
        /// The name that was asked for.
        name: String,
    },
    /// A trusted key is said to have signed this, and did not.
    #[error("checking a signed note: this is not what {keyid} signed; it was changed or forged")]
    BadSignature {
        /// The key that is said to have signed.
        keyid: KeyId,
    },
}

fn malformed(what: &'static str) -> NoteError {
    NoteError::Malformed { what }
}

/// Whether `name` can stand in a signature line.
pub(crate) fn is_name(name: &str) -> bool {
    let unfit =
        |character: char| character.is_whitespace() || character.is_control() || character == '+';
    !name.is_empty() && !name.contains(unfit)
}

fn is_text(text: &str) -> bool {
    text.ends_with('\n') && !text.contains(|c: char| c < ' ' && c != '\n')
}

/// The four bytes by which a signature line names its key.
pub fn key_hash(name: &str, key: &PublicKey) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', ED25519]);
    hasher.update(key.as_bytes());
    let [a, b, c, d, ..]: [u8; 32] = hasher.finalize().into();
    [a, b, c, d]
}

/// The verifier key that other tools take: `name+hash+key`.
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    let mut typed = vec![ED25519];
    typed.extend_from_slice(key.as_bytes());
    let hash = crate::hex::encode(&key_hash(name, key));
    format!("{name}+{hash}+{}", STANDARD.encode(typed))
}

/// Signs `text`, which ends in a newline, as `name`.
///
/// # Errors
/// When the name or the text cannot stand in a note.
pub fn sign(text: &str, name: &str, key: &SiteKey) -> Result<String, NoteError> {
    if !is_name(name) {
        return Err(NoteError::BadName {
            name: name.to_owned(),
        });
    }
    if !is_text(text) {
        return Err(NoteError::BadText);
    }
    let mut blob = key_hash(name, key.public()).to_vec();
    blob.extend_from_slice(&key.sign(text.as_bytes()));
    Ok(format!(
        "{text}\n\u{2014} {name} {}\n",
        STANDARD.encode(blob)
    ))
}

/// Checks that a trusted key signed the note as `name`; gives the text, and the key.
///
/// # Errors
/// When the bytes are not a note, no trusted key signed it, or a signature under a trusted key is
/// wrong.
pub fn verify<'n>(
    note: &'n [u8],
    name: &str,
    trusted: &TrustedKeys,
) -> Result<(&'n str, KeyId), NoteError> {
    if note.len() > MAX_BYTES {
        return Err(malformed("it is too long"));
    }
    let note = std::str::from_utf8(note).map_err(|_| malformed("it is not UTF-8"))?;
    let split = note
        .rfind("\n\n")
        .ok_or_else(|| malformed("it has no signatures"))?;
    let (text, signatures) = (&note[..=split], &note[split + 2..]);
    if !is_text(note) {
        return Err(malformed(
            "it has control characters, or no newline at its end",
        ));
    }

    let lines: Vec<&str> = signatures.split_terminator('\n').collect();
    if lines.is_empty() || lines.len() > MAX_SIGNATURES {
        return Err(malformed("it has no signatures, or too many"));
    }
    let mut signer = None;
    for line in lines {
        let (signed_as, hash, signature) = signature_line(line)?;
        let keys = trusted
            .iter()
            .filter(|key| signed_as == name && key_hash(name, key) == hash);
        for key in keys {
            // Another algorithm's signature cannot have this key's hash, so it is 64 bytes or wrong.
            let right = <&[u8; 64]>::try_from(signature.as_slice())
                .is_ok_and(|signature| key.verifies(text.as_bytes(), signature));
            if !right {
                return Err(NoteError::BadSignature {
                    keyid: key.id().clone(),
                });
            }
            signer.get_or_insert_with(|| key.id().clone());
        }
    }
    let unknown = || NoteError::UnknownSigner {
        name: name.to_owned(),
    };
    Ok((text, signer.ok_or_else(unknown)?))
}

/// Takes a signature line apart: name, key hash, signature.
fn signature_line(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let wrong = || malformed("a signature line is not one");
    let (name, blob) = line
        .strip_prefix("\u{2014} ")
        .and_then(|rest| rest.split_once(' '))
        .ok_or_else(wrong)?;
    let blob = STANDARD.decode(blob).map_err(|_| wrong())?;
    let (hash, signature) = blob.split_first_chunk::<4>().ok_or_else(wrong)?;
    if !is_name(name) || signature.is_empty() {
        return Err(wrong());
    }
    Ok((name, *hash, signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Go's `golang.org/x/mod/sumdb/note`, from which the format comes.
    const SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n";
    const SIGNATURE: &str = "\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn key() -> SiteKey {
        let typed = STANDARD.decode(SEED).expect("base64");
        SiteKey::from_seed(typed[1..].try_into().expect("32 bytes"))
    }

    #[test]
    fn signs_what_go_signs() {
        let key = key();
        assert_eq!(verifier_key("PeterNeumann", key.public()), VERIFIER);
        let note = sign(TEXT, "PeterNeumann", &key).expect("a note");
        assert_eq!(note, format!("{TEXT}{SIGNATURE}"));
        let trusted = TrustedKeys::from(key.public().clone());
        let (text, keyid) = verify(note.as_bytes(), "PeterNeumann", &trusted).expect("verified");
        assert_eq!((text, &keyid), (TEXT, key.id()));
    }

    #[test]
    fn a_changed_byte_is_a_failure() {
        let key = key();
        let note = sign(TEXT, "PeterNeumann", &key)
            .expect("a note")
            .into_bytes();
        let trusted = TrustedKeys::from(key.public().clone());
        for position in 0..note.len() {
            for bit in 0..8 {
                let mut changed = note.clone();
                changed[position] ^= 1 << bit;
                let outcome = verify(&changed, "PeterNeumann", &trusted);
                assert!(outcome.is_err(), "byte {position}, bit {bit}");
            }
        }
    }

    #[test]
    fn others_may_sign_beneath() {
        let (key, other) = (key(), SiteKey::from_seed(&[7; 32]));
        let mut note = sign(TEXT, "PeterNeumann", &key).expect("a note");
        let witness = sign(TEXT, "witness.example", &other).expect("a note");
        note.push_str(&witness[TEXT.len() + 1..]);
        let trusted = TrustedKeys::from(key.public().clone());
        assert!(verify(note.as_bytes(), "PeterNeumann", &trusted).is_ok());
        assert_eq!(
            verify(note.as_bytes(), "witness.example", &trusted),
            Err(NoteError::UnknownSigner {
                name: "witness.example".to_owned()
            })
        );
    }

    #[test]
    fn refuses_what_is_not_a_note() {
        let trusted = TrustedKeys::from(key().public().clone());
        let unended = format!("{TEXT}{}", SIGNATURE.trim_end());
        for bytes in ["", "\n", "text\n", "text\n\n", "text\n\n- a b\n", &unended] {
            let outcome = verify(bytes.as_bytes(), "PeterNeumann", &trusted);
            assert!(
                matches!(outcome, Err(NoteError::Malformed { .. })),
                "{bytes:?}"
            );
        }
        assert!(matches!(
            sign("no end", "a", &key()),
            Err(NoteError::BadText)
        ));
        assert!(matches!(
            sign(TEXT, "a b", &key()),
            Err(NoteError::BadName { .. })
        ));
    }
}
