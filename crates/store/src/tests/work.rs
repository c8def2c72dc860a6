//! What the control loop asks for.

use billet_model::{MachineId, lease::LeaseState, lifecycle::Lifecycle};
use jiff::ToSpan;

use super::{World, fixtures::*};
use crate::{StoreError, Write};

pub(super) async fn due_machines_come_in_order(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    assert_eq!(store.next_wake().await.expect("read"), None);
    let mut ids = Vec::new();
    for n in [3, 1, 2, 4] {
        ids.push((n, enrolled(store, &ground, n).await.id));
    }
    ids.sort();
    let ids: Vec<_> = ids.into_iter().map(|(_, id)| id).collect();
    let wake = store.next_wake().await.expect("read").expect("one");
    assert!(wake >= at(1) && wake <= at(1) + 1.microsecond(), "{wake}");
    // Due by the column is due by the clock: never a moment before.
    let just_before = at(1) - 1.nanosecond();
    let due = async |now, limit| -> Vec<MachineId> {
        let due = store.machines_due(now, limit).await.expect("read");
        due.into_iter().map(|d| d.machine).collect()
    };
    assert_eq!(due(just_before, 10).await, []);
    assert_eq!(due(wake, 10).await, ids[..1]);
    assert_eq!(
        due(at(4), 10).await,
        ids[..3],
        "the fourth is due within the microsecond"
    );
    assert_eq!(due(at(9), 2).await, ids[..2]);

    // Who sees the same twice has heard of nothing new.
    let before = store.machines_due(at(9), 1).await.expect("read");
    assert_eq!(store.machines_due(at(9), 1).await.expect("read"), before);
    let second = store.machine(ids[0]).await.expect("read").expect("there");
    let again = Write::PutMachine(Box::new(second));
    store.commit(put(again)).await.expect("put");
    assert_ne!(store.machines_due(at(9), 1).await.expect("read"), before);

    let mut first = store.machine(ids[0]).await.expect("read").expect("there");
    first.lifecycle = Lifecycle::Retired;
    store
        .commit(put(Write::PutMachine(Box::new(first))))
        .await
        .expect("retired");
    assert_eq!(due(at(9), 10).await, ids[1..]);
}

pub(super) async fn claims_pass_on(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let claim = |by: &'static str, now, until| store.claim(machine.id, by, at(now), at(until));
    assert!(claim("a", 0, 10).await.expect("claimed"));
    assert!(claim("a", 1, 11).await.expect("kept up"));
    assert!(!claim("b", 5, 15).await.expect("refused"));
    store
        .release_claim(machine.id, "b")
        .await
        .expect("not b's to give");
    assert!(!claim("b", 6, 16).await.expect("refused"));
    assert!(claim("b", 11, 21).await.expect("a's has run out"));
    assert!(!claim("a", 12, 22).await.expect("refused"));
    store.release_claim(machine.id, "b").await.expect("given");
    assert!(claim("a", 13, 23).await.expect("free"));
    // A claim is no change of the machine.
    let found = store.machine(machine.id).await.expect("read");
    assert_eq!(found, Some(machine));
    let nobody = new_id!(MachineId);
    assert!(
        !store
            .claim(nobody, "a", at(0), at(1))
            .await
            .expect("nothing to claim")
    );
}

pub(super) async fn offers_are_counted(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    for n in 0..6 {
        let mut machine = machine(&ground, n);
        machine.lifecycle = Lifecycle::Available;
        machine.may_hold_data = false;
        match n {
            0 => machine.cordoned = Some("why".into()),
            1 => machine.unconfirmed = true,
            2 => machine.lifecycle = Lifecycle::Testing,
            _ => {}
        }
        store
            .commit(put(Write::PutMachine(Box::new(machine.clone()))))
            .await
            .expect("put");
        if n == 3 {
            let lease = leased(store, &lease(&ground, machine.id, "a")).await;
            let hold = Write::Hold {
                machine: machine.id,
                units: 8,
                lease: lease.id,
            };
            store.commit(put(hold)).await.expect("held");
        }
    }
    let counts = store.offers_counts().await.expect("counted");
    let counts: Vec<_> = counts
        .iter()
        .map(|c| (c.lifecycle, c.free, c.machines))
        .collect();
    assert_eq!(
        counts,
        [
            (Lifecycle::Available, false, 3),
            (Lifecycle::Available, true, 2),
            (Lifecycle::Testing, false, 1)
        ]
    );
}

pub(super) async fn endings_are_found(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    for (n, (state, ends)) in [
        (LeaseState::Active, Some(20)),
        (LeaseState::Deploying, Some(10)),
        (LeaseState::Releasing, Some(5)),
        (LeaseState::Active, None),
        (LeaseState::Active, Some(40)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut lease = lease(&ground, machine.id, &format!("l{n}"));
        lease.state = state;
        lease.ends_at = ends.map(at);
        leased(store, &lease).await;
    }
    let ending = |before| async move {
        let leases = store.leases_ending(at(before), 10).await.expect("read");
        leases
            .into_iter()
            .map(|l| l.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ending(30).await, ["l1", "l0"]);
    assert_eq!(ending(9).await, Vec::<String>::new());
    let held = store
        .commit(put(Write::DeleteImage(ground.image)))
        .await
        .expect_err("live leases are of it");
    assert!(matches!(held, StoreError::Referenced { .. }), "{held:?}");
}
