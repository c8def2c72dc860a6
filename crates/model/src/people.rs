//! Who asks: organisations, projects, tokens, roles.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Name, OrganisationId, ProjectId, TokenId};

/// Above projects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organisation {
    /// Id.
    pub id: OrganisationId,
    /// Name, unique.
    pub name: Name,
    /// Since when.
    pub created_at: Timestamp,
}

/// Who pays, and who may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// Id.
    pub id: ProjectId,
    /// Name, unique.
    pub name: Name,
    /// Its organisation.
    pub organisation: OrganisationId,
    /// Since when.
    pub created_at: Timestamp,
}

/// What a token lets its bearer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything about machines, and all projects.
    Operator,
    /// One project: its leases, images and tokens.
    ProjectOwner,
    /// One project: its leases and images.
    Member,
    /// Reads everything of one project, or of all; changes nothing.
    Auditor,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::ProjectOwner => "project_owner",
            Self::Member => "member",
            Self::Auditor => "auditor",
        }
    }
}

/// An access token, without its secret: that was shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Id.
    pub id: TokenId,
    /// What it is called, for people.
    pub name: Name,
    /// Role.
    pub role: Role,
    /// The project it is for; `None` for operators and auditors of everything.
    pub project: Option<ProjectId>,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
    /// Disabled by hand.
    pub disabled: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Who asked for a change, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "actor")]
pub enum Actor {
    /// A bearer of a token.
    Token {
        /// Which.
        id: TokenId,
        /// Its name at the time.
        name: Name,
        /// Its role at the time.
        role: Role,
    },
    /// Billet's own loop.
    Billet,
    /// The agent on a machine.
    Agent {
        /// Which machine's.
        machine: crate::MachineId,
    },
    /// A tenant's machine, phoning home.
    Machine {
        /// Which.
        machine: crate::MachineId,
    },
    /// Nobody that is known: a refused request.
    Unknown,
}
