//! Making a kernel ready to be started in place of the running one: what a drive
//! boots, copied and loaded, with nothing given up yet. What follows once the
//! control plane knows of it is in [`crate::leave`].

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use billet_drives::{BlockDevice, BootError, DriveError, Mounts, boots::Loader};
use billet_hardware::Tree;
use billet_model::{
    inventory::Drive,
    work::{DriveRef, StartReport, WorkFailure},
};
use sha2::{Digest, Sha256};

use crate::{console::say, devices, kexec};

/// Where kernel and initrd lie until they are loaded. In memory: the kernel's
/// reader wants files that nobody has open for writing, and what was hashed is
/// what is loaded.
const STAGE: &str = "/run/billet-start";

/// Why nothing is started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The drive is not there.
    #[error("no drive has serial {}", .0.serial)]
    Missing(DriveRef),
    /// The drive cannot be read.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// What it boots is not known.
    #[error("what the drive boots is not known: {0}")]
    Boot(#[from] BootError),
    /// The ramdisk of a trial could not be had.
    #[error("fetching the ramdisk: {0}")]
    Ramdisk(String),
    /// Kernel or initrd could not be put ready.
    #[error("{doing}: {source}")]
    Stage {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The command line cannot be one.
    #[error("the kernel's command line has a NUL in it")]
    Cmdline,
    /// The running kernel does not take it.
    #[error("{0}")]
    Refused(String),
}

impl StartError {
    /// The kind that goes into a report.
    pub fn kind(&self) -> WorkFailure {
        match self {
            Self::Missing(_) => WorkFailure::DriveMissing,
            _ => WorkFailure::Kexec,
        }
    }
}

/// Loads what a drive boots.
///
/// # Errors
/// See [`StartError`].
pub fn load(tree: &Tree, drive: &Drive) -> Result<StartReport, StartError> {
    let device = BlockDevice::open_first_to_read(drive)?;
    let mounts = Mounts::of(&device)?;
    let boots = mounts.find()?;
    let mut stage = Stage::new()?;
    mounts.copy(&boots.kernel, &mut stage.kernel()?)?;
    for piece in &boots.initrds {
        mounts.copy(piece, &mut stage.initrd()?)?;
    }
    let place = |piece| format!("/dev/{} {}", drive.name, mounts.place(piece));
    let kernel = place(&boots.kernel);
    let initrds: Vec<String> = boots.initrds.iter().map(place).collect();
    // Nothing of the drive is held on to.
    drop(mounts);
    drop(device);
    let mut done = vec![format!(
        "found by {}, entry {:?}",
        match boots.loader {
            Loader::Grub => "GRUB's configuration",
            Loader::SystemdBoot => "systemd-boot's entries",
            Loader::Firmware => "the unified kernel image that firmware starts",
        },
        boots.entry
    )];
    done.extend(stage.load(&boots.cmdline)?);
    done.extend(intended(tree));
    say(format!("loaded {kernel}"));
    Ok(StartReport {
        kernel,
        initrd: (!initrds.is_empty()).then(|| initrds.join(", ")),
        cmdline: boots.cmdline,
        done,
    })
}

/// What is going to be done once the control plane knows, in sentences.
pub(crate) fn intended(tree: &Tree) -> Vec<String> {
    let mut said = devices::announced(&devices::functions(tree));
    let zeroes = tree
        .text("proc/cmdline")
        .is_some_and(|line| line.split_whitespace().any(|word| word == "init_on_free=1"));
    said.push(
        if zeroes {
            "the agent's memory, its files and the caches freed, and zeroed by the kernel as they are freed"
        } else {
            "the agent's memory, its files and the caches freed; not zeroed, because the ramdisk's kernel was booted without init_on_free=1"
        }
        .into(),
    );
    said
}

/// Kernel and initrd on their way into the running kernel.
pub(crate) struct Stage {
    kernel: PathBuf,
    initrd: PathBuf,
    has_initrd: bool,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is loaded is the kernel's own copy.
        let _ = fs::remove_dir_all(STAGE);
    }
}

impl Stage {
    pub fn new() -> Result<Self, StartError> {
        let _ = fs::remove_dir_all(STAGE);
        fs::create_dir_all(STAGE).map_err(failed("making room for the kernel"))?;
        Ok(Self {
            kernel: Path::new(STAGE).join("kernel"),
            initrd: Path::new(STAGE).join("initrd"),
            has_initrd: false,
        })
    }

    /// Where the kernel is to be written.
    pub fn kernel(&self) -> Result<File, StartError> {
        File::create(&self.kernel).map_err(failed("making a file for the kernel"))
    }

    /// Where the next part of the initrd is to be written: the kernel takes
    /// archives one after the other, each at a multiple of four bytes.
    pub fn initrd(&mut self) -> Result<File, StartError> {
        self.has_initrd = true;
        let open = || -> io::Result<File> {
            let mut options = File::options();
            let mut file = options.create(true).append(true).open(&self.initrd)?;
            let length = file.metadata()?.len();
            let padding = length.next_multiple_of(4) - length;
            file.write_all(&[0; 4][..padding as usize])?;
            Ok(file)
        };
        open().map_err(failed("making a file for the initrd"))
    }

    /// Loads both. Says what was loaded.
    pub fn load(self, cmdline: &str) -> Result<Vec<String>, StartError> {
        let line = CString::new(cmdline).map_err(|_| StartError::Cmdline)?;
        let open = |path: &Path| File::open(path).map_err(failed("opening what was copied"));
        let kernel = open(&self.kernel)?;
        let initrd = self.has_initrd.then(|| open(&self.initrd)).transpose()?;
        let mut said = vec![described("kernel", &kernel)?];
        if let Some(initrd) = &initrd {
            said.push(described("initrd", initrd)?);
        }
        kexec::load(kernel.as_fd(), initrd.as_ref().map(AsFd::as_fd), &line)
            .map_err(StartError::Refused)?;
        Ok(said)
    }
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Stage { doing, source }
}

/// A file's size and SHA-256.
fn described(what: &str, mut file: &File) -> Result<String, StartError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(failed("reading what was copied"))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read;
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(format!("{what} loaded: {size} bytes, SHA-256 {hex}"))
}
