//! Gets iPXE, which runs tenants' scripts, from the distribution's packages.
//!
//! What is needed is one that runs `autoexec.ipxe` from the medium that it was
//! loaded from, as iPXE does since 2021. Debian 12 has an older one: there the
//! package of the release after it is fetched, through apt and with the
//! distribution's own keys. Nothing is installed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, CommandError};
use crate::progress::{OnProgress, Progress};

/// The package.
const PACKAGE: &str = "ipxe";
/// The release whose package is fetched where the distribution's is too old.
const LATER: &str = "trixie";
/// Where packages keep the program for UEFI on x86-64, newer ones first.
const FILES: [&str; 3] = [
    "usr/lib/ipxe/ipxe-amd64.efi",
    "usr/lib/ipxe/ipxe.efi",
    "boot/ipxe.efi",
];

/// Why there is no iPXE.
#[derive(Debug, thiserror::Error)]
pub enum IpxeError {
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
    /// The package has no program for UEFI in it.
    #[error("the package {PACKAGE} has no program for UEFI on x86-64 in it")]
    NoProgram,
}

/// Fetches iPXE and puts it at `output`; says which version it is.
pub fn fetch(output: &Path, progress: OnProgress<'_>) -> Result<String, IpxeError> {
    let scratch = tempfile::tempdir().map_err(|source| IpxeError::Io {
        operation: "making a directory for",
        path: output.to_owned(),
        source,
    })?;
    let own = candidate(&[]).unwrap_or_default();
    let old = own.is_empty() || own.starts_with("1.0.0");
    let options = if old {
        progress(Progress::begin("asking for a later iPXE"));
        later(scratch.path())?
    } else {
        Vec::new()
    };
    let version = candidate(&options).unwrap_or(own);
    progress(Progress::begin("downloading iPXE"));
    tool(
        Command::new("apt-get")
            .args(&options)
            .args(["--quiet", "download", PACKAGE])
            .current_dir(scratch.path()),
        "downloading iPXE",
    )?;
    let unpacked = scratch.path().join("unpacked");
    for entry in fs::read_dir(scratch.path()).map_err(io_error("listing", scratch.path()))? {
        let path = entry.map_err(io_error("listing", scratch.path()))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&path).arg(&unpacked);
            tool(&mut unpack, "unpacking iPXE")?;
        }
    }
    let file = FILES.iter().map(|file| unpacked.join(file));
    let file = file.into_iter().find(|file| file.is_file());
    let file = file.ok_or(IpxeError::NoProgram)?;
    let partial = output.with_extension("partial");
    fs::copy(&file, &partial).map_err(io_error("writing", &partial))?;
    fs::rename(&partial, output).map_err(io_error("moving into place", output))?;
    Ok(version)
}

/// Options for apt that have it know the later release and nothing else, with
/// lists of its own.
fn later(scratch: &Path) -> Result<Vec<String>, IpxeError> {
    let sources = scratch.join("later.sources");
    let text = format!(
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {LATER}\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    fs::write(&sources, text).map_err(io_error("writing", &sources))?;
    for directory in ["state/lists/partial", "cache/archives/partial"] {
        let path = scratch.join(directory);
        fs::create_dir_all(&path).map_err(io_error("creating", &path))?;
    }
    let set = |name: &str, value: &Path| ["-o".to_owned(), format!("{name}={}", value.display())];
    let mut options: Vec<String> = set("Dir::Etc::sourcelist", &sources).into();
    options.extend(set("Dir::Etc::sourceparts", Path::new("/dev/null")));
    options.extend(set("Dir::State", &scratch.join("state")));
    options.extend(set("Dir::Cache", &scratch.join("cache")));
    tool(
        Command::new("apt-get")
            .args(&options)
            .args(["--quiet", "update"]),
        "reading the package lists of a later release",
    )?;
    Ok(options)
}

/// The version that apt would take.
fn candidate(options: &[String]) -> Option<String> {
    let said = command::run(
        Command::new("apt-cache")
            .args(options)
            .args(["policy", PACKAGE]),
        "apt",
    )
    .ok()?;
    let said = String::from_utf8_lossy(&said);
    let line = said
        .lines()
        .find_map(|l| l.trim().strip_prefix("Candidate:"))?;
    Some(line.trim().to_owned()).filter(|v| v != "(none)")
}

fn tool(command: &mut Command, doing: &'static str) -> Result<(), IpxeError> {
    let ran = command::run(command, "apt");
    ran.map(|_| ())
        .map_err(|source| IpxeError::Tool { doing, source })
}

fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> IpxeError + 'a {
    move |source| IpxeError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}
