//! Long work that a caller can follow.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{LeaseId, MachineId, OperationId, ProjectId, work::Progress};

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Reading a new machine through its BMC.
    Enroll,
    /// Taking a machine over: off, inspected, erased, tested.
    TakeOver,
    /// Listing parts again.
    Inspect,
    /// Testing again.
    Test,
    /// Bringing a quarantined machine back.
    Repair,
    /// Making a machine ready for a lease.
    Deploy,
    /// Taking a machine back from a lease.
    Release,
    /// Changing power.
    Power,
    /// Writing a lease's drive anew.
    Reinstall,
    /// Bringing the ramdisk up for a tenant, or the drive again.
    Rescue,
    /// Comparing a lease's drive with its image.
    Measure,
    /// Giving a BMC another password.
    RotatePassword,
    /// Taking what is set in a machine for what is wanted.
    AcceptSettings,
    /// Taking an image in.
    ImportImage,
}

impl OperationKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::TakeOver => "take_over",
            Self::Inspect => "inspect",
            Self::Test => "test",
            Self::Repair => "repair",
            Self::Deploy => "deploy",
            Self::Release => "release",
            Self::Power => "power",
            Self::Reinstall => "reinstall",
            Self::Rescue => "rescue",
            Self::Measure => "measure",
            Self::RotatePassword => "rotate_password",
            Self::AcceptSettings => "accept_settings",
            Self::ImportImage => "import_image",
        }
    }
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// At work.
    Running,
    /// Done.
    Succeeded,
    /// Not done; the message says why and what to do.
    Failed,
}

impl OperationState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Id.
    pub id: OperationId,
    /// What it is for.
    pub kind: OperationKind,
    /// State.
    pub state: OperationState,
    /// The machine it works on.
    pub machine: Option<MachineId>,
    /// The lease it works for.
    pub lease: Option<LeaseId>,
    /// The project that may see it; `None` is the operator's.
    pub project: Option<ProjectId>,
    /// What is being done, or what came of it, in a sentence.
    pub message: String,
    /// How far the present step is.
    pub progress: Option<Progress>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}
