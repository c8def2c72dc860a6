//! Leases: who holds which machine, until when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    BootId, ImageId, LeaseId, MachineId, Name, OperationId, ProjectId,
    bmc::FirmwareSettings,
    image::{ImageKind, InstallPart},
    layout::{DriveLayout, LaidOut},
    measure::Measurement,
    storage::RootDrive,
    warm::FirstStart,
    work::{DriveRef, WriteReport},
};

/// Which of the two configurations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseMode {
    /// A whole machine, with root.
    #[default]
    Dedicated,
    /// Whole GPUs on a machine that Billet operates.
    Managed,
}

/// Where a lease is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Its machine is being made ready.
    Deploying,
    /// The tenant's own installer runs on its machine.
    Installing,
    /// The tenant's.
    Active,
    /// Its drive is written anew, at the tenant's wish.
    Reinstalling,
    /// Billet's ramdisk runs on its machine, for the tenant, or comes up or goes.
    Rescue,
    /// Its drive is read and compared with its image, at the tenant's wish.
    Measuring,
    /// Its machine boots nothing that is known to work, and is off; the reason
    /// says why. It is the tenant's still: reinstalled, rescued or released.
    Broken,
    /// An operator works on its machine, which is off; no drive is erased.
    Maintenance,
    /// Being taken back: the machine is erased.
    Releasing,
    /// Over, and erased.
    Released,
    /// It could not be made ready; the reason says why. The machine is being erased.
    Failed,
}

impl LeaseState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploying => "deploying",
            Self::Installing => "installing",
            Self::Active => "active",
            Self::Reinstalling => "reinstalling",
            Self::Rescue => "rescue",
            Self::Measuring => "measuring",
            Self::Broken => "broken",
            Self::Maintenance => "maintenance",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Failed => "failed",
        }
    }

    /// Whether the machine was handed over to the tenant, who may have data on it.
    pub fn is_tenants(self) -> bool {
        matches!(
            self,
            Self::Active
                | Self::Installing
                | Self::Reinstalling
                | Self::Rescue
                | Self::Measuring
                | Self::Broken
                | Self::Maintenance
        )
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Released | Self::Failed)
    }
}

impl std::fmt::Display for LeaseState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the tenant asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct LeaseSpec {
    /// SSH public keys for root.
    pub ssh_keys: Vec<String>,
    /// cloud-init user data.
    pub user_data: Option<String>,
    /// Added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// Host name; the lease's name where not given.
    pub hostname: Option<String>,
    /// Which drive holds the root.
    pub root_drive: RootDrive,
    /// Go through firmware, on a machine that waits warm too.
    pub cold: bool,
    /// What is made of the other drives.
    pub layout: DriveLayout,
}

/// How far a lease is known to be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActiveBecause {
    /// The machine said that its first boot is done.
    PhonedHome,
    /// Its SSH port answers, which is all that is known.
    PortAnswered,
    /// Its installer, or the system that it installed, said that it is done.
    InstallerReported,
    /// Its tenant said that it is installed.
    TenantSaid,
    /// Nobody said that it is installed, and the installer's time was over: what
    /// is on its drive is not known.
    Unreported,
}

/// A tenant's own installation: what was served for it, and how it ended. What it
/// put on the drives is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Install {
    /// Which kind of install configuration.
    pub kind: ImageKind,
    /// Digest of the configuration.
    pub digest: String,
    /// Its parts, each with its digest.
    pub parts: Vec<InstallPart>,
    /// The kernel's command line, with its placeholders as they were given.
    pub command_line: Option<String>,
    /// For how many seconds the installer may run.
    pub seconds: u64,
    /// The host name that it was given.
    pub hostname: String,
    /// The boot medium that it was served on, once the BMC read from it.
    #[serde(default)]
    pub medium: Option<InstallMedium>,
    /// When the installer's machine was seen powered on.
    #[serde(default)]
    pub began_at: Option<Timestamp>,
    /// How and when it ended.
    #[serde(default)]
    pub ended: Option<InstallEnded>,
}

/// A boot medium with an installer on it, as it was served to a BMC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallMedium {
    /// The boot that it was made for.
    pub boot: BootId,
    /// SHA-256 of all its bytes, in hexadecimal. It has in it what is the lease's
    /// own: no two are alike.
    pub sha256: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// When the BMC first read from it.
    pub read_at: Timestamp,
    /// When it was taken out of the machine; `None` while it may be in.
    #[serde(default)]
    pub out_at: Option<Timestamp>,
}

/// How an installation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstallEnded {
    /// When.
    pub at: Timestamp,
    /// On whose word.
    pub because: ActiveBecause,
}

/// Why something of Billet's ran on the machine of a lease that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VisitKind {
    /// The tenant had its drive written anew.
    Reinstall,
    /// The tenant had the ramdisk booted.
    Rescue,
    /// The tenant had its drive compared with its image.
    Measure,
    /// An operator worked on the machine, and its drives were not erased.
    BreakFix,
}

impl std::fmt::Display for VisitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Reinstall => "reinstall",
            Self::Rescue => "rescue",
            Self::Measure => "measurement",
            Self::BreakFix => "break/fix",
        })
    }
}

/// One time that something of Billet's ran there: on record for the lease's
/// life, and on its erase certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Visit {
    /// Why.
    pub kind: VisitKind,
    /// When it was asked for.
    pub began_at: Timestamp,
    /// When the machine was the tenant's alone again; `None` while it lasts, and
    /// where the lease was released before.
    pub ended_at: Option<Timestamp>,
    /// Drives, by serial, that it leaves alone where it might have erased them.
    #[serde(default)]
    pub kept_drives: Vec<String>,
    /// What was done there, in sentences.
    pub done: Vec<String>,
}

/// How a ramdisk that runs for the tenant is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RescueAccess {
    /// When it came up.
    pub since: Timestamp,
    /// Its SSH host keys, in OpenSSH's form.
    pub host_keys: Vec<String>,
}

/// What stood on a lease before a reinstallation: put back where that ends before
/// anything was written, for the drive is then as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BeforeReinstall {
    /// The image.
    pub image: ImageId,
    /// SSH public keys for root.
    pub ssh_keys: Vec<String>,
    /// cloud-init user data.
    pub user_data: Option<String>,
    /// Added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// How the system is known to have come up.
    pub active_because: ActiveBecause,
    /// Its SSH host keys.
    pub host_keys: Vec<String>,
    /// What writing the image did.
    pub written: Option<WriteReport>,
    /// What the drive was found to hold.
    pub measurements: Vec<Measurement>,
    /// How it was installed, where its image was an install configuration.
    #[serde(default)]
    pub install: Option<Install>,
    /// What was asked for of the other drives.
    #[serde(default)]
    pub layout_wanted: DriveLayout,
    /// Which drive was what.
    #[serde(default)]
    pub layout: Option<LaidOut>,
    /// The drive that the image stands on.
    #[serde(default)]
    pub root_drive: Option<DriveRef>,
    /// What the machine said of the file systems beside the root's.
    #[serde(default)]
    pub file_systems: Option<String>,
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Id.
    pub id: LeaseId,
    /// Name, unique in its project among leases that are not over.
    pub name: Name,
    /// Whose.
    pub project: ProjectId,
    /// Mode.
    pub mode: LeaseMode,
    /// State.
    pub state: LeaseState,
    /// Why it failed or waits, in a sentence.
    pub reason: Option<String>,
    /// The machine it holds.
    pub machine: MachineId,
    /// Name of the machine's type.
    pub machine_type: Name,
    /// The image.
    pub image: ImageId,
    /// What was asked for.
    pub spec: LeaseSpec,
    /// The tenant's own tags.
    pub tags: BTreeMap<String, String>,
    /// When it ends, if it has a term.
    pub ends_at: Option<Timestamp>,
    /// How it is known to be up.
    pub active_because: Option<ActiveBecause>,
    /// SSH host keys that the machine sent, in OpenSSH's form.
    pub host_keys: Vec<String>,
    /// What writing the image did.
    pub written: Option<WriteReport>,
    /// Firmware settings before the lease.
    pub firmware_before: Option<FirmwareSettings>,
    /// The operation now at work on it, or the last one.
    pub operation: OperationId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it became active.
    pub active_at: Option<Timestamp>,
    /// When its machine began to be taken back, or it failed: from then on nothing
    /// that happens on the machine is the tenant's.
    #[serde(default)]
    pub leaving_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// When its tenant was last warned of its end.
    #[serde(default)]
    pub warned_at: Option<Timestamp>,
    /// When something of Billet's ran on its machine after it was handed over:
    /// the last [`Lease::VISITS`] times.
    #[serde(default)]
    pub visits: Vec<Visit>,
    /// How many visits there were before those: they are in the audit log alone.
    #[serde(default)]
    pub earlier_visits: u32,
    /// How the ramdisk is reached, while it runs for the tenant.
    #[serde(default)]
    pub rescue: Option<RescueAccess>,
    /// What its drive was found to hold beside its image: first as it was written,
    /// then the last [`Lease::MEASUREMENTS`] times that the tenant asked.
    #[serde(default)]
    pub measurements: Vec<Measurement>,
    /// The drive that the image is written to, chosen when the machine was
    /// granted; `None` in leases of before: the machine's first.
    #[serde(default)]
    pub root_drive: Option<DriveRef>,
    /// What stood here before the reinstallation that is under way, or was given
    /// up, as long as no agent was allowed to write for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_reinstall: Option<Box<BeforeReinstall>>,
    /// How its system was first started; `None` before it was, and in leases of
    /// before this was told.
    #[serde(default)]
    pub first_start: Option<FirstStart>,
    /// How often it was begun anew, its system having been started and not come up:
    /// what such a system still says is not believed of the next one.
    #[serde(default)]
    pub begun_anew: u32,
    /// How it is installed, where its image is an install configuration.
    #[serde(default)]
    pub install: Option<Install>,
    /// Which drive is what, decided when the machine was granted and at each
    /// reinstallation with another layout; `None` in leases of before.
    #[serde(default)]
    pub layout: Option<LaidOut>,
    /// What the machine said at its first boot of the file systems beside the
    /// root's: `ok`, or what went wrong.
    #[serde(default)]
    pub file_systems: Option<String>,
    /// Grows with every change: for optimistic concurrency.
    pub version: i64,
}

impl Lease {
    /// Most visits kept; the audit log has them all, and
    /// [`Lease::earlier_visits`] counts those that are not.
    pub const VISITS: usize = 50;

    /// Most measurements kept that the tenant asked for; the audit log has them all.
    pub const MEASUREMENTS: usize = 10;

    /// What it was before a reinstallation that has written nothing, put back;
    /// `false` where there is no such thing. Of an image that was deleted since
    /// only the digest is left, in [`Lease::written`].
    pub fn put_back(&mut self, image_is_there: bool) -> bool {
        let Some(before) = self.before_reinstall.take() else {
            return false;
        };
        if image_is_there {
            self.image = before.image;
        }
        self.spec.ssh_keys = before.ssh_keys;
        self.spec.user_data = before.user_data;
        self.spec.kernel_args = before.kernel_args;
        self.active_because = Some(before.active_because);
        self.host_keys = before.host_keys;
        self.written = before.written;
        self.measurements = before.measurements;
        self.install = before.install;
        // Absent in what was kept before leases had layouts: they were not changed then.
        if before.root_drive.is_some() {
            self.spec.layout = before.layout_wanted;
            self.layout = before.layout;
            self.root_drive = before.root_drive;
        }
        self.file_systems = before.file_systems;
        true
    }

    /// The visit that lasts, if one does.
    pub fn visit(&mut self) -> Option<&mut Visit> {
        self.visits.last_mut().filter(|v| v.ended_at.is_none())
    }
}
