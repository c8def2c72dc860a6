//! What an agent in the ramdisk is asked to do, and what it brings back.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    BootId, LeaseId, Name, TaskId,
    inventory::Inventory,
    layout::{ArrayWritten, Level},
    measure::{DriveChange, Measured},
    secret::Handed,
    site::Address,
};

/// A number that grows with every new thing done to a machine. A task carries
/// it, and an agent may write only while the machine's is still the same.
pub type Epoch = u64;

/// A piece of work for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "work")]
pub enum Work {
    /// List the machine's parts.
    Inspect,
    /// Test memory, drives and links. Reads and writes memory only; drives are
    /// read unless `may_write` (they are erased by then).
    Test {
        /// Whether drives may be written.
        may_write: bool,
    },
    /// Write an image to a drive.
    Write(WriteOrder),
    /// Plant canaries on the drives, then erase them.
    Erase(EraseOrder),
    /// After a power cycle: read canaries and samples back; clear the TPM.
    Verify(VerifyOrder),
    /// As [`Work::Erase`], of some of a tenant's drives, for the tenant.
    Wipe(EraseOrder),
    /// Let the tenant in by SSH, and touch nothing.
    Rescue(RescueOrder),
    /// Read a tenant's drive and compare it with the image, and write nothing.
    Measure(MeasureOrder),
    /// Write an image to a drive before anybody leased it: the image alone, as
    /// [`Work::Write`] writes it, and read back. No growth, no arguments, no seed.
    Prepare(PrepareOrder),
    /// Start the system on a drive by kexec. See [`StartOrder`].
    Start(StartOrder),
    /// Start the ramdisk itself by kexec. See [`TrialOrder`].
    Trial(TrialOrder),
}

impl Work {
    /// The word for it.
    pub fn word(&self) -> WorkKind {
        match self {
            Self::Inspect => WorkKind::Inspect,
            Self::Test { .. } => WorkKind::Test,
            Self::Write(_) => WorkKind::Write,
            Self::Erase(_) => WorkKind::Erase,
            Self::Verify(_) => WorkKind::Verify,
            Self::Wipe(_) => WorkKind::Wipe,
            Self::Rescue(_) => WorkKind::Rescue,
            Self::Measure(_) => WorkKind::Measure,
            Self::Prepare(_) => WorkKind::Prepare,
            Self::Start(_) => WorkKind::Start,
            Self::Trial(_) => WorkKind::Trial,
        }
    }
}

/// Which kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkKind {
    /// [`Work::Inspect`].
    Inspect,
    /// [`Work::Test`].
    Test,
    /// [`Work::Write`].
    Write,
    /// [`Work::Erase`].
    Erase,
    /// [`Work::Verify`].
    Verify,
    /// [`Work::Wipe`].
    Wipe,
    /// [`Work::Rescue`].
    Rescue,
    /// [`Work::Measure`].
    Measure,
    /// [`Work::Prepare`].
    Prepare,
    /// [`Work::Start`].
    Start,
    /// [`Work::Trial`].
    Trial,
}

impl WorkKind {
    /// Whether it writes to drives, and so must be confirmed just before.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Erase | Self::Wipe | Self::Prepare)
    }
}

impl std::fmt::Display for WorkKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Inspect => "inspect",
            Self::Test => "test",
            Self::Write => "write",
            Self::Erase => "erase",
            Self::Verify => "verify",
            Self::Wipe => "wipe",
            Self::Rescue => "rescue",
            Self::Measure => "measure",
            Self::Prepare => "prepare",
            Self::Start => "start",
            Self::Trial => "trial",
        })
    }
}

/// How a drive is told from others: by serial, and by WWN where it has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct DriveRef {
    /// Serial number.
    pub serial: String,
    /// World-wide name, EUI-64 or NGUID.
    pub wwn: Option<String>,
}

/// Write this image to that drive, and make it the tenant's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOrder {
    /// For which lease.
    pub lease: LeaseId,
    /// The image's digest: its manifest and chunks are fetched by it.
    pub image: String,
    /// To which drive.
    pub drive: DriveRef,
    /// Added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// cloud-init's seed; `None` for images without cloud-init.
    pub seed: Option<Seed>,
    /// The image stands on the drive already: written there and read back by
    /// [`Work::Prepare`] in this same boot. Only what is missing is written
    /// (growth, seed, arguments), after a look whether the drive is the one that
    /// was prepared with this image; else it fails. The report is that of a whole
    /// write, with what the preparation wrote and measured.
    #[serde(default)]
    pub prepared: bool,
    /// Drives that get a whole copy too: with `drive` they are a mirror.
    #[serde(default)]
    pub mirror: Vec<DriveRef>,
    /// What is made of other drives.
    #[serde(default)]
    pub arrays: Vec<ArrayOrder>,
}

/// Make these drives one array, or find that they are one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayOrder {
    /// What it is called.
    pub name: Name,
    /// How its drives are put together.
    pub level: Level,
    /// Its UUID.
    pub id: Uuid,
    /// Its drives, in order.
    pub drives: Vec<DriveRef>,
    /// Write nothing to them: the tenant keeps what is there.
    pub kept: bool,
}

/// The NoCloud seed: four files, put on a small FAT file system labelled `CIDATA`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// `meta-data`.
    pub meta_data: String,
    /// `user-data`.
    pub user_data: String,
    /// `vendor-data`.
    pub vendor_data: String,
    /// `network-config`, version 2.
    pub network_config: String,
}

/// Erase these drives, and no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseOrder {
    /// The machine's own drives. One that is missing is a failure; one that is
    /// found and not named is left alone and reported.
    pub drives: Vec<DriveRef>,
    /// Canaries to plant per drive.
    pub canaries: u32,
}

/// Let these keys in, as root, and say which host keys are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescueOrder {
    /// SSH public keys, in OpenSSH's form.
    pub ssh_keys: Vec<String>,
}

/// Compare this drive with that image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasureOrder {
    /// The image's digest: its manifest is fetched by it.
    pub image: String,
    /// Which drive.
    pub drive: DriveRef,
    /// The other drives of its mirror.
    #[serde(default)]
    pub mirror: Vec<DriveRef>,
}

/// Write this image to that drive, for whoever will lease the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareOrder {
    /// The image's digest: its manifest and chunks are fetched by it.
    pub image: String,
    /// To which drive.
    pub drive: DriveRef,
}

/// Start the system on this drive by kexec: no pass through firmware.
///
/// The agent finds kernel, initrd and command line on the drive as its boot
/// loader would, loads them, and answers [`WorkOutcome::Starting`] with nothing
/// given up yet. Only once that was acknowledged does it unbind drivers, reset
/// devices, clear what it held in memory, and jump. What cannot be done is
/// [`WorkFailure::Kexec`], with the agent still at work and the drive untouched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartOrder {
    /// For which lease.
    pub lease: LeaseId,
    /// From which drive.
    pub drive: DriveRef,
}

/// Try kexec on this machine: start the same ramdisk by it, with a record of the
/// boot `next`.
///
/// The ramdisk is fetched (`GET /agent/v1/ramdisk`); the record is the agent's
/// own, with another token. The answer is as for [`StartOrder`]; that the trial
/// passed shows when an agent says hello in `next`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialOrder {
    /// The boot that begins with the jump.
    pub next: BootId,
    /// Its token: put in when the task is handed out, and never stored.
    pub token: Option<Handed>,
}

/// Read these canaries back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyOrder {
    /// What the erase reported.
    pub erased: Vec<DriveErase>,
    /// How many blocks of 4096 bytes to sample per drive, beside the canaries.
    pub samples: u32,
    /// Whether to clear the TPM and read that back.
    pub clear_tpm: bool,
}

/// How a drive was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EraseMethod {
    /// NVMe sanitize, crypto erase.
    SanitizeCrypto,
    /// NVMe sanitize, block erase.
    SanitizeBlock,
    /// NVMe sanitize, overwrite.
    SanitizeOverwrite,
    /// NVMe format with crypto erase.
    FormatCrypto,
    /// NVMe format with user data erase.
    FormatUser,
    /// ATA secure erase.
    AtaSecureErase,
    /// Write-zeroes over every block.
    WriteZeroes,
    /// Zeroes written over every block.
    Overwrite,
}

impl EraseMethod {
    /// NIST SP 800-88r1's word for the method: what reaches only addressable
    /// blocks by ordinary writes is Clear; what the drive itself does to all of
    /// its medium is Purge (appendix A, tables ).
    pub fn nist(self) -> NistWord {
        match self {
            Self::SanitizeCrypto
            | Self::SanitizeBlock
            | Self::SanitizeOverwrite
            | Self::FormatCrypto => NistWord::Purge,
            Self::FormatUser | Self::AtaSecureErase | Self::WriteZeroes | Self::Overwrite => {
                NistWord::Clear
            }
        }
    }
}

/// NIST SP 800-88's words for a sanitised drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum NistWord {
    /// Not recoverable by ordinary means.
    Clear,
    /// Not recoverable in a laboratory.
    Purge,
}

/// What an erase did to one drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriveErase {
    /// Which drive.
    pub drive: DriveRef,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// By what; `None` when it failed.
    pub method: Option<EraseMethod>,
    /// Methods tried before, with the reason each was not the one.
    pub tried: Vec<MethodTried>,
    /// Bytes that the method covered.
    pub bytes: u64,
    /// Canaries planted, with the SHA-256 of what each block held.
    pub canaries: Vec<Canary>,
    /// Why it failed, where it did.
    pub failure: Option<String>,
}

/// A method that was not the one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MethodTried {
    /// Which.
    pub method: EraseMethod,
    /// Why not.
    pub reason: String,
}

/// A block with known content, planted before an erase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Canary {
    /// Byte offset on the drive, a multiple of 4096.
    pub offset: u64,
    /// SHA-256 of the 4096 bytes planted, lower-case hex.
    pub sha256: String,
}

/// What reading a drive back found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriveVerify {
    /// Which drive.
    pub drive: DriveRef,
    /// Canaries read.
    pub canaries_read: u32,
    /// Canaries still there: any is a failure.
    pub canaries_found: u32,
    /// Sampled blocks of 4096 bytes read, uncached.
    pub samples_read: u32,
    /// Sampled blocks that were neither all zero nor all one bits.
    pub samples_with_data: u32,
    /// Why it could not be read, where it could not.
    pub failure: Option<String>,
}

/// What came of clearing the TPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "tpm")]
pub enum TpmClear {
    /// There is none.
    None,
    /// Cleared, and read back.
    Cleared {
        /// What was read back, in a sentence.
        readback: String,
    },
    /// Not cleared.
    NotCleared {
        /// Why.
        reason: String,
    },
}

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Not looked at; the detail says why.
    NotTested,
}

/// One test and its figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestResult {
    /// Of which part (`memory`, a drive's serial, a PCI address).
    pub part: String,
    /// Which test.
    pub test: String,
    /// How it ended.
    pub verdict: Verdict,
    /// The figure measured, as text with its unit.
    pub figure: Option<String>,
    /// What it should be, or what went wrong.
    pub detail: String,
}

/// What an agent brings back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum WorkOutcome {
    /// The machine's parts.
    Inspected {
        /// The parts.
        inventory: Box<Inventory>,
    },
    /// Test results.
    Tested {
        /// One for each test.
        results: Vec<TestResult>,
    },
    /// The image stands on the drive and was read back.
    Written(WriteReport),
    /// Drives were erased, or not.
    Erased {
        /// One for each drive ordered.
        drives: Vec<DriveErase>,
        /// Drives found that were not ordered, left alone.
        unordered: Vec<DriveRef>,
    },
    /// The tenant can get in. The agent goes on letting it in until its token is
    /// good no more.
    Rescuing {
        /// SSH host keys, in OpenSSH's form.
        host_keys: Vec<String>,
    },
    /// A drive was compared with an image.
    Measured(Measured),
    /// The image stands on the drive and was read back; nothing else was written.
    Prepared(WriteReport),
    /// A kernel is loaded: once this is acknowledged, drivers are unbound, devices
    /// reset, and it is started.
    Starting(StartReport),
    /// Drives were read back.
    Verified {
        /// One for each drive ordered.
        drives: Vec<DriveVerify>,
        /// The TPM.
        tpm: TpmClear,
    },
    /// It was not done. Nothing more is being done either.
    Failed {
        /// Which kind.
        kind: WorkFailure,
        /// What exactly.
        detail: String,
    },
}

/// What writing an image did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WriteReport {
    /// Image digest.
    pub image: String,
    /// Bytes written.
    pub written_bytes: u64,
    /// Bytes of empty blocks discarded and not written.
    pub discarded_bytes: u64,
    /// Bytes read back uncached and found to be the image's.
    pub verified_bytes: u64,
    /// How often the stream broke and was resumed.
    pub resumed: u32,
    /// Size of the root file system's partition after growing, in bytes.
    pub root_bytes: Option<u64>,
    /// Where kernel arguments were put, if any were asked for.
    pub kernel_args: Option<String>,
    /// What the read-back found; `None` from agents of before it was told.
    #[serde(default)]
    pub measured: Option<Box<Measured>>,
    /// What was put on the drive after that, read back too.
    #[serde(default)]
    pub changes: Vec<DriveChange>,
    /// What was put on other drives, or found there.
    #[serde(default)]
    pub arrays: Vec<ArrayWritten>,
    /// What was put on the other drives of a mirror, after the image, which is on
    /// each of them as it is on the first.
    #[serde(default)]
    pub mirrors: Vec<MirrorWritten>,
    /// Which partitions are mirrored and which are plain copies, in sentences.
    #[serde(default)]
    pub mirrored: Vec<String>,
}

/// What was put on a further drive of a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorWritten {
    /// Serial number.
    pub serial: String,
    /// What was put there after the image, read back.
    pub changes: Vec<DriveChange>,
}

/// What is about to be started by kexec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StartReport {
    /// The kernel: where it was found.
    pub kernel: String,
    /// The initrd: where it was found; `None` where there is none.
    pub initrd: Option<String>,
    /// The kernel's command line.
    pub cmdline: String,
    /// What was done and is going to be done, in sentences.
    #[serde(default)]
    pub done: Vec<String>,
}

/// Ways in which work fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkFailure {
    /// The image's bytes are not what its manifest says.
    ImageCorrupt,
    /// The image does not fit the drive, or cannot be made what was asked.
    ImageUnsuitable,
    /// The drive that was named is not there.
    DriveMissing,
    /// A drive failed to read or write, or read back other than written.
    DriveFailed,
    /// The control plane said that the task is no longer current.
    Superseded,
    /// The control plane could not be reached.
    Network,
    /// A kernel could not be found on the drive, or not be loaded: nothing was
    /// started.
    Kexec,
    /// Anything else.
    Other,
}

/// How far a piece of work is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is being done, in a few words.
    pub step: String,
    /// Units done.
    pub done: u64,
    /// Units in all; 0 where not known.
    pub total: u64,
    /// What the units are (`bytes`, `drives`).
    pub unit: String,
}

/// A task as an agent gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id: the same when asked for again.
    pub id: TaskId,
    /// The machine's epoch that it belongs to.
    pub epoch: Epoch,
    /// What to do.
    pub work: Work,
    /// Addresses of the machine, for what is written into a seed or checked.
    pub addresses: Vec<Address>,
}
