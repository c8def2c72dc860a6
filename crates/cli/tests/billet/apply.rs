//! `billet apply`: the example of the documentation, against a real server and a phantom.

use std::time::Duration;

use serde_json::Value;

use crate::{
    life::{Beside, items, serve, wait_for},
    support::Home,
};

/// The example, with the phantom in the place of its machine.
async fn example(home: &Home) -> String {
    let lab: Value = serde_json::from_str(&wait_for(&home.path("lab.out")).await).expect("JSON");
    let machine = &lab["machines"][0];
    let drives: Vec<&str> = machine["drives"]
        .as_array()
        .expect("drives")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let manifest = std::fs::read_to_string(home.path("lab.toml")).expect("a manifest");
    let after = |key: &str| {
        let line = manifest
            .lines()
            .find(|l| l.starts_with(key))
            .expect("a line");
        let text = line.split_once('"').expect("text").1;
        text.trim_end_matches('"').to_owned()
    };
    home.write("r1-u07.password", after("password = "));
    home.write("debian-12.raw.zst", vec![7_u8; 2 << 20]);
    home.write(
        "alice.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz me@here\n",
    );
    let mut text = include_str!("../../../../docs/site.toml").to_owned();
    for (from, to) in [
        ("https://10.0.0.7", after("address = ")),
        (
            "user = \"root\"",
            format!("user = \"{}\"", after("user = ")),
        ),
        ("[\"S1\", \"S2\"]", format!("{drives:?}")),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    text
}

#[tokio::test]
async fn a_file_is_brought_about_however_often_it_is_killed() {
    let home = Home::new();
    home.write("ramdisk.efi", vec![0x4d; 64 * 1024]);
    let _server = Beside::start(&home, &serve("data", "127.0.0.1:0"), "serve");
    let lab = [
        "lab",
        "up",
        "--phantom",
        "1",
        "--phantom-model",
        "cpu",
        "--manifest",
        "lab.toml",
        "-o",
        "json",
    ];
    let _lab = Beside::start(&home, &lab, "lab");
    let up: Value = serde_json::from_str(&wait_for(&home.path("serve.out")).await).expect("JSON");
    let word = |key: &str| up[key].as_str().expect("text").to_owned();
    let (url, fingerprint) = (word("server"), word("fingerprint"));
    let login = [
        "login",
        &url,
        "--fingerprint",
        &fingerprint,
        "--token-stdin",
    ];
    home.run_with(&login, &word("token")).await.good();
    let example = example(&home).await;
    home.write("site.toml", &example);

    // The plan, and nothing done.
    let dry = ["apply", "-f", "site.toml", "--dry-run"];
    let planned = home.run(&dry).await;
    assert_eq!(planned.code, 2, "{}", planned.all());
    for line in [
        "+ organisation acme",
        "+ machine r1-u07",
        "! take-over r1-u07",
        "    loses: all that is on ",
        "+ lease train-1",
        "Plan: 7 to create, 1 to change, 1 to erase, 0 as the file says.",
    ] {
        assert!(planned.stdout.contains(line), "{line}: {}", planned.stdout);
    }
    // A yes is not one to erase.
    let refused = home.run(&["apply", "-f", "site.toml", "--yes"]).await;
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(refused.stderr.contains("--erase"), "{}", refused.stderr);
    home.write(
        "typo.toml",
        example.replace("[[lease]]\nname", "[[lease]]\nnaem"),
    );
    let wrong = home.run(&["apply", "-f", "typo.toml", "--dry-run"]).await;
    assert_eq!(wrong.code, 1, "{}", wrong.all());
    assert!(
        wrong.stderr.contains("did you mean \"name\"?"),
        "{}",
        wrong.stderr
    );
    let none = home.run(&["project", "list", "-o", "json"]).await.good();
    assert!(items(&none.json()).is_empty());

    // Killed at several points, and given again.
    let apply = ["apply", "-f", "site.toml", "--yes", "--erase", "-o", "json"];
    for millis in [120, 400, 1500] {
        let mut child = home
            .command(&apply)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it runs");
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let _ = child.kill().await;
    }
    let applied = home.run(&apply).await.good();
    let report = applied.json();
    assert_eq!(report["applied"], true);
    let leases = home
        .run(&["lease", "list", "-o", "json"])
        .await
        .good()
        .json();
    let leases = items(&leases);
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(leases[0]["state"], "active");
    assert_eq!(leases[0]["tags"]["team"], "vision");
    for noun in ["machine", "project", "image", "site", "organisation"] {
        let list = home.run(&[noun, "list", "-o", "json"]).await.good().json();
        assert_eq!(items(&list).len(), 1, "{noun}");
    }
    let again = home.run(&dry).await.good();
    assert!(
        again
            .stdout
            .contains("0 to create, 0 to change, 0 to erase"),
        "{}",
        again.stdout
    );

    // What differs is changed, and nothing else.
    let changed = example
        .replace("team = \"vision\"", "team = \"sound\"")
        .replace(".8x\" = 4", ".8x\" = 2")
        .replace("SXM5, 2 TiB", "SXM5, 1 TiB")
        .replace("take_over =", "rack = \"r1\"\ntake_over =");
    home.write("site.toml", &changed);
    let planned = home.run(&dry).await;
    assert_eq!(planned.code, 2);
    assert!(
        planned.stdout.contains("tags: team=vision -> team=sound"),
        "{}",
        planned.stdout
    );
    for line in ["~ machine type ", "    rack: none -> r1"] {
        assert!(planned.stdout.contains(line), "{line}: {}", planned.stdout);
    }
    home.run(&["apply", "-f", "site.toml", "--yes"])
        .await
        .good();
    home.run(&dry).await.good();
    // What a tenant was promised stays, and is told before anything is sent.
    let elsewhere = changed.replace("jurisdiction = \"DE\"", "jurisdiction = \"CH\"");
    home.write("elsewhere.toml", elsewhere);
    let refused = home
        .run(&["apply", "-f", "elsewhere.toml", "--dry-run"])
        .await;
    assert_eq!(refused.code, 1, "{}", refused.all());
    assert!(
        refused.stderr.contains("tenants of train-1"),
        "{}",
        refused.stderr
    );
    let quotas = home
        .run(&["quota", "list", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(items(&quotas)[0]["most"], 2);
}
