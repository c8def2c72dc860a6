//! The program on a machine: init of the boot ramdisk. It calls home and asks
//! for work; nobody calls it.
//!
//! As PID 1 it never returns: whatever ends it ends in the machine's power
//! being off, so that the control plane sees a state that it knows.

pub mod channel;
pub mod clock;
pub mod console;
pub mod desk;
pub mod dhcp;
pub mod halt;
pub mod init;
pub mod modules;
pub mod netlink;
pub mod network;
pub mod rescue;
pub mod tasks;
pub mod tpm;
pub mod work;
