//! Accounts: made, changed, deleted, under a password policy.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::error::RedfishError;
use super::http::{json_response, no_content};
use super::patch::{flag, text};
use super::resources::{ROLES, uri};
use super::state::{Account, MAX_ACCOUNTS, State};
use super::{Bmc, http, odd};

const ADMINISTRATOR: &str = "Administrator";

/// Whether a user may change anything but the own password.
pub(super) fn may_change(state: &State, user: &str) -> bool {
    let account = state.lasting.accounts.iter().find(|a| a.user == user);
    account.is_some_and(|a| a.role == ADMINISTRATOR)
}

/// Whether `id` is the account of `user`.
pub(super) fn is_own(state: &State, user: &str, id: &str) -> bool {
    let account = state.lasting.accounts.iter().find(|a| a.id == id);
    account.is_some_and(|a| a.user == user)
}

/// An account with what a request says of it.
fn apply(bmc: &Bmc, account: &mut Account, body: &Map<String, Value>) -> Result<(), RedfishError> {
    for (name, value) in body {
        match name.as_str() {
            "Password" => {
                let wanted = text(value, name)?;
                if !(8..=64).contains(&wanted.len()) || odd::password_refused(bmc, wanted) {
                    return Err(RedfishError::property_value_format("******", name));
                }
                wanted.clone_into(&mut account.password);
            }
            "UserName" => {
                let wanted = text(value, name)?;
                if wanted.is_empty() || wanted.contains(':') {
                    return Err(RedfishError::property_value_format(wanted, name));
                }
                wanted.clone_into(&mut account.user);
            }
            "RoleId" => {
                let wanted = text(value, name)?;
                if !ROLES.iter().any(|(role, _)| *role == wanted) {
                    return Err(RedfishError::property_value_not_in_list(value, name));
                }
                wanted.clone_into(&mut account.role);
            }
            "Enabled" => account.enabled = flag(value, name)?,
            other if other.starts_with('@') => {}
            other => return Err(RedfishError::property_not_writable(other)),
        }
    }
    Ok(())
}

/// Whether somebody is left who may do everything.
fn somebody_left(accounts: &[Account]) -> Result<(), RedfishError> {
    if accounts
        .iter()
        .any(|a| a.enabled && a.role == ADMINISTRATOR)
    {
        Ok(())
    } else {
        Err(RedfishError::conflict(
            "The last enabled administrator can be neither deleted, disabled nor given another role.",
        ))
    }
}

fn taken(accounts: &[Account], but: &str, user: &str) -> Result<(), RedfishError> {
    if accounts.iter().any(|a| a.id != but && a.user == user) {
        return Err(RedfishError::conflict(
            "Another account has this user name.",
        ));
    }
    Ok(())
}

/// Change an account.
pub(super) fn change(bmc: &Bmc, id: &str, body: &Map<String, Value>) -> Result<(), RedfishError> {
    let mut state = bmc.lock();
    let mut accounts = state.lasting.accounts.clone();
    let at = accounts.iter().position(|a| a.id == id);
    let at =
        at.ok_or_else(|| RedfishError::not_found(&uri(&["AccountService", "Accounts", id])))?;
    let before = accounts[at].clone();
    let mut account = before.clone();
    apply(bmc, &mut account, body)?;
    if before.enabled && !account.enabled && odd::account_stays(bmc, true) {
        return Err(RedfishError::property_not_writable("Enabled"));
    }
    taken(&accounts, id, &account.user)?;
    accounts[at] = account.clone();
    somebody_left(&accounts)?;
    state.lasting.accounts = accounts;
    if account.password != before.password || !account.enabled {
        // As real ones do: who signed in with what is not so any more is out.
        state.sessions.retain(|s| s.user != before.user);
    }
    state.note("OK", format!("Account '{}' was changed.", account.user));
    bmc.save(&state);
    drop(state);
    if account.password != before.password {
        odd::password_changed(bmc);
    }
    Ok(())
}

/// Make an account.
pub(super) fn create(bmc: &Bmc, body: &Value) -> Result<Response<Body>, RedfishError> {
    let body = body.as_object().ok_or_else(RedfishError::malformed_json)?;
    for name in ["UserName", "Password", "RoleId"] {
        if !body.contains_key(name) {
            return Err(RedfishError::property_missing(name));
        }
    }
    let mut state = bmc.lock();
    let accounts = &state.lasting.accounts;
    if accounts.len() >= MAX_ACCOUNTS {
        return Err(RedfishError::conflict("All accounts are taken."));
    }
    let id = (1..)
        .map(|n: u32| n.to_string())
        .find(|id| !accounts.iter().any(|a| a.id == *id));
    let mut account = Account {
        id: id.unwrap_or_default(),
        user: String::new(),
        password: String::new(),
        role: String::new(),
        enabled: true,
    };
    apply(bmc, &mut account, body)?;
    taken(accounts, &account.id, &account.user)?;
    let at = uri(&["AccountService", "Accounts", &account.id]);
    let path = account.id.clone();
    state.note("OK", format!("Account '{}' was made.", account.user));
    state.lasting.accounts.push(account);
    bmc.save(&state);
    drop(state);
    let made = http::resource(bmc, &["AccountService", "Accounts", &path]);
    let mut response = json_response(&made.unwrap_or_default());
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(at) = HeaderValue::from_str(&at) {
        response.headers_mut().insert(header::LOCATION, at);
    }
    Ok(response)
}

/// Delete an account.
pub(super) fn delete(bmc: &Bmc, id: &str) -> Result<Response<Body>, RedfishError> {
    let mut state = bmc.lock();
    let mut accounts = state.lasting.accounts.clone();
    let at = accounts.iter().position(|a| a.id == id);
    let at =
        at.ok_or_else(|| RedfishError::not_found(&uri(&["AccountService", "Accounts", id])))?;
    if odd::account_stays(bmc, false) {
        return Err(RedfishError::method_not_allowed(
            "DELETE",
            &["GET", "HEAD", "PATCH"],
        ));
    }
    let gone = accounts.remove(at);
    somebody_left(&accounts)?;
    state.lasting.accounts = accounts;
    state.sessions.retain(|s| s.user != gone.user);
    state.note("OK", format!("Account '{}' was deleted.", gone.user));
    bmc.save(&state);
    Ok(no_content())
}
