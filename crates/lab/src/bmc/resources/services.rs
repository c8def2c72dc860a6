//! The service root, and the services beside the hardware: sessions, accounts, updates, tasks.

use serde_json::{Value, json};

use super::{View, collection, link, uri};
use crate::bmc::state::{Account, Session, Task, TaskEnd};

pub(super) fn render(view: &View<'_>, path: &[&str]) -> Option<Value> {
    let state = view.state;
    Some(match path {
        [] => root(view),
        ["SessionService"] => json!({
            "@odata.type": "#SessionService.v1_1_9.SessionService",
            "Id": "SessionService",
            "Name": "Session Service",
            "ServiceEnabled": true,
            "SessionTimeout": state.session_timeout.as_secs(),
            "Status": { "State": "Enabled", "Health": "OK" },
            "Sessions": link("SessionService/Sessions"),
        }),
        ["SessionService", "Sessions"] => collection(
            "Session",
            "Sessions",
            "SessionService/Sessions",
            state.sessions.iter().map(|s| &s.id),
        ),
        ["SessionService", "Sessions", id] => session(state.sessions.iter().find(|s| s.id == *id)?),
        ["AccountService"] => json!({
            "@odata.type": "#AccountService.v1_15_0.AccountService",
            "Id": "AccountService",
            "Name": "Account Service",
            "ServiceEnabled": true,
            "MinPasswordLength": 8,
            "MaxPasswordLength": 64,
            "Status": { "State": "Enabled", "Health": "OK" },
            "Accounts": link("AccountService/Accounts"),
            "Roles": link("AccountService/Roles"),
        }),
        ["AccountService", "Accounts"] => collection(
            "ManagerAccount",
            "Accounts",
            "AccountService/Accounts",
            state.lasting.accounts.iter().map(|a| &a.id),
        ),
        ["AccountService", "Accounts", id] => {
            account(state.lasting.accounts.iter().find(|a| a.id == *id)?)
        }
        ["AccountService", "Roles"] => collection(
            "Role",
            "Roles",
            "AccountService/Roles",
            ROLES.iter().map(|(name, _)| name),
        ),
        ["AccountService", "Roles", id] => {
            let (name, privileges) = ROLES.iter().find(|(name, _)| name == id)?;
            json!({
                "@odata.type": "#Role.v1_3_1.Role",
                "Id": name,
                "Name": format!("{name} Role"),
                "RoleId": name,
                "IsPredefined": true,
                "AssignedPrivileges": privileges,
            })
        }
        ["UpdateService"] => json!({
            "@odata.type": "#UpdateService.v1_14_0.UpdateService",
            "Id": "UpdateService",
            "Name": "Update Service",
            "ServiceEnabled": false,
            "Status": { "State": "Disabled", "Health": "OK" },
            // Nothing can be updated; some clients insist on the object all the same.
            "Actions": { "Oem": {} },
            "FirmwareInventory": link("UpdateService/FirmwareInventory"),
        }),
        ["UpdateService", "FirmwareInventory"] => collection(
            "SoftwareInventory",
            "Firmware Inventory",
            "UpdateService/FirmwareInventory",
            ["BIOS", "BMC"],
        ),
        ["UpdateService", "FirmwareInventory", "BIOS"] => firmware(
            "BIOS",
            "System firmware",
            &view.facts.firmware_version,
            "Systems/1",
        ),
        ["UpdateService", "FirmwareInventory", "BMC"] => firmware(
            "BMC",
            "BMC firmware",
            &view.facts.bmc_firmware,
            "Managers/1",
        ),
        ["TaskService"] => json!({
            "@odata.type": "#TaskService.v1_2_1.TaskService",
            "Id": "TaskService",
            "Name": "Task Service",
            "ServiceEnabled": true,
            "CompletedTaskOverWritePolicy": "Oldest",
            "LifeCycleEventOnTaskStateChange": false,
            "DateTime": jiff::Timestamp::now().to_string(),
            "Status": { "State": "Enabled", "Health": "OK" },
            "Tasks": link("TaskService/Tasks"),
        }),
        ["TaskService", "Tasks"] => collection(
            "Task",
            "Tasks",
            "TaskService/Tasks",
            state.tasks.iter().map(|t| t.id.to_string()),
        ),
        ["TaskService", "Tasks" | "TaskMonitors", id] => {
            task(state.tasks.iter().find(|t| t.id.to_string() == *id)?)
        }
        _ => return None,
    })
}

/// Roles, and what they may do.
pub(crate) const ROLES: &[(&str, &[&str])] = &[
    (
        "Administrator",
        &[
            "Login",
            "ConfigureManager",
            "ConfigureUsers",
            "ConfigureComponents",
            "ConfigureSelf",
        ],
    ),
    ("ReadOnly", &["Login", "ConfigureSelf"]),
];

fn root(view: &View<'_>) -> Value {
    json!({
        "@odata.type": "#ServiceRoot.v1_16_1.ServiceRoot",
        "Id": "RootService",
        "Name": "Billet Lab BMC",
        "RedfishVersion": "1.20.0",
        "UUID": view.uuid,
        "Vendor": crate::facts::MANUFACTURER,
        "Product": view.facts.model,
        "ProtocolFeaturesSupported": {
            "ExpandQuery": {
                "ExpandAll": false, "Levels": true, "MaxLevels": crate::bmc::expand::MAX_LEVELS,
                "Links": false, "NoLinks": true,
            },
            "FilterQuery": false,
            "SelectQuery": false,
            "OnlyMemberQuery": false,
            "ExcerptQuery": false,
        },
        "Systems": link("Systems"),
        "Chassis": link("Chassis"),
        "Managers": link("Managers"),
        "SessionService": link("SessionService"),
        "AccountService": link("AccountService"),
        "UpdateService": link("UpdateService"),
        "Tasks": link("TaskService"),
        "Links": { "Sessions": link("SessionService/Sessions") },
    })
}

pub(crate) fn session(session: &Session) -> Value {
    json!({
        "@odata.id": uri(&["SessionService", "Sessions", &session.id]),
        "@odata.type": "#Session.v1_7_1.Session",
        "Id": session.id,
        "Name": format!("Session {}", session.id),
        "UserName": session.user,
        "CreatedTime": session.created.to_string(),
    })
}

fn account(account: &Account) -> Value {
    json!({
        "@odata.type": "#ManagerAccount.v1_12_0.ManagerAccount",
        "Id": account.id,
        "Name": format!("Account {}", account.id),
        "UserName": account.user,
        "Password": null,
        "RoleId": account.role,
        "Enabled": account.enabled,
        "Locked": false,
        "AccountTypes": ["Redfish", "ManagerConsole"],
        "Links": { "Role": link(&format!("AccountService/Roles/{}", account.role)) },
    })
}

fn firmware(id: &str, name: &str, version: &str, related: &str) -> Value {
    json!({
        "@odata.type": "#SoftwareInventory.v1_10_0.SoftwareInventory",
        "Id": id,
        "Name": name,
        "Manufacturer": crate::facts::MANUFACTURER,
        "Version": version,
        "Updateable": false,
        "Status": { "State": "Enabled", "Health": "OK" },
        "RelatedItem": [link(related)],
        "RelatedItem@odata.count": 1,
    })
}

pub(crate) fn task(task: &Task) -> Value {
    let (state, status, percent, messages) = match &task.end {
        TaskEnd::Running => ("Running", "OK", 0, vec![]),
        TaskEnd::Completed => ("Completed", "OK", 100, vec![]),
        TaskEnd::Failed(message) => ("Exception", "Critical", 100, vec![message.clone()]),
    };
    let mut value = json!({
        "@odata.id": uri(&["TaskService", "Tasks", &task.id.to_string()]),
        "@odata.type": "#Task.v1_7_4.Task",
        "Id": task.id.to_string(),
        "Name": task.name,
        "TaskState": state,
        "TaskStatus": status,
        "StartTime": task.started.to_string(),
        "PercentComplete": percent,
        "TaskMonitor": uri(&["TaskService", "TaskMonitors", &task.id.to_string()]),
        "Messages": messages,
    });
    if let (Some(object), Some(ended)) = (value.as_object_mut(), task.ended) {
        object.insert("EndTime".into(), json!(ended.to_string()));
    }
    value
}
