//! Serial consoles: recorded, searched, typed to, and whose they are.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

use crate::{
    site::Site,
    support::{items, word},
};

/// Reads until a text has come.
async fn until(out: &mut tokio::process::ChildStdout, seen: &mut String, wanted: &str) {
    let reading = async {
        let mut buffer = [0; 4096];
        while !seen.contains(wanted) {
            let read = out.read(&mut buffer).await.expect("readable");
            assert!(read > 0, "it ended without {wanted:?}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(30), reading).await;
    assert!(came.is_ok(), "{wanted:?} did not come: {seen}");
}

/// A tenant sees what its machine wrote in its own time, types on it from a terminal, and finds
/// there who else read it; another project finds nothing, and the next tenant nothing of the last.
#[tokio::test]
async fn a_console_is_its_tenants_and_nothing_of_it_is_lost() {
    let Some(mut site) = Site::of_phantoms("serial consoles", &["cpu"]).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    site.project("blue").await;
    let (machine, machine_type) = (site.name(0), site.machine_type());
    site.by("red", &site.lease("mine", &machine_type))
        .await
        .good();
    let lease = site.ask_by("red", &["lease", "show", "mine"]).await;
    let id = word(&lease["id"]).to_owned();
    let read = ["lease", "console", "mine", "--log"];
    for _ in 0..50 {
        if site.by("red", &read).await.good().stdout.contains("login:") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = site.by("red", &read).await.good().stdout;
    assert!(
        log.contains("Linux version 6.1.0-phantom") && log.contains("mine login:"),
        "{log}"
    );
    // Its own deployment is there; the erase before it is the operator's alone.
    assert!(log.contains(": write") && !log.contains(": erase"), "{log}");
    let all = site
        .op(&["machine", "console", &machine, "--log"])
        .await
        .good();
    assert!(all.stdout.contains(": erase"), "{}", all.stdout);

    for refused in [
        &["lease", "console", &id, "--log"][..],
        &["lease", "console", &id, "--read-only"],
    ] {
        site.by("blue", refused).await.coded(3);
    }
    let ran = site
        .by("red", &["machine", "console", &machine, "--log"])
        .await;
    assert!(matches!(ran.code, 3 | 4) && ran.stdout.is_empty());
    site.by("red", &["lease", "console", "mine"])
        .await
        .coded(2)
        .said("--read-only");

    // From a real terminal, which is left by Enter ~ .
    let program = std::env::var("BILLET_BIN").expect("the program");
    let mut child = Command::new("script")
        .args([
            "-qec",
            &format!("{program} --context red lease console mine"),
            "/dev/null",
        ])
        .env("XDG_CONFIG_HOME", site.home.path("config"))
        .env("HOME", site.home.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script(1) runs");
    let mut keys = child.stdin.take().expect("a pipe");
    let mut out = child.stdout.take().expect("a pipe");
    let mut seen = String::new();
    until(&mut out, &mut seen, "login:").await;
    keys.write_all(b"root\r").await.expect("typed");
    until(&mut out, &mut seen, "root@mine:~# ").await;
    keys.write_all(b"echo red-was-here\r").await.expect("typed");
    until(&mut out, &mut seen, "\nred-was-here").await;
    let status = site
        .ask(&["machine", "console", &machine, "--status"])
        .await;
    assert!(word(&status["writer"]).contains("red"), "{status}");
    keys.write_all(b"\r~.").await.expect("typed");
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    assert!(ended.expect("it ends").expect("it ran").success(), "{seen}");

    let search = [
        "lease", "console", "mine", "--log", "--search", "^red-was", "--regex",
    ];
    let found = site.by("red", &search).await.good().stdout;
    assert_eq!(found.lines().count(), 1, "{found}");
    site.op(&["lease", "console", &id, "--log", "--since", "1h"])
        .await
        .good();
    let audit = ["audit", "list", "--lease", &id];
    let rows = site.ask_by("red", &audit).await;
    let actions: Vec<&str> = items(&rows).iter().map(|r| word(&r["action"])).collect();
    for action in [
        "lease.console_open",
        "lease.console_close",
        "lease.console_read",
    ] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }

    // Another host key than the pinned one is not spoken to, and the way out is named.
    let wrong = format!("SHA256:{}", "A".repeat(43));
    let status = ["machine", "console", &machine, "--status"];
    let pin = |key| ["machine", "console", &machine, "--host-key", key];
    site.op(&pin(&wrong)).await.good();
    let refused = |s: &Value| {
        s["why"]
            .as_str()
            .is_some_and(|why| why.contains("pin the new one"))
    };
    site.until(&status, "the host key is refused", 30, refused)
        .await;
    site.op(&pin("any")).await.good();
    let connected = |s: &Value| s["connected_since"].is_string();
    site.until(&status, "it is connected again", 30, connected)
        .await;

    // Killed, what was recorded is there, and what was not seen is said.
    site.kill_and_serve("with a console connected").await;
    site.until(&status, "it is connected after a restart", 30, connected)
        .await;
    let log = site.by("red", &read).await.good().stdout;
    assert!(log.contains("red-was-here"), "{log}");
    assert_eq!(log.matches("Linux version").count(), 1, "replayed: {log}");
    assert!(log.matches("--- nothing was seen").count() >= 2, "{log}");
    assert!(
        !log.contains("host key"),
        "a BMC's words are not a tenant's: {log}"
    );
    let all = site
        .op(&["machine", "console", &machine, "--log"])
        .await
        .good()
        .stdout;
    assert!(all.contains("Billet was not running"), "{all}");

    // After the release it is still its project's, up to the release; the next sees its own.
    site.by("red", &["lease", "release", "mine"]).await.good();
    let log = site
        .by("red", &["lease", "console", &id, "--log"])
        .await
        .good()
        .stdout;
    assert!(
        log.contains("red-was-here") && !log.contains(": erase"),
        "{log}"
    );
    site.until_lifecycle(&machine, "available", 60).await;
    site.by("blue", &site.lease("next", &machine_type))
        .await
        .good();
    let log = site
        .by("blue", &["lease", "console", "next", "--log"])
        .await
        .good()
        .stdout;
    assert!(log.contains("Linux version"), "{log}");
    assert!(
        !log.contains("red-was-here") && !log.contains(": erase"),
        "{log}"
    );
    site.end().await;
}
