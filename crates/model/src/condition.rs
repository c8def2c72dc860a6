//! A lease's condition in the words that buyers of capacity use, made of its
//! state and of how its machine is. `docs/states.md` has the table.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    bmc::PowerAction,
    lease::LeaseState,
    lifecycle::{Health, Power},
    machine::Machine,
    step::Step,
};

/// How a lease is, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Being written and booted for its tenant.
    #[default]
    Provisioning,
    /// The tenant's, and on.
    Running,
    /// The tenant's and on, and a part of it is not well.
    Degraded,
    /// An operator has to see to its machine, or is at it.
    MaintenanceRequired,
    /// On its way to being off.
    Stopping,
    /// The tenant's, and off.
    Stopped,
    /// Being taken back.
    Terminating,
    /// Over.
    Terminated,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Provisioning,
        Self::Running,
        Self::Degraded,
        Self::MaintenanceRequired,
        Self::Stopping,
        Self::Stopped,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::MaintenanceRequired => "maintenance_required",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }

    /// That of a lease in this state, on this machine while it is the lease's.
    pub fn of(state: LeaseState, machine: Option<&Machine>) -> Self {
        match state {
            LeaseState::Deploying | LeaseState::Installing | LeaseState::Reinstalling => {
                return Self::Provisioning;
            }
            LeaseState::Releasing => return Self::Terminating,
            LeaseState::Released | LeaseState::Failed => return Self::Terminated,
            LeaseState::Maintenance => return Self::MaintenanceRequired,
            LeaseState::Active
            | LeaseState::Rescue
            | LeaseState::Measuring
            | LeaseState::Broken => {}
        }
        let Some(machine) = machine else {
            return Self::Running;
        };
        if machine.hold.is_some() {
            return Self::MaintenanceRequired;
        }
        // Broken is off by what it means, and its reason says more than health would.
        if state == LeaseState::Broken {
            return Self::Stopped;
        }
        let off = |action| matches!(action, PowerAction::Off | PowerAction::Shutdown);
        match (&machine.step, machine.power_request) {
            (Step::ChangePower { action }, _) if off(*action) => return Self::Stopping,
            (_, Some(action)) if off(action) => return Self::Stopping,
            _ => {}
        }
        // The ramdisk comes up and goes by way of power off, which is not the tenant's.
        if state == LeaseState::Active && machine.power.map(|r| r.power) == Some(Power::Off) {
            return Self::Stopped;
        }
        match machine.health {
            Health::Degraded | Health::Failed => Self::Degraded,
            Health::Ok | Health::Unknown => Self::Running,
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
