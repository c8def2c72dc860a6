//! The audit log as it is read: rows, and slices that anybody can check.

use billet_evidence::audit::{ExportedRow, Salt};
use billet_model::{
    EventId, LeaseId, MachineId, ProjectId,
    event::{AuditRow, SealedRow},
};
use jiff::Timestamp;
use sqlx::any::AnyRow;

use crate::{
    Store,
    error::{Result, StoreError},
    select::{Select, column, noun, time},
};

/// Which rows; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Of one of these projects' slices.
    pub projects: Option<Vec<ProjectId>>,
    /// About this machine.
    pub machine: Option<MachineId>,
    /// About this lease.
    pub lease: Option<LeaseId>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Until before then.
    pub until: Option<Timestamp>,
    /// Whose action begins with this.
    pub action: Option<String>,
    /// Whose action begins with one of these; all where empty.
    pub actions: Vec<String>,
    /// The last first, and `after` then means older than.
    pub newest_first: bool,
}

const WHAT: &str = "audit row";

impl AuditFilter {
    fn conditions(&self, select: Select) -> Select {
        let mut select = select
            .when_among("a.project", self.projects.as_deref())
            .when_some("a.machine = ?", self.machine)
            .when_some("a.lease = ?", self.lease)
            .when_some("a.at >= ?", self.since)
            .when_some("a.at < ?", self.until);
        if let Some(prefix) = self.action.as_deref().filter(|p| !p.is_empty()) {
            select = select.when_prefixed("a.action", &[prefix.to_owned()]);
        }
        if !self.actions.is_empty() {
            select = select.when_prefixed("a.action", &self.actions);
        }
        select
    }
}

impl Store {
    /// Rows in the order in which they were written, those after the row
    /// `after`, whether sealed or not. None if there is no such row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<SealedRow>> {
        let select = Select::new(
            WHAT,
            "SELECT a.doc, l.leaf FROM audit a LEFT JOIN audit_leaves l ON l.seq = a.seq",
        );
        let (beyond, order) = if filter.newest_first {
            ("a.seq < (SELECT seq FROM audit WHERE id = ?)", "a.seq DESC")
        } else {
            ("a.seq > (SELECT seq FROM audit WHERE id = ?)", "a.seq")
        };
        let select = filter
            .conditions(select)
            .when_some(beyond, after)
            .order_limit(order, limit);
        let rows = self.fetch(select).await?;
        rows.iter()
            .map(|row| {
                let leaf: Option<i64> = column(WHAT, row, 1)?;
                Ok(SealedRow {
                    index: leaf.map(i64::unsigned_abs),
                    row: noun::<AuditRow>(WHAT, row)?,
                })
            })
            .collect()
    }

    /// Sealed rows in the order of the log, from leaf `from` to before leaf `until`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_sealed(
        &self,
        filter: &AuditFilter,
        from: u64,
        until: u64,
        limit: usize,
    ) -> Result<Vec<SealedRow>> {
        let select = Select::new(
            WHAT,
            "SELECT a.doc, l.leaf FROM audit_leaves l JOIN audit a ON a.seq = l.seq",
        );
        let select = filter
            .conditions(select)
            .when("l.leaf >= ?", i64::try_from(from).unwrap_or(i64::MAX))
            .when("l.leaf < ?", i64::try_from(until).unwrap_or(i64::MAX))
            .order_limit("l.leaf", limit);
        let rows = self.fetch(select).await?;
        rows.iter()
            .map(|row| {
                let leaf: i64 = column(WHAT, row, 1)?;
                Ok(SealedRow {
                    index: Some(leaf.unsigned_abs()),
                    row: noun::<AuditRow>(WHAT, row)?,
                })
            })
            .collect()
    }

    /// Sealed rows from leaf `from` on: how many there are, and when the first of
    /// them was written. Counted up to `most`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_behind(
        &self,
        filter: &AuditFilter,
        from: u64,
        most: usize,
    ) -> Result<(u64, Option<Timestamp>)> {
        let select = Select::new(
            WHAT,
            "SELECT a.at FROM audit_leaves l JOIN audit a ON a.seq = l.seq",
        );
        let select = filter
            .conditions(select)
            .when("l.leaf >= ?", i64::try_from(from).unwrap_or(i64::MAX))
            .order_limit("l.leaf", most);
        let rows = self.fetch(select).await?;
        let first = rows.first().map(|row| time(WHAT, column(WHAT, row, 0)?));
        Ok((rows.len() as u64, first.transpose()?))
    }

    /// Rows among the log's first `size`, from leaf `from` on, each with its
    /// salt and the proof that it is there: what an export of a slice is made of.
    ///
    /// # Errors
    /// When the log is shorter than `size`, or the database fails.
    pub async fn audit_export(
        &self,
        filter: &AuditFilter,
        from: u64,
        size: u64,
        limit: usize,
    ) -> Result<Vec<ExportedRow>> {
        let select = Select::new(
            WHAT,
            "SELECT a.doc, l.leaf, a.salt FROM audit_leaves l JOIN audit a ON a.seq = l.seq",
        );
        let select = filter
            .conditions(select)
            .when("l.leaf >= ?", i64::try_from(from).unwrap_or(i64::MAX))
            .when("l.leaf < ?", i64::try_from(size).unwrap_or(i64::MAX))
            .order_limit("l.leaf", limit);
        let rows = self.fetch(select).await?;
        // A row of the driver cannot be kept across a wait between threads.
        let rows = rows.iter().map(with_salt).collect::<Result<Vec<_>>>()?;
        let mut exported = Vec::with_capacity(rows.len());
        for (index, value, salt) in rows {
            exported.push(ExportedRow {
                index,
                row: value,
                salt,
                proof: self.audit_proof(index, size).await?,
            });
        }
        Ok(exported)
    }
}

fn with_salt(row: &AnyRow) -> Result<(u64, serde_json::Value, Salt)> {
    let leaf: i64 = column(WHAT, row, 1)?;
    let salt: Vec<u8> = column(WHAT, row, 2)?;
    let salt = salt.try_into().map_err(|_| StoreError::Corrupt {
        what: WHAT,
        why: "its salt is not 16 bytes".into(),
    })?;
    Ok((leaf.unsigned_abs(), noun(WHAT, row)?, Salt(salt)))
}
