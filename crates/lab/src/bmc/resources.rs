//! The resource tree: every resource a BMC serves, as a pure function of what it knows.
//!
//! GET, the ETag that PATCH compares, and the answer to PATCH all come from [`render`], so they
//! cannot disagree.

mod chassis;
mod managers;
mod services;
mod systems;

pub(super) use managers::slot as media_slot;
pub(super) use services::{ROLES, session as session_json, task as task_json};
pub(super) use systems::{RESETS, bios_values};

use serde_json::{Value, json};

use super::state::State;
use crate::facts::Facts;
use crate::metal::Power;

/// What resources are made from.
pub(super) struct View<'a> {
    pub facts: &'a Facts,
    pub state: &'a State,
    /// What the BMC says of the power, which may be a lie somebody asked for.
    pub power: Power,
    /// Port of the serial console.
    pub ssh_port: u16,
    /// The BMC's own UUID.
    pub uuid: &'a str,
    /// The BMC's own MAC address.
    pub mac: &'a str,
    /// Its address and port.
    pub address: std::net::SocketAddr,
}

/// The resource at `path`, without its leading `/redfish/v1`.
pub(super) fn render(view: &View<'_>, path: &[&str]) -> Option<Value> {
    let mut value = match path {
        ["Systems", rest @ ..] => systems::render(view, rest),
        ["Chassis", rest @ ..] => chassis::render(view, rest),
        ["Managers", rest @ ..] => managers::render(view, rest),
        rest => services::render(view, rest),
    }?;
    if let Value::Object(object) = &mut value {
        object.insert("@odata.id".into(), json!(uri(path)));
    }
    Some(value)
}

/// The address of a resource.
pub(super) fn uri(path: &[&str]) -> String {
    if path.is_empty() {
        "/redfish/v1/".to_owned()
    } else {
        format!("/redfish/v1/{}", path.join("/"))
    }
}

fn link(path: &str) -> Value {
    json!({ "@odata.id": format!("/redfish/v1/{path}") })
}

fn links<I: AsRef<str>>(base: &str, members: impl IntoIterator<Item = I>) -> Vec<Value> {
    members
        .into_iter()
        .map(|m| link(&format!("{base}/{}", m.as_ref())))
        .collect()
}

fn collection<I: AsRef<str>>(
    kind: &str,
    name: &str,
    base: &str,
    members: impl IntoIterator<Item = I>,
) -> Value {
    let members = links(base, members);
    json!({
        "@odata.type": format!("#{kind}Collection.{kind}Collection"),
        "Name": name,
        "Members@odata.count": members.len(),
        "Members": members,
    })
}

/// Numbers from 1 to `n`, as members' names.
fn numbered(n: usize) -> impl Iterator<Item = String> {
    (1..=n).map(|i| i.to_string())
}

/// The item that a member's name, a number from 1, stands for.
fn nth<'a, T>(items: &'a [T], name: &str) -> Option<(usize, &'a T)> {
    let at: usize = name.parse().ok()?;
    // Only the one spelling that the collection lists.
    if at.to_string() != name {
        return None;
    }
    let at = at.checked_sub(1)?;
    items.get(at).map(|item| (at + 1, item))
}

fn ok() -> Value {
    json!({ "State": "Enabled", "Health": "OK" })
}

fn ok_with_rollup() -> Value {
    json!({ "State": "Enabled", "Health": "OK", "HealthRollup": "OK" })
}

fn member_log_services(view: &View<'_>, base: &str, rest: &[&str]) -> Option<Value> {
    let entry = |e: &super::state::LogEntry| {
        json!({
            "@odata.id": format!("/redfish/v1/{base}/LogServices/Log/Entries/{}", e.id),
            "@odata.type": "#LogEntry.v1_16_0.LogEntry",
            "Id": e.id.to_string(),
            "Name": format!("Log entry {}", e.id),
            "EntryType": "Event",
            "Created": e.at.to_string(),
            "Severity": e.severity,
            "Message": e.message,
        })
    };
    Some(match rest {
        [] => collection(
            "LogService",
            "Log Services",
            &format!("{base}/LogServices"),
            ["Log"],
        ),
        ["Log"] => json!({
            "@odata.type": "#LogService.v1_5_0.LogService",
            "Id": "Log",
            "Name": "Event Log",
            "ServiceEnabled": true,
            "LogEntryType": "Event",
            "OverWritePolicy": "WrapsWhenFull",
            "MaxNumberOfRecords": 500,
            "DateTime": jiff::Timestamp::now().to_string(),
            "DateTimeLocalOffset": "+00:00",
            "Status": { "State": "Enabled", "Health": "OK" },
            "Entries": link(&format!("{base}/LogServices/Log/Entries")),
            "Actions": { "#LogService.ClearLog": {
                "target": format!("/redfish/v1/{base}/LogServices/Log/Actions/LogService.ClearLog"),
            }},
        }),
        ["Log", "Entries"] => {
            let entries: Vec<Value> = view.state.log.iter().map(entry).collect();
            json!({
                "@odata.type": "#LogEntryCollection.LogEntryCollection",
                "Name": "Log Entries",
                "Members@odata.count": entries.len(),
                "Members": entries,
            })
        }
        ["Log", "Entries", id] => view
            .state
            .log
            .iter()
            .find(|e| e.id.to_string() == *id)
            .map(entry)?,
        _ => return None,
    })
}
