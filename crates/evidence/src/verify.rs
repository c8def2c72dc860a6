//! Checking a piece of evidence with nothing at hand but the file and the keys one trusts.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    dsse::{Envelope, EnvelopeError, IN_TOTO},
    keys::{KeyId, SiteKey},
    statement::{Statement, StatementError},
    trust::{Keyring, TrustedKeys},
};

/// Evidence that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What kind of evidence it is, such as [`crate::statement::ERASE_CERTIFICATE`].
    pub predicate_type: String,
    /// What it says.
    pub statement: Statement,
    /// The trusted key that signed it.
    pub keyid: KeyId,
}

/// Why a piece of evidence could not be made, or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The envelope is not one, or its signature does not hold.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The signature holds, and what was signed is not a statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// Signs a statement; the bytes are the evidence file.
///
/// # Errors
/// When the statement cannot be said in JSON.
pub fn sign_statement<P: Serialize>(
    statement: &Statement<P>,
    key: &SiteKey,
) -> Result<Vec<u8>, EvidenceError> {
    Ok(Envelope::sign(IN_TOTO, &statement.to_bytes()?, key).to_bytes())
}

/// Checks an evidence file under the keys that the caller trusts.
///
/// # Errors
/// When nobody trusted signed it, a byte of it was changed, or it is no evidence at all.
pub fn verify_file(bytes: &[u8], trusted: &TrustedKeys) -> Result<Verified, EvidenceError> {
    let signed = Envelope::parse(bytes)?.verify(IN_TOTO, trusted)?;
    let statement = Statement::parse(&signed.payload)?;
    Ok(Verified {
        predicate_type: statement.predicate_type.clone(),
        statement,
        keyid: signed.keyid,
    })
}

/// As [`verify_file`], and the key must have been the site's at the time that the evidence gives,
/// which `time_of` reads from it. Evidence without a time counts as signed by nobody.
///
/// # Errors
/// As for [`verify_file`].
pub fn verify_file_in_time(
    bytes: &[u8],
    ring: &Keyring,
    time_of: impl FnOnce(&Statement) -> Option<Timestamp>,
) -> Result<Verified, EvidenceError> {
    let verified = verify_file(bytes, &ring.trusted())?;
    let then = time_of(&verified.statement).map(|time| ring.trusted_at(time));
    if then.is_some_and(|keys| keys.get(&verified.keyid).is_some()) {
        Ok(verified)
    } else {
        Err(EnvelopeError::UnknownSigner {
            keyids: vec![verified.keyid],
        }
        .into())
    }
}
