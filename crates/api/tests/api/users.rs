//! Users, groups and what they may; tokens that are cut down, and changed.

use billet_model::{api::TokenMade, people::User};
use billet_store::{Batch, Write};
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

/// A site with a user `alice` in a group `team`, and a token of hers.
async fn with_alice() -> (Site, String) {
    let site = Site::new().await;
    site.furnish().await;
    site.image("debian", None).await;
    site.post("/v1/users", json!({ "name": "alice" }))
        .await
        .ok();
    site.post("/v1/groups", json!({ "name": "team" }))
        .await
        .ok();
    change(&site, json!({ "add": ["alice"] })).await;
    let secret = users_token(&site, json!({ "name": "t", "user": "alice" })).await;
    (site, secret)
}

async fn users_token(site: &Site, body: Value) -> String {
    let made: TokenMade = site.post("/v1/tokens", body).await.ok().json();
    made.secret
}

async fn change(site: &Site, body: Value) {
    site.call_as(&site.operator, Method::PATCH, "/v1/groups/team", body)
        .await
        .ok();
}

#[tokio::test]
async fn a_users_rights_are_the_union_of_its_groups() {
    let (site, alice) = with_alice().await;
    let mine = site.lease("mine").await;
    // In no project she sees nothing.
    let problem = site.get_as(&alice, "/v1/leases").await.problem(403);
    assert!(problem.detail.contains("no group"), "{problem:?}");

    change(
        &site,
        json!({ "grant": [{ "role": "auditor", "project": "a" }] }),
    )
    .await;
    let lease = format!("/v1/leases/{mine}");
    site.get_as(&alice, &lease).await.ok();
    let tag = async || {
        let tags = json!({ "tags": { "k": "v" } });
        site.call_as(&alice, Method::PATCH, &lease, tags).await
    };
    tag().await.problem(403);

    // A member of another project changes nothing in this one by that.
    change(
        &site,
        json!({ "grant": [{ "role": "member", "project": "b" }] }),
    )
    .await;
    let problem = tag().await.problem(403);
    assert!(problem.detail.contains("you may see lease"), "{problem:?}");
    let who = site.get_as(&alice, "/v1/whoami").await.ok().value();
    let mut rights: Vec<String> = who["rights"]
        .as_array()
        .expect("rights")
        .iter()
        .map(|r| format!("{} in {}", r["role"], r["project_name"]))
        .collect();
    rights.sort();
    assert_eq!(rights, [r#""auditor" in "a""#, r#""member" in "b""#]);
    assert_eq!(who["user"]["name"], "alice");
    let projects = site.get_as(&alice, "/v1/projects").await.ok().value();
    assert_eq!(projects["items"].as_array().expect("items").len(), 2);

    // By her organisation she is a member of both, and says which she means.
    change(
        &site,
        json!({ "grant": [{ "role": "member", "organisation": "acme" }] }),
    )
    .await;
    tag().await.ok();
    let new = json!({ "machine_type": "box", "image": "debian" });
    let problem = site
        .call_as(&alice, Method::POST, "/v1/leases", new)
        .await
        .problem(422);
    assert_eq!(problem.field.as_deref(), Some("project"));
    // Without them she is what she was.
    change(
        &site,
        json!({ "revoke": [
            { "role": "member", "organisation": "acme" }, { "role": "auditor", "project": "a" },
        ] }),
    )
    .await;
    site.get_as(&alice, &lease).await.problem(404);
    change(&site, json!({ "remove": ["alice"] })).await;
    site.get_as(&alice, "/v1/leases").await.problem(403);

    // What was done is on record, with her name behind the token's.
    let rows = site.get("/v1/audit?action=lease.").await.ok().value();
    let rows = rows["items"].as_array().expect("rows");
    assert!(
        rows.iter()
            .any(|row| row["actor"]["user"] == who["user"]["id"]),
        "{rows:?}"
    );
    let rows = site.get("/v1/audit?action=group.change").await.ok().value();
    assert_eq!(rows["items"].as_array().expect("rows").len(), 6);
}

#[tokio::test]
async fn wrong_grants_and_users_are_refused_by_name() {
    let (site, _) = with_alice().await;
    for (grant, status) in [
        (json!({ "role": "operator", "project": "a" }), 422),
        (json!({ "role": "member" }), 422),
        (
            json!({ "role": "member", "project": "a", "organisation": "acme" }),
            422,
        ),
        (json!({ "role": "member", "project": "none" }), 404),
    ] {
        let body = json!({ "grant": [grant] });
        let answer = site
            .call_as(&site.operator, Method::PATCH, "/v1/groups/team", body)
            .await;
        assert_eq!(answer.problem(status).field.as_deref(), Some("grant[0]"));
    }
    for (body, field) in [
        (json!({ "name": "x", "kind": "service" }), "owner"),
        (
            json!({ "name": "x", "kind": "service", "owner": "alice" }),
            "expires_at",
        ),
        (json!({ "name": "x", "owner": "alice" }), "owner"),
        (
            json!({ "name": "x", "expires_at": "2020-01-01T00:00:00Z" }),
            "expires_at",
        ),
    ] {
        let problem = site.post("/v1/users", body).await.problem(422);
        assert_eq!(problem.field.as_deref(), Some(field));
    }
    for body in [
        json!({ "name": "x" }),
        json!({ "name": "x", "role": "member", "user": "alice" }),
        json!({ "name": "x", "user": "alice", "project": "a" }),
    ] {
        site.post("/v1/tokens", body).await.problem(422);
    }
    // Only an operator speaks for users.
    let owner = site.token("owner", "project_owner", Some("a")).await;
    let body = json!({ "name": "x", "user": "alice" });
    site.call_as(&owner, Method::POST, "/v1/tokens", body)
        .await
        .problem(403);
}

#[tokio::test]
async fn a_service_account_ends_with_its_time_and_with_its_owner() {
    let (site, alice) = with_alice().await;
    change(&site, json!({ "grant": [{ "role": "auditor" }] })).await;
    let body = json!({
        "name": "robot", "kind": "service", "owner": "alice", "expires_at": "2099-01-01T00:00:00Z",
    });
    site.post("/v1/users", body).await.ok();
    change(&site, json!({ "add": ["robot"] })).await;
    let robot = users_token(&site, json!({ "name": "r", "user": "robot" })).await;
    site.get_as(&robot, "/v1/machines").await.ok();

    let user = async |name: &str, body: Value| {
        let path = format!("/v1/users/{name}");
        site.call_as(&site.operator, Method::PATCH, &path, body)
            .await
    };
    user("alice", json!({ "disabled": true })).await.ok();
    let problem = site.get_as(&alice, "/v1/whoami").await.problem(401);
    assert!(problem.detail.contains("disabled"), "{problem:?}");
    let problem = site.get_as(&robot, "/v1/whoami").await.problem(401);
    assert!(problem.detail.contains("nobody answers"), "{problem:?}");
    // Nobody is told whose it is.
    assert!(!problem.detail.contains("alice"), "{problem:?}");
    // Handed over it works again; to another service account it cannot be.
    user("robot", json!({ "owner": "robot" }))
        .await
        .problem(422);
    site.post("/v1/users", json!({ "name": "bob" })).await.ok();
    user("robot", json!({ "owner": "bob" })).await.ok();
    site.get_as(&robot, "/v1/machines").await.ok();

    let robots = "robot".parse().expect("a name");
    let read = site.control.store().user_by_name(&robots).await;
    let found: User = read.expect("the store").expect("the user");
    let over = User {
        expires_at: Some(site.control.now()),
        ..found
    };
    let batch = Batch::new().with(Write::PutUser(over)).audited(site.row());
    site.commit(batch).await;
    let problem = site.get_as(&robot, "/v1/whoami").await.problem(401);
    assert!(problem.detail.contains("time"), "{problem:?}");
    user("robot", json!({ "expires_at": "2099-01-01T00:00:00Z" }))
        .await
        .ok();
    site.get_as(&robot, "/v1/whoami").await.ok();
    // Who is gone takes the tokens along.
    site.call_as(
        &site.operator,
        Method::DELETE,
        "/v1/users/robot",
        Value::Null,
    )
    .await
    .ok();
    site.get_as(&robot, "/v1/whoami").await.problem(401);
}

#[tokio::test]
async fn a_token_does_what_it_is_cut_down_to_and_hands_out_no_more() {
    let site = Site::new().await;
    site.furnish().await;
    let cut = async |scopes: Value| {
        let body = json!({ "name": "cut", "role": "operator", "scopes": scopes });
        let made: TokenMade = site.post("/v1/tokens", body).await.ok().json();
        made.secret
    };
    let reader = cut(json!(["read"])).await;
    site.get_as(&reader, "/v1/projects").await.ok();
    let body = json!({ "name": "x" });
    let problem = site
        .call_as(&reader, Method::POST, "/v1/organisations", body)
        .await
        .problem(403);
    assert!(
        problem.detail.contains("organisations:write"),
        "{problem:?}"
    );

    let tokens = cut(json!(["tokens:write", "offers:read"])).await;
    site.get_as(&tokens, "/v1/whoami").await.ok();
    site.get_as(&tokens, "/v1/offers").await.ok();
    site.get_as(&tokens, "/v1/projects").await.problem(403);
    let make = async |scopes: Value| {
        let body = json!({ "name": "y", "role": "operator", "scopes": scopes });
        site.call_as(&tokens, Method::POST, "/v1/tokens", body)
            .await
    };
    make(json!([])).await.problem(403);
    make(json!(["machines:write"])).await.problem(403);
    make(json!(["offers:read"])).await.ok();
    // Nor does it learn the secret of one that can do more.
    let me = site.get("/v1/whoami").await.ok().value();
    let first = me["token"]["id"].as_str().expect("an id");
    let rotate = format!("/v1/tokens/{first}/rotate");
    site.call_as(&tokens, Method::POST, &rotate, json!({}))
        .await
        .problem(403);
    site.get("/v1/whoami").await.ok();

    for scopes in [json!(["cats:read"]), json!(["leases"]), json!(["all"])] {
        let body = json!({ "name": "z", "role": "operator", "scopes": scopes });
        site.post("/v1/tokens", body).await.problem(422);
    }
}

#[tokio::test]
async fn a_secret_is_changed_without_a_gap() {
    let site = Site::new().await;
    site.furnish().await;
    let old = site.token("t", "member", Some("a")).await;
    let me = site.get_as(&old, "/v1/whoami").await.ok().value();
    let path = format!(
        "/v1/tokens/{}/rotate",
        me["token"]["id"].as_str().expect("an id")
    );
    let rotate = async |grace: u64| site.post(&path, json!({ "grace_seconds": grace })).await;
    rotate(8 * 86_400).await.problem(422);
    let second: TokenMade = rotate(3600).await.ok().json();
    for secret in [&old, &second.secret] {
        let who = site.get_as(secret, "/v1/whoami").await.ok().value();
        assert_eq!(who["token"]["id"], me["token"]["id"]);
    }
    let third: TokenMade = rotate(0).await.ok().json();
    for secret in [&old, &second.secret] {
        site.get_as(secret, "/v1/whoami").await.problem(401);
    }
    site.get_as(&third.secret, "/v1/whoami").await.ok();
    // A secret is nowhere but in its own answer.
    let row = site.get("/v1/audit?action=token.rotate").await.ok();
    assert!(!row.body.contains(&third.secret) && row.body.contains("old_until"));
    let owner = site.token("b", "project_owner", Some("b")).await;
    site.call_as(&owner, Method::POST, &path, json!({}))
        .await
        .problem(404);
}

/// Whoever holds a leaked token cannot keep it by changing its secret all the time.
#[tokio::test]
async fn what_is_disabled_while_it_is_rotated_stays_disabled() {
    let site = Site::new().await;
    site.furnish().await;
    for round in 0..20 {
        let name = format!("t{round}");
        let secret = site.token(&name, "member", Some("a")).await;
        let me = site.get_as(&secret, "/v1/whoami").await.ok().value();
        let path = format!("/v1/tokens/{}", me["token"]["id"].as_str().expect("an id"));
        let rotate = format!("{path}/rotate");
        let (disabled, _) = tokio::join!(
            site.call_as(
                &site.operator,
                Method::PATCH,
                &path,
                json!({ "disabled": true })
            ),
            site.post(&rotate, json!({}))
        );
        disabled.ok();
        let token = site.get(&path).await.ok().value();
        assert_eq!(token["disabled"], true, "{token}");
        site.post(&rotate, json!({})).await.problem(409);
    }
}

/// Anybody may change the secret of their own token, and nothing of anybody else's.
#[tokio::test]
async fn everybody_changes_their_own_secret() {
    let site = Site::new().await;
    site.furnish().await;
    let old = site.token("t", "member", Some("a")).await;
    let me = site.get_as(&old, "/v1/whoami").await.ok().value();
    let rotate = async |secret: &str, grace: u64| {
        let body = json!({ "grace_seconds": grace });
        site.call_as(secret, Method::POST, "/v1/whoami/rotate", body)
            .await
    };
    rotate(&old, 8 * 86_400).await.problem(422);
    let new: TokenMade = rotate(&old, 3600).await.ok().json();
    assert_eq!(json!(new.token.id), me["token"]["id"]);
    for secret in [&old, &new.secret] {
        site.get_as(secret, "/v1/whoami").await.ok();
    }
    // Whoever still has the old one does not take the token for itself.
    let problem = rotate(&old, 0).await.problem(409);
    assert!(problem.detail.contains("use the new one"), "{problem:?}");
    let last: TokenMade = rotate(&new.secret, 0).await.ok().json();
    for secret in [&old, &new.secret] {
        site.get_as(secret, "/v1/whoami").await.problem(401);
    }
    // Cut down to reading offers, and still its own.
    let body = json!({ "name": "o", "role": "member", "project": "a", "scopes": ["offers:read"] });
    let small: TokenMade = site.post("/v1/tokens", body).await.ok().json();
    rotate(&small.secret, 0).await.ok();
    let other = format!("/v1/tokens/{}/rotate", small.token.id);
    site.call_as(&last.secret, Method::POST, &other, json!({}))
        .await
        .problem(403);
}

/// By either door: an operator's old secret does not take the operator's token over.
#[tokio::test]
async fn an_old_secret_changes_no_secret() {
    let site = Site::new().await;
    let old = site.token("o", "operator", None).await;
    let me = site.get_as(&old, "/v1/whoami").await.ok().value();
    let rotate = format!(
        "/v1/tokens/{}/rotate",
        me["token"]["id"].as_str().expect("an id")
    );
    let body = json!({ "grace_seconds": 3600 });
    let rotated = site
        .call_as(&old, Method::POST, &rotate, body.clone())
        .await;
    let new: TokenMade = rotated.ok().json();
    let again = site
        .call_as(&old, Method::POST, &rotate, body.clone())
        .await;
    let problem = again.problem(409);
    assert!(problem.detail.contains("use the new one"), "{problem:?}");
    site.call_as(&new.secret, Method::POST, &rotate, body)
        .await
        .ok();
}

#[tokio::test]
async fn what_ends_hands_out_nothing_that_lives_longer() {
    let site = Site::new().await;
    site.furnish().await;
    let in_days = |days: i64| site.control.now() + jiff::SignedDuration::from_hours(24 * days);
    let body =
        json!({ "name": "x", "role": "project_owner", "project": "a", "expires_at": in_days(1) });
    let owner: TokenMade = site.post("/v1/tokens", body).await.ok().json();
    let make = async |end: Option<jiff::Timestamp>| {
        let body = json!({ "name": "y", "role": "member", "project": "a", "expires_at": end });
        site.call_as(&owner.secret, Method::POST, "/v1/tokens", body)
            .await
    };
    for end in [None, Some(in_days(2))] {
        let problem = make(end).await.problem(403);
        assert_eq!(problem.field.as_deref(), Some("expires_at"));
    }
    make(Some(owner.token.expires_at.expect("an end")))
        .await
        .ok();
    // Nor does it learn the secret of one that lives longer; its own it may change.
    let body = json!({ "name": "z", "role": "member", "project": "a" });
    let longer: TokenMade = site.post("/v1/tokens", body).await.ok().json();
    for (id, status) in [(longer.token.id, 403), (owner.token.id, 200)] {
        let path = format!("/v1/tokens/{id}/rotate");
        let body = json!({ "grace_seconds": 60 });
        let answer = site.call_as(&owner.secret, Method::POST, &path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
}
