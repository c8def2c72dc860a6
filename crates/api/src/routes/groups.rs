//! Groups of users, and the roles that they give.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    GroupId,
    api::{GroupChange, GroupView, NewGrant, NewGroup, Page},
    people::{Grant, Group, Role},
};
use billet_store::{Batch, Write};
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
        .routes(routes!(list_groups, create_group))
        .routes(routes!(show_group, change_group, delete_group))
}

/// List groups
#[utoipa::path(get, path = "/v1/groups", tag = "people", params(PageQuery),
    responses((status = 200, body = Page<GroupView>)))]
async fn list_groups(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<GroupView>>, Failure> {
    let asked = Asked::<GroupId>::new(query.limit, query.after.as_deref())?;
    let read = app.store().groups(asked.after, asked.read()).await;
    let mut read = see("groups", read)?;
    let next = asked.cut(&mut read, |g| g.id.to_string());
    let mut items = Vec::with_capacity(read.len());
    for group in read {
        items.push(view(&app, group).await?);
    }
    Ok(Json(Page { items, next }))
}

/// Make a group
#[utoipa::path(post, path = "/v1/groups", tag = "people", request_body = NewGroup,
    responses((status = 201, body = GroupView)))]
async fn create_group(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewGroup>,
) -> Result<Response, Failure> {
    let group = Group {
        id: app.control().new_id(),
        name: new.name,
        members: Vec::new(),
        grants: Vec::new(),
        created_at: app.now(),
    };
    let row = app
        .row(&bearer.actor(), "group.create")
        .detail(json!({ "group": group.id, "name": group.name }));
    let write = Write::PutGroup(group.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("making a group", batch).await?;
    let location = format!("/v1/groups/{}", group.id);
    let view = view(&app, group).await?;
    respond::changed(StatusCode::CREATED, &view, None, Some(location))
}

/// Show a group
#[utoipa::path(get, path = "/v1/groups/{group}", tag = "people",
    responses((status = 200, body = GroupView)))]
async fn show_group(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let group = lookup::group(&app, &text).await?;
    respond::one(&headers, &view(&app, group).await?, None)
}

/// Change who is in a group, and what it may
///
/// All of it is done, or nothing. What a user may is the union of what its
/// groups may, from the next request on.
#[utoipa::path(patch, path = "/v1/groups/{group}", tag = "people",
    request_body = GroupChange, responses((status = 200, body = GroupView)))]
async fn change_group(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<GroupChange>,
) -> Result<Response, Failure> {
    let found = lookup::group(&app, &text).await?;
    let group = found.id;
    let mut batch = Batch::new();
    for (field, names, add) in [
        ("add", &change.add, true),
        ("remove", &change.remove, false),
    ] {
        for (n, name) in names.iter().enumerate() {
            let user = lookup::user(&app, name).await;
            let user = user.map_err(|f| f.field(format!("{field}[{n}]")))?.id;
            batch = batch.with(if add {
                Write::AddMember { group, user }
            } else {
                Write::RemoveMember { group, user }
            });
        }
    }
    for (field, grants, give) in [
        ("grant", &change.grant, true),
        ("revoke", &change.revoke, false),
    ] {
        for (n, new) in grants.iter().enumerate() {
            let grant = grant(&app, &bearer, new).await;
            let grant = grant.map_err(|f| f.field(format!("{field}[{n}]")))?;
            batch = batch.with(if give {
                Write::AddGrant { group, grant }
            } else {
                Write::RemoveGrant { group, grant }
            });
        }
    }
    if !batch.is_empty() {
        let row = app
            .row(&bearer.actor(), "group.change")
            .detail(json!({ "group": group, "name": found.name, "change": change }));
        app.commit("changing the group", batch.audited(row)).await?;
    }
    let group = lookup::group(&app, &group.to_string()).await?;
    respond::changed(StatusCode::OK, &view(&app, group).await?, None, None)
}

/// Delete a group
///
/// Its members lose what they had by it.
#[utoipa::path(delete, path = "/v1/groups/{group}", tag = "people",
    responses((status = 204)))]
async fn delete_group(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let group = lookup::group(&app, &text).await?;
    let row = app.row(&bearer.actor(), "group.delete").detail(json!({
        "group": group.id, "name": group.name, "members": group.members,
        "grants": group.grants,
    }));
    let batch = Batch::new().with(Write::DeleteGroup(group.id)).audited(row);
    app.commit("deleting the group", batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A role and its place, as they were asked for.
async fn grant(app: &App, bearer: &Bearer, new: &NewGrant) -> Result<Grant, Failure> {
    let place = (&new.organisation, &new.project);
    let (organisation, project) = match (new.role, place) {
        (_, (Some(_), Some(_))) => {
            let detail = "a role is in an organisation or in a project: say one of the two";
            return Err(Failure::invalid("", detail));
        }
        (Role::Operator, (None, None)) | (Role::Auditor, (None, None)) => (None, None),
        (Role::Operator, _) => {
            let detail = "an operator is one everywhere: leave organisation and project out";
            return Err(Failure::invalid("", detail));
        }
        (role, (None, None)) => {
            let detail = format!(
                "the role {} is for a project or an organisation: say for which",
                role.as_str()
            );
            return Err(Failure::invalid("", detail));
        }
        (_, (Some(organisation), None)) => (
            Some(lookup::organisation(app, organisation).await?.id),
            None,
        ),
        (_, (None, Some(project))) => (None, Some(lookup::project(app, bearer, project).await?.id)),
    };
    Ok(Grant {
        role: new.role,
        organisation,
        project,
    })
}

/// A group with names for its ids.
async fn view(app: &App, group: Group) -> Result<GroupView, Failure> {
    let mut member_names = Vec::with_capacity(group.members.len());
    for member in &group.members {
        let user = see("users", app.store().user(*member).await)?;
        member_names.extend(user.map(|user| user.name));
    }
    let mut grants_in_words = Vec::with_capacity(group.grants.len());
    for grant in &group.grants {
        let role = grant.role.as_str();
        let organisation = match grant.organisation {
            Some(id) => see("organisations", app.store().organisation(id).await)?,
            None => None,
        };
        let project = match grant.project {
            Some(id) => see("projects", app.store().project(id).await)?,
            None => None,
        };
        grants_in_words.push(match (organisation, project) {
            (Some(o), _) => format!("{role} in organisation {}", o.name),
            (None, Some(p)) => format!("{role} in project {}", p.name),
            (None, None) => format!("{role} everywhere"),
        });
    }
    Ok(GroupView {
        group,
        member_names,
        grants_in_words,
    })
}
