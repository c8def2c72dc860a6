//! Keeps the firmware's variables from rotting.
//!
//! The firmware adds a boot entry for each medium and each drive it sees, and tries them all,
//! those of media long gone too, which costs it over a minute. The order in which it boots is
//! the BMC's to say, so boot entries are dropped before each start, and all else is kept. They
//! are marked as deleted, which is what the firmware itself does.
//!
//! Layout: UEFI Platform Initialization specification, volume 3, section 3.2.1 (firmware volume),
//! and EDK II's `MdeModulePkg/Include/Guid/VariableFormat.h` (authenticated variables).

use std::path::Path;

use super::disk::vars_file;
use crate::metal::MetalError;

/// EFI_GLOBAL_VARIABLE, as it lies in memory.
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];
/// A variable's header starts so.
const START: [u8; 2] = [0xaa, 0x55];
/// Length of an authenticated variable's header.
const HEADER: usize = 60;
/// Length of the variable store's header, after the volume's.
const STORE_HEADER: usize = 28;
/// A variable in use.
const ADDED: u8 = 0x3f;
/// Cleared in its state, this bit deletes a variable.
const DELETED: u8 = 0xfd;

/// Drop boot entries from the variables in `dir`.
pub(super) fn tidy(dir: &Path) -> Result<(), MetalError> {
    let file = vars_file(dir);
    let mut bytes = std::fs::read(&file).map_err(MetalError::io("reading", file.display()))?;
    if drop_boot_entries(&mut bytes) > 0 {
        std::fs::write(&file, bytes).map_err(MetalError::io("writing", file.display()))?;
    }
    Ok(())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

/// Mark boot entries as deleted; how many there were. What is not a variable store is left as it
/// is.
fn drop_boot_entries(bytes: &mut [u8]) -> usize {
    let Some(volume_header) = bytes
        .get(48..50)
        .and_then(|b| b.try_into().ok())
        .map(|b| usize::from(u16::from_le_bytes(b)))
    else {
        return 0;
    };
    let Some(size) = u32_at(bytes, volume_header + 16) else {
        return 0;
    };
    let end = (volume_header + size).min(bytes.len());
    let mut at = volume_header + STORE_HEADER;
    let mut dropped = 0;
    while at + HEADER <= end && bytes[at..at + 2] == START {
        let (Some(name), Some(data)) = (u32_at(bytes, at + 36), u32_at(bytes, at + 40)) else {
            break;
        };
        let Some(text) = bytes.get(at + HEADER..(at + HEADER).saturating_add(name)) else {
            break;
        };
        if bytes[at + 2] == ADDED && bytes[at + 44..at + 60] == GLOBAL && is_boot_entry(text) {
            bytes[at + 2] &= DELETED;
            dropped += 1;
        }
        // Each variable starts at a multiple of four.
        at = (at + HEADER + name + data).next_multiple_of(4);
    }
    dropped
}

/// Whether a name in UTF-16 is `BootOrder`, `BootNext` or `Boot` and four digits.
fn is_boot_entry(name: &[u8]) -> bool {
    let units: Vec<u16> = name
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .take_while(|u| *u != 0)
        .collect();
    let name = String::from_utf16_lossy(&units);
    name.strip_prefix("Boot").is_some_and(|rest| {
        matches!(rest, "Order" | "Next")
            || rest.len() == 4 && rest.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(names: &[&str]) -> Vec<u8> {
        let volume_header = 72usize;
        let mut bytes = vec![0u8; volume_header + STORE_HEADER];
        bytes[48] = 72;
        for name in names {
            let name: Vec<u8> = name
                .encode_utf16()
                .chain([0])
                .flat_map(u16::to_le_bytes)
                .collect();
            let mut variable = vec![0u8; HEADER];
            variable[..2].copy_from_slice(&START);
            variable[2] = ADDED;
            variable[36..40].copy_from_slice(&(name.len() as u32).to_le_bytes());
            variable[40..44].copy_from_slice(&3u32.to_le_bytes());
            variable[44..60].copy_from_slice(&GLOBAL);
            bytes.extend(variable);
            bytes.extend(&name);
            bytes.extend([1, 2, 3]);
            bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        }
        let size = (bytes.len() - volume_header + 64) as u32;
        bytes[88..92].copy_from_slice(&size.to_le_bytes());
        bytes.resize(bytes.len() + 64, 0xff);
        bytes
    }

    #[test]
    fn only_boot_entries_are_dropped() {
        let mut bytes = store(&[
            "Lang",
            "Boot0003",
            "BootOrder",
            "BootCurrentX",
            "PK",
            "Boot00",
        ]);
        let before = bytes.clone();
        assert_eq!(drop_boot_entries(&mut bytes), 2);
        let changed = before.iter().zip(&bytes).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 2);
        // They are gone already.
        assert_eq!(drop_boot_entries(&mut bytes), 0);
    }

    #[test]
    fn what_is_no_variable_store_is_left_alone() {
        let mut nothing = vec![0xffu8; 4096];
        assert_eq!(drop_boot_entries(&mut nothing), 0);
        assert_eq!(drop_boot_entries(&mut []), 0);
        assert!(nothing.iter().all(|b| *b == 0xff));
    }
}
