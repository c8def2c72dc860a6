//! The agent's channel: paths and bodies.
//!
//! | call | means |
//! |---|---|
//! | `POST /agent/v1/hello` [`Hello`] → [`Welcome`] | I run, in this boot |
//! | `GET /agent/v1/task?wait=SECONDS` → 200 [`billet_model::work::Task`] or 204 | what is to be done? |
//! | `POST /agent/v1/tasks/{id}/confirm` → [`Confirm`] | may I write now? |
//! | `POST /agent/v1/tasks/{id}/progress` [`billet_model::work::Progress`] → [`Confirm`] | so far I am |
//! | `POST /agent/v1/tasks/{id}/outcome` [`billet_model::work::WorkOutcome`] → 204 | this came of it |
//! | `GET /agent/v1/images/{digest}/manifest` → [`billet_model::image::ImageManifest`] | |
//! | `GET /agent/v1/images/{digest}/blob` (Range) → bytes | |
//! | `GET /agent/v1/ramdisk` → the UKI that this control plane boots | while the task is a trial |
//!
//! Every call carries `Authorization: Bearer <token of the boot>`. A token that
//! is not, or no longer, known gets 401: the agent then stops at once, whatever
//! it does, and powers the machine off. One that is not good *yet* gets 503 with
//! `Retry-After`: it is asked again.
//!
//! # Starting a kernel
//!
//! For [`billet_model::work::Work::Start`] and `Trial` the outcome comes before
//! the deed. The agent loads the kernel, then tells
//! [`billet_model::work::WorkOutcome::Starting`] until it is acknowledged (the
//! same outcome told again is acknowledged again, also when the step has moved
//! on to the boot that it begins), and only then gives up the network and jumps.
//! An agent that is not acknowledged does not jump; one that fails before tells
//! `Failed` with [`billet_model::work::WorkFailure::Kexec`] and waits for the
//! next task.
//!
//! In a trial the new kernel's agent says hello with the token of the boot that
//! the order names. It may do so before the control plane took note of the
//! outcome: then it gets 503, and asks again.

use serde::{Deserialize, Serialize};

/// Prefix of all paths.
pub const PREFIX: &str = "/agent/v1";

/// How long the yes of a [`Confirm`] is good for, in seconds from when it was
/// *asked for*, by the agent's monotonic clock. Later it must ask again.
pub const CONFIRM_SECONDS: u64 = 10;

/// How often an agent at work reports progress, in seconds, at least.
pub const PROGRESS_SECONDS: u64 = 5;

/// The agent runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the agent.
    pub version: String,
    /// Serial number that SMBIOS gives: must be the machine's.
    pub serial: Option<String>,
    /// Kernel's boot id: another boot with the same token is refused.
    pub kernel_boot_id: String,
    /// Seconds since the kernel started.
    pub uptime_seconds: u64,
}

/// What the control plane answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The machine's name, for the console.
    pub machine: String,
    /// How long to wait for a task in one call, in seconds.
    pub wait_seconds: u64,
}

/// Whether a task is still the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// `false`: stop, write nothing more.
    pub current: bool,
}
