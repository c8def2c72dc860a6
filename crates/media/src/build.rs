//! Makes a bootable disk image from a distribution's packages: `billet image build debian-12`.
//!
//! The image boots under UEFI by systemd-boot with boot loader specification
//! entries: kernel, initrd and kernel command line are files on the FAT system
//! partition, so kernel arguments can be set without mounting the tenant's root.
//! It has cloud-init, with `NoCloud` as its only source of data, and OpenSSH with
//! root's login by key. The root partition is the last one, so that it can grow.
//!
//! No loop device and no mount outside of a namespace is needed: `mmdebstrap` puts
//! the tree together, as root or in a user namespace, and `mke2fs -d` turns it
//! into a file system right in the image file.

mod bootstrap;
mod disk;
mod recipe;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use recipe::{RECIPES, Recipe};

use crate::command::CommandError;
use crate::progress::{OnProgress, Progress};

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The recipe's name, one of [`RECIPES`].
    pub name: String,
    /// Where the raw image goes. Sparse: it takes about 700 MB.
    pub output: PathBuf,
    /// The image's size in bytes; `None` is 2 GiB. The root file system grows at
    /// the first boot, so this is only the smallest drive that it fits on.
    pub size: Option<u64>,
    /// The package archive; `None` is the distribution's own.
    pub mirror: Option<String>,
}

/// A built image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ImageBuilt {
    /// The raw image.
    pub path: PathBuf,
    /// Its size in bytes, holes included.
    pub size: u64,
    /// The kernel that it boots.
    pub kernel_release: String,
}

/// Why no image came of it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no such recipe.
    #[error("there is no recipe `{name}`; there is: {}", recipe::names())]
    UnknownRecipe {
        /// What was asked for.
        name: String,
    },
    /// The image would be too small.
    #[error("{size} bytes are too few for this image: it takes at least {least}")]
    TooSmall {
        /// What was asked for, in bytes.
        size: u64,
        /// The least, in bytes.
        least: u64,
    },
    /// Neither root nor a user namespace is to be had.
    #[error(
        "building an image takes root, or a user namespace, and this system gives none: {reason}. Run it as root, or {remedy}"
    )]
    NoPrivileges {
        /// Why there is no user namespace.
        reason: String,
        /// What to change.
        remedy: &'static str,
    },
    /// A tool is missing or failed.
    #[error("{doing}: {source}")]
    Tool {
        /// What it was to do.
        doing: &'static str,
        /// How it failed.
        source: CommandError,
    },
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
    /// The partition table could not be made.
    #[error("making the partition table: {0}")]
    Partitions(String),
}

/// Bytes of an image if nothing else is asked for.
const DEFAULT_SIZE: u64 = 2 << 30;
/// Bytes below which the packages do not fit.
const LEAST_SIZE: u64 = 1536 << 20;

/// Builds an image. Takes one to three minutes, most of it the installing of packages.
pub fn build(options: &BuildOptions, progress: OnProgress<'_>) -> Result<ImageBuilt, BuildError> {
    let recipe = RECIPES
        .iter()
        .find(|recipe| recipe.name == options.name)
        .ok_or_else(|| BuildError::UnknownRecipe {
            name: options.name.clone(),
        })?;
    let size = options.size.unwrap_or(DEFAULT_SIZE);
    if size < LEAST_SIZE {
        return Err(BuildError::TooSmall {
            size,
            least: LEAST_SIZE,
        });
    }
    let layout = disk::Layout::new(size);
    progress(Progress::begin("installing the distribution's packages"));
    let tree = bootstrap::run(recipe, &layout, options.mirror.as_deref())?;
    progress(Progress::begin("making the image bootable"));
    let kernel_release = disk::finish(recipe, &layout, &tree)?;
    move_file(&tree.image(), &options.output)?;
    Ok(ImageBuilt {
        path: options.output.clone(),
        size: layout.size,
        kernel_release,
    })
}

/// Renames, or copies where that is another file system, keeping holes.
fn move_file(from: &Path, to: &Path) -> Result<(), BuildError> {
    if fs::rename(from, to).is_ok() {
        return Ok(());
    }
    crate::command::run(
        std::process::Command::new("cp")
            .arg("--sparse=always")
            .arg(from)
            .arg(to),
        "coreutils",
    )
    .map_err(|source| BuildError::Tool {
        doing: "copying the image to its place",
        source,
    })?;
    Ok(())
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> BuildError {
    BuildError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}
