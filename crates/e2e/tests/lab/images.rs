//! An image that is not what was said of it.

use std::path::Path;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    site::Site,
    support::{items, word},
};

/// Checksum of two MiB of sevens.
const SEVENS: &str = "sha256:c406296b30d433e27c08e2989ad557c7e9ae7825d1bea14c42aa4ef53c9e8a9d";

/// An image with another checksum than stated fails, with both of them in the sentence; nothing of
/// it stays, and no lease can have it.
#[tokio::test]
async fn an_image_with_a_wrong_checksum_is_not_taken_in() {
    let Some(site) = Site::of_phantoms("an image's wrong checksum", &["cpu"]).await else {
        return;
    };
    site.take_over().await;
    site.project("vision").await;
    let machine_type = site.machine_type();
    let lease = site.lease("first", &machine_type);
    let before = files_in(&site.home.path("data/images"));
    site.home.write("image.raw", vec![7_u8; 2 << 20]);
    let stated = format!("sha256:{}", "ab".repeat(32));
    let both = |told: &str| {
        assert!(told.contains(&stated), "{told}");
        assert!(told.contains(SEVENS), "{told}");
    };

    // Uploaded: refused there and then, and nothing has come in.
    let add = ["image", "add", "tiny", "--checksum", &stated];
    let upload = [&add[..], &["--file", "image.raw"]].concat();
    let refused = site.op(&upload).await.coded(4);
    both(&refused.stderr);
    refused.said("`billet image delete tiny`");
    let image = site.ask(&["image", "show", "tiny"]).await;
    assert_eq!(image["state"], "failed");
    both(word(&image["reason"]));
    assert_eq!(image["content"], Value::Null);
    assert_eq!(files_in(&site.home.path("data/images")), before);
    site.by("vision", &lease)
        .await
        .coded(4)
        .said("could not be taken in");
    site.op(&["image", "delete", "tiny"]).await.good();

    // Fetched: the image has failed, and says why.
    let url = serve_once(&site.home.path("image.raw")).await;
    let fetch = [&add[..], &["--url", &url]].concat();
    both(&site.op(&fetch).await.coded(1).stderr);
    let image = site.ask(&["image", "show", "tiny"]).await;
    assert_eq!(image["state"], "failed");
    both(word(&image["reason"]));
    assert_eq!(image["content"], Value::Null);
    assert_eq!(files_in(&site.home.path("data/images")), before);
    site.by("vision", &lease)
        .await
        .coded(4)
        .said("could not be taken in");

    let leases = site.ask(&["lease", "list"]).await;
    assert!(items(&leases).is_empty(), "{leases}");
    let machine = site.machine(&site.name(0)).await;
    assert_eq!(machine["lifecycle"], "available");
    site.end().await;
}

/// Serves a file over HTTP on the loopback; its URL.
async fn serve_once(file: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("http://{}/image.raw", listener.local_addr().expect("bound"));
    let body = std::fs::read(file).expect("read");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&body).await;
        }
    });
    url
}

/// Every file below a directory.
fn files_in(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    files
}
