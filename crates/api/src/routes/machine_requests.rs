//! What operators ask of a machine: one path for each verb.

use axum::{extract::State, http::StatusCode, response::Response};
use billet_control::MachineCommand;
use billet_model::api::{BmcChange, MachineChanged, PowerChange, Problem, Reason};
use billet_plan::requests::MachineRequest;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    auth::Bearer,
    extract::{Body, IfMatch, Of},
    lookup,
    problem::Failure,
    respond,
    views::Views,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(inspect_machine))
        .routes(routes!(test_machine))
        .routes(routes!(repair_machine))
        .routes(routes!(cordon_machine))
        .routes(routes!(uncordon_machine))
        .routes(routes!(quarantine_machine))
        .routes(routes!(maintain_machine))
        .routes(routes!(break_fix_machine))
        .routes(routes!(retire_machine))
        .routes(routes!(power_machine))
        .routes(routes!(confirm_machine))
        .routes(routes!(change_machine_bmc))
}

pub(super) async fn carry_out(
    app: &App,
    bearer: &Bearer,
    text: &str,
    IfMatch(version): IfMatch,
    command: MachineCommand,
) -> Result<Response, Failure> {
    let machine = lookup::machine(app, text).await?;
    let (machine, operation) = app
        .control()
        .machine_command(&bearer.actor(), machine.id, command, version)
        .await?;
    let status = if operation.is_some() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let machine = Views::new(app).machine(machine).await?;
    let version = Some(machine.version);
    let changed = MachineChanged { machine, operation };
    respond::changed(status, &changed, version, None)
}

pub(super) fn why(reason: Reason) -> Result<String, Failure> {
    let text = reason.reason.trim();
    if text.is_empty() || text.len() > 500 || text.chars().any(char::is_control) {
        let detail = "say why in a line of at most 500 characters: it goes on record";
        return Err(Failure::invalid("reason", detail));
    }
    Ok(text.to_owned())
}

macro_rules! plain_requests {
    ($($(#[doc = $doc:literal])* $function:ident, $path:literal, $request:expr;)*) => {$(
        $(#[doc = $doc])*
        #[utoipa::path(post, path = $path, tag = "machines",
            responses((status = 202, body = MachineChanged), (status = 200, body = MachineChanged),
                (status = 409, body = Problem)))]
        async fn $function(
            State(app): State<App>,
            bearer: Bearer,
            Of(text): Of,
            version: IfMatch,
        ) -> Result<Response, Failure> {
            let command = MachineCommand::Request($request);
            carry_out(&app, &bearer, &text, version, command).await
        }
    )*};
}

plain_requests! {
    /// Inspect a machine
    ///
    /// Its parts are listed again, then tested; an enrolled one is read again
    /// through its BMC.
    inspect_machine, "/v1/machines/{machine}/inspect", MachineRequest::Inspect;
    /// Test a machine
    test_machine, "/v1/machines/{machine}/test", MachineRequest::Test;
    /// Bring a held machine back
    ///
    /// Inspected, erased if need be, tested.
    repair_machine, "/v1/machines/{machine}/repair", MachineRequest::Repair;
    /// Put a machine on offer again
    uncordon_machine, "/v1/machines/{machine}/uncordon", MachineRequest::Uncordon;
    /// Retire a machine
    retire_machine, "/v1/machines/{machine}/retire", MachineRequest::Retire;
    /// Confirm a machine after a restore
    ///
    /// What is recorded of it is what is: Billet may work on it again.
    confirm_machine, "/v1/machines/{machine}/confirm", MachineRequest::Confirm;
}

macro_rules! reasoned_requests {
    ($($(#[doc = $doc:literal])* $function:ident, $path:literal, $variant:ident;)*) => {$(
        $(#[doc = $doc])*
        #[utoipa::path(post, path = $path, tag = "machines", request_body = Reason,
            responses((status = 202, body = MachineChanged), (status = 200, body = MachineChanged),
                (status = 409, body = Problem)))]
        async fn $function(
            State(app): State<App>,
            bearer: Bearer,
            Of(text): Of,
            version: IfMatch,
            Body(reason): Body<Reason>,
        ) -> Result<Response, Failure> {
            let reason = why(reason)?;
            let command = MachineCommand::Request(MachineRequest::$variant { reason });
            carry_out(&app, &bearer, &text, version, command).await
        }
    )*};
}

reasoned_requests! {
    /// Keep a machine off offers
    cordon_machine, "/v1/machines/{machine}/cordon", Cordon;
    /// Hold a machine from tenants
    quarantine_machine, "/v1/machines/{machine}/quarantine", Quarantine;
    /// Take a machine out for maintenance
    maintain_machine, "/v1/machines/{machine}/maintenance", Maintenance;
    /// Work on a machine under the tenant that has it
    ///
    /// It is powered off; no drive is erased, which stays on record. `repair` boots
    /// its drive again and gives it back to its tenant.
    break_fix_machine, "/v1/machines/{machine}/break-fix", BreakFix;
}

/// Change a machine's power
#[utoipa::path(post, path = "/v1/machines/{machine}/power", tag = "machines",
    request_body = PowerChange,
    responses((status = 202, body = MachineChanged), (status = 409, body = Problem)))]
async fn power_machine(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    version: IfMatch,
    Body(change): Body<PowerChange>,
) -> Result<Response, Failure> {
    let command = MachineCommand::Request(MachineRequest::Power(change.action));
    carry_out(&app, &bearer, &text, version, command).await
}

/// Change how a machine's BMC is reached
///
/// The password is encrypted at rest and never shown.
#[utoipa::path(post, path = "/v1/machines/{machine}/bmc", tag = "machines",
    request_body = BmcChange,
    responses((status = 200, body = MachineChanged), (status = 409, body = Problem)))]
async fn change_machine_bmc(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    version: IfMatch,
    Body(change): Body<BmcChange>,
) -> Result<Response, Failure> {
    let command = MachineCommand::SetBmc {
        address: change.address,
        user: change.user,
        password: change.password,
        fingerprint: change.fingerprint,
    };
    carry_out(&app, &bearer, &text, version, command).await
}
