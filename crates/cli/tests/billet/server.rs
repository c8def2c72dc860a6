//! Signing in, configuration, and what failures of a server come to.

use std::{
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::Request, http::StatusCode, response::IntoResponse};
use serde_json::{Value, json};

use crate::{
    fake::{self, Fake},
    support::{Home, text},
};

const SECRET: &str = "billet_do-not-print-me";

/// Requests that came, as `METHOD path token`.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server that knows who one is and has one site.
fn server() -> (Fake, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let router = Router::new().fallback(move |request: Request| async move {
        let header = request.headers().get("authorization");
        let token = header
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or("-")
            .to_owned();
        let path = request.uri().path().to_owned();
        log.lock()
            .expect("a lock")
            .push(format!("{} {path} {token}", request.method()));
        let answer = |status: u16, body: Value| {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, Json(body)).into_response()
        };
        let problem = |status: u16, detail: &str| {
            let kind = format!("https://billet.dev/problems/{status}");
            answer(
                status,
                json!({ "type": kind, "title": "No", "status": status, "detail": detail }),
            )
        };
        match path.as_str() {
            _ if token == "billet_bad" => problem(401, "the token is not known"),
            "/v1/whoami" => answer(
                200,
                json!({
                    "token": {
                        "id": "01940000-0000-7000-8000-000000000009", "name": "alice",
                        "role": "operator", "project": null, "expires_at": null,
                        "disabled": false, "created_at": "2026-11-22T15:00:00Z",
                        "last_used_at": null,
                    },
                    "project_name": null,
                }),
            ),
            "/v1/sites" => answer(
                200,
                json!({ "items": [{
                    "id": "01940000-0000-7000-8000-000000000008", "name": "fra1",
                    "jurisdiction": "DE", "created_at": "2026-11-22T15:00:00Z",
                }]}),
            ),
            "/v1/networks" | "/v1/machine-types" | "/v1/machines" => {
                answer(200, json!({ "items": [] }))
            }
            "/v1/leases" => problem(503, "no machine of type h100 is free"),
            "/v1/audit" => problem(403, "a member cannot do this"),
            "/v1/evidence" => answer(500, json!("oops")),
            _ => problem(404, "there is no such thing"),
        }
    });
    (fake::serve(router), seen)
}

async fn signed_in(fake: &Fake) -> Home {
    let home = Home::new();
    let arguments = [
        "login",
        &fake.url,
        "--fingerprint",
        &fake.authority,
        "--token-stdin",
    ];
    let ran = home.run_with(&arguments, SECRET).await.good();
    assert_eq!(ran.stdout, "");
    assert!(!ran.all().contains(SECRET));
    home
}

#[tokio::test]
async fn signing_in_keeps_a_file_for_its_owner_alone() {
    let (fake, seen) = server();
    let home = signed_in(&fake).await;
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&home.config()), 0o600);
    assert_eq!(mode(home.config().parent().expect("a parent")), 0o700);
    let whoami = home.run(&["whoami", "-vv"]).await.good();
    assert!(whoami.stdout.contains("alice"));
    assert!(!whoami.all().contains(SECRET));
    assert_eq!(
        home.run(&["whoami", "-o", "json"]).await.good().json()["token"]["name"],
        "alice"
    );
    assert!(
        seen.lock()
            .expect("a lock")
            .contains(&format!("GET /v1/whoami {SECRET}"))
    );

    std::fs::set_permissions(home.config(), PermissionsExt::from_mode(0o644)).expect("set");
    let open = home.run(&["whoami"]).await;
    assert_eq!(open.code, 2);
    assert!(
        open.stderr.contains("others can read it (mode 644)"),
        "{}",
        open.stderr
    );
    std::fs::set_permissions(home.config(), PermissionsExt::from_mode(0o600)).expect("set");

    home.run(&["logout"]).await.good();
    let out = home.run(&["whoami"]).await;
    assert_eq!(out.code, 6);
    assert!(
        out.stderr
            .starts_with("error: you are not signed in to https://"),
        "{}",
        out.stderr
    );
}

#[tokio::test]
async fn the_wrong_fingerprint_is_refused_before_anything_is_sent() {
    let (fake, seen) = server();
    let home = Home::new();
    let wrong = "ab".repeat(32);
    let arguments = ["login", &fake.url, "--fingerprint", &wrong, "--token-stdin"];
    let ran = home.run_with(&arguments, SECRET).await;
    assert_eq!(ran.code, 5);
    assert_eq!(
        ran.stderr,
        format!(
            "error: connecting to {}: it shows certificates with fingerprints {} and {}, none of them {wrong}\n\
             hint: compare with what `billet serve` printed; if that is what you gave, somebody may be in between. Nothing was sent\n",
            fake.url, fake.leaf, fake.authority
        )
    );
    let without = home
        .run_with(&["login", &fake.url, "--token-stdin"], SECRET)
        .await;
    assert_eq!(without.code, 2);
    assert!(
        without
            .stderr
            .contains(&format!("it shows the authority {}", fake.authority))
    );
    assert!(!home.config().exists());
    assert!(seen.lock().expect("a lock").is_empty());

    // Signed in before, and another server is there now.
    let home = signed_in(&fake).await;
    let (other, seen) = server();
    let config = std::fs::read_to_string(home.config()).expect("a file");
    let config = config.replace(fake.url.as_str(), other.url.as_str());
    std::fs::write(home.config(), config).expect("written");
    let ran = home.run(&["site", "list"]).await;
    assert_eq!(ran.code, 5);
    assert!(
        ran.stderr.contains("its certificate is not trusted"),
        "{}",
        ran.stderr
    );
    assert!(seen.lock().expect("a lock").is_empty());
}

#[tokio::test]
async fn the_environment_goes_before_the_file() {
    let (fake, seen) = server();
    let mut home = signed_in(&fake).await;
    let (other, others) = server();
    let last = |seen: &Seen| seen.lock().expect("a lock").last().cloned();
    let sites = |token: &str| Some(format!("GET /v1/sites {token}"));

    home.run(&["site", "list"]).await.good();
    assert_eq!(last(&seen), sites(SECRET));

    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    home.variables = vec![set("BILLET_TOKEN", "billet_mine")];
    home.run(&["site", "list"]).await.good();
    assert_eq!(last(&seen), sites("billet_mine"));

    // A server that is not in the file must be known otherwise, and never gets the file's token.
    home.variables = vec![set("BILLET_SERVER", &other.url)];
    let ran = home.run(&["site", "list"]).await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("set BILLET_FINGERPRINT"),
        "{}",
        ran.stderr
    );
    home.variables.push(set("BILLET_FINGERPRINT", &other.leaf));
    assert_eq!(home.run(&["site", "list"]).await.code, 6);
    assert_eq!(last(&others), None);
    home.variables.push(set("BILLET_TOKEN", "billet_other"));
    home.run(&["site", "list"]).await.good();
    assert_eq!(last(&others), sites("billet_other"));

    // A context on the command line goes before all of that.
    home.variables.pop();
    home.run(&["site", "list", "--context", "default"])
        .await
        .good();
    assert_eq!(last(&seen), sites(SECRET));
    let none = home.run(&["site", "list", "--context", "eu"]).await;
    assert_eq!(none.code, 2);
    assert!(
        none.stderr.contains("there is no context \"eu\""),
        "{}",
        none.stderr
    );

    home.variables = vec![set("BILLET_CONFIG", text(&home.path("elsewhere.toml")))];
    assert_eq!(home.run(&["site", "list"]).await.code, 6);
}

#[tokio::test]
async fn failures_have_their_codes_and_ways_out() {
    let (fake, _) = server();
    let mut home = signed_in(&fake).await;
    let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz me@here";
    let create = [
        "lease",
        "create",
        "--type",
        "h100",
        "--image",
        "i",
        "--ssh-key",
        key,
    ];
    for (arguments, code, wanted) in [
        (
            &["site", "show", "nope"][..],
            3,
            "error: there is no such thing\n",
        ),
        (&create, 4, "error: no machine of type h100 is free\n"),
        (
            &["audit", "list"],
            4,
            "hint: `billet whoami` shows what your token lets you do\n",
        ),
        (
            &["evidence", "list"],
            1,
            "error: the server answered 500 Internal Server Error without saying why",
        ),
    ] {
        let ran = home.run(arguments).await;
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(wanted), "{arguments:?}: {}", ran.stderr);
    }
    home.variables = vec![("BILLET_TOKEN".to_owned(), "billet_bad".to_owned())];
    let bad = home.run(&["site", "list"]).await;
    assert_eq!(bad.code, 6);
    assert!(!bad.all().contains("billet_bad"));
    home.variables.clear();

    drop(fake);
    let away = home.run(&["site", "list"]).await;
    assert_eq!(away.code, 5);
    assert!(
        away.stderr
            .contains("hint: is `billet serve` running there"),
        "{}",
        away.stderr
    );
}

#[tokio::test]
async fn lists_are_tables_for_people_and_bodies_for_programs() {
    let (fake, _) = server();
    let home = signed_in(&fake).await;
    assert_eq!(
        home.run(&["site", "list"]).await.good().stdout,
        "NAME  JURISDICTION  SINCE\nfra1  DE            2026-11-22 15:00\n"
    );
    assert_eq!(home.run(&["network", "list"]).await.good().stdout, "none\n");
    let json = home
        .run(&["site", "list", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(json["items"][0]["created_at"], "2026-11-22T15:00:00Z");
}

#[tokio::test]
async fn a_manifest_that_refers_to_nothing_makes_nothing() {
    let (fake, seen) = server();
    let home = signed_in(&fake).await;
    let file = home.write(
        "m.toml",
        r#"
[[site]]
name = "muc1"
jurisdiction = "DE"
[[machine]]
name = "a"
site = "fra2"
machine_type = "h100"
bmc = { address = "10.0.0.1", user = "root", password = "calvin" }
"#,
    );
    let ran = home.run(&["machine", "enroll", "-f", text(&file)]).await;
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.stderr,
        format!(
            "error: 2 things in {} are wrong, and nothing was sent:
  line 5: machine \"a\": there is no site \"fra2\"; did you mean \"fra1\"?
  line 5: machine \"a\": there is no machine type \"h100\"; declare it with [[machine_type]], or make it first
hint: `billet help manifest` shows what can be in it
",
            text(&file)
        )
    );
    let seen = seen.lock().expect("a lock");
    assert!(
        seen.iter().all(|request| request.starts_with("GET ")),
        "{seen:?}"
    );
}
