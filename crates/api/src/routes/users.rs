//! Users: people, and service accounts that people answer for.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    UserId,
    api::{NewUser, Page, Problem, UserChange},
    people::{User, UserKind},
};
use billet_store::{Batch, Write};
use jiff::Timestamp;
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{PageQuery, see};
use crate::{
    app::{About as _, App},
    auth::Bearer,
    extract::{Body, Of, Query},
    lookup,
    page::Asked,
    problem::Failure,
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(show_user, change_user, delete_user))
}

/// List users
#[utoipa::path(get, path = "/v1/users", tag = "people", params(PageQuery),
    responses((status = 200, body = Page<User>)))]
async fn list_users(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<User>>, Failure> {
    let asked = Asked::<UserId>::new(query.limit, query.after.as_deref())?;
    let read = app.store().users(asked.after, asked.read()).await;
    Ok(asked.page(see("users", read)?, |u| u.id.to_string()))
}

/// Make a user
///
/// A user has rights by the groups that it is in, and signs in with tokens that
/// stand for it. A service account has an owner who answers for it, and an end.
#[utoipa::path(post, path = "/v1/users", tag = "people", request_body = NewUser,
    responses((status = 201, body = User)))]
async fn create_user(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewUser>,
) -> Result<Response, Failure> {
    let owner = match (new.kind, &new.owner) {
        (UserKind::Person, None) => None,
        (UserKind::Person, Some(_)) => {
            let detail = "a person answers for themselves: leave the owner out";
            return Err(Failure::invalid("owner", detail));
        }
        (UserKind::Service, None) => {
            let detail = "a service account needs an owner who answers for it";
            return Err(Failure::invalid("owner", detail));
        }
        (UserKind::Service, Some(name)) => Some(owner(&app, name.as_str()).await?),
    };
    if new.kind == UserKind::Service && new.expires_at.is_none() {
        let detail = "a service account needs an end: when it comes, its owner asks for more";
        return Err(Failure::invalid("expires_at", detail));
    }
    to_come(&app, new.expires_at)?;
    let user = User {
        id: app.control().new_id(),
        name: new.name,
        kind: new.kind,
        owner,
        expires_at: new.expires_at,
        disabled: false,
        created_at: app.now(),
    };
    let row = app.row(&bearer.actor(), "user.create").detail(json!({
        "user": user.id, "name": user.name, "kind": user.kind, "owner": user.owner,
        "expires_at": user.expires_at,
    }));
    let batch = Batch::new().with(Write::PutUser(user.clone())).audited(row);
    app.commit("making a user", batch).await?;
    let location = format!("/v1/users/{}", user.id);
    respond::changed(StatusCode::CREATED, &user, None, Some(location))
}

/// Show a user
#[utoipa::path(get, path = "/v1/users/{user}", tag = "people",
    responses((status = 200, body = User)))]
async fn show_user(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(&headers, &lookup::user(&app, &text).await?, None)
}

/// Change a user
///
/// A disabled user's tokens stop to work at once, and so do those of its
/// service accounts, until these are handed over.
#[utoipa::path(patch, path = "/v1/users/{user}", tag = "people", request_body = UserChange,
    responses((status = 200, body = User)))]
async fn change_user(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<UserChange>,
) -> Result<Response, Failure> {
    let _alone = app.credentials().await;
    let before = lookup::user(&app, &text).await?;
    let mut user = before.clone();
    if let Some(disabled) = change.disabled {
        user.disabled = disabled;
    }
    if let Some(name) = &change.owner {
        if user.kind == UserKind::Person {
            let detail = "a person answers for themselves: leave the owner out";
            return Err(Failure::invalid("owner", detail));
        }
        user.owner = Some(owner(&app, name.as_str()).await?);
    }
    if change.expires_at.is_some() {
        to_come(&app, change.expires_at)?;
        user.expires_at = change.expires_at;
    }
    if user == before {
        return respond::changed(StatusCode::OK, &user, None, None);
    }
    let row = app.row(&bearer.actor(), "user.change").detail(json!({
        "user": user.id, "name": user.name, "disabled": user.disabled, "owner": user.owner,
        "expires_at": user.expires_at,
    }));
    let batch = Batch::new().with(Write::PutUser(user.clone())).audited(row);
    app.commit("changing the user", batch).await?;
    respond::changed(StatusCode::OK, &user, None, None)
}

/// Delete a user with its tokens
///
/// Refused while it owns service accounts.
#[utoipa::path(delete, path = "/v1/users/{user}", tag = "people",
    responses((status = 204), (status = 409, body = Problem)))]
async fn delete_user(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let _alone = app.credentials().await;
    let user = lookup::user(&app, &text).await?;
    let row = app
        .row(&bearer.actor(), "user.delete")
        .detail(json!({ "user": user.id, "name": user.name }));
    let batch = Batch::new().with(Write::DeleteUser(user.id)).audited(row);
    app.commit("deleting the user", batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is to answer for a service account: a person.
async fn owner(app: &App, text: &str) -> Result<UserId, Failure> {
    let owner = lookup::user(app, text)
        .await
        .map_err(|f| f.field("owner"))?;
    if owner.kind == UserKind::Person {
        return Ok(owner.id);
    }
    let detail = format!("{} is a service account itself: name a person", owner.name);
    Err(Failure::invalid("owner", detail))
}

/// Refuses an end that is past.
fn to_come(app: &App, end: Option<Timestamp>) -> Result<(), Failure> {
    if end.is_some_and(|end| end <= app.now()) {
        let detail = "this time is past already: choose one to come";
        return Err(Failure::invalid("expires_at", detail));
    }
    Ok(())
}
