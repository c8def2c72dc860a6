//! The loop that brings webhooks forward, one event after the other.
//!
//! A webhook's place in the sealed log is kept in the store after each event
//! that was taken, by whoever has the claim on the webhook: a kill at any point
//! loses none, and at worst sends one twice. Where several control planes work
//! on one database, one at a time works on a webhook.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use billet_model::{
    ProjectId, Secret, Time, WebhookId,
    event::SealedRow,
    people::Actor,
    webhook::{Delivery, Disabled, Webhook},
};
use billet_plan::webhook::{Next, attempted};
use billet_store::{AuditFilter, Batch, EngineKind, PutWebhook, StoreError, Write};
use jiff::SignedDuration;
use serde_json::json;
use tokio::task::JoinSet;

use super::SECRET;
use crate::app::App;

/// How often the log's head is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a claim holds when its holder dies; longer than one attempt takes.
const CLAIM: SignedDuration = SignedDuration::from_secs(60);
/// Events that a webhook is sent before others of its owner's have a turn.
const TURN: usize = 100;
/// Webhooks of one owner that are sent to at a time: slow receivers hold up their own.
const AT_A_TIME: usize = 4;
/// Webhooks looked at in one go.
const MOST: usize = 10_000;

/// What the loop remembers between looks.
#[derive(Default)]
struct Memory {
    /// Webhooks that are being sent to, and whose they are.
    busy: HashMap<WebhookId, Option<ProjectId>>,
    /// Up to where there is nothing for a webhook, as it was at this version.
    nothing: HashMap<WebhookId, (i64, u64)>,
}

type Shared = Arc<Mutex<Memory>>;

fn lock(memory: &Shared) -> std::sync::MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what happens to webhooks, until it is dropped.
pub(crate) async fn deliver(app: App) {
    // SQLite has one control plane: what its last run had claimed is its own.
    let me = match app.store().engine() {
        EngineKind::Sqlite => "the control plane".to_owned(),
        EngineKind::Postgres => app.control().new_id::<WebhookId>().to_string(),
    };
    let memory = Shared::default();
    let mut turns = JoinSet::new();
    let mut ending = app.ending();
    loop {
        if let Err(error) = start_due(&app, &memory, &mut turns, &me).await {
            tracing::error!(%error, "looking for webhooks that are due");
        }
        while turns.try_join_next().is_some() {}
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = ending.wait_for(|ending| *ending) => break,
        }
    }
    // Those under way may end; what they have not kept is sent again.
    while turns.join_next().await.is_some() {}
}

async fn start_due(
    app: &App,
    memory: &Shared,
    turns: &mut JoinSet<()>,
    me: &str,
) -> Result<(), StoreError> {
    let head = app.store().audit_head().await?.size;
    let mut due = app.store().webhooks_due(head, app.now(), MOST).await?;
    // Whoever was not served for longest comes first.
    due.sort_by_key(|(_, delivery)| delivery.last_at);
    for (webhook, _) in due {
        {
            let mut memory = lock(memory);
            let nothing = memory.nothing.get(&webhook.id);
            let owners = memory.busy.values().filter(|p| **p == webhook.project);
            if nothing.is_some_and(|(version, to)| *version == webhook.version && *to >= head)
                || owners.count() >= AT_A_TIME
                || memory.busy.contains_key(&webhook.id)
            {
                continue;
            }
            memory.busy.insert(webhook.id, webhook.project);
        }
        let (app, memory, me) = (app.clone(), memory.clone(), me.to_owned());
        turns.spawn(async move {
            let _busy = Busy(memory.clone(), webhook.id);
            if let Err(error) = turn(&app, &memory, webhook.id, &me).await {
                tracing::error!(%error, webhook = %webhook.id, "sending events to a webhook");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
    Ok(())
}

/// A webhook that is being sent to, until this is dropped.
struct Busy(Shared, WebhookId);

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.0).busy.remove(&self.1);
    }
}

/// Which events are a webhook's.
pub(crate) fn filter(webhook: &Webhook) -> AuditFilter {
    AuditFilter {
        projects: webhook.project.map(|project| vec![project]),
        actions: webhook.actions.clone(),
        ..AuditFilter::default()
    }
}

/// Sends one webhook what there is for it: up to [`TURN`] events.
async fn turn(app: &App, memory: &Shared, id: WebhookId, me: &str) -> Result<(), StoreError> {
    // Looked at before it is claimed: most events are not for most webhooks.
    let Some((webhook, delivery)) = app.store().webhook(id).await? else {
        return Ok(());
    };
    if waiting(app, memory, &webhook, &delivery).await?.is_empty() {
        return Ok(());
    }
    let now = app.now();
    if !app.store().claim_webhook(id, me, now, now + CLAIM).await? {
        return Ok(());
    }
    // Once more, now that nobody else brings it forward.
    let Some((webhook, mut delivery)) = app.store().webhook(id).await? else {
        return Ok(());
    };
    let due = delivery.retry_at.is_none_or(|at| at <= app.now());
    let mut ending = app.ending();
    if due && webhook.disabled.is_none() {
        let secrets = secrets(app, &webhook).await?;
        for row in waiting(app, memory, &webhook, &delivery).await? {
            let sent = tokio::select! {
                sent = send(app, &webhook, &secrets, &mut delivery, &row) => sent,
                // It was perhaps taken: it is sent again by whoever comes next.
                _ = ending.wait_for(|ending| *ending) => break,
            };
            match sent {
                Next::Continue => {}
                Next::Retry => break,
                Next::Disable(why) => return disable(app, webhook, delivery, why).await,
            }
            let until = Some(app.now() + CLAIM);
            if !app.store().webhook_came(id, me, &delivery, until).await? {
                // Changed by its owner, or claimed by another: theirs counts.
                return Ok(());
            }
        }
    }
    app.store().webhook_came(id, me, &delivery, None).await?;
    Ok(())
}

async fn send(
    app: &App,
    webhook: &Webhook,
    secrets: &[Secret],
    delivery: &mut Delivery,
    row: &SealedRow,
) -> Next {
    let attempt = app.webhooks().send(webhook, secrets, row, app.now()).await;
    let mut chance = [0; 8];
    app.control().world.fill(&mut chance);
    let index = row.index.unwrap_or(delivery.next);
    let now = app.now();
    let give_up = app.webhooks().give_up;
    let next = attempted(
        delivery,
        index,
        &attempt,
        now,
        u64::from_le_bytes(chance),
        give_up,
    );
    tracing::debug!(webhook = %webhook.id, index, ?attempt, ?next, "sent an event");
    next
}

/// The next events of a webhook's; where there are none that is remembered.
async fn waiting(
    app: &App,
    memory: &Shared,
    webhook: &Webhook,
    delivery: &Delivery,
) -> Result<Vec<SealedRow>, StoreError> {
    let head = app.store().audit_head().await?.size;
    let from = match lock(memory).nothing.get(&webhook.id) {
        Some((version, to)) if *version == webhook.version => delivery.next.max(*to),
        _ => delivery.next,
    };
    let rows = app
        .store()
        .audit_sealed(&filter(webhook), from, head, TURN)
        .await?;
    // Up to the first there is nothing, whether or not that is taken soon.
    let nothing = rows.first().and_then(|row| row.index).unwrap_or(head);
    lock(memory)
        .nothing
        .insert(webhook.id, (webhook.version, nothing));
    Ok(rows)
}

/// What a webhook's events are signed with now.
pub(crate) async fn secrets(app: &App, webhook: &Webhook) -> Result<Vec<Secret>, StoreError> {
    let Some((present, before)) = app.store().webhook_secrets(webhook.id).await? else {
        return Ok(Vec::new());
    };
    let both = webhook.old_secret_until.is_some_and(|end| end > app.now());
    let sealed = [Some(present), before.filter(|_| both)];
    let open = |sealed: Vec<u8>| {
        let keys = &app.control().keys;
        keys.unseal(webhook.id.0, SECRET, &sealed)
            .map_err(|e| StoreError::Corrupt {
                what: "a webhook's secret",
                why: e.to_string(),
            })
    };
    sealed.into_iter().flatten().map(open).collect()
}

/// Switches a webhook off, on record, and keeps its place.
async fn disable(
    app: &App,
    mut webhook: Webhook,
    delivery: Delivery,
    why: String,
) -> Result<(), StoreError> {
    let since: Time = app.now();
    webhook.disabled = Some(Disabled {
        since,
        why: why.clone(),
    });
    let mut row = app.row(&Actor::Billet, "webhook.disable");
    row.project = webhook.project;
    row.detail = json!({ "webhook": webhook.id, "name": webhook.name, "why": why });
    let write = Write::PutWebhook(Box::new(PutWebhook {
        webhook,
        secrets: None,
        delivery: Some(delivery),
    }));
    match app
        .store()
        .commit(Batch::new().with(write).audited(row))
        .await
    {
        // Changed by its owner meanwhile: that is tried first.
        Err(StoreError::Conflict { .. }) => Ok(()),
        other => other,
    }
}
