//! PostgreSQL by TLS, with an authority that is made here.

use std::{
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sqlx::Row as _;

use super::postgres::{self, Server};
use crate::{Store, StoreError, StoreUrl, statement::Statement};

/// An authority, and what is signed by it for `localhost`: certificate and key, PEM.
struct Made {
    authority: String,
    certificate: String,
    key: String,
}

fn made() -> Made {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("an authority's");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("signed by itself");
    let issuer = Issuer::new(params, &key);
    let own = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a server's");
    let certificate = params.signed_by(&own, &issuer).expect("signed");
    Made {
        authority: authority.pem(),
        certificate: certificate.pem(),
        key: own.serialize_pem(),
    }
}

/// Writes a key as the server wants it: nobody else's to read.
fn write_key(path: &Path, key: &str) {
    std::fs::write(path, key).expect("written");
    if let Some((uid, gid)) = postgres::other_user() {
        chown(path, Some(uid), Some(gid)).expect("given away");
    }
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("its own");
}

async fn open(port: u16, host: &str, options: &str) -> Result<Store, StoreError> {
    let url = format!("postgres://billet@{host}:{port}/tls?{options}");
    Store::open(&StoreUrl::Postgres { url }).await
}

fn refused(result: Result<Store, StoreError>, told: &str) {
    let error = result.expect_err("it is refused");
    assert!(matches!(error, StoreError::Tls { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("billet@"), "the URL is a secret: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_reached_by_tls_and_as_its_url_says() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let Some(server) = Server::start_on(Some(port)) else {
        return;
    };
    server.database("tls");
    let folder = super::folder();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("open");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ours, others) = (made(), made());
    for (name, pem) in [
        ("authority", &ours.authority),
        ("others", &others.authority),
        ("certificate", &ours.certificate),
    ] {
        std::fs::write(file(name), pem).expect("written");
    }
    write_key(&folder.path().join("key"), &ours.key);

    // It speaks no TLS yet, and whoever asks for that is not served in the clear.
    refused(
        open(port, "localhost", "sslmode=require").await,
        "does not speak TLS",
    );
    let verify = |root: &str| format!("sslmode=verify-full&sslrootcert={}", file(root));
    refused(
        open(port, "localhost", &verify("authority")).await,
        "does not speak TLS",
    );
    let plain = open(port, "localhost", "sslmode=disable")
        .await
        .expect("in the clear");
    plain.close().await;

    for setting in [
        format!("ssl_cert_file = '{}'", file("certificate")),
        format!("ssl_key_file = '{}'", file("key")),
        "ssl = on".to_owned(),
    ] {
        let sql = format!("ALTER SYSTEM SET {setting}");
        server.run("psql", &["--quiet", "-c", &sql, "postgres"]);
    }
    server.run(
        "psql",
        &["--quiet", "-c", "SELECT pg_reload_conf()", "postgres"],
    );
    // The server takes the settings up when it comes to it.
    let mut tries = 0;
    let store = loop {
        match open(port, "localhost", &verify("authority")).await {
            Ok(store) => break store,
            Err(error) => assert!(tries < 100, "{error:?}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let sql =
        "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let rows = store
        .fetch(Statement::read(sql, "TLS"))
        .await
        .expect("read");
    assert_eq!(rows[0].try_get::<i64, _>(0).expect("a count"), 1);
    store.close().await;

    refused(
        open(port, "localhost", &verify("others")).await,
        "`sslrootcert`",
    );
    refused(
        open(port, "localhost", "sslmode=verify-full").await,
        "`sslrootcert`",
    );
    refused(
        open(port, "127.0.0.1", &verify("authority")).await,
        "another name",
    );
    refused(
        open(port, "localhost", &verify("key-that-is-not")).await,
        "cannot be read",
    );
    let by_authority = format!("sslmode=verify-ca&sslrootcert={}", file("authority"));
    open(port, "127.0.0.1", &by_authority)
        .await
        .expect("its authority's")
        .close()
        .await;
    let any = open(port, "localhost", "sslmode=require")
        .await
        .expect("unverified");
    any.close().await;
}
