//! A backup, and what is done with one.

use super::{World, fixtures::*};
use crate::{AuditFilter, MachineFilter, Store, StoreError, StoreUrl, Write};

pub(super) async fn a_backup_opens_and_is_held(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let first = enrolled(store, &ground, 1).await;
    enrolled(store, &ground, 2).await;
    store.seal(at(0)).await.expect("sealed");
    let to = world.folder.path().join("backup.db");
    if world.is_postgres() {
        let refused = store.backup(&to).await;
        assert!(
            matches!(&refused, Err(StoreError::NotHere(what)) if what.contains("pg_dump")),
            "{refused:?}"
        );
        // What restoring does is the same on this engine.
        check_restored(store, 2).await;
        return;
    }
    if world.url == StoreUrl::SqliteInMemory {
        let refused = store.backup(&to).await;
        assert!(
            matches!(refused, Err(StoreError::NotHere(_))),
            "{refused:?}"
        );
        check_restored(store, 2).await;
        return;
    }
    // While others write.
    let writing = {
        let (store, machine) = (store.clone(), first.clone());
        tokio::spawn(async move {
            let mut machine = machine;
            for _ in 0..50 {
                machine.requests += 1;
                store
                    .commit(put(Write::PutMachine(Box::new(machine.clone()))))
                    .await
                    .expect("writing goes on");
                machine.version += 1;
            }
        })
    };
    store.backup(&to).await.expect("backed up");
    writing.await.expect("written");
    let again = store.backup(&to).await;
    assert!(
        matches!(again, Err(StoreError::Constraint { .. })),
        "no backup is written over: {again:?}"
    );
    assert!(!world.folder.path().join("backup.db.partial").exists());

    let url = StoreUrl::Sqlite { path: to };
    let restored = Store::open(&url).await.expect("a backup is a database");
    assert!(
        restored
            .claim(first.id, "before", at(0), at(1000))
            .await
            .expect("claimed")
    );
    check_restored(&restored, 2).await;
    let untouched = store.machines(&MachineFilter::default(), None, 10).await;
    assert!(untouched.expect("read").iter().all(|m| !m.unconfirmed));
}

/// A database that PostgreSQL's own tools put back elsewhere: what was claimed in it at the time
/// of the dump is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pg_restore_put_back_is_held() {
    let Some(server) = super::postgres::Server::start() else {
        return;
    };
    let url = server.database("before");
    let store = Store::open(&StoreUrl::Postgres { url })
        .await
        .expect("it opens");
    let ground = ground(&store).await;
    let first = enrolled(&store, &ground, 1).await;
    enrolled(&store, &ground, 2).await;
    store.seal(at(0)).await.expect("sealed");
    let claimed = store.claim(first.id, "before", at(0), at(1000)).await;
    assert!(claimed.expect("asked"));
    let url = server.copy("before", "after");
    let restored = Store::open(&StoreUrl::Postgres { url })
        .await
        .expect("it opens");
    let machines = restored.machines(&MachineFilter::default(), None, 10).await;
    assert!(machines.expect("read").iter().all(|m| !m.unconfirmed));
    check_restored(&restored, 2).await;
    store.close().await;
    restored.close().await;
}

async fn check_restored(store: &Store, machines: u64) {
    let before = store.machines(&MachineFilter::default(), None, 10).await;
    let before = before.expect("read");
    let rows = |store: &Store| {
        let store = store.clone();
        async move {
            let all = store.audit(&AuditFilter::default(), None, 1000).await;
            all.expect("read").len() as u64
        }
    };
    let rows_before = rows(store).await;
    assert_eq!(
        store.mark_restored(at(500)).await.expect("marked"),
        machines
    );
    let after = store.machines(&MachineFilter::default(), None, 10).await;
    for (before, after) in before.iter().zip(after.expect("read")) {
        let mut expected = before.clone();
        expected.unconfirmed = true;
        expected.version += 1;
        assert_eq!(after, expected, "held, and nothing else");
        assert!(
            store
                .claim(after.id, "after", at(1), at(2))
                .await
                .expect("asked"),
            "claims from before count for nothing"
        );
    }
    assert_eq!(rows(store).await, rows_before + machines + 1);
    let head = store.audit_head().await.expect("read");
    store.seal(at(501)).await.expect("the log goes on");
    let grown = store.audit_head().await.expect("read");
    assert!(grown.size > head.size);
}
