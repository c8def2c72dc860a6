//! What machines boot: the agent's ramdisk, boot media and disk images.
//!
//! Nothing here talks to a machine. [`ramdisk`] makes the one signed program
//! that every machine boots to be worked on, [`boot_media`] puts a machine's own
//! boot record beside it on a virtual CD, [`install_media`] puts a tenant's own
//! installer on one, [`image`] turns what tenants upload
//! into the form in which Billet stores and streams disk images, and [`build`]
//! makes such an image from a distribution's packages.

pub mod boot_media;
pub mod build;
pub mod image;
pub mod install_media;
pub mod ipxe;
pub mod progress;
pub mod ramdisk;

mod command;
mod digest;
mod window;

pub use command::CommandError;
