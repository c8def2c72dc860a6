//! Resources with what stands below them in them: `$expand`.

use axum::body::Body;
use axum::http::Response;
use serde_json::Value;

use super::error::RedfishError;
use super::http::{json_response, shown};
use super::{Bmc, odd};

/// Levels that may be asked for, as OpenBMC announces them.
pub(crate) const MAX_LEVELS: u8 = 6;

/// How many levels a query asks for, in a form that the service root announces.
pub(super) fn asked(query: Option<&str>) -> Option<u8> {
    let parts = query.unwrap_or_default().split('&');
    let mut asked = parts.filter_map(|p| p.strip_prefix("$expand="));
    asked.find_map(|how| match how {
        "." => Some(1),
        how => {
            let levels = how.strip_prefix(".($levels=")?.strip_suffix(')')?;
            let levels = levels.parse().ok()?;
            (1..=MAX_LEVELS).contains(&levels).then_some(levels)
        }
    })
}

/// The resource at `path`, with what stands below it. What is elsewhere in the tree is
/// named under `Links`, and stays a link.
pub(super) fn get(bmc: &Bmc, path: &[&str], levels: u8) -> Result<Response<Body>, RedfishError> {
    let (mut value, _) = shown(bmc, path)?;
    expand(bmc, &mut value, levels);
    Ok(json_response(&value))
}

fn expand(bmc: &Bmc, value: &mut Value, levels: u8) {
    match value {
        Value::Object(fields) => {
            let below = fields
                .iter_mut()
                .filter(|(name, _)| !matches!(name.as_str(), "Links" | "Actions"));
            for (_, inner) in below {
                expand_one(bmc, inner, levels);
            }
        }
        Value::Array(entries) => {
            for inner in entries {
                expand_one(bmc, inner, levels);
            }
        }
        _ => {}
    }
}

fn expand_one(bmc: &Bmc, value: &mut Value, levels: u8) {
    let link = match value {
        Value::Object(fields) if fields.len() == 1 => fields.get("@odata.id"),
        _ => None,
    };
    let Some(link) = link.and_then(Value::as_str) else {
        expand(bmc, value, levels);
        return;
    };
    let below = link.strip_prefix("/redfish/v1/");
    let Some(below) = below.map(|l| l.split('/').collect::<Vec<_>>()) else {
        return;
    };
    // What is shown is read, for those that know only what was.
    if odd::known(bmc, &below).is_ok()
        && let Ok((mut whole, _)) = shown(bmc, &below)
    {
        if levels > 1 {
            expand(bmc, &mut whole, levels - 1);
        }
        *value = whole;
    }
}
