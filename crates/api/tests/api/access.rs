//! Every endpoint, called by nobody, by the wrong one and by the right one, from
//! the one table that the server itself goes by.

use std::collections::BTreeSet;

use billet_api::{
    ServeOptions,
    access::{Caller, Rule, Scope, TABLE, Who},
};
use billet_model::{evidence::Evidence, people::Token};
use billet_store::{Batch, Write};
use reqwest::Method;
use serde_json::{Value, json};

use crate::site::Site;

/// No endpoint of the document is missing from the table, and none of the
/// table's from the document, but for those of machines.
#[test]
fn the_table_and_the_document_have_the_same_endpoints() {
    let document: Value =
        serde_json::from_slice(&billet_api::openapi::document_json()).expect("a document");
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("an item").keys() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let bearers = |rule: &&Rule| rule.who != Who::Machine;
    let name = |rule: &Rule| format!("{} {}", rule.method, rule.path);
    let table: BTreeSet<String> = TABLE.iter().filter(bearers).map(name).collect();
    assert_eq!(documented, table);
    for rule in TABLE.iter().filter(|rule| rule.who == Who::Machine) {
        assert!(!rule.path.starts_with("/v1/"), "{}", rule.path);
    }
}

/// What may be called without a token is said here once more: an endpoint does
/// not become public by one word in the table.
#[test]
fn only_these_are_public() {
    let of = |who: Who| -> Vec<&str> {
        let rules = TABLE.iter().filter(|rule| rule.who == who);
        rules.map(|rule| rule.path).collect()
    };
    assert_eq!(
        of(Who::Anyone),
        [
            "/healthz",
            "/readyz",
            "/v1/health",
            "/v1/openapi.json",
            "/v1/evidence-keys",
        ]
    );
    assert!(of(Who::Machine).iter().all(|path| {
        ["/agent/v1/", "/phone-home/v1/", "/media/", "/install/v1/"]
            .iter()
            .any(|start| path.starts_with(start))
    }));
}

/// What machines call is routed apart from the document: these are compared by
/// the source. An endpoint that is routed and not in the table is closed by the
/// gate, and shows here.
#[test]
fn what_machines_call_is_all_in_the_table() {
    let source = include_str!("../../src/agents.rs");
    let routed: BTreeSet<&str> = source
        .split(".route(")
        .skip(1)
        .filter_map(|rest| rest.split('"').nth(1))
        .collect();
    let table = TABLE.iter().filter(|rule| rule.who == Who::Machine);
    let table: BTreeSet<&str> = table.map(|rule| rule.path).collect();
    assert_eq!(routed, table);
    // And there is no other place where anything is routed by hand, but for the metadata service:
    // a listener of its own without tokens or tenants, whose tests ask as whom it lets in.
    let own = ["agents.rs", "metadata.rs"];
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![sources];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !own.iter().any(|file| path.ends_with(file)) {
                let text = std::fs::read_to_string(&path).expect("a source");
                assert!(!text.contains(".route("), "{}", path.display());
            }
        }
    }
}

/// An address where nobody answers.
const NOWHERE: &str = "https://127.0.0.1:1/";

/// A site with something of project `a` for every path.
struct World {
    site: Site,
    things: Things,
    /// Secrets: of `a`'s callers, and of `b`'s.
    a: Vec<(Caller, String)>,
    b: Vec<(Caller, String)>,
}

struct Things {
    project: String,
    token: String,
    image: String,
    lease: String,
    operation: String,
    evidence: String,
    webhook: String,
}

impl World {
    async fn new() -> Self {
        let site = Site::with(ServeOptions {
            webhook_allow: vec!["127.0.0.0/8".parse().expect("a range")],
            ..ServeOptions::default()
        })
        .await;
        site.furnish().await;
        site.image("debian", None).await;
        for (path, name) in [("/v1/users", "somebody"), ("/v1/groups", "team")] {
            site.post(path, json!({ "name": name })).await.ok();
        }
        let (mut a, mut b) = (vec![(Caller::Operator, site.operator.clone())], Vec::new());
        let all = site.token("aud", "auditor", None).await;
        a.push((Caller::Auditor, all));
        for (caller, role) in [
            (Caller::ProjectAuditor, "auditor"),
            (Caller::ProjectOwner, "project_owner"),
            (Caller::Member, "member"),
        ] {
            a.push((
                caller,
                site.token(&format!("a-{role}"), role, Some("a")).await,
            ));
            b.push((
                caller,
                site.token(&format!("b-{role}"), role, Some("b")).await,
            ));
        }
        let project = site.project("a").await;
        let lease = site.lease("theirs").await;
        let shown = site.get(&format!("/v1/leases/{lease}")).await.ok().value();
        let evidence = Evidence {
            id: site.control.new_id(),
            kind: "test".into(),
            machine: serde_json::from_value(shown["machine"].clone()).expect("an id"),
            lease: Some(lease),
            project: Some(project),
            created_at: site.control.now(),
            envelope: json!({}),
        };
        let write = Write::PutEvidence(Box::new(evidence.clone()));
        site.commit(Batch::new().with(write).audited(site.row()))
            .await;
        let things = Things {
            project: project.to_string(),
            token: Self::fresh_token(&site).await,
            image: site.image("theirs", Some(project)).await.to_string(),
            lease: lease.to_string(),
            operation: shown["operation"].as_str().expect("an id").to_owned(),
            evidence: evidence.id.to_string(),
            webhook: Self::fresh_webhook(&site, "theirs").await,
        };
        Self { site, things, a, b }
    }

    async fn fresh_token(site: &Site) -> String {
        let body = json!({ "name": "fresh", "role": "member", "project": "a" });
        let made = site.post("/v1/tokens", body).await.ok().value();
        made["token"]["id"].as_str().expect("an id").to_owned()
    }

    async fn fresh_webhook(site: &Site, name: &str) -> String {
        let body = json!({ "name": name, "project": "a", "url": NOWHERE });
        let made = site.post("/v1/webhooks", body).await.ok().value();
        made["webhook"]["id"].as_str().expect("an id").to_owned()
    }

    async fn fresh(&self, nouns: &str, n: usize, mut body: Value) -> String {
        let name = format!("gone-{n}");
        body["name"] = json!(name);
        self.site.post(&format!("/v1/{nouns}"), body).await.ok();
        name
    }

    /// The path of a rule, filled with what there is of project `a`; `n` makes
    /// what is deleted different each time.
    async fn fill(&self, rule: &Rule, n: usize) -> String {
        let deletes = rule.method == Method::DELETE;
        let things = &self.things;
        let mut path = rule.path.to_owned();
        if path == "/v1/events" {
            // All that there is, and no waiting for more.
            path.push_str("?follow=false&from=0");
        }
        for part in rule.path.split('/').filter(|part| part.starts_with('{')) {
            let thing = match part {
                "{project}" if deletes => {
                    let body = json!({ "name": format!("gone-{n}"), "organisation": "acme" });
                    self.site.post("/v1/projects", body).await.ok();
                    format!("gone-{n}")
                }
                "{organisation}" if deletes => self.fresh("organisations", n, json!({})).await,
                "{site}" if deletes => {
                    self.fresh("sites", n, json!({ "jurisdiction": "DE" }))
                        .await
                }
                "{machine_type}" if deletes => self.fresh("machine-types", n, json!({})).await,
                "{network}" if deletes => {
                    self.fresh("networks", n, json!({ "subnet": "10.98.0.0/24" }))
                        .await
                }
                "{token}" if deletes => Self::fresh_token(&self.site).await,
                "{image}" if deletes => {
                    let project = Some(self.site.project("a").await);
                    self.site
                        .image(&format!("gone-{n}"), project)
                        .await
                        .to_string()
                }
                "{webhook}" if deletes => {
                    Self::fresh_webhook(&self.site, &format!("gone-{n}")).await
                }
                "{webhook}" => things.webhook.clone(),
                "{project}" => things.project.clone(),
                "{token}" => things.token.clone(),
                "{image}" => things.image.clone(),
                "{part}" => "kernel".into(),
                "{lease}" => things.lease.clone(),
                "{operation}" => things.operation.clone(),
                "{evidence}" => things.evidence.clone(),
                "{user}" if deletes => self.fresh("users", n, json!({})).await,
                "{group}" if deletes => self.fresh("groups", n, json!({})).await,
                "{user}" => "somebody".into(),
                "{group}" => "team".into(),
                "{organisation}" => "acme".into(),
                "{site}" => "here".into(),
                "{machine_type}" => "box".into(),
                "{network}" => "lan".into(),
                "{machine}" => "m-theirs".into(),
                other => panic!("nothing stands for {other}"),
            };
            path = path.replace(part, &thing);
        }
        path
    }
}

/// A body that the endpoint understands.
fn body(rule: &Rule, n: usize, project: &str) -> Value {
    let name = format!("n-{n}");
    let path = rule.path;
    match (rule.method.as_str(), path) {
        ("POST", "/v1/organisations") => json!({ "name": name }),
        ("POST", "/v1/projects") => json!({ "name": name, "organisation": "acme" }),
        ("POST", "/v1/tokens") => json!({ "name": name, "role": "member", "project": project }),
        ("PUT", "/v1/quotas") => json!({ "project": project, "machine_type": "box", "most": 1000 }),
        // The old secret is needed for the rest of the table.
        ("POST", "/v1/whoami/rotate") => json!({ "grace_seconds": 3600 }),
        ("POST", "/v1/tokens/{token}/rotate" | "/v1/webhooks/{webhook}/rotate") => json!({}),
        ("POST", "/v1/webhooks") => json!({ "name": name, "project": project, "url": NOWHERE }),
        ("PATCH", "/v1/webhooks/{webhook}") => json!({ "actions": ["lease."] }),
        ("POST", "/v1/users" | "/v1/groups") => json!({ "name": name }),
        (
            "PATCH",
            "/v1/users/{user}"
            | "/v1/groups/{group}"
            | "/v1/organisations/{organisation}"
            | "/v1/projects/{project}"
            | "/v1/sites/{site}"
            | "/v1/networks/{network}"
            | "/v1/machines/{machine}",
        ) => json!({}),
        ("PATCH", "/v1/tokens/{token}") => json!({ "disabled": false }),
        ("POST", "/v1/sites") => json!({ "name": name, "jurisdiction": "DE" }),
        ("POST", "/v1/machine-types") => json!({ "name": name }),
        ("PATCH", "/v1/machine-types/{machine_type}") => json!({ "warm": 1 }),
        ("POST", "/v1/networks") => json!({ "name": name, "subnet": "10.99.0.0/24" }),
        ("POST", "/v1/machines") => json!({
            "name": name, "site": "here", "machine_type": "box",
            "bmc": { "address": format!("https://192.0.2.9:{}", 2000 + n), "user": "u", "password": "p" },
        }),
        ("POST", "/v1/machines/{machine}/take-over") => json!({ "drives": ["S1"] }),
        ("POST", "/v1/machines/{machine}/power" | "/v1/leases/{lease}/power") => {
            json!({ "action": "on" })
        }
        ("POST", "/v1/leases/{lease}/reinstall") => json!({ "keep_data_drives": true }),
        ("PUT", "/v1/machines/{machine}/console/host-key") => {
            json!({ "host_key": format!("SHA256:{}", "A".repeat(43)) })
        }
        ("POST", "/v1/machines/{machine}/bmc") => json!({ "user": "root" }),
        (
            "POST",
            "/v1/machines/{machine}/bmc-password" | "/v1/machines/{machine}/rotate-password",
        ) => json!({}),
        ("POST", "/v1/machines/{machine}/drives") => json!({ "add": "S9" }),
        (
            "POST",
            "/v1/machines/{machine}/cordon"
            | "/v1/machines/{machine}/quarantine"
            | "/v1/machines/{machine}/break-fix"
            | "/v1/machines/{machine}/maintenance",
        ) => json!({ "reason": "a test" }),
        ("POST", "/v1/images") => json!({ "name": name, "project": project }),
        ("POST", "/v1/leases") => {
            json!({ "project": project, "machine_type": "box", "image": "debian" })
        }
        ("PATCH", "/v1/leases/{lease}") => json!({ "tags": { "n": name } }),
        _ => Value::Null,
    }
}

#[tokio::test]
async fn everybody_gets_what_the_table_says() {
    let world = World::new().await;
    let site = &world.site;
    for (n, rule) in TABLE.iter().enumerate() {
        let Who::Bearers(roles) = rule.who else {
            continue;
        };
        let what = format!("{} {}", rule.method, rule.path);
        for (m, (caller, secret)) in world.a.iter().enumerate() {
            let path = world.fill(rule, n * 10 + m).await;
            let body = body(rule, n * 10 + m, "a");
            if m == 0 {
                let nobody = site.request(rule.method.clone(), &path);
                site.send(nobody).await.problem(401);
                let unknown = format!("billet_{}", "A".repeat(43));
                for wrong in ["", "x", "billet_", &unknown] {
                    let answer = site
                        .call_as(wrong, rule.method.clone(), &path, body.clone())
                        .await;
                    let problem = answer.problem(401);
                    assert!(
                        problem.detail.contains("billet login"),
                        "{what}: {problem:?}"
                    );
                }
            }
            let answer = site.call_as(secret, rule.method.clone(), &path, body).await;
            let status = answer.status.as_u16();
            if roles.contains(caller) {
                assert!(
                    !matches!(status, 400 | 401 | 403 | 404 | 405 | 415 | 500..),
                    "{what} as {caller:?}: {status} {}",
                    answer.body
                );
            } else {
                assert_eq!(status, 403, "{what} as {caller:?}: {}", answer.body);
                answer.problem(403);
            }
        }
    }
}

#[tokio::test]
async fn what_is_another_projects_is_not_found() {
    let world = World::new().await;
    let site = &world.site;
    for (n, rule) in TABLE.iter().enumerate() {
        let Who::Bearers(roles) = rule.who else {
            continue;
        };
        let scoped = matches!(rule.scope, Scope::Project | Scope::Shared);
        let callers = world.b.iter().enumerate();
        for (m, (caller, secret)) in callers.filter(|(_, (c, _))| scoped && roles.contains(c)) {
            let n = n * 10 + m;
            let what = format!("{} {} as {caller:?}", rule.method, rule.path);
            let path = world.fill(rule, n).await;
            let theirs = site
                .call_as(secret, rule.method.clone(), &path, body(rule, n, "a"))
                .await;
            let Some(part) = rule.path.split('/').find(|part| part.starts_with('{')) else {
                // A list, or something new: for another project, or with its things in it.
                if rule.method == Method::POST {
                    theirs.problem(404);
                } else if rule.scope == Scope::Project {
                    for id in [
                        &world.things.project,
                        &world.things.lease,
                        &world.things.operation,
                    ] {
                        assert!(
                            !theirs.body.contains(id.as_str()),
                            "{what}: {}",
                            theirs.body
                        );
                    }
                    let filtered = format!("{}?project=a", rule.path);
                    if !matches!(rule.path, "/v1/projects") {
                        site.get_as(secret, &filtered).await.problem(404);
                    }
                } else {
                    assert!(!theirs.body.contains(&world.things.image), "{what}");
                }
                continue;
            };
            let theirs_problem = theirs.problem(404);
            let thing = path.split('/').nth(3).expect("a thing");
            let missing = uuid_like(thing);
            let nowhere = rule.path.replace(part, &missing);
            let missing_problem = site
                .call_as(secret, rule.method.clone(), &nowhere, body(rule, n, "a"))
                .await
                .problem(404);
            assert_eq!(
                theirs_problem.detail.replace(thing, "X"),
                missing_problem.detail.replace(&missing, "X"),
                "{what}"
            );
            assert_eq!(theirs_problem.title, missing_problem.title, "{what}");
        }
    }
    // By name as well.
    let (_, member) = &world.b[2];
    for path in ["/v1/leases/theirs", "/v1/images/theirs", "/v1/projects/a"] {
        site.get_as(member, path).await.problem(404);
    }
    // And filters tell nothing of what others have.
    let lease = format!("/v1/evidence?lease={}", world.things.lease);
    site.get_as(member, &lease).await.problem(404);
    site.get_as(member, "/v1/operations?machine=m-theirs")
        .await
        .problem(404);
}

/// Another id, or another name, of the same length.
fn uuid_like(thing: &str) -> String {
    let flip = |c: char| match c {
        '0'..='8' => char::from(c as u8 + 1),
        'a'..='e' => char::from(c as u8 + 1),
        other => other,
    };
    thing
        .chars()
        .rev()
        .enumerate()
        .map(|(at, c)| if at < 8 { flip(c) } else { c })
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}

#[tokio::test]
async fn machines_without_their_secret_are_not_answered() {
    let site = Site::new().await;
    for rule in TABLE.iter().filter(|rule| rule.who == Who::Machine) {
        let path = rule
            .path
            .replace("{task}", "0197a000-0000-7000-8000-000000000000")
            .replace("{digest}", &"0".repeat(64))
            .replace("{token}", "wrong")
            .replace("{file}", "wrong.iso");
        let body = match rule.path {
            "/agent/v1/hello" => json!({
                "version": "1", "serial": null, "kernel_boot_id": "k", "uptime_seconds": 1,
            }),
            p if p.ends_with("progress") => {
                json!({ "step": "s", "done": 1, "total": 2, "unit": "bytes" })
            }
            p if p.ends_with("outcome") => json!({ "outcome": "tested", "results": [] }),
            _ => Value::Null,
        };
        let status = if rule.path.starts_with("/media") {
            404
        } else {
            401
        };
        // An operator's token is no machine's.
        for token in ["wrong", &site.operator] {
            let request = site.request(rule.method.clone(), &path).bearer_auth(token);
            let request = match (rule.path.starts_with("/phone-home"), body.is_null()) {
                (true, _) => request.form(&[("hostname", "x")]),
                (false, true) => request,
                (false, false) => request.json(&body),
            };
            site.send(request).await.problem(status);
        }
    }
}

#[tokio::test]
async fn expired_disabled_and_forgotten_tokens_are_refused_and_on_record() {
    let site = Site::new().await;
    site.furnish().await;
    let secret = site.token("t", "member", Some("a")).await;
    let me = site.get_as(&secret, "/v1/whoami").await.ok().value();
    assert_eq!(me["project_name"], "a");
    let id = me["token"]["id"].as_str().expect("an id").to_owned();

    let path = format!("/v1/tokens/{id}");
    site.call_as(
        &site.operator,
        Method::PATCH,
        &path,
        json!({ "disabled": true }),
    )
    .await
    .ok();
    let problem = site.get_as(&secret, "/v1/whoami").await.problem(401);
    assert!(problem.detail.contains("disabled"), "{problem:?}");
    site.call_as(
        &site.operator,
        Method::PATCH,
        &path,
        json!({ "disabled": false }),
    )
    .await
    .ok();
    site.get_as(&secret, "/v1/whoami").await.ok();

    let read = site.control.store().token(id.parse().expect("an id")).await;
    let token: Token = read.expect("the store").expect("the token");
    assert!(token.last_used_at.is_some());
    let expired = Token {
        expires_at: Some(site.control.now()),
        ..token
    };
    let write = Write::PutToken {
        token: expired,
        hash: None,
    };
    site.commit(Batch::new().with(write).audited(site.row()))
        .await;
    let problem = site.get_as(&secret, "/v1/whoami").await.problem(401);
    assert!(problem.detail.contains("time is over"), "{problem:?}");
    for _ in 0..50 {
        site.get_as("billet_guess", "/v1/whoami").await.problem(401);
    }

    site.call_as(&site.operator, Method::DELETE, &path, Value::Null)
        .await
        .ok();
    site.get_as(&secret, "/v1/whoami").await.problem(401);
    let rows = site
        .get("/v1/audit?action=token.refused")
        .await
        .ok()
        .value();
    let whys: Vec<&str> = rows["items"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["detail"]["why"].as_str().expect("a reason"))
        .collect();
    // Fifty guesses are one row, and the rest of them follow as a count.
    assert_eq!(whys, ["disabled", "expired", "unknown"]);
}
