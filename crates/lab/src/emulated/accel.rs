//! What runs the guests: KVM where it works, else QEMU's own translator.
//!
//! `/dev/kvm` can be there, open, and yet not run a guest; so a tiny one is tried. It is a boot
//! sector that leaves through QEMU's debug-exit port, which takes a fraction of a second.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Command;

use crate::metal::MetalError;

/// How guests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accel {
    /// By the processor itself.
    Kvm,
    /// By translation, some twenty times slower.
    Tcg,
}

impl Accel {
    pub(super) fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    pub(super) fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            // Walking five levels of page tables, which nothing here needs, costs a translated
            // boot some five per cent of its time.
            Self::Tcg => "max,la57=off",
        }
    }
}

/// QEMU's program.
pub(super) const QEMU: &str = "qemu-system-x86_64";

/// A boot sector: `mov al, 41h; out 0f4h, al; hlt`. QEMU then ends with status
/// `(0x41 << 1) | 1`.
const GUEST: [u8; 5] = [0xb0, 0x41, 0xe6, 0xf4, 0xf4];
const GUEST_STATUS: i32 = (0x41 << 1) | 1;

/// How long the tiny guest may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Try KVM with a guest, and say what to use. `scratch` is a directory to put the guest in.
///
/// # Errors
/// When the guest cannot be written there.
pub async fn find_accel(scratch: &Path) -> Result<Accel, MetalError> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(Accel::Tcg);
    }
    let works = runs(scratch, Accel::Kvm).await?;
    if !works {
        tracing::info!("/dev/kvm is there and runs no guest; machines are translated instead");
    }
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

async fn runs(scratch: &Path, accel: Accel) -> Result<bool, MetalError> {
    let mut sector = [0u8; 512];
    sector[..GUEST.len()].copy_from_slice(&GUEST);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let file = scratch.join("kvm-probe.img");
    std::fs::write(&file, sector).map_err(MetalError::io("writing", file.display()))?;
    let blockdev = serde_json::json!({
        "driver": "raw",
        "node-name": "probe",
        "file": { "driver": "file", "filename": file },
    });
    let child = Command::new(QEMU)
        .args(["-machine", "pc,graphics=off", "-nodefaults"])
        .args(["-display", "none", "-m", "16"])
        .args(["-accel", accel.argument(), "-cpu", accel.cpu()])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .args(["-blockdev", &blockdev.to_string()])
        .args(["-device", "ide-hd,drive=probe,bootindex=0"])
        .args(["-boot", "reboot-timeout=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    let status = tokio::time::timeout(PATIENCE, child).await;
    let _ = std::fs::remove_file(&file);
    Ok(matches!(status, Ok(Ok(status)) if status.code() == Some(GUEST_STATUS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tiny_guest_runs_where_qemu_translates_it() {
        if std::env::var_os("BILLET_TEST_QEMU").is_none() {
            // Results of tests are the one thing that a test may print.
            #[allow(clippy::print_stderr)]
            {
                eprintln!("skipped: set BILLET_TEST_QEMU=1 to run tests with QEMU");
            }
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        assert!(runs(dir.path(), Accel::Tcg).await.expect("a trial"));
        // Whichever it is, the trial comes to an end and says so.
        find_accel(dir.path()).await.expect("a trial");
    }
}
