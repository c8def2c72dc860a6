//! An interactive console: output as it comes, one who types at a time.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use billet_console::Content;
use billet_control::consoles::Line;
use billet_model::{
    console::{CONSOLE_PROTOCOL, ConsoleNotice},
    lease::Lease,
    people::Actor,
};
use billet_plan::console::{end, may_not_type};
use billet_store::Batch;
use serde_json::json;
use tokio::time::Instant;

use super::{Shown, Subject, Viewer, feed::Feed, row};
use crate::{app::App, problem::Failure};

/// Bytes that may be typed at once.
const TYPED: usize = 4096;
/// Bytes of the end of the recording that a newcomer is shown.
const RECENT: u64 = 4096;
/// How long a reader may take nothing.
const SLOW: Duration = Duration::from_secs(30);
/// How long a console may take nothing.
const STUCK: Duration = Duration::from_secs(5);
/// How often it is looked whether the lease goes on.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is looked whether the caller still may.
const AGAIN: Duration = Duration::from_secs(10);

/// Who comes, and what for.
pub(crate) struct Attach {
    pub actor: Actor,
    /// In words, for the others.
    pub who: String,
    /// Whether it types.
    pub types: bool,
    /// In place of whoever types.
    pub force: bool,
    pub from: Option<u64>,
    /// The lease that the machine is of, if it is.
    pub lease: Option<Lease>,
}

/// Answers with a console.
pub(crate) fn attach(
    app: &App,
    upgrade: WebSocketUpgrade,
    viewer: Viewer,
    attach: Attach,
) -> Result<Response, Failure> {
    let line = viewer.line()?;
    let app = app.clone();
    Ok(upgrade
        .protocols([CONSOLE_PROTOCOL])
        .max_message_size(64 * 1024)
        .max_frame_size(64 * 1024)
        .on_upgrade(move |socket| async move {
            let session = Session {
                app,
                viewer,
                socket,
                line,
                attach,
                number: None,
                next: 0,
                typed: 0,
            };
            session.run().await;
        }))
}

struct Session {
    app: App,
    viewer: Viewer,
    socket: WebSocket,
    line: Arc<Line>,
    attach: Attach,
    /// Its number, while it types.
    number: Option<u64>,
    next: u64,
    typed: usize,
}

/// Why a session ends: in words for the caller, or it is gone.
type Ended = Option<String>;

impl Session {
    async fn run(mut self) {
        let began = self.app.now();
        if self.attach.types {
            match self.line.begin_typing(&self.attach.who, self.attach.force) {
                Ok(number) => self.number = Some(number),
                Err(other) => {
                    let why = format!(
                        "{} types already: look on without typing, or take over with force",
                        other.who
                    );
                    let _ = self.tell(&ConsoleNotice::Closed { why, next: 0 }).await;
                    return;
                }
            }
            if let Err(failure) = self.on_record("console_open", json!({})).await {
                tracing::error!(?failure, "a console session could not be put on record");
                self.leave();
                return;
            }
        }
        let ended = self.serve().await;
        if let Err(Some(why)) = ended {
            let next = self.next;
            let _ = self.tell(&ConsoleNotice::Closed { why, next }).await;
        }
        if self.attach.types {
            let detail = json!({ "from": began, "typed_bytes": self.typed });
            if let Err(failure) = self.on_record("console_close", detail).await {
                tracing::error!(
                    ?failure,
                    "the end of a console session could not be put on record"
                );
            }
        }
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(number) = self.number.take() {
            self.line.end_typing(number);
        }
    }

    async fn on_record(&mut self, what: &str, detail: serde_json::Value) -> Result<(), Failure> {
        let lease = self.attach.lease.as_ref();
        let noun = match self.viewer.subject {
            Subject::Lease(_) => "lease",
            Subject::Machine(_) => "machine",
        };
        let machine = self.viewer.machine();
        let action = format!("{noun}.{what}");
        let row = row(
            &self.app,
            &self.attach.actor,
            &action,
            machine,
            lease,
            detail,
        );
        self.app
            .commit("a console session", Batch::new().audited(row))
            .await
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        let line = Arc::clone(&self.line);
        let mut heads = line.recorder.heads();
        let mut states = line.states();
        let mut writers = line.writers();
        let mut ending = self.app.ending();
        let from = self.attach.from;
        self.next = from.unwrap_or_else(|| line.recorder.head().saturating_sub(RECENT));
        let mut feed = Feed::at(&line.recorder, self.next);
        let mut look = tokio::time::interval(LOOK);
        let mut signed_in = Instant::now();
        states.mark_changed();
        writers.mark_changed();
        heads.mark_changed();
        loop {
            tokio::select! {
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Binary(bytes))) => self.type_in(bytes.to_vec()).await?,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(None),
                    Some(Ok(_)) => {}
                },
                _ = heads.changed() => self.show(&mut feed).await?,
                _ = states.changed() => {
                    let state = line.state();
                    let connected = state.connected.is_some();
                    let why = state.why.filter(|_| !connected).map(|why| self.viewer.why(why));
                    self.tell(&ConsoleNotice::State { connected, why }).await?;
                }
                _ = writers.changed() => {
                    let writer = line.writer();
                    let you = writer.as_ref().is_some_and(|w| Some(w.session) == self.number);
                    if !you {
                        self.number = None;
                    }
                    let who = writer.map(|w| w.who);
                    self.tell(&ConsoleNotice::Writer { who, you }).await?;
                }
                _ = look.tick() => {
                    if self.viewer.look_again().await.is_err() {
                        return Err(Some("the lease cannot be read".into()));
                    }
                    if let Subject::Lease(lease) = &self.viewer.subject && end(lease).is_some() {
                        return Err(Some("the lease is over".into()));
                    }
                    if signed_in.elapsed() >= AGAIN {
                        signed_in = Instant::now();
                        if !self.viewer.still_may().await {
                            return Err(Some("your token is not good for this any more".into()));
                        }
                    }
                    // Says that both sides live, where nothing is written.
                    let ping = self.socket.send(Message::Ping(bytes::Bytes::new()));
                    if !matches!(tokio::time::timeout(SLOW, ping).await, Ok(Ok(()))) {
                        return Err(None);
                    }
                }
                () = async { drop(ending.wait_for(|ending| *ending).await) } => {
                    return Err(Some("the server stops: come back in a moment".into()));
                }
            }
        }
    }

    /// Sends all that is new.
    async fn show(&mut self, feed: &mut Feed) -> Result<(), Ended> {
        loop {
            let records = feed.next().await;
            let records = records.map_err(|_| Some("the recording cannot be read".to_owned()))?;
            if records.is_empty() {
                return Ok(());
            }
            let mut piece: Option<(u64, Vec<u8>)> = None;
            for record in records {
                let shown = self.viewer.shows(&record).await;
                match shown.map_err(|_| Some("the lease cannot be read".to_owned()))? {
                    Shown::Over => return Err(Some("the lease is over".into())),
                    Shown::Yes => {
                        self.next = record.end();
                        let Content::Bytes(bytes) = record.content else {
                            continue;
                        };
                        match &mut piece {
                            Some((at, all)) if *at + all.len() as u64 == record.offset => {
                                all.extend(bytes);
                            }
                            _ => {
                                if let Some((at, bytes)) = piece.replace((record.offset, bytes)) {
                                    self.output(at, &bytes).await?;
                                }
                            }
                        }
                    }
                    Shown::No => self.next = record.end(),
                }
            }
            if let Some((at, bytes)) = piece {
                self.output(at, &bytes).await?;
            }
        }
    }

    async fn output(&mut self, at: u64, bytes: &[u8]) -> Result<(), Ended> {
        let mut message = at.to_be_bytes().to_vec();
        message.extend_from_slice(bytes);
        self.send(Message::Binary(message.into())).await
    }

    async fn type_in(&mut self, bytes: Vec<u8>) -> Result<(), Ended> {
        if bytes.len() > TYPED {
            let why = format!("more than {TYPED} bytes at once cannot be typed");
            return self.tell(&ConsoleNotice::NotTyped { why }).await;
        }
        let Some(number) = self.number else {
            let why = match self.line.writer() {
                Some(writer) => format!("{} types", writer.who),
                None => "you look on: attach without `watch` to type".to_owned(),
            };
            return self.tell(&ConsoleNotice::NotTyped { why }).await;
        };
        if let Subject::Lease(lease) = &self.viewer.subject
            && let Some(why) = may_not_type(lease)
        {
            let why = why.to_owned();
            return self.tell(&ConsoleNotice::NotTyped { why }).await;
        }
        let length = bytes.len();
        match tokio::time::timeout(STUCK, self.line.type_in(number, bytes)).await {
            Ok(true) => {
                self.typed += length;
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(_) => {
                let why = "the console takes nothing just now".to_owned();
                self.tell(&ConsoleNotice::NotTyped { why }).await
            }
        }
    }

    async fn tell(&mut self, notice: &ConsoleNotice) -> Result<(), Ended> {
        let text = serde_json::to_string(notice).unwrap_or_default();
        self.send(Message::Text(text.into())).await
    }

    /// One that takes nothing is left: it comes back to where it was.
    async fn send(&mut self, message: Message) -> Result<(), Ended> {
        match tokio::time::timeout(SLOW, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(None),
        }
    }
}
