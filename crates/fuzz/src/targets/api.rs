//! A request, from its first line to its last byte, as text:
//!
//! ```text
//! POST /v1/leases?limit=1 operator application/json
//! Idempotency-Key: k
//!
//! {"machine_type": "box"}
//! ```
//!
//! The third word says whose token it brings: `operator`, `member`, `auditor`, `boot`, `none`, or
//! else it is the token itself. `TASK`, `MACHINE` and `LEASE` in the path are ids.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, Uri, header},
};
use serde_json::Value;

use super::cut;
use crate::site::SITE;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks: there is an answer, it is not a failure of the server's, and a refusal says what to do.
pub fn run(bytes: &[u8]) {
    let Some((request, streams)) = request(bytes) else {
        return;
    };
    let asked = format!("{} {}", request.method(), request.uri());
    SITE.runtime.block_on(async {
        let answered = tokio::time::timeout(PATIENCE, SITE.service.answer(request)).await;
        let response = answered.unwrap_or_else(|_| panic!("{asked}: no answer"));
        let status = response.status();
        // 503 asks to come again, as for a request whose twin is under way.
        assert!(
            !status.is_server_error() || status.as_u16() == 503,
            "{asked}: {status}"
        );
        if streams || status.is_informational() {
            return;
        }
        let body = tokio::time::timeout(PATIENCE, to_bytes(response.into_body(), 8 << 20)).await;
        let body = body.unwrap_or_else(|_| panic!("{asked}: an answer without end"));
        let body = body.unwrap_or_else(|e| panic!("{asked}: {e}"));
        let text = String::from_utf8_lossy(&body);
        assert!(!text.contains("bmc-hunter2"), "{asked}: a secret is told");
        if status.is_client_error() {
            let problem: Value = serde_json::from_slice(&body)
                .unwrap_or_else(|e| panic!("{asked}: {status} without a problem: {e}: {text}"));
            assert_eq!(problem["status"], status.as_u16(), "{asked}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(detail.len() > 10, "{asked}: {problem}");
        }
    });
}

/// The request, and whether its answer may have no end; none where the bytes are none, or where
/// it would go out to other machines.
fn request(bytes: &[u8]) -> Option<(Request<Body>, bool)> {
    let (head, body) = cut(bytes, b"\n\n");
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.splitn(4, ' ');
    let method = Method::from_bytes(words.next()?.as_bytes()).ok()?;
    let path = words
        .next()?
        .replace("MACHINE", &SITE.machine.id.to_string())
        .replace("LEASE", &SITE.lease.id.to_string())
        .replace("TASK", &task());
    let uri: Uri = path.parse().ok()?;
    if !uri.path().starts_with('/') || goes_out(uri.path(), body) {
        return None;
    }
    let streams = uri.path().contains("events") || uri.path().contains("console");
    let waits = uri.query().is_some_and(|query| query.contains("wait"));
    let who = words.next().unwrap_or("none");
    let place = ["operator", "member", "auditor", "boot"]
        .iter()
        .position(|name| *name == who);
    let token = place.map_or(who, |at| SITE.tokens[at].as_str());
    let mut request = Request::builder().method(method).uri(uri);
    if token != "none" {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if let Some(kind) = words.next() {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body.to_vec())).ok()?;
    (!waits).then_some((request, streams))
}

fn task() -> String {
    match SITE.machine.step {
        billet_model::step::Step::Working { task, .. } => task.to_string(),
        _ => String::new(),
    }
}

/// Whether it has the server fetch or send something.
fn goes_out(path: &str, body: &[u8]) -> bool {
    let names_url = serde_json::from_slice::<Value>(body)
        .is_ok_and(|body| body.get("url").is_some_and(Value::is_string));
    let tries = path.contains("webhooks") && path.ends_with("/test");
    tries || (path.contains("images") && names_url)
}
