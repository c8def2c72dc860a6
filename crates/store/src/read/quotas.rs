//! Quotas, and how much of them is used.

use billet_model::{ProjectId, people::Quota};

use crate::{
    Store,
    error::{Result, StoreError},
    select::{Select, column, parsed},
    write::USED,
};

impl Store {
    /// Quotas that count for some projects or all, their organisations' among
    /// them, each with how much of it is used.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quotas(&self, projects: Option<&[ProjectId]>) -> Result<Vec<(Quota, u32)>> {
        const WHAT: &str = "quota";
        let select = Select::new(
            WHAT,
            &format!(
                "SELECT q.machine_type, q.organisation, q.project, q.most, {USED} FROM quotas q"
            ),
        );
        let select = select.when_any(
            "q.project = ? OR q.organisation = (SELECT organisation FROM projects WHERE id = ?)",
            projects,
        );
        // NULL stands first on the one engine and last on the other.
        let order = "q.machine_type, COALESCE(q.organisation, ''), q.project";
        let rows = self.fetch(select.order_limit(order, 10_000)).await?;
        let id = |row, index| -> Result<Option<String>> { column(WHAT, row, index) };
        let count = |row, index| -> Result<u32> {
            let count: i64 = column(WHAT, row, index)?;
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        };
        let wrong = |_| StoreError::Corrupt {
            what: WHAT,
            why: "its holder is no id".into(),
        };
        rows.iter()
            .map(|row| {
                let (organisation, project) = (id(row, 1)?, id(row, 2)?);
                let quota = Quota {
                    machine_type: parsed(WHAT, row, 0)?,
                    organisation: organisation.map(|t| t.parse()).transpose().map_err(wrong)?,
                    project: project.map(|t| t.parse()).transpose().map_err(wrong)?,
                    most: count(row, 3)?,
                };
                Ok((quota, count(row, 4)?))
            })
            .collect()
    }
}
