//! Webhooks: who is told what happens.

use std::time::Instant;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    WebhookId,
    api::{
        NewWebhook, Page, TokenRotation, WebhookChange, WebhookMade, WebhookTested, WebhookView,
    },
    event::SealedRow,
    webhook::{Attempt, Delivery, Disabled, Webhook},
};
use billet_store::{Batch, PutWebhook, WebhookFilter, Write};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{
    app::{About as _, App},
    auth::Bearer,
    extract::{Body, Of, Query},
    idempotency::HoldsSecret,
    lookup,
    page::Asked,
    problem::{Failure, Kind},
    respond,
    webhooks::{self, SECRET, fresh_secret},
};

/// Webhooks of one owner, at most.
const MOST: usize = 20;
/// Prefixes of actions that one names, at most.
const ACTIONS: usize = 32;
/// Bytes of certificates, at most.
const CA_BYTES: usize = 64 * 1024;
/// Up to here it is counted how many events a webhook was not sent.
const BEHIND: usize = 1000;
/// For how many seconds an old secret may sign beside the new one: a week.
const MOST_GRACE: u64 = 7 * 86_400;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks, create_webhook))
        .routes(routes!(show_webhook, change_webhook, delete_webhook))
        .routes(routes!(rotate_webhook))
        .routes(routes!(test_webhook))
}

/// Which webhooks.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WebhookQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
    /// Of this project, by name or id.
    project: Option<String>,
}

/// List webhooks
///
/// Secrets are never among it.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(WebhookQuery),
    responses((status = 200, body = Page<WebhookView>)))]
async fn list_webhooks(
    State(app): State<App>,
    bearer: Bearer,
    Query(query): Query<WebhookQuery>,
) -> Result<Json<Page<WebhookView>>, Failure> {
    let asked = Asked::<WebhookId>::new(query.limit, query.after.as_deref())?;
    let filter = WebhookFilter {
        projects: lookup::project_filter(&app, &bearer, query.project.as_deref()).await?,
        ..WebhookFilter::default()
    };
    let read = app
        .store()
        .webhooks(&filter, asked.after, asked.read())
        .await;
    let mut read = see("webhooks", read)?;
    let next = asked.cut(&mut read, |(w, _)| w.id.to_string());
    let mut items = Vec::with_capacity(read.len());
    for (webhook, delivery) in read {
        items.push(view(&app, webhook, delivery).await?);
    }
    Ok(Json(Page { items, next }))
}

/// Make a webhook
///
/// From now on each event that its owner may see is sent to `url` as a POST whose
/// body is what `GET /v1/events` has as `data`, in order, until it is answered
/// with 2xx: at least once each, signed in the way of Standard Webhooks
/// (`webhook-id`, `webhook-timestamp`, `webhook-signature`). The answer has the
/// secret for that, which is not shown again.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = WebhookMade)))]
async fn create_webhook(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewWebhook>,
) -> Result<Response, Failure> {
    let project = match &new.project {
        None if bearer.is_operator() => None,
        named => Some(
            lookup::project_for(&app, &bearer, named.as_deref())
                .await?
                .id,
        ),
    };
    check(
        &app,
        project.is_some(),
        Some(&new.url),
        &new.actions,
        new.ca.as_deref(),
    )?;
    let filter = WebhookFilter {
        projects: project.map(|project| vec![project]),
        operators: project.is_none(),
        ..WebhookFilter::default()
    };
    let there = app.store().webhooks(&filter, None, MOST).await;
    if see("webhooks", there)?.len() >= MOST {
        let detail = format!("there are {MOST} webhooks, which is the most: delete one first");
        return Err(Failure::new(Kind::Conflict, detail));
    }
    let id: WebhookId = app.control().new_id();
    let secret = fresh_secret(app.control());
    let control = app.control();
    let sealed = control
        .keys
        .seal(control.world.as_ref(), id.0, SECRET, &secret);
    let webhook = Webhook {
        id,
        name: new.name,
        project,
        url: new.url,
        actions: new.actions,
        ca: new.ca.filter(|ca| !ca.is_empty()),
        disabled: None,
        old_secret_until: None,
        created_at: app.now(),
        version: 0,
    };
    let delivery = Delivery {
        next: head(&app).await?,
        ..Delivery::default()
    };
    let row = app
        .row(&bearer.actor(), "webhook.create")
        .project(project)
        .detail(json!({
            "webhook": id, "name": webhook.name, "url": webhook.url, "actions": webhook.actions,
        }));
    let write = Write::PutWebhook(Box::new(PutWebhook {
        webhook,
        secrets: Some((sealed, None)),
        delivery: Some(delivery),
    }));
    let batch = Batch::new().with(write).audited(row);
    app.commit("making a webhook", batch).await?;
    let (webhook, delivery) = lookup::webhook(&app, &bearer, &id.to_string()).await?;
    let location = format!("/v1/webhooks/{id}");
    let made = WebhookMade {
        webhook: view(&app, webhook, delivery).await?,
        secret: secret.expose().to_owned(),
    };
    let mut response = respond::changed(StatusCode::CREATED, &made, None, Some(location))?;
    response.extensions_mut().insert(HoldsSecret("delete the webhook and make another, or give it another secret with `billet webhook rotate`"));
    Ok(response)
}

/// Show a webhook
///
/// With what came of the last attempt, and how many events it was not sent yet.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    responses((status = 200, body = WebhookView)))]
async fn show_webhook(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (webhook, delivery) = lookup::webhook(&app, &bearer, &text).await?;
    respond::one(&headers, &view(&app, webhook, delivery).await?, None)
}

/// Change, disable or enable a webhook
///
/// A webhook that is enabled goes on where it stopped, at once, or with `skip`
/// with what comes. Other events count from now on.
#[utoipa::path(patch, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    request_body = WebhookChange, responses((status = 200, body = WebhookView)))]
async fn change_webhook(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(change): Body<WebhookChange>,
) -> Result<Response, Failure> {
    let (found, delivery) = lookup::webhook(&app, &bearer, &text).await?;
    check(
        &app,
        found.project.is_some(),
        change.url.as_deref(),
        change.actions.as_deref().unwrap_or_default(),
        change.ca.as_deref(),
    )?;
    let mut webhook = found.clone();
    if let Some(url) = &change.url {
        webhook.url.clone_from(url);
    }
    if let Some(actions) = &change.actions {
        webhook.actions.clone_from(actions);
    }
    if let Some(ca) = &change.ca {
        webhook.ca = Some(ca.clone()).filter(|ca| !ca.is_empty());
    }
    match change.disabled {
        Some(true) if webhook.disabled.is_none() => {
            let why = "it was switched off: enable it when it is wanted again".to_owned();
            let since = app.now();
            webhook.disabled = Some(Disabled { since, why });
        }
        Some(false) => webhook.disabled = None,
        Some(true) | None => {}
    }
    let again = change.disabled == Some(false) && delivery.retry_at.is_some();
    if webhook == found && !change.skip && !again {
        return respond::changed(
            StatusCode::OK,
            &view(&app, found, delivery).await?,
            None,
            None,
        );
    }
    // It is tried again at once: perhaps that is what was set right.
    let mut begin = Delivery {
        failures: 0,
        failing_since: None,
        retry_at: None,
        ..delivery
    };
    if change.skip {
        begin.next = head(&app).await?;
    } else if webhook.actions != found.actions {
        // What was not asked for when it happened is not sent because it is now.
        let head = head(&app).await?;
        let filter = webhooks::filter(&found);
        let first = app.store().audit_sealed(&filter, begin.next, head, 1).await;
        let first = see("the audit log", first)?
            .first()
            .and_then(|row| row.index);
        begin.next = first.unwrap_or(head);
    }
    let row = app
        .row(&bearer.actor(), "webhook.change")
        .project(webhook.project)
        .detail(json!({
            "webhook": webhook.id, "name": webhook.name, "url": change.url,
            "actions": change.actions, "ca": change.ca.is_some(), "disabled": change.disabled,
            "skip": change.skip,
        }));
    let write = Write::PutWebhook(Box::new(PutWebhook {
        webhook: webhook.clone(),
        secrets: None,
        delivery: Some(begin),
    }));
    let batch = Batch::new().with(write).audited(row);
    app.commit("changing the webhook", batch).await?;
    let (webhook, delivery) = lookup::webhook(&app, &bearer, &webhook.id.to_string()).await?;
    respond::changed(
        StatusCode::OK,
        &view(&app, webhook, delivery).await?,
        None,
        None,
    )
}

/// Delete a webhook
///
/// Nothing more is sent to it.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    responses((status = 204)))]
async fn delete_webhook(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let (webhook, _) = lookup::webhook(&app, &bearer, &text).await?;
    let row = app
        .row(&bearer.actor(), "webhook.delete")
        .project(webhook.project)
        .detail(json!({ "webhook": webhook.id, "name": webhook.name, "url": webhook.url }));
    let write = Write::DeleteWebhook(webhook.id);
    let batch = Batch::new().with(write).audited(row);
    app.commit("deleting the webhook", batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Change a webhook's secret for another
///
/// The answer has the new secret, which is not shown again. For `grace_seconds`
/// events are signed with both, so that the receiver can be changed over.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/rotate", tag = "webhooks",
    request_body = TokenRotation, responses((status = 200, body = WebhookMade)))]
async fn rotate_webhook(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    Body(rotation): Body<TokenRotation>,
) -> Result<Response, Failure> {
    let (mut webhook, _) = lookup::webhook(&app, &bearer, &text).await?;
    if rotation.grace_seconds > MOST_GRACE {
        let detail = format!("the old secret may sign for {MOST_GRACE} seconds at most");
        return Err(Failure::invalid("grace_seconds", detail));
    }
    let secret = fresh_secret(app.control());
    let control = app.control();
    let sealed = control
        .keys
        .seal(control.world.as_ref(), webhook.id.0, SECRET, &secret);
    let grace = i64::try_from(rotation.grace_seconds).unwrap_or(0);
    webhook.old_secret_until = (grace > 0).then(|| app.now() + SignedDuration::from_secs(grace));
    let before = match app.store().webhook_secrets(webhook.id).await {
        Ok(Some((present, _))) if grace > 0 => Some(present),
        read => see("the webhook's secret", read).map(|_| None)?,
    };
    let row = app
        .row(&bearer.actor(), "webhook.rotate")
        .project(webhook.project)
        .detail(json!({
            "webhook": webhook.id, "name": webhook.name, "old_until": webhook.old_secret_until,
        }));
    let id = webhook.id.to_string();
    let write = Write::PutWebhook(Box::new(PutWebhook {
        webhook,
        secrets: Some((sealed, before)),
        delivery: None,
    }));
    let batch = Batch::new().with(write).audited(row);
    app.commit("changing the webhook's secret", batch).await?;
    let (webhook, delivery) = lookup::webhook(&app, &bearer, &id).await?;
    let made = WebhookMade {
        webhook: view(&app, webhook, delivery).await?,
        secret: secret.expose().to_owned(),
    };
    let mut response = respond::changed(StatusCode::OK, &made, None, None)?;
    response.extensions_mut().insert(HoldsSecret(
        "give it another secret once more, with a new key",
    ));
    Ok(response)
}

/// Send a webhook an event that says nothing
///
/// Now, whether it is disabled or not, and once: `webhook.test`, signed like any
/// other, without a place in the log.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/test", tag = "webhooks",
    responses((status = 200, body = WebhookTested)))]
async fn test_webhook(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<Json<WebhookTested>, Failure> {
    let (webhook, _) = lookup::webhook(&app, &bearer, &text).await?;
    let secrets = see(
        "the webhook's secret",
        webhooks::secrets(&app, &webhook).await,
    )?;
    let row = app
        .row(&bearer.actor(), "webhook.test")
        .project(webhook.project)
        .detail(json!({ "webhook": webhook.id, "name": webhook.name }));
    let event = SealedRow { index: None, row };
    let began = Instant::now();
    let attempt = app
        .webhooks()
        .send(&webhook, &secrets, &event, app.now())
        .await;
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(match attempt {
        Attempt::Taken { status } => WebhookTested {
            taken: true,
            status: Some(status),
            error: None,
            milliseconds,
        },
        Attempt::Failed { status, why, .. } => WebhookTested {
            taken: false,
            status,
            error: Some(why),
            milliseconds,
        },
    }))
}

/// Refuses what a webhook cannot have, before anything is kept.
fn check(
    app: &App,
    of_project: bool,
    url: Option<&str>,
    actions: &[String],
    ca: Option<&str>,
) -> Result<(), Failure> {
    if let Some(url) = url {
        let checked = app.webhooks().check(url, of_project);
        checked.map_err(|why| Failure::invalid("url", why))?;
    }
    if actions.len() > ACTIONS {
        let detail = format!("{ACTIONS} beginnings of actions at most; none at all is every event");
        return Err(Failure::invalid("actions", detail));
    }
    for (n, action) in actions.iter().enumerate() {
        let fits = (1..=64).contains(&action.len())
            && action
                .bytes()
                .all(|b| b.is_ascii_lowercase() || matches!(b, b'.' | b'_' | b'-'));
        if !fits {
            let detail = "this begins no action: write it as `lease.` or `machine.lifecycle`; \
                          `billet events` shows actions";
            return Err(Failure::invalid(&format!("actions[{n}]"), detail));
        }
    }
    match ca {
        Some(ca) if ca.len() > CA_BYTES => {
            let detail = format!("certificates have {CA_BYTES} bytes at most");
            Err(Failure::invalid("ca", detail))
        }
        Some(ca) if !ca.is_empty() => match app.webhooks().knowing(ca, of_project) {
            Ok(_) => Ok(()),
            Err(why) => Err(Failure::invalid("ca", why)),
        },
        _ => Ok(()),
    }
}

/// The log's end, with all that was committed before the call.
async fn head(app: &App) -> Result<u64, Failure> {
    see("the audit log", app.store().seal(app.now()).await)?;
    Ok(see("the audit log", app.store().audit_head().await)?.size)
}

async fn view(app: &App, webhook: Webhook, delivery: Delivery) -> Result<WebhookView, Failure> {
    let project_name = match webhook.project {
        Some(id) => see("the project", app.store().project(id).await)?.map(|p| p.name),
        None => None,
    };
    let filter = webhooks::filter(&webhook);
    let behind = app
        .store()
        .audit_behind(&filter, delivery.next, BEHIND)
        .await;
    let (behind, behind_since) = see("the audit log", behind)?;
    Ok(WebhookView {
        webhook,
        project_name,
        delivery,
        behind,
        behind_since,
    })
}
