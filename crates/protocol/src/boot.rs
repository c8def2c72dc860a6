//! What is a machine's own beside the ramdisk that is the same for all.
//!
//! The record stands twice on a boot medium: as a credential next to the UKI
//! (the stub hands it to the ramdisk as `/.extra/credentials/billet-boot.cred`),
//! and after [`MAGIC`] within the last [`TAIL_BYTES`] of the image.

use billet_model::{Secret, site::Address};
use serde::{Deserialize, Serialize};

/// Marks the record at the end of an image: the bytes after it are
/// an ASCII decimal length, a newline, and so many bytes of JSON.
pub const MAGIC: &[u8] = b"\nBILLET-BOOT-RECORD-V1 ";

/// The record lies within so many bytes of the image's end.
pub const TAIL_BYTES: u64 = 64 * 1024;

/// Largest encoded record.
pub const MAX_BYTES: usize = 16 * 1024;

/// File name of the credential beside the UKI.
pub const CREDENTIAL: &str = "billet-boot.cred";

/// A machine's own, for one boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BootRecord {
    /// Base URLs of the control plane, as reached from the machine
    /// (`https://10.88.0.1:8443`), in order of preference.
    pub servers: Vec<String>,
    /// The control plane's authority, PEM: the only one that is trusted.
    pub authority: String,
    /// The token of this boot.
    pub token: Secret,
    /// Addresses for the ramdisk; none means DHCP.
    pub addresses: Vec<Address>,
    /// The time when it was made, for machines whose clock is wrong.
    pub made_at: jiff::Timestamp,
}

#[derive(Serialize)]
struct Plain<'a> {
    servers: &'a [String],
    authority: &'a str,
    token: &'a str,
    addresses: &'a [Address],
    made_at: jiff::Timestamp,
}

impl BootRecord {
    /// The record as JSON, secret included: goes onto a boot medium and nowhere else.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&Plain {
            servers: &self.servers,
            authority: &self.authority,
            token: self.token.expose(),
            addresses: &self.addresses,
            made_at: self.made_at,
        })
        .unwrap_or_default()
    }

    /// Reads a record from JSON.
    ///
    /// # Errors
    /// When it is not one.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The bytes that stand at an image's end: magic, length, JSON.
    pub fn to_tail(&self) -> Vec<u8> {
        let json = self.to_json();
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
        let json = rest.get(line + 1..)?.get(..length.min(MAX_BYTES))?;
        Self::from_json(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_at_the_end_of_an_image() -> Result<(), serde_json::Error> {
        let record = BootRecord {
            servers: vec!["https://10.88.0.1:8443".into()],
            authority: "-----BEGIN CERTIFICATE-----".into(),
            token: Secret::new("t0ken"),
            addresses: vec![],
            made_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut image = vec![7; 9000];
        image.extend(record.to_tail());
        image.extend(vec![0; 3000]);
        assert_eq!(BootRecord::find(&image), Some(record.clone()));
        assert_eq!(BootRecord::find(&image[..9010]), None);
        assert_eq!(BootRecord::from_json(&record.to_json())?, record);
        Ok(())
    }
}
