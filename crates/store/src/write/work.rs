//! Operations, boots, tasks, the evidence that comes of them, and who called.

use billet_model::{
    BootId, TaskId,
    call::ApiCall,
    evidence::Evidence,
    operation::Operation,
    step::{Boot, TaskRecord},
};

use super::doc;
use crate::{
    error::Result,
    statement::{Means::Duplicate, NoRow, Statement, Unique},
};
use jiff::Timestamp;

/// What is over stays over: whoever read an operation before it ended and writes it after,
/// as an agent's progress can, has to read again.
pub(super) fn operation(o: &Operation) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO operations (id, project, machine, lease, state, doc) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET project = excluded.project, machine = excluded.machine, \
         lease = excluded.lease, state = excluded.state, doc = excluded.doc \
         WHERE operations.state = 'running' OR excluded.state <> 'running'",
        "operation",
        o.id,
    )
    .no_row(NoRow::Conflict)
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

pub(super) fn task(mut t: TaskRecord) -> Result<Statement> {
    let given = t.version;
    t.version = given + 1;
    let sql = if given == 0 {
        "INSERT INTO tasks (id, machine, boot, version, doc) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO NOTHING"
    } else {
        "UPDATE tasks SET machine = $2, boot = $3, version = $4, doc = $5 \
         WHERE id = $1 AND version = $4 - 1"
    };
    Ok(Statement::new(sql, "task", t.task.id)
        .no_row(NoRow::Conflict)
        .bind(t.task.id)
        .bind(t.machine)
        .bind(t.boot)
        .bind(t.version)
        .bind(doc("task", &t)?))
}

/// Forgets boots and tasks that were made before a time, but for the last of each
/// machine: that one may go on still.
pub(super) fn forget(before: Timestamp, out: &mut Vec<Statement>) {
    let millis = u64::try_from(before.as_millisecond()).unwrap_or(0);
    // Ids begin with the time when they were made.
    let (boot, task) = (
        BootId::from_parts(millis, [0; 10]),
        TaskId::from_parts(millis, [0; 10]),
    );
    out.push(
        Statement::new(
            "DELETE FROM tasks WHERE id < $1 \
             AND id < (SELECT MAX(t.id) FROM tasks t WHERE t.machine = tasks.machine)",
            "tasks",
            "",
        )
        .bind(task),
    );
    out.push(
        Statement::new(
            "DELETE FROM boots WHERE id < $1 \
             AND id < (SELECT MAX(b.id) FROM boots b WHERE b.machine = boots.machine)",
            "boots",
            "",
        )
        .bind(boot),
    );
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
