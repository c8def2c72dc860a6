//! Collections with their members in them: `$expand`, one level of it.

use axum::body::Body;
use axum::http::Response;
use serde_json::Value;

use super::error::RedfishError;
use super::http::{json_response, shown};
use super::{Bmc, odd};

/// Whether a query asks for it, in a form that the service root announces.
pub(super) fn asked(query: Option<&str>) -> bool {
    let parts = query.unwrap_or_default().split('&');
    let mut asked = parts.filter_map(|p| p.strip_prefix("$expand="));
    asked.any(|how| matches!(how, "." | ".($levels=1)"))
}

/// The resource at `path`; where it is a collection, with what its members show. What does not
/// stand below it in the same tree stays a link.
pub(super) fn get(bmc: &Bmc, path: &[&str]) -> Result<Response<Body>, RedfishError> {
    let (mut value, _) = shown(bmc, path)?;
    let members = value.get_mut("Members").and_then(Value::as_array_mut);
    for member in members.into_iter().flatten() {
        let link = member.get("@odata.id").and_then(Value::as_str);
        let below = link.and_then(|l| l.strip_prefix("/redfish/v1/"));
        let Some(below) = below.map(|l| l.split('/').collect::<Vec<_>>()) else {
            continue;
        };
        // What is shown is read, for those that know only what was.
        if odd::known(bmc, &below).is_ok()
            && let Ok((whole, _)) = shown(bmc, &below)
        {
            *member = whole;
        }
    }
    Ok(json_response(&value))
}
