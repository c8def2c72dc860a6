//! Serial consoles: of a lease's machine, and for operators of any.

use axum::{
    Json,
    extract::{
        State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::HeaderMap,
    response::Response,
};
use billet_console::Matcher;
use billet_model::{
    api::Problem,
    console::{ConsoleHostKey, ConsoleItem, ConsoleNotice, ConsoleStatus},
    people::Actor,
};
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::App,
    auth::Bearer,
    console::{self, Ask, Attach, Subject, Viewer},
    extract::{Body, Of, Query},
    lookup,
    problem::{Failure, Kind},
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(lease_console))
        .routes(routes!(lease_console_log))
        .routes(routes!(machine_console))
        .routes(routes!(machine_console_log))
        .routes(routes!(machine_console_status))
        .routes(routes!(pin_console_host_key))
}

/// Which part of a recording, and how.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    /// Recorded at this time or later.
    since: Option<Timestamp>,
    /// Recorded at this time or before.
    until: Option<Timestamp>,
    /// From this offset on.
    from: Option<u64>,
    /// Only lines that hold this text.
    search: Option<String>,
    /// `search` is a regular expression.
    #[serde(default)]
    regex: bool,
    /// Search without regard to case.
    #[serde(default)]
    ignore_case: bool,
    /// Lines before and after each match, 0 to 50.
    #[serde(default)]
    context: usize,
    /// At most so many lines or matches, 1 to 10000; 1000 where not said.
    limit: Option<usize>,
    /// Wait for what comes.
    #[serde(default)]
    follow: bool,
    /// The bytes as they came, without times and marks.
    #[serde(default)]
    raw: bool,
}

impl LogQuery {
    fn ask(&self) -> Result<Ask, Failure> {
        if self.raw && self.search.is_some() {
            let detail = "lines are searched, and `raw` has none: leave one away";
            return Err(Failure::invalid("raw", detail));
        }
        let matcher = self
            .search
            .as_deref()
            .map(|pattern| Matcher::new(pattern, self.regex, self.ignore_case))
            .transpose()
            .map_err(|error| Failure::invalid("search", error.to_string()))?;
        Ok(Ask {
            since: self.since,
            until: self.until,
            from: self.from,
            matcher,
            context: self.context.min(50),
            limit: self.limit,
            follow: self.follow,
            raw: self.raw,
        })
    }
}

/// How to attach.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AttachQuery {
    /// Look on, and do not type.
    #[serde(default)]
    watch: bool,
    /// Type in place of whoever does; as an operator, on a machine that is leased.
    #[serde(default)]
    force: bool,
    /// From this offset on; the last few lines and what comes where not said.
    from: Option<u64>,
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

fn upgraded(upgrade: Upgrade) -> Result<WebSocketUpgrade, Failure> {
    upgrade.map_err(|why| {
        Failure::new(
            Kind::Conflict,
            format!("this is a WebSocket, and the request none ({why}): `billet lease console` speaks it, and GET …/console/log gives the recording"),
        )
    })
}

fn who(bearer: &Bearer) -> String {
    match bearer.actor() {
        Actor::Token { name, role, .. } => format!("{name} ({})", role.as_str()),
        _ => "somebody".into(),
    }
}

/// Use the serial console of a lease's machine
///
/// A WebSocket, subprotocol `billet-console-v1`. Binary messages of the server are
/// output: eight bytes, big-endian, are the offset of the first byte of the rest.
/// Its text messages are notices, as JSON. Binary messages of the caller are typed,
/// at most 4096 bytes each. One types at a time; that it does is on record.
#[utoipa::path(get, path = "/v1/leases/{lease}/console", tag = "consoles", params(AttachQuery),
    responses((status = 101, description = "The console", body = ConsoleNotice),
        (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn lease_console(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Query(query): Query<AttachQuery>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let upgrade = upgraded(upgrade)?;
    if billet_plan::console::end(&lease).is_some() {
        let detail = format!(
            "lease {} is {}: its recording is at …/console/log",
            lease.name, lease.state
        );
        return Err(Failure::new(Kind::Conflict, detail));
    }
    let types = !query.watch;
    if types && let Some(why) = billet_plan::console::may_not_type(&lease) {
        let detail = format!(
            "nobody types for lease {} just now: {why}. Look on with `watch`",
            lease.name
        );
        return Err(Failure::new(Kind::Conflict, detail));
    }
    let open = app.streams().open(&bearer)?;
    let subject = Subject::Lease(Box::new(lease.clone()));
    console::on_record(&app, &bearer, &subject, None, None).await?;
    let viewer = Viewer::new(&app, open, &headers, "/v1/leases/{lease}/console", subject);
    let attach = Attach {
        actor: bearer.actor(),
        who: who(&bearer),
        types,
        force: query.force,
        from: query.from,
        lease: Some(lease),
    };
    console::attach(&app, upgrade, viewer, attach)
}

/// Read what a lease's machine wrote on its serial console
///
/// One JSON object a line: lines, or matches with what stands around them, and where
/// nothing was seen. From the lease's own deployment to the beginning of its release,
/// for as long as recordings are kept, also when the lease is over. Where an operator
/// reads, that is on record.
#[utoipa::path(get, path = "/v1/leases/{lease}/console/log", tag = "consoles", params(LogQuery),
    responses((status = 200, body = ConsoleItem, content_type = "application/x-ndjson"),
        (status = 429, body = Problem)))]
async fn lease_console_log(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let lease = lookup::lease(&app, &bearer, &text).await?;
    let ask = query.ask()?;
    let open = app.streams().open(&bearer)?;
    let subject = Subject::Lease(Box::new(lease));
    console::on_record(&app, &bearer, &subject, query.since, query.until).await?;
    let viewer = Viewer::new(
        &app,
        open,
        &headers,
        "/v1/leases/{lease}/console/log",
        subject,
    );
    console::log(&app, viewer, ask)
}

/// Use a machine's serial console
///
/// As that of a lease. On a machine that is leased, typing takes `force`: its tenant
/// finds it in the audit log.
#[utoipa::path(get, path = "/v1/machines/{machine}/console", tag = "consoles",
    params(AttachQuery),
    responses((status = 101, description = "The console", body = ConsoleNotice),
        (status = 409, body = Problem), (status = 429, body = Problem)))]
async fn machine_console(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Query(query): Query<AttachQuery>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Failure> {
    let machine = lookup::machine(&app, &text).await?;
    let upgrade = upgraded(upgrade)?;
    let lease = console::tenant_of(&app, &machine).await?;
    let types = !query.watch;
    if let Some(lease) = &lease
        && types
        && !query.force
    {
        let detail = format!(
            "machine {} is lease {}'s: look on with `watch`, or type with `force`, which its tenant finds on record",
            machine.name, lease.name
        );
        return Err(Failure::new(Kind::Conflict, detail));
    }
    let open = app.streams().open(&bearer)?;
    let subject = Subject::Machine(machine.id);
    console::on_record(&app, &bearer, &subject, Some(app.now()), None).await?;
    let viewer = Viewer::new(
        &app,
        open,
        &headers,
        "/v1/machines/{machine}/console",
        subject,
    );
    let attach = Attach {
        actor: bearer.actor(),
        who: who(&bearer),
        types,
        force: query.force,
        from: query.from,
        lease,
    };
    console::attach(&app, upgrade, viewer, attach)
}

/// Read what a machine wrote on its serial console
///
/// All of it, tenants' too: each lease whose time it may be of has it on record.
#[utoipa::path(get, path = "/v1/machines/{machine}/console/log", tag = "consoles",
    params(LogQuery),
    responses((status = 200, body = ConsoleItem, content_type = "application/x-ndjson"),
        (status = 429, body = Problem)))]
async fn machine_console_log(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let machine = lookup::machine(&app, &text).await?;
    let ask = query.ask()?;
    let open = app.streams().open(&bearer)?;
    let subject = Subject::Machine(machine.id);
    console::on_record(&app, &bearer, &subject, query.since, query.until).await?;
    let viewer = Viewer::new(
        &app,
        open,
        &headers,
        "/v1/machines/{machine}/console/log",
        subject,
    );
    console::log(&app, viewer, ask)
}

/// Show how it stands with a machine's serial console
#[utoipa::path(get, path = "/v1/machines/{machine}/console/status", tag = "consoles",
    responses((status = 200, body = ConsoleStatus)))]
async fn machine_console_status(
    State(app): State<App>,
    Of(text): Of,
) -> Result<Json<ConsoleStatus>, Failure> {
    let machine = lookup::machine(&app, &text).await?;
    status(&app, machine.id).await.map(Json)
}

async fn status(app: &App, machine: billet_model::MachineId) -> Result<ConsoleStatus, Failure> {
    let line = app.control().console(machine)?;
    let state = line.state();
    let key = see(
        "the host key",
        app.control().console_host_key(machine).await,
    )?;
    Ok(ConsoleStatus {
        recording: app.control().records_consoles(),
        connected_since: state.connected,
        gap_since: state.gap,
        why: state.why,
        host_key: key.filter(|key| !key.is_empty()),
        writer: line.writer().map(|writer| writer.who),
        first_offset: line.recorder.first(),
        next_offset: line.recorder.head(),
        bytes: line.recorder.size(),
        last_at: line.recorder.last(),
    })
}

/// Pin the host key of a machine's serial console
///
/// Where the BMC was changed, or its SSH server has a new key.
#[utoipa::path(put, path = "/v1/machines/{machine}/console/host-key", tag = "consoles",
    request_body = ConsoleHostKey,
    responses((status = 200, body = ConsoleStatus)))]
async fn pin_console_host_key(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(key): Body<ConsoleHostKey>,
) -> Result<Json<ConsoleStatus>, Failure> {
    let machine = lookup::machine(&app, &text).await?;
    let key = key.host_key.as_deref();
    app.control()
        .pin_console_host_key(&bearer.actor(), &machine, key)
        .await?;
    status(&app, machine.id).await.map(Json)
}
