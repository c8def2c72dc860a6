//! Quotas of machines, and the trap that stops a grant which goes beyond one.

use billet_model::{Name, ProjectId, people::Quota};

use crate::statement::Statement;

/// What a quota counts: leases that are not over on machines of its type, of its
/// project or of its organisation's projects. `q` is the quota.
pub(crate) const USED: &str = "(SELECT COUNT(*) FROM leases l \
    JOIN machines m ON m.id = l.machine JOIN projects p ON p.id = l.live_project \
    WHERE m.machine_type = q.machine_type \
    AND (p.id = q.project OR p.organisation = q.organisation))";

/// A quota, new or changed.
pub(super) fn put(quota: &Quota) -> Statement {
    holder(
        Statement::new(
            "INSERT INTO quotas (machine_type, organisation, project, most) \
             VALUES ($1, $2, $3, $4) \
             ON CONFLICT (machine_type, COALESCE(organisation, ''), COALESCE(project, '')) \
             DO UPDATE SET most = excluded.most",
            "quota of",
            &quota.machine_type,
        ),
        quota,
    )
    .bind(quota.most)
}

/// No quota any more.
pub(super) fn delete(quota: &Quota) -> Statement {
    let text = |id: Option<String>| id.unwrap_or_default();
    Statement::new(
        "DELETE FROM quotas WHERE machine_type = $1 AND COALESCE(organisation, '') = $2 \
         AND COALESCE(project, '') = $3",
        "quota of",
        &quota.machine_type,
    )
    .bind(&quota.machine_type)
    .bind(text(quota.organisation.map(|id| id.to_string())))
    .bind(text(quota.project.map(|id| id.to_string())))
}

fn holder(statement: Statement, quota: &Quota) -> Statement {
    statement
        .bind(&quota.machine_type)
        .bind(quota.organisation)
        .bind(quota.project)
}

/// Fails where a project now holds more machines of a type than it may. It comes
/// after what was granted.
pub(super) fn within(project: ProjectId, machine_type: &Name, out: &mut Vec<Statement>) {
    let bind = |statement: Statement| statement.bind(project).bind(machine_type);
    // First the rows are locked, so that the counting after it sees what another
    // grant that held them has committed.
    out.push(bind(Statement::new(
        "UPDATE quotas SET most = most WHERE machine_type = $2 AND (project = $1 \
         OR organisation = (SELECT organisation FROM projects WHERE id = $1))",
        "quota of",
        machine_type,
    )));
    let mut trap = Statement::new("", "quota of", machine_type);
    trap.sql = format!(
        "INSERT INTO quotas_exceeded (quotas_kept) SELECT 0 FROM quotas q \
         WHERE q.machine_type = $2 AND (q.project = $1 \
         OR q.organisation = (SELECT organisation FROM projects WHERE id = $1)) \
         AND q.most < {USED}"
    )
    .into();
    out.push(bind(trap));
}
