//! The control plane's own authority.

use billet_api::tls::{Authority, TlsError};

use crate::site::Site;

#[test]
fn the_authority_is_made_once_and_kept() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let (keys, data) = (directory.path().join("keys"), directory.path().join("data"));
    let first = Authority::open(&keys, &data).expect("made");
    let again = Authority::open(&keys, &data).expect("opened");
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_eq!(first.pem(), again.pem());
    let key = keys.join("authority.key");
    let mode = |path| {
        std::fs::metadata(path)
            .expect("the key")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&key), 0o600);

    // A start that was cut short after the key goes on with it.
    std::fs::remove_file(data.join("authority.pem")).expect("removed");
    let later = Authority::open(&keys, &data).expect("made");
    assert_ne!(later.fingerprint(), first.fingerprint());

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let error = Authority::open(&keys, &data).expect_err("others can read it");
    assert!(
        matches!(error, TlsError::Exposed { mode: 0o644, .. }),
        "{error}"
    );
    std::fs::remove_file(&key).expect("removed");
    let error = Authority::open(&keys, &data).expect_err("the key is gone");
    assert!(matches!(error, TlsError::KeyMissing { .. }), "{error}");

    let other = directory.path().join("other");
    Authority::open(&other, &other).expect("made");
    std::fs::copy(other.join("authority.key"), &key).expect("copied");
    let error = Authority::open(&keys, &data).expect_err("another's key");
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
}

#[tokio::test]
async fn only_who_trusts_the_authority_can_talk() {
    let site = Site::new().await;
    let health = format!(
        "https://localhost:{}/v1/health",
        site.server.address().port()
    );
    let answer = site.http.get(&health).send().await.expect("an answer");
    assert!(answer.status().is_success());
    // Without it there is no connection, and without TLS neither.
    let other = tempfile::tempdir().expect("a directory");
    let stranger = Authority::open(other.path(), other.path()).expect("another authority");
    let stranger =
        reqwest::Certificate::from_pem(stranger.pem().as_bytes()).expect("a certificate");
    let client = reqwest::Client::builder()
        .tls_certs_only([stranger])
        .build()
        .expect("a client");
    assert!(client.get(&health).send().await.is_err());
    assert!(
        client
            .get(health.replace("https", "http"))
            .send()
            .await
            .is_err()
    );
    assert_eq!(site.server.authority_fingerprint().len(), 64);
}

#[tokio::test]
async fn only_the_first_start_makes_a_token() {
    let site = Site::new().await;
    let again = billet_api::bootstrap(&site.control)
        .await
        .expect("the store");
    assert!(again.is_none());
    assert!(site.operator.starts_with(billet_api::TOKEN_PREFIX));
    assert_eq!(site.operator.len(), billet_api::TOKEN_PREFIX.len() + 43);
    let me = site.get("/v1/whoami").await.ok().value();
    assert_eq!(me["token"]["role"], "operator");
}
