//! Operations, boots, tasks, the evidence that comes of them, and who called.

use billet_model::{
    call::ApiCall,
    evidence::Evidence,
    operation::Operation,
    step::{Boot, TaskRecord},
};

use super::doc;
use crate::{
    error::Result,
    statement::{Means::Duplicate, Statement, Unique},
};

pub(super) fn operation(o: &Operation) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO operations (id, project, machine, lease, state, doc) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET project = excluded.project, machine = excluded.machine, \
         lease = excluded.lease, state = excluded.state, doc = excluded.doc",
        "operation",
        o.id,
    )
    .bind(o.id)
    .bind(o.project)
    .bind(o.machine)
    .bind(o.lease)
    .bind(o.state.as_str())
    .bind(doc("operation", o)?))
}

pub(super) fn boot(b: &Boot) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO boots (id, machine, doc) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET doc = excluded.doc",
        "boot",
        b.id,
    )
    .bind(b.id)
    .bind(b.machine)
    .bind(doc("boot", b)?))
}

pub(super) fn task(t: &TaskRecord) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO tasks (id, machine, boot, doc) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, doc = excluded.doc",
        "task",
        t.task.id,
    )
    .bind(t.task.id)
    .bind(t.machine)
    .bind(t.boot)
    .bind(doc("task", t)?))
}

/// Evidence: new, and never changed.
pub(super) fn evidence(e: &Evidence) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO evidence (id, kind, machine, lease, project, doc) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        "evidence",
        e.id,
    )
    .bind(e.id)
    .bind(&*e.kind)
    .bind(e.machine)
    .bind(e.lease)
    .bind(e.project)
    .bind(doc("evidence", e)?)
    .unique(&[Unique {
        index: "evidence_pkey",
        columns: "evidence.id",
        means: Duplicate("evidence", 0),
    }]))
}

/// A call: new, and never changed. One whose answer to being kept was lost is
/// put in again.
pub(super) fn call(c: &ApiCall) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO calls (id, at, token, status, doc) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO NOTHING",
        "call",
        c.id,
    )
    .bind(c.id)
    .bind(c.at)
    .bind(c.token)
    .bind(i64::from(c.status))
    .bind(doc("call", c)?))
}
