//! Offers and leases, for tenants.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    LeaseId, MachineId, Name, OperationId, ProjectId,
    condition::Condition,
    inventory::Emulation,
    layout::{ArrayWritten, DriveLayout, LaidOut},
    lease::{ActiveBecause, Install, LeaseMode, LeaseState, RescueAccess, Visit},
    lifecycle::{Health, PowerReading},
    measure::Measurement,
    operation::Operation,
    site::Address,
    storage::RootDrive,
    warm::FirstStart,
};

/// What is on offer: how many of a type are free, and what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// Machine type.
    pub machine_type: Name,
    /// What it is.
    pub description: String,
    /// Site.
    pub site: Name,
    /// Its jurisdiction.
    pub jurisdiction: String,
    /// Free now.
    pub free: u32,
    /// Of these, how many wait warm: a lease starts there in seconds.
    #[serde(default)]
    pub warm: u32,
    /// Names of the images that these hold already, for everyone.
    #[serde(default)]
    pub warm_images: Vec<Name>,
    /// What one of them draws while it waits, in watts, as BMCs measure it: the
    /// mean; `None` where none measures.
    #[serde(default)]
    pub warm_watts: Option<u32>,
    /// In all, whatever their state, without retired ones.
    pub total: u32,
    /// GPUs of one.
    pub gpus: u32,
    /// Model of its GPUs.
    pub gpu_model: Option<String>,
    /// Hardware threads of one.
    pub threads: u32,
    /// Memory of one, in bytes.
    pub memory_bytes: u64,
    /// Drives of one, in bytes in all.
    pub drive_bytes: u64,
    /// Of those free now, so many have a drive that was not erased and that an
    /// operator let go: they are given last.
    #[serde(default)]
    pub unerased: u32,
    /// Real silicon, or not.
    pub emulation: Emulation,
    /// What a tenant should know (the BMC reachable from inside, network isolation).
    pub notes: Vec<String>,
}

/// Ask for a lease.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLease {
    /// Name; one is made up where absent.
    #[serde(default)]
    pub name: Option<Name>,
    /// Project, by name; needed where the token is not for one.
    #[serde(default)]
    pub project: Option<Name>,
    /// Mode.
    #[serde(default)]
    pub mode: LeaseMode,
    /// Machine type.
    pub machine_type: Name,
    /// Site, if it must be a certain one.
    #[serde(default)]
    pub site: Option<Name>,
    /// Image, by name or id.
    pub image: String,
    /// SSH public keys for root, in OpenSSH's form.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// cloud-init user data, at most 64 KiB.
    #[serde(default)]
    pub user_data: Option<String>,
    /// Added to the kernel's command line.
    #[serde(default)]
    pub kernel_args: Vec<String>,
    /// Which drive holds the root: the machine's first where not said.
    #[serde(default)]
    pub root_drive: RootDrive,
    /// Go through firmware, on a machine that waits warm too.
    #[serde(default)]
    pub cold: bool,
    /// What is made of the other drives: nothing where not said.
    #[serde(default)]
    pub layout: DriveLayout,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Term in seconds; none is until released.
    #[serde(default)]
    pub term_seconds: Option<u64>,
}

/// Change a lease.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaseChange {
    /// All tags, anew.
    pub tags: Option<BTreeMap<String, String>>,
    /// Another name.
    pub name: Option<Name>,
    /// Host name, for the next time that its drive is written; empty for the
    /// lease's name.
    pub hostname: Option<String>,
    /// So many seconds more, from the present end.
    pub extend_seconds: Option<u64>,
}

/// Write a lease's drive anew. What is absent stays as it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reinstall {
    /// Image, by name or id.
    pub image: Option<String>,
    /// SSH public keys for root, in OpenSSH's form.
    pub ssh_keys: Option<Vec<String>>,
    /// cloud-init user data, at most 64 KiB; empty for none.
    pub user_data: Option<String>,
    /// Added to the kernel's command line; an empty list for none.
    pub kernel_args: Option<Vec<String>>,
    /// Leave the drives alone on which the image is not written. Else they are
    /// erased.
    pub keep_data_drives: bool,
    /// Leave the drives of these arrays alone, by their names, and erase the
    /// others.
    pub keep_arrays: Vec<Name>,
    /// Another layout; arrays that are kept are not named in it.
    pub layout: Option<DriveLayout>,
}

/// A lease, as its tenant sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// Id.
    pub id: LeaseId,
    /// Name.
    pub name: Name,
    /// Project.
    pub project: Name,
    /// Its id.
    pub project_id: ProjectId,
    /// Mode.
    pub mode: LeaseMode,
    /// State.
    pub state: LeaseState,
    /// How it is, in a word that other providers have too.
    #[serde(default)]
    pub condition: Condition,
    /// Why it failed or waits.
    pub reason: Option<String>,
    /// Its machine's health, while it has one.
    #[serde(default)]
    pub health: Option<Health>,
    /// Machine type.
    pub machine_type: Name,
    /// The machine's id, which stays the same, and says nothing else.
    pub machine: MachineId,
    /// Site.
    pub site: Name,
    /// Its jurisdiction.
    pub jurisdiction: String,
    /// Real silicon, or not.
    pub emulation: Emulation,
    /// Image.
    pub image: Name,
    /// Digest of the image, as written and read back.
    pub image_digest: Option<String>,
    /// Serial number of the drive that the image is written to.
    #[serde(default)]
    pub root_drive: Option<String>,
    /// Drives in its machine that still hold what was there before, by serial:
    /// they could not be erased, and an operator let them go.
    #[serde(default)]
    pub unerased_drives: Vec<String>,
    /// What was asked for of the drives beside the root's.
    #[serde(default)]
    pub layout_wanted: DriveLayout,
    /// Which drive is what, by serial number.
    #[serde(default)]
    pub layout: LaidOut,
    /// Where the root is mirrored: which partitions are, in sentences.
    #[serde(default)]
    pub root_mirrored: Vec<String>,
    /// What was put on the drives of arrays, and read back.
    #[serde(default)]
    pub arrays_written: Vec<ArrayWritten>,
    /// What the machine said at its first boot of the file systems on them: `ok`,
    /// or what went wrong.
    #[serde(default)]
    pub file_systems: Option<String>,
    /// What its drive was found to hold beside its image: first as it was written,
    /// then each time that the tenant asked.
    #[serde(default)]
    pub measurements: Vec<Measurement>,
    /// What was served to install it, where its image is an install configuration.
    /// What that put on its drives is not measured.
    #[serde(default)]
    pub install: Option<Install>,
    /// Power.
    pub power: Option<PowerReading>,
    /// The machine's own address on each network.
    pub addresses: Vec<Address>,
    /// How it is known to be up.
    pub active_because: Option<ActiveBecause>,
    /// SSH host keys that it sent.
    pub host_keys: Vec<String>,
    /// How the ramdisk is reached, while it runs for the tenant.
    pub rescue: Option<RescueAccess>,
    /// When something of Billet's ran on its machine after it was handed over.
    pub visits: Vec<Visit>,
    /// How many there were before those: the audit log has them.
    #[serde(default)]
    pub earlier_visits: u32,
    /// How its system was first started, and what that means for measured boot.
    #[serde(default)]
    pub first_start: Option<FirstStart>,
    /// How its machine learns what it is.
    #[serde(default)]
    pub metadata: MetadataOffered,
    /// Kernel arguments.
    pub kernel_args: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// When its tenant was last warned of its end.
    pub warned_at: Option<Timestamp>,
    /// Host name asked for; the lease's name where absent.
    pub hostname: Option<String>,
    /// The operation at work on it, or the last one.
    pub operation: OperationId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it became active.
    pub active_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// For optimistic concurrency.
    pub version: i64,
}

/// How a lease's machine learns what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetadataOffered {
    /// On the drive: in cloud-init's seed, of images that have cloud-init.
    pub drive: bool,
    /// Over the network, at the link-local address: where the operator serves it
    /// and the machine has an address of Billet's.
    pub network: bool,
}

/// A lease and the operation that works on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseStarted {
    /// The lease.
    pub lease: LeaseView,
    /// To follow.
    pub operation: Operation,
}
