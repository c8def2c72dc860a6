//! Leases.

use billet_model::{
    ImageId, LeaseId, MachineId, Name, ProjectId,
    lease::{Lease, LeaseState},
};
use jiff::Timestamp;

use crate::{Store, error::Result, select::Select, statement::Statement};

/// Which leases; what is `None` or empty is not asked.
#[derive(Clone, Debug, Default)]
pub struct LeaseFilter {
    /// Of one of these projects.
    pub projects: Option<Vec<ProjectId>>,
    /// With this name.
    pub name: Option<Name>,
    /// In this state.
    pub state: Option<LeaseState>,
    /// Only those that are not over, or only those that are.
    pub live: Option<bool>,
    /// On this machine.
    pub machine: Option<MachineId>,
    /// With this tag: key and, if given, value.
    pub tag: Option<(String, Option<String>)>,
}

const WHAT: &str = "lease";

impl Store {
    /// A lease.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease(&self, id: LeaseId) -> Result<Option<Lease>> {
        self.one(
            WHAT,
            Statement::read("SELECT doc FROM leases WHERE id = $1", WHAT).bind(id),
        )
        .await
    }

    /// A project's lease of this name: the one that lives, or the last that did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_by_name(&self, project: ProjectId, name: &Name) -> Result<Option<Lease>> {
        self.one(
            WHAT,
            Statement::read(
                "SELECT doc FROM leases WHERE project = $1 AND name = $2 \
                 ORDER BY CASE WHEN live_project IS NULL THEN 1 ELSE 0 END, id DESC LIMIT 1",
                WHAT,
            )
            .bind(project)
            .bind(name),
        )
        .await
    }

    /// Leases in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leases(
        &self,
        filter: &LeaseFilter,
        after: Option<LeaseId>,
        limit: usize,
    ) -> Result<Vec<Lease>> {
        let mut select = Select::new(WHAT, "SELECT doc FROM leases")
            .when_among("project", filter.projects.as_deref())
            .when_some("name = ?", filter.name.as_ref())
            .when_some("state = ?", filter.state.map(LeaseState::as_str))
            .when_some("machine = ?", filter.machine)
            .when_some("id > ?", after);
        match filter.live {
            Some(true) => select = select.and("live_project IS NOT NULL"),
            Some(false) => select = select.and("live_project IS NULL"),
            None => {}
        }
        if let Some((key, value)) = &filter.tag {
            select = select.when(
                "EXISTS (SELECT 1 FROM lease_tags t WHERE t.lease = leases.id AND t.key = ?)",
                &**key,
            );
            if let Some(value) = value {
                // The key is bound once more: each placeholder has one value.
                select = select.when_pair(
                    "EXISTS (SELECT 1 FROM lease_tags t WHERE t.lease = leases.id \
                     AND t.key = ?1 AND t.value = ?2)",
                    &**key,
                    &**value,
                );
            }
        }
        self.nouns(WHAT, select.order_limit("id", limit)).await
    }

    /// The images that the last leases on machines of a type asked for, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn images_asked(&self, machine_type: &Name, leases: usize) -> Result<Vec<ImageId>> {
        let select = Select::new(WHAT, "SELECT doc FROM leases")
            .when(
                "machine IN (SELECT id FROM machines WHERE machine_type = ?)",
                machine_type,
            )
            .order_limit("id DESC", leases);
        let leases: Vec<Lease> = self.nouns(WHAT, select).await?;
        Ok(leases.into_iter().map(|l| l.image).collect())
    }

    /// Leases being made ready or active whose term ends by `before`, first to end first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leases_ending(&self, before: Timestamp, limit: usize) -> Result<Vec<Lease>> {
        let select = Select::new(WHAT, "SELECT doc FROM leases")
            .and("state IN ('deploying', 'active')")
            .when("ends_at <= ?", before)
            .order_limit("ends_at, id", limit);
        self.nouns(WHAT, select).await
    }
}
