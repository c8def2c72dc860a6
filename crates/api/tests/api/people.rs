//! Organisations, projects, tokens; and pages, which all lists share.

use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn pages_go_on_where_the_last_ended() {
    let site = Site::new().await;
    for n in 0..7 {
        site.post("/v1/organisations", json!({ "name": format!("o-{n}") }))
            .await
            .ok();
        // Those of one millisecond are in no order.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/organisations?limit=3".to_owned();
    loop {
        let page = site.get(&path).await.ok().value();
        for item in page["items"].as_array().expect("items") {
            seen.push(item["name"].as_str().expect("a name").to_owned());
        }
        // What comes and goes between two pages moves nothing.
        if seen.len() == 3 {
            site.post("/v1/organisations", json!({ "name": "late" }))
                .await
                .ok();
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/organisations?limit=3&after={next}"),
            None => break,
        }
    }
    assert_eq!(
        seen,
        ["o-0", "o-1", "o-2", "o-3", "o-4", "o-5", "o-6", "late"]
    );
}

#[tokio::test]
async fn names_are_taken_once_and_things_found_by_name_and_id() {
    let site = Site::new().await;
    site.furnish().await;
    let problem = site
        .post(
            "/v1/projects",
            json!({ "name": "a", "organisation": "acme" }),
        )
        .await;
    assert_eq!(problem.problem(409).field.as_deref(), Some("name"));
    let problem = site
        .post(
            "/v1/projects",
            json!({ "name": "c", "organisation": "none" }),
        )
        .await;
    assert_eq!(problem.problem(404).field.as_deref(), Some("organisation"));
    for (path, name) in [
        ("/v1/organisations", "acme"),
        ("/v1/projects", "a"),
        ("/v1/sites", "here"),
        ("/v1/machine-types", "box"),
        ("/v1/networks", "lan"),
    ] {
        let by_name = site.get(&format!("{path}/{name}")).await.ok();
        let id = by_name.value()["id"].as_str().expect("an id").to_owned();
        let by_id = site.get(&format!("{path}/{id}")).await.ok();
        assert_eq!(by_name.body, by_id.body);
        // The same again is not sent again.
        let request = site
            .request(Method::GET, &format!("{path}/{name}"))
            .bearer_auth(&site.operator);
        let same = site
            .send(request.header("If-None-Match", by_id.header("etag")))
            .await;
        assert_eq!(same.status, 304);
    }
}

#[tokio::test]
async fn a_project_with_things_in_it_stays() {
    let site = Site::new().await;
    site.furnish().await;
    let token = site.token("t", "member", Some("b")).await;
    site.image("kept", Some(site.project("b").await)).await;
    let delete = site
        .call_as(
            &site.operator,
            Method::DELETE,
            "/v1/projects/b",
            Value::Null,
        )
        .await;
    assert!(delete.problem(409).kind.ends_with("in-use"));
    site.call_as(
        &site.operator,
        Method::DELETE,
        "/v1/images/kept",
        Value::Null,
    )
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
    // Its tokens are gone with it.
    site.get_as(&token, "/v1/whoami").await.problem(401);
}

#[tokio::test]
async fn what_is_used_stays_and_what_is_not_goes() {
    let site = Site::new().await;
    site.furnish().await;
    let delete = async |path: &str| {
        site.call_as(&site.operator, Method::DELETE, path, Value::Null)
            .await
    };
    site.machine("m1").await;
    for (used, by) in [
        ("organisations/acme", "still used by project a, project b"),
        ("sites/here", "still used by machine m1"),
        ("machine-types/box", "still used by machine m1"),
        ("networks/lan", "still used by machine m1"),
    ] {
        let problem = delete(&format!("/v1/{used}")).await.problem(409);
        assert!(problem.kind.ends_with("in-use"), "{problem:?}");
        assert!(problem.detail.contains(by), "{problem:?}");
    }
    for (path, body) in [
        ("organisations", json!({ "name": "x" })),
        ("sites", json!({ "name": "x", "jurisdiction": "EU" })),
        ("machine-types", json!({ "name": "x" })),
        ("networks", json!({ "name": "x", "subnet": "10.9.0.0/24" })),
    ] {
        site.post(&format!("/v1/{path}"), body).await.ok();
        delete(&format!("/v1/{path}/x")).await.ok();
        site.get(&format!("/v1/{path}/x")).await.problem(404);
    }
}

#[tokio::test]
async fn owners_make_tokens_for_their_project_only() {
    let site = Site::new().await;
    site.furnish().await;
    let owner = site.token("owner", "project_owner", Some("a")).await;
    let make = |body: Value| site.call_as(&owner, Method::POST, "/v1/tokens", body);
    let made = make(json!({ "name": "mine", "role": "member" }))
        .await
        .ok()
        .value();
    assert_eq!(
        made["token"]["project"],
        site.project("a").await.to_string()
    );
    make(json!({ "name": "x", "role": "operator" }))
        .await
        .problem(403);
    make(json!({ "name": "x", "role": "member", "project": "b" }))
        .await
        .problem(404);
    let made = make(json!({ "name": "aud", "role": "auditor" }))
        .await
        .ok()
        .value();
    assert_eq!(
        made["token"]["project"],
        site.project("a").await.to_string()
    );

    // An operator's token is for no project; an owner's is for one.
    let problem = site
        .post("/v1/tokens", json!({ "name": "x", "role": "member" }))
        .await
        .problem(422);
    assert_eq!(problem.field.as_deref(), Some("project"));
    let body = json!({ "name": "x", "role": "operator", "project": "a" });
    site.post("/v1/tokens", body).await.problem(422);
    let body = json!({ "name": "x", "role": "operator", "expires_at": "2020-01-01T00:00:00Z" });
    let problem = site.post("/v1/tokens", body).await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("expires_at"));
    // No list shows a secret.
    let list = site.get("/v1/tokens").await.ok();
    assert!(
        !list.body.contains("billet_") && !list.body.contains("hash"),
        "{}",
        list.body
    );
}

#[tokio::test]
async fn the_last_operator_cannot_be_locked_out() {
    let site = Site::new().await;
    let me = site.get("/v1/whoami").await.ok().value();
    let path = format!("/v1/tokens/{}", me["token"]["id"].as_str().expect("an id"));
    let disable = json!({ "disabled": true });
    site.call_as(&site.operator, Method::PATCH, &path, disable.clone())
        .await
        .problem(409);
    site.call_as(&site.operator, Method::DELETE, &path, Value::Null)
        .await
        .problem(409);
    let second = site.token("second", "operator", None).await;
    site.call_as(&second, Method::PATCH, &path, disable)
        .await
        .ok();
    site.get("/v1/whoami").await.problem(401);
}

#[tokio::test]
async fn names_are_changed_and_a_promised_jurisdiction_is_not() {
    let site = Site::new().await;
    site.furnish().await;
    let change = async |path: &str, body: Value| {
        site.call_as(&site.operator, Method::PATCH, path, body)
            .await
    };
    for (noun, old) in [
        ("organisations", "acme"),
        ("projects", "a"),
        ("sites", "here"),
    ] {
        let before = site.get(&format!("/v1/{noun}/{old}")).await.ok().value();
        let new = format!("{old}-new");
        let path = format!("/v1/{noun}/{old}");
        let changed = change(&path, json!({ "name": new })).await.ok().value();
        assert_eq!(
            (&changed["id"], &changed["name"]),
            (&before["id"], &json!(new))
        );
        site.get(&path).await.problem(404);
        let row = site.get("/v1/audit?limit=1000").await.ok().body;
        assert!(row.contains(&new), "it is on record");
        change(&format!("/v1/{noun}/{new}"), json!({ "name": old }))
            .await
            .ok();
    }
    // One that is taken is not given twice.
    change("/v1/projects/a", json!({ "name": "b" }))
        .await
        .problem(409);
    change("/v1/sites/here", json!({ "jurisdiction": " " }))
        .await
        .problem(422);
    change("/v1/sites/here", json!({ "jurisdiction": "CH" }))
        .await
        .ok();
    site.image("debian", None).await;
    site.lease("theirs").await;
    let problem = change("/v1/sites/here", json!({ "jurisdiction": "US" })).await;
    let problem = problem.problem(409);
    assert!(problem.detail.contains("is leased"), "{problem:?}");
    let kept = site.get("/v1/sites/here").await.ok().value();
    assert_eq!(kept["jurisdiction"], "CH");
}
