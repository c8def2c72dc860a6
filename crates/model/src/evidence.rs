//! What Billet signs: predicates of in-toto statements.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    EvidenceId, LeaseId, MachineId, Name, ProjectId,
    inventory::Emulation,
    lease::Visit,
    upkeep::{SettingsReport, StruckDrive, UnerasedDrive},
    warm::FirstStart,
    work::{DriveRef, EraseMethod, MethodTried, NistWord, TpmClear},
};

/// Predicate type of the erase certificate.
pub const ERASE_PREDICATE: &str = "https://billet.dev/evidence/erase/v1";

/// The erase certificate: what was done to each drive of a machine, what was
/// read back, and what was not done and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EraseCertificate {
    /// The machine.
    pub machine: MachineSubject,
    /// The lease whose data it was, if one's.
    pub lease: Option<LeaseId>,
    /// The project whose lease it was.
    pub project: Option<ProjectId>,
    /// When the erase began.
    pub began_at: Timestamp,
    /// When the read-back was done.
    pub verified_at: Timestamp,
    /// Each drive.
    pub drives: Vec<DriveCertificate>,
    /// Memory.
    pub memory: MemoryCleared,
    /// TPM.
    pub tpm: TpmClear,
    /// Firmware settings that are not as before the lease; `None` where they
    /// could not be compared.
    pub firmware_changes: Option<Vec<String>>,
    /// BMC accounts, BIOS settings, boot order and firmware versions, compared
    /// with those before the lease, and what came of putting them back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsReport>,
    /// Drives that left the machine without an erase, on an operator's word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub struck: Vec<StruckDrive>,
    /// Drives that were not erased and were let go all the same, on an operator's
    /// word. They are not among `drives`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unerased: Vec<UnerasedDrive>,
    /// When something of Billet's ran on the machine during the lease.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub visits: Vec<Visit>,
    /// More such times, before those above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_visits: Option<EarlierVisits>,
    /// How the lease's system was first started, and what that means for measured
    /// boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_start: Option<FirstStart>,
    /// What was not done, with the reason.
    pub not_done: Vec<String>,
    /// How the agent's word is backed (`agent unattested`).
    pub attestation: String,
    /// What keeps tenants' networks apart (`network isolation: not by Billet`).
    pub network_isolation: String,
    /// An operator's override, if the machine was released without a full erase.
    pub override_by: Option<String>,
}

/// Times that something of Billet's ran on a machine during a lease, and that do
/// not stand on its certificate one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EarlierVisits {
    /// How many.
    pub count: u32,
    /// Where each of them is on record.
    pub recorded_in: String,
}

/// The machine a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineSubject {
    /// Id.
    pub id: MachineId,
    /// Name.
    pub name: Name,
    /// Serial number.
    pub serial: Option<String>,
    /// Maker.
    pub manufacturer: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Whether it is real silicon.
    pub emulation: Emulation,
    /// Site.
    pub site: String,
    /// The site's jurisdiction.
    pub jurisdiction: String,
}

/// One drive of an erase certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriveCertificate {
    /// Which.
    pub drive: DriveRef,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How it was erased.
    pub method: EraseMethod,
    /// Methods tried before, with why each was not the one.
    pub tried: Vec<MethodTried>,
    /// NIST SP 800-88's word for it.
    pub nist: NistWord,
    /// Bytes the method covered.
    pub bytes: u64,
    /// Canaries planted before.
    pub canaries_planted: u32,
    /// Canaries looked for after a power cycle, uncached.
    pub canaries_read: u32,
    /// Canaries found: always 0 on a certificate.
    pub canaries_found: u32,
    /// Blocks of 4096 bytes sampled.
    pub samples_read: u32,
    /// Samples with data: always 0 on a certificate.
    pub samples_with_data: u32,
}

/// What was done to memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryCleared {
    /// What was done.
    pub method: String,
    /// For how many seconds power was seen off.
    pub off_seconds: u64,
    /// `not verified`: no way to look into memory that lost its power.
    pub verified: bool,
    /// GPU memory, in a sentence.
    pub gpu_memory: String,
}

/// A signed statement, as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Id.
    pub id: EvidenceId,
    /// Predicate type.
    pub kind: String,
    /// The machine.
    pub machine: MachineId,
    /// The lease.
    pub lease: Option<LeaseId>,
    /// The project that may see it.
    pub project: Option<ProjectId>,
    /// When it was signed.
    pub created_at: Timestamp,
    /// The DSSE envelope.
    #[schema(value_type = Object)]
    pub envelope: serde_json::Value,
}
