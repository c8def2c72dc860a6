//! The DSSE v1 envelope: bytes, what they are, and who signed them.
//!
//! Billet reads envelopes more strictly than DSSE asks: standard base64 only, a key id on every
//! signature, no members beside the known ones. Thus each byte of an envelope as
//! [`Envelope::to_bytes`] writes it counts, and changing any of them makes verifying fail. White
//! space may be added between tokens, as by a pretty-printer. A signature under an unknown key
//! beside a trusted one is passed over, so that others may add theirs; one under a trusted key
//! must be right. See <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    keys::{KeyId, SiteKey},
    trust::TrustedKeys,
};

/// The payload type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A payload with its signatures, as it lies in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What the payload is, as a media type. It is signed too.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The payload in base64.
    pub payload: String,
    /// At least one signature.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// Whose signature it says it is. Not signed: it only finds the key to check with.
    pub keyid: KeyId,
    /// The 64 bytes of Ed25519 in base64.
    pub sig: String,
}

/// A payload whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPayload {
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// The trusted key that signed them, the first if several did.
    pub keyid: KeyId,
}

/// Why an envelope is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not an envelope.
    #[error("reading the envelope: {what}")]
    Malformed {
        /// What is wrong with them.
        what: &'static str,
        /// Where the JSON is wrong, if it is.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The payload is of another type than was asked for.
    #[error("checking the envelope: its payload is {found:?}, not {wanted:?}")]
    WrongPayloadType {
        /// The type that was found.
        found: String,
        /// The type that was asked for.
        wanted: String,
    },
    /// No trusted key is among those that are said to have signed.
    #[error("checking the envelope: signed by {}, which is not trusted", list(.keyids))]
    UnknownSigner {
        /// Those that are said to have signed.
        keyids: Vec<KeyId>,
    },
    /// A trusted key is said to have signed this, and did not.
    #[error("checking the envelope: this is not what {keyid} signed; it was changed or forged")]
    BadSignature {
        /// The key that is said to have signed.
        keyid: KeyId,
    },
}

fn list(keyids: &[KeyId]) -> String {
    let keyids: Vec<&str> = keyids.iter().map(|id| id.0.as_str()).collect();
    keyids.join(", ")
}

fn malformed(what: &'static str) -> EnvelopeError {
    EnvelopeError::Malformed { what, source: None }
}

/// DSSE's pre-authentication encoding: what is really signed, unambiguous in both of its parts.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    let mut message = head.into_bytes();
    message.extend_from_slice(payload);
    message
}

impl Envelope {
    /// Puts `payload` in an envelope and signs it.
    pub fn sign(payload_type: &str, payload: &[u8], key: &SiteKey) -> Self {
        let signature = key.sign(&pre_authentication_encoding(payload_type, payload));
        Self {
            payload_type: payload_type.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![EnvelopeSignature {
                keyid: key.id().clone(),
                sig: STANDARD.encode(signature),
            }],
        }
    }

    /// Reads an envelope, and checks nothing but its shape.
    ///
    /// # Errors
    /// When the bytes are not an envelope.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Malformed {
            what: "it is not a DSSE envelope",
            source: Some(error),
        })
    }

    /// The envelope as a file holds it, without a byte that could be changed unseen.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope is made of strings, which are always JSON")
    }

    /// Checks the signatures and gives the payload that they vouch for.
    ///
    /// # Errors
    /// When the payload is of another type, nobody trusted signed it, or a signature under a
    /// trusted key is wrong.
    pub fn verify(
        &self,
        payload_type: &str,
        trusted: &TrustedKeys,
    ) -> Result<VerifiedPayload, EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::WrongPayloadType {
                found: self.payload_type.clone(),
                wanted: payload_type.to_owned(),
            });
        }
        let payload = STANDARD
            .decode(&self.payload)
            .map_err(|_| malformed("its payload is not base64"))?;
        if self.signatures.is_empty() {
            return Err(malformed("nobody signed it"));
        }

        let message = pre_authentication_encoding(&self.payload_type, &payload);
        let mut signer = None;
        for signature in &self.signatures {
            let bytes: [u8; 64] = STANDARD
                .decode(&signature.sig)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| malformed("a signature is not 64 bytes in base64"))?;
            let Some(key) = trusted.get(&signature.keyid) else {
                continue;
            };
            if !key.verifies(&message, &bytes) {
                let keyid = signature.keyid.clone();
                return Err(EnvelopeError::BadSignature { keyid });
            }
            signer.get_or_insert_with(|| signature.keyid.clone());
        }
        match signer {
            Some(keyid) => Ok(VerifiedPayload { payload, keyid }),
            None => Err(EnvelopeError::UnknownSigner {
                keyids: self.signatures.iter().map(|s| s.keyid.clone()).collect(),
            }),
        }
    }
}
