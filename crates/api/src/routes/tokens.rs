//! Access tokens.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    ProjectId, Time, TokenId, UserId,
    api::{NewToken, Page, TokenChange, TokenMade, TokenRotation},
    people::{Role, Token},
    scope::TokenScope,
};
use billet_store::{Batch, Write};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    access,
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
        .routes(routes!(rotate_token))
        .routes(routes!(rotate_own_token))
}

/// For how many seconds an old secret may work on: a week.
const MOST_GRACE: u64 = 7 * 86_400;

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
    let projects = lookup::project_filter(&app, &bearer, query.project.as_deref()).await?;
    let read = app
        .store()
        .tokens(projects.as_deref(), asked.after, asked.read())
        .await;
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
    let (role, project, user) = stands_for(&app, &bearer, &new).await?;
    within_own(&bearer, &new.scopes)?;
    no_longer_than_own(&bearer, new.expires_at)?;
    for (n, scope) in new.scopes.iter().enumerate() {
        let known = access::areas();
        if scope.area().is_some_and(|area| !known.contains(&area)) {
            let detail = format!("{scope} names no area that there is: {}", known.join(", "));
            return Err(Failure::invalid(&format!("scopes[{n}]"), detail));
        }
    }
    if new.expires_at.is_some_and(|end| end <= app.now()) {
        let detail = "this time is past already: choose one to come, or none";
        return Err(Failure::invalid("expires_at", detail));
    }
    let (secret, hash) = auth::fresh_secret(app.control());
    let token = Token {
        id: app.control().new_id(),
        name: new.name,
        role,
        project,
        user,
        scopes: new.scopes,
        expires_at: new.expires_at,
        disabled: false,
        created_at: app.now(),
        last_used_at: None,
        rotated_at: None,
    };
    let row = app
        .row(&bearer.actor(), "token.create")
        .project(project)
        .detail(json!({
            "token": token.id, "name": token.name, "role": token.role, "user": token.user,
            "scopes": token.scopes, "expires_at": token.expires_at,
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
    response.extensions_mut().insert(HoldsSecret(
        "delete the token and make another, or give it another secret with `billet token rotate`",
    ));
    Ok(response)
}

/// What a new token stands for: a role and its project, or a user.
async fn stands_for(
    app: &App,
    bearer: &Bearer,
    new: &NewToken,
) -> Result<(Option<Role>, Option<ProjectId>, Option<UserId>), Failure> {
    let named = new.project.as_ref().map(|name| name.as_str());
    let role = match (new.role, &new.user) {
        (Some(role), None) => role,
        (None, Some(user)) if named.is_none() && bearer.is_operator() => {
            let user = lookup::user(app, user.as_str()).await;
            return Ok((None, None, Some(user.map_err(|f| f.field("user"))?.id)));
        }
        (None, Some(_)) if named.is_some() => {
            let detail =
                "what a user's token may is what the user's groups may: leave the project out";
            return Err(Failure::invalid("project", detail));
        }
        (None, Some(_)) => {
            let detail = "only an operator makes users' tokens";
            return Err(Failure::new(Kind::Forbidden, detail).field("user"));
        }
        (Some(_), Some(_)) | (None, None) => {
            let detail = "a token has either a role of its own or a user: say one of the two";
            return Err(Failure::invalid("role", detail));
        }
    };
    let wants_project = match (bearer.is_operator(), role, named) {
        (true, Role::Operator, Some(_)) => {
            let detail = "an operator's token is for all projects: leave the project out";
            return Err(Failure::invalid("project", detail));
        }
        (true, Role::Operator | Role::Auditor, None) => false,
        (false, Role::Operator, _) => {
            let detail = "only an operator makes operators' tokens";
            return Err(Failure::new(Kind::Forbidden, detail).field("role"));
        }
        _ => true,
    };
    let project = if wants_project {
        Some(lookup::project_for(app, bearer, named).await?.id)
    } else {
        None
    };
    Ok((Some(role), project, None))
}

/// Refuses to hand out more than the bearer's own token is cut down to.
fn within_own(bearer: &Bearer, scopes: &[TokenScope]) -> Result<(), Failure> {
    let own = &bearer.token.scopes;
    let covered = |scope: &TokenScope| own.iter().any(|o| o.covers(scope));
    if own.is_empty() || (!scopes.is_empty() && scopes.iter().all(covered)) {
        return Ok(());
    }
    let own: Vec<String> = own.iter().map(TokenScope::to_string).collect();
    let detail = format!(
        "your token is cut down to {}: it hands out no token that can do more",
        own.join(", ")
    );
    Err(Failure::new(Kind::Forbidden, detail).field("scopes"))
}

/// Refuses to hand out what lives longer than the bearer's own token, or its user.
fn no_longer_than_own(bearer: &Bearer, end: Option<Time>) -> Result<(), Failure> {
    let user = bearer.user.as_ref().and_then(|user| user.expires_at);
    let Some(own) = bearer.token.expires_at.into_iter().chain(user).min() else {
        return Ok(());
    };
    if end.is_some_and(|end| end <= own) {
        return Ok(());
    }
    let detail = format!(
        "what you sign in with ends at {own}: it hands out no token that lives longer, so say an end by then"
    );
    Err(Failure::new(Kind::Forbidden, detail).field("expires_at"))
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
    let _alone = app.credentials().await;
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

/// Change a token's secret for another
///
/// The answer has the new secret, which is not shown again. The old one works on
/// for `grace_seconds`, so that what uses it can be changed over.
#[utoipa::path(post, path = "/v1/tokens/{token}/rotate", tag = "people",
    request_body = TokenRotation, responses((status = 200, body = TokenMade)))]
async fn rotate_token(
    State(app): State<App>,
    bearer: Bearer,
    headers: HeaderMap,
    Of(text): Of,
    Body(rotation): Body<TokenRotation>,
) -> Result<Response, Failure> {
    let _alone = app.credentials().await;
    let token = lookup::token(&app, &bearer, &text).await?;
    if token.id == bearer.token.id {
        by_present_secret(&app, &token, &headers).await?;
    } else {
        within_own(&bearer, &token.scopes)?;
        no_longer_than_own(&bearer, token.expires_at)?;
    }
    rotate(&app, &bearer, token, &rotation).await
}

/// Change your own token's secret for another
///
/// For whoever has a token, whatever it may else: it keeps its id, its rights and
/// its end. The answer has the new secret, which is not shown again; the old one
/// works on for `grace_seconds`.
#[utoipa::path(post, path = "/v1/whoami/rotate", tag = "people",
    request_body = TokenRotation, responses((status = 200, body = TokenMade)))]
async fn rotate_own_token(
    State(app): State<App>,
    bearer: Bearer,
    headers: HeaderMap,
    Body(rotation): Body<TokenRotation>,
) -> Result<Response, Failure> {
    let _alone = app.credentials().await;
    let id = bearer.token.id;
    by_present_secret(&app, &bearer.token, &headers).await?;
    // As it is now: it may have been switched off since the bearer signed in.
    let read = app.store().token(id).await;
    let token = see("tokens", read)?.ok_or_else(|| Failure::not_found("token", &id.to_string()))?;
    rotate(&app, &bearer, token, &rotation).await
}

/// Whoever kept the secret before cannot take the token from who has the new one.
async fn by_present_secret(app: &App, own: &Token, headers: &HeaderMap) -> Result<(), Failure> {
    let shown = auth::hash(crate::agents::bearer(headers).unwrap_or_default());
    let present = app.store().is_present_secret(own.id, &shown).await;
    if see("tokens", present)? {
        return Ok(());
    }
    let detail = "this secret was changed for another already, and works on for a while alone: use the new one";
    Err(Failure::new(Kind::Conflict, detail))
}

/// The new secret; whoever calls is alone among those who change tokens.
async fn rotate(
    app: &App,
    bearer: &Bearer,
    mut token: Token,
    rotation: &TokenRotation,
) -> Result<Response, Failure> {
    let now = app.now();
    if token.disabled || token.expires_at.is_some_and(|end| end <= now) {
        let detail = "this token no longer works: make another";
        return Err(Failure::new(Kind::Conflict, detail));
    }
    if rotation.grace_seconds > MOST_GRACE {
        let detail = format!("the old secret may work on for {MOST_GRACE} seconds at most");
        return Err(Failure::invalid("grace_seconds", detail));
    }
    let grace = i64::try_from(rotation.grace_seconds).unwrap_or(0);
    let old_until = (grace > 0).then(|| now + jiff::SignedDuration::from_secs(grace));
    let (secret, hash) = auth::fresh_secret(app.control());
    token.rotated_at = Some(now);
    let row = app
        .row(&bearer.actor(), "token.rotate")
        .project(token.project)
        .detail(json!({ "token": token.id, "name": token.name, "old_until": old_until }));
    let write = Write::RotateToken {
        token: token.clone(),
        hash,
        old_until,
    };
    let batch = Batch::new().with(write).audited(row);
    app.commit("changing the token's secret", batch).await?;
    let made = TokenMade {
        token,
        secret: secret.expose().to_owned(),
    };
    let mut response = respond::changed(StatusCode::OK, &made, None, None)?;
    response.extensions_mut().insert(HoldsSecret(
        "rotate the token once more, with a new key; what has the old secret works until its grace is over",
    ));
    Ok(response)
}

/// Delete a token
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "people", responses((status = 204)))]
async fn delete_token(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let _alone = app.credentials().await;
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
        t.role == Some(Role::Operator)
            && t.scopes.is_empty()
            && !t.disabled
            && t.expires_at.is_none_or(|end| end > now)
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
