//! The audit log: read, and exported with proofs that need no server to check.

use axum::{Json, extract::State};
use billet_evidence::{Checkpoint, audit::Export};
use billet_model::{
    EventId,
    api::{AuditExport, Page},
    event::SealedRow,
};
use billet_store::AuditFilter;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{app::App, auth::Bearer, extract::Query, lookup, page::Asked, problem::Failure};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_audit))
        .routes(routes!(export_audit))
}

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// Of this project's slice, by name or id.
    project: Option<String>,
    /// About this machine, by id, or for operators by name.
    machine: Option<String>,
    /// About this lease, by name or id.
    lease: Option<String>,
    /// From then on.
    since: Option<Timestamp>,
    /// Until before then.
    until: Option<Timestamp>,
    /// Whose action begins with this, such as `lease.`.
    action: Option<String>,
    /// The last first.
    #[serde(default)]
    newest_first: bool,
}

/// Read the audit log
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<SealedRow>)))]
async fn list_audit(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<SealedRow>>, Failure> {
    let asked = Asked::<EventId>::new(query.limit, query.after.as_deref())?;
    let filter = AuditFilter {
        projects: lookup::project_filter(&app, &bearer, query.project.as_deref()).await?,
        machine: lookup::machine_filter(&app, &bearer, query.machine.as_deref()).await?,
        lease: lookup::lease_filter(&app, &bearer, query.lease.as_deref()).await?,
        since: query.since,
        until: query.until,
        action: query.action,
        newest_first: query.newest_first,
        ..AuditFilter::default()
    };
    let read = app.store().audit(&filter, asked.after, asked.read()).await;
    Ok(asked.page(see("the audit log", read)?, |r| r.row.id.to_string()))
}

/// Which slice.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ExportQuery {
    /// At most so many rows, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Rows from this index on: one more than the last of the export before.
    from: Option<u64>,
    /// The log as it was when it had so many rows: with the size of the first
    /// page's checkpoint all pages have the same one, and are one export.
    size: Option<u64>,
    /// Of this project's slice, by name or id.
    project: Option<String>,
    /// About this machine, by id, or for operators by name.
    machine: Option<String>,
    /// About this lease, by name or id.
    lease: Option<String>,
    /// From then on.
    since: Option<Timestamp>,
    /// Until before then.
    until: Option<Timestamp>,
    /// Whose action begins with this, such as `lease.`.
    action: Option<String>,
}

/// Export a slice of the audit log with its proofs
///
/// A checkpoint signed with the key that signs evidence, and for each row the
/// proof that it is in the log. A slice shows nobody else's rows.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", params(ExportQuery),
    responses((status = 200, body = AuditExport)))]
async fn export_audit(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<ExportQuery>,
) -> Result<Json<Export>, Failure> {
    let asked = Asked::<u64>::new(query.limit, None)?;
    let filter = AuditFilter {
        projects: lookup::project_filter(&app, &bearer, query.project.as_deref()).await?,
        machine: lookup::machine_filter(&app, &bearer, query.machine.as_deref()).await?,
        lease: lookup::lease_filter(&app, &bearer, query.lease.as_deref()).await?,
        since: query.since,
        until: query.until,
        action: query.action,
        ..AuditFilter::default()
    };
    // What was committed until now is part of it.
    see("the audit log", app.store().seal(app.now()).await)?;
    let head = see("the audit log", app.store().audit_head().await)?;
    let size = query.size.unwrap_or(head.size);
    if size > head.size {
        let detail = format!("the log has {} rows so far", head.size);
        return Err(Failure::invalid("size", detail));
    }
    let root = if size == head.size {
        head.root
    } else {
        see("the audit log", app.store().audit_root(size).await)?
    };
    let checkpoint = Checkpoint {
        origin: app.log_origin().to_owned(),
        size,
        root,
    };
    let checkpoint = checkpoint
        .sign(app.control().keys.evidence())
        .map_err(|e| Failure::internal("signing the audit log's head", &e))?;
    let from = query.from.unwrap_or(0);
    let rows = app
        .store()
        .audit_export(&filter, from, size, asked.limit())
        .await;
    let rows = see("the audit log", rows)?;
    Ok(Json(Export { checkpoint, rows }))
}
