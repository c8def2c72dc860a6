//! The audit log: every change is in it, and a slice of it can be checked.

use billet_evidence::{
    PublicKey, TrustedKeys,
    audit::{Export, verify_export},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn every_change_is_on_record() {
    let site = Site::new().await;
    site.furnish().await;
    let made = site
        .post("/v1/tokens", json!({ "name": "t", "role": "auditor" }))
        .await
        .ok()
        .value();
    let token = format!(
        "/v1/tokens/{}",
        made["token"]["id"].as_str().expect("an id")
    );
    site.call_as(
        &site.operator,
        Method::PATCH,
        &token,
        json!({ "disabled": true }),
    )
    .await
    .ok();
    site.call_as(&site.operator, Method::DELETE, &token, Value::Null)
        .await
        .ok();
    site.post("/v1/images", json!({ "name": "i" })).await.ok();
    site.call_as(&site.operator, Method::DELETE, "/v1/images/i", Value::Null)
        .await
        .ok();
    site.call_as(
        &site.operator,
        Method::DELETE,
        "/v1/projects/b",
        Value::Null,
    )
    .await
    .ok();
    site.post("/v1/backup", Value::Null).await.ok();
    let rows = site.get("/v1/audit?limit=1000").await.ok().value();
    let rows = rows["items"].as_array().expect("rows");
    let actions: Vec<&str> = rows
        .iter()
        .map(|r| r["action"].as_str().expect("an action"))
        .collect();
    assert_eq!(
        actions,
        [
            "token.create",
            "organisation.create",
            "project.create",
            "project.create",
            "site.create",
            "machine_type.create",
            "network.create",
            "token.create",
            "token.change",
            "token.delete",
            "image.create",
            "image.delete",
            "project.delete",
            "backup.create",
        ]
    );
    assert_eq!(rows[0]["actor"]["actor"], "billet");
    assert_eq!(rows[1]["actor"]["name"], "first-operator");
    let newest = site
        .get("/v1/audit?newest_first=true&limit=1")
        .await
        .ok()
        .value();
    assert_eq!(newest["items"][0]["action"], "backup.create");
    assert!(!site.get("/v1/audit").await.ok().body.contains("billet_"));
}

#[tokio::test]
async fn an_export_is_checked_without_the_server() {
    let site = Site::new().await;
    site.furnish().await;
    let keys = site
        .send(site.request(Method::GET, "/v1/evidence-keys"))
        .await
        .ok()
        .value();
    let pem = keys[0]["public_pem"].as_str().expect("a key");
    let trusted: TrustedKeys = [PublicKey::from_pem(pem).expect("a key")]
        .into_iter()
        .collect();
    let whole: Export = site.get("/v1/audit/export").await.ok().json();
    let origin = whole
        .checkpoint
        .lines()
        .next()
        .expect("an origin")
        .to_owned();
    let (checkpoint, _) = verify_export(&whole, &origin, &trusted).expect("it holds");
    assert_eq!(checkpoint.size, whole.rows.len() as u64);

    let auditor = site.token("aud", "auditor", Some("a")).await;
    let slice: Export = site.get_as(&auditor, "/v1/audit/export").await.ok().json();
    verify_export(&slice, &origin, &trusted).expect("it holds");
    let project = site.project("a").await.to_string();
    assert_eq!(slice.rows.len(), 2, "{:?}", slice.rows);
    assert!(
        slice
            .rows
            .iter()
            .all(|row| row.row["project"] == project.as_str())
    );

    let mut forged = slice.clone();
    forged.rows[0].row["action"] = json!("project.delete");
    assert!(verify_export(&forged, &origin, &trusted).is_err());
    // Page by page.
    let mut from = 0;
    let mut seen = 0;
    loop {
        let path = format!("/v1/audit/export?limit=2&from={from}");
        let page: Export = site.get(&path).await.ok().json();
        verify_export(&page, &origin, &trusted).expect("it holds");
        seen += page.rows.len();
        match page.rows.last() {
            Some(last) => from = last.index + 1,
            None => break,
        }
    }
    assert_eq!(seen, 8);

    // Pages of the log as it was are one export, whatever comes meanwhile.
    let mut one = Export {
        checkpoint: whole.checkpoint.clone(),
        rows: Vec::new(),
    };
    loop {
        site.post(
            "/v1/organisations",
            json!({ "name": format!("o{}", one.rows.len()) }),
        )
        .await
        .ok();
        let (from, size) = (one.rows.len(), checkpoint.size);
        let path = format!("/v1/audit/export?limit=3&from={from}&size={size}");
        let page: Export = site.get(&path).await.ok().json();
        assert_eq!(page.checkpoint, whole.checkpoint);
        if page.rows.is_empty() {
            break;
        }
        one.rows.extend(page.rows);
    }
    assert_eq!(one, whole);
    site.get("/v1/audit/export?size=9999").await.problem(422);
}
