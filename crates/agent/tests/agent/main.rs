//! The agent against a control plane of the tests' own.

mod channel;
mod plane;
mod qemu;
mod rescue;
