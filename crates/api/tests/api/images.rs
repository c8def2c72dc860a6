//! Images: uploaded and fetched, and what is not fetched.

use std::{net::SocketAddr, time::Duration};

use billet_api::ServeOptions;
use billet_control::Control;
use billet_model::{
    api::ImageStarted,
    image::{Image, ImageState},
};
use billet_store::{Batch, Write};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::site::{Answer, Site, settings};

/// A small disk: some data, much nothing.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 8 << 20];
    for (at, byte) in disk[..3 << 20].iter_mut().enumerate() {
        *byte = (at * 31 % 251) as u8;
    }
    disk
}

fn checksum(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}")
}

async fn upload(site: &Site, name: &str, bytes: Vec<u8>) -> Answer {
    let path = format!("/v1/images/{name}/content");
    let request = site.request(Method::PUT, &path).bearer_auth(&site.operator);
    site.send(request.body(bytes)).await
}

async fn ended(site: &Site, started: &ImageStarted) -> Value {
    let operation = started.operation.as_ref().expect("an operation").id;
    for _ in 0..60 {
        let shown = site
            .get(&format!("/v1/operations/{operation}?wait=2"))
            .await
            .ok()
            .value();
        if shown["state"] != "running" {
            return shown;
        }
    }
    panic!("the import did not end");
}

#[tokio::test]
async fn an_image_is_uploaded_and_kept_once() {
    let site = Site::new().await;
    site.furnish().await;
    let new = json!({ "name": "disk", "checksum": checksum(&disk()) });
    let made = site.post("/v1/images", new).await.ok();
    assert_eq!(made.status, 201);
    assert_eq!(made.value()["image"]["state"], "awaiting_upload");

    // Something else than was announced; then the thing itself.
    let mut wrong = disk();
    wrong[5] ^= 1;
    let problem = upload(&site, "disk", wrong).await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("checksum"));
    let shown = site.get("/v1/images/disk").await.ok().value();
    assert_eq!(shown["state"], "failed");
    let started: ImageStarted = upload(&site, "disk", disk()).await.ok().json();
    let content = started.image.content.expect("content");
    assert_eq!(started.image.state, ImageState::Available);
    assert_eq!(
        (content.virtual_bytes, content.data_bytes),
        (8 << 20, 3 << 20)
    );
    upload(&site, "disk", disk()).await.problem(409);

    // The same bytes under another name are the same files, until neither is there.
    site.post("/v1/images", json!({ "name": "twin", "project": "a" }))
        .await
        .ok();
    let twin: ImageStarted = upload(&site, "twin", disk()).await.ok().json();
    assert_eq!(twin.image.content.expect("content").digest, content.digest);
    let blob = site
        .directory
        .path()
        .join(format!("data/images/{}.blob", content.digest));
    site.call_as(
        &site.operator,
        Method::DELETE,
        "/v1/images/disk",
        Value::Null,
    )
    .await
    .ok();
    assert!(blob.exists());
    let site = restart(site).await;
    assert!(blob.exists());
    site.call_as(
        &site.operator,
        Method::DELETE,
        "/v1/images/twin",
        Value::Null,
    )
    .await
    .ok();
    let _site = restart(site).await;
    assert!(!blob.exists(), "swept with the last image that needed it");
}

/// Stops the server and starts another on the same data.
async fn restart(site: Site) -> Site {
    let Site {
        directory,
        server,
        control,
        operator,
        ..
    } = site;
    server.stop(Duration::from_secs(1)).await.expect("stopped");
    control.store().close().await;
    drop(control);
    let control = Control::open(settings(directory.path()))
        .await
        .expect("a control plane");
    assert!(
        billet_api::bootstrap(&control)
            .await
            .expect("the store")
            .is_none()
    );
    Site::serve(directory, control, operator, ServeOptions::default()).await
}

#[tokio::test]
async fn what_a_stop_left_half_way_has_failed() {
    let site = Site::new().await;
    let made: ImageStarted = site
        .post("/v1/images", json!({ "name": "disk" }))
        .await
        .ok()
        .json();
    let half = Image {
        state: ImageState::Importing,
        ..made.image
    };
    let write = Write::PutImage(Box::new(half));
    site.commit(Batch::new().with(write).audited(site.row()))
        .await;
    let partial = site.directory.path().join("data/images/importing-x");
    std::fs::write(&partial, "half").expect("written");
    let site = restart(site).await;
    let shown = site.get("/v1/images/disk").await.ok().value();
    assert_eq!(shown["state"], "failed");
    assert!(
        shown["reason"]
            .as_str()
            .expect("a reason")
            .contains("was stopped")
    );
    assert!(!partial.exists());
    // The way out.
    upload(&site, "disk", disk()).await.ok();
}

#[tokio::test]
async fn sizes_are_limited() {
    let site = Site::with(ServeOptions {
        image_bytes: 4 << 20,
        disk_bytes: 6 << 20,
        ..ServeOptions::default()
    })
    .await;
    site.post("/v1/images", json!({ "name": "disk" }))
        .await
        .ok();
    upload(&site, "disk", disk()).await.problem(413);
    // Announced or not.
    let request = site
        .request(Method::PUT, "/v1/images/disk/content")
        .bearer_auth(&site.operator);
    let pieces = (0..8).map(|_| Ok::<_, std::io::Error>(vec![7; 1 << 20]));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let problem = site.send(request.body(body)).await.problem(422);
    assert!(problem.detail.contains("larger"), "{problem:?}");
    // Small as it arrives, and a large disk.
    let zeros = vec![0; 3 << 20];
    upload(&site, "disk", zeros).await.ok();
}

/// A plain HTTP server that answers every path with what it is told.
async fn server(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = stream.write_all(&answer(&path)).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

fn found(bytes: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len()
    )
    .into_bytes();
    answer.extend(bytes);
    answer
}

fn elsewhere(to: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn an_image_is_fetched_from_where_the_operator_allows() {
    let site = Site::with(ServeOptions {
        fetch_allow: vec!["127.0.0.1".parse().expect("a range")],
        ..ServeOptions::default()
    })
    .await;
    let signed = "?X-Amz-Signature=pass-word";
    let address = server(move |path| match path.trim_end_matches(signed) {
        "/disk" if path.ends_with(signed) => found(&disk()),
        "/moved" => elsewhere(&format!("/disk{signed}")),
        "/inside" => elsewhere("http://127.0.0.2:1/disk"),
        "/file" => elsewhere("file:///etc/passwd"),
        "/round" => elsewhere("/round"),
        "/cut" => found(&disk())[..1 << 20].to_vec(),
        _ => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
    })
    .await;
    for (path, state, reason) in [
        ("disk", "succeeded", "is available"),
        ("moved", "succeeded", "is available"),
        ("inside", "failed", "private"),
        ("file", "failed", "only http and https"),
        ("round", "failed", "more than 5 redirects"),
        ("cut", "failed", "as it arrives"),
        ("nothing", "failed", "404"),
    ] {
        let url = format!("http://user:pass-word@{address}/{path}{signed}#pass-word");
        let started = site
            .post("/v1/images", json!({ "name": path, "url": url }))
            .await
            .ok();
        assert_eq!(started.status, 202);
        let started: ImageStarted = started.json();
        assert_eq!(started.image.origin, format!("http://{address}/{path}"));
        let ended = ended(&site, &started).await;
        let message = ended["message"].as_str().expect("a message");
        assert_eq!(ended["state"], state, "{path}: {message}");
        assert!(message.contains(reason), "{path}: {message}");
        let shown = site.get(&format!("/v1/images/{path}")).await.ok();
        assert!(!shown.body.contains("pass-word"));
    }
    assert!(
        !site
            .get("/v1/audit?limit=1000")
            .await
            .ok()
            .body
            .contains("pass-word")
    );
}

#[tokio::test]
async fn nothing_is_fetched_from_inside() {
    let site = Site::new().await;
    let address = server(|_| found(&disk())).await;
    for url in [
        format!("http://{address}/disk"),
        "http://[::1]/disk".into(),
        "http://169.254.169.254/latest/meta-data".into(),
        "http://0x7f000001/".into(),
        "file:///etc/passwd".into(),
        "not an address".into(),
    ] {
        let problem = site
            .post("/v1/images", json!({ "name": "x", "url": url }))
            .await
            .problem(422);
        assert_eq!(problem.field.as_deref(), Some("url"), "{url}");
    }
    // By name: the name is resolved, and what it resolves to is looked at.
    let url = format!("http://localhost:{}/disk", address.port());
    let started: ImageStarted = site
        .post("/v1/images", json!({ "name": "x", "url": url }))
        .await
        .ok()
        .json();
    let ended = ended(&site, &started).await;
    assert_eq!(ended["state"], "failed");
    assert!(
        ended["message"]
            .as_str()
            .expect("a message")
            .contains("private"),
        "{ended}"
    );
}

#[tokio::test]
async fn parts_that_come_at_once_are_all_kept() {
    const INITRDS: usize = 8;
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = settings(directory.path());
    // It is not used: the kernel never comes.
    settings.stub = settings.ramdisk.clone().expect("a file");
    let control = Control::open(settings).await.expect("a control plane");
    let operator = billet_api::bootstrap(&control).await.expect("the store");
    let operator = operator.expect("a token").expose().to_owned();
    let site = Site::serve(directory, control, operator, ServeOptions::default()).await;
    for round in 0..5 {
        let path = format!("/v1/images/installer-{round}");
        let install = json!({ "kernel": {}, "initrds": vec![json!({}); INITRDS] });
        let new =
            json!({ "name": format!("installer-{round}"), "kind": "kernel", "install": install });
        site.post("/v1/images", new).await.ok();
        let uploads = (1..=INITRDS).map(|n| {
            let (site, path) = (&site, format!("{path}/parts/initrd-{n}"));
            async move {
                loop {
                    let request = site.request(Method::PUT, &path).bearer_auth(&site.operator);
                    let answer = site.send(request.body(format!("initrd {n}"))).await;
                    // One at a time.
                    if answer.status != 409 {
                        break answer.ok();
                    }
                }
            }
        });
        futures::future::join_all(uploads).await;
        let image: Image = site.get(&path).await.ok().json();
        let parts = image.install.expect("parts").parts;
        let there = parts.iter().filter(|part| part.sha256.is_some());
        assert_eq!(there.count(), INITRDS, "round {round}: {parts:?}");
    }
}

#[tokio::test]
async fn the_operators_images_are_the_operators() {
    let site = Site::new().await;
    site.furnish().await;
    site.image("shared", None).await;
    let member = site.token("m", "member", Some("a")).await;
    site.get_as(&member, "/v1/images/shared").await.ok();
    site.call_as(&member, Method::DELETE, "/v1/images/shared", Value::Null)
        .await
        .problem(403);
    let made = site
        .call_as(
            &member,
            Method::POST,
            "/v1/images",
            json!({ "name": "own" }),
        )
        .await
        .ok();
    assert_eq!(
        made.value()["image"]["project"],
        site.project("a").await.to_string()
    );
    let list = site.get_as(&member, "/v1/images").await.ok().value();
    assert_eq!(list["items"].as_array().expect("items").len(), 2);
}

#[tokio::test]
async fn an_image_in_use_stays() {
    let site = Site::new().await;
    site.furnish().await;
    site.image("debian", None).await;
    site.lease("mine").await;
    let refused = site
        .call_as(
            &site.operator,
            Method::DELETE,
            "/v1/images/debian",
            Value::Null,
        )
        .await;
    assert!(refused.problem(409).kind.ends_with("in-use"));
}
