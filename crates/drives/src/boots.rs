//! What a drive would boot: kernel, initrd and command line, found as its boot
//! loader finds them, so that they can be started without going through
//! firmware.
//!
//! ```text
//! the ESP's \EFI\BOOT\BOOTX64.EFI is
//!   a unified kernel image ─► its sections                        [`uki`]
//!   systemd-boot ──────────► loader/entries, EFI/Linux            [`entries`]
//!   anything else ─────────► grub.cfg, as grub-mkconfig writes it [`grub`]
//! ```
//!
//! What firmware keeps of boot entries is not looked at: it may be a tenant's of
//! before. What cannot be understood is an error and never a guess, because the
//! drive can always be booted the long way.

mod entries;
mod glob;
mod grub;
mod mounts;
mod script;
mod uki;
mod version;
mod volume;

#[cfg(test)]
mod tests;

pub use mounts::Mounts;
pub use uki::section;
pub use volume::Volume;

use volume::Role;

/// Where the firmware looks on a drive that it knows nothing else of.
#[cfg(target_arch = "x86_64")]
const REMOVABLE: &str = "/EFI/BOOT/BOOTX64.EFI";
#[cfg(target_arch = "aarch64")]
const REMOVABLE: &str = "/EFI/BOOT/BOOTAA64.EFI";

/// A boot loader, or a kernel that is its own, is no larger.
const LARGEST_PROGRAM: u64 = 512 << 20;
/// No configuration is larger.
const LARGEST_TEXT: u64 = 1 << 20;
/// systemd-boot says who it is, as a section and in its text.
const SYSTEMD_BOOT: &[u8] = b"#### LoaderInfo: systemd-boot";

/// What a drive would boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boots {
    /// Who would boot it.
    pub loader: Loader,
    /// What the boot loader calls the entry.
    pub entry: String,
    /// The kernel.
    pub kernel: Piece,
    /// What follows it into memory, in that order.
    pub initrds: Vec<Piece>,
    /// The kernel's command line.
    pub cmdline: String,
}

/// A boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// GRUB.
    Grub,
    /// systemd-boot, by the boot loader specification.
    SystemdBoot,
    /// None: the firmware starts a unified kernel image.
    Firmware,
}

/// A file of a drive's, or a section of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which of the drive's file systems.
    pub volume: usize,
    /// Its path there, from the root.
    pub path: String,
    /// The section, where the file is a unified kernel image.
    pub section: Option<&'static str>,
}

/// Why it is not known what a drive would boot.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Nothing on it boots, as far as can be seen.
    #[error(
        "no boot loader of a known kind, and no boot entry, was found on {0} file systems of the drive"
    )]
    Nothing(usize),
    /// A boot loader's configuration is not understood.
    #[error("{place}: {detail}")]
    Unknown {
        /// Which file.
        place: String,
        /// What it says.
        detail: String,
    },
    /// The entry names a file that is not there.
    #[error("the boot entry {entry:?} names {path}, which is not on the drive")]
    Absent {
        /// Which entry.
        entry: String,
        /// Which file.
        path: String,
    },
    /// The drive could not be read.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl BootError {
    fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            doing: doing.into(),
            source,
        }
    }

    fn unknown(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Unknown {
            place: place.into(),
            detail: detail.into(),
        }
    }
}

/// Finds what a drive with these file systems would boot.
///
/// # Errors
/// Where nothing is found that boots, and where what is found is not understood.
pub fn find<V: Volume>(volumes: &[V]) -> Result<Boots, BootError> {
    let boots = decide(volumes)?;
    for piece in std::iter::once(&boots.kernel).chain(&boots.initrds) {
        let there = volumes[piece.volume]
            .size(&piece.path)
            .map_err(BootError::io(format!("looking for {}", piece.path)))?;
        if there.is_none() {
            return Err(BootError::Absent {
                entry: boots.entry,
                path: piece.path.clone(),
            });
        }
    }
    Ok(boots)
}

fn decide<V: Volume>(volumes: &[V]) -> Result<Boots, BootError> {
    for (at, volume) in volumes.iter().enumerate() {
        if volume.role() != Role::System {
            continue;
        }
        let program = volume
            .read(REMOVABLE, LARGEST_PROGRAM)
            .map_err(BootError::io(format!("reading {REMOVABLE}")))?;
        let Some(program) = program else { continue };
        if uki::is_one(&program) {
            return uki::boots(at, REMOVABLE, &program, Loader::Firmware);
        }
        if holds(&program, SYSTEMD_BOOT) {
            return entries::boots(volumes)?.ok_or(BootError::Nothing(volumes.len()));
        }
    }
    // GRUB is hard to tell from what only starts it, and may be started by a BIOS.
    if let Some(boots) = grub::boots(volumes)? {
        return Ok(boots);
    }
    entries::boots(volumes)?.ok_or(BootError::Nothing(volumes.len()))
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

/// A configuration as text; `None` where there is no such file.
fn text<V: Volume>(volume: &V, path: &str) -> Result<Option<String>, BootError> {
    let bytes = volume
        .read(path, LARGEST_TEXT)
        .map_err(BootError::io(format!("reading {path}")))?;
    Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
}
