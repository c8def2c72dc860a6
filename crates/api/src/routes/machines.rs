//! Machines: listed, shown, enrolled, taken over. For operators and overseers
//! only: tenants see leases.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    MachineId, Name,
    api::{MachineChange, MachineStarted, MachineView, NewMachine, Page, Problem, TakeOver},
    lifecycle::Lifecycle,
};
use billet_store::MachineFilter;
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
    problem::Failure,
    respond,
    views::Views,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_machines, enroll_machine))
        .routes(routes!(show_machine, change_machine))
        .routes(routes!(take_over_machine))
}

/// Which machines.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MachineQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// At this point of their life.
    lifecycle: Option<Lifecycle>,
    /// At this site, by name or id.
    site: Option<String>,
    /// Of this machine type.
    #[serde(rename = "type")]
    machine_type: Option<Name>,
    /// Cordoned, or not.
    cordoned: Option<bool>,
    /// Held after a restore until confirmed, or not.
    unconfirmed: Option<bool>,
}

/// List machines
///
/// Without what was found in them: ask for one to see that.
#[utoipa::path(get, path = "/v1/machines", tag = "machines", params(MachineQuery),
    responses((status = 200, body = Page<MachineView>)))]
async fn list_machines(
    State(app): State<App>,
    Query(query): Query<MachineQuery>,
) -> Result<Json<Page<MachineView>>, Failure> {
    let asked = Asked::<MachineId>::new(query.limit, query.after.as_deref())?;
    let site = match &query.site {
        Some(site) => Some(lookup::site(&app, site).await?.id),
        None => None,
    };
    let filter = MachineFilter {
        lifecycle: query.lifecycle,
        site,
        machine_type: query.machine_type,
        cordoned: query.cordoned,
        unconfirmed: query.unconfirmed,
        ..MachineFilter::default()
    };
    let read = app
        .store()
        .machines_in_short(&filter, asked.after, asked.read())
        .await;
    let mut read = see("machines", read)?;
    let next = asked.cut(&mut read, |m| m.machine.id.to_string());
    let mut views = Views::new(&app);
    let mut items = Vec::with_capacity(read.len());
    for machine in read {
        items.push(views.machine_in_short(machine).await?);
    }
    Ok(Json(Page { items, next }))
}

/// Show a machine
#[utoipa::path(get, path = "/v1/machines/{machine}", tag = "machines",
    responses((status = 200, body = MachineView)))]
async fn show_machine(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let machine = lookup::machine(&app, &text).await?;
    let view = Views::new(&app).machine(machine).await?;
    respond::one(&headers, &view, Some(view.version))
}

/// Correct what is recorded of a machine
///
/// Name and rack at any time; its site and addresses while no lease holds it and
/// nothing is done on it; its machine type and expected serial number only while it
/// is enrolled, quarantined or in maintenance, from where no way leads to an offer
/// but through an inspection, which compares them anew.
#[utoipa::path(patch, path = "/v1/machines/{machine}", tag = "machines",
    request_body = MachineChange,
    responses((status = 200, body = MachineView), (status = 409, body = Problem)))]
async fn change_machine(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
    Body(change): Body<MachineChange>,
) -> Result<Response, Failure> {
    let id = lookup::machine(&app, &text).await?.id;
    let changed = app
        .control()
        .change_machine(&bearer.actor(), id, &change, version)
        .await?;
    let view = Views::new(&app).machine(changed).await?;
    respond::changed(StatusCode::OK, &view, Some(view.version), None)
}

/// Enroll a machine
///
/// Only reads: nothing is powered off or erased before it is taken over.
#[utoipa::path(post, path = "/v1/machines", tag = "machines", request_body = NewMachine,
    responses((status = 202, body = MachineStarted), (status = 409, body = Problem)))]
async fn enroll_machine(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewMachine>,
) -> Result<Response, Failure> {
    let (machine, operation) = app.control().enroll(&bearer.actor(), new).await?;
    let location = format!("/v1/machines/{}", machine.id);
    let machine = Views::new(&app).machine(machine).await?;
    let started = MachineStarted { machine, operation };
    let version = Some(started.machine.version);
    respond::changed(StatusCode::ACCEPTED, &started, version, Some(location))
}

/// Take a machine over
///
/// It is powered off, inspected, erased and tested. Names the serial number of
/// each of its drives: that is the confirmation.
#[utoipa::path(post, path = "/v1/machines/{machine}/take-over", tag = "machines",
    request_body = TakeOver,
    responses((status = 202, body = MachineStarted), (status = 409, body = Problem)))]
async fn take_over_machine(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
    Body(confirmed): Body<TakeOver>,
) -> Result<Response, Failure> {
    let machine = lookup::machine(&app, &text).await?;
    let (machine, operation) = app
        .control()
        .take_over(
            &bearer.actor(),
            machine.id,
            &confirmed.drives,
            confirmed.rotate_password,
            version,
        )
        .await?;
    let machine = Views::new(&app).machine(machine).await?;
    let started = MachineStarted { machine, operation };
    let version = Some(started.machine.version);
    respond::changed(StatusCode::ACCEPTED, &started, version, None)
}
