//! Users, groups, and what a user may by them.

use billet_model::{
    GroupId, Name, OrganisationId, ProjectId, UserId,
    people::{Grant, Group, Role, User},
};
use sqlx::any::AnyRow;

use crate::{
    Store,
    error::{Result, StoreError},
    select::{Select, column, parsed},
    statement::Statement,
};

impl Store {
    /// A user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user(&self, id: UserId) -> Result<Option<User>> {
        const SQL: &str = "SELECT doc FROM users WHERE id = $1";
        self.one("user", Statement::read(SQL, "user").bind(id))
            .await
    }

    /// The user of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn user_by_name(&self, name: &Name) -> Result<Option<User>> {
        const SQL: &str = "SELECT doc FROM users WHERE name = $1";
        self.one("user", Statement::read(SQL, "user").bind(name))
            .await
    }

    /// Users in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>> {
        let select = Select::new("user", "SELECT doc FROM users")
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("user", select).await
    }

    /// What a user may by all of its groups: roles, each in a project or, with
    /// none, everywhere. A grant for an organisation is one for each project
    /// that it has now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rights_of(&self, user: UserId) -> Result<Vec<(Role, Option<ProjectId>)>> {
        // An organisation without projects must give nothing: a row without a
        // project would be a right everywhere.
        const SQL: &str = "SELECT DISTINCT g.role, COALESCE(g.project, p.id) AS place \
             FROM group_members m JOIN group_grants g ON g.grp = m.grp \
             LEFT JOIN projects p ON p.organisation = g.organisation \
             WHERE m.member = $1 AND (g.organisation IS NULL OR p.id IS NOT NULL) \
             ORDER BY place, g.role";
        let rows = self
            .fetch(Statement::read(SQL, "rights").bind(user))
            .await?;
        rows.iter()
            .map(|row| Ok((role(row, 0)?, id(row, 1)?)))
            .collect()
    }

    /// A group.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn group(&self, id: GroupId) -> Result<Option<Group>> {
        const SQL: &str = "SELECT doc FROM groups WHERE id = $1";
        let found = self
            .one("group", Statement::read(SQL, "group").bind(id))
            .await?;
        self.whole(found).await
    }

    /// The group of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn group_by_name(&self, name: &Name) -> Result<Option<Group>> {
        const SQL: &str = "SELECT doc FROM groups WHERE name = $1";
        let found = self
            .one("group", Statement::read(SQL, "group").bind(name))
            .await?;
        self.whole(found).await
    }

    /// Groups in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn groups(&self, after: Option<GroupId>, limit: usize) -> Result<Vec<Group>> {
        let select = Select::new("group", "SELECT doc FROM groups")
            .when_some("id > ?", after)
            .order_limit("id", limit);
        let mut groups: Vec<Group> = self.nouns("group", select).await?;
        self.fill(&mut groups).await?;
        Ok(groups)
    }

    async fn whole(&self, found: Option<Group>) -> Result<Option<Group>> {
        let mut groups: Vec<Group> = found.into_iter().collect();
        self.fill(&mut groups).await?;
        Ok(groups.pop())
    }

    /// Puts members and grants into groups that were read.
    async fn fill(&self, groups: &mut [Group]) -> Result<()> {
        let ids: Vec<GroupId> = groups.iter().map(|group| group.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let select = Select::new("group", "SELECT grp, member FROM group_members")
            .when_among("grp", Some(&ids))
            .order_limit("grp, member", usize::MAX);
        for row in &self.fetch(select).await? {
            let (group, member): (GroupId, UserId) =
                (parsed("group", row, 0)?, parsed("group", row, 1)?);
            if let Some(found) = groups.iter_mut().find(|g| g.id == group) {
                found.members.push(member);
            }
        }
        let select = Select::new(
            "group",
            "SELECT grp, role, organisation, project FROM group_grants",
        )
        .when_among("grp", Some(&ids))
        .order_limit("grp, role, organisation, project", usize::MAX);
        for row in &self.fetch(select).await? {
            let group: GroupId = parsed("group", row, 0)?;
            let grant = Grant {
                role: role(row, 1)?,
                organisation: id::<OrganisationId>(row, 2)?,
                project: id(row, 3)?,
            };
            if let Some(found) = groups.iter_mut().find(|g| g.id == group) {
                found.grants.push(grant);
            }
        }
        Ok(())
    }
}

fn role(row: &AnyRow, index: usize) -> Result<Role> {
    let text: String = column("role", row, index)?;
    Role::ALL
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| StoreError::Corrupt {
            what: "role",
            why: format!("there is no role {text}"),
        })
}

fn id<T: std::str::FromStr>(row: &AnyRow, index: usize) -> Result<Option<T>> {
    let text: Option<String> = column("id", row, index)?;
    text.map(|text| {
        text.parse().map_err(|_| StoreError::Corrupt {
            what: "id",
            why: format!("{text} is none"),
        })
    })
    .transpose()
}
