//! Evidence: signed statements, and the keys to check them with.

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use billet_model::{
    EvidenceId,
    api::{Page, SigningKey},
    evidence::Evidence,
};
use billet_store::EvidenceFilter;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::App,
    auth::Bearer,
    extract::{Of, Query},
    lookup,
    page::Asked,
    problem::Failure,
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_evidence))
        .routes(routes!(show_evidence))
        .routes(routes!(list_evidence_keys))
}

/// Which evidence.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EvidenceQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// That after this cursor.
    after: Option<String>,
    /// That this project may see, by name or id.
    project: Option<String>,
    /// About this lease, by name or id.
    lease: Option<String>,
    /// About this machine, by id, or for operators by name.
    machine: Option<String>,
    /// Of this predicate type.
    kind: Option<String>,
}

/// List evidence
#[utoipa::path(get, path = "/v1/evidence", tag = "evidence", params(EvidenceQuery),
    responses((status = 200, body = Page<Evidence>)))]
async fn list_evidence(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<EvidenceQuery>,
) -> Result<Json<Page<Evidence>>, Failure> {
    let asked = Asked::<EvidenceId>::new(query.limit, query.after.as_deref())?;
    let filter = EvidenceFilter {
        projects: lookup::project_filter(&app, &bearer, query.project.as_deref()).await?,
        lease: lookup::lease_filter(&app, &bearer, query.lease.as_deref()).await?,
        machine: lookup::machine_filter(&app, &bearer, query.machine.as_deref()).await?,
        kind: query.kind,
    };
    let read = app
        .store()
        .evidence_list(&filter, asked.after, asked.read())
        .await;
    Ok(asked.page(see("evidence", read)?, |e| e.id.to_string()))
}

/// Show a piece of evidence
#[utoipa::path(get, path = "/v1/evidence/{evidence}", tag = "evidence",
    responses((status = 200, body = Evidence)))]
async fn show_evidence(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let not_found = || Failure::not_found("evidence", &text);
    let id: EvidenceId = text.parse().map_err(|_| not_found())?;
    let evidence = see("evidence", app.store().evidence(id).await)?.ok_or_else(not_found)?;
    if !bearer.sees(evidence.project) {
        return Err(not_found());
    }
    respond::one(&headers, &evidence, None)
}

/// List the keys that sign evidence, now and in the past
#[utoipa::path(get, path = "/v1/evidence-keys", tag = "evidence",
    responses((status = 200, body = Vec<SigningKey>)))]
async fn list_evidence_keys(State(app): State<App>) -> Json<Vec<SigningKey>> {
    Json(app.control().evidence_keys())
}
