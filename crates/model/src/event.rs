//! What happened: audit rows, in the order in which they were committed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EventId, ImageId, LeaseId, MachineId, ProjectId, people::Actor};

/// A row of the audit log: written in the transaction it records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// Who asked.
    pub actor: Actor,
    /// What was done (`machine.lifecycle`, `lease.create`, `token.refused`).
    pub action: String,
    /// The machine it was done to.
    pub machine: Option<MachineId>,
    /// The lease.
    pub lease: Option<LeaseId>,
    /// The image.
    pub image: Option<ImageId>,
    /// The project whose slice it belongs to.
    pub project: Option<ProjectId>,
    /// From what, to what, and why; never a secret.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// A row with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealedRow {
    /// Its leaf's index in the log; `None` until the sealer has come by.
    pub index: Option<u64>,
    /// The row.
    #[serde(flatten)]
    pub row: AuditRow,
}
