//! The BMC, as a caller sees it, with phantoms behind it.

use std::collections::BTreeSet;

use crate::common::{Caller, phantoms};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

async fn one() -> (billet_lab::Lab, Caller) {
    let lab = phantoms(1).await;
    let caller = Caller::new(lab.machines().remove(0));
    (lab, caller)
}

#[tokio::test]
async fn only_the_root_is_for_everybody() {
    let (lab, caller) = one().await;
    for path in [
        "/redfish",
        "/redfish/v1",
        "/redfish/v1/",
        "/redfish/v1/odata",
        "/redfish/v1/$metadata",
    ] {
        let response = caller.plain(Method::GET, path).send().await.expect(path);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["odata-version"], "4.0");
    }
    for path in [SYSTEM, "/redfish/v1/Managers", "/redfish/v1/nowhere"] {
        let response = caller.plain(Method::GET, path).send().await.expect(path);
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(response.headers().contains_key("www-authenticate"));
        let body: Value = response.json().await.expect("JSON");
        let info = &body["error"]["@Message.ExtendedInfo"][0]["MessageId"];
        assert_eq!(info, "Base.1.18.NoValidSession");
    }
    let wrong = caller
        .plain(Method::GET, SYSTEM)
        .basic_auth(&caller.machine.user, Some("wrong"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    lab.stop().await;
}

#[tokio::test]
async fn a_session_lives_until_it_is_deleted_and_there_are_only_so_many() {
    let (lab, caller) = one().await;
    let login = async |password: &str| {
        let body = json!({ "UserName": caller.machine.user, "Password": password });
        let request = caller.plain(Method::POST, SESSIONS).json(&body);
        request.send().await.expect("an answer")
    };
    assert_eq!(login("wrong").await.status(), StatusCode::UNAUTHORIZED);
    let created = login(&caller.machine.password).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let token = created.headers()["x-auth-token"].clone();
    let location = created.headers()["location"]
        .to_str()
        .expect("text")
        .to_owned();
    let ask = async |method: Method, path: &str| {
        let request = caller.plain(method, path).header("x-auth-token", &token);
        request.send().await.expect("an answer").status()
    };
    assert_eq!(ask(Method::GET, SYSTEM).await, StatusCode::OK);
    assert_eq!(ask(Method::DELETE, &location).await, StatusCode::NO_CONTENT);
    assert_eq!(ask(Method::GET, SYSTEM).await, StatusCode::UNAUTHORIZED);

    for _ in 0..16 {
        let status = login(&caller.machine.password).await.status();
        assert_eq!(status, StatusCode::CREATED);
    }
    let over = login(&caller.machine.password).await;
    assert_eq!(over.status(), StatusCode::SERVICE_UNAVAILABLE);
    lab.stop().await;
}

/// Every address that any resource mentions is there, has itself for its address, and a type.
#[tokio::test]
async fn every_link_leads_somewhere() {
    let (lab, caller) = one().await;
    let mut todo = vec!["/redfish/v1/".to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let value = caller.get(&path).await;
        assert_eq!(value["@odata.id"], path);
        let kind = value["@odata.type"].as_str().expect(&path);
        assert!(kind.starts_with('#'), "{path}");
        assert!(value["@odata.etag"].is_string(), "{path}");
        assert!(value["Name"].is_string(), "{path}");
        if let Some(members) = value["Members"].as_array() {
            assert_eq!(value["Members@odata.count"], members.len(), "{path}");
        } else {
            assert!(value["Id"].is_string(), "{path}");
        }
        links(&value, &mut todo);
    }
    assert!(seen.len() > 100, "{} resources", seen.len());
    assert!(seen.contains("/redfish/v1/Systems/1/Storage/NVMe/Drives/10"));
    lab.stop().await;
}

fn links(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(path) if key == "@odata.id" && !path.contains('#') => {
                        into.push(path.clone());
                    }
                    other => links(other, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| links(item, into)),
        _ => {}
    }
}

#[tokio::test]
async fn a_change_on_an_old_reading_is_refused() {
    let (lab, caller) = one().await;
    let first = caller
        .request(Method::GET, SYSTEM)
        .send()
        .await
        .expect("it");
    let etag = first.headers()["etag"].clone();
    let patch = async |asset: &str| {
        let request = caller
            .request(Method::PATCH, SYSTEM)
            .header("if-match", &etag)
            .json(&json!({ "AssetTag": asset }));
        request.send().await.expect("an answer").status()
    };
    assert_eq!(patch("one").await, StatusCode::OK);
    assert_eq!(patch("two").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(caller.get(SYSTEM).await["AssetTag"], "one");
    lab.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_by_its_proper_status() {
    let (lab, caller) = one().await;
    let reset = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
    let status = async |method: Method, path: &str, body: &str| {
        let request = caller.request(method, path).body(body.to_owned());
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(status(Method::POST, reset, "{").await, 400);
    assert_eq!(status(Method::POST, reset, "{}").await, 400);
    assert_eq!(
        status(Method::POST, reset, r#"{"ResetType":"Up"}"#).await,
        400
    );
    assert_eq!(status(Method::GET, reset, "").await, 405);
    assert_eq!(status(Method::DELETE, SYSTEM, "").await, 405);
    assert_eq!(
        status(Method::PATCH, "/redfish/v1/Systems/2", "{}").await,
        404
    );
    assert_eq!(status(Method::POST, "/redfish/v1/Nowhere", "{}").await, 404);
    let boot = r#"{"Boot":{"BootSourceOverrideTarget":"Tape"}}"#;
    assert_eq!(status(Method::PATCH, SYSTEM, boot).await, 400);
    assert_eq!(status(Method::PATCH, SYSTEM, r#"{"UUID":"x"}"#).await, 400);
    assert_eq!(
        status(Method::PATCH, SYSTEM, r#"{"Colour":"x"}"#).await,
        400
    );
    let old = caller
        .request(Method::GET, SYSTEM)
        .header("odata-version", "3.0");
    assert_eq!(old.send().await.expect("an answer").status(), 412);
    lab.stop().await;
}

#[tokio::test]
async fn power_goes_on_and_off_and_not_twice() {
    let (lab, caller) = one().await;
    assert_eq!(caller.power().await, "Off");
    assert_eq!(caller.reset("ForceOff").await, StatusCode::CONFLICT);
    assert_eq!(caller.reset("ForceRestart").await, StatusCode::CONFLICT);
    assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
    assert_eq!(caller.power().await, "On");
    assert_eq!(caller.reset("On").await, StatusCode::CONFLICT);
    for kind in ["ForceRestart", "PowerCycle", "Nmi"] {
        assert_eq!(caller.reset(kind).await, StatusCode::NO_CONTENT, "{kind}");
        assert_eq!(caller.power().await, "On", "{kind}");
    }
    assert_eq!(
        caller.reset("GracefulShutdown").await,
        StatusCode::NO_CONTENT
    );
    caller.power_becomes("Off").await;
    assert_eq!(
        caller.reset("PushPowerButton").await,
        StatusCode::NO_CONTENT
    );
    assert_eq!(caller.power().await, "On");
    assert_eq!(caller.reset("ForceOff").await, StatusCode::NO_CONTENT);
    assert_eq!(caller.power().await, "Off");
    let log = caller
        .get("/redfish/v1/Systems/1/LogServices/Log/Entries")
        .await;
    let said = log.to_string();
    assert!(
        said.contains("The system powered the machine off."),
        "{said}"
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_boot_override_for_once_is_gone_after_a_start_and_a_continuous_one_stays() {
    let (lab, caller) = one().await;
    let boot = async || caller.get(SYSTEM).await["Boot"].clone();
    for (enabled, after) in [("Once", "Disabled"), ("Continuous", "Continuous")] {
        let body = json!({ "Boot": {
            "BootSourceOverrideEnabled": enabled,
            "BootSourceOverrideTarget": "Cd",
            "BootSourceOverrideMode": "UEFI",
        }});
        assert_eq!(caller.patch(SYSTEM, body).await.status(), StatusCode::OK);
        assert_eq!(boot().await["BootSourceOverrideTarget"], "Cd");
        assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
        assert_eq!(boot().await["BootSourceOverrideEnabled"], after);
        assert_eq!(caller.reset("ForceOff").await, StatusCode::NO_CONTENT);
    }
    lab.stop().await;
}

#[tokio::test]
async fn firmware_settings_wait_for_the_next_start() {
    let (lab, caller) = one().await;
    let settings = "/redfish/v1/Systems/1/Bios/Settings";
    let bios = async || caller.get("/redfish/v1/Systems/1/Bios").await["Attributes"].clone();
    let wanted = json!({ "Attributes": { "LogicalProc": "Disabled" } });
    assert_eq!(
        caller.patch(settings, wanted).await.status(),
        StatusCode::OK
    );
    assert_eq!(bios().await["LogicalProc"], "Enabled");
    assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
    assert_eq!(bios().await["LogicalProc"], "Disabled");
    let unknown = json!({ "Attributes": { "Warp": "Enabled" } });
    let status = caller.patch(settings, unknown).await.status();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    lab.stop().await;
}

#[tokio::test]
async fn a_changed_password_is_the_only_one_and_outlasts_the_lab() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = billet_lab::LabOptions {
        phantoms: 1,
        dir: Some(dir.path().to_owned()),
        ..billet_lab::LabOptions::default()
    };
    let lab = billet_lab::Lab::start(options.clone())
        .await
        .expect("a lab");
    let caller = Caller::new(lab.machines().remove(0));
    let account = "/redfish/v1/AccountService/Accounts/1";
    let short = caller.patch(account, json!({ "Password": "short" })).await;
    assert_eq!(short.status(), StatusCode::BAD_REQUEST);
    let request = caller
        .request(Method::PATCH, account)
        .json(&json!({ "Password": "another password" }));
    // The answer already needs the new one only where the service asks again; it does not.
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let old = caller.request(Method::GET, SYSTEM).send().await;
    assert_eq!(old.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    let before = lab.machines().remove(0);
    lab.stop().await;

    let lab = billet_lab::Lab::start(options).await.expect("a lab");
    let after = lab.machines().remove(0);
    assert_eq!(after.password, "another password");
    assert_eq!(after.fingerprint, before.fingerprint);
    assert_eq!(after.serial, before.serial);
    assert_eq!(Caller::new(after).power().await, "Off");
    lab.stop().await;
}

#[tokio::test]
async fn every_machine_says_that_it_is_a_phantom() {
    let lab = phantoms(5).await;
    for machine in lab.machines() {
        let caller = Caller::new(machine);
        for path in [SYSTEM, "/redfish/v1/Chassis/1"] {
            let value = caller.get(path).await;
            assert_eq!(value["Manufacturer"], "Billet Lab");
            let model = value["Model"].as_str().expect("a model");
            assert!(model.ends_with("(phantom)"), "{model}");
        }
    }
    lab.stop().await;
}
