//! Machines that wait warm: powered, in the ramdisk, with an image on a drive
//! before anybody leased them. And how a lease's system came to run.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BootId, ImageId, Name, work::DriveRef};

/// How many available machines of a type wait warm, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmPolicy {
    /// How many.
    pub count: u32,
    /// Names of the operator's images that they hold, the most wanted first. Where
    /// none is named, those that leases of the type asked for most.
    pub images: Vec<Name>,
    /// Leases of this type go through firmware always: none is started by kexec.
    pub cold: bool,
}

/// What is known of a machine as one that waits warm, or may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Warmth {
    /// The boot of the ramdisk that waits, or is being made ready to.
    pub boot: Option<WarmBoot>,
    /// The image that was last written to a drive before anybody leased it, and
    /// was neither erased nor written over since.
    pub prepared: Option<Prepared>,
    /// Whether kexec works on it, once tried.
    pub trial: Option<Trial>,
    /// Why it did not become warm the last time, or did not stay so.
    pub failed: Option<NotWarm>,
    /// What it draws while it waits.
    pub idle: Option<IdlePower>,
}

/// A boot of the ramdisk in which a machine waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmBoot {
    /// Which.
    pub id: BootId,
    /// Digest of the ramdisk that runs.
    pub ramdisk: String,
    /// It was started by kexec itself, from a ramdisk of the same digest that
    /// firmware had booted.
    pub by_kexec: bool,
    /// When its agent was there.
    pub since: Timestamp,
}

/// An image that stands on a drive before anybody leased it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Prepared {
    /// The image.
    pub image: ImageId,
    /// Its digest.
    pub digest: String,
    /// On which drive.
    pub drive: DriveRef,
    /// In which boot it was written and read back.
    #[schema(value_type = String)]
    pub boot: BootId,
    /// Whether that is done: before, the drive may hold a part of it.
    pub read_back: bool,
    /// When.
    pub at: Timestamp,
}

/// Whether a ramdisk could start itself anew by kexec on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trial {
    /// Digest of the ramdisk that tried.
    pub ramdisk: String,
    /// How it ended.
    pub result: TrialResult,
    /// When it began.
    pub at: Timestamp,
}

/// How a trial of kexec ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "trial")]
pub enum TrialResult {
    /// Not yet.
    UnderWay {
        /// The boot that is to begin with it.
        #[schema(value_type = String)]
        next: BootId,
    },
    /// The agent called in from the kernel that was started.
    Passed,
    /// It did not.
    Failed {
        /// Why.
        why: String,
    },
}

/// Why a machine did not become warm, or did not stay so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotWarm {
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// How often in a row.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

impl NotWarm {
    /// Until when it is left alone: for `again` after the first time, and twice as
    /// long after each further one, up to some fifty times.
    pub fn until(&self, again: SignedDuration) -> Timestamp {
        let doubled = self.times.saturating_sub(1).min(6);
        self.at + again * (1_i32 << doubled)
    }
}

/// What a machine draws at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdlePower {
    /// In watts, as its BMC measures it; `None` where it measures nothing.
    pub watts: Option<u32>,
    /// When it was read.
    pub at: Timestamp,
}

/// How a lease's system was started for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Through firmware, from power off.
    Cold,
    /// By kexec, from the ramdisk, on a machine that waited warm.
    Warm,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
        })
    }
}

/// How a lease's system came to run the first time: on the lease, and on its
/// erase certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FirstStart {
    /// Which way.
    pub way: Way,
    /// Why it was the cold one, or what came between; in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// What that means for measured boot.
    pub measured_boot: String,
    /// Whether the image stood on the drive before the lease.
    #[serde(default)]
    pub prepared: bool,
    /// Digest of the ramdisk that started it; for the warm way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<String>,
    /// The kernel that was started by kexec: where it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Its initrd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// Its command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// What the agent did before it jumped, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<String>,
}

impl FirstStart {
    /// What the cold way means for measured boot.
    pub const COLD: &'static str = "cold: firmware booted the tenant's boot loader and kernel, and measured them as it measures any boot";

    /// What the warm way means for measured boot.
    pub const WARM: &'static str = "warm: the tenant's kernel was started by kexec; the TPM's PCRs hold what firmware measured, which is firmware and Billet's ramdisk, and not the tenant's boot loader, kernel, initrd or command line; from the machine's next boot on they are measured as usual";

    /// On a machine that waited warm whose ramdisk was itself started by kexec.
    pub const WARM_AGAIN: &'static str = "warm: the tenant's kernel was started by kexec; the TPM's PCRs hold what firmware measured, which is firmware and Billet's ramdisk (which had started itself anew by kexec once, at its trial), and not the tenant's boot loader, kernel, initrd or command line; from the machine's next boot on they are measured as usual";

    /// Through firmware, for these reasons.
    pub fn cold(why: Vec<String>) -> Self {
        Self {
            way: Way::Cold,
            why,
            measured_boot: Self::COLD.to_owned(),
            prepared: false,
            ramdisk: None,
            kernel: None,
            initrd: None,
            cmdline: None,
            done: Vec::new(),
        }
    }
}
