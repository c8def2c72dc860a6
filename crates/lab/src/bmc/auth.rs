//! Who may speak to a BMC: basic authentication, and sessions by token.

use std::time::Instant;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::state::State;

/// Whether the account exists, is enabled, and has this password.
pub(super) fn check(state: &State, user: &str, password: &str) -> bool {
    state
        .lasting
        .accounts
        .iter()
        .any(|a| a.enabled && a.user == user && a.password == password)
}

/// The user whom a request's headers prove, if they do.
pub(super) fn who(state: &mut State, headers: &HeaderMap) -> Option<String> {
    state.expire_sessions();
    if let Some(token) = headers.get("x-auth-token") {
        let token = token.to_str().ok()?;
        let session = state.sessions.iter_mut().find(|s| s.token == token)?;
        session.used = Instant::now();
        return Some(session.user.clone());
    }
    let basic = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = basic.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    check(state, user, password).then(|| user.to_owned())
}
