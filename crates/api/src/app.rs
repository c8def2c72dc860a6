//! What every handler has at hand, and the housekeeping beside them.

use std::{collections::HashSet, sync::Arc, time::Duration};

use billet_control::Control;
use billet_model::{ImageId, ProjectId, TokenId, event::AuditRow, people::Actor};
use billet_store::{Batch, Store, StoreError, Write};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use tokio::sync::watch;

use crate::{
    calls::Calls,
    fetch::{self, Fetcher, Guard},
    images::Images,
    metrics::Requests,
    problem::{Failure, Kind},
    serve::{ServeError, ServeOptions},
    signin::{Refused, SignIns},
    streams::Streams,
    webhooks::Sender,
};

/// For how long an answer is kept for its idempotency key.
const KEYS_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// For how long boots and tasks of agents are kept, but for each machine's last.
const WORK_KEPT: SignedDuration = SignedDuration::from_hours(24 * 31);

/// The application. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    inner: Arc<Inner>,
}

struct Inner {
    control: Control,
    log_origin: String,
    /// Whether instance metadata is served over the network.
    metadata: bool,
    images: Images,
    signins: SignIns,
    requests: Requests,
    calls: Calls,
    /// For how long calls are kept.
    calls_kept: SignedDuration,
    webhooks: Sender,
    streams: Streams,
    /// Held by whoever changes a token or a user, from reading it to the commit:
    /// a user is written back whole, and what was switched off must stay off.
    credentials: tokio::sync::Mutex<()>,
    /// Becomes true when the server stops: what waits for ever ends then.
    ending: watch::Receiver<bool>,
    /// Requests under way that have an idempotency key.
    under_way: std::sync::Mutex<HashSet<(TokenId, String)>>,
}

impl App {
    /// Alone among those who change tokens and users, until it is dropped.
    pub(crate) async fn credentials(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.credentials.lock().await
    }

    pub(crate) fn new(
        control: Control,
        options: &ServeOptions,
        authority: &str,
        ending: watch::Receiver<bool>,
    ) -> Result<Self, ServeError> {
        let fetcher = Fetcher::new(Guard::new(options.fetch_allow.clone(), fetch::IMAGES))
            .map_err(|e| ServeError::Fetch(e.to_string()))?;
        let images = Images::new(control.clone(), fetcher, options);
        let webhooks = Sender::new(options).map_err(|e| ServeError::Fetch(e.to_string()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                control,
                log_origin: format!("billet-{}/audit", &authority[..16]),
                images,
                metadata: options.metadata.is_some(),
                signins: SignIns::default(),
                credentials: tokio::sync::Mutex::default(),
                requests: Requests::default(),
                calls: Calls::default(),
                calls_kept: options.calls_keep,
                webhooks,
                streams: Streams::new(options.streams),
                ending,
                under_way: std::sync::Mutex::default(),
            }),
        })
    }

    pub(crate) fn control(&self) -> &Control {
        &self.inner.control
    }

    pub(crate) fn store(&self) -> &Store {
        self.inner.control.store()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.control.now()
    }

    /// The audit log's name in checkpoints.
    pub(crate) fn log_origin(&self) -> &str {
        &self.inner.log_origin
    }

    /// Whether instance metadata is served over the network.
    pub(crate) fn serves_metadata(&self) -> bool {
        self.inner.metadata
    }

    pub(crate) fn images(&self) -> &Images {
        &self.inner.images
    }

    /// Requests that were answered.
    pub(crate) fn requests(&self) -> &Requests {
        &self.inner.requests
    }

    /// Calls that are being recorded.
    pub(crate) fn calls(&self) -> &Calls {
        &self.inner.calls
    }

    /// What sends events to webhooks.
    pub(crate) fn webhooks(&self) -> &Sender {
        &self.inner.webhooks
    }

    /// Streams that callers have open.
    pub(crate) fn streams(&self) -> &Streams {
        &self.inner.streams
    }

    /// Becomes true when the server stops.
    pub(crate) fn ending(&self) -> watch::Receiver<bool> {
        self.inner.ending.clone()
    }

    /// Marks a request with a key as under way; none where it is already.
    pub(crate) fn begin_keyed(&self, token: TokenId, key: &str) -> Option<Keyed> {
        let mark = (token, key.to_owned());
        let mut under_way = lock(&self.inner.under_way);
        under_way.insert(mark.clone()).then(|| Keyed {
            app: self.clone(),
            mark,
        })
    }

    /// An audit row, to go into the batch of what it records.
    pub(crate) fn row(&self, actor: &Actor, action: &str) -> AuditRow {
        self.inner.control.audit_row(actor, action, json!({}))
    }

    /// Carries a batch out.
    pub(crate) async fn commit(&self, doing: &str, batch: Batch) -> Result<(), Failure> {
        self.store()
            .commit(batch)
            .await
            .map_err(|e| of_store(doing, e))
    }

    /// A refused sign-in: on record, or counted.
    pub(crate) async fn refused_sign_in(
        &self,
        refused: Refused,
        token: Option<(&str, Option<ProjectId>)>,
    ) {
        if !self.inner.signins.refused(refused) {
            return;
        }
        self.write_refused(refused, token, 1).await;
    }

    async fn write_refused(
        &self,
        refused: Refused,
        token: Option<(&str, Option<ProjectId>)>,
        count: u64,
    ) {
        let mut row = self.row(&Actor::Unknown, "token.refused");
        row.project = token.and_then(|(_, project)| project);
        row.detail = json!({
            "why": refused.why.as_str(),
            "token": refused.token.map(|id| id.to_string()),
            "name": token.map(|(name, _)| name),
            "from": refused.address.map(|address| address.to_string()),
            "count": count,
        });
        if let Err(error) = self.store().commit(Batch::new().audited(row)).await {
            tracing::error!(%error, "a refused sign-in could not be put on record");
        }
    }

    /// Once a minute: counted sign-ins, old idempotency keys and calls, old boots
    /// and tasks.
    pub(crate) async fn keep_house(self) {
        let mut tick = tokio::time::interval(Duration::from_secs(60));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for (refused, count) in self.inner.signins.take() {
                self.write_refused(refused, None, count).await;
            }
            let before = self.now() - KEYS_KEPT;
            let forget =
                Batch::new()
                    .with(Write::ForgetIdempotency { before })
                    .with(Write::ForgetCalls {
                        before: self
                            .now()
                            .checked_sub(self.inner.calls_kept)
                            .unwrap_or(Timestamp::MIN),
                    });
            if let Err(error) = self.store().commit(forget).await {
                tracing::error!(%error, "old idempotency keys and calls could not be forgotten");
            }
            let before = self.now() - WORK_KEPT;
            let forget = Batch::new().with(Write::ForgetWork { before });
            if let Err(error) = self.store().commit(forget).await {
                tracing::error!(%error, "old boots and tasks could not be forgotten");
            }
            self.inner.images.keep_house().await;
        }
    }
}

/// A request with an idempotency key, under way until this is dropped.
pub(crate) struct Keyed {
    app: App,
    mark: (TokenId, String),
}

impl Drop for Keyed {
    fn drop(&mut self) {
        lock(&self.app.inner.under_way).remove(&self.mark);
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What the store would not do, as a problem.
pub(crate) fn of_store(doing: &str, error: StoreError) -> Failure {
    match error {
        StoreError::Conflict { .. } => Failure::new(
            Kind::Stale,
            format!("{doing}: {error}. Read it again and decide again"),
        ),
        StoreError::OverQuota { .. } => Failure::new(Kind::OverQuota, error.to_string()),
        StoreError::Held { .. } | StoreError::Constraint { .. } => {
            Failure::new(Kind::Conflict, format!("{doing}: {error}"))
        }
        StoreError::Duplicate { .. } => {
            Failure::new(Kind::Conflict, format!("{error}: choose another")).field("name")
        }
        StoreError::Referenced { .. } => Failure::new(Kind::InUse, format!("{doing}: {error}")),
        StoreError::NotFound { what, ref id } => Failure::not_found(what, id),
        other => Failure::internal(doing, &other),
    }
}

/// What a row can be about, set in one go.
pub(crate) trait About {
    fn project(self, project: Option<ProjectId>) -> Self;
    fn image(self, image: ImageId) -> Self;
    fn detail(self, detail: serde_json::Value) -> Self;
}

impl About for AuditRow {
    fn project(mut self, project: Option<ProjectId>) -> Self {
        self.project = project;
        self
    }

    fn image(mut self, image: ImageId) -> Self {
        self.image = Some(image);
        self
    }

    fn detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }
}
