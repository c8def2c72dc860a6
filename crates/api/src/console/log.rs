//! A recording as lines: from a time on, searched, followed.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use billet_console::{Content, Line as TextLine, Lines, Matcher, Record};
use billet_model::{Time, console::ConsoleItem};
use bytes::Bytes;
use futures::stream;
use tokio::{sync::mpsc, time::Instant};

use super::{Shown, Viewer, feed::Feed};
use crate::{app::App, problem::Failure};

/// Lines in an answer, where not said.
const LINES: usize = 1000;
/// Lines in an answer, at most.
const MOST: usize = 10_000;
/// Lines around a match, at most.
const AROUND: usize = 50;
/// How long one request searches, at most: it says where to go on.
const SEARCH: Duration = Duration::from_secs(10);
/// A line that has not ended is shown after so long.
const UNENDED: Duration = Duration::from_millis(300);
/// How often it is looked whether a silent lease goes on.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is looked whether the caller still may.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a reader may take nothing.
const SLOW: Duration = Duration::from_secs(60);

/// What is asked of a recording.
pub(crate) struct Ask {
    pub since: Option<Time>,
    pub until: Option<Time>,
    pub from: Option<u64>,
    pub matcher: Option<Matcher>,
    pub context: usize,
    pub limit: Option<usize>,
    pub follow: bool,
    pub raw: bool,
}

/// Answers with a recording.
pub(crate) fn log(app: &App, viewer: Viewer, ask: Ask) -> Result<Response, Failure> {
    let line = viewer.line()?;
    let kind = match ask.raw {
        true => "application/octet-stream",
        false => "application/x-ndjson",
    };
    let (out, read) = mpsc::channel(8);
    let writer = Writer {
        app: app.clone(),
        out,
        lines: Lines::default(),
        before: VecDeque::new(),
        pending: VecDeque::new(),
        count: 0,
        next: 0,
        full: false,
        ask,
        viewer,
    };
    tokio::spawn(async move {
        if let Err(failure) = writer.write(&line).await {
            tracing::debug!(?failure, "a reader of a console was left");
        }
    });
    let body = stream::unfold(read, async |mut read: mpsc::Receiver<Bytes>| {
        let bytes = read.recv().await?;
        Some((Ok::<_, Infallible>(bytes), read))
    });
    let mut response = Response::new(Body::from_stream(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Why a reader was left.
#[derive(Debug)]
enum Left {
    /// It went away, or took nothing.
    Gone,
    /// It may not, or not any more; or the recording cannot be read.
    Failed,
}

impl From<Failure> for Left {
    fn from(_: Failure) -> Self {
        Self::Failed
    }
}

struct Writer {
    app: App,
    viewer: Viewer,
    ask: Ask,
    out: mpsc::Sender<Bytes>,
    lines: Lines,
    /// The lines before the next one, where they are wanted.
    before: VecDeque<String>,
    /// Matches that wait for the lines after them.
    pending: VecDeque<ConsoleItem>,
    count: usize,
    next: u64,
    /// There are as many as were asked for.
    full: bool,
}

impl Writer {
    async fn write(mut self, line: &billet_control::consoles::Line) -> Result<(), Left> {
        let recorder = &line.recorder;
        let mut heads = recorder.heads();
        let mut ending = self.app.ending();
        let since = self.ask.since.or(self.viewer.begin());
        let since = since.max(self.viewer.begin());
        let first = recorder.first();
        let start = match (self.ask.from, since) {
            (Some(from), _) => from,
            (None, Some(since)) => recorder.since(since),
            (None, None) => first,
        };
        let mut removed = self.ask.from.is_none() && first > 0 && start == first;
        self.next = start.max(first);
        let mut feed = Feed::at(recorder, start);
        let began = Instant::now();
        let mut looked = Instant::now();
        loop {
            heads.mark_unchanged();
            let records = feed.next().await?;
            let none = records.is_empty();
            for record in records {
                if std::mem::take(&mut removed) && since.is_none_or(|since| since < record.at) {
                    let item = ConsoleItem::Removed {
                        offset: record.offset,
                        before: record.at,
                        why: "older recordings are removed".into(),
                    };
                    self.item(&item).await?;
                }
                if self.ask.until.is_some_and(|until| record.at > until) {
                    return self.end(false).await;
                }
                match self.viewer.shows(&record).await? {
                    Shown::Over => return self.end(false).await,
                    Shown::Yes if self.ask.since.is_none_or(|since| record.at >= since) => {
                        self.take(record).await?;
                    }
                    Shown::Yes | Shown::No => self.next = self.next.max(record.end()),
                }
                if self.full && self.pending.is_empty() {
                    return self.end(true).await;
                }
            }
            if looked.elapsed() >= AGAIN {
                looked = Instant::now();
                if !self.viewer.still_may().await {
                    return Err(Left::Failed);
                }
            }
            if !none {
                if !self.ask.follow && self.ask.matcher.is_some() && began.elapsed() > SEARCH {
                    return self.end(true).await;
                }
                continue;
            }
            if !self.ask.follow {
                if let Some(since) = line.state().gap
                    && self.ask.until.is_none()
                    && self.viewer.begin().is_none_or(|begin| since >= begin)
                {
                    let why = line.state().why.unwrap_or_default();
                    let item = ConsoleItem::Gap {
                        offset: recorder.head(),
                        from: since,
                        to: None,
                        why: self.viewer.why(why),
                    };
                    self.unended().await?;
                    self.item(&item).await?;
                }
                return self.end(false).await;
            }
            let over = async |ending: &mut tokio::sync::watch::Receiver<bool>| {
                drop(ending.wait_for(|ending| *ending).await);
            };
            let grown = tokio::select! {
                changed = tokio::time::timeout(UNENDED, heads.changed()) => changed.is_ok(),
                () = over(&mut ending) => return Ok(()),
                () = self.out.closed() => return Err(Left::Gone),
            };
            if grown {
                continue;
            }
            self.unended().await?;
            self.settle(true).await?;
            let grown = tokio::select! {
                changed = tokio::time::timeout(LOOK, heads.changed()) => changed.is_ok(),
                () = over(&mut ending) => return Ok(()),
                () = self.out.closed() => return Err(Left::Gone),
            };
            // A lease that is over has no more to come.
            if !grown {
                self.viewer.look_again().await?;
                if let super::Subject::Lease(lease) = &self.viewer.subject
                    && billet_plan::console::end(lease).is_some()
                    && recorder.head() <= self.next
                {
                    return self.end(false).await;
                }
            }
        }
    }

    async fn take(&mut self, record: Record) -> Result<(), Left> {
        let end = record.end();
        match record.content {
            Content::Bytes(bytes) if self.ask.raw => {
                self.next = end;
                self.send(Bytes::from(bytes)).await
            }
            Content::Bytes(bytes) => {
                let mut lines = Vec::new();
                self.lines
                    .push(record.offset, record.at, &bytes, &mut lines);
                for line in lines {
                    self.line(line).await?;
                }
                Ok(())
            }
            Content::Gap(why) => {
                self.unended().await?;
                let from = record.from.max(self.viewer.begin().unwrap_or(record.from));
                let item = ConsoleItem::Gap {
                    offset: record.offset,
                    from,
                    to: Some(record.at),
                    why: self.viewer.why(why),
                };
                self.next = end;
                self.item(&item).await
            }
            Content::Removed(why) => {
                self.unended().await?;
                let item = ConsoleItem::Removed {
                    offset: record.offset,
                    before: record.from,
                    why,
                };
                self.next = end;
                self.item(&item).await
            }
            Content::Alive => Ok(()),
        }
    }

    /// Shows what has not ended yet.
    async fn unended(&mut self) -> Result<(), Left> {
        match self.lines.flush() {
            Some(line) => self.line(line).await,
            None => Ok(()),
        }
    }

    async fn line(&mut self, line: TextLine) -> Result<(), Left> {
        for pending in &mut self.pending {
            if let ConsoleItem::Match { after, .. } = pending
                && after.len() < self.ask.context
            {
                after.push(line.text.clone());
            }
        }
        self.settle(false).await?;
        if self.full {
            return Ok(());
        }
        self.next = line.end;
        let limit = match self.ask.follow {
            true => usize::MAX,
            false => self.ask.limit.unwrap_or(LINES).clamp(1, MOST),
        };
        let Some(matcher) = &self.ask.matcher else {
            let item = ConsoleItem::Line {
                offset: line.offset,
                next: line.end,
                at: line.at,
                text: line.text,
                open: line.open,
            };
            self.item(&item).await?;
            self.count += 1;
            self.full = self.count >= limit;
            return Ok(());
        };
        if matcher.matches(&line.text) {
            self.pending.push_back(ConsoleItem::Match {
                offset: line.offset,
                next: line.end,
                at: line.at,
                text: line.text.clone(),
                before: self.before.iter().cloned().collect(),
                after: Vec::new(),
            });
            self.count += 1;
            self.full = self.count >= limit;
        }
        self.before.push_back(line.text);
        while self.before.len() > self.ask.context.min(AROUND) {
            self.before.pop_front();
        }
        self.settle(false).await
    }

    /// Shows the matches that have their lines, or all.
    async fn settle(&mut self, all: bool) -> Result<(), Left> {
        let wanted = self.ask.context.min(AROUND);
        while let Some(ConsoleItem::Match { after, .. }) = self.pending.front() {
            if !all && after.len() < wanted {
                break;
            }
            if let Some(item) = self.pending.pop_front() {
                self.item(&item).await?;
            }
        }
        Ok(())
    }

    async fn item(&mut self, item: &ConsoleItem) -> Result<(), Left> {
        if self.ask.raw {
            return Ok(());
        }
        // Among matches only what was looked for, and where nothing could be found.
        let mut text = serde_json::to_vec(item).map_err(|_| Left::Failed)?;
        text.push(b'\n');
        self.send(Bytes::from(text)).await
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Left> {
        let sent = tokio::time::timeout(SLOW, self.out.send(bytes)).await;
        // A reader that takes nothing is left; it goes on from where it was.
        sent.ok().and_then(Result::ok).ok_or(Left::Gone)
    }

    async fn end(mut self, more: bool) -> Result<(), Left> {
        if !self.full {
            self.unended().await?;
        }
        self.settle(true).await?;
        let next = self.next;
        self.item(&ConsoleItem::End { next, more }).await
    }
}
