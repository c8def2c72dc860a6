//! Evidence.

use billet_model::{EvidenceId, LeaseId, MachineId, ProjectId, evidence::Evidence};

use crate::{Store, error::Result, select::Select, statement::Statement};

/// Which evidence; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct EvidenceFilter {
    /// About this lease.
    pub lease: Option<LeaseId>,
    /// That one of these projects may see.
    pub projects: Option<Vec<ProjectId>>,
    /// About this machine.
    pub machine: Option<MachineId>,
    /// Of this predicate type.
    pub kind: Option<String>,
}

impl Store {
    /// A piece of evidence.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn evidence(&self, id: EvidenceId) -> Result<Option<Evidence>> {
        const SQL: &str = "SELECT doc FROM evidence WHERE id = $1";
        self.one("evidence", Statement::read(SQL, "evidence").bind(id))
            .await
    }

    /// Evidence in order of its ids, what comes after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn evidence_list(
        &self,
        filter: &EvidenceFilter,
        after: Option<EvidenceId>,
        limit: usize,
    ) -> Result<Vec<Evidence>> {
        let select = Select::new("evidence", "SELECT doc FROM evidence")
            .when_some("lease = ?", filter.lease)
            .when_among("project", filter.projects.as_deref())
            .when_some("machine = ?", filter.machine)
            .when_some("kind = ?", filter.kind.as_deref())
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("evidence", select).await
    }
}
