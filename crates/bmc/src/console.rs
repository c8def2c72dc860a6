//! The machine's serial console, as its BMC gives it over SSH.
//!
//! What the BMC announces by Redfish is believed: the port, and what to enter. What
//! it does not say is in the table of vendors. Its host key is held to as its
//! certificate is: exactly the pinned one, or the first one shown, which is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use billet_model::Secret;
use russh::client::{self, Handle};
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg};

use crate::error::BmcError;
use crate::service::Service;
use crate::value::Resource;

/// How long connecting and signing in may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a silent connection is asked whether it lives.
const ALIVE: Duration = Duration::from_secs(20);
/// Bytes that may be on the way: a console is slow, and there may be a thousand.
const WINDOW: u32 = 128 * 1024;

/// Where a console is, and how it is got to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerialConsole {
    /// The port of the BMC's SSH server.
    pub port: u16,
    /// What is entered after signing in; empty where that is enough.
    pub command: String,
    /// How people leave it, as far as is known.
    pub leave: String,
    /// How many may have it at once, where the BMC says.
    pub sessions: Option<u64>,
    /// What the BMC says, in lower case, where somebody else has it.
    pub busy: &'static [&'static str],
}

/// Why there is no console.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// No connection, or it broke.
    #[error("the console at {address} cannot be reached: {detail}")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        detail: String,
    },
    /// Another host key than the pinned one.
    #[error("the console at {address} shows host key {shown}, but {pinned} is pinned")]
    HostKey {
        /// Where.
        address: String,
        /// SHA-256, as OpenSSH writes it.
        pinned: String,
        /// SHA-256, as OpenSSH writes it.
        shown: String,
    },
    /// User or password refused.
    #[error("the console at {address} refused the BMC's user or password")]
    Credentials {
        /// Where.
        address: String,
    },
    /// Signed in, and there was no console.
    #[error("the console at {address} was not opened: {detail}")]
    Refused {
        /// Where.
        address: String,
        /// Why not.
        detail: String,
    },
}

/// Reads what the BMC announces.
pub(crate) async fn announced(service: &Service) -> Result<SerialConsole, BmcError> {
    let system = service.system().await?;
    let quirks = service.vendor(&system).await.quirks();
    let managers = service.managers(&system).await;
    found(&system, &managers, quirks.console_command)
        .map(|(port, command, sessions)| SerialConsole {
            port,
            command,
            leave: system
                .text("/SerialConsole/SSH/HotKeySequenceDisplay")
                .unwrap_or_else(|| quirks.console_leave.to_owned()),
            sessions,
            busy: quirks.console_busy,
        })
        .ok_or_else(|| {
            BmcError::refused(
                "the serial console",
                "the BMC announces none by SSH that is switched on",
            )
        })
}

/// Port, command, sessions: of the system where it says, else of a manager.
fn found(
    system: &Resource,
    managers: &[Resource],
    by_vendor: &str,
) -> Option<(u16, String, Option<u64>)> {
    let number = |r: &Resource, at: &str| r.body.pointer(at).and_then(serde_json::Value::as_u64);
    let is = |r: &Resource, at: &str| r.body.pointer(at).and_then(serde_json::Value::as_bool);
    if let Some(ssh) = system
        .body
        .pointer("/SerialConsole/SSH")
        .filter(|s| s.is_object())
    {
        if ssh
            .get("ServiceEnabled")
            .and_then(serde_json::Value::as_bool)
            == Some(false)
        {
            return None;
        }
        let port = number(system, "/SerialConsole/SSH/Port").unwrap_or(22);
        let entry = system.text("/SerialConsole/SSH/ConsoleEntryCommand");
        let shared = is(system, "/SerialConsole/SSH/SharedWithManagerCLI");
        // A port of its own needs no command.
        let command = match (entry, shared) {
            (Some(command), _) => command,
            (None, Some(false)) => String::new(),
            (None, _) if port != 22 && shared.is_none() => String::new(),
            (None, _) => by_vendor.to_owned(),
        };
        let sessions = number(system, "/SerialConsole/MaxConcurrentSessions");
        return Some((u16::try_from(port).ok()?, command, sessions));
    }
    managers.iter().find_map(|manager| {
        let types = crate::value::list(&manager.body, "/SerialConsole/ConnectTypesSupported");
        let by_ssh = types.iter().any(|t| t.as_str() == Some("SSH"));
        let off = is(manager, "/SerialConsole/ServiceEnabled") == Some(false);
        // Without a word for it, signing in leads to the BMC's own command line.
        if !by_ssh || off || by_vendor.is_empty() {
            return None;
        }
        let sessions = number(manager, "/SerialConsole/MaxConcurrentSessions");
        Some((22, by_vendor.to_owned(), sessions))
    })
}

/// Holds the BMC to its host key.
struct Pin {
    pinned: Option<String>,
    shown: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Pin {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let shown = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let known = self.pinned.as_ref().is_none_or(|pinned| *pinned == shown);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(known)
    }
}

/// A connection to a console.
pub struct ConsoleLink {
    _handle: Handle<Pin>,
    channel: Channel<client::Msg>,
    /// SHA-256 of the host key that was shown, as OpenSSH writes it.
    pub host_key: String,
}

/// Signs in and goes to the console.
///
/// # Errors
/// Why there is none.
pub async fn connect(
    host: &str,
    console: &SerialConsole,
    user: &str,
    password: &Secret,
    pinned: Option<&str>,
) -> Result<ConsoleLink, ConsoleError> {
    let address = format!("{host}:{}", console.port);
    let work = open(host, &address, console, user, password, pinned);
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(ended) => ended,
        Err(_) => Err(ConsoleError::Unreachable {
            address,
            detail: format!("no answer within {} s", PATIENCE.as_secs()),
        }),
    }
}

async fn open(
    host: &str,
    address: &str,
    console: &SerialConsole,
    user: &str,
    password: &Secret,
    pinned: Option<&str>,
) -> Result<ConsoleLink, ConsoleError> {
    let unreachable = |e: russh::Error| ConsoleError::Unreachable {
        address: address.to_owned(),
        detail: e.to_string(),
    };
    let config = Arc::new(client::Config {
        window_size: WINDOW,
        channel_buffer_size: 8,
        keepalive_interval: Some(ALIVE),
        keepalive_max: 3,
        nodelay: true,
        ..Default::default()
    });
    let shown = Arc::<Mutex<Option<String>>>::default();
    let pin = Pin {
        pinned: pinned.map(str::to_owned),
        shown: Arc::clone(&shown),
    };
    let host = host.trim_matches(['[', ']']);
    let connected = client::connect(config, (host, console.port), pin).await;
    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut handle = match (connected, &shown, pinned) {
        (Ok(handle), ..) => handle,
        (Err(_), Some(shown), Some(pinned)) if shown != pinned => {
            return Err(ConsoleError::HostKey {
                address: address.to_owned(),
                pinned: pinned.to_owned(),
                shown: shown.clone(),
            });
        }
        (Err(error), ..) => return Err(unreachable(error)),
    };
    let signed_in = handle
        .authenticate_password(user, password.expose())
        .await
        .map_err(unreachable)?;
    if !signed_in.success() {
        return Err(ConsoleError::Credentials {
            address: address.to_owned(),
        });
    }
    let refused = |e: russh::Error| ConsoleError::Refused {
        address: address.to_owned(),
        detail: match console.sessions {
            Some(1) => format!("{e}; the BMC allows one session, which somebody else may have"),
            _ => e.to_string(),
        },
    };
    let channel = handle.channel_open_session().await.map_err(refused)?;
    channel
        .request_pty(false, "vt100", 80, 24, 0, 0, &[])
        .await
        .map_err(refused)?;
    channel.request_shell(false).await.map_err(refused)?;
    if !console.command.is_empty() {
        let line = format!("{}\r", console.command);
        channel
            .data_bytes(line.into_bytes())
            .await
            .map_err(refused)?;
    }
    Ok(ConsoleLink {
        _handle: handle,
        channel,
        host_key: shown.unwrap_or_default(),
    })
}

impl ConsoleLink {
    /// What the machine writes; none when the connection is over. May be dropped
    /// and asked again without a byte lost.
    pub async fn output(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.channel.wait().await? {
                ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                    return Some(data.to_vec());
                }
                ChannelMsg::Close | ChannelMsg::Eof | ChannelMsg::Failure => return None,
                _ => {}
            }
        }
    }

    /// Types.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn type_in(&self, bytes: Vec<u8>) -> Result<(), String> {
        self.channel
            .data_bytes(bytes)
            .await
            .map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resource(body: Value) -> Resource {
        Resource {
            path: "/redfish/v1/x".into(),
            etag: None,
            body: body.into(),
        }
    }

    #[test]
    fn consoles_as_they_are_announced() {
        let none = resource(json!({}));
        let manager = |types: Value| {
            resource(json!({ "SerialConsole": {
                "ServiceEnabled": true, "MaxConcurrentSessions": 1, "ConnectTypesSupported": types,
            }}))
        };
        let ssh = |ssh: Value| resource(json!({ "SerialConsole": { "SSH": ssh } }));
        // A port of its own, as OpenBMC has it.
        let own = ssh(json!({ "ServiceEnabled": true, "Port": 2200 }));
        assert_eq!(found(&own, &[], "vsp"), Some((2200, String::new(), None)));
        let told = ssh(json!({ "Port": 22, "ConsoleEntryCommand": "sol" }));
        assert_eq!(found(&told, &[], ""), Some((22, "sol".into(), None)));
        let off = ssh(json!({ "ServiceEnabled": false, "Port": 2200 }));
        assert_eq!(found(&off, &[manager(json!(["SSH"]))], "vsp"), None);
        // Behind the BMC's own command line: only with the word for it.
        let managers = [manager(json!(["IPMI", "SSH"]))];
        assert_eq!(
            found(&none, &managers, "console com2"),
            Some((22, "console com2".into(), Some(1)))
        );
        assert_eq!(found(&none, &managers, ""), None);
        assert_eq!(found(&none, &[manager(json!(["IPMI"]))], "vsp"), None);
        assert_eq!(
            found(&none, &[resource(json!({ "SerialConsole": null }))], "vsp"),
            None
        );
    }
}
