//! Virtual media, from a web server of the test's own.

use crate::common::{Caller, phantoms};
use axum::Router;
use axum::http::StatusCode as Status;
use axum::routing::get;
use reqwest::StatusCode;
use serde_json::json;

const CD: &str = "/redfish/v1/Managers/1/VirtualMedia/Cd";

/// Serves `/image.iso`, 200 KiB of which, and nothing else; where it is.
async fn server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new()
        .route("/image.iso", get(async || vec![7u8; 200 * 1024]))
        .route("/broken.iso", get(async || Status::FORBIDDEN));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn insert(caller: &Caller, url: &str) -> StatusCode {
    let path = format!("{CD}/Actions/VirtualMedia.InsertMedia");
    caller.post(&path, json!({ "Image": url })).await.status()
}

#[tokio::test]
async fn a_medium_is_inserted_shown_and_ejected() {
    let lab = phantoms(1).await;
    let caller = Caller::new(lab.machines().remove(0));
    let server = server().await;
    let url = format!("{server}/image.iso?x=1");
    assert_eq!(caller.get(CD).await["Inserted"], false);
    assert_eq!(insert(&caller, &url).await, StatusCode::NO_CONTENT);
    let cd = caller.get(CD).await;
    assert_eq!(cd["Inserted"], true);
    assert_eq!(cd["Image"], url);
    assert_eq!(cd["ImageName"], "image.iso");
    assert_eq!(insert(&caller, &url).await, StatusCode::CONFLICT);
    let eject = format!("{CD}/Actions/VirtualMedia.EjectMedia");
    // The second time changes nothing, and is no error.
    for _ in 0..2 {
        let status = caller.post(&eject, json!({})).await.status();
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(caller.get(CD).await["Inserted"], false);
    }
    let patched = caller.patch(CD, json!({ "Image": url })).await;
    assert_eq!(patched.status(), StatusCode::OK);
    assert_eq!(caller.get(CD).await["Inserted"], true);
    let patched = caller.patch(CD, json!({ "Image": null })).await;
    assert_eq!(patched.status(), StatusCode::OK);
    assert_eq!(caller.get(CD).await["Inserted"], false);
    lab.stop().await;
}

#[tokio::test]
async fn a_medium_that_cannot_be_fetched_is_an_error_and_not_inserted() {
    let lab = phantoms(1).await;
    let caller = Caller::new(lab.machines().remove(0));
    let server = server().await;
    for url in [
        format!("{server}/broken.iso"),
        format!("{server}/missing.iso"),
        // Nobody listens on port 1.
        "http://127.0.0.1:1/image.iso".to_owned(),
        "ftp://127.0.0.1/image.iso".to_owned(),
        "no address".to_owned(),
    ] {
        assert_eq!(
            insert(&caller, &url).await,
            StatusCode::BAD_REQUEST,
            "{url}"
        );
        assert_eq!(caller.get(CD).await["Inserted"], false, "{url}");
    }
    let tasks = caller.get("/redfish/v1/TaskService/Tasks").await;
    assert_eq!(tasks["Members@odata.count"], 5);
    lab.stop().await;
}
