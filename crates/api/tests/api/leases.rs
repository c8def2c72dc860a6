//! Leases: what their tenants see, and what is refused.

use std::time::Duration;

use billet_model::{
    lease::{Lease, LeaseState},
    operation::OperationState,
};
use billet_store::{Batch, Write};
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

async fn ready() -> (Site, String) {
    let site = Site::new().await;
    site.furnish().await;
    site.image("debian", None).await;
    let member = site.token("m", "member", Some("a")).await;
    (site, member)
}

#[tokio::test]
async fn a_tenant_leases_and_sees_nothing_of_the_bmc() {
    let (site, member) = ready().await;
    site.machine("m1").await;
    let offers = site.get_as(&member, "/v1/offers").await.ok().value();
    assert_eq!(offers["items"][0]["free"], 1);
    let body =
        json!({ "name": "mine", "machine_type": "box", "image": "debian", "tags": { "k": "v" } });
    let made = site
        .call_as(&member, Method::POST, "/v1/leases", body.clone())
        .await
        .ok();
    assert_eq!(made.status, 202);
    let id = made.value()["lease"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(made.header("location"), format!("/v1/leases/{id}"));
    assert_eq!(made.value()["operation"]["kind"], "deploy");

    let offers = site.get_as(&member, "/v1/offers").await.ok().value();
    assert_eq!(offers["items"][0]["free"], 0);
    assert_eq!(offers["items"][0]["total"], 1);
    let mut other = body;
    other["name"] = json!("other");
    let problem = site
        .call_as(&member, Method::POST, "/v1/leases", other)
        .await
        .problem(409);
    assert!(problem.kind.ends_with("none-free"), "{problem:?}");

    let shown = site.get_as(&member, "/v1/leases/mine").await.ok();
    assert_eq!(shown.value()["addresses"][0]["ip"], "10.88.0.1");
    for path in [
        "/v1/leases",
        "/v1/leases/mine",
        "/v1/operations",
        "/v1/offers",
        "/v1/audit",
        "/v1/evidence",
        "/v1/audit/export",
    ] {
        let answer = site.get_as(&member, path).await.ok();
        for secret in ["192.0.2.1", "bmc", "hunter2"] {
            let notes = answer.body.replace("BMC from inside", "");
            assert!(
                !notes.to_lowercase().contains(secret),
                "{path}: {}",
                answer.body
            );
        }
    }
    site.get_as(&member, "/v1/machines").await.problem(403);
    for (tag, found) in [("k=v", 1), ("k", 1), ("k=w", 0), ("j", 0)] {
        let list = site
            .get_as(&member, &format!("/v1/leases?tag={tag}"))
            .await
            .ok()
            .value();
        assert_eq!(
            list["items"].as_array().expect("items").len(),
            found,
            "{tag}"
        );
    }
}

#[tokio::test]
async fn a_change_on_stale_knowledge_is_refused() {
    let (site, member) = ready().await;
    let id = site.lease("mine").await;
    let path = format!("/v1/leases/{id}");
    let etag = site
        .get_as(&member, &path)
        .await
        .ok()
        .header("etag")
        .to_owned();
    let change = |etag: String, tag: &str| {
        let request = site.request(Method::PATCH, &path).bearer_auth(&member);
        site.send(
            request
                .header("If-Match", etag)
                .json(&json!({ "tags": { "t": tag } })),
        )
    };
    let changed = change(etag.clone(), "1").await.ok();
    assert_ne!(changed.header("etag"), etag);
    change(etag, "2").await.problem(412);
    change(changed.header("etag").to_owned(), "3").await.ok();
    let problem = change("seven".into(), "4").await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("If-Match"));
}

#[tokio::test]
async fn what_is_over_shows_nothing_of_the_machines_present() {
    let (site, member) = ready().await;
    let id = site.lease("mine").await;
    let read = site.control.store().lease(id).await;
    let lease: Lease = read.expect("the store").expect("the lease");
    let machine = site.control.store().machine(lease.machine).await;
    let mut machine = machine.expect("the store").expect("the machine");
    // Over, and the machine is somebody else's.
    machine.lease = None;
    let over = Lease {
        state: LeaseState::Released,
        ended_at: Some(site.control.now()),
        ..lease
    };
    let batch = Batch::new()
        .with(Write::Unhold {
            lease: id,
            machine: machine.id,
        })
        .with(Write::PutMachine(Box::new(machine)))
        .with(Write::PutLease(Box::new(over)))
        .audited(site.row());
    site.commit(batch).await;
    let shown = site
        .get_as(&member, &format!("/v1/leases/{id}"))
        .await
        .ok()
        .value();
    assert_eq!(shown["state"], "released");
    assert_eq!(shown["addresses"], json!([]));
    assert_eq!(shown["power"], Value::Null);
}

#[tokio::test]
async fn an_operation_is_followed_without_asking_all_the_time() {
    let (site, member) = ready().await;
    let id = site.lease("mine").await;
    let lease = site
        .get_as(&member, &format!("/v1/leases/{id}"))
        .await
        .ok()
        .value();
    let path = format!(
        "/v1/operations/{}",
        lease["operation"].as_str().expect("an id")
    );
    let first = site.get_as(&member, &path).await.ok();
    let seen = first.header("etag").trim_matches('"').to_owned();

    // Another than the one seen: at once.
    let began = std::time::Instant::now();
    site.get_as(&member, &format!("{path}?wait=30&seen=other"))
        .await
        .ok();
    assert!(began.elapsed() < Duration::from_secs(10));

    let mut operation: billet_model::operation::Operation = first.json();
    let change = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        operation.state = OperationState::Succeeded;
        operation.ended_at = Some(site.control.now());
        let write = Write::PutOperation(Box::new(operation));
        site.commit(Batch::new().with(write)).await;
    };
    let began = std::time::Instant::now();
    let waiting = format!("{path}?wait=60&seen={seen}");
    let (answer, ()) = tokio::join!(site.get_as(&member, &waiting), change);
    assert_eq!(answer.ok().value()["state"], "succeeded");
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn an_image_of_another_project_cannot_be_leased_with() {
    let (site, member) = ready().await;
    site.machine("m1").await;
    let theirs = site
        .image("secret", Some(site.project("b").await))
        .await
        .to_string();
    for image in ["secret", &theirs, "nothing"] {
        let body = json!({ "machine_type": "box", "image": image });
        let problem = site
            .call_as(&member, Method::POST, "/v1/leases", body)
            .await
            .problem(404);
        assert_eq!(problem.field.as_deref(), Some("image"));
        // An operator leases for a project with that project's images.
        let body = json!({ "project": "a", "machine_type": "box", "image": image });
        site.post("/v1/leases", body).await.problem(404);
    }
    let problem = site
        .post(
            "/v1/leases",
            json!({ "machine_type": "box", "image": "debian" }),
        )
        .await;
    assert_eq!(problem.problem(422).field.as_deref(), Some("project"));
}

#[tokio::test]
async fn a_quota_is_kept_and_says_who_can_raise_it() {
    let site = Site::new().await;
    site.furnish().await;
    site.image("debian", None).await;
    let member = site.token("m", "member", Some("a")).await;
    let set = async |body: serde_json::Value| {
        site.call_as(&site.operator, Method::PUT, "/v1/quotas", body)
            .await
    };
    set(json!({ "project": "a", "machine_type": "box", "most": 1 }))
        .await
        .ok();
    site.lease("first").await;
    site.machine("spare").await;
    let ask = async || {
        let body = json!({ "machine_type": "box", "image": "debian" });
        site.call_as(&member, Method::POST, "/v1/leases", body)
            .await
    };
    let problem = ask().await.problem(409);
    assert!(problem.kind.ends_with("over-quota"), "{problem:?}");
    for told in [
        "project a may hold 1 machines of type box at once and holds 1",
        "an operator",
        "billet quota set --project a --type box",
    ] {
        assert!(problem.detail.contains(told), "{problem:?}");
    }
    // Nothing of it is left: the machine is free, and there is no lease.
    let seen = site
        .get_as(&member, "/v1/leases?live=true")
        .await
        .ok()
        .value();
    assert_eq!(seen["items"].as_array().expect("items").len(), 1);
    let seen = site.get_as(&member, "/v1/quotas").await.ok().value();
    assert_eq!(
        (&seen["items"][0]["used"], &seen["items"][0]["most"]),
        (&json!(1), &json!(1))
    );

    set(json!({ "project": "a", "machine_type": "box", "most": null }))
        .await
        .ok();
    set(json!({ "organisation": "acme", "machine_type": "box", "most": 1 }))
        .await
        .ok();
    let problem = ask().await.problem(409);
    assert!(
        problem.detail.contains("organisation acme may hold 1"),
        "{problem:?}"
    );
    set(json!({ "organisation": "acme", "machine_type": "box", "most": 2 }))
        .await
        .ok();
    ask().await.ok();
    for (body, field) in [
        (json!({ "machine_type": "box", "most": 1 }), "project"),
        (
            json!({ "project": "a", "organisation": "acme", "machine_type": "box", "most": 1 }),
            "project",
        ),
    ] {
        assert_eq!(set(body).await.problem(422).field.as_deref(), Some(field));
    }
    set(json!({ "project": "a", "machine_type": "none", "most": 1 }))
        .await
        .problem(404);
}
