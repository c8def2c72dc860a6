//! A tenant's own installer and the control plane: what stands at the end of its
//! boot medium, and the addresses behind which it finds what is its lease's.

use billet_model::Secret;
use serde::{Deserialize, Serialize};

/// Path of an installation: its token is behind it, and behind that one of
/// [`INSTALLED`] and its like.
pub const PATH: &str = "/install/v1/";

/// To be called once, with POST or GET: the installer is done.
pub const INSTALLED: &str = "installed";
/// The lease's SSH public keys, one on a line.
pub const SSH_KEYS: &str = "ssh-keys";
/// The lease's user data, as they were given.
pub const USER_DATA: &str = "user-data";
/// What the lease's machine is told of the lease, JSON.
pub const METADATA: &str = "metadata";

/// Marks the record at the end of an image: the bytes after it are an ASCII
/// decimal length, a newline, and so many bytes of JSON.
pub const MAGIC: &[u8] = b"\nBILLET-INSTALL-RECORD-V1 ";

/// Most characters of a text that the record has in it.
const TEXT: usize = 4 * 1024;

/// What an installer's medium is of. It stands at the end of the medium, where a
/// machine that only pretends finds it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InstallRecord {
    /// The lease's id.
    pub lease: String,
    /// Digest of the install configuration.
    pub digest: String,
    /// The installation's own address; there is a token in it.
    pub url: Secret,
    /// The command line or script with the lease's values: at most its first
    /// 4096 bytes.
    pub text: Secret,
}

#[derive(Serialize)]
struct Plain<'a> {
    lease: &'a str,
    digest: &'a str,
    url: &'a str,
    text: &'a str,
}

impl InstallRecord {
    /// The bytes that stand at an image's end, secrets included: they go onto a
    /// boot medium and nowhere else.
    pub fn to_tail(&self) -> Vec<u8> {
        let text = self.text.expose();
        let end = (0..=TEXT.min(text.len()))
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        let json = serde_json::to_vec(&Plain {
            lease: &self.lease,
            digest: &self.digest,
            url: self.url.expose(),
            text: &text[..end],
        })
        .unwrap_or_default();
        let mut tail = MAGIC.to_vec();
        tail.extend(format!("{}\n", json.len()).bytes());
        tail.extend(json);
        tail
    }

    /// Finds the record in the last bytes of an image.
    pub fn find(tail: &[u8]) -> Option<Self> {
        let at = tail.windows(MAGIC.len()).rposition(|w| w == MAGIC)? + MAGIC.len();
        let rest = tail.get(at..)?;
        let line = rest.iter().position(|b| *b == b'\n')?;
        let length: usize = std::str::from_utf8(rest.get(..line)?).ok()?.parse().ok()?;
        let json = rest.get(line + 1..)?.get(..length)?;
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_at_the_end_of_an_image() {
        let mut record = InstallRecord {
            lease: "l".into(),
            digest: "d".into(),
            url: Secret::new("https://10.0.0.1/install/v1/t"),
            text: Secret::new("quiet"),
        };
        let mut image = vec![7; 9000];
        image.extend(record.to_tail());
        image.extend(vec![0; 3000]);
        assert_eq!(InstallRecord::find(&image), Some(record.clone()));
        assert_eq!(InstallRecord::find(&image[..9020]), None);
        record.text = Secret::new("ü".repeat(TEXT));
        let cut = InstallRecord::find(&record.to_tail()).expect("it is there");
        assert_eq!(cut.text.expose().len(), TEXT);
    }
}
