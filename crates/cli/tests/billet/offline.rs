//! What needs no server: help, completion, manifests, wrong uses.

use crate::support::{Home, text};

#[tokio::test]
async fn help_is_there_for_commands_and_topics() {
    let home = Home::new();
    for arguments in [
        &["--help"][..],
        &["help"],
        &["lease", "--help"],
        &["machine", "enroll", "--help"],
    ] {
        let ran = home.run(arguments).await.good();
        assert!(ran.stdout.contains("Usage:"), "{arguments:?}");
        assert_eq!(ran.stderr, "");
    }
    let codes = home.run(&["help", "exit-codes"]).await.good().stdout;
    assert!(codes.contains("5    the server cannot be reached"));
    assert!(
        home.run(&["help", "manifest"])
            .await
            .good()
            .stdout
            .contains("[[machine]]")
    );
    let names = home.run(&["help", "placeholders"]).await.good().stdout;
    for (name, _) in billet_plan::install_text::NAMES {
        assert!(names.contains(&format!("${{{name}}}")), "{name}");
    }
    let create = home.run(&["help", "lease", "create"]).await.good().stdout;
    assert!(create.contains("Examples:"));
    let unknown = home.run(&["help", "leese"]).await;
    assert_eq!(unknown.code, 2);
    assert_eq!(
        unknown.stderr,
        "error: there is no command or topic \"leese\"\n\
         hint: see `billet --help`; topics are exit-codes, environment, manifest, placeholders\n"
    );
}

/// The manifest that `billet help manifest` shows is one that the program takes.
#[tokio::test]
async fn the_manifest_in_the_help_is_a_good_one() {
    let home = Home::new();
    let shown = home.run(&["help", "manifest"]).await.good().stdout;
    let (_, manifest) = shown.split_once("\n\n").expect("a manifest");
    let manifest = manifest.replace("fingerprint = \"...\"", "");
    let file = home.write("m.toml", manifest);
    home.write("r1-u07.password", "calvin\n");
    home.write("linux", "a kernel");
    home.write("initrd.gz", "an initrd");
    home.write(
        "alice.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz me@here\n",
    );
    let ran = home
        .run(&["machine", "enroll", "-f", text(&file), "--check"])
        .await
        .good();
    assert_eq!(
        ran.stderr,
        "Nothing is wrong with it by itself: 1 machine.\n"
    );
}

#[tokio::test]
async fn a_wrong_manifest_is_told_whole_and_nothing_is_sent() {
    let home = Home::new();
    let file = home.write(
        "m.toml",
        r#"
[[machine]]
name = "a"
site = "fra1"
machine_typ = "h100"
bmc = { address = "10.0.0.300", user = "root" }
[[machine]]
name = "a b"
"#,
    );
    let ran = home.run(&["machine", "enroll", "-f", text(&file)]).await;
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.stderr.replace(text(&file), "m.toml"),
        "error: 8 things in m.toml are wrong, and nothing was sent:
  line 2: machine \"a\": \"machine_type\" is missing
  line 5: machine \"a\": there is no key \"machine_typ\"; did you mean \"machine_type\"?
  line 6: machine \"a\", bmc: \"address\": \"10.0.0.300\" is not a BMC's address: invalid IPv4 address
  line 6: machine \"a\", bmc: the password is missing: give password, password_file or password_env
  line 7: machine: \"bmc\" is missing
".to_owned() + "  line 7: machine: \"machine_type\" is missing
  line 7: machine: \"site\" is missing
  line 8: machine: \"name\": \"a b\" is not a name: use 1 to 63 of a-z, 0-9, '.', '-' and '_', beginning with a letter or a digit
hint: `billet help manifest` shows what can be in it
",
    );
}

#[tokio::test]
async fn completion_is_made_for_shells() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completion", shell]).await.good().stdout;
        assert!(script.contains("take-over"), "{shell}");
    }
}

#[tokio::test]
async fn wrong_uses_exit_with_2() {
    let home = Home::new();
    for (arguments, wanted) in [
        (&["lease", "create"][..], "--type <NAME>"),
        (&["machine", "enroll", "a"], "--bmc <ADDRESS>"),
        (&["machine", "set-bmc", "a"], "--user"),
        (&["lab", "up"], "a lab of no machines"),
        (
            &["token", "create", "a", "--role", "king"],
            "possible values: operator, project-owner, member, auditor",
        ),
        (
            &["lease", "extend", "a", "--by", "soon"],
            "\"soon\" is not a length of time: write it as 3d, 36h, 1h30m or 2w",
        ),
        (
            &["login", "http://a:1", "--fingerprint", &"0".repeat(64)],
            "does not begin with https://",
        ),
        (
            &["login", "https://a:1", "--fingerprint", "abc"],
            "is not a fingerprint",
        ),
        (&["image", "build", "plan9"], "possible values: debian-12"),
        (
            &["restore", "/dev/null", "--data", "d"],
            "/dev/null is not a backup that `billet backup` made",
        ),
    ] {
        let ran = home.run(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(wanted), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn who_is_not_signed_in_is_told_how() {
    let ran = Home::new().run(&["lease", "list"]).await;
    assert_eq!(ran.code, 6);
    assert_eq!(
        ran.stderr,
        "error: no server is known: sign in with `billet login https://HOST:PORT --fingerprint SHA256`\n"
    );
}
