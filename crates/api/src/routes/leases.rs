//! Leases: asked for, changed, powered, given back.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    LeaseId, Name,
    api::{LeaseChange, LeaseStarted, LeaseView, NewLease, Page, PowerChange, Problem, Reinstall},
    lease::{Lease, LeaseState},
    operation::Operation,
};
use billet_store::LeaseFilter;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::App,
    auth::Bearer,
    extract::{Body, IfMatch, Of, Query},
    lookup,
    page::Asked,
    problem::{Failure, Kind},
    respond,
    views::Views,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_leases, create_lease))
        .routes(routes!(show_lease, change_lease))
        .routes(routes!(release_lease))
        .routes(routes!(power_lease))
        .routes(routes!(reinstall_lease))
        .routes(routes!(rescue_lease))
        .routes(routes!(end_rescue_lease))
        .routes(routes!(measure_lease))
        .routes(routes!(installed_lease))
}

/// Which leases.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LeaseQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// Of this project, by name or id.
    project: Option<String>,
    /// With this name.
    name: Option<Name>,
    /// In this state.
    state: Option<LeaseState>,
    /// Only those that are not over, or only those that are.
    live: Option<bool>,
    /// With this tag: `key` or `key=value`.
    tag: Option<String>,
}

/// List leases
#[utoipa::path(get, path = "/v1/leases", tag = "leases", params(LeaseQuery),
    responses((status = 200, body = Page<LeaseView>)))]
async fn list_leases(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<LeaseQuery>,
) -> Result<Json<Page<LeaseView>>, Failure> {
    let asked = Asked::<LeaseId>::new(query.limit, query.after.as_deref())?;
    let filter = LeaseFilter {
        projects: lookup::project_filter(&app, &bearer, query.project.as_deref()).await?,
        name: query.name,
        state: query.state,
        live: query.live,
        tag: query.tag.map(|tag| match tag.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (tag, None),
        }),
        ..LeaseFilter::default()
    };
    let read = app.store().leases(&filter, asked.after, asked.read()).await;
    let mut read = see("leases", read)?;
    let next = asked.cut(&mut read, |l| l.id.to_string());
    let mut views = Views::new(&app);
    let mut items = Vec::with_capacity(read.len());
    for lease in read {
        items.push(views.lease(lease).await?);
    }
    Ok(Json(Page { items, next }))
}

/// Lease a machine
///
/// The machine is made ready by the operation in the answer; the lease is
/// active when its machine says so.
#[utoipa::path(post, path = "/v1/leases", tag = "leases", request_body = NewLease,
    responses((status = 202, body = LeaseStarted), (status = 409, body = Problem)))]
async fn create_lease(
    State(app): State<App>,
    bearer: Bearer,
    Body(mut new): Body<NewLease>,
) -> Result<Response, Failure> {
    let named = new.project.as_ref().map(Name::as_str);
    let project = lookup::project_for(&app, &bearer, named).await?;
    // By id from here on: what a name means to this caller is decided here.
    let image = image_for(&app, &bearer, &project, &new.image).await?;
    new.image = image.id.to_string();
    let actor = bearer.actor();
    let (lease, operation) = app.control().create_lease(&actor, &project, new).await?;
    let location = format!("/v1/leases/{}", lease.id);
    started(&app, lease, operation, Some(location)).await
}

/// The image a project's lease may be of: the project's own, or the operator's,
/// whoever asks.
async fn image_for(
    app: &App,
    bearer: &Bearer,
    project: &billet_model::people::Project,
    text: &str,
) -> Result<billet_model::image::Image, Failure> {
    let not_found = || Failure::not_found("image", text).field("image");
    if let Ok(name) = text.parse::<Name>() {
        for owner in [Some(project.id), None] {
            let read = app.store().image_by_name(owner, &name).await;
            if let Some(image) = see("images", read)? {
                return Ok(image);
            }
        }
    }
    let image = lookup::image(app, bearer, text)
        .await
        .map_err(|_| not_found())?;
    match image.project {
        Some(owner) if owner != project.id => Err(not_found()),
        _ => Ok(image),
    }
}

/// Show a lease
#[utoipa::path(get, path = "/v1/leases/{lease}", tag = "leases",
    responses((status = 200, body = LeaseView)))]
async fn show_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let view = Views::new(&app).lease(lease).await?;
    respond::one(&headers, &view, Some(view.version))
}

/// Change a lease's tags or names, or extend its term
#[utoipa::path(patch, path = "/v1/leases/{lease}", tag = "leases", request_body = LeaseChange,
    responses((status = 200, body = LeaseView), (status = 412, body = Problem)))]
async fn change_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
    Body(change): Body<LeaseChange>,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let lease = app
        .control()
        .change_lease(&bearer.actor(), lease.id, &change, version)
        .await?;
    let view = Views::new(&app).lease(lease).await?;
    respond::changed(StatusCode::OK, &view, Some(view.version), None)
}

/// Give a lease back
///
/// The machine is powered off, erased with proof, tested and offered again.
#[utoipa::path(post, path = "/v1/leases/{lease}/release", tag = "leases",
    responses((status = 202, body = LeaseStarted), (status = 412, body = Problem)))]
async fn release_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let (lease, operation) = app
        .control()
        .release_lease(&bearer.actor(), lease.id, version)
        .await?;
    started(&app, lease, operation, None).await
}

/// Change the power of a lease's machine
#[utoipa::path(post, path = "/v1/leases/{lease}/power", tag = "leases",
    request_body = PowerChange,
    responses((status = 202, body = LeaseStarted), (status = 409, body = Problem)))]
async fn power_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
    Body(change): Body<PowerChange>,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    if version.is_some_and(|version| version != lease.version) {
        return Err(Failure::new(
            Kind::Stale,
            format!(
                "the lease has version {} by now: look at it again",
                lease.version
            ),
        ));
    }
    let (lease, operation) = app
        .control()
        .power_lease(&bearer.actor(), lease.id, change.action)
        .await?;
    started(&app, lease, operation, None).await
}

/// Write a lease's drive anew
///
/// The lease keeps its id, its machine and its addresses. Its other drives are
/// erased, unless they are to be kept. The lease is active again when its machine
/// says so; where that fails it is `broken`, and still the tenant's.
#[utoipa::path(post, path = "/v1/leases/{lease}/reinstall", tag = "leases",
    request_body = Reinstall,
    responses((status = 202, body = LeaseStarted), (status = 409, body = Problem)))]
async fn reinstall_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
    Body(mut with): Body<Reinstall>,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    if let Some(image) = &mut with.image {
        let read = app.store().project(lease.project).await;
        let project = see("projects", read)?
            .ok_or_else(|| Failure::not_found("project", &lease.project.to_string()))?;
        *image = image_for(&app, &bearer, &project, image)
            .await?
            .id
            .to_string();
    }
    let (lease, operation) = app
        .control()
        .reinstall_lease(&bearer.actor(), lease.id, &with, version)
        .await?;
    started(&app, lease, operation, None).await
}

/// Boot the ramdisk for a lease's tenant
///
/// Root gets in by SSH with the lease's keys; no drive is touched.
#[utoipa::path(post, path = "/v1/leases/{lease}/rescue", tag = "leases",
    responses((status = 202, body = LeaseStarted), (status = 409, body = Problem)))]
async fn rescue_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let (lease, operation) = app
        .control()
        .rescue_lease(&bearer.actor(), lease.id, version)
        .await?;
    started(&app, lease, operation, None).await
}

/// End a rescue
///
/// The drive is booted again, and the lease is active.
#[utoipa::path(post, path = "/v1/leases/{lease}/rescue/end", tag = "leases",
    responses((status = 202, body = LeaseStarted), (status = 409, body = Problem)))]
async fn end_rescue_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let (lease, operation) = app
        .control()
        .end_rescue(&bearer.actor(), lease.id, version)
        .await?;
    started(&app, lease, operation, None).await
}

/// Compare a lease's drive with its image
///
/// The ramdisk is booted, reads the drive and writes nothing; then the drive is
/// booted again. What was found is among the lease's `measurements`, and that the
/// ramdisk ran among its `visits`.
#[utoipa::path(post, path = "/v1/leases/{lease}/measure", tag = "leases",
    responses((status = 202, body = LeaseStarted), (status = 409, body = Problem)))]
async fn measure_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let (lease, operation) = app
        .control()
        .measure_lease(&bearer.actor(), lease.id, version)
        .await?;
    started(&app, lease, operation, None).await
}

/// Say that a lease's machine is installed
///
/// For an installer that cannot say so itself: its medium is taken out, and the
/// lease is active. The machine's power is left as it is.
#[utoipa::path(post, path = "/v1/leases/{lease}/installed", tag = "leases",
    responses((status = 202, body = LeaseStarted), (status = 409, body = Problem)))]
async fn installed_lease(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let (lease, operation) = app
        .control()
        .installed_by_hand(&bearer.actor(), lease.id, version)
        .await?;
    started(&app, lease, operation, None).await
}

async fn started(
    app: &App,
    lease: Lease,
    operation: Operation,
    location: Option<String>,
) -> Result<Response, Failure> {
    let lease = Views::new(app).lease(lease).await?;
    let version = Some(lease.version);
    let started = LeaseStarted { lease, operation };
    respond::changed(StatusCode::ACCEPTED, &started, version, location)
}
