//! The serial console over SSH.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Caller, phantoms};
use reqwest::StatusCode;
use russh::client::{self, Handle};
use russh::{ChannelMsg, keys};

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn connect(caller: &Caller, password: &str) -> Option<Handle<Trusting>> {
    let config = Arc::new(client::Config::default());
    let mut session = client::connect(config, caller.machine.console, Trusting)
        .await
        .expect("a connection");
    let auth = session
        .authenticate_password(&caller.machine.user, password)
        .await
        .expect("an answer");
    auth.success().then_some(session)
}

#[tokio::test]
async fn two_watchers_see_what_the_machine_writes() {
    let lab = phantoms(1).await;
    let caller = Caller::new(lab.machines().remove(0));
    assert!(connect(&caller, "wrong").await.is_none());
    let mut watchers = Vec::new();
    for _ in 0..2 {
        let session = connect(&caller, &caller.machine.password)
            .await
            .expect("in");
        let channel = session.channel_open_session().await.expect("a channel");
        channel.request_shell(true).await.expect("a shell");
        watchers.push((session, channel));
    }
    assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
    for (_session, channel) in &mut watchers {
        let mut seen = Vec::new();
        let reading = async {
            while let Some(message) = channel.wait().await {
                if let ChannelMsg::Data { data } = message {
                    seen.extend_from_slice(&data);
                }
                if String::from_utf8_lossy(&seen).contains("no bootable device") {
                    return;
                }
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(read.is_ok(), "{}", String::from_utf8_lossy(&seen));
    }
    lab.stop().await;
}
