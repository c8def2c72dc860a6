//! Operations, boots and tasks.

use billet_model::{
    BootId, LeaseId, MachineId, OperationId, ProjectId, TaskId,
    operation::{Operation, OperationState},
    step::{Boot, TaskRecord},
};

use crate::{Store, error::Result, select::Select, statement::Statement};

/// Which operations; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct OperationFilter {
    /// That one of these projects may see.
    pub projects: Option<Vec<ProjectId>>,
    /// On this machine.
    pub machine: Option<MachineId>,
    /// For this lease.
    pub lease: Option<LeaseId>,
    /// In this state.
    pub state: Option<OperationState>,
}

impl Store {
    /// An operation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn operation(&self, id: OperationId) -> Result<Option<Operation>> {
        const SQL: &str = "SELECT doc FROM operations WHERE id = $1";
        self.one("operation", Statement::read(SQL, "operation").bind(id))
            .await
    }

    /// Operations in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn operations(
        &self,
        filter: &OperationFilter,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Operation>> {
        let select = Select::new("operation", "SELECT doc FROM operations")
            .when_among("project", filter.projects.as_deref())
            .when_some("machine = ?", filter.machine)
            .when_some("lease = ?", filter.lease)
            .when_some("state = ?", filter.state.map(OperationState::as_str))
            .when_some("id > ?", after)
            .order_limit("id", limit);
        self.nouns("operation", select).await
    }

    /// A boot of the ramdisk.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn boot(&self, id: BootId) -> Result<Option<Boot>> {
        const SQL: &str = "SELECT doc FROM boots WHERE id = $1";
        self.one("boot", Statement::read(SQL, "boot").bind(id))
            .await
    }

    /// A task.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>> {
        const SQL: &str = "SELECT doc FROM tasks WHERE id = $1";
        self.one("task", Statement::read(SQL, "task").bind(id))
            .await
    }
}
