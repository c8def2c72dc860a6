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
        // Its own goes while the map is held: of two that leave at once one is the last.
        drop(std::mem::take(&mut self.bell));
        if bells
            .get(&self.id)
            .is_some_and(|b| Arc::strong_count(b) == 1)
        {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Place;

    #[tokio::test]
    async fn a_commit_wakes_who_waits_for_it() {
        let place = Place::new().await;
        let seen = place.operation().await;
        let mut next = seen.clone();
        next.message = "further".into();
        let waiting = async {
            let began = tokio::time::Instant::now();
            let told = place
                .control
                .wait_operation(seen.id, Some(&seen), Duration::from_secs(20))
                .await;
            (told.expect("the store"), began.elapsed())
        };
        let changing = async {
            // The waiter has read what is there by then, and sleeps.
            tokio::time::sleep(PAUSE_ALONE / 10).await;
            let write = Write::PutOperation(Box::new(next.clone()));
            let committed = place.control.commit(Batch::new().with(write)).await;
            committed.expect("it is put");
        };
        let ((told, took), ()) = tokio::join!(waiting, changing);
        assert_eq!(told, Some(next));
        assert!(took < PAUSE_ALONE * 8 / 10, "it was asked for: {took:?}");
    }

    #[test]
    fn the_last_who_leaves_takes_the_bell_along() {
        let followers = Followers::default();
        let id = OperationId::from_parts(1, [1; 10]);
        let left = || followers.0.lock().expect("no panic").len();
        for _ in 0..2000 {
            let (one, two) = (followers.follow(id), followers.follow(id));
            std::thread::scope(|both| {
                both.spawn(|| drop(one));
                both.spawn(|| drop(two));
            });
            assert_eq!(left(), 0);
        }
        let (one, two) = (followers.follow(id), followers.follow(id));
        drop(one);
        assert_eq!(left(), 1, "one waits still");
        drop(two);
        assert_eq!(left(), 0);
    }
}
