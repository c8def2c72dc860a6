//! Idempotency keys.

use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{Answer, Site};

async fn keyed(site: &Site, key: &str, path: &str, body: &Value) -> Answer {
    let request = site.request(Method::POST, path).bearer_auth(&site.operator);
    site.send(request.header("Idempotency-Key", key).json(body))
        .await
}

#[tokio::test]
async fn a_request_sent_again_is_answered_as_before() {
    let site = Site::new().await;
    let body = json!({ "name": "acme" });
    let first = keyed(&site, "k-1", "/v1/organisations", &body).await.ok();
    let again = keyed(&site, "k-1", "/v1/organisations", &body).await.ok();
    assert_eq!(first.body, again.body);
    assert_eq!(first.status, again.status);
    assert_eq!(again.header("idempotency-replayed"), "true");
    // Without the key it is another request.
    site.post("/v1/organisations", body.clone())
        .await
        .problem(409);
    let list = site.get("/v1/organisations").await.ok().value();
    assert_eq!(list["items"].as_array().expect("items").len(), 1);

    // A refusal is an answer as well.
    let refused = keyed(&site, "k-2", "/v1/organisations", &body).await;
    refused.problem(409);
    let again = keyed(&site, "k-2", "/v1/organisations", &body).await;
    again.problem(409);
    assert_eq!(refused.body, again.body);
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let site = Site::new().await;
    keyed(&site, "k", "/v1/organisations", &json!({ "name": "acme" }))
        .await
        .ok();
    let other = keyed(&site, "k", "/v1/organisations", &json!({ "name": "other" })).await;
    assert!(other.problem(422).kind.ends_with("idempotency-key-reused"));
    let other = keyed(&site, "k", "/v1/sites", &json!({ "name": "acme" })).await;
    other.problem(422);
    for wrong in ["", "with space", &"k".repeat(129)] {
        keyed(&site, wrong, "/v1/organisations", &json!({ "name": "x" }))
            .await
            .problem(422);
    }
    // Another caller's key is another key.
    let auditor = site.token("second", "operator", None).await;
    let request = site
        .request(Method::POST, "/v1/organisations")
        .bearer_auth(auditor);
    let request = request
        .header("Idempotency-Key", "k")
        .json(&json!({ "name": "third" }));
    site.send(request).await.ok();
}

#[tokio::test]
async fn a_secret_is_not_kept_for_a_key() {
    let site = Site::new().await;
    let body = json!({ "name": "second", "role": "operator" });
    let made = keyed(&site, "k", "/v1/tokens", &body).await.ok().value();
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    let problem = keyed(&site, "k", "/v1/tokens", &body).await.problem(409);
    assert!(problem.detail.contains("only then"), "{problem:?}");
    // And who changed one reads nothing of making or deleting.
    let id = made["token"]["id"].as_str().expect("an id");
    let path = format!("/v1/tokens/{id}/rotate");
    keyed(&site, "l", &path, &json!({})).await.ok();
    let problem = keyed(&site, "l", &path, &json!({})).await.problem(409);
    assert!(
        problem.detail.contains("rotate the token once more"),
        "{problem:?}"
    );
    assert!(!problem.detail.contains("make another"), "{problem:?}");
    site.control.store().close().await;
    for entry in std::fs::read_dir(site.directory.path().join("data")).expect("the data") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = std::fs::read(&path).expect("a file");
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "the secret stands in {}", path.display());
        }
    }
}

#[tokio::test]
async fn two_at_once_are_one() {
    let site = Site::new().await;
    let body = json!({ "name": "acme" });
    let (a, b, c) = tokio::join!(
        keyed(&site, "k", "/v1/organisations", &body),
        keyed(&site, "k", "/v1/organisations", &body),
        keyed(&site, "k", "/v1/organisations", &body),
    );
    for answer in [a, b, c] {
        // Done, replayed, or told to ask again; never carried out twice.
        assert!(matches!(answer.status.as_u16(), 201 | 503), "{answer:?}");
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    keyed(&site, "k", "/v1/organisations", &body).await.ok();
}

#[tokio::test]
async fn a_request_whose_end_is_not_known_is_not_done_again() {
    use billet_store::{Batch, Write};
    use sha2::{Digest as _, Sha256};
    let site = Site::new().await;
    let me = site.get("/v1/whoami").await.ok().value();
    let body = r#"{"name":"acme"}"#;
    let hash = Sha256::digest(format!("POST\0/v1/organisations\0{body}").as_bytes()).into();
    // What a server leaves that is killed while it carries a request out.
    let write = Write::PutIdempotency {
        key: "begun k".into(),
        token: serde_json::from_value(me["token"]["id"].clone()).expect("an id"),
        request_hash: hash,
        status: 102,
        body: String::new(),
        at: site.control.now(),
    };
    site.commit(Batch::new().with(write)).await;
    let request = site
        .request(Method::POST, "/v1/organisations")
        .bearer_auth(&site.operator);
    let request = request
        .header("Idempotency-Key", "k")
        .header("content-type", "application/json");
    let problem = site.send(request.body(body)).await.problem(409);
    assert!(problem.detail.contains("look whether"), "{problem:?}");
    let list = site.get("/v1/organisations").await.ok().value();
    assert_eq!(list["items"], json!([]));
}
