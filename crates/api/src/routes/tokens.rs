//! Access tokens.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    TokenId,
    api::{NewToken, Page, TokenChange, TokenMade},
    people::{Role, Token},
};
use billet_store::{Batch, Write};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    access::Caller,
    app::{About as _, App},
    auth::{self, Bearer},
    extract::{Body, Of, Query},
    idempotency::HoldsSecret,
    lookup,
    page::Asked,
    problem::{Failure, Kind},
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(show_token, change_token, delete_token))
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TokenQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// Of this project, by name or id.
    project: Option<String>,
}

/// List tokens
///
/// Secrets are never among it.
#[utoipa::path(get, path = "/v1/tokens", tag = "people", params(TokenQuery),
    responses((status = 200, body = Page<Token>)))]
async fn list_tokens(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<TokenQuery>,
) -> Result<Json<Page<Token>>, Failure> {
    let asked = Asked::<TokenId>::new(query.limit, query.after.as_deref())?;
    let project = lookup::project_filter(&app, &bearer, query.project.as_deref()).await?;
    let read = app.store().tokens(project, asked.after, asked.read()).await;
    Ok(asked.page(see("tokens", read)?, |t| t.id.to_string()))
}

/// Make a token
///
/// The answer has its secret, which is not shown again. A project's owner makes
/// tokens for that project only.
#[utoipa::path(post, path = "/v1/tokens", tag = "people", request_body = NewToken,
    responses((status = 201, body = TokenMade)))]
async fn create_token(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewToken>,
) -> Result<Response, Failure> {
    let named = new.project.as_ref().map(|name| name.as_str());
    let wants_project = match (bearer.caller, new.role, named) {
        (Caller::Operator, Role::Operator, Some(_)) => {
            let detail = "an operator's token is for all projects: leave the project out";
            return Err(Failure::invalid("project", detail));
        }
        (Caller::Operator, Role::Operator, None) | (Caller::Operator, Role::Auditor, None) => false,
        (_, Role::Operator, _) => {
            let detail = "only an operator makes operators' tokens";
            return Err(Failure::new(Kind::Forbidden, detail).field("role"));
        }
        _ => true,
    };
    let project = if wants_project {
        Some(lookup::project_for(&app, &bearer, named).await?.id)
    } else {
        None
    };
    if new.expires_at.is_some_and(|end| end <= app.now()) {
        let detail = "this time is past already: choose one to come, or none";
        return Err(Failure::invalid("expires_at", detail));
    }
    let (secret, hash) = auth::fresh_secret(app.control());
    let token = Token {
        id: app.control().new_id(),
        name: new.name,
        role: new.role,
        project,
        expires_at: new.expires_at,
        disabled: false,
        created_at: app.now(),
        last_used_at: None,
    };
    let row = app
        .row(&bearer.actor(), "token.create")
        .project(project)
        .detail(json!({
            "token": token.id, "name": token.name, "role": token.role,
            "expires_at": token.expires_at,
        }));
    let write = Write::PutToken {
        token: token.clone(),
        hash: Some(hash),
    };
    let batch = Batch::new().with(write).audited(row);
    app.commit("making a token", batch).await?;
    let location = format!("/v1/tokens/{}", token.id);
    let made = TokenMade {
        token,
        secret: secret.expose().to_owned(),
    };
    let mut response = respond::changed(StatusCode::CREATED, &made, None, Some(location))?;
    response.extensions_mut().insert(HoldsSecret);
    Ok(response)
}

/// Show a token
#[utoipa::path(get, path = "/v1/tokens/{token}", tag = "people",
    responses((status = 200, body = Token)))]
async fn show_token(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(&headers, &lookup::token(&app, &bearer, &text).await?, None)
}

/// Disable or enable a token
#[utoipa::path(patch, path = "/v1/tokens/{token}", tag = "people",
    request_body = TokenChange, responses((status = 200, body = Token)))]
async fn change_token(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<TokenChange>,
) -> Result<Response, Failure> {
    let mut token = lookup::token(&app, &bearer, &text).await?;
    let Some(disabled) = change.disabled.filter(|d| *d != token.disabled) else {
        return respond::changed(StatusCode::OK, &token, None, None);
    };
    if disabled {
        keep_an_operator(&app, &token).await?;
    }
    token.disabled = disabled;
    let row = app
        .row(&bearer.actor(), "token.change")
        .project(token.project)
        .detail(json!({ "token": token.id, "name": token.name, "disabled": disabled }));
    let write = Write::PutToken {
        token: token.clone(),
        hash: None,
    };
    let batch = Batch::new().with(write).audited(row);
    app.commit("changing the token", batch).await?;
    respond::changed(StatusCode::OK, &token, None, None)
}

/// Delete a token
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "people", responses((status = 204)))]
async fn delete_token(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let token = lookup::token(&app, &bearer, &text).await?;
    keep_an_operator(&app, &token).await?;
    let row = app
        .row(&bearer.actor(), "token.delete")
        .project(token.project)
        .detail(json!({ "token": token.id, "name": token.name, "role": token.role }));
    let batch = Batch::new().with(Write::DeleteToken(token.id)).audited(row);
    app.commit("deleting the token", batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses to take the last operator's token away: nobody could make another.
async fn keep_an_operator(app: &App, token: &Token) -> Result<(), Failure> {
    let now = app.now();
    let works = |t: &Token| {
        t.role == Role::Operator && !t.disabled && t.expires_at.is_none_or(|end| end > now)
    };
    if !works(token) {
        return Ok(());
    }
    let mut after = None;
    loop {
        let page = see("tokens", app.store().tokens(None, after, 1000).await)?;
        if page.iter().any(|t| t.id != token.id && works(t)) {
            return Ok(());
        }
        after = page.last().map(|t| t.id);
        if page.len() < 1000 {
            break;
        }
    }
    Err(Failure::new(
        Kind::Conflict,
        "this is the last operator's token that works: make another first",
    ))
}
