//! The lab's machines and BMCs, as their users see them.

mod agent;
mod common;
mod conformance;
mod console;
mod faults;
mod media;
mod qemu;
mod redfish;
