//! The API document as it is checked in.

use std::path::Path;

use crate::site::Site;

#[test]
fn the_document_that_is_checked_in_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/billet.json");
    let document = billet_api::openapi::document_json();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(&path, &document).expect("written");
    }
    let kept = std::fs::read(&path).unwrap_or_default();
    assert!(
        kept == document,
        "openapi/billet.json is not what the code says: run the tests with UPDATE_OPENAPI=1 and \
         look at what changed"
    );
}

#[tokio::test]
async fn the_document_is_served_to_everyone() {
    let site = Site::new().await;
    let request = site.request(reqwest::Method::GET, "/v1/openapi.json");
    let answer = site.send(request).await.ok();
    assert_eq!(answer.body.as_bytes(), billet_api::openapi::document_json());
    assert_eq!(answer.value()["openapi"], "3.1.0");
}
