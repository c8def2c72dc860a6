//! Links between resources, as BMCs really write them: absolute with a host,
//! absolute with a path, relative, with fragments, queries and stray slashes.
//!
//! A link never leads away from the BMC that gave it: only its path is used,
//! so that credentials cannot be drawn to another host.

use reqwest::Url;
use serde_json::Value;

/// The path (with query) that a link given by the resource at `base` means;
/// `None` for an empty one.
pub(crate) fn resolve(base: &str, link: &str) -> Option<String> {
    let link = link.trim();
    let link = link.split('#').next().unwrap_or_default();
    let link = match link.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => link,
    };
    if link.is_empty() {
        return None;
    }
    if link.starts_with('/') {
        return Some(link.to_owned());
    }
    if link.starts_with("redfish/") {
        return Some(format!("/{link}"));
    }
    let base = base.split(['?', '#']).next().unwrap_or_default();
    Some(format!("{}/{link}", base.trim_end_matches('/')))
}

/// The path in a reference: `{"@odata.id": "…"}`, or the bare text that some send.
pub(crate) fn target(base: &str, reference: &Value) -> Option<String> {
    let text = match reference {
        Value::String(text) => text.as_str(),
        Value::Object(map) => ["@odata.id", "href", "target"]
            .iter()
            .find_map(|k| map.get(*k).and_then(Value::as_str))?,
        _ => return None,
    };
    resolve(base, text)
}

/// The URL of a path at the BMC.
pub(crate) fn url(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    url.set_path(path);
    url.set_query(query);
    url
}

/// The same path with its trailing slash added or taken away.
pub(crate) fn other_slash(path: &str) -> Option<String> {
    if path.contains('?') {
        return None;
    }
    Some(match path.strip_suffix('/') {
        Some(bare) => bare.to_owned(),
        None => format!("{path}/"),
    })
}

/// The resource above this one; `None` for what stands right below the root.
pub(crate) fn parent(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let (parent, _) = path.trim_end_matches('/').rsplit_once('/')?;
    let depth = parent.split('/').filter(|p| !p.is_empty()).count();
    (depth > 2).then(|| parent.to_owned())
}

/// Whether two paths name the same resource.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_end_matches('/'), b.trim_end_matches('/'));
    // From the end, where two members of one collection differ: a discovery compares each
    // with each.
    let mut pairs = a.bytes().rev().zip(b.bytes().rev());
    a.len() == b.len() && pairs.all(|(a, b)| a.eq_ignore_ascii_case(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_as_they_come() {
        let base = "/redfish/v1/Systems";
        for (link, expected) in [
            ("/redfish/v1/Systems/1", Some("/redfish/v1/Systems/1")),
            ("/redfish/v1/Systems/1/", Some("/redfish/v1/Systems/1/")),
            (
                "https://10.0.0.9/redfish/v1/Systems/1",
                Some("/redfish/v1/Systems/1"),
            ),
            ("redfish/v1/Systems/1", Some("/redfish/v1/Systems/1")),
            ("1", Some("/redfish/v1/Systems/1")),
            ("/x/Power#/PowerControl/0", Some("/x/Power")),
            ("/x?$skip=50", Some("/x?$skip=50")),
            ("", None),
            ("  ", None),
            ("#/a", None),
        ] {
            assert_eq!(resolve(base, link).as_deref(), expected, "{link:?}");
        }
    }

    #[test]
    fn a_link_stays_at_its_bmc() {
        let endpoint: Url = "https://10.0.0.1:8443".parse().unwrap();
        let path = resolve("/redfish/v1", "https://evil.example/redfish/v1/x").unwrap();
        assert_eq!(
            url(&endpoint, &path).as_str(),
            "https://10.0.0.1:8443/redfish/v1/x"
        );
    }
}
