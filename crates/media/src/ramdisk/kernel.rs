//! Gets the distribution's kernel: downloads its package with apt and unpacks it, installing nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, CommandError};
use crate::progress::{OnProgress, Progress};

/// An unpacked kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelPackage {
    /// What `uname -r` will say.
    pub release: String,
    /// The kernel itself, a PE program with the EFI stub.
    pub vmlinuz: PathBuf,
    /// `lib/modules/RELEASE`, with `kernel/` and `modules.builtin` in it.
    pub modules: PathBuf,
    /// A static busybox, where one was unpacked beside: the shell of a rescue.
    pub busybox: Option<PathBuf>,
}

/// The package of the shell that a rescue gives its tenant.
const BUSYBOX: &str = "busybox-static";

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
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
    /// One of apt's or dpkg's tools failed.
    #[error("{doing}: {source}")]
    Tool {
        /// What it was to do.
        doing: &'static str,
        /// How it failed.
        source: CommandError,
    },
    /// The kernel's meta package names no kernel.
    #[error(
        "apt knows no kernel behind `{0}`: run apt-get update, and see that the distribution's main archive is among apt's sources"
    )]
    NoKernel(String),
    /// The unpacked packages lack a part.
    #[error("the kernel package unpacked to {} has no {missing}", directory.display())]
    Incomplete {
        /// Where it was unpacked.
        directory: PathBuf,
        /// What was looked for.
        missing: &'static str,
    },
}

impl KernelPackage {
    /// Downloads and unpacks the kernel that the distribution this runs on
    /// installs today, into `directory`; needs no root. What is there already is
    /// used again.
    ///
    /// Debian and Ubuntu are known. Takes about ten seconds and half a gigabyte.
    pub fn fetch(directory: &Path, progress: OnProgress<'_>) -> Result<Self, KernelError> {
        let unpacked = directory.join("unpacked");
        // One that was unpacked before rescues had a shell is fetched anew.
        if let Ok(found) = Self::open(&unpacked)
            && found.busybox.is_some()
        {
            return Ok(found);
        }
        let downloads = directory.join("packages");
        fs::create_dir_all(&downloads).map_err(|e| io_error("creating", &downloads, e))?;
        let mut packages = packages_of(meta_package())?;
        packages.push(BUSYBOX.to_owned());
        progress(Progress::begin("downloading the kernel"));
        command::run(
            Command::new("apt-get")
                .current_dir(&downloads)
                .args(["--quiet", "download"])
                .args(&packages),
            "apt",
        )
        .map_err(|source| KernelError::Tool {
            doing: "downloading the kernel",
            source,
        })?;
        progress(Progress::begin("unpacking the kernel"));
        let partial = directory.join("unpacking");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|e| io_error("removing", &partial, e))?;
        }
        fs::create_dir_all(&partial).map_err(|e| io_error("creating", &partial, e))?;
        for entry in fs::read_dir(&downloads).map_err(|e| io_error("listing", &downloads, e))? {
            let path = entry
                .map_err(|e| io_error("listing", &downloads, e))?
                .path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                command::run(
                    Command::new("dpkg-deb").arg("-x").arg(&path).arg(&partial),
                    "dpkg",
                )
                .map_err(|source| KernelError::Tool {
                    doing: "unpacking the kernel",
                    source,
                })?;
            }
        }
        if unpacked.exists() {
            fs::remove_dir_all(&unpacked).map_err(|e| io_error("removing", &unpacked, e))?;
        }
        fs::rename(&partial, &unpacked).map_err(|e| io_error("moving", &unpacked, e))?;
        Self::open(&unpacked)
    }

    /// Finds kernel and modules below a directory that kernel packages were
    /// unpacked into. Where there are several, the last by name.
    pub fn open(directory: &Path) -> Result<Self, KernelError> {
        let incomplete = |missing| KernelError::Incomplete {
            directory: directory.to_owned(),
            missing,
        };
        let boot = directory.join("boot");
        let mut releases: Vec<String> = fs::read_dir(&boot)
            .map_err(|_| incomplete("boot directory"))?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                Some(name.strip_prefix("vmlinuz-")?.to_owned())
            })
            .collect();
        releases.sort();
        let release = releases.pop().ok_or_else(|| incomplete("boot/vmlinuz-*"))?;
        let modules = ["lib/modules", "usr/lib/modules"]
            .iter()
            .map(|root| directory.join(root).join(&release))
            .find(|path| path.join("kernel").is_dir())
            .ok_or_else(|| incomplete("lib/modules"))?;
        Ok(Self {
            vmlinuz: boot.join(format!("vmlinuz-{release}")),
            modules,
            release,
            busybox: ["bin/busybox", "usr/bin/busybox"]
                .iter()
                .map(|path| directory.join(path))
                .find(|path| path.is_file()),
        })
    }
}

fn meta_package() -> &'static str {
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    match os_release.lines().find_map(|line| line.strip_prefix("ID=")) {
        Some("ubuntu") => "linux-image-generic",
        _ => "linux-image-amd64",
    }
}

/// The packages that hold the kernel and its modules: Debian has one, Ubuntu
/// three that say so in one another's dependencies.
fn packages_of(meta: &str) -> Result<Vec<String>, KernelError> {
    let image = depends(meta)?
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| KernelError::NoKernel(meta.to_owned()))?;
    let mut packages = vec![image.clone()];
    packages.extend(
        depends(meta)?
            .into_iter()
            .chain(depends(&image)?)
            .filter(|name| name.starts_with("linux-modules-")),
    );
    packages.sort();
    packages.dedup();
    Ok(packages)
}

fn depends(package: &str) -> Result<Vec<String>, KernelError> {
    let shown = command::run(
        Command::new("apt-cache").args(["show", "--no-all-versions", package]),
        "apt",
    )
    .map_err(|source| KernelError::Tool {
        doing: "asking apt for the kernel's packages",
        source,
    })?;
    Ok(depends_field(&String::from_utf8_lossy(&shown)))
}

/// The names in a `Depends:` field, first alternatives only.
fn depends_field(control: &str) -> Vec<String> {
    control
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))
        .into_iter()
        .flat_map(|field| field.split(','))
        .filter_map(|one| one.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> KernelError {
    KernelError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_out_of_a_depends_field() {
        let control = "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2), kmod | busybox\n";
        assert_eq!(
            depends_field(control),
            ["linux-image-6.1.0-56-amd64", "kmod"]
        );
        assert!(depends_field("Package: x\n").is_empty());
    }

    #[test]
    fn a_directory_without_a_kernel_is_said_to_be_incomplete() {
        let directory = tempfile::tempdir().unwrap();
        let error = KernelPackage::open(directory.path()).unwrap_err();
        assert!(matches!(error, KernelError::Incomplete { .. }), "{error}");
    }
}
