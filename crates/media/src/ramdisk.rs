//! The ramdisk that every machine boots to be inspected, tested, written and erased.
//!
//! It is one UEFI program (a unified kernel image): the distribution's kernel, a
//! kernel command line and an initramfs that holds `billet-agent` and the kernel
//! modules it may need; nothing else of the distribution. It is the same for
//! every machine, bit for bit the same for the same inputs, and known by its
//! SHA-256. What is a machine's own comes beside it, see [`crate::boot_media`].
//!
//! # What the agent finds
//!
//! ```text
//! /init                                  billet-agent, static, started as PID 1
//! /dev /proc /sys /run /tmp /etc /root   empty directories; nothing is mounted
//! /dev/console /dev/null                 so that PID 1 can speak before devtmpfs is mounted
//! /bin/busybox                           the shell of a rescue, static; absent where none was found
//! /etc/billet-ramdisk                    JSON: {"agent_sha256": ..., "kernel_release": ...}
//! /lib/modules/RELEASE/kernel/**.ko      modules, not compressed
//! /lib/modules/RELEASE/modules.dep       "PATH: DEP DEP": load from right to left, then PATH
//! /lib/modules/RELEASE/modules.alias     "alias PATTERN NAME": a modalias glob, and who wants it
//! /modules/order                         "NAME PATH" in dependency order: load all of it first
//! /.extra/credentials/billet-boot.cred   the boot record, put there by systemd-stub
//! ```
//!
//! `modules.dep` and `modules.alias` are in depmod's format. The dependency lists
//! are whole closures and have the soft dependencies ("pre") folded in, because
//! there is no modprobe here for the kernel to call; a soft one may refuse to
//! load (`crc32c_intel` on an old processor), and that is no reason to give up on
//! what needs it. `/modules/order` lists what no modalias asks for: file systems,
//! character sets, the SCSI disk drivers.
//!
//! No firmware files are included: a NIC that does not run without one does not
//! run in the ramdisk.

mod initramfs;
mod kernel;
mod modinfo;
mod modules;
mod uki;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use kernel::{KernelError, KernelPackage};
pub use modinfo::ModuleError;
pub use uki::{Frame, Place, Section, UkiError, frame, join, sections, sign};

use crate::command::CommandError;
use crate::digest;
use crate::progress::{OnProgress, Progress};

/// The most that kernel and initramfs may have together, in bytes.
///
/// Every boot of every machine carries it through a BMC's virtual medium, which
/// can be as slow as one megabyte a second.
pub const SIZE_LIMIT: u64 = 48 << 20;

/// The kernel command line, the same for every machine.
///
/// `panic=10` restarts a machine whose agent died, so that it falls back to what
/// its BMC says next and does not stand still for ever. `no_timer_check` leaves out a
/// test of the timer that an emulated machine on a loaded host can fail.
/// `init_on_free=1` zeroes memory as it is freed, and all of it at boot: a kernel
/// that is started from here by kexec finds nothing of what the ramdisk freed.
pub const CMDLINE: &str =
    "console=tty0 console=ttyS0,115200n8 panic=10 loglevel=4 no_timer_check init_on_free=1";

/// Where Debian and Ubuntu put systemd's stub (package `systemd-boot-efi`).
pub const DEFAULT_STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// What a ramdisk is made of.
#[derive(Clone, Debug)]
pub struct RamdiskOptions {
    /// The static agent that becomes `/init`.
    pub agent: PathBuf,
    /// The unpacked kernel; see [`KernelPackage::fetch`].
    pub kernel: KernelPackage,
    /// systemd's UEFI stub, normally [`DEFAULT_STUB`].
    pub stub: PathBuf,
    /// Where the UKI goes. The directory must exist.
    pub output: PathBuf,
    /// Signs the UKI for Secure Boot.
    pub signing: Option<SigningKey>,
}

/// A key and certificate for Secure Boot, as PEM files that `sbsign` reads.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// The private key.
    pub key: PathBuf,
    /// Its X.509 certificate, which the machines' firmware must know.
    pub certificate: PathBuf,
}

/// A ramdisk, ready to boot.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RamdiskBuilt {
    /// The UKI.
    pub uki_path: PathBuf,
    /// The UKI's SHA-256, in hexadecimal. A signed UKI's digest covers its signature.
    pub digest: String,
    /// What `uname -r` will say.
    pub kernel_release: String,
    /// How many modules are in it.
    pub modules: usize,
    /// The kernel's size in bytes.
    pub kernel_size: u64,
    /// The compressed initramfs' size in bytes.
    pub initramfs_size: u64,
    /// The UKI's size in bytes.
    pub uki_size: u64,
}

/// Why no ramdisk came of it.
#[derive(Debug, thiserror::Error)]
pub enum RamdiskError {
    /// A file could not be read or written.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel package was not as expected.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A module could not be read or is missing.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The UKI could not be put together.
    #[error(transparent)]
    Uki(#[from] UkiError),
    /// Writing the initramfs failed.
    #[error("writing the initramfs: {0}")]
    Initramfs(io::Error),
    /// `sbsign` failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The agent is linked against shared libraries, which the ramdisk does not have.
    #[error(
        "{} is not a static program, and the ramdisk has no shared libraries: build it with -C target-feature=+crt-static",
        .0.display()
    )]
    AgentNotStatic(PathBuf),
    /// The busybox found is linked against shared libraries.
    #[error("the busybox found beside the kernel is not static: use the package busybox-static")]
    ShellNotStatic,
    /// Kernel and initramfs are larger than [`SIZE_LIMIT`].
    #[error("kernel and initramfs have {size} bytes together, more than the {SIZE_LIMIT} allowed")]
    TooLarge {
        /// Their size in bytes.
        size: u64,
    },
}

/// `sbsign` failed.
#[derive(Debug, thiserror::Error)]
#[error("signing {}: {source}", path.display())]
pub struct SignError {
    /// The UKI.
    pub path: PathBuf,
    /// How `sbsign` failed.
    pub source: CommandError,
}

impl RamdiskError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

/// Makes the ramdisk.
///
/// The same agent, kernel and stub give the same UKI, bit for bit, and so the
/// same digest. Nothing is left at `output` if it fails half-way.
pub fn build_ramdisk(
    options: &RamdiskOptions,
    progress: OnProgress<'_>,
) -> Result<RamdiskBuilt, RamdiskError> {
    progress(Progress::begin("choosing kernel modules"));
    let agent = read(&options.agent)?;
    if modinfo::is_dynamic(&agent) {
        return Err(RamdiskError::AgentNotStatic(options.agent.clone()));
    }
    let selection = modules::select(&options.kernel)?;
    let kernel = read(&options.kernel.vmlinuz)?;
    let busybox = options.kernel.busybox.as_deref().map(read).transpose()?;
    if busybox.as_deref().is_some_and(modinfo::is_dynamic) {
        return Err(RamdiskError::ShellNotStatic);
    }
    let stub = read(&options.stub)?;

    progress(Progress::begin("packing the ramdisk"));
    let initramfs = initramfs::pack(
        &agent,
        busybox.as_deref(),
        &options.kernel.release,
        &selection,
    )
    .map_err(RamdiskError::Initramfs)?;
    let size = (kernel.len() + initramfs.len()) as u64;
    if size > SIZE_LIMIT {
        return Err(RamdiskError::TooLarge { size });
    }

    progress(Progress::begin("joining kernel and ramdisk"));
    let os_release = format!(
        "ID=billet\nNAME=Billet\nPRETTY_NAME=\"Billet ramdisk\"\nVERSION_ID={}\n",
        env!("CARGO_PKG_VERSION")
    );
    let uki = uki::join(
        &stub,
        &[
            Section::new(".osrel", os_release.as_bytes()),
            Section::new(".cmdline", CMDLINE.as_bytes()),
            Section::new(".uname", options.kernel.release.as_bytes()),
            Section::new(".initrd", &initramfs),
            // Last, because the stub may expand the kernel in place behind it.
            Section::new(".linux", &kernel),
        ],
    )?;

    let partial = options.output.with_extension("partial");
    fs::write(&partial, &uki).map_err(|e| RamdiskError::io("writing", &partial, e))?;
    if let Some(signing) = &options.signing {
        progress(Progress::begin("signing the ramdisk"));
        uki::sign(&partial, signing)?;
    }
    let uki = read(&partial)?;
    fs::rename(&partial, &options.output)
        .map_err(|e| RamdiskError::io("moving into place", &options.output, e))?;
    Ok(RamdiskBuilt {
        uki_path: options.output.clone(),
        digest: digest::sha256(&uki),
        kernel_release: options.kernel.release.clone(),
        modules: selection.modules.len(),
        kernel_size: kernel.len() as u64,
        initramfs_size: initramfs.len() as u64,
        uki_size: uki.len() as u64,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, RamdiskError> {
    fs::read(path).map_err(|e| RamdiskError::io("reading", path, e))
}
