//! Who called, and how it was answered.

use axum::{Json, extract::State};
use billet_model::{CallId, TokenId, api::Page, call::ApiCall};
use billet_store::CallFilter;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{app::App, extract::Query, page::Asked, problem::Failure};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_calls))
}

/// Which calls.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct CallQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// By this token, by id: the token may be gone by now.
    #[param(value_type = Option<String>)]
    token: Option<TokenId>,
    /// From then on.
    since: Option<Timestamp>,
    /// Until before then.
    until: Option<Timestamp>,
    /// Only those that were refused or failed: status 400 and above.
    #[serde(default)]
    refused: bool,
    /// The last first.
    #[serde(default)]
    newest_first: bool,
}

/// List calls of the API
///
/// Every call that takes a token, reading and refusals included, kept for a month
/// where the operator says nothing else. Agents, instance metadata and health
/// are not in it.
#[utoipa::path(get, path = "/v1/calls", tag = "audit", params(CallQuery),
    responses((status = 200, body = Page<ApiCall>)))]
async fn list_calls(
    State(app): State<App>,
    Query(query): Query<CallQuery>,
) -> Result<Json<Page<ApiCall>>, Failure> {
    let asked = Asked::<CallId>::new(query.limit, query.after.as_deref())?;
    let filter = CallFilter {
        token: query.token,
        since: query.since,
        until: query.until,
        least_status: query.refused.then_some(400),
        newest_first: query.newest_first,
    };
    // What was answered until now is part of it.
    app.calls().flush(app.store()).await;
    let read = app.store().calls(&filter, asked.after, asked.read()).await;
    Ok(asked.page(see("the record of calls", read)?, |c| c.id.to_string()))
}
