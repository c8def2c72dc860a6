//! Quotas: how many machines of a type a project or an organisation may hold.

use std::collections::HashMap;

use axum::{Json, extract::State};
use billet_model::{
    Name, OrganisationId, ProjectId,
    api::{Page, QuotaChange, QuotaView},
    people::Quota,
};
use billet_store::{Batch, Write};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::{About as _, App},
    auth::Bearer,
    extract::{Body, Query},
    lookup,
    problem::Failure,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_quotas, set_quota))
}

/// Which quotas.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct QuotaQuery {
    /// That count for this project, by name or id.
    project: Option<String>,
}

/// List quotas, and how much of each is used
///
/// Those that count for the caller's projects, their organisations' among them.
/// All of them come at once.
#[utoipa::path(get, path = "/v1/quotas", tag = "people", params(QuotaQuery),
    responses((status = 200, body = Page<QuotaView>)))]
async fn list_quotas(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<QuotaQuery>,
) -> Result<Json<Page<QuotaView>>, Failure> {
    let projects = lookup::project_filter(&app, &bearer, query.project.as_deref()).await?;
    let read = see("quotas", app.store().quotas(projects.as_deref()).await)?;
    Ok(Json(Page {
        items: views(&app, read).await?,
        next: None,
    }))
}

/// Set or take away a quota
///
/// It counts leases that are not over. What is held beyond it already stays;
/// no more is granted. A `most` of null takes the quota away.
#[utoipa::path(put, path = "/v1/quotas", tag = "people", request_body = QuotaChange,
    responses((status = 200, body = Page<QuotaView>)))]
async fn set_quota(
    State(app): State<App>,
    bearer: Bearer,
    Body(change): Body<QuotaChange>,
) -> Result<Json<Page<QuotaView>>, Failure> {
    let machine_type = lookup::machine_type(&app, change.machine_type.as_str()).await;
    let machine_type = machine_type.map_err(|f| f.field("machine_type"))?.name;
    let (organisation, project) = match (&change.organisation, &change.project) {
        (Some(organisation), None) => {
            let found = lookup::organisation(&app, organisation).await;
            (Some(found.map_err(|f| f.field("organisation"))?.id), None)
        }
        (None, Some(project)) => {
            let found = lookup::project(&app, &bearer, project).await;
            (None, Some(found.map_err(|f| f.field("project"))?.id))
        }
        _ => {
            let detail = "a quota is a project's or an organisation's: say one of the two";
            return Err(Failure::invalid("project", detail));
        }
    };
    let quota = Quota {
        machine_type,
        organisation,
        project,
        most: change.most.unwrap_or(0),
    };
    let row = app
        .row(&bearer.actor(), "quota.set")
        .project(project)
        .detail(json!({
            "machine_type": quota.machine_type, "organisation": organisation, "most": change.most,
        }));
    let write = match change.most {
        Some(_) => Write::PutQuota(quota.clone()),
        None => Write::DeleteQuota(quota.clone()),
    };
    let batch = Batch::new().with(write).audited(row);
    app.commit("setting the quota", batch).await?;
    let mut read = see("quotas", app.store().quotas(None).await)?;
    read.retain(|(q, _)| {
        q.machine_type == quota.machine_type
            && q.organisation == organisation
            && q.project == project
    });
    Ok(Json(Page {
        items: views(&app, read).await?,
        next: None,
    }))
}

async fn views(app: &App, read: Vec<(Quota, u32)>) -> Result<Vec<QuotaView>, Failure> {
    let mut organisations: HashMap<OrganisationId, Option<Name>> = HashMap::new();
    let mut projects: HashMap<ProjectId, Option<Name>> = HashMap::new();
    let mut views = Vec::with_capacity(read.len());
    for (quota, used) in read {
        if let Some(id) = quota.organisation
            && !organisations.contains_key(&id)
        {
            let found = see("organisations", app.store().organisation(id).await)?;
            organisations.insert(id, found.map(|o| o.name));
        }
        if let Some(id) = quota.project
            && !projects.contains_key(&id)
        {
            let found = see("projects", app.store().project(id).await)?;
            projects.insert(id, found.map(|p| p.name));
        }
        let organisation = quota.organisation.and_then(|id| organisations[&id].clone());
        let project = quota.project.and_then(|id| projects[&id].clone());
        views.push(QuotaView {
            machine_type: quota.machine_type,
            organisation,
            project,
            most: quota.most,
            used,
        });
    }
    Ok(views)
}
