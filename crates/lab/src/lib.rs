//! An emulated datacentre to build, test and demonstrate against.
//!
//! A lab is machines behind Redfish BMCs of its own: emulated ones, which are QEMU processes with
//! real firmware, kernels and drives, and phantoms, which only pretend, by the thousand. Whatever drives a BMC cannot tell the lab's from a real one by protocol, and
//! can tell by the data: every machine names [`facts::MANUFACTURER`] as its maker and says in its
//! model what it is.
//!
//! [Faults](faults) can be asked for over an API of the lab's own. Machines boot from virtual
//! media; network boot has its place in [`BootTarget`] and is not there yet.

mod api;
mod bmc;
mod console;
mod emulated;
pub mod facts;
pub mod faults;
mod lab;
mod manifest;
mod metal;
mod options;
mod phantom;
mod reach;
mod watch;

pub use emulated::{Accel, MediaBus};
pub use lab::{Lab, LabError, LabMachine, Summary};
pub use manifest::manifest;
pub use metal::{BootTarget, MediaSlot, MetalError, Power};
pub use options::{LabOptions, NetOptions};
pub use phantom::Model;
