//! Organisations and projects.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    OrganisationId, ProjectId,
    api::{NameChange, NewOrganisation, NewProject, Page, Problem},
    people::{Organisation, Project},
};
use billet_store::{Batch, Write};
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{PageQuery, see};
use crate::{
    app::{About as _, App},
    auth::Bearer,
    extract::{Body, Of, Query},
    in_use::{self, Needed},
    lookup,
    page::Asked,
    problem::Failure,
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_organisations, create_organisation))
        .routes(routes!(
            show_organisation,
            change_organisation,
            delete_organisation
        ))
        .routes(routes!(list_projects, create_project))
        .routes(routes!(show_project, change_project, delete_project))
}

/// List organisations
#[utoipa::path(get, path = "/v1/organisations", tag = "people", params(PageQuery),
    responses((status = 200, body = Page<Organisation>)))]
async fn list_organisations(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Organisation>>, Failure> {
    let asked = Asked::<OrganisationId>::new(query.limit, query.after.as_deref())?;
    let read = app.store().organisations(asked.after, asked.read()).await;
    Ok(asked.page(see("organisations", read)?, |o| o.id.to_string()))
}

/// Make an organisation
#[utoipa::path(post, path = "/v1/organisations", tag = "people",
    request_body = NewOrganisation, responses((status = 201, body = Organisation)))]
async fn create_organisation(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewOrganisation>,
) -> Result<Response, Failure> {
    let organisation = Organisation {
        id: app.control().new_id(),
        name: new.name,
        created_at: app.now(),
    };
    let row = app
        .row(&bearer.actor(), "organisation.create")
        .detail(json!({ "organisation": organisation.id, "name": organisation.name }));
    let write = Write::PutOrganisation(organisation.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("making an organisation", batch).await?;
    let location = format!("/v1/organisations/{}", organisation.id);
    respond::changed(StatusCode::CREATED, &organisation, None, Some(location))
}

/// Show an organisation
#[utoipa::path(get, path = "/v1/organisations/{organisation}", tag = "people",
    responses((status = 200, body = Organisation)))]
async fn show_organisation(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(&headers, &lookup::organisation(&app, &text).await?, None)
}

/// Change an organisation's name
#[utoipa::path(patch, path = "/v1/organisations/{organisation}", tag = "people",
    request_body = NameChange,
    responses((status = 200, body = Organisation), (status = 409, body = Problem)))]
async fn change_organisation(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<NameChange>,
) -> Result<Response, Failure> {
    let mut organisation = lookup::organisation(&app, &text).await?;
    let Some(name) = change.name.filter(|name| *name != organisation.name) else {
        return respond::changed(StatusCode::OK, &organisation, None, None);
    };
    let was = std::mem::replace(&mut organisation.name, name);
    let row = app
        .row(&bearer.actor(), "organisation.change")
        .detail(json!({
            "organisation": organisation.id, "was": was, "name": organisation.name,
        }));
    let write = Write::PutOrganisation(organisation.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("changing the organisation", batch).await?;
    respond::changed(StatusCode::OK, &organisation, None, None)
}

/// Delete an organisation
///
/// Refused while it has projects.
#[utoipa::path(delete, path = "/v1/organisations/{organisation}", tag = "people",
    responses((status = 204), (status = 409, body = Problem)))]
async fn delete_organisation(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let found = lookup::organisation(&app, &text).await?;
    let row = app
        .row(&bearer.actor(), "organisation.delete")
        .detail(json!({ "organisation": found.id, "name": found.name }));
    let batch = Batch::new()
        .with(Write::DeleteOrganisation(found.id))
        .audited(row);
    let needed = Needed::Organisation(found.id);
    in_use::delete(&app, "organisation", needed, batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List projects
///
/// Callers see those that they have a role in.
#[utoipa::path(get, path = "/v1/projects", tag = "people", params(PageQuery),
    responses((status = 200, body = Page<Project>)))]
async fn list_projects(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Project>>, Failure> {
    let asked = Asked::<ProjectId>::new(query.limit, query.after.as_deref())?;
    let read = app
        .store()
        .projects(bearer.bound_to().as_deref(), asked.after, asked.read())
        .await;
    let read = see("projects", read)?;
    Ok(asked.page(read, |p| p.id.to_string()))
}

/// Make a project
#[utoipa::path(post, path = "/v1/projects", tag = "people",
    request_body = NewProject, responses((status = 201, body = Project)))]
async fn create_project(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewProject>,
) -> Result<Response, Failure> {
    let organisation = lookup::organisation(&app, new.organisation.as_str())
        .await
        .map_err(|failure| failure.field("organisation"))?;
    let project = Project {
        id: app.control().new_id(),
        name: new.name,
        organisation: organisation.id,
        created_at: app.now(),
    };
    let row = app
        .row(&bearer.actor(), "project.create")
        .project(Some(project.id))
        .detail(json!({ "name": project.name, "organisation": organisation.name }));
    let write = Write::PutProject(project.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("making a project", batch).await?;
    let location = format!("/v1/projects/{}", project.id);
    respond::changed(StatusCode::CREATED, &project, None, Some(location))
}

/// Show a project
#[utoipa::path(get, path = "/v1/projects/{project}", tag = "people",
    responses((status = 200, body = Project)))]
async fn show_project(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(
        &headers,
        &lookup::project(&app, &bearer, &text).await?,
        None,
    )
}

/// Change a project's name
///
/// It keeps its id, and with that its leases, images and tokens.
#[utoipa::path(patch, path = "/v1/projects/{project}", tag = "people",
    request_body = NameChange,
    responses((status = 200, body = Project), (status = 409, body = Problem)))]
async fn change_project(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<NameChange>,
) -> Result<Response, Failure> {
    let mut project = lookup::project(&app, &bearer, &text).await?;
    let Some(name) = change.name.filter(|name| *name != project.name) else {
        return respond::changed(StatusCode::OK, &project, None, None);
    };
    let was = std::mem::replace(&mut project.name, name);
    let row = app
        .row(&bearer.actor(), "project.change")
        .project(Some(project.id))
        .detail(json!({ "was": was, "name": project.name }));
    let write = Write::PutProject(project.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("changing the project", batch).await?;
    respond::changed(StatusCode::OK, &project, None, None)
}

/// Delete a project with its tokens
///
/// Refused while it has images, or leases that are not over.
#[utoipa::path(delete, path = "/v1/projects/{project}", tag = "people",
    responses((status = 204), (status = 409, body = Problem)))]
async fn delete_project(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let project = lookup::project(&app, &bearer, &text).await?;
    let row = app
        .row(&bearer.actor(), "project.delete")
        .project(Some(project.id))
        .detail(json!({ "name": project.name }));
    let write = Write::DeleteProject(project.id);
    let batch = Batch::new().with(write).audited(row);
    app.commit("deleting the project", batch).await?;
    Ok(StatusCode::NO_CONTENT)
}
