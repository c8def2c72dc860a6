//! The client against a server that is slow, forgetful or not the one known.

mod fake;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, post, put},
};
use billet_client::{Client, ClientError, Followed, Patience, Server, Trust};
use billet_model::{
    Secret,
    api::{NewImage, NewOrganisation},
    operation::OperationState,
};
use fake::Fake;
use serde_json::{Value, json};

const TOKEN: &str = "billet_secret";

/// What the server saw, in order.
type Seen = Arc<Mutex<Vec<String>>>;

async fn client(fake: &Fake, fingerprint: &str) -> Client {
    let url = Server::parse_url(&fake.url).expect("a URL");
    let fingerprint = fingerprint.parse().expect("a fingerprint");
    let trust = Trust::recognise(&url, fingerprint).await.expect("known");
    let server = Server {
        url,
        trust,
        token: Some(Secret::new(TOKEN)),
    };
    let patience = Patience {
        pause: Duration::from_millis(5),
        ..Patience::default()
    };
    Client::with_patience(server, patience).expect("a client")
}

fn organisation(name: &str) -> Value {
    json!({
        "id": "01940000-0000-7000-8000-000000000001",
        "name": name,
        "created_at": "2026-11-22T15:00:00Z",
    })
}

#[tokio::test]
async fn a_server_is_known_by_its_own_certificate_or_its_authority() {
    let fake = fake::serve(Router::new().route(
        "/v1/organisations",
        get(|| async { Json(json!({ "items": [organisation("acme")] })) }),
    ));
    for known in [&fake.leaf, &fake.authority] {
        let client = client(&fake, known).await;
        let all = client.organisations().all().await.expect("organisations");
        assert_eq!(all[0].name.as_str(), "acme");
    }

    // Another server with another authority, at the same place as it were.
    let other = fake::serve(Router::new());
    let url = Server::parse_url(&fake.url).expect("a URL");
    let wrong = Trust::recognise(&url, other.authority.parse().expect("a fingerprint")).await;
    assert!(matches!(wrong, Err(ClientError::WrongFingerprint { shown, .. }) if shown.len() == 2));
    for known in [&other.leaf, &other.authority] {
        let mut server = Server {
            url: Server::parse_url(&other.url).expect("a URL"),
            trust: Trust::recognise(
                &Server::parse_url(&other.url).expect("a URL"),
                known.parse().expect("a fingerprint"),
            )
            .await
            .expect("known"),
            token: Some(Secret::new(TOKEN)),
        };
        server.url = Server::parse_url(&fake.url).expect("a URL");
        let client = Client::new(server).expect("a client");
        let refused = client.whoami().await.expect_err("not that server");
        assert!(
            matches!(refused, ClientError::Untrusted { .. }),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_post_is_repeated_with_the_same_key_and_other_changes_are_not() {
    let seen = Seen::default();
    let (posts, patches) = (Arc::clone(&seen), Arc::clone(&seen));
    let router = Router::new()
        .route(
            "/v1/organisations",
            post(move |headers: HeaderMap| async move {
                let key = headers["Idempotency-Key"]
                    .to_str()
                    .expect("text")
                    .to_owned();
                assert_eq!(headers["Authorization"], format!("Bearer {TOKEN}"));
                let mut seen = posts.lock().expect("a lock");
                seen.push(key);
                match seen.len() {
                    // A proxy in between that knows nothing of Billet.
                    1 => StatusCode::BAD_GATEWAY.into_response(),
                    2 => (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "0")]).into_response(),
                    _ => Json(organisation("acme")).into_response(),
                }
            }),
        )
        .route(
            "/v1/leases/{lease}",
            axum::routing::patch(
                move |Path(lease): Path<String>, headers: HeaderMap| async move {
                    assert!(!headers.contains_key("Idempotency-Key"));
                    assert_eq!(headers["If-Match"], "\"7\"");
                    patches.lock().expect("a lock").push(lease);
                    StatusCode::BAD_GATEWAY
                },
            ),
        );
    let fake = fake::serve(router);
    let client = client(&fake, &fake.authority).await;
    let new = NewOrganisation {
        name: "acme".parse().expect("a name"),
    };
    client.create_organisation(&new).await.expect("made");
    let keys = std::mem::take(&mut *seen.lock().expect("a lock"));
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 36));
    client.create_organisation(&new).await.expect("made");
    let again = std::mem::take(&mut *seen.lock().expect("a lock"));
    assert_ne!(again[0], keys[0], "another call has another key");

    let change = billet_model::api::LeaseChange::default();
    let failed = client.change_lease("a/b", &change, Some(7)).await;
    assert_eq!(failed.expect_err("502").status(), Some(502));
    assert_eq!(*seen.lock().expect("a lock"), ["a/b"], "once");
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    #[derive(serde::Deserialize)]
    struct Asked {
        after: Option<usize>,
        limit: usize,
    }
    let router = Router::new().route(
        "/v1/organisations",
        get(|Query(asked): Query<Asked>| async move {
            assert_eq!(asked.limit, 2);
            let from = asked.after.unwrap_or(0);
            let items: Vec<Value> = (from..5.min(from + 2))
                .map(|number| organisation(&format!("o{number}")))
                .collect();
            let next = (from + 2 < 5).then(|| (from + 2).to_string());
            Json(json!({ "items": items, "next": next }))
        }),
    );
    let fake = fake::serve(router);
    let client = client(&fake, &fake.leaf).await;
    let all = client.organisations().limit(2).all().await.expect("all");
    let names: Vec<&str> = all.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["o0", "o1", "o2", "o3", "o4"]);
}

#[tokio::test]
async fn an_upload_is_streamed_and_tells_how_far_it_is() {
    let content: Vec<u8> = (0..700_000_u32).map(|n| n as u8).collect();
    let wanted = content.clone();
    let image = json!({
        "id": "01940000-0000-7000-8000-000000000002", "name": "noble", "project": null,
        "description": "", "origin": "upload", "checksum": null, "state": "importing",
        "reason": null, "content": null, "cloud_init": true, "created_at": "2026-11-22T15:00:00Z",
    });
    let router = Router::new().route(
        "/v1/images/{image}/content",
        put(move |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["content-length"], wanted.len().to_string());
            assert_eq!(body, wanted);
            Json(json!({ "image": image, "operation": null }))
        }),
    );
    let fake = fake::serve(router);
    let client = client(&fake, &fake.authority).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &content).expect("written");
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let started = client
        .upload_image("noble", file.path(), move |sent| {
            tell.lock().expect("a lock").push(sent);
        })
        .await
        .expect("uploaded");
    assert_eq!(started.image.name.as_str(), "noble");
    let told = told.lock().expect("a lock").clone();
    assert_eq!(told.last(), Some(&(content.len() as u64)));
    assert!(told.len() > 2 && told.is_sorted());

    let new = NewImage {
        name: "noble".parse().expect("a name"),
        project: None,
        description: String::new(),
        url: None,
        checksum: None,
        cloud_init: true,
        kind: billet_model::image::ImageKind::Disk,
        install: None,
        root_mirror: false,
    };
    let missing = client.add_image(&new).await.expect_err("no such route");
    assert_eq!(missing.status(), Some(404));
}

#[tokio::test]
async fn an_operation_is_followed_to_its_end() {
    let seen = Seen::default();
    let asked = Arc::clone(&seen);
    let id = "01940000-0000-7000-8000-000000000003";
    let router = Router::new().route(
        "/v1/operations/{id}",
        get(
            move |Query(query): Query<Vec<(String, String)>>| async move {
                let mut asked = asked.lock().expect("a lock");
                let number = asked.len();
                asked.push(
                    query
                        .iter()
                        .map(|(k, v)| format!("{k}={v}"))
                        .collect::<Vec<_>>()
                        .join("&"),
                );
                let state = if number < 2 { "running" } else { "failed" };
                let operation = json!({
                    "id": id, "kind": "deploy", "state": state, "machine": null, "lease": null,
                    "project": null, "message": format!("step {number}"), "progress": null,
                    "created_at": "2026-11-22T15:00:00Z", "ended_at": null,
                });
                ([("ETag", format!("W/\"tag{number}\""))], Json(operation))
            },
        ),
    );
    let fake = fake::serve(router);
    let client = client(&fake, &fake.leaf).await;
    let mut told = Vec::new();
    let ended = client
        .follow(id.parse().expect("an id"), |now| match now {
            Followed::Now(operation) => told.push(operation.message.clone()),
            Followed::Away { why, .. } => panic!("{why}"),
        })
        .await
        .expect("followed");
    assert_eq!(ended.state, OperationState::Failed);
    assert_eq!(told, ["step 0", "step 1", "step 2"]);
    assert_eq!(
        *seen.lock().expect("a lock"),
        ["", "wait=10&seen=tag0", "wait=10&seen=tag1"]
    );
}

/// A row as the stream has it, at `place`, split where a connection may break.
fn event(place: u64) -> String {
    let row = json!({
        "index": place, "id": format!("01940000-0000-7000-8000-{place:012}"),
        "at": "2026-11-22T15:00:00Z", "actor": { "actor": "billet" }, "action": "lease.create",
        "machine": null, "lease": null, "image": null, "project": null, "detail": {},
    });
    format!("id: {place}\ndata: {row}\n\n")
}

#[tokio::test]
async fn events_go_on_behind_the_last_one_when_the_connection_breaks() {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let fake = fake::serve(Router::new().route(
        "/v1/events",
        get(move |headers: HeaderMap| async move {
            let last = headers.get("last-event-id");
            let last = last.map_or("-", |l| l.to_str().expect("text")).to_owned();
            let mut log = log.lock().expect("a lock");
            log.push(last);
            let half = event(9);
            let body = match log.len() {
                // Broken before the first event: it said where it begins.
                1 => "id: 6\n\n".to_owned(),
                2 => format!(":\n\n{}{}{}", event(7), event(8), &half[..half.len() / 2]),
                3 => return StatusCode::BAD_GATEWAY.into_response(),
                _ => format!("{half}{}", event(10)),
            };
            ([("content-type", "text/event-stream")], body).into_response()
        }),
    ));
    let client = client(&fake, &fake.authority).await;
    let mut events = client.events(&[("action", "lease.")], None, true);
    let mut places = Vec::new();
    while places.len() < 4 {
        let row = events.next().await.expect("an event").expect("no end");
        places.push(row.index.expect("a place"));
    }
    assert_eq!(places, [7, 8, 9, 10]);
    assert_eq!(*seen.lock().expect("a lock"), ["-", "6", "8", "8"]);
    // Without following it ends with what there is.
    let mut events = client.events(&[], Some(3), false);
    let mut count = 0;
    while events.next().await.expect("an event").is_some() {
        count += 1;
    }
    assert_eq!(count, 2);
    assert_eq!(
        seen.lock().expect("a lock").last().map(String::as_str),
        Some("2")
    );
}
