//! Writes images to drives, reads them back, finds what they boot, erases them.
//!
//! Nothing here is believed because a call succeeded: what was written is read
//! back past every cache, and an erase counts when canaries planted before it
//! are gone. Whoever calls brings a [`Watch`], which is asked before each write
//! whether the work is still wanted.

pub mod aligned;
mod args;
pub mod arrays;
pub mod block;
mod bls;
pub mod boots;
mod canary;
mod chunks;
pub mod copies;
pub mod device;
pub mod erase;
mod error;
#[cfg(test)]
mod fake;
mod fetch;
mod find;
mod gpt;
pub mod grub;
mod inside;
mod layout;
mod md;
pub mod measure;
pub mod mirror;
pub mod mounted;
mod nvme;
mod readback;
mod seed;
pub mod source;
mod sys;
pub mod verify;
mod view;
pub mod watch;
pub mod write;

pub use block::BlockDevice;
pub use boots::{BootError, Boots, Mounts};
pub use device::Device;
pub use erase::erase;
pub use error::{DriveError, WriteError};
pub use find::find;
pub use measure::{measure, measure_copies};
pub use mirror::write_mirror;
pub use source::{ImageSource, SourceError};
pub use verify::verify;
pub use watch::{Stopped, Watch};
pub use write::{Standing, finish_prepared, prepare_image, write_image};
