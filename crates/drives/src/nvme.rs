//! How an NVMe controller erases itself: Sanitize and Format NVM (NVM Express
//! base specification 2.0, sections 5.22 and 5.14).

use std::{
    fs::{File, OpenOptions},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use billet_model::work::EraseMethod;

use crate::sys::{self, Admin};

/// A large rotating drive behind NVMe may take hours to be overwritten.
const SANITIZE_LIMIT: Duration = Duration::from_secs(12 * 3600);
/// A format with user data erase may write every block.
const FORMAT_LIMIT_MS: u32 = 3_600_000;
const BROADCAST: u32 = u32::MAX;

/// A namespace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(pub u32);

/// A controller and its namespaces.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    pub path: PathBuf,
    /// Those that have a block device.
    pub namespaces: Vec<Namespace>,
    /// Those that are allocated, as the inventory lists them.
    pub allocated: Vec<Namespace>,
}

impl Controller {
    /// Erases, and waits for the end.
    pub fn erase(&self, method: EraseMethod, progress: &dyn Fn(u16)) -> Result<(), String> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|e| format!("opening {}: {e}", self.path.display()))?;
        match method {
            EraseMethod::SanitizeBlock => sanitize(&device, 2, progress),
            EraseMethod::SanitizeOverwrite => sanitize(&device, 3, progress),
            EraseMethod::SanitizeCrypto => sanitize(&device, 4, progress),
            EraseMethod::FormatUser => self.format(&device, 1, progress),
            EraseMethod::FormatCrypto => self.format(&device, 2, progress),
            _ => Err("not a command of the controller".into()),
        }
    }

    /// What neither a block device nor a format of one namespace reaches: whoever has root can
    /// detach a namespace with what is in it, and attach it again on another day.
    pub fn hidden(&self) -> Option<String> {
        if self.allocated.is_empty() {
            return Some("which namespaces it has could not be read".into());
        }
        let inactive: Vec<u32> = self
            .allocated
            .iter()
            .filter(|n| !self.namespaces.contains(n))
            .map(|n| n.0)
            .collect();
        (!inactive.is_empty()).then(|| {
            format!(
                "namespaces {inactive:?} are allocated and not attached, which this does not reach"
            )
        })
    }

    /// Formats every namespace, keeping its block format.
    fn format(&self, device: &File, erase: u32, progress: &dyn Fn(u16)) -> Result<(), String> {
        let mut identify = vec![0; 4096];
        query(device, 0, 1, &mut identify)?;
        // FNA bits 0 and 1: a format, or its erase, is of all namespaces at once.
        let all_at_once = identify[524] & 0b11 != 0;
        if let Some(hidden) = self.hidden().filter(|_| !all_at_once) {
            return Err(hidden);
        }
        for (done, namespace) in self.namespaces.iter().enumerate() {
            query(device, namespace.0, 0, &mut identify)?;
            let nsid = if all_at_once { BROADCAST } else { namespace.0 };
            let command = Admin {
                opcode: 0x80,
                nsid,
                cdw10: format_dword(&identify, erase),
                timeout_ms: FORMAT_LIMIT_MS,
            };
            sys::admin(device, &command, &mut [])
                .map_err(|e| format!("formatting namespace {}: {e}", namespace.0))?;
            if all_at_once {
                break;
            }
            let share = (done + 1) * 65536 / self.namespaces.len();
            progress(u16::try_from(share).unwrap_or(u16::MAX));
        }
        Ok(())
    }
}

/// Command dword 10 of Format NVM, keeping what Identify Namespace says of the
/// block format: FLBAS bits 3:0 and 6:5, metadata (bit 4), protection (DPS).
fn format_dword(namespace: &[u8], erase: u32) -> u32 {
    let flbas = u32::from(namespace[26]);
    let protection = u32::from(namespace[29]);
    (flbas & 0x0f)
        | (flbas >> 4 & 1) << 4
        | (protection & 0b111) << 5
        | (protection >> 3 & 1) << 8
        | erase << 9
        | (flbas >> 5 & 0b11) << 12
}

/// Identify: of the controller (`cns` 1) or of a namespace (`cns` 0).
fn query(device: &File, nsid: u32, cns: u32, data: &mut [u8]) -> Result<(), String> {
    let command = Admin {
        opcode: 0x06,
        nsid,
        cdw10: cns,
        timeout_ms: 10_000,
    };
    sys::admin(device, &command, data).map_err(|e| format!("Identify: {e}"))
}

/// Starts a sanitize and follows it to its end in the log page.
fn sanitize(device: &File, action: u32, progress: &dyn Fn(u16)) -> Result<(), String> {
    let command = Admin {
        opcode: 0x84,
        nsid: 0,
        // One pass, where it overwrites (bits 7:4).
        cdw10: action | 1 << 4,
        timeout_ms: 60_000,
    };
    sys::admin(device, &command, &mut []).map_err(|e| format!("Sanitize: {e}"))?;
    let began = Instant::now();
    let mut log = vec![0; 512];
    loop {
        // Sanitize Status, log page 0x81, with its length in double words less one.
        let query = Admin {
            opcode: 0x02,
            nsid: BROADCAST,
            cdw10: 0x81 | (512 / 4 - 1) << 16,
            timeout_ms: 10_000,
        };
        sys::admin(device, &query, &mut log).map_err(|e| format!("sanitize status: {e}"))?;
        match log[2] & 0b111 {
            1 | 4 => return Ok(()),
            2 => progress(u16::from_le_bytes([log[0], log[1]])),
            3 => return Err("the drive reports that its sanitize failed".into()),
            other => return Err(format!("sanitize status {other} after its start")),
        }
        if began.elapsed() > SANITIZE_LIMIT {
            return Err("the sanitize did not end in 12 hours".into());
        }
        thread::sleep(Duration::from_millis(500));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_attached_is_hidden() {
        let of = |attached: &[u32], allocated: &[u32]| {
            let all = |ids: &[u32]| ids.iter().copied().map(Namespace).collect();
            let controller = Controller {
                path: PathBuf::new(),
                namespaces: all(attached),
                allocated: all(allocated),
            };
            controller.hidden()
        };
        assert_eq!(of(&[1, 2], &[1, 2]), None);
        assert!(of(&[1], &[1, 2]).is_some_and(|why| why.contains("[2]")));
        assert!(of(&[1], &[]).is_some_and(|why| why.contains("could not be read")));
    }

    #[test]
    fn a_format_keeps_the_block_format() {
        let mut namespace = vec![0; 4096];
        assert_eq!(format_dword(&namespace, 1), 1 << 9);
        namespace[26] = 0b0011_0010;
        namespace[29] = 0b1001;
        assert_eq!(
            format_dword(&namespace, 2),
            0b0010 | 1 << 4 | 1 << 5 | 1 << 8 | 2 << 9 | 1 << 12
        );
    }
}
