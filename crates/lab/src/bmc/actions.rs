//! What POST and DELETE do: sessions, resets, media, logs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::Value;

use super::error::RedfishError;
use super::http::{Call, json_response, no_content};
use super::resources::{bios_values, media_slot, session_json, uri};
use super::state::{MAX_SESSIONS, Session, default_bios};
use super::{Bmc, auth, media, odd, power};

/// How long a BMC that restarts itself answers nobody.
const RESTART: Duration = Duration::from_secs(2);

type Answer = Result<Response<Body>, RedfishError>;

/// Whether something at this address is there to be posted to.
pub(super) fn is_action(path: &[&str]) -> bool {
    match path {
        ["Systems", "1", "Actions", "ComputerSystem.Reset"]
        | ["Systems", "1", "Bios", "Actions", "Bios.ResetBios"]
        | ["Managers", "1", "Actions", "Manager.Reset"]
        | [
            "Systems" | "Managers",
            "1",
            "LogServices",
            "Log",
            "Actions",
            "LogService.ClearLog",
        ] => true,
        [
            "Managers",
            "1",
            "VirtualMedia",
            slot,
            "Actions",
            "VirtualMedia.InsertMedia" | "VirtualMedia.EjectMedia",
        ] => media_slot(slot).is_some(),
        _ => false,
    }
}

/// Carry out a POST, where there is something to post to.
pub(super) async fn post(bmc: &Arc<Bmc>, path: &[&str], call: &Call) -> Option<Answer> {
    if !is_action(path) {
        return None;
    }
    let body = match call.json() {
        Ok(body) => body,
        Err(error) => return Some(Err(error)),
    };
    Some(match path {
        [.., "ComputerSystem.Reset"] => reset(bmc, &body).await,
        [.., "Bios.ResetBios"] => {
            let mut state = bmc.lock();
            state.lasting.bios_pending = default_bios();
            bmc.save(&state);
            Ok(no_content())
        }
        [.., "Manager.Reset"] => manager_reset(bmc, &body),
        [.., "LogService.ClearLog"] => {
            bmc.lock().log.clear();
            Ok(no_content())
        }
        [_, _, _, slot, _, action] => match (media_slot(slot), *action) {
            (Some(slot), "VirtualMedia.InsertMedia") => media::insert(bmc, slot, &body).await,
            (Some(slot), _) => media::eject(bmc, slot).await.map(|()| no_content()),
            (None, _) => Err(RedfishError::not_found(&call.path)),
        },
        _ => Err(RedfishError::not_found(&call.path)),
    })
}

async fn reset(bmc: &Arc<Bmc>, body: &Value) -> Answer {
    const ACTION: &str = "ComputerSystem.Reset";
    let Some(wanted) = body.get("ResetType") else {
        return Err(RedfishError::action_parameter_missing(ACTION, "ResetType"));
    };
    let kind = wanted
        .as_str()
        .and_then(power::Reset::from_redfish)
        .ok_or_else(|| RedfishError::action_parameter_not_in_list(wanted, "ResetType", ACTION))?;
    let task = bmc.lock().start_task("Computer System Reset");
    let result = power::reset(bmc, kind).await;
    media::end(bmc, task, &result);
    result.map(|()| no_content())
}

fn manager_reset(bmc: &Arc<Bmc>, body: &Value) -> Answer {
    const ACTION: &str = "Manager.Reset";
    if let Some(wanted) = body.get("ResetType")
        && !matches!(wanted.as_str(), Some("GracefulRestart" | "ForceRestart"))
    {
        return Err(RedfishError::action_parameter_not_in_list(
            wanted,
            "ResetType",
            ACTION,
        ));
    }
    odd::restart(bmc, RESTART);
    Ok(no_content())
}

/// Create a session.
pub(super) fn login(bmc: &Arc<Bmc>, body: &Value) -> Answer {
    let text = |name: &str| match body.get(name) {
        None => Err(RedfishError::property_missing(name)),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(RedfishError::property_value_type(other, name)),
    };
    let (user, password) = (text("UserName")?, text("Password")?);
    let mut state = bmc.lock();
    if !auth::check(&state, user, password) {
        state.note("Warning", format!("Login of '{user}' was refused."));
        return Err(RedfishError::wrong_credentials());
    }
    state.expire_sessions();
    if state.sessions.len() >= MAX_SESSIONS || odd::sessions_full(bmc) {
        return Err(RedfishError::session_limit());
    }
    let session = Session {
        id: state.number().to_string(),
        token: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()),
        user: user.to_owned(),
        created: Timestamp::now(),
        used: Instant::now(),
    };
    let mut shown = session_json(&session);
    if odd::password_expired(bmc) {
        // As the standard has it: the session is made, and good for nothing else.
        let account = uri(&["AccountService", "Accounts", "1"]);
        let message = RedfishError::password_change_required(&account).message();
        shown["@Message.ExtendedInfo"] = Value::Array(vec![message]);
    }
    let mut response = json_response(&shown);
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    let location = uri(&["SessionService", "Sessions", &session.id]);
    if let (Ok(token), Ok(location)) = (
        HeaderValue::from_str(&session.token),
        HeaderValue::from_str(&location),
    ) {
        headers.insert("X-Auth-Token", token);
        headers.insert(header::LOCATION, location);
    }
    state.sessions.push(session);
    Ok(response)
}

/// End a session.
pub(super) fn logout(bmc: &Arc<Bmc>, id: &str) -> Answer {
    let mut state = bmc.lock();
    let before = state.sessions.len();
    state.sessions.retain(|s| s.id != id);
    if state.sessions.len() == before {
        return Err(RedfishError::not_found(&uri(&[
            "SessionService",
            "Sessions",
            id,
        ])));
    }
    Ok(no_content())
}

/// Whether a firmware setting may have this value.
pub(super) fn bios_value(name: &str, value: &Value) -> Result<(), RedfishError> {
    let values = bios_values(name).ok_or_else(|| RedfishError::property_unknown(name))?;
    match value.as_str() {
        Some(text) if values.contains(&text) => Ok(()),
        Some(_) => Err(RedfishError::property_value_not_in_list(value, name)),
        None => Err(RedfishError::property_value_type(value, name)),
    }
}
