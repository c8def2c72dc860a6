//! Calls to the kernel that have no safe form: ioctls on drives.
#![allow(unsafe_code)]

use std::{fs::File, io, os::fd::AsRawFd};

const BLKRRPART: u64 = 0x125F;
const BLKDISCARD: u64 = 0x1277;
const BLKZEROOUT: u64 = 0x127F;
/// `_IOWR('N', 0x41, struct nvme_passthru_cmd)`.
const NVME_IOCTL_ADMIN_CMD: u64 = 0xC048_4E41;

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

/// An NVMe admin command: what of it differs between those used here.
pub(crate) struct Admin {
    pub opcode: u8,
    pub nsid: u32,
    pub cdw10: u32,
    pub timeout_ms: u32,
}

/// Sends an admin command; `data` is filled with what the controller returns.
///
/// # Errors
/// The kernel's, or the NVMe status as [`io::ErrorKind::Other`].
pub(crate) fn admin(controller: &File, admin: &Admin, data: &mut [u8]) -> io::Result<()> {
    let mut command = Command {
        opcode: admin.opcode,
        nsid: admin.nsid,
        addr: if data.is_empty() {
            0
        } else {
            data.as_mut_ptr() as u64
        },
        data_len: u32::try_from(data.len()).map_err(io::Error::other)?,
        cdw10: admin.cdw10,
        timeout_ms: admin.timeout_ms,
        ..Command::default()
    };
    // SAFETY: the descriptor is open for the call's length; `command` is laid out
    // as the kernel's struct and lives through the call; `addr` and `data_len`
    // describe `data`, which is borrowed mutably, or are both zero.
    let status = unsafe {
        libc::ioctl(
            controller.as_raw_fd(),
            NVME_IOCTL_ADMIN_CMD as _,
            &mut command,
        )
    };
    match status {
        0 => Ok(()),
        s if s < 0 => Err(io::Error::last_os_error()),
        s => Err(io::Error::other(format!("NVMe status {s:#06x}"))),
    }
}

/// Discards a range of a block device.
pub(crate) fn discard(device: &File, offset: u64, length: u64) -> io::Result<()> {
    range(device, BLKDISCARD, offset, length)
}

/// Zeroes a range of a block device, by the drive's command where it has one.
pub(crate) fn zero_out(device: &File, offset: u64, length: u64) -> io::Result<()> {
    range(device, BLKZEROOUT, offset, length)
}

fn range(device: &File, request: u64, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: the descriptor is open for the call's length, and both requests
    // read two 64-bit numbers from the pointer, which `range` holds.
    let status = unsafe { libc::ioctl(device.as_raw_fd(), request as _, range.as_ptr()) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes the kernel read a drive's partition table again.
pub(crate) fn reread_partitions(device: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call's length; BLKRRPART takes no argument.
    let status = unsafe { libc::ioctl(device.as_raw_fd(), BLKRRPART as _, 0) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
