//! Webhooks, with receivers that check what they get.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use billet_api::ServeOptions;
use billet_control::Control;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::site::{Site, settings};

/// What a receiver got.
#[derive(Clone, Debug)]
struct Got {
    id: String,
    timestamp: String,
    signatures: Vec<String>,
    body: String,
}

impl Got {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Which of the signatures this secret made.
    fn signed_by(&self, secret: &str) -> Vec<usize> {
        let key = secret.strip_prefix("whsec_").expect("a secret");
        let key = STANDARD.decode(key).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let made = self.signatures.iter().enumerate();
        made.filter(|(_, s)| **s == expected)
            .map(|(n, _)| n)
            .collect()
    }
}

/// How a receiver answers.
#[derive(Clone, Default)]
struct Manner {
    status: Option<u16>,
    location: Option<String>,
    after: Duration,
}

#[derive(Clone, Default)]
struct Inside {
    got: Arc<Mutex<Vec<Got>>>,
    manner: Arc<Mutex<Manner>>,
}

/// A receiver on the loopback.
struct Receiver {
    address: SocketAddr,
    inside: Inside,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(inside): State<Inside>, headers: HeaderMap, body: String) -> Response {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let manner = inside.manner.lock().expect("a lock").clone();
    // The first event of each webhook is that it, or one beside it, was made.
    if body.contains("\"webhook.create\"") {
        return StatusCode::NO_CONTENT.into_response();
    }
    inside.got.lock().expect("a lock").push(Got {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signatures: header("webhook-signature")
            .split(' ')
            .map(str::to_owned)
            .collect(),
        body,
    });
    tokio::time::sleep(manner.after).await;
    let status = StatusCode::from_u16(manner.status.unwrap_or(204)).expect("a status");
    match manner.location {
        Some(to) => (status, [(LOCATION, to)]).into_response(),
        None => status.into_response(),
    }
}

impl Receiver {
    async fn new() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), Inside::default()).await
    }

    async fn at(address: SocketAddr, inside: Inside) -> Self {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(take).with_state(inside.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self {
            address,
            inside,
            task,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    fn got(&self) -> Vec<Got> {
        self.inside.got.lock().expect("a lock").clone()
    }

    fn answer(&self, manner: Manner) {
        *self.inside.manner.lock().expect("a lock") = manner;
    }

    fn status(&self, status: u16) {
        self.answer(Manner {
            status: Some(status),
            ..Manner::default()
        });
    }

    /// Waits until so many came.
    async fn wait(&self, count: usize) -> Vec<Got> {
        let began = Instant::now();
        loop {
            let got = self.got();
            if got.len() >= count {
                return got;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{got:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn options() -> ServeOptions {
    ServeOptions {
        webhook_allow: vec!["127.0.0.0/8".parse().expect("a range")],
        ..ServeOptions::default()
    }
}

async fn furnished() -> Site {
    let site = Site::with(options()).await;
    site.furnish().await;
    site
}

impl Site {
    /// A webhook, and its secret.
    async fn webhook(&self, token: &str, body: Value) -> String {
        let made = self
            .call_as(token, Method::POST, "/v1/webhooks", body)
            .await;
        let made = made.ok().value();
        made["secret"].as_str().expect("a secret").to_owned()
    }

    async fn shown(&self, name: &str) -> Value {
        self.get(&format!("/v1/webhooks/{name}")).await.ok().value()
    }

    async fn change(&self, name: &str, body: Value) -> Value {
        let path = format!("/v1/webhooks/{name}");
        let changed = self
            .call_as(&self.operator, Method::PATCH, &path, body)
            .await;
        self.seal().await;
        changed.ok().value()
    }

    /// What happens in a project: one event of it.
    async fn happens(&self, project: &str, name: &str) {
        self.token(name, "member", Some(project)).await;
        self.seal().await;
    }

    async fn seal(&self) {
        let store = self.control.store();
        store.seal(self.control.now()).await.expect("sealed");
    }

    /// Waits until a webhook is shown so.
    async fn until(&self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let shown = self.shown(name).await;
            if so(&shown) {
                return shown;
            }
            assert!(began.elapsed() < Duration::from_secs(40), "{shown:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn names(got: &[Got]) -> Vec<String> {
    let name = |got: &Got| got.event()["detail"]["name"].as_str().map(str::to_owned);
    got.iter().filter_map(name).collect()
}

#[tokio::test]
async fn a_project_is_told_its_own_in_order_and_signed() {
    let site = furnished().await;
    let receiver = Receiver::new().await;
    let owner = site.token("owner", "project_owner", Some("a")).await;
    let body = json!({ "name": "chat", "url": receiver.url() });
    let secret = site.webhook(&owner, body).await;
    for n in 0..5 {
        site.token(&format!("theirs-{n}"), "member", Some("b"))
            .await;
        site.token(&format!("mine-{n}"), "member", Some("a")).await;
    }
    site.seal().await;
    let got = receiver.wait(5).await;
    assert_eq!(
        names(&got),
        (0..5).map(|n| format!("mine-{n}")).collect::<Vec<_>>()
    );
    // The very events of the stream, and nothing else.
    let stream = site
        .get_as(&owner, "/v1/events?follow=false&from=0")
        .await
        .ok();
    for got in &got {
        let line = format!("data: {}", got.body);
        assert!(stream.body.contains(&line), "{line} in {}", stream.body);
        assert_eq!(got.event()["id"], *got.id);
        assert_eq!(got.signed_by(&secret), [0]);
        assert!(
            got.signed_by(&format!("whsec_{}", STANDARD.encode([0; 32])))
                .is_empty()
        );
        let at: i64 = got.timestamp.parse().expect("seconds");
        assert!((site.control.now().as_second() - at).abs() < 60);
    }
    let shown = site
        .until("chat", |w| w["delivery"]["delivered"] == 6)
        .await;
    assert_eq!(shown["behind"], 0);
    assert_eq!(shown["delivery"]["last_status"], 204);
    assert_eq!(shown["project_name"], "a");

    // The secret is nowhere any more.
    for path in ["/v1/webhooks", "/v1/webhooks/chat", "/v1/audit?limit=1000"] {
        let text = site.get(path).await.ok().body;
        assert!(!text.contains("whsec_"), "{path}: {text}");
    }
    // A member has no business with it, and another project none at all.
    let member = site.token("m", "member", Some("a")).await;
    site.get_as(&member, "/v1/webhooks").await.problem(403);
    let other = site.token("o", "project_owner", Some("b")).await;
    let none = site.get_as(&other, "/v1/webhooks").await.ok().value();
    assert_eq!(none["items"], json!([]));
    site.get_as(&other, "/v1/webhooks/chat").await.problem(404);
}

#[tokio::test]
async fn the_operator_is_told_all_or_what_was_asked_for() {
    let site = furnished().await;
    let (all, some) = (Receiver::new().await, Receiver::new().await);
    let operator = site.operator.clone();
    site.webhook(&operator, json!({ "name": "all", "url": all.url() }))
        .await;
    let body = json!({ "name": "some", "url": some.url(), "actions": ["user.", "group.create"] });
    site.webhook(&operator, body).await;
    for (path, name) in [("users", "u"), ("groups", "g"), ("organisations", "o")] {
        site.post(&format!("/v1/{path}"), json!({ "name": name }))
            .await
            .ok();
    }
    site.happens("b", "t").await;
    assert_eq!(names(&all.wait(4).await), ["u", "g", "o", "t"]);
    assert_eq!(names(&some.wait(2).await), ["u", "g"]);
    // What was not asked for when it happened does not come because it is now.
    site.change("some", json!({ "actions": [] })).await;
    site.happens("b", "later").await;
    assert_eq!(names(&some.wait(4).await)[2..], ["some", "later"]);
    // Its place is kept after the event was taken.
    let behind = r#"billet_webhook_behind{webhook="some",project=""} 0"#;
    let mut metrics = String::new();
    for _ in 0..50 {
        metrics = site.get("/metrics").await.ok().body;
        if metrics.lines().any(|l| l == behind) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for line in [
        behind,
        r#"billet_webhook_disabled{webhook="some",project=""} 0"#,
        r#"billet_webhook_attempts_total{outcome="failed"} 0"#,
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
    site.call_as(&operator, Method::DELETE, "/v1/webhooks/some", Value::Null)
        .await
        .ok();
    site.get("/v1/webhooks/some").await.problem(404);
}

#[tokio::test]
async fn nothing_is_lost_when_either_end_restarts() {
    let site = furnished().await;
    let receiver = Receiver::new().await;
    let operator = site.operator.clone();
    let body = json!({ "name": "chat", "project": "a", "url": receiver.url() });
    let secret = site.webhook(&operator, body).await;
    site.happens("a", "e-0").await;
    receiver.wait(1).await;
    site.until("chat", |w| w["delivery"]["delivered"] == 2)
        .await;

    // The receiver is gone for a while.
    let (address, inside) = (receiver.address, receiver.inside.clone());
    drop(receiver);
    site.happens("a", "e-1").await;
    let shown = site.until("chat", |w| w["delivery"]["failures"] != 0).await;
    assert!(shown["delivery"]["last_error"].is_string(), "{shown:#}");
    assert_eq!(shown["behind"], 1);
    assert!(shown["delivery"]["retry_at"].is_string(), "{shown:#}");
    site.happens("a", "e-2").await;

    // So is the server: with a request under way, to which it hears no answer.
    let slow = Receiver::at(address, inside.clone()).await;
    slow.answer(Manner {
        after: Duration::from_secs(60),
        ..Manner::default()
    });
    site.change("chat", json!({ "disabled": false })).await;
    slow.wait(2).await;
    let Site {
        directory,
        operator,
        server,
        control,
        ..
    } = site;
    drop(server);
    drop(control);
    tokio::time::sleep(Duration::from_millis(300)).await;
    slow.answer(Manner::default());
    let control = Control::open(settings(directory.path()))
        .await
        .expect("a control plane");
    let site = Site::serve(directory, control, operator, options()).await;
    site.happens("a", "e-3").await;
    let shown = site
        .until("chat", |w| w["delivery"]["delivered"] == 6)
        .await;
    assert_eq!(shown["behind"], 0);
    // Each came, in order; what had no answer came again, with the same id.
    let got = slow.got();
    assert_eq!(names(&got), ["e-0", "e-1", "e-1", "e-2", "chat", "e-3"]);
    assert_eq!(got[1].id, got[2].id);
    assert!(got.iter().all(|got| got.signed_by(&secret) == [0]));
}

#[tokio::test]
async fn failures_are_told_and_tried_again() {
    let site = furnished().await;
    let receiver = Receiver::new().await;
    let elsewhere = Receiver::new().await;
    let operator = site.operator.clone();
    let body = json!({ "name": "chat", "project": "a", "url": receiver.url() });
    site.webhook(&operator, body).await;
    site.seal().await;
    site.until("chat", |w| w["delivery"]["delivered"] == 1)
        .await;
    receiver.status(500);
    site.happens("a", "e-0").await;
    let shown = site.until("chat", |w| w["delivery"]["failures"] == 1).await;
    let delivery = &shown["delivery"];
    assert_eq!(delivery["last_status"], 500);
    assert_eq!(delivery["delivered"], 1);
    // By itself, after some seconds.
    receiver.status(200);
    site.until("chat", |w| w["delivery"]["delivered"] == 2)
        .await;

    receiver.answer(Manner {
        status: Some(307),
        location: Some(elsewhere.url()),
        ..Manner::default()
    });
    site.happens("a", "e-1").await;
    let shown = site.until("chat", |w| w["delivery"]["failures"] == 1).await;
    let error = shown["delivery"]["last_error"].as_str().expect("an error");
    assert!(error.contains("redirects are not followed"), "{error}");
    assert!(elsewhere.got().is_empty());

    // Moved to where it should go: what was not taken goes there, at once.
    site.change("chat", json!({ "url": elsewhere.url() })).await;
    assert_eq!(names(&elsewhere.wait(2).await), ["e-1", "chat"]);

    elsewhere.status(410);
    site.happens("a", "e-2").await;
    let shown = site.until("chat", |w| w["disabled"].is_object()).await;
    let why = shown["disabled"]["why"].as_str().expect("why");
    assert!(why.contains("410"), "{why}");
    let rows = site
        .get("/v1/audit?action=webhook.disable")
        .await
        .ok()
        .value();
    assert_eq!(rows["items"][0]["detail"]["why"], shown["disabled"]["why"]);
    assert_eq!(rows["items"][0]["project"], json!(site.project("a").await));
    let before = elsewhere.got().len();
    site.happens("a", "e-3").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(elsewhere.got().len(), before, "nothing is sent");
    elsewhere.status(200);
    site.change("chat", json!({ "disabled": false })).await;
    let got = names(&elsewhere.wait(before + 4).await);
    assert_eq!(
        got[before..],
        ["e-2", "chat", "e-3", "chat"],
        "it goes on where it stopped, its own disabling and enabling among it"
    );

    site.change("chat", json!({ "disabled": true })).await;
    site.happens("a", "e-4").await;
    site.change("chat", json!({ "disabled": false, "skip": true }))
        .await;
    site.happens("a", "e-5").await;
    let got = names(&elsewhere.wait(before + 6).await);
    assert_eq!(
        got[before + 4..],
        ["chat", "e-5"],
        "what was skipped is not sent"
    );
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_holds_up_its_own_alone() {
    let site = furnished().await;
    let (slow, quick) = (Receiver::new().await, Receiver::new().await);
    let operator = site.operator.clone();
    for (name, url) in [("slow", slow.url()), ("quick", quick.url())] {
        let body = json!({ "name": name, "project": "a", "url": url });
        site.webhook(&operator, body).await;
    }
    slow.answer(Manner {
        after: Duration::from_secs(60),
        ..Manner::default()
    });
    let began = Instant::now();
    site.happens("a", "e-0").await;
    // "quick" was made after "slow", which is told of that as well.
    assert_eq!(names(&quick.wait(1).await), ["e-0"]);
    assert!(began.elapsed() < Duration::from_secs(10));
    let shown = site.until("slow", |w| w["delivery"]["failures"] != 0).await;
    let error = shown["delivery"]["last_error"].as_str().expect("an error");
    assert!(error.contains("within 15 seconds"), "{error}");
}

#[tokio::test]
async fn projects_cannot_send_into_the_operators_networks() {
    let site = Site::new().await;
    site.furnish().await;
    let inside = Receiver::new().await;
    let port = inside.address.port();
    let owner = site.token("owner", "project_owner", Some("a")).await;
    for url in [
        inside.url(),
        "https://127.0.0.1/".into(),
        "https://169.254.169.254/latest/meta-data".into(),
        "https://10.0.0.1/redfish/v1".into(),
        "https://[::1]/".into(),
        "https://0x7f000001/".into(),
        "http://hooks.example.org/".into(),
        "https://me:secret@hooks.example.org/".into(),
    ] {
        for (token, project) in [(&owner, None), (&site.operator, Some("a"))] {
            let body = json!({ "name": "x", "url": url, "project": project });
            let answer = site
                .call_as(token, Method::POST, "/v1/webhooks", body)
                .await;
            let problem = answer.problem(422);
            assert_eq!(problem.field.as_deref(), Some("url"), "{url}");
        }
    }
    // A name that leads there is found out when it is resolved.
    let body = json!({ "name": "x", "url": format!("http://localhost:{port}/") });
    site.webhook(&owner, body).await;
    let path = "/v1/webhooks/x/test";
    let tested = site.call_as(&owner, Method::POST, path, Value::Null).await;
    let tested = tested.ok().value();
    assert_eq!(tested["taken"], false);
    let error = tested["error"].as_str().expect("an error");
    assert!(error.contains("--webhook-allow"), "{error}");
    site.happens("a", "e-0").await;
    site.until("x", |w| w["delivery"]["failures"] != 0).await;
    assert!(inside.got().is_empty());
    // The operator's own may.
    let operator = site.operator.clone();
    site.webhook(&operator, json!({ "name": "mine", "url": inside.url() }))
        .await;
    site.happens("b", "e-1").await;
    assert_eq!(names(&inside.wait(1).await), ["e-1"]);
}

#[tokio::test]
async fn secrets_are_changed_over_without_a_gap() {
    let site = furnished().await;
    let receiver = Receiver::new().await;
    let operator = site.operator.clone();
    let body = json!({ "name": "chat", "project": "a", "url": receiver.url() });
    let first = site.webhook(&operator, body).await;
    let rotate = async |grace: u64| {
        let body = json!({ "grace_seconds": grace });
        let made = site
            .post("/v1/webhooks/chat/rotate", body)
            .await
            .ok()
            .value();
        made["secret"].as_str().expect("a secret").to_owned()
    };
    let second = rotate(3600).await;
    assert_ne!(first, second);
    let test = async || {
        let tested = site.post("/v1/webhooks/chat/test", Value::Null).await;
        assert_eq!(tested.ok().value()["taken"], true);
        let tests = |got: &Got| got.event()["action"] == "webhook.test";
        let got = receiver.got().into_iter().rfind(tests);
        got.expect("a test")
    };
    let got = test().await;
    assert_eq!(
        (got.signed_by(&second), got.signed_by(&first)),
        (vec![0], vec![1])
    );
    assert_eq!(got.event()["index"], Value::Null);
    let third = rotate(0).await;
    let got = test().await;
    assert_eq!(got.signed_by(&third), [0]);
    assert_eq!(got.signatures.len(), 1);
    let answer = site
        .post(
            "/v1/webhooks/chat/rotate",
            json!({ "grace_seconds": 9_999_999 }),
        )
        .await;
    assert_eq!(answer.problem(422).field.as_deref(), Some("grace_seconds"));
}

#[tokio::test]
async fn a_receiver_is_known_by_its_own_authority_or_not_at_all() {
    let site = furnished().await;
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]);
    let certified = certified.expect("a certificate");
    let pem = certified.cert.pem();
    let config = axum_server::tls_rustls::RustlsConfig::from_pem(
        pem.clone().into_bytes(),
        certified.signing_key.serialize_pem().into_bytes(),
    );
    let inside = Inside::default();
    let router = Router::new().fallback(take).with_state(inside.clone());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let server = axum_server::from_tcp_rustls(listener, config.await.expect("a configuration"));
    let task = tokio::spawn(server.expect("a server").serve(router.into_make_service()));

    let operator = site.operator.clone();
    let url = format!("https://{address}/");
    let body = json!({ "name": "unknown", "project": "a", "url": url });
    site.webhook(&operator, body).await;
    let tested = site.post("/v1/webhooks/unknown/test", Value::Null).await;
    let tested = tested.ok().value();
    assert_eq!(tested["taken"], false, "{tested:#}");
    site.change("unknown", json!({ "ca": pem })).await;
    let tested = site.post("/v1/webhooks/unknown/test", Value::Null).await;
    assert_eq!(tested.ok().value()["taken"], true);
    assert_eq!(inside.got.lock().expect("a lock").len(), 1);
    for wrong in [
        "x",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let path = "/v1/webhooks/unknown";
        let body = json!({ "ca": wrong });
        let answer = site.call_as(&operator, Method::PATCH, path, body).await;
        assert_eq!(answer.problem(422).field.as_deref(), Some("ca"), "{wrong}");
    }
    task.abort();
}

#[tokio::test]
async fn what_a_webhook_cannot_have_is_refused() {
    let site = furnished().await;
    for (field, body) in [
        ("actions[0]", json!({ "actions": ["Lease."] })),
        ("actions[1]", json!({ "actions": ["lease.", ""] })),
        ("actions", json!({ "actions": vec!["lease."; 33] })),
        (
            "url",
            json!({ "url": format!("https://example.org/{}", "x".repeat(3000)) }),
        ),
    ] {
        let mut new = json!({ "name": "x", "url": "https://example.org/" });
        let fields = body.as_object().expect("fields").clone();
        new.as_object_mut().expect("fields").extend(fields);
        let problem = site.post("/v1/webhooks", new).await.problem(422);
        assert_eq!(problem.field.as_deref(), Some(field), "{body}");
    }
    for n in 0..20 {
        let body =
            json!({ "name": format!("w-{n}"), "project": "a", "url": "https://127.0.0.1:1/" });
        site.post("/v1/webhooks", body).await.ok();
    }
    let body = json!({ "name": "w-20", "project": "a", "url": "https://127.0.0.1:1/" });
    let problem = site.post("/v1/webhooks", body).await.problem(409);
    assert!(problem.detail.contains("20"), "{}", problem.detail);
    let body = json!({ "name": "w-0", "project": "b", "url": "https://127.0.0.1:1/" });
    site.post("/v1/webhooks", body.clone()).await.ok();
    site.post("/v1/webhooks", body).await.problem(409);
}
