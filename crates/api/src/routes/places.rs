//! Sites and machine types.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    MachineTypeId, Name, SiteId,
    api::{MachineTypeChange, NewMachineType, NewSite, Page, Problem, SiteChange},
    site::{MachineType, Site},
};
use billet_store::{Batch, MachineFilter, Write};
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
    problem::{Failure, Kind},
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_sites, create_site))
        .routes(routes!(show_site, change_site, delete_site))
        .routes(routes!(list_machine_types, create_machine_type))
        .routes(routes!(
            show_machine_type,
            change_machine_type,
            delete_machine_type
        ))
}

/// List sites
#[utoipa::path(get, path = "/v1/sites", tag = "places", params(PageQuery),
    responses((status = 200, body = Page<Site>)))]
async fn list_sites(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Site>>, Failure> {
    let asked = Asked::<SiteId>::new(query.limit, query.after.as_deref())?;
    let read = app.store().sites(asked.after, asked.read()).await;
    Ok(asked.page(see("sites", read)?, |s| s.id.to_string()))
}

/// Make a site
#[utoipa::path(post, path = "/v1/sites", tag = "places", request_body = NewSite,
    responses((status = 201, body = Site)))]
async fn create_site(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewSite>,
) -> Result<Response, Failure> {
    let jurisdiction = jurisdiction(&new.jurisdiction)?;
    let site = Site {
        id: app.control().new_id(),
        name: new.name,
        jurisdiction,
        created_at: app.now(),
    };
    let row = app
        .row(&bearer.actor(), "site.create")
        .detail(json!({ "site": site.id, "name": site.name, "jurisdiction": site.jurisdiction }));
    let batch = Batch::new().with(Write::PutSite(site.clone())).audited(row);
    app.commit("making a site", batch).await?;
    let location = format!("/v1/sites/{}", site.id);
    respond::changed(StatusCode::CREATED, &site, None, Some(location))
}

/// Show a site
#[utoipa::path(get, path = "/v1/sites/{site}", tag = "places",
    responses((status = 200, body = Site)))]
async fn show_site(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(&headers, &lookup::site(&app, &text).await?, None)
}

/// Change a site's name or jurisdiction
///
/// The jurisdiction stays as it is while a lease holds a machine there: it was
/// promised to its tenant.
#[utoipa::path(patch, path = "/v1/sites/{site}", tag = "places", request_body = SiteChange,
    responses((status = 200, body = Site), (status = 409, body = Problem)))]
async fn change_site(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<SiteChange>,
) -> Result<Response, Failure> {
    let mut site = lookup::site(&app, &text).await?;
    let before = site.clone();
    if let Some(name) = change.name {
        site.name = name;
    }
    if let Some(wanted) = &change.jurisdiction {
        site.jurisdiction = jurisdiction(wanted)?;
    }
    if site == before {
        return respond::changed(StatusCode::OK, &site, None, None);
    }
    if site.jurisdiction != before.jurisdiction {
        no_lease_at(&app, &site).await?;
    }
    let row = app.row(&bearer.actor(), "site.change").detail(json!({
        "site": site.id, "was": [before.name, before.jurisdiction],
        "name": site.name, "jurisdiction": site.jurisdiction,
    }));
    let batch = Batch::new().with(Write::PutSite(site.clone())).audited(row);
    app.commit("changing the site", batch).await?;
    respond::changed(StatusCode::OK, &site, None, None)
}

/// Refuses what would change under a tenant.
async fn no_lease_at(app: &App, site: &Site) -> Result<(), Failure> {
    let filter = MachineFilter {
        site: Some(site.id),
        ..MachineFilter::default()
    };
    let mut after = None;
    loop {
        let page = see("machines", app.store().machines(&filter, after, 500).await)?;
        if let Some(held) = page.iter().find(|m| m.lease.is_some()) {
            let detail = format!(
                "machine {} there is leased, and its tenant was promised the jurisdiction: wait until no lease holds a machine there",
                held.name
            );
            return Err(Failure::new(Kind::InUse, detail).field("jurisdiction"));
        }
        if page.len() < 500 {
            return Ok(());
        }
        after = page.last().map(|m| m.id);
    }
}

/// Whose law holds, as it is kept.
fn jurisdiction(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if text.is_empty() || text.len() > 63 {
        let detail = "say whose law holds there, in a short code such as DE or EU";
        return Err(Failure::invalid("jurisdiction", detail));
    }
    Ok(text.to_owned())
}

/// Delete a site
///
/// Refused while there is a machine at it, a retired one included.
#[utoipa::path(delete, path = "/v1/sites/{site}", tag = "places",
    responses((status = 204), (status = 409, body = Problem)))]
async fn delete_site(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let found = lookup::site(&app, &text).await?;
    let row = app
        .row(&bearer.actor(), "site.delete")
        .detail(json!({ "site": found.id, "name": found.name }));
    let batch = Batch::new().with(Write::DeleteSite(found.id)).audited(row);
    in_use::delete(&app, "site", Needed::Site(found.id), batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List machine types
#[utoipa::path(get, path = "/v1/machine-types", tag = "places", params(PageQuery),
    responses((status = 200, body = Page<MachineType>)))]
async fn list_machine_types(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<MachineType>>, Failure> {
    let asked = Asked::<MachineTypeId>::new(query.limit, query.after.as_deref())?;
    let read = app.store().machine_types(asked.after, asked.read()).await;
    Ok(asked.page(see("machine types", read)?, |t| t.id.to_string()))
}

/// Make a machine type
#[utoipa::path(post, path = "/v1/machine-types", tag = "places",
    request_body = NewMachineType, responses((status = 201, body = MachineType)))]
async fn create_machine_type(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewMachineType>,
) -> Result<Response, Failure> {
    let warm = new.warm.unwrap_or_default();
    warm_images(&app, &warm.images).await?;
    let machine_type = MachineType {
        id: app.control().new_id(),
        name: new.name,
        description: new.description,
        expected: new.expected,
        warm,
        created_at: app.now(),
    };
    let row = app
        .row(&bearer.actor(), "machine_type.create")
        .detail(json!({ "machine_type": machine_type.id, "name": machine_type.name }));
    let write = Write::PutMachineType(machine_type.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("making a machine type", batch).await?;
    let location = format!("/v1/machine-types/{}", machine_type.id);
    respond::changed(StatusCode::CREATED, &machine_type, None, Some(location))
}

/// Show a machine type
#[utoipa::path(get, path = "/v1/machine-types/{machine_type}", tag = "places",
    responses((status = 200, body = MachineType)))]
async fn show_machine_type(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(&headers, &lookup::machine_type(&app, &text).await?, None)
}

/// Change a machine type
///
/// What is absent stays as it was. How many of its machines wait warm, and with
/// which images, is seen to from then on; leases are left alone.
#[utoipa::path(patch, path = "/v1/machine-types/{machine_type}", tag = "places",
    request_body = MachineTypeChange, responses((status = 200, body = MachineType)))]
async fn change_machine_type(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<MachineTypeChange>,
) -> Result<Response, Failure> {
    let before = lookup::machine_type(&app, &text).await?;
    let mut now = before.clone();
    if let Some(images) = change.warm_images {
        warm_images(&app, &images).await?;
        now.warm.images = images;
    }
    now.description = change.description.unwrap_or(now.description);
    now.expected = change.expected.unwrap_or(now.expected);
    now.warm.count = change.warm.unwrap_or(now.warm.count);
    now.warm.cold = change.cold.unwrap_or(now.warm.cold);
    if now != before {
        let row = app
            .row(&bearer.actor(), "machine_type.change")
            .detail(json!({ "machine_type": now.id, "was": before, "is": now }));
        let write = Write::PutMachineType(now.clone());
        let batch = Batch::new().with(write).audited(row);
        app.commit("changing a machine type", batch).await?;
        see("machines", app.control().wake_type(&now.name).await)?;
    }
    respond::changed(StatusCode::OK, &now, None, None)
}

/// Whether these may stand on machines before anybody leased them: each is the
/// operator's, for everyone.
async fn warm_images(app: &App, names: &[Name]) -> Result<(), Failure> {
    for name in names {
        let found = app.store().image_by_name(None, name).await;
        let found = see("images", found)?;
        if found.as_ref().is_some_and(|i| i.kind.installs()) {
            return Err(Failure::invalid(
                "warm_images",
                format!(
                    "image {name} installs a machine by itself, so there is nothing to put on a drive before a lease: name a disk image"
                ),
            ));
        }
        if found.is_none() {
            return Err(Failure::invalid(
                "warm_images",
                format!(
                    "there is no image {name} of the operator's own, for everyone: a project's image is never put on a machine before its lease (`billet image list` shows those there are)"
                ),
            ));
        }
    }
    Ok(())
}

/// Delete a machine type
///
/// Refused while a machine is of it, a retired one included.
#[utoipa::path(delete, path = "/v1/machine-types/{machine_type}", tag = "places",
    responses((status = 204), (status = 409, body = Problem)))]
async fn delete_machine_type(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let found = lookup::machine_type(&app, &text).await?;
    let row = app
        .row(&bearer.actor(), "machine_type.delete")
        .detail(json!({ "machine_type": found.id, "name": found.name }));
    let batch = Batch::new()
        .with(Write::DeleteMachineType(found.id))
        .audited(row);
    let needed = Needed::MachineType(&found.name);
    in_use::delete(&app, "machine type", needed, batch).await?;
    Ok(StatusCode::NO_CONTENT)
}
