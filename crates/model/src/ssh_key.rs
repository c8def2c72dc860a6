//! SSH public keys in OpenSSH's form, as far as to know one that can be used from
//! one that cannot: a key that is mistyped or cut off locks its owner out, and is
//! better refused where it is given than found out where nobody can get in.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Longest key taken, in characters.
const LONGEST: usize = 16 * 1024;
/// Shortest RSA modulus that OpenSSH takes, in bits.
const RSA_BITS: usize = 1024;

/// Why something is no SSH public key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyError {
    /// It does not look like one.
    #[error("is not an SSH public key in OpenSSH's form (`ssh-ed25519 AAAA… comment`)")]
    NotOne,
    /// A kind that is not known, or not used any more.
    #[error(
        "is of the kind {0:?}, which is not taken: use ssh-ed25519, ecdsa-sha2-nistp256, -nistp384 or -nistp521, ssh-rsa, or a security key's"
    )]
    Kind(String),
    /// Its body is not whole.
    #[error(
        "is damaged: what follows {kind} is not a key of that kind ({why}); copy it anew from its .pub file"
    )]
    Damaged {
        /// The kind.
        kind: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// An RSA key that no OpenSSH takes.
    #[error("is an RSA key of {0} bits, and SSH servers take none below {RSA_BITS}")]
    Short(usize),
}

/// The kinds, and what each is made of.
const KINDS: &[(&str, &[Part])] = &[
    ("ssh-ed25519", &[Part::Bytes(32)]),
    ("ssh-rsa", &[Part::Number, Part::Modulus]),
    (
        "ecdsa-sha2-nistp256",
        &[Part::Text("nistp256"), Part::Point(32)],
    ),
    (
        "ecdsa-sha2-nistp384",
        &[Part::Text("nistp384"), Part::Point(48)],
    ),
    (
        "ecdsa-sha2-nistp521",
        &[Part::Text("nistp521"), Part::Point(66)],
    ),
    (
        "sk-ssh-ed25519@openssh.com",
        &[Part::Bytes(32), Part::Anything],
    ),
    (
        "sk-ecdsa-sha2-nistp256@openssh.com",
        &[Part::Text("nistp256"), Part::Point(32), Part::Anything],
    ),
];

/// A part of a key's body: each has its length before it.
enum Part {
    Text(&'static str),
    Bytes(usize),
    /// A point of a curve, not compressed, with coordinates of so many bytes.
    Point(usize),
    Number,
    Modulus,
    Anything,
}

/// Whether a line is an SSH public key that can be used.
///
/// # Errors
/// What is wrong with it; to be said after the key's beginning.
pub fn check(line: &str) -> Result<(), SshKeyError> {
    let line = line.trim();
    if line.len() > LONGEST || line.contains(['\n', '\r', '\0']) {
        return Err(SshKeyError::NotOne);
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(word), Some(body)) = (words.next(), words.next()) else {
        return Err(SshKeyError::NotOne);
    };
    if !(word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-")) {
        return Err(SshKeyError::NotOne);
    }
    let Some((kind, parts)) = KINDS.iter().find(|(kind, _)| *kind == word) else {
        return Err(SshKeyError::Kind(word.chars().take(64).collect()));
    };
    let damaged = |why| SshKeyError::Damaged { kind, why };
    let bytes = STANDARD
        .decode(body)
        .map_err(|_| damaged("it is not whole base64"))?;
    let mut rest = bytes.as_slice();
    let mut next = || next(&mut rest).ok_or_else(|| damaged("it ends too early"));
    if next()? != kind.as_bytes() {
        return Err(damaged("it says that it is of another kind"));
    }
    for part in *parts {
        let bytes = next()?;
        let fits = match part {
            Part::Text(text) => bytes == text.as_bytes(),
            Part::Bytes(length) => bytes.len() == *length,
            Part::Point(size) => bytes.len() == 1 + 2 * size && bytes.first() == Some(&4),
            Part::Number | Part::Modulus => {
                bytes.first().is_some_and(|first| *first < 0x80)
                    && bytes.iter().any(|byte| *byte != 0)
            }
            Part::Anything => !bytes.is_empty() && std::str::from_utf8(bytes).is_ok(),
        };
        if !fits {
            return Err(damaged("a part of it has another form"));
        }
        if let Part::Modulus = part {
            let zeros: usize = bytes.iter().take_while(|b| **b == 0).count();
            let first = bytes.get(zeros).map_or(0, |b| b.leading_zeros() as usize);
            let bits = (bytes.len() - zeros) * 8 - first;
            if bits < RSA_BITS {
                return Err(SshKeyError::Short(bits));
            }
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(damaged("it goes on beyond its end"))
    }
}

/// The next piece, which has its length in four bytes before it.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (piece, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz me@here";

    fn made(kind: &str, parts: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for part in [kind.as_bytes()].iter().chain(parts) {
            bytes.extend(u32::try_from(part.len()).expect("small").to_be_bytes());
            bytes.extend_from_slice(part);
        }
        format!("{kind} {}", STANDARD.encode(bytes))
    }

    fn point(size: usize) -> Vec<u8> {
        let mut bytes = vec![4];
        bytes.resize(1 + 2 * size, 7);
        bytes
    }

    fn modulus(bytes: usize) -> Vec<u8> {
        let mut number = vec![0, 0x80];
        number.resize(1 + bytes, 7);
        number
    }

    #[test]
    fn keys_of_each_kind_are_taken() {
        let keys = [
            ED25519.to_owned(),
            made("ssh-rsa", &[&[1, 0, 1], &modulus(256)]),
            made("ecdsa-sha2-nistp256", &[b"nistp256", &point(32)]),
            made("ecdsa-sha2-nistp384", &[b"nistp384", &point(48)]),
            made("ecdsa-sha2-nistp521", &[b"nistp521", &point(66)]),
            made("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]),
            made(
                "sk-ecdsa-sha2-nistp256@openssh.com",
                &[b"nistp256", &point(32), b"ssh:"],
            ),
        ];
        for key in keys {
            assert_eq!(check(&key), Ok(()), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let body = ED25519.split(' ').nth(1).expect("a body");
        let short = |n: usize| format!("ssh-ed25519 {}", &body[..body.len() - n]);
        for (key, said) in [
            (String::new(), "is not an SSH public key"),
            ("hello there".into(), "is not an SSH public key"),
            ("ssh-ed25519".into(), "is not an SSH public key"),
            (format!("{ED25519}\n{ED25519}"), "is not an SSH public key"),
            (format!("restrict {ED25519}"), "is not an SSH public key"),
            (made("ssh-dss", &[&[1]]), "which is not taken"),
            (short(1), "is not whole base64"),
            (short(4), "ends too early"),
            (format!("ssh-rsa {body}"), "of another kind"),
            (made("ssh-ed25519", &[&[7; 31]]), "another form"),
            (made("ssh-ed25519", &[&[7; 32], b"x"]), "beyond its end"),
            (
                made("ecdsa-sha2-nistp256", &[b"nistp384", &point(32)]),
                "another form",
            ),
            (made("ssh-rsa", &[&[1, 0, 1], &modulus(64)]), "of 512 bits"),
            (made("ssh-rsa", &[&[], &modulus(256)]), "another form"),
        ] {
            let error = check(&key).expect_err(&key).to_string();
            assert!(error.contains(said), "{key}: {error}");
        }
    }
}
