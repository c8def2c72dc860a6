//! Serial consoles: used from a terminal, looked on at, read back.

use std::io::{IsTerminal as _, Read as _, Write as _};

use billet_client::{Client, ConsoleMessage, ConsoleOf};
use billet_model::console::{ConsoleItem, ConsoleNotice, ConsoleStatus};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::serve::stop_signal;
use crate::{
    app::App,
    failure::{Code, Failure},
    human,
    output::{Format, card, maybe, print, say},
};

/// Ctrl-].
const LEAVE: u8 = 0x1d;
/// How often a lost connection is tried again, once a second.
const TRIES: u32 = 60;

/// What of a console is wanted.
#[derive(Debug, Args)]
pub struct View {
    /// Look on, and do not type; needs no terminal.
    #[arg(long, conflicts_with = "log")]
    read_only: bool,
    /// Type in place of whoever does, who is told.
    #[arg(long, conflicts_with_all = ["log", "read_only"])]
    force: bool,
    /// Print what was recorded, as lines.
    #[arg(long)]
    log: bool,
    /// Only what was recorded within this time, as 1h or 3d.
    #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true, requires = "log")]
    since: Option<u64>,
    /// Only lines that hold this text.
    #[arg(long, value_name = "TEXT", requires = "log")]
    search: Option<String>,
    /// TEXT is a regular expression.
    #[arg(long, requires = "search")]
    regex: bool,
    /// Search without regard to case.
    #[arg(long, requires = "search")]
    ignore_case: bool,
    /// Lines to show before and after each match.
    #[arg(long, value_name = "LINES", default_value_t = 0, requires = "search")]
    around: usize,
    /// Wait for what comes.
    #[arg(long, short, requires = "log")]
    follow: bool,
    /// The bytes as they were written, for a terminal; without times.
    #[arg(long, requires = "log", conflicts_with = "search")]
    raw: bool,
}

impl View {
    /// Shows it.
    pub async fn run(self, app: &App, client: &Client, of: ConsoleOf<'_>) -> Result<(), Failure> {
        if !self.log {
            return session(app, client, of, &self).await;
        }
        if self.raw {
            return self.raw(client, of).await;
        }
        self.lines(app, client, of).await
    }

    fn query(&self, from: Option<u64>) -> Vec<(&'static str, String)> {
        let mut query = vec![("follow", self.follow.to_string())];
        let since = self
            .since
            .and_then(|since| i64::try_from(since).ok())
            .and_then(|since| {
                Timestamp::now()
                    .checked_sub(SignedDuration::from_secs(since))
                    .ok()
            });
        query.extend(from.map(|from| ("from", from.to_string())));
        query.extend(since.map(|since| ("since", since.to_string())));
        if let Some(search) = &self.search {
            query.push(("search", search.clone()));
            query.push(("regex", self.regex.to_string()));
            query.push(("ignore_case", self.ignore_case.to_string()));
            query.push(("context", self.around.to_string()));
        }
        query
    }

    async fn raw(&self, client: &Client, of: ConsoleOf<'_>) -> Result<(), Failure> {
        let mut query = self.query(None);
        query.push(("raw", "true".to_owned()));
        let mut log = client.console_log(of, &query).await?;
        while let Some(bytes) = log.bytes().await? {
            write(&bytes)?;
        }
        Ok(())
    }

    async fn lines(&self, app: &App, client: &Client, of: ConsoleOf<'_>) -> Result<(), Failure> {
        let mut from = None;
        let mut tries = 0;
        loop {
            let mut log = match client.console_log(of, &self.query(from)).await {
                Err(error) if error.is_connection() && from.is_some() && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    continue;
                }
                log => log?,
            };
            let mut more = None;
            loop {
                let item = match log.item().await {
                    Ok(Some(item)) => item,
                    Ok(None) => break,
                    Err(error) if error.is_connection() && self.follow => break,
                    Err(error) => return Err(error.into()),
                };
                tries = 0;
                match &item {
                    ConsoleItem::Line { next, .. } | ConsoleItem::Match { next, .. } => {
                        from = Some(*next);
                    }
                    ConsoleItem::Gap { offset, to, .. } => {
                        from = Some(offset + u64::from(to.is_some()));
                    }
                    ConsoleItem::Removed { offset, .. } => from = Some(*offset),
                    ConsoleItem::End { next, more: is } => {
                        from = Some(*next);
                        more = Some(*is);
                        continue;
                    }
                }
                print(&match app.output.format {
                    Format::Table => line(&item),
                    Format::Json => {
                        let text = serde_json::to_string(&item);
                        text.map_err(|e| Failure::failed(format!("writing JSON: {e}")))? + "\n"
                    }
                })?;
            }
            match more {
                Some(true) => {}
                Some(false) => return Ok(()),
                None if self.follow && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                None => {
                    return Err(Failure::new(
                        Code::Unreachable,
                        "the recording was cut short",
                    ));
                }
            }
        }
    }
}

fn when(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// An item for people.
fn line(item: &ConsoleItem) -> String {
    match item {
        ConsoleItem::Line { at, text, .. } => format!("{}  {text}\n", when(*at)),
        ConsoleItem::Match {
            at,
            text,
            before,
            after,
            ..
        } => {
            let mut lines = String::new();
            for around in before {
                lines.push_str(&format!("{:19}  {around}\n", ""));
            }
            lines.push_str(&format!("{}  {text}\n", when(*at)));
            for around in after {
                lines.push_str(&format!("{:19}  {around}\n", ""));
            }
            if !before.is_empty() || !after.is_empty() {
                lines.push('\n');
            }
            lines
        }
        ConsoleItem::Gap { from, to, why, .. } => {
            let to = to.map_or_else(|| "now".to_owned(), when);
            format!("--- nothing was seen from {} to {to}: {why}\n", when(*from))
        }
        ConsoleItem::Removed { before, why, .. } => {
            format!(
                "--- what was recorded before {} is gone: {why}\n",
                when(*before)
            )
        }
        ConsoleItem::End { .. } => String::new(),
    }
}

/// How it stands with a console, for people.
pub fn status(status: &ConsoleStatus) -> String {
    let connected = match (status.connected_since, status.recording) {
        (Some(since), _) => format!("since {}", when(since)),
        (None, false) => "no: this server records no consoles (`serve --console on`)".to_owned(),
        (None, true) => "no".to_owned(),
    };
    card([
        ("connected", connected),
        ("why not", maybe(status.why.as_ref())),
        ("nothing seen since", maybe(status.gap_since.map(when))),
        ("host key", maybe(status.host_key.as_ref())),
        ("who types", maybe(status.writer.as_ref())),
        ("recorded", human::bytes(status.bytes)),
        ("last", maybe(status.last_at.map(when))),
    ])
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::silent(0)),
        Err(error) => Err(Failure::failed(format!("writing to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// A terminal that hands on every key; as it was before, however this ends.
struct Raw {
    before: rustix::termios::Termios,
}

impl Raw {
    fn set() -> Result<Self, Failure> {
        let wrong = |e: rustix::io::Errno| Failure::failed(format!("setting the terminal: {e}"));
        let stdin = std::io::stdin();
        let before = rustix::termios::tcgetattr(&stdin).map_err(wrong)?;
        let mut raw = before.clone();
        raw.make_raw();
        let now = rustix::termios::OptionalActions::Now;
        rustix::termios::tcsetattr(&stdin, now, &raw).map_err(wrong)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let now = rustix::termios::OptionalActions::Now;
        let _ = rustix::termios::tcsetattr(std::io::stdin(), now, &self.before);
    }
}

/// Finds the way out in what is typed: Ctrl-] at once, or `~.` at a line's begin.
#[derive(Debug, Default)]
struct Escape {
    /// How much of Enter, `~`, `.` was typed.
    state: u8,
}

impl Escape {
    /// What is to be typed of it, and whether to leave after that.
    fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        for &byte in typed {
            match (self.state, byte) {
                (_, LEAVE) | (2, b'.') => return (out, true),
                (0 | 1, b'~') if self.state == 0 => {
                    self.state = 2;
                    continue;
                }
                // `~~` types one.
                (2, b'~') => out.push(b'~'),
                (2, _) => out.extend([b'~', byte]),
                _ => out.push(byte),
            }
            self.state = u8::from(!matches!(byte, b'\r' | b'\n'));
        }
        (out, false)
    }
}

async fn session(
    app: &App,
    client: &Client,
    of: ConsoleOf<'_>,
    view: &View,
) -> Result<(), Failure> {
    let types = !view.read_only;
    if types && !std::io::stdin().is_terminal() {
        return Err(Failure::usage("stdin is no terminal, so nobody can type")
            .hint("look on with --read-only, or read the recording with --log"));
    }
    let mut query = vec![
        ("watch", view.read_only.to_string()),
        ("force", view.force.to_string()),
    ];
    let mut console = client.console(of, &query).await?;
    let mut stop = stop_signal()?;
    let (typed, mut typing) = mpsc::channel::<Vec<u8>>(16);
    let raw = match types {
        true => {
            app.output.note("Connected: Enter ~ . or Ctrl-] leaves.");
            // A thread of its own: nothing can interrupt a read of the terminal.
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = std::io::stdin().read(&mut buffer) {
                    if typed.blocking_send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                }
            });
            Some(Raw::set()?)
        }
        false => None,
    };
    let mut escape = Escape::default();
    let mut next = None;
    let mut tries = 0;
    let ended = loop {
        let message = tokio::select! {
            message = console.next() => message,
            keys = typing.recv(), if types => {
                let Some(keys) = keys else { break Ok(()) };
                let (keys, leave) = escape.filter(&keys);
                if !keys.is_empty() && console.type_in(&keys).await.is_err() {
                    // It is found to be lost below.
                    continue;
                }
                if leave {
                    break Ok(());
                }
                continue;
            }
            () = stop.recv() => break Ok(()),
        };
        match message {
            Ok(Some(ConsoleMessage::Output(at, bytes))) => {
                tries = 0;
                next = Some(at + bytes.len() as u64);
                if let Err(failure) = write(&bytes) {
                    break Err(failure);
                }
            }
            Ok(Some(ConsoleMessage::Notice(ConsoleNotice::Closed { why, .. })))
                if !why.contains("server stops") =>
            {
                break Err(Failure::new(Code::Refused, why));
            }
            Ok(Some(ConsoleMessage::Notice(notice))) => {
                if let Some(text) = told(&notice, types) {
                    app.output.note(format!("\r\n[{text}]\r"));
                }
            }
            lost => {
                tries += 1;
                if tries > TRIES {
                    let why = match lost {
                        Err(error) => error.to_string(),
                        Ok(_) => "the server ended the session".to_owned(),
                    };
                    break Err(Failure::new(Code::Unreachable, why));
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                query.retain(|(name, _)| *name != "from");
                query.extend(next.map(|next: u64| ("from", next.to_string())));
                match client.console(of, &query).await {
                    Ok(again) => console = again,
                    Err(error) if error.is_connection() => {}
                    Err(error) => break Err(error.into()),
                }
            }
        }
    };
    drop(raw);
    if types {
        say("");
    }
    // A reader that waits at a dead session keeps nobody.
    console.close().await;
    ended
}

fn told(notice: &ConsoleNotice, types: bool) -> Option<String> {
    match notice {
        ConsoleNotice::State {
            connected: false,
            why,
        } => Some(format!(
            "the console is not connected: {}",
            why.as_deref().unwrap_or("nothing is known")
        )),
        ConsoleNotice::Writer {
            who: Some(who),
            you: false,
        } => Some(format!("{who} types")),
        ConsoleNotice::Writer { who: None, .. } if types => Some("nobody types".into()),
        ConsoleNotice::NotTyped { why } => Some(format!("not typed: {why}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Escape;

    #[test]
    fn the_way_out_is_found_and_nothing_else_is_kept_back() {
        for (typed, wanted, left) in [
            (&b"ls\r"[..], &b"ls\r"[..], false),
            (b"~.", b"", true),
            (b"ls\r~.", b"ls\r", true),
            (b"a~.b", b"a~.b", false),
            (b"\r~~.", b"\r~.", false),
            (b"\r~x", b"\r~x", false),
            (b"ab\x1dcd", b"ab", true),
        ] {
            assert_eq!(
                Escape::default().filter(typed),
                (wanted.to_vec(), left),
                "{typed:?}"
            );
            let mut escape = Escape::default();
            let (mut out, mut leaves) = (Vec::new(), false);
            for byte in typed.chunks(1) {
                if !leaves {
                    let (more, leave) = escape.filter(byte);
                    out.extend(more);
                    leaves = leave;
                }
            }
            assert_eq!((out, leaves), (wanted.to_vec(), left), "{typed:?}");
        }
    }
}
