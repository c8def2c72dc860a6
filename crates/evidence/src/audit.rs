//! The audit log's leaves, and the check of a slice of it that was handed to somebody.
//!
//! A leaf is the canonical JSON of a row together with a salt of its own. The salt is what lets a
//! project's slice be shown without showing anyone else's rows: proofs contain the hashes of
//! neighbouring rows, and without a salt a short row could be guessed from its hash. So a salt is
//! made with the row, kept with it, and shown only to who may see the row.
//!
//! A slice proves that its rows are in the log, unchanged and in this order. It cannot prove that
//! none was left out.

use std::fmt;

use rand::{TryRng, rngs::SysRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::{
    canonical::{self, CanonicalError},
    checkpoint::{Checkpoint, CheckpointError},
    keys::KeyId,
    merkle::{ProofError, TreeHash, verify_inclusion},
    proof::{MakeProofError, Nodes, inclusion_proof},
    trust::TrustedKeys,
};

/// Sixteen random bytes that keep a row from being guessed; 32 hexadecimal digits in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl Salt {
    /// A new salt from the operating system's random source.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn generate() -> Result<Self, rand::rngs::SysError> {
        let mut bytes = [0; 16];
        SysRng.try_fill_bytes(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Salt(..)")
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::hex::decode(&String::deserialize(deserializer)?)
            .map(Self)
            .ok_or_else(|| de::Error::custom("a salt is 32 lower-case hexadecimal digits"))
    }
}

/// The bytes that stand for a row in the log: `{"row":…,"salt":"…"}` in canonical JSON.
///
/// # Errors
/// When the row is not JSON, or holds a number that is not a 64-bit integer.
pub fn leaf_bytes<R: Serialize + ?Sized>(row: &R, salt: &Salt) -> Result<Vec<u8>, CanonicalError> {
    #[derive(Serialize)]
    struct Leaf<'r, R: ?Sized> {
        row: &'r R,
        salt: &'r Salt,
    }
    canonical::to_vec(&Leaf { row, salt })
}

/// The hash to append to the log for a row.
///
/// # Errors
/// As for [`leaf_bytes`].
pub fn leaf_hash<R: Serialize + ?Sized>(row: &R, salt: &Salt) -> Result<TreeHash, CanonicalError> {
    Ok(TreeHash::leaf(&leaf_bytes(row, salt)?))
}

/// A row of the log with what is needed to find it there again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedRow {
    /// The row's position in the log, from 0.
    pub index: u64,
    /// What happened.
    pub row: Value,
    /// The row's salt.
    pub salt: Salt,
    /// The inclusion proof, from the leaf up.
    pub proof: Vec<TreeHash>,
}

impl ExportedRow {
    /// Proves a row that is at `index` in the log's first `size` rows.
    ///
    /// # Errors
    /// When the log is shorter, or lacks a node.
    pub fn prove(
        nodes: &impl Nodes,
        size: u64,
        index: u64,
        row: Value,
        salt: Salt,
    ) -> Result<Self, MakeProofError> {
        let proof = inclusion_proof(nodes, index, size)?;
        Ok(Self {
            index,
            row,
            salt,
            proof,
        })
    }
}

/// A slice of the log that anybody can check: some rows, in order, and one signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The signed note that says which log this is, how long, and under which root.
    pub checkpoint: String,
    /// The rows, by rising index.
    pub rows: Vec<ExportedRow>,
}

/// Why a slice of the log is not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The checkpoint does not hold.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Rows are repeated or out of order.
    #[error("checking an export of the audit log: row {index} comes after row {before}")]
    OutOfOrder {
        /// The row's index.
        index: u64,
        /// The index of the row that stands before it.
        before: u64,
    },
    /// A row has no canonical form.
    #[error("checking an export of the audit log: row {index} cannot have been logged")]
    Row {
        /// The row's index.
        index: u64,
        /// Why not.
        #[source]
        source: CanonicalError,
    },
    /// A row is not in the log, or not as it is shown.
    #[error("checking an export of the audit log: row {index} is not in the log as it is shown")]
    NotIncluded {
        /// The row's index.
        index: u64,
        /// What is wrong with its proof.
        #[source]
        source: ProofError,
    },
}

/// Checks every row of a slice against its checkpoint, and that against the keys that the caller
/// trusts. Gives the checkpoint, to be compared with others, and who signed it.
///
/// # Errors
/// When the checkpoint does not hold, or a row is not in the log that it stands for.
pub fn verify_export(
    export: &Export,
    origin: &str,
    trusted: &TrustedKeys,
) -> Result<(Checkpoint, KeyId), ExportError> {
    let (checkpoint, keyid) = Checkpoint::verify(export.checkpoint.as_bytes(), origin, trusted)?;
    let mut before = None;
    for exported in &export.rows {
        let index = exported.index;
        if let Some(before) = before.filter(|before| *before >= index) {
            return Err(ExportError::OutOfOrder { index, before });
        }
        before = Some(index);
        let leaf = leaf_hash(&exported.row, &exported.salt)
            .map_err(|source| ExportError::Row { index, source })?;
        verify_inclusion(
            &leaf,
            index,
            checkpoint.size,
            &exported.proof,
            &checkpoint.root,
        )
        .map_err(|source| ExportError::NotIncluded { index, source })?;
    }
    Ok((checkpoint, keyid))
}
