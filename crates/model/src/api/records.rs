//! What auditors and operators take away: keys, the audit log, backups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupMade {
    /// Where it lies on the server.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A key that signs evidence, now or in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SigningKey {
    /// SHA-256 of its SPKI, hex: what signatures name it by.
    pub keyid: String,
    /// The public key, PEM.
    pub public_pem: String,
    /// Whether it signs now.
    pub current: bool,
}

/// A slice of the audit log that anybody can check: its signed head, and rows
/// with what proves that they are in it. `billet_evidence::audit::Export` reads it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditExport {
    /// Signed checkpoint (C2SP form).
    pub checkpoint: String,
    /// The rows, by rising index.
    pub rows: Vec<ProvedRow>,
}

/// A row of the audit log with its proof.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProvedRow {
    /// Its leaf's index in the log, from 0.
    pub index: u64,
    /// The row.
    #[schema(value_type = crate::event::AuditRow)]
    pub row: serde_json::Value,
    /// 32 hexadecimal digits that keep its neighbours from guessing it.
    pub salt: String,
    /// Inclusion proof, hashes in hexadecimal, from the leaf up.
    pub proof: Vec<String>,
}
