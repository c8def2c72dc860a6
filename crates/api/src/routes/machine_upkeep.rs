//! What operators see to between leases: a BMC's password, what is set in a
//! machine, and the list of its drives.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use billet_control::MachineCommand;
use billet_model::{
    api::{
        BmcPasswordShown, BmcPasswordWanted, DrivesChange, MachineChanged, Problem, Reason,
        RotatePassword,
    },
    people::Actor,
};
use billet_plan::{drives::DriveChange, requests::MachineRequest};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::machine_requests::{carry_out, why};
use crate::{
    app::App,
    auth::Bearer,
    extract::{Body, IfMatch, Of},
    idempotency::HoldsSecret,
    lookup,
    problem::Failure,
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(rotate_machine_password))
        .routes(routes!(show_machine_password))
        .routes(routes!(accept_machine_firmware))
        .routes(routes!(change_machine_drives))
}

/// Give a machine's BMC another password
///
/// Made by Billet, kept before it is sent, and current once it signs in. For a
/// machine that nobody holds; while a lease does, it is done when that ends.
#[utoipa::path(post, path = "/v1/machines/{machine}/rotate-password", tag = "machines",
    request_body = RotatePassword,
    responses((status = 202, body = MachineChanged), (status = 409, body = Problem)))]
async fn rotate_machine_password(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    version: IfMatch,
    Body(asked): Body<RotatePassword>,
) -> Result<Response, Failure> {
    let command = MachineCommand::Request(MachineRequest::RotatePassword {
        after_each_lease: asked.after_each_lease,
    });
    carry_out(&app, &bearer, &text, version, command).await
}

/// Show how to sign in to a machine's BMC
///
/// For operators alone, and each time on record: who keeps BMC passwords would
/// lock people out otherwise.
#[utoipa::path(post, path = "/v1/machines/{machine}/bmc-password", tag = "machines",
    request_body = BmcPasswordWanted,
    responses((status = 200, body = BmcPasswordShown), (status = 404, body = Problem)))]
async fn show_machine_password(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(wanted): Body<BmcPasswordWanted>,
) -> Result<Response, Failure> {
    let machine = lookup::machine(&app, &text).await?;
    let shown = app
        .control()
        .show_bmc_password(&bearer.actor(), machine.id, wanted.number)
        .await?;
    let mut response = respond::changed(StatusCode::OK, &shown, None, None)?;
    response.extensions_mut().insert(HoldsSecret(
        "ask for the password once more, with a new key",
    ));
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// Take what is set in a machine for what is wanted
///
/// BMC accounts, BIOS settings, boot order and firmware versions are read, and
/// what leases left otherwise is accepted.
#[utoipa::path(post, path = "/v1/machines/{machine}/accept-firmware", tag = "machines",
    responses((status = 202, body = MachineChanged), (status = 409, body = Problem)))]
async fn accept_machine_firmware(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    version: IfMatch,
) -> Result<Response, Failure> {
    let command = MachineCommand::Request(MachineRequest::AcceptFirmware);
    carry_out(&app, &bearer, &text, version, command).await
}

/// Change the list of a machine's drives
///
/// Strikes one that left the machine without an erase, with a reason; lets one go
/// that cannot be erased, with a reason, so that the next erase is accepted without
/// it; or adds one that came and may be erased.
#[utoipa::path(post, path = "/v1/machines/{machine}/drives", tag = "machines",
    request_body = DrivesChange,
    responses((status = 200, body = MachineChanged), (status = 409, body = Problem)))]
async fn change_machine_drives(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    version: IfMatch,
    Body(asked): Body<DrivesChange>,
) -> Result<Response, Failure> {
    let change = match (asked.strike, asked.let_go, asked.reason, asked.add) {
        (Some(serial), None, Some(reason), None) => DriveChange::Strike {
            serial,
            reason: why(Reason { reason })?,
        },
        (None, Some(serial), Some(reason), None) => DriveChange::LetGo {
            serial,
            reason: why(Reason { reason })?,
            by: said_by(&bearer),
        },
        (Some(_), None, None, None) => {
            let detail = "say why the drive left: it goes on record and on the certificate";
            return Err(Failure::invalid("reason", detail));
        }
        (None, Some(_), None, None) => {
            let detail = "say why the drive is let go without an erase: it goes on record and on the certificate";
            return Err(Failure::invalid("reason", detail));
        }
        (None, None, None, Some(serial)) if !serial.trim().is_empty() && serial.len() <= 200 => {
            DriveChange::Add {
                serial: serial.trim().to_owned(),
            }
        }
        _ => {
            let detail = "give either strike and reason, let_go and reason, or add";
            return Err(Failure::invalid("strike", detail));
        }
    };
    let command = MachineCommand::Drives(change);
    carry_out(&app, &bearer, &text, version, command).await
}

/// Whoever asks, as the certificate names them.
fn said_by(bearer: &Bearer) -> String {
    match bearer.actor() {
        Actor::Token { name, role, .. } => format!("{name} ({})", role.as_str()),
        _ => "an operator".into(),
    }
}
