//! Quotas are kept, whoever is quicker.

use billet_model::{lease::LeaseState, people::Quota};

use super::{World, fixtures::*};
use crate::{StoreError, Write};

pub(super) async fn quotas_are_kept(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let own = Quota {
        machine_type: ground.machine_type.clone(),
        organisation: None,
        project: Some(ground.project),
        most: 2,
    };
    let all = Quota {
        organisation: Some(ground.organisation),
        project: None,
        most: 3,
        ..own.clone()
    };
    for quota in [&own, &all, &own] {
        let write = Write::PutQuota(quota.clone());
        store
            .commit(put(write))
            .await
            .expect("made, and made again");
    }
    // Ten at once for two places.
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..10 {
        let machine = enrolled(store, &ground, n + 1).await;
        let lease = lease(&ground, machine.id, &format!("l{n}"));
        let (store, machine_type) = (store.clone(), ground.machine_type.clone());
        racers.spawn(async move {
            let batch = put(Write::PutLease(Box::new(lease.clone()))).with(Write::WithinQuota {
                project: lease.project,
                machine_type,
            });
            (lease, store.commit(batch).await)
        });
    }
    let mut held = Vec::new();
    while let Some(raced) = racers.join_next().await {
        match raced.expect("a racer ends") {
            (lease, Ok(())) => held.push(lease),
            (lease, Err(error)) => {
                assert!(matches!(error, StoreError::OverQuota { .. }), "{error:?}");
                let left = store.lease(lease.id).await.expect("read");
                assert_eq!(left, None, "a loser leaves nothing");
            }
        }
    }
    assert_eq!(held.len(), 2);
    let read = store.quotas(Some(&[ground.project])).await.expect("read");
    assert_eq!(read, [(own.clone(), 2), (all.clone(), 2)]);

    // The organisation's counts for its other projects too, and only it.
    let grant = async |n: u32| {
        let machine = enrolled(store, &ground, n).await;
        let mut lease = lease(&ground, machine.id, &format!("m{n}"));
        lease.project = ground.other_project;
        let within = Write::WithinQuota {
            project: lease.project,
            machine_type: ground.machine_type.clone(),
        };
        let batch = put(Write::PutLease(Box::new(lease))).with(within);
        store.commit(batch).await
    };
    grant(21).await.expect("the third");
    let refused = grant(22).await;
    assert!(
        matches!(refused, Err(StoreError::OverQuota { .. })),
        "{refused:?}"
    );
    let read = store
        .quotas(Some(&[ground.other_project]))
        .await
        .expect("read");
    assert_eq!(read, [(all.clone(), 3)]);

    // What is over counts no more; without a quota there is no end.
    let mut over = held.remove(0);
    over.version = 1;
    over.state = LeaseState::Released;
    store
        .commit(put(Write::PutLease(Box::new(over))))
        .await
        .expect("over");
    grant(24).await.expect("there is room");
    store
        .commit(put(Write::DeleteQuota(all)))
        .await
        .expect("gone");
    grant(23).await.expect("no end");
    let read = store.quotas(None).await.expect("read");
    assert_eq!(read, [(own, 1)]);
    assert_eq!(store.quotas(Some(&[])).await.expect("read"), []);

    // Who watches over all of it reads the same.
    let leases = store.lease_counts().await.expect("read");
    assert_eq!(leases.iter().map(|(_, count)| count).sum::<u64>(), 5);
    assert!(leases.contains(&("released".to_owned(), 1)), "{leases:?}");
    let machines = store.machine_counts().await.expect("read");
    let kind = ground.machine_type.to_string();
    assert_eq!(machines, [(kind, "enrolled".to_owned(), 14)]);
}
