//! Many at once.

use super::{World, fixtures::*};
use crate::{StoreError, Write};

const MANY: usize = 12;

pub(super) async fn one_hold_wins(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    for round in 0..4 {
        let machine = enrolled(store, &ground, round + 1).await;
        let mut racers = tokio::task::JoinSet::new();
        for n in 0..MANY {
            let lease = lease(&ground, machine.id, &format!("r{round}-{n}"));
            let store = store.clone();
            racers.spawn(async move {
                let batch = put(Write::PutLease(Box::new(lease.clone()))).with(Write::Hold {
                    machine: lease.machine,
                    units: 8,
                    lease: lease.id,
                });
                (lease.id, store.commit(batch).await)
            });
        }
        let mut winners = Vec::new();
        while let Some(raced) = racers.join_next().await {
            match raced.expect("a racer ends") {
                (lease, Ok(())) => winners.push(lease),
                (lease, Err(error)) => {
                    assert!(matches!(error, StoreError::Held { .. }), "{error:?}");
                    let left = store.lease(lease).await.expect("read");
                    assert_eq!(left, None, "a loser leaves nothing");
                }
            }
        }
        assert_eq!(winners.len(), 1, "exactly one holds the machine");
        let held = store.units_held(winners[0]).await.expect("read");
        assert_eq!(held.len(), 8);
    }
}

pub(super) async fn updates_are_not_lost(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..MANY {
        let (store, id) = (store.clone(), machine.id);
        racers.spawn(async move {
            let mut tries = 0;
            loop {
                let mut read = store.machine(id).await.expect("read").expect("there");
                read.requests += 1;
                let write = Write::PutMachine(Box::new(read));
                match store.commit(crate::Batch::new().with(write)).await {
                    Ok(()) => return tries,
                    Err(StoreError::Conflict { .. }) => tries += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    while let Some(raced) = racers.join_next().await {
        raced.expect("a racer ends");
    }
    let end = store
        .machine(machine.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(end.requests, MANY as u64, "each counted once");
    assert_eq!(end.version, 1 + MANY as i64);
}

pub(super) async fn one_claim_wins(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..MANY {
        let (store, id) = (store.clone(), machine.id);
        racers.spawn(async move {
            store
                .claim(id, &format!("worker-{n}"), at(0), at(60))
                .await
                .expect("claimed or not")
        });
    }
    let mut winners = 0;
    while let Some(raced) = racers.join_next().await {
        winners += u32::from(raced.expect("a racer ends"));
    }
    assert_eq!(winners, 1);
}

pub(super) async fn sealers_do_not_collide(world: World) {
    let store = &world.store;
    ground(store).await;
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..MANY {
        let store = store.clone();
        racers.spawn(async move {
            for _ in 0..3 {
                let batch = crate::Batch::new().audited(row(&format!("test.{n}")));
                store.commit(batch).await.expect("kept");
            }
            store.seal(at(1)).await.expect("sealed")
        });
    }
    let mut sealed = 0;
    while let Some(raced) = racers.join_next().await {
        sealed += raced.expect("a racer ends");
    }
    let rows = 1 + 3 * MANY as u64;
    assert_eq!(sealed, rows, "each row once");
    let head = store.audit_head().await.expect("read");
    assert_eq!(head.size, rows);
    assert_eq!(store.audit_root(rows).await.expect("made"), head.root);
}
