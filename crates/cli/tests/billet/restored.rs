//! A database in PostgreSQL that was put back: nothing is done to its machines until they are
//! confirmed.

use serde_json::{Value, json};

use crate::{
    life::{Beside, serve, wait_for},
    postgresql,
    support::{Home, text},
};

/// Signs in to the server that was started as `name`.
async fn login(home: &Home, name: &str, token: Option<&str>) -> Option<String> {
    let up: Value =
        serde_json::from_str(&wait_for(&home.path(&format!("{name}.out"))).await).expect("JSON");
    let word = |key: &str| up[key].as_str().map(str::to_owned);
    let (url, fingerprint) = (
        word("server").expect("one"),
        word("fingerprint").expect("one"),
    );
    let token = word("token").or(token.map(str::to_owned)).expect("a token");
    let arguments = [
        "login",
        &url,
        "--fingerprint",
        &fingerprint,
        "--token-stdin",
    ];
    home.run_with(&arguments, &token).await.good();
    Some(token)
}

#[tokio::test]
async fn what_postgresqls_own_tools_restored_is_held() {
    let Some(server) = postgresql::Server::start() else {
        return;
    };
    let mut home = Home::new();
    home.write("ramdisk.efi", vec![0x4d; 64 * 1024]);
    home.write("password", "calvin");
    let database = |home: &mut Home, url: String| {
        home.variables = vec![("BILLET_DATABASE".into(), url)];
    };
    database(&mut home, server.database("before"));
    let first = Beside::start(&home, &serve("data", "127.0.0.1:0"), "first");
    let token = login(&home, "first", None).await;
    for arguments in [
        &["site", "create", "fra1", "--jurisdiction", "DE"][..],
        &["type", "create", "box"],
        &[
            "machine",
            "enroll",
            "m1",
            "--bmc",
            "127.0.0.1:1",
            "--user",
            "root",
            "--password-file",
            "password",
            "--type",
            "box",
            "--site",
            "fra1",
            "--no-wait",
        ],
    ] {
        home.run(arguments).await.good();
    }
    first.stop().await;

    database(&mut home, server.copy("before", "after"));
    // A backup of a file is nothing to do with it.
    let both = ["restore", "--mark", "backup.db", "--data", "data"];
    assert_eq!(home.run(&both).await.code, 2);
    let marked = home.run(&["restore", "--mark", "-o", "json"]).await.good();
    assert_eq!(marked.json(), json!({ "machines": 1 }));
    let second = Beside::start(&home, &serve("data", "127.0.0.1:0"), "second");
    login(&home, "second", token.as_deref()).await;
    let shown = ["machine", "show", "m1", "-o", "json"];
    assert_eq!(home.run(&shown).await.good().json()["unconfirmed"], true);
    let refused = home.run(&["machine", "inspect", "m1"]).await;
    assert!(
        refused.stderr.contains("machine confirm m1"),
        "{}",
        refused.all()
    );
    home.run(&["machine", "confirm", "m1"]).await.good();
    assert_eq!(home.run(&shown).await.good().json()["unconfirmed"], false);
    let rows = ["audit", "list", "--action", "store.restored", "-o", "json"];
    let rows = home.run(&rows).await.good().json();
    assert_eq!(rows["items"].as_array().map(Vec::len), Some(1), "{rows}");
    second.stop().await;

    // It needs to be said which one.
    home.variables.clear();
    let none = home.run(&["restore", "--mark"]).await;
    assert!(none.stderr.contains("--database"), "{}", none.all());
    let nowhere = format!(
        "postgres://billet@localhost/x?host={}",
        text(&home.path("no"))
    );
    let none = home
        .run(&["restore", "--mark", "--database", &nowhere])
        .await;
    assert_eq!(none.code, 1, "{}", none.all());
}
