//! The program end to end: `billet serve` and `billet lab up` as processes of their own, and every
//! step by the command line. Phantoms for what goes wrong on the way; machines in QEMU for what
//! must be seen from outside.

mod bad_input;
mod bmcs;
mod consoles;
mod drives;
mod images;
mod installs;
mod kexec;
mod qemu;
mod races;
mod restore;
mod site;
mod support;
mod tenancy;
mod twice;
mod upkeep;
mod warm;

/// How a site's programs are started: whoever looks into a test that failed wants to know more
/// than they say by themselves.
const LOUD: &[&str] = &["-v"];
