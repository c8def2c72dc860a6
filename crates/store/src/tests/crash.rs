//! Stopped in the middle: all of a batch is there, or nothing.

use std::{
    future::Future,
    task::{Context, Poll},
};

use sqlx::{Connection, Row};

use super::{World, fixtures::*};
use crate::{AuditFilter, MachineFilter, Store, Write, engine::Flush, write};

async fn counts(store: &Store) -> (usize, usize) {
    let machines = store.machines(&MachineFilter::default(), None, 100).await;
    let rows = store.audit(&AuditFilter::default(), None, 1000).await;
    (machines.expect("read").len(), rows.expect("read").len())
}

pub(super) async fn a_dropped_transaction_leaves_nothing(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let before = counts(store).await;
    let batch = put(Write::PutMachine(Box::new(machine(&ground, 1))))
        .with(Write::PutMachine(Box::new(machine(&ground, 2))));
    let statements = write::statements(batch).expect("statements");
    for done in 1..=statements.len() {
        let mut connection = store.engine.writing().await.expect("a connection");
        let mut transaction = connection
            .begin_with(store.engine.begin_sql())
            .await
            .expect("begun");
        store
            .engine
            .run_all(&mut transaction, &statements[..done])
            .await
            .expect("carried out");
        drop(transaction);
        drop(connection);
        assert_eq!(counts(store).await, before, "after {done} statements");
    }
    store
        .engine
        .transact(&statements, Flush::Now)
        .await
        .expect("whole");
    assert_eq!(counts(store).await, (2, before.1 + 1));
}

/// A future that is polled so often and then dropped.
async fn polled<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = times;
    std::future::poll_fn(move |context: &mut Context<'_>| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

pub(super) async fn a_commit_dropped_anywhere_is_whole(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut before = counts(store).await;
    let mut dropped = 0;
    for n in 0..60 {
        let batch = put(Write::PutMachine(Box::new(machine(&ground, n + 1))))
            .with(Write::PutMachine(Box::new(machine(&ground, n + 1001))));
        let ended = polled(n % 4, store.commit(batch)).await;
        // What was sent may still be carried out: the next to write comes after it.
        drop(store.engine.writing().await.expect("settled"));
        let now = counts(store).await;
        let whole = (before.0 + 2, before.1 + 1);
        match ended {
            Some(result) => {
                result.expect("it was left alone");
                assert_eq!(now, whole);
            }
            None => {
                dropped += 1;
                assert!(now == before || now == whole, "{before:?} became {now:?}");
            }
        }
        before = now;
    }
    assert!(
        dropped >= 15,
        "those that were never polled at least: {dropped}"
    );
}

/// What the writer waits for at a commit: 2 is SQLite's word for the drive.
async fn flushes(world: &World) -> i64 {
    let mut writer = world.store.engine.writing().await.expect("a connection");
    let row = sqlx::query("PRAGMA synchronous")
        .fetch_one(&mut *writer)
        .await;
    row.expect("a row").get(0)
}

pub(super) async fn readings_are_kept_and_what_follows_is_flushed(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let reading = |rack: &str, version: i64| {
        let mut read = machine.clone();
        read.rack = Some(rack.to_owned());
        read.version = version;
        let mut batch = crate::Batch::new().with(Write::PutMachine(Box::new(read)));
        batch.readings_only = true;
        batch
    };
    let version = machine.version;
    store.commit(reading("first", version)).await.expect("kept");
    let stale = store.commit(reading("stale", version)).await;
    assert!(
        matches!(stale, Err(crate::StoreError::Conflict { .. })),
        "{stale:?}"
    );
    let _ = polled(1, store.commit(reading("dropped", version))).await;
    let kept = store.machine(machine.id).await.expect("read");
    assert_eq!(kept.expect("there").rack.as_deref(), Some("first"));
    if !world.is_postgres() {
        assert_eq!(flushes(&world).await, 2);
    }
}
