//! Consoles of BMCs that have host keys of this kind or that: older ones have RSA's alone.

use std::{process::Command, sync::Arc};

use billet_bmc::console::{self, ConsoleError, SerialConsole};
use billet_model::Secret;
use russh::{
    Channel,
    keys::PrivateKey,
    server::{Auth, ChannelOpenHandle, Handler, Msg, Session},
};

/// A BMC's SSH server, which says one word and nothing else.
struct Bmc;

impl Handler for Bmc {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn shell_request(
        &mut self,
        channel: russh::ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        session.data(channel, b"hello".to_vec())
    }
}

/// A host key, made by OpenSSH, and its fingerprint as OpenSSH writes it.
fn host_key(kind: &str) -> (PrivateKey, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-f"])
        .arg(&file)
        .status();
    assert!(made.expect("ssh-keygen runs").success());
    let text = std::fs::read_to_string(&file).expect("a key");
    let shown = Command::new("ssh-keygen").arg("-lf").arg(&file).output();
    let shown = String::from_utf8(shown.expect("ssh-keygen runs").stdout).expect("text");
    let fingerprint = shown.split(' ').nth(1).expect("a fingerprint").to_owned();
    (PrivateKey::from_openssh(&text).expect("a key"), fingerprint)
}

#[tokio::test]
async fn a_bmc_with_an_rsa_key_alone_is_reached_and_held_to_it() {
    let (key, fingerprint) = host_key("rsa");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let config = Arc::new(russh::server::Config {
        keys: vec![key],
        ..Default::default()
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let config = Arc::clone(&config);
            tokio::spawn(async move {
                if let Ok(session) = russh::server::run_stream(config, stream, Bmc).await {
                    let _ = session.await;
                }
            });
        }
    });
    let console = SerialConsole {
        port,
        command: String::new(),
        leave: String::new(),
        busy: &[],
        sessions: None,
    };
    let password = Secret::new("secret");
    let connect = |pinned| console::connect("127.0.0.1", &console, "root", &password, pinned);
    let mut link = connect(None).await.map_err(|e| e.to_string()).expect("in");
    assert_eq!(link.host_key, fingerprint);
    assert_eq!(link.output().await.as_deref(), Some(&b"hello"[..]));
    assert!(connect(Some(&fingerprint)).await.is_ok());
    let (_, other) = host_key("ed25519");
    let refused = connect(Some(&other)).await.err().expect("another key");
    assert!(matches!(refused, ConsoleError::HostKey { .. }), "{refused}");
}
