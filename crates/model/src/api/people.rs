//! Users, groups, tokens, organisations, projects and quotas.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Name, ProjectId,
    people::{Group, Role, Token, User, UserKind},
    scope::TokenScope,
};

/// Who the bearer of a token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The token.
    pub token: Token,
    /// The project's name, if it is for one.
    pub project_name: Option<Name>,
    /// The user that the token stands for.
    #[serde(default)]
    pub user: Option<User>,
    /// What the bearer may: the union of all there is.
    #[serde(default)]
    pub rights: Vec<RightView>,
}

/// A role, and where it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RightView {
    /// The role.
    pub role: Role,
    /// The project; none is everywhere.
    pub project: Option<ProjectId>,
    /// Its name.
    pub project_name: Option<Name>,
}

/// Make a user.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name.
    pub name: Name,
    /// What kind.
    #[serde(default = "person")]
    pub kind: UserKind,
    /// Who answers for a service account, by name.
    #[serde(default)]
    pub owner: Option<Name>,
    /// When it may no longer sign in; a service account needs an end.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

fn person() -> UserKind {
    UserKind::Person
}

/// Change a user; what is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UserChange {
    /// Disable or enable it.
    pub disabled: Option<bool>,
    /// Hand a service account over to this user.
    pub owner: Option<Name>,
    /// Another end.
    pub expires_at: Option<Timestamp>,
}

/// Make a group.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// Name.
    pub name: Name,
}

/// A role to give to a group, or to take from it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// The role.
    pub role: Role,
    /// In all projects of this organisation, by name or id.
    #[serde(default)]
    pub organisation: Option<String>,
    /// In this project, by name or id.
    #[serde(default)]
    pub project: Option<String>,
}

/// Change a group. Each is done by itself, so that two who change it at once
/// undo nothing of each other's.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupChange {
    /// Users to put in, by name or id.
    pub add: Vec<String>,
    /// Users to take out.
    pub remove: Vec<String>,
    /// Roles to give.
    pub grant: Vec<NewGrant>,
    /// Roles to take.
    pub revoke: Vec<NewGrant>,
}

/// A group with the names of what it names by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    /// The group.
    #[serde(flatten)]
    pub group: Group,
    /// Its members' names.
    pub member_names: Vec<Name>,
    /// Its grants in words: `member in project vision`.
    pub grants_in_words: Vec<String>,
}

/// Make an organisation.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganisation {
    /// Name.
    pub name: Name,
}

/// Make a project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Name.
    pub name: Name,
    /// Its organisation's name.
    pub organisation: Name,
}

/// Make a token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What to call it.
    pub name: Name,
    /// Role; none for a user's token.
    #[serde(default)]
    pub role: Option<Role>,
    /// Name of the project it is for; none for operators and overall auditors.
    #[serde(default)]
    pub project: Option<Name>,
    /// The user that it is to stand for, by name; its rights are that user's.
    #[serde(default)]
    pub user: Option<Name>,
    /// What it is cut down to; empty is everything that its rights cover.
    #[serde(default)]
    pub scopes: Vec<TokenScope>,
    /// When it stops to work.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A token just made: the one time that its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    pub token: Token,
    /// `billet_…`: keep it, it is not shown again.
    pub secret: String,
}

/// Change a token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenChange {
    /// Disable or enable it.
    pub disabled: Option<bool>,
}

/// Set or take away a quota.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaChange {
    /// Of this project, by name or id, or
    #[serde(default)]
    pub project: Option<String>,
    /// of all projects of this organisation together.
    #[serde(default)]
    pub organisation: Option<String>,
    /// Machine type.
    pub machine_type: Name,
    /// So many machines at most; null is without end.
    pub most: Option<u32>,
}

/// A quota, and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaView {
    /// Machine type.
    pub machine_type: Name,
    /// The organisation whose it is, or
    pub organisation: Option<Name>,
    /// the project.
    pub project: Option<Name>,
    /// So many at most.
    pub most: u32,
    /// So many are held: leases that are not over.
    pub used: u32,
}

/// Change a token's secret for another.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRotation {
    /// For how many seconds the old secret works on, up to a week; 0 is not at all.
    pub grace_seconds: u64,
}
