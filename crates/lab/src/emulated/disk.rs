//! The files of an emulated machine: drives, firmware variables, the TPM's state.

use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::EmulatedSetup;
use crate::metal::MetalError;

/// Firmware that comes with Debian's and Ubuntu's `ovmf`.
pub(super) const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(super) const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The file behind the `n`th drive, from 0.
pub(crate) fn drive_file(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("nvme{n}.img"))
}

pub(super) fn vars_file(dir: &Path) -> PathBuf {
    dir.join("OVMF_VARS.fd")
}

/// Make what is missing.
pub(super) fn prepare(setup: &EmulatedSetup) -> Result<(), MetalError> {
    for (n, drive) in setup.facts.drives.iter().enumerate() {
        let file = drive_file(&setup.dir, n);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .and_then(|f| f.set_len(drive.bytes))
            .map_err(MetalError::io("making a drive", file.display()))?;
    }
    let vars = vars_file(&setup.dir);
    if !vars.exists() {
        std::fs::copy(OVMF_VARS, &vars)
            .map_err(MetalError::io("copying firmware variables from", OVMF_VARS))?;
    }
    let tpm = setup.dir.join("tpm");
    std::fs::create_dir_all(&tpm).map_err(MetalError::io("making", tpm.display()))
}

/// Bytes that the drives of the machine in `dir` take up on the host: they grow as the machine
/// writes and shrink as it discards.
pub(crate) fn written_bytes(dir: &Path, drives: usize) -> u64 {
    (0..drives)
        .filter_map(|n| std::fs::metadata(drive_file(dir, n)).ok())
        // In units of 512 bytes, whatever the file system's blocks.
        .map(|m| m.blocks() * 512)
        .sum()
}
