//! The stream of events, and what watches over the server.

use std::time::Duration;

use billet_api::ServeOptions;
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

/// Ids and rows of a stream's text.
fn events(text: &str) -> Vec<(u64, Value)> {
    let of = |event: &str, field: &str| {
        let line = event.lines().find_map(|l| l.strip_prefix(field));
        line.map(|value| value.trim_start().to_owned())
    };
    text.split("\n\n")
        .filter_map(|event| {
            let id = of(event, "id:")?.parse().expect("a number");
            let data = serde_json::from_str(&of(event, "data:")?).expect("JSON");
            Some((id, data))
        })
        .collect()
}

#[tokio::test]
async fn a_stream_goes_on_behind_the_last_event_and_loses_none() {
    let site = Site::new().await;
    site.furnish().await;
    let whole = site.get("/v1/events?follow=false&from=0").await.ok();
    assert_eq!(whole.header("content-type"), "text/event-stream");
    let whole = events(&whole.body);
    let ids: Vec<u64> = whole.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (0..whole.len() as u64).collect::<Vec<_>>());
    for last in 0..whole.len() as u64 {
        let request = site
            .request(Method::GET, "/v1/events?follow=false")
            .bearer_auth(&site.operator)
            .header("Last-Event-ID", last);
        let rest = events(&site.send(request).await.ok().body);
        assert_eq!(rest, whole[last as usize + 1..], "behind {last}");
    }
    let request = site
        .request(Method::GET, "/v1/events")
        .bearer_auth(&site.operator)
        .header("Last-Event-ID", "x");
    site.send(request).await.problem(422);
    // Without either it begins now.
    let none = site.get("/v1/events?follow=false").await.ok();
    assert_eq!(events(&none.body), []);
    let only = site
        .get("/v1/events?follow=false&from=0&action=project.")
        .await
        .ok();
    assert_eq!(events(&only.body).len(), 2);
}

#[tokio::test]
async fn a_stream_shows_its_callers_own_as_it_happens_and_ends_with_the_server() {
    let site = Site::new().await;
    site.furnish().await;
    let member = site.token("m", "member", Some("a")).await;
    let request = site.request(Method::GET, "/v1/events").bearer_auth(&member);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let mut chunks = response.bytes_stream();
    // Of another project first: it must not be seen.
    site.token("other", "member", Some("b")).await;
    site.token("mine", "member", Some("a")).await;
    let store = site.control.store();
    store.seal(site.control.now()).await.expect("sealed");
    let mut text = String::new();
    while events(&text).is_empty() {
        let chunk = tokio::time::timeout(Duration::from_secs(20), chunks.next()).await;
        let chunk = chunk.expect("in time").expect("no end").expect("bytes");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    let seen = events(&text);
    assert_eq!(seen[0].1["detail"]["name"], "mine", "{seen:?}");
    assert_eq!(seen[0].1["project"], site.project("a").await.to_string());

    let began = std::time::Instant::now();
    let server = site.server;
    server.stop(Duration::from_secs(30)).await.expect("stopped");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it was not held up"
    );
    let rest = async { while let Some(Ok(_)) = chunks.next().await {} };
    let ended = tokio::time::timeout(Duration::from_secs(10), rest).await;
    ended.expect("the stream ended");
}

#[tokio::test]
async fn metrics_tell_what_there_is_to_those_who_may_know() {
    let site = Site::new().await;
    site.furnish().await;
    site.image("debian", None).await;
    site.lease("first").await;
    site.machine("spare").await;
    let text = site.get("/metrics").await.ok();
    assert!(text.header("content-type").starts_with("text/plain"));
    for line in [
        r#"billet_machines{type="box",lifecycle="available"} 1"#,
        r#"billet_machines{type="box",lifecycle="deploying"} 1"#,
        r#"billet_leases{state="deploying"} 1"#,
        r#"billet_operations_last_day{kind="deploy",state="running"} 1"#,
        r#"billet_bmc_requests_total{outcome="done"} 0"#,
        r#"billet_http_request_seconds_count{method="POST",route="/v1/leases",status="202"} 1"#,
    ] {
        assert!(
            text.body.lines().any(|l| l == line),
            "{line}: {}",
            text.body
        );
    }
    assert!(text.body.contains("billet_info{version="));
    // A path that a caller made up is no series of its own.
    site.get("/v1/made-up-by-somebody").await.problem(404);
    let text = site.get("/metrics").await.ok();
    assert!(!text.body.contains("made-up"));
    let body = json!({ "name": "scrape", "role": "auditor", "scopes": ["metrics:read"] });
    let made = site.post("/v1/tokens", body).await.ok().value();
    let scraper = made["secret"].as_str().expect("a secret");
    site.get_as(scraper, "/metrics").await.ok();
    site.get_as(scraper, "/v1/machines").await.problem(403);
    for path in ["/healthz", "/readyz"] {
        let answer = site.send(site.request(Method::GET, path)).await.ok();
        assert_eq!(answer.body, "ok\n");
    }
}

#[tokio::test]
async fn a_caller_has_so_many_streams_and_no_more() {
    let site = Site::with(ServeOptions {
        streams: 3,
        ..ServeOptions::default()
    })
    .await;
    site.furnish().await;
    let open = async || {
        let request = site.request(Method::GET, "/v1/events");
        request
            .bearer_auth(&site.operator)
            .send()
            .await
            .expect("an answer")
    };
    let mut streams = Vec::new();
    for _ in 0..3 {
        let stream = open().await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = site.get("/v1/events").await;
    let problem = refused.problem(429);
    assert_eq!(refused.header("retry-after"), "10");
    assert!(problem.detail.contains("may have 3"), "{problem:?}");
    // The consoles count among them, and others have their own.
    let machine = site.machine("m").await.id;
    site.get(&format!("/v1/machines/{machine}/console/log"))
        .await
        .problem(429);
    let other = site.token("t", "member", Some("a")).await;
    site.get_as(&other, "/v1/events?follow=false").await.ok();
    // One that is closed counts no more, as soon as that is noticed.
    streams.pop();
    for _ in 0..100 {
        let again = open().await;
        if again.status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a stream that was closed goes on counting");
}
