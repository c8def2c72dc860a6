//! Following an operation: answered when it changes, or when the time is up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use billet_model::{OperationId, operation::Operation};
use billet_store::{Batch, EngineKind, StoreError, Write};
use tokio::sync::Notify;

use crate::Control;

/// How often an operation is read where this process is rung at each change, and where
/// another may change it: the database is the one place that all replicas share.
const PAUSE_ALONE: Duration = Duration::from_secs(1);
const PAUSE_AMONG: Duration = Duration::from_millis(250);

/// Bells of those who wait for an operation to change.
#[derive(Default)]
pub struct Followers(Mutex<HashMap<OperationId, Arc<Notify>>>);

impl Followers {
    /// Rings for all operations that a batch wrote.
    pub(crate) fn ring(&self, written: &[OperationId]) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in written.iter().filter_map(|id| bells.get(id)) {
            bell.notify_waiters();
        }
    }

    fn follow(&self, id: OperationId) -> Follower<'_> {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Follower {
            of: self,
            id,
            bell: bells.entry(id).or_default().clone(),
        }
    }
}

/// The operations that a batch writes.
pub(crate) fn written(batch: &Batch) -> Vec<OperationId> {
    let of = |write: &Write| match write {
        Write::PutOperation(operation) => Some(operation.id),
        _ => None,
    };
    batch.writes.iter().filter_map(of).collect()
}

/// Somebody who waits.
struct Follower<'a> {
    of: &'a Followers,
    id: OperationId,
    bell: Arc<Notify>,
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        let mut bells = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Its own, and the one in the map.
        if Arc::strong_count(&self.bell) <= 2 {
            bells.remove(&self.id);
        }
    }
}

impl Control {
    /// The operation, as soon as it is another than the one seen, or ended, or
    /// the time is up.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_operation(
        &self,
        id: OperationId,
        seen: Option<&Operation>,
        at_most: Duration,
    ) -> Result<Option<Operation>, StoreError> {
        let end = tokio::time::Instant::now() + at_most;
        let pause = match self.store().engine() {
            EngineKind::Sqlite => PAUSE_ALONE,
            EngineKind::Postgres => PAUSE_AMONG,
        };
        let follower = self.followers.follow(id);
        loop {
            // Before it is read, so that no change falls in between.
            let mut rung = std::pin::pin!(follower.bell.notified());
            rung.as_mut().enable();
            let Some(operation) = self.store().operation(id).await? else {
                return Ok(None);
            };
            let news = operation.ended_at.is_some() || seen.is_none_or(|s| *s != operation);
            let now = tokio::time::Instant::now();
            if news || now >= end {
                return Ok(Some(operation));
            }
            let _ = tokio::time::timeout_at(end.min(now + pause), rung).await;
        }
    }
}
