//! An audit row, made ready to be sealed.

use billet_evidence::audit::{Salt, leaf_hash};
use billet_model::event::AuditRow;

use super::doc;
use crate::{
    error::{Result, StoreError},
    statement::{Means::Duplicate, Statement, Unique},
};

/// An audit row with its salt and its leaf's hash: both are made here, so that
/// a row that could not be sealed is refused and not kept.
pub(super) fn row(row: &AuditRow) -> Result<Statement> {
    let unfit = |why: String| StoreError::Constraint {
        what: "audit row",
        id: row.action.clone(),
        rule: why,
    };
    let salt = Salt::generate().map_err(|e| unfit(e.to_string()))?;
    let hash = leaf_hash(row, &salt).map_err(|e| unfit(e.to_string()))?;
    Ok(Statement::new(
        "INSERT INTO audit (id, at, action, project, machine, lease, salt, hash, doc) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        "audit row",
        row.id,
    )
    .bind(row.id)
    .bind(row.at)
    .bind(&*row.action)
    .bind(row.project)
    .bind(row.machine)
    .bind(row.lease)
    .bind(salt.0.to_vec())
    .bind(hash.0.to_vec())
    .bind(doc("audit row", row)?)
    .unique(&[Unique {
        index: "audit_id",
        columns: "audit.id",
        means: Duplicate("an audit row with the id", 0),
    }]))
}
