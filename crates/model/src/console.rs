//! What the API says of serial consoles.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The WebSocket subprotocol of an interactive console.
///
/// Binary messages of the server are output: eight bytes, big-endian, are the
/// offset of the first byte of the rest. Its text messages are [`ConsoleNotice`]s as JSON.
/// Binary messages of the caller are what is typed, at most 4096 bytes each.
pub const CONSOLE_PROTOCOL: &str = "billet-console-v1";

/// One item of a recording, as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ConsoleItem {
    /// A line, as plain text.
    Line {
        /// Its place in the recording.
        offset: u64,
        /// The place behind it.
        next: u64,
        /// When it began to be recorded.
        at: Timestamp,
        /// The text.
        text: String,
        /// It had not ended yet: what follows belongs to it.
        #[serde(default)]
        open: bool,
    },
    /// A line that was searched for, with those around it.
    Match {
        /// Its place in the recording.
        offset: u64,
        /// The place behind it.
        next: u64,
        /// When it began to be recorded.
        at: Timestamp,
        /// The text.
        text: String,
        /// The lines before it.
        before: Vec<String>,
        /// The lines after it.
        after: Vec<String>,
    },
    /// Nothing was seen for a time: the machine may have written.
    Gap {
        /// Its place in the recording.
        offset: u64,
        /// From when.
        from: Timestamp,
        /// Until when; still where absent.
        to: Option<Timestamp>,
        /// Why.
        why: String,
    },
    /// What was recorded before was removed.
    Removed {
        /// The first place that is there.
        offset: u64,
        /// Before when.
        before: Timestamp,
        /// Why.
        why: String,
    },
    /// The end of the answer.
    End {
        /// Where to go on, as `from`.
        next: u64,
        /// Whether there is more there now.
        more: bool,
    },
}

/// What the server of an interactive console says beside output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ConsoleNotice {
    /// Whether the console is connected.
    State {
        /// It is.
        connected: bool,
        /// Why not.
        why: Option<String>,
    },
    /// Who types from now on.
    Writer {
        /// In words; nobody where absent.
        who: Option<String>,
        /// It is the one who is told.
        you: bool,
    },
    /// What was typed went nowhere.
    NotTyped {
        /// Why.
        why: String,
    },
    /// The server ends it.
    Closed {
        /// Why.
        why: String,
        /// Where to go on, as `from`.
        next: u64,
    },
}

/// How it stands with a machine's console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsoleStatus {
    /// Whether this server records consoles at all.
    pub recording: bool,
    /// Since when it is connected.
    pub connected_since: Option<Timestamp>,
    /// Since when it is not.
    pub gap_since: Option<Timestamp>,
    /// Why not.
    pub why: Option<String>,
    /// The pinned host key, SHA-256 as OpenSSH writes it.
    pub host_key: Option<String>,
    /// Who types.
    pub writer: Option<String>,
    /// The first place that is kept.
    pub first_offset: u64,
    /// The next place.
    pub next_offset: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// When something was recorded last.
    pub last_at: Option<Timestamp>,
}

/// Which host key a machine's console is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleHostKey {
    /// SHA-256 as OpenSSH writes it; the next one that is shown where absent.
    pub host_key: Option<String>,
}
