//! The record of calls: who asked for what, reading and refusals included.

use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn every_call_with_a_token_is_recorded_and_refusals_too() {
    let site = Site::new().await;
    site.furnish().await;
    let member = site.token("alice", "member", Some("a")).await;
    site.call_as(&member, Method::GET, "/v1/leases", Value::Null)
        .await
        .ok();
    site.call_as(&member, Method::GET, "/v1/machines", Value::Null)
        .await
        .problem(403);
    site.call_as(
        "billet_wrong",
        Method::GET,
        "/v1/machines/m?x=1",
        Value::Null,
    )
    .await
    .problem(401);
    site.call_as(&member, Method::GET, "/v1/health", Value::Null)
        .await
        .ok();

    let asked = "/v1/calls?limit=1000";
    let all = site.get(asked).await.ok().value();
    let rows = all["items"].as_array().expect("rows");
    let told = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let call = format!("{} {}", text("method"), text("path"));
        (
            text("name"),
            call,
            row["status"].as_u64().expect("a status"),
        )
    };
    let last: Vec<_> = rows.iter().rev().take(3).rev().map(told).collect();
    let expected = [
        ("alice", "GET /v1/leases", 200),
        ("alice", "GET /v1/machines", 403),
        // Without its query, and nobody's; health needs no token and is not there.
        ("-", "GET /v1/machines/m", 401),
    ];
    let expected = expected.map(|(who, call, status)| (who.to_owned(), call.to_owned(), status));
    assert_eq!(last, expected);
    assert!(rows.iter().any(|row| told(row).1 == "POST /v1/tokens"));
    assert!(!all.to_string().contains("billet_"), "a secret: {all}");

    // Asked again, the question before is there as well: nothing waits in memory.
    let refused = site.get("/v1/calls?refused=true").await.ok().value();
    let refused = refused["items"].as_array().expect("rows");
    assert!(refused.len() >= 2 && refused.iter().all(|r| r["status"].as_u64() >= Some(400)));
    let newest = site
        .get("/v1/calls?newest_first=true&limit=1")
        .await
        .ok()
        .value();
    assert_eq!(newest["items"][0]["path"], json!("/v1/calls"));

    // Whose calls they are is the operators' to know.
    site.call_as(&member, Method::GET, asked, Value::Null)
        .await
        .problem(403);
}
