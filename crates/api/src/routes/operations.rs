//! Operations: long work, to be followed without asking all the time.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use billet_model::{
    OperationId,
    api::Page,
    operation::{Operation, OperationState},
};
use billet_store::OperationFilter;
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

/// Longest wait for a change, in seconds.
const WAIT_SECONDS: u64 = 60;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_operations))
        .routes(routes!(show_operation))
}

/// Which operations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct OperationQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// That this project may see, by name or id.
    project: Option<String>,
    /// On this machine, by id, or for operators by name.
    machine: Option<String>,
    /// For this lease, by name or id.
    lease: Option<String>,
    /// In this state.
    state: Option<OperationState>,
}

/// List operations
#[utoipa::path(get, path = "/v1/operations", tag = "operations", params(OperationQuery),
    responses((status = 200, body = Page<Operation>)))]
async fn list_operations(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<OperationQuery>,
) -> Result<Json<Page<Operation>>, Failure> {
    let asked = Asked::<OperationId>::new(query.limit, query.after.as_deref())?;
    let filter = OperationFilter {
        projects: lookup::project_filter(&app, &bearer, query.project.as_deref()).await?,
        machine: lookup::machine_filter(&app, &bearer, query.machine.as_deref()).await?,
        lease: lookup::lease_filter(&app, &bearer, query.lease.as_deref()).await?,
        state: query.state,
    };
    let read = app
        .store()
        .operations(&filter, asked.after, asked.read())
        .await;
    Ok(asked.page(see("operations", read)?, |o| o.id.to_string()))
}

/// How long to wait, and for what.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    /// Wait up to so many seconds (60 at most) for a change, or for the end.
    #[serde(default)]
    wait: u64,
    /// The `ETag` last seen: where the operation is another by now, the answer
    /// comes at once.
    seen: Option<String>,
}

/// Show an operation, and wait for it to change
///
/// To follow one: ask with `wait=30`, then again with `seen` as the `ETag` of
/// the answer, until its `state` is not `running`.
#[utoipa::path(get, path = "/v1/operations/{operation}", tag = "operations", params(WaitQuery),
    responses((status = 200, body = Operation)))]
async fn show_operation(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let not_found = || Failure::not_found("operation", &text);
    let id: OperationId = text.parse().map_err(|_| not_found())?;
    let read = app.store().operation(id).await;
    let mut operation = see("the operation", read)?.ok_or_else(not_found)?;
    if !bearer.sees(operation.project) {
        return Err(not_found());
    }
    let wait = Duration::from_secs(query.wait.min(WAIT_SECONDS));
    let tag = respond::etag(&operation, None);
    let news = query
        .seen
        .is_some_and(|seen| seen.trim_matches('"') != tag.trim_matches('"'));
    if !wait.is_zero() && !news && operation.state == OperationState::Running {
        let changed = app
            .control()
            .wait_operation(id, Some(&operation), wait)
            .await;
        if let Some(changed) = see("the operation", changed)? {
            operation = changed;
        }
    }
    if query.wait == 0 {
        return respond::one(&headers, &operation, None);
    }
    let tag = respond::etag(&operation, None);
    let mut response = Json(operation).into_response();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}
