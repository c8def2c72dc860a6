//! Who asks: organisations, projects, users, groups, tokens, roles.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{GroupId, Name, OrganisationId, ProjectId, TokenId, UserId, scope::TokenScope};

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
    /// All there are, the strongest first.
    pub const ALL: [Self; 4] = [
        Self::Operator,
        Self::ProjectOwner,
        Self::Member,
        Self::Auditor,
    ];

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
    /// Role; `None` where it is a user's, whose groups say what it may.
    pub role: Option<Role>,
    /// The project it is for; `None` for operators, auditors of everything, and users.
    pub project: Option<ProjectId>,
    /// The user that it stands for.
    #[serde(default)]
    pub user: Option<UserId>,
    /// What it is cut down to; empty is everything that its rights cover.
    #[serde(default)]
    pub scopes: Vec<TokenScope>,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
    /// Disabled by hand.
    pub disabled: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When its secret was last changed for another.
    #[serde(default)]
    pub rotated_at: Option<Timestamp>,
}

/// A user: somebody, or something, whose rights come from groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Name, unique.
    pub name: Name,
    /// What kind.
    pub kind: UserKind,
    /// Whose service account it is: it works only as long as its owner may sign in.
    pub owner: Option<UserId>,
    /// When it may no longer sign in; a service account always has an end.
    pub expires_at: Option<Timestamp>,
    /// Disabled by hand, and with it all of its tokens and service accounts.
    pub disabled: bool,
    /// Since when.
    pub created_at: Timestamp,
}

impl User {
    /// Whether it may sign in at `now`, but for its owner.
    pub fn may_sign_in(&self, now: Timestamp) -> bool {
        !self.disabled && self.expires_at.is_none_or(|end| end > now)
    }
}

/// What kind of user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserKind {
    /// Somebody.
    Person,
    /// A program, with an owner who answers for it.
    Service,
}

impl UserKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
        }
    }
}

/// A group of users, and what it lets them do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Id.
    pub id: GroupId,
    /// Name, unique.
    pub name: Name,
    /// Its members.
    pub members: Vec<UserId>,
    /// What they may.
    pub grants: Vec<Grant>,
    /// Since when.
    pub created_at: Timestamp,
}

/// A role, and where it holds: in one project, in all projects of an
/// organisation, or, for operators and auditors, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// In all projects of this organisation, those to come included.
    pub organisation: Option<OrganisationId>,
    /// In this project.
    pub project: Option<ProjectId>,
}

/// How many machines of a type a project, or all projects of an organisation
/// together, may hold at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// Machine type.
    pub machine_type: Name,
    /// The organisation whose it is, or
    pub organisation: Option<OrganisationId>,
    /// the project.
    pub project: Option<ProjectId>,
    /// So many.
    pub most: u32,
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
        /// Its role at the time: of a user's rights, the strongest that it was done by.
        role: Role,
        /// The user that it stands for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
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
