//! A tenant in the ramdisk, as OpenSSH's client sees it.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use billet_agent::rescue::{self, RescueError, Shell};

/// Makes a key, and returns its public half. OpenSSH's client is part of the set-up: where it is
/// absent this fails, because nothing would be tested.
fn key(directory: &Path, name: &str) -> String {
    key_of(directory, name, "ed25519")
}

fn key_of(directory: &Path, name: &str, kind: &str) -> String {
    let file = directory.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .status();
    assert!(made.expect("ssh-keygen runs").success());
    std::fs::read_to_string(file.with_extension("pub")).expect("a public key")
}

fn ssh(directory: &Path, port: u16, name: &str, user: &str, more: &[&str]) -> Output {
    Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .args(["-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"])
        .arg("-o")
        .arg(format!(
            "UserKnownHostsFile={}",
            directory.join("known").display()
        ))
        .arg("-i")
        .arg(directory.join(name))
        .args(["-p", &port.to_string(), "-l", user])
        .args(more)
        .stdin(input(directory))
        .output()
        .expect("ssh runs")
}

/// What is sent: the file `input`, where there is one.
fn input(directory: &Path) -> Stdio {
    std::fs::File::open(directory.join("input")).map_or_else(|_| Stdio::null(), Stdio::from)
}

#[test]
fn root_gets_in_with_the_leases_key_and_nobody_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mine, _) = (
        key(directory.path(), "mine"),
        key(directory.path(), "other"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let rsa = key_of(directory.path(), "rsa", "rsa");
    let ecdsa = key_of(directory.path(), "ecdsa", "ecdsa");
    // One that cannot be read keeps nobody out who has another.
    let keys = ["not a key".to_owned(), mine, rsa, ecdsa];
    for key in &keys[1..] {
        assert_eq!(billet_model::ssh_key::check(key), Ok(()), "{key}");
    }
    let hosts = rescue::serve(listener, &keys, Shell::of_system()).expect("it serves");
    let known: String = hosts
        .iter()
        .map(|key| format!("[127.0.0.1]:{port} {key}\n"))
        .collect();
    std::fs::write(directory.path().join("known"), known).expect("written");
    let ssh = |name: &str, user: &str, more: &[&str]| ssh(directory.path(), port, name, user, more);

    let said = ssh(
        "mine",
        "root",
        &["127.0.0.1", "echo out; echo wrong >&2; exit 7"],
    );
    assert_eq!(String::from_utf8_lossy(&said.stdout), "out\n", "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stderr), "wrong\n");
    assert_eq!(said.status.code(), Some(7));

    // With a terminal, of which the shell is the master.
    let said = ssh(
        "mine",
        "root",
        &["-tt", "127.0.0.1", "tty && stty size; exit 3"],
    );
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("/dev/pts/"), "{text}");
    assert_eq!(said.status.code(), Some(3), "{said:?}");

    // Much of it comes whole.
    let said = ssh("mine", "root", &["127.0.0.1", "head -c 3000000 /dev/zero"]);
    assert_eq!(said.stdout.len(), 3_000_000);

    // And what is sent, through a program that reads no faster than it writes.
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let file = directory.path().join("input");
    std::fs::write(&file, &sent).expect("written");
    let said = ssh("mine", "root", &["127.0.0.1", "sleep 1; cat"]);
    assert!(said.stdout == sent, "{} bytes came back", said.stdout.len());
    std::fs::remove_file(&file).expect("removed");

    for name in ["rsa", "ecdsa"] {
        let said = ssh(name, "root", &["127.0.0.1", "echo in"]);
        assert_eq!(said.stdout, b"in\n", "{name}: {said:?}");
    }

    for (name, user) in [("other", "root"), ("mine", "nobody")] {
        let said = ssh(name, user, &["127.0.0.1", "echo in"]);
        assert_eq!(said.status.code(), Some(255), "{name} as {user}");
        assert!(said.stdout.is_empty());
    }
}

#[test]
fn without_a_usable_key_nobody_is_let_in() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let refused = rescue::serve(listener, &["ssh-rsa x".into()], Shell::of_system());
    assert!(matches!(refused, Err(RescueError::NoKeys)));
}
