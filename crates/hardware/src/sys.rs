//! The one call to the kernel that has no safe form: a command to an NVMe
//! controller. Only commands that read can be made here.
#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd};

/// `struct nvme_passthru_cmd` of `<linux/nvme_ioctl.h>`.
#[repr(C)]
#[derive(Default)]
struct Command {
    opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

/// `_IOWR('N', 0x41, struct nvme_passthru_cmd)`.
const NVME_IOCTL_ADMIN_CMD: u64 = 0xC048_4E41;

/// Admin commands that change nothing.
#[derive(Clone, Copy)]
pub(crate) enum Query {
    /// Identify, with the CNS that says what.
    Identify { cns: u32 },
    /// Get Log Page.
    Log { page: u32 },
}

/// Asks the controller behind `device`, and fills `data` with the answer.
///
/// # Errors
/// The kernel's, or the NVMe status as [`io::ErrorKind::Other`].
pub(crate) fn query(device: &File, query: Query, nsid: u32, data: &mut [u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(io::Error::other)?;
    let (opcode, cdw10) = match query {
        Query::Identify { cns } => (0x06, cns),
        // The number of double words, less one, stands in the upper half.
        Query::Log { page } => (0x02, page | ((length / 4).saturating_sub(1)) << 16),
    };
    let mut command = Command {
        opcode,
        nsid,
        addr: data.as_mut_ptr() as u64,
        data_len: length,
        cdw10,
        timeout_ms: 10_000,
        ..Command::default()
    };
    // SAFETY: the descriptor is open for the call's length; `command` is laid out
    // as the kernel's struct and lives through the call; `addr` and `data_len`
    // describe `data`, which is borrowed mutably, so nothing else touches what
    // the kernel writes. The commands write no more than `data_len` bytes.
    let status =
        unsafe { libc::ioctl(device.as_raw_fd(), NVME_IOCTL_ADMIN_CMD as _, &mut command) };
    match status {
        0 => Ok(()),
        s if s < 0 => Err(io::Error::last_os_error()),
        s => Err(io::Error::other(format!("NVMe status {s:#06x}"))),
    }
}
