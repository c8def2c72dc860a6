//! A kernel in place of the running one: `kexec_file_load(2)`, which rustix does
//! not have, and the jump.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use rustix::system::{RebootCommand, reboot};

// Of <linux/kexec.h>.
const UNLOAD: libc::c_ulong = 1;
const NO_INITRAMFS: libc::c_ulong = 4;

/// Loads a kernel to be started by [`jump`]. The files must be open for writing
/// nowhere, and are read before this returns.
///
/// # Errors
/// In words, with what the kernel said.
pub fn load(
    kernel: BorrowedFd<'_>,
    initrd: Option<BorrowedFd<'_>>,
    cmdline: &CStr,
) -> Result<(), String> {
    let (initrd, flags) = match &initrd {
        Some(file) => (file.as_raw_fd(), 0),
        None => (-1, NO_INITRAMFS),
    };
    let length = cmdline.to_bytes_with_nul().len();
    // SAFETY: both descriptors are open for the call's length, or -1 with the
    // flag that says so; the command line is `length` bytes with its NUL, and is
    // only read.
    let status = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd,
            length,
            cmdline.as_ptr(),
            flags,
        )
    };
    if status < 0 {
        return Err(meaning(&io::Error::last_os_error()));
    }
    Ok(())
}

/// Gives up what was loaded.
pub fn unload() {
    // SAFETY: with this flag the kernel looks at none of the other arguments.
    let status =
        unsafe { libc::syscall(libc::SYS_kexec_file_load, -1, -1, 0, c"".as_ptr(), UNLOAD) };
    // What is not given up is replaced by what is loaded next.
    let _ = status;
}

/// Starts what was loaded. Returns only where that is not done.
pub fn jump() -> io::Error {
    match reboot(RebootCommand::Kexec) {
        Ok(()) => io::Error::other("the kernel came back from it"),
        Err(error) => error.into(),
    }
}

/// What the kernel means by an error.
fn meaning(error: &io::Error) -> String {
    let what = match error.raw_os_error() {
        Some(libc::EPERM | libc::EKEYREJECTED | libc::ENOKEY | libc::EBADMSG | libc::ENODATA) => {
            "it takes only a kernel signed by a key that it trusts (Secure Boot)"
        }
        Some(libc::ENOEXEC) => "it does not take this for a kernel of its kind",
        Some(libc::ENOSYS) => "it has no kexec",
        Some(libc::ENOMEM | libc::EADDRNOTAVAIL) => "there is no memory for the other kernel",
        Some(libc::EINVAL) => "it does not take this kernel, or its command line is too long",
        Some(libc::ETXTBSY) => "the kernel's file is open for writing",
        _ => "it could not load the other kernel",
    };
    format!("the running kernel says no: {what} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_it_means() {
        for (code, part) in [
            (libc::EPERM, "signed"),
            (libc::ENOEXEC, "of its kind"),
            (libc::ENOSYS, "has no kexec"),
            (libc::EIO, "could not load"),
        ] {
            let said = meaning(&io::Error::from_raw_os_error(code));
            assert!(said.contains(part), "{said}");
            assert!(said.contains(&format!("os error {code}")), "{said}");
        }
    }
}
