//! What watches over the server read: health, readiness, metrics.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use billet_model::{
    OperationId, Time,
    webhook::{Delivery, Webhook},
};
use jiff::SignedDuration;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::App,
    metrics::Text,
    problem::{Failure, Kind},
};

/// How far back operations are looked at.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// So many webhooks at most.
const WEBHOOKS: usize = 1000;
/// Up to here it is counted how many events a webhook was not sent.
const BEHIND: usize = 1000;
/// So many operations at most.
const OPERATIONS: usize = 10_000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// Tell whether the process lives
///
/// Asks nothing else: for whoever restarts what does not answer.
#[utoipa::path(get, path = "/healthz", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Tell whether requests can be answered
///
/// 200 where the database answers, else 503: for whoever sends traffic here.
#[utoipa::path(get, path = "/readyz", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn readyz(State(app): State<App>) -> Result<&'static str, Failure> {
    match app.store().schema_version().await {
        Ok(_) if !*app.ending().borrow() => Ok("ok\n"),
        Ok(_) => Err(Failure::new(Kind::Unavailable, "the server is stopping")),
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            Err(Failure::new(
                Kind::Unavailable,
                "the database does not answer: the server's log says more",
            ))
        }
    }
}

/// Metrics, for Prometheus
///
/// Machines by type and lifecycle, leases by state, the last day's operations,
/// requests to BMCs, HTTP requests. Counters are this process's, from its start.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    let mut text = Text::default();
    text.family("billet_info", "gauge", "What this server is.");
    text.sample("billet_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let counted = see("the machines", app.store().machine_counts().await)?;
    text.family(
        "billet_machines",
        "gauge",
        "Machines, by type and lifecycle.",
    );
    for (machine_type, lifecycle, count) in counted {
        let labels = [("type", &*machine_type), ("lifecycle", &lifecycle)];
        text.sample("billet_machines", &labels, count);
    }
    let counted = see("the leases", app.store().lease_counts().await)?;
    text.family("billet_leases", "gauge", "Leases, by state.");
    for (state, count) in counted {
        text.sample("billet_leases", &[("state", &state)], count);
    }
    operations(&app, app.now(), &mut text).await?;
    let head = see("the audit log", app.store().audit_head().await)?;
    text.family(
        "billet_audit_rows",
        "gauge",
        "Rows of the audit log that are sealed.",
    );
    text.sample("billet_audit_rows", &[], head.size);
    let name = "billet_bmc_requests_total";
    text.family(name, "counter", "Requests to BMCs, by how they ended.");
    let requests = app.control().bmc_requests();
    for (outcome, count, _) in &requests {
        text.sample(name, &[("outcome", outcome)], count);
    }
    let name = "billet_bmc_request_seconds_total";
    text.family(
        name,
        "counter",
        "Time that requests to BMCs took, by how they ended.",
    );
    for (outcome, _, seconds) in &requests {
        text.sample(name, &[("outcome", outcome)], seconds);
    }
    webhooks(&app, &mut text).await?;
    let (connected, recorded) = app.control().console_counts();
    let name = "billet_consoles_connected";
    text.family(name, "gauge", "Serial consoles that are connected.");
    text.sample(name, &[], connected);
    let name = "billet_console_bytes_total";
    text.family(
        name,
        "counter",
        "Bytes of serial consoles that were received.",
    );
    text.sample(name, &[], recorded);
    app.requests().write(&mut text);
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, text.0).into_response())
}

/// A webhook, how far it is, events behind, seconds behind.
type Measured = (Webhook, Delivery, u64, f64);
/// A value of what was measured.
type MeasuredValue = fn(&Measured) -> f64;

/// What webhooks were sent, and how far each is behind.
async fn webhooks(app: &App, text: &mut Text) -> Result<(), Failure> {
    let name = "billet_webhook_attempts_total";
    text.family(name, "counter", "Events sent to webhooks, by how it ended.");
    let (taken, failed) = app.webhooks().counted();
    text.sample(name, &[("outcome", "taken")], taken);
    text.sample(name, &[("outcome", "failed")], failed);
    let filter = billet_store::WebhookFilter::default();
    let read = app.store().webhooks(&filter, None, WEBHOOKS).await;
    let mut measured = Vec::new();
    for (webhook, delivery) in see("webhooks", read)? {
        let filter = crate::webhooks::filter(&webhook);
        let behind = app
            .store()
            .audit_behind(&filter, delivery.next, BEHIND)
            .await;
        let (behind, since) = see("the audit log", behind)?;
        let lag = since.map_or(0.0, |at| app.now().duration_since(at).as_secs_f64());
        measured.push((webhook, delivery, behind, lag));
    }
    let families: [(&str, &str, MeasuredValue); 4] = [
        (
            "billet_webhook_behind",
            "Events that a webhook was not sent yet, counted up to 1000.",
            |(_, _, behind, _)| *behind as f64,
        ),
        (
            "billet_webhook_lag_seconds",
            "Age of the oldest of them.",
            |(_, _, _, lag)| *lag,
        ),
        (
            "billet_webhook_failures",
            "Attempts that failed since an event was last taken.",
            |(_, delivery, _, _)| f64::from(delivery.failures),
        ),
        (
            "billet_webhook_disabled",
            "Whether a webhook is disabled.",
            |(webhook, _, _, _)| f64::from(u8::from(webhook.disabled.is_some())),
        ),
    ];
    for (name, help, value) in families {
        text.family(name, "gauge", help);
        for one in &measured {
            let project = one.0.project.map(|id| id.to_string()).unwrap_or_default();
            let labels = [("webhook", one.0.name.as_str()), ("project", &project)];
            text.sample(name, &labels, value(one));
        }
    }
    Ok(())
}

/// A value of what was counted: number, seconds in all, most seconds.
type Value = fn(&(u64, f64, f64)) -> f64;

/// Of the operations that began within the last day: how many there are, and
/// how long those took that are over.
async fn operations(app: &App, now: Time, text: &mut Text) -> Result<(), Failure> {
    let since = (now - WINDOW).as_millisecond();
    let since = OperationId::from_parts(u64::try_from(since).unwrap_or(0), [0; 10]);
    let filter = billet_store::OperationFilter::default();
    let read = app
        .store()
        .operations(&filter, Some(since), OPERATIONS)
        .await;
    let mut counted: BTreeMap<(&str, &str), (u64, f64, f64)> = BTreeMap::new();
    for operation in see("operations", read)? {
        let key = (operation.kind.as_str(), operation.state.as_str());
        let (count, sum, most) = counted.entry(key).or_default();
        let took = operation.ended_at.map_or(0.0, |end| {
            end.duration_since(operation.created_at).as_secs_f64()
        });
        *count += 1;
        *sum += took;
        *most = most.max(took);
    }
    let families: [(&str, &str, Value); 3] = [
        (
            "billet_operations_last_day",
            "Operations that began within the last day, by kind and state.",
            |(count, _, _)| *count as f64,
        ),
        (
            "billet_operations_last_day_seconds_sum",
            "How long they took in all.",
            |(_, sum, _)| *sum,
        ),
        (
            "billet_operations_last_day_seconds_max",
            "How long the longest took.",
            |(_, _, most)| *most,
        ),
    ];
    for (name, help, value) in families {
        text.family(name, "gauge", help);
        for ((kind, state), counted) in &counted {
            text.sample(name, &[("kind", kind), ("state", state)], value(counted));
        }
    }
    Ok(())
}
