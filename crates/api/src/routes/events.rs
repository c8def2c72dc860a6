//! What happens, as it happens: the audit log as a stream of server-sent events.
//!
//! An event's id is its row's place in the sealed log. The sealer gives places
//! to rows that are committed, one after the other and without a gap, so whoever
//! goes on behind the last id that it saw misses nothing, through restarts of
//! both sides.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use billet_model::{api::Problem, event::SealedRow};
use billet_store::AuditFilter;
use futures::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::App,
    auth::{self, Bearer},
    extract::Query,
    lookup,
    problem::Failure,
    streams::Open,
};

/// The header with the last event that a caller saw.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often the log's head is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is looked whether the caller still may see what it is sent.
const AGAIN: Duration = Duration::from_secs(10);
/// How often something is said when nothing happens, so that both sides know.
const ALIVE: Duration = Duration::from_secs(15);
/// Rows read at a time.
const ROWS: usize = 200;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream_events))
}

/// Which events.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventQuery {
    /// From this place in the log on, 0 for the beginning; from now on where
    /// neither this nor `Last-Event-ID` is said.
    from: Option<u64>,
    /// Of this project, by name or id.
    project: Option<String>,
    /// About this machine, by id, or for operators by name.
    machine: Option<String>,
    /// About this lease, by name or id.
    lease: Option<String>,
    /// Whose action begins with this, such as `lease.`.
    action: Option<String>,
    /// End when all that there is now has been sent, in place of waiting for more.
    #[serde(default = "yes")]
    follow: bool,
}

fn yes() -> bool {
    true
}

/// Follow what happens
///
/// Server-sent events: `id` is the row's index in the log, `data` the row as
/// JSON. Send the last id back as `Last-Event-ID` to go on behind it. Callers
/// get what they may see, by the rights that they have when it is sent; the
/// stream ends when their token stops to work.
#[utoipa::path(get, path = "/v1/events", tag = "audit",
    params(EventQuery, ("Last-Event-ID" = Option<u64>, Header, description =
        "Goes on behind this event")),
    responses((status = 200, body = SealedRow, content_type = "text/event-stream"),
        (status = 429, body = Problem)))]
async fn stream_events(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let open = app.streams().open(&bearer)?;
    let filter = filter(&app, &bearer, &query).await?;
    // What was committed before the call is part of it, or before it.
    see("the audit log", app.store().seal(app.now()).await)?;
    let head = see("the audit log", app.store().audit_head().await)?.size;
    let last = match headers.get(LAST_EVENT_ID) {
        None => None,
        Some(text) => {
            let last: Option<u64> = text.to_str().ok().and_then(|text| text.parse().ok());
            Some(last.ok_or_else(|| {
                let detail = "`Last-Event-ID` takes the id of an event that was seen";
                Failure::invalid("Last-Event-ID", detail)
            })?)
        }
    };
    let next = last.map_or(query.from, |last| Some(last.saturating_add(1)));
    let feed = Feed {
        next: next.unwrap_or(head),
        ready: VecDeque::new(),
        looked: Instant::now(),
        filter,
        app,
        query,
        headers,
        _open: open,
    };
    let sse = Sse::new(feed.events()).keep_alive(KeepAlive::new().interval(ALIVE));
    let mut response = sse.into_response();
    // A proxy in between must not keep events back.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn filter(app: &App, bearer: &Bearer, query: &EventQuery) -> Result<AuditFilter, Failure> {
    Ok(AuditFilter {
        projects: lookup::project_filter(app, bearer, query.project.as_deref()).await?,
        machine: lookup::machine_filter(app, bearer, query.machine.as_deref()).await?,
        lease: lookup::lease_filter(app, bearer, query.lease.as_deref()).await?,
        action: query.action.clone(),
        ..AuditFilter::default()
    })
}

/// One caller's stream.
struct Feed {
    app: App,
    filter: AuditFilter,
    query: EventQuery,
    headers: HeaderMap,
    /// The place that is looked at next.
    next: u64,
    ready: VecDeque<SealedRow>,
    /// When it was last looked whether the caller may.
    looked: Instant,
    /// Counts among the caller's streams.
    _open: Open,
}

impl Feed {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        // Where it begins goes first, by an id without data: who loses the
        // connection before the first event goes on from there as well.
        let mark = self.next.checked_sub(1);
        let mark = mark.map(|last| Ok(Event::default().id(last.to_string())));
        let rows = stream::unfold(self, async |mut feed| {
            let row = feed.row().await?;
            let event = Event::default().id(row.index.unwrap_or_default().to_string());
            Some((Ok(event.json_data(&row).ok()?), feed))
        });
        stream::iter(mark).chain(rows)
    }

    /// The next row, when there is one; none where the stream is over.
    async fn row(&mut self) -> Option<SealedRow> {
        let mut ending = self.app.ending();
        loop {
            if self.looked.elapsed() >= AGAIN {
                self.look_again().await?;
            }
            if let Some(row) = self.ready.pop_front() {
                return Some(row);
            }
            // The head first: what comes after it is found the next time.
            let head = self.app.store().audit_head().await.ok()?.size;
            if self.next < head {
                let rows = self
                    .app
                    .store()
                    .audit_sealed(&self.filter, self.next, head, ROWS)
                    .await
                    .ok()?;
                self.next = match rows.last().and_then(|row| row.index) {
                    Some(last) if rows.len() == ROWS => last + 1,
                    _ => head,
                };
                self.ready = rows.into();
            } else if !self.query.follow {
                return None;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    // The server stops: the caller comes back to the next.
                    _ = ending.wait_for(|ending| *ending) => return None,
                }
            }
        }
    }

    /// Signs the caller in once more: what it may see is what it may see now.
    async fn look_again(&mut self) -> Option<()> {
        self.looked = Instant::now();
        let bearer = auth::sign_in(&self.app, &self.headers, None).await.ok()?;
        if bearer.rights.is_empty() {
            return None;
        }
        let now = filter(&self.app, &bearer, &self.query).await.ok()?;
        // What was read by the rights of before is read again by those of now.
        if let Some(first) = self.ready.front().and_then(|row| row.index) {
            self.next = first;
            self.ready.clear();
        }
        self.filter = now;
        Some(())
    }
}
