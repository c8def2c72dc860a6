//! A BMC's own words about a request, and what they mean.

use serde_json::Value;

use crate::value::{list, text};

/// Everything an answer says in words, as one sentence; falls back to the
/// beginning of the body.
pub(crate) fn words(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let raw = String::from_utf8_lossy(body);
        return clipped(raw.trim());
    };
    clipped(&in_json(&value))
}

/// The same, from JSON that was parsed already.
pub(crate) fn in_json(value: &Value) -> String {
    let mut said: Vec<String> = Vec::new();
    for place in [
        "/error/@Message.ExtendedInfo",
        "/@Message.ExtendedInfo",
        "/Messages",
    ] {
        for info in list(value, place) {
            let words = text(info, "/Message").or_else(|| text(info, "/MessageId"));
            said.extend(words.filter(|w| !said.contains(w)));
        }
    }
    if said.is_empty() {
        said.extend(text(value, "/error/message").or_else(|| text(value, "/error/code")));
    }
    said.join("; ")
}

/// All message ids and words in one lower-case text, to look for meanings in.
fn haystack(body: &[u8]) -> String {
    String::from_utf8_lossy(body).to_ascii_lowercase()
}

/// Whether the BMC says that the machine is in the wanted state already.
pub(crate) fn says_already(body: &[u8]) -> bool {
    let said = haystack(body);
    ["already", "resourcenotchanged"]
        .iter()
        .any(|w| said.contains(w))
}

/// Whether the BMC says that another medium must come out first.
pub(crate) fn says_eject_first(body: &[u8]) -> bool {
    let said = haystack(body);
    ["eject", "already", "in use", "inuse", "unmount"]
        .iter()
        .any(|w| said.contains(w))
}

/// Whether the BMC says that the password must be changed before anything else.
pub(crate) fn says_password_change(body: &[u8]) -> bool {
    let said = haystack(body);
    said.contains("passwordchangerequired") || said.contains("password change required")
}

/// The account whose password must be changed, where the BMC names it.
pub(crate) fn account_to_change(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    ["/error/@Message.ExtendedInfo", "/@Message.ExtendedInfo"]
        .iter()
        .flat_map(|place| list(&value, place))
        .find_map(|info| text(info, "/MessageArgs/0").filter(|a| a.starts_with('/')))
}

/// Whether the BMC says that all of its sessions are taken.
pub(crate) fn says_sessions_full(body: &[u8]) -> bool {
    let said = haystack(body);
    said.contains("sessionlimit")
        || said.contains("rac0218")
        || (said.contains("session")
            && ["maximum", "limit", "exceed", "full", "too many"]
                .iter()
                .any(|w| said.contains(w)))
}

fn clipped(said: &str) -> String {
    const LONGEST: usize = 500;
    match said.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &said[..at]),
        None => said.to_owned(),
    }
}
