//! The program on a machine: init of the boot ramdisk. It calls home and asks
//! for work; nobody calls it.
//!
//! As PID 1 it never returns: whatever ends it ends in the machine's power
//! being off, so that the control plane sees a state that it knows. Or it starts
//! another kernel in its place: see [`start`] and [`leave`].

pub mod channel;
pub mod clock;
pub mod console;
pub mod desk;
pub mod devices;
pub mod dhcp;
pub mod halt;
pub mod init;
pub mod kexec;
pub mod leave;
pub mod modules;
pub mod netlink;
pub mod network;
pub mod rescue;
pub mod start;
pub mod tasks;
pub mod tpm;
pub mod trial;
pub mod work;
