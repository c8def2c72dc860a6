//! Users and groups: a group's members and grants are rows of their own, so that
//! two who change it at once undo nothing of each other's.

use billet_model::{
    GroupId, UserId,
    people::{Grant, Group, User},
};

use super::doc;
use crate::{
    error::Result,
    statement::{Means::Duplicate, Statement, Unique},
};

/// A user.
pub(super) fn user(user: &User) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO users (id, name, owner, doc) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, owner = excluded.owner, \
         doc = excluded.doc",
        "user",
        &user.name,
    )
    .bind(user.id)
    .bind(&user.name)
    .bind(user.owner)
    .bind(doc("user", user)?)
    .unique(&[Unique {
        index: "users_name",
        columns: "users.name",
        means: Duplicate("a user named", 1),
    }]))
}

/// A group, without its members and grants.
pub(super) fn group(group: &Group) -> Result<Statement> {
    let bare = Group {
        members: Vec::new(),
        grants: Vec::new(),
        ..group.clone()
    };
    Ok(Statement::new(
        "INSERT INTO groups (id, name, doc) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
        "group",
        &group.name,
    )
    .bind(group.id)
    .bind(&group.name)
    .bind(doc("group", &bare)?)
    .unique(&[Unique {
        index: "groups_name",
        columns: "groups.name",
        means: Duplicate("a group named", 1),
    }]))
}

/// A member more.
pub(super) fn add_member(group: GroupId, user: UserId) -> Statement {
    Statement::new(
        "INSERT INTO group_members (grp, member) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        "group",
        group,
    )
    .bind(group)
    .bind(user)
}

/// A member less.
pub(super) fn remove_member(group: GroupId, user: UserId) -> Statement {
    Statement::new(
        "DELETE FROM group_members WHERE grp = $1 AND member = $2",
        "group",
        group,
    )
    .bind(group)
    .bind(user)
}

/// A grant more.
pub(super) fn add_grant(group: GroupId, grant: &Grant) -> Statement {
    Statement::new(
        "INSERT INTO group_grants (grp, role, organisation, project) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
        "group",
        group,
    )
    .bind(group)
    .bind(grant.role.as_str())
    .bind(grant.organisation)
    .bind(grant.project)
}

/// A grant less.
pub(super) fn remove_grant(group: GroupId, grant: &Grant) -> Statement {
    let text = |id: Option<String>| id.unwrap_or_default();
    Statement::new(
        "DELETE FROM group_grants WHERE grp = $1 AND role = $2 \
         AND COALESCE(organisation, '') = $3 AND COALESCE(project, '') = $4",
        "group",
        group,
    )
    .bind(group)
    .bind(grant.role.as_str())
    .bind(text(grant.organisation.map(|id| id.to_string())))
    .bind(text(grant.project.map(|id| id.to_string())))
}
