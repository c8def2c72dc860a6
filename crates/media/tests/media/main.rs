//! What machines boot from, made and read back.

mod common;
mod import;
mod install_media;
mod medium;
mod qemu;
mod uki;
