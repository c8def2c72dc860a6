//! Faults, asked for over the lab's own API.

use std::time::{Duration, Instant};

use crate::common::{Caller, client, phantoms};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

struct Bench {
    lab: billet_lab::Lab,
    caller: Caller,
    api: String,
}

impl Bench {
    async fn new() -> Self {
        let lab = phantoms(2).await;
        let caller = Caller::new(lab.machines().remove(0));
        let api = lab.summary().api;
        Self { lab, caller, api }
    }

    async fn arm(&self, mut fault: Value) {
        fault["machine"] = json!("phantom-0001");
        let request = client().post(format!("{}/faults", self.api)).json(&fault);
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let body = response.text().await.expect("text");
        assert_eq!(status, StatusCode::CREATED, "{body}");
    }

    async fn on(&self) -> Result<StatusCode, reqwest::Error> {
        let request = self.caller.request(Method::POST, RESET);
        let request = request.json(&json!({ "ResetType": "On" }));
        request
            .timeout(Duration::from_millis(700))
            .send()
            .await
            .map(|r| r.status())
    }
}

#[tokio::test]
async fn a_refused_request_is_not_carried_out_and_a_dropped_one_is() {
    let b = Bench::new().await;
    b.arm(json!({ "at": "power", "kind": "refuse", "count": 1 }))
        .await;
    assert!(!b.on().await.expect_err("no answer").is_timeout());
    assert_eq!(b.caller.power().await, "Off");
    b.arm(json!({ "at": "power", "kind": "drop", "count": 1 }))
        .await;
    assert!(!b.on().await.expect_err("no answer").is_timeout());
    assert_eq!(b.caller.power().await, "On");
    assert!(b.lab.faults().list().is_empty());
    b.lab.stop().await;
}

#[tokio::test]
async fn a_late_command_is_carried_out_after_its_caller_has_gone() {
    let b = Bench::new().await;
    b.arm(json!({ "at": "power", "kind": "late", "ms": 900, "count": 1 }))
        .await;
    assert!(b.on().await.expect_err("no answer").is_timeout());
    assert_eq!(b.caller.power().await, "Off");
    b.caller.power_becomes("On").await;
    b.arm(json!({ "at": "power", "kind": "late", "ms": 300, "answered": true, "count": 1 }))
        .await;
    assert_eq!(b.caller.reset("ForceOff").await, StatusCode::NO_CONTENT);
    assert_eq!(b.caller.power().await, "On");
    b.caller.power_becomes("Off").await;
    b.lab.stop().await;
}

#[tokio::test]
async fn wrong_status_delay_and_hang() {
    let b = Bench::new().await;
    b.arm(json!({ "at": "power", "kind": "status", "code": 503, "count": 1 }))
        .await;
    assert_eq!(
        b.on().await.expect("an answer"),
        StatusCode::SERVICE_UNAVAILABLE
    );
    b.arm(json!({ "at": "power", "kind": "hang", "count": 1 }))
        .await;
    assert!(b.on().await.expect_err("no answer").is_timeout());
    assert_eq!(b.caller.power().await, "Off");
    b.arm(json!({ "at": "read", "kind": "delay", "ms": 300, "count": 1 }))
        .await;
    let begin = Instant::now();
    b.caller.get(SYSTEM).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    b.arm(json!({ "at": "connect", "kind": "refuse", "count": 1 }))
        .await;
    let fresh = Caller::new(b.lab.machines().remove(0));
    assert!(fresh.request(Method::GET, SYSTEM).send().await.is_err());
    assert_eq!(fresh.power().await, "Off");
    b.lab.stop().await;
}

#[tokio::test]
async fn a_bmc_lies_about_power_and_starts_nothing() {
    let b = Bench::new().await;
    b.arm(json!({ "at": "read", "kind": "lie_power", "says": "on", "count": 1 }))
        .await;
    assert_eq!(b.caller.power().await, "On");
    assert_eq!(b.caller.power().await, "Off");
    b.arm(json!({ "at": "start", "kind": "no_start", "count": 1 }))
        .await;
    assert_eq!(b.caller.reset("On").await, StatusCode::NO_CONTENT);
    assert_eq!(b.caller.power().await, "Off");
    b.lab.stop().await;
}

#[tokio::test]
async fn power_fails_and_the_bmc_notices() {
    let b = Bench::new().await;
    assert_eq!(b.caller.reset("On").await, StatusCode::NO_CONTENT);
    let cut = format!("{}/machines/phantom-0001/power-cut", b.api);
    let response = client().post(cut).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(b.caller.power().await, "Off");
    b.lab.stop().await;
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused_by_name() {
    let b = Bench::new().await;
    let url = format!("{}/faults", b.api);
    for (fault, word) in [
        (json!({ "at": "erase", "kind": "drop" }), "drop"),
        (json!({ "at": "power", "kind": "explode" }), "explode"),
        (
            json!({ "machine": "nobody", "at": "power", "kind": "drop" }),
            "nobody",
        ),
        (
            json!({ "at": "power", "kind": "status", "code": 200 }),
            "200",
        ),
    ] {
        let response = client()
            .post(&url)
            .json(&fault)
            .send()
            .await
            .expect("an answer");
        assert!(response.status().is_client_error(), "{fault}");
        let text = response.text().await.expect("text");
        assert!(text.contains(word), "{text}");
    }
    let catalogue = client()
        .get(format!("{url}/catalogue"))
        .send()
        .await
        .expect("it");
    let rows: Vec<Value> = catalogue.json().await.expect("rows");
    assert!(rows.iter().any(|r| r["kind"] == "late"));
    b.lab.stop().await;
}
