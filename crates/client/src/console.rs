//! Serial consoles: their recordings, and an interactive session.

use std::{pin::Pin, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use billet_model::console::{
    CONSOLE_PROTOCOL, ConsoleHostKey, ConsoleItem, ConsoleNotice, ConsoleStatus,
};
use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _};
use reqwest::{Method, StatusCode, header};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use crate::{
    Result,
    call::{accepted, part, sending},
    client::Client,
    error::{ClientError, root_cause},
};

/// A server asks every two seconds whether a session lives: one that is silent for
/// so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Whose console.
#[derive(Clone, Copy, Debug)]
pub enum ConsoleOf<'n> {
    /// A lease's, by name or id.
    Lease(&'n str),
    /// A machine's, by name or id.
    Machine(&'n str),
}

impl ConsoleOf<'_> {
    fn path(self) -> String {
        match self {
            Self::Lease(name) => format!("/v1/leases/{}/console", part(name)),
            Self::Machine(name) => format!("/v1/machines/{}/console", part(name)),
        }
    }
}

/// A recording, as it is read.
pub struct ConsoleLog {
    asked: String,
    chunks: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: Vec<u8>,
}

impl ConsoleLog {
    /// Bytes as they come: a raw recording's.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn bytes(&mut self) -> Result<Option<Bytes>> {
        let next = self.chunks.next().await.transpose();
        next.map_err(|error| ClientError::Lost {
            asked: self.asked.clone(),
            detail: root_cause(&error),
        })
    }

    /// The next item; none at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn item(&mut self) -> Result<Option<ConsoleItem>> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                let item = serde_json::from_slice(&line);
                return item.map(Some).map_err(|error| ClientError::Malformed {
                    asked: self.asked.clone(),
                    detail: error.to_string(),
                });
            }
            match self.bytes().await? {
                Some(bytes) => self.text.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// What comes in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsoleMessage {
    /// Output, and the place of its first byte.
    Output(u64, Vec<u8>),
    /// Something beside it.
    Notice(ConsoleNotice),
}

/// A session at a console.
pub struct ConsoleSession {
    asked: String,
    socket: WebSocketStream<reqwest::Upgraded>,
}

impl ConsoleSession {
    fn lost(&self, detail: impl ToString) -> ClientError {
        ClientError::Lost {
            asked: self.asked.clone(),
            detail: detail.to_string(),
        }
    }

    /// What comes next; none when the server has ended it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<ConsoleMessage>> {
        loop {
            let message = match tokio::time::timeout(SILENCE, self.socket.next()).await {
                Err(_) => return Err(self.lost("the server is silent")),
                Ok(None | Some(Ok(Message::Close(_)))) => return Ok(None),
                Ok(Some(Err(error))) => return Err(self.lost(error)),
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Binary(bytes) => {
                    if let Some((at, output)) = bytes.split_first_chunk::<8>() {
                        let at = u64::from_be_bytes(*at);
                        return Ok(Some(ConsoleMessage::Output(at, output.to_vec())));
                    }
                }
                Message::Text(text) => {
                    let notice = serde_json::from_str(&text);
                    let notice = notice.map_err(|error| ClientError::Malformed {
                        asked: self.asked.clone(),
                        detail: error.to_string(),
                    })?;
                    return Ok(Some(ConsoleMessage::Notice(notice)));
                }
                _ => {}
            }
        }
    }

    /// Types.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn type_in(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(4096) {
            let message = Message::Binary(Bytes::copy_from_slice(piece));
            let sent = self.socket.send(message).await;
            sent.map_err(|error| self.lost(error))?;
        }
        Ok(())
    }

    /// Ends it.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.socket.close(None)).await;
    }
}

impl Client {
    /// Reads a recording.
    ///
    /// # Errors
    /// As every call.
    pub async fn console_log(
        &self,
        of: ConsoleOf<'_>,
        query: &[(&str, String)],
    ) -> Result<ConsoleLog> {
        let path = format!("{}/log", of.path());
        let asked = format!("GET {path}");
        let mut url = self.base.clone();
        url.set_path(&path);
        let mut request = self.http.request(Method::GET, url).query(query);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| sending(self, &asked, &error).error)?;
        let response = accepted(response, &asked).await.map_err(|f| f.error)?;
        Ok(ConsoleLog {
            asked,
            chunks: response.bytes_stream().boxed(),
            text: Vec::new(),
        })
    }

    /// Begins a session at a console.
    ///
    /// # Errors
    /// As every call; status 409 when nobody can type there now.
    pub async fn console(
        &self,
        of: ConsoleOf<'_>,
        query: &[(&str, String)],
    ) -> Result<ConsoleSession> {
        let path = of.path();
        let asked = format!("GET {path}");
        let mut url = self.base.clone();
        url.set_path(&path);
        let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
        let mut request = self
            .http
            .request(Method::GET, url)
            .query(query)
            .version(reqwest::Version::HTTP_11)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key)
            .header(header::SEC_WEBSOCKET_PROTOCOL, CONSOLE_PROTOCOL);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| sending(self, &asked, &error).error)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return match accepted(response, &asked).await {
                Ok(_) => Err(ClientError::Malformed {
                    asked,
                    detail: "it did not become a WebSocket".into(),
                }),
                Err(failure) => Err(failure.error),
            };
        }
        let upgraded = response
            .upgrade()
            .await
            .map_err(|error| ClientError::Lost {
                asked: asked.clone(),
                detail: root_cause(&error),
            })?;
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
        Ok(ConsoleSession { asked, socket })
    }

    /// How it stands with a machine's console.
    ///
    /// # Errors
    /// As every call.
    pub async fn console_status(&self, machine: &str) -> Result<ConsoleStatus> {
        let path = format!("{}/status", ConsoleOf::Machine(machine).path());
        self.get(path).json().await
    }

    /// Pins the host key of a machine's console; none for the next that is shown.
    ///
    /// # Errors
    /// As every call.
    pub async fn pin_console_host_key(
        &self,
        machine: &str,
        key: Option<String>,
    ) -> Result<ConsoleStatus> {
        let path = format!("{}/host-key", ConsoleOf::Machine(machine).path());
        self.call(Method::PUT, path)
            .body(&ConsoleHostKey { host_key: key })
            .json()
            .await
    }
}
