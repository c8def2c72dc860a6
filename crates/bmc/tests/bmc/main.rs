//! The Redfish client against fake, recorded and odd BMCs.

mod boot_and_media;
mod common;
mod console_keys;
mod endings;
mod faults;
mod mutations;
mod odd;
mod recorded;
mod sizes;
mod trees;
