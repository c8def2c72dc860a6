//! What must never be true of the data is refused, each with its typed error.

use std::net::Ipv4Addr;

use billet_model::{
    MachineId, lease::LeaseState, lifecycle::Lifecycle, people::Organisation, site::Network,
};

use super::{World, fixtures::*};
use crate::{AuditFilter, Batch, MachineFilter, Store, StoreError, Write, statement::Statement};

async fn refused(store: &Store, write: Write) -> StoreError {
    store
        .commit(put(write))
        .await
        .expect_err("the store refuses it")
}

fn is_duplicate(error: &StoreError, taken: &str) -> bool {
    matches!(error, StoreError::Duplicate { value, .. } if value == taken)
}

pub(super) async fn never_available_while_it_may_hold_data(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut machine = enrolled(store, &ground, 1).await;
    machine.lifecycle = Lifecycle::Available;
    let error = refused(store, Write::PutMachine(Box::new(machine.clone()))).await;
    assert!(
        matches!(&error, StoreError::Constraint { rule, .. } if rule.contains("may hold data")),
        "{error:?}"
    );
    machine.may_hold_data = false;
    store
        .commit(put(Write::PutMachine(Box::new(machine.clone()))))
        .await
        .expect("erased, it may be offered");
    machine.version = 2;
    machine.may_hold_data = true;
    let error = refused(store, Write::PutMachine(Box::new(machine))).await;
    assert!(matches!(error, StoreError::Constraint { .. }), "{error:?}");
}

pub(super) async fn machines_are_unique(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut first = enrolled(store, &ground, 1).await;
    let mut second = machine(&ground, 2);
    second.name = first.name.clone();
    let error = refused(store, Write::PutMachine(Box::new(second.clone()))).await;
    assert!(is_duplicate(&error, "r1-u1"), "{error:?}");
    assert_eq!(
        error.to_string(),
        "there is already a machine named \"r1-u1\""
    );

    second.name = name("r1-u2");
    second.bmc.address = format!(
        "{}/",
        first.bmc.address.to_uppercase().replace("HTTPS", "https")
    );
    let error = refused(store, Write::PutMachine(Box::new(second.clone()))).await;
    assert!(is_duplicate(&error, &first.bmc.address), "{error:?}");

    // Renaming one to the other is refused as well.
    second.bmc.address = "https://192.0.2.2".into();
    store
        .commit(put(Write::PutMachine(Box::new(second.clone()))))
        .await
        .expect("with a BMC of its own it is another");
    second.version = 1;
    second.name = first.name.clone();
    let error = refused(store, Write::PutMachine(Box::new(second.clone()))).await;
    assert!(is_duplicate(&error, "r1-u1"), "{error:?}");

    // A retired machine's record stays, and takes nobody's name.
    first.lifecycle = Lifecycle::Retired;
    first.addresses.clear();
    store
        .commit(put(Write::PutMachine(Box::new(first.clone()))))
        .await
        .expect("retired");
    store
        .commit(put(Write::PutMachine(Box::new(second.clone()))))
        .await
        .expect("its name is free");
    let found = store.machine_by_name(&name("r1-u1")).await.expect("read");
    assert_eq!(found.expect("there").id, second.id);
}

pub(super) async fn addresses_are_unique(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let first = enrolled(store, &ground, 1).await;
    let mut second = machine(&ground, 2);
    second.addresses = first.addresses.clone();
    let error = refused(store, Write::PutMachine(Box::new(second.clone()))).await;
    assert!(is_duplicate(&error, "10.7.1.1"), "{error:?}");

    second.addresses = vec![
        address(ground.network, Ipv4Addr::new(10, 7, 1, 7)),
        address(ground.network, Ipv4Addr::new(10, 7, 1, 8)),
    ];
    let error = refused(store, Write::PutMachine(Box::new(second.clone()))).await;
    assert!(matches!(error, StoreError::Constraint { .. }), "{error:?}");

    // The same address on another network is another address.
    let other = network("storage");
    store
        .commit(put(Write::PutNetwork(other.clone())))
        .await
        .expect("put");
    second.addresses = vec![address(other.id, Ipv4Addr::new(10, 7, 1, 1))];
    store
        .commit(put(Write::PutMachine(Box::new(second))))
        .await
        .expect("put");

    let mut third = machine(&ground, 3);
    third.addresses[0].network = new_id!(NetworkId);
    let error = refused(store, Write::PutMachine(Box::new(third))).await;
    assert!(matches!(error, StoreError::Referenced { .. }), "{error:?}");
}

pub(super) async fn live_leases_names_are_unique(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let mut first = leased(store, &lease(&ground, machine.id, "train")).await;
    let second = lease(&ground, machine.id, "train");
    let error = refused(store, Write::PutLease(Box::new(second.clone()))).await;
    assert!(is_duplicate(&error, "train"), "{error:?}");

    let mut elsewhere = second.clone();
    elsewhere.project = ground.other_project;
    leased(store, &elsewhere).await;

    for state in [LeaseState::Releasing, LeaseState::Released] {
        first.state = state;
        store
            .commit(put(Write::PutLease(Box::new(first.clone()))))
            .await
            .expect("changed");
        first.version += 1;
        let made = store.commit(put(Write::PutLease(Box::new(lease(
            &ground, machine.id, "train",
        )))));
        assert_eq!(made.await.is_ok(), state.is_over(), "{state}");
    }
}

pub(super) async fn images_names_are_unique(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let own = image(Some(ground.project), "debian-12");
    store
        .commit(put(Write::PutImage(Box::new(own))))
        .await
        .expect("a project's own may be named as the operator's");
    for project in [None, Some(ground.project)] {
        let again = image(project, "debian-12");
        let error = refused(store, Write::PutImage(Box::new(again))).await;
        assert!(is_duplicate(&error, "debian-12"), "{project:?}: {error:?}");
    }
}

pub(super) async fn other_names_are_unique(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let organisation = Organisation {
        id: new_id!(OrganisationId),
        name: name("acme"),
        created_at: at(0),
    };
    for (write, taken) in [
        (Write::PutOrganisation(organisation), "acme"),
        (
            Write::PutProject(project(ground.organisation, "speech")),
            "speech",
        ),
        (Write::PutSite(site("fra1")), "fra1"),
        (
            Write::PutMachineType(machine_type("h100-sxm5-80g.8x")),
            "h100-sxm5-80g.8x",
        ),
        (Write::PutNetwork(network("tenants")), "tenants"),
    ] {
        let error = refused(store, write).await;
        assert!(is_duplicate(&error, taken), "{error:?}");
    }
    let same_secret = Write::PutToken {
        token: token(None, "other"),
        hash: Some([9; 32]),
    };
    let error = refused(store, same_secret).await;
    assert!(matches!(error, StoreError::Duplicate { .. }), "{error:?}");
    let unknown = Write::PutToken {
        token: token(None, "other"),
        hash: None,
    };
    let error = refused(store, unknown).await;
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
}

pub(super) async fn what_is_named_exists(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let mut nowhere = super::fixtures::machine(&ground, 2);
    nowhere.site = new_id!(SiteId);
    let mut of_no_type = super::fixtures::machine(&ground, 3);
    of_no_type.machine_type = name("unheard-of");
    let on_none = lease(&ground, MachineId::from_parts(0, [0; 10]), "a");
    let mut of_none = lease(&ground, machine.id, "b");
    of_none.image = new_id!(ImageId);
    let mut nobodys = lease(&ground, machine.id, "c");
    nobodys.project = new_id!(ProjectId);
    for write in [
        Write::PutMachine(Box::new(nowhere)),
        Write::PutMachine(Box::new(of_no_type)),
        Write::PutLease(Box::new(on_none)),
        Write::PutLease(Box::new(of_none)),
        Write::PutLease(Box::new(nobodys)),
        Write::PutProject(project(new_id!(OrganisationId), "d")),
        Write::Hold {
            machine: machine.id,
            units: 1,
            lease: new_id!(LeaseId),
        },
    ] {
        let error = refused(store, write).await;
        assert!(matches!(error, StoreError::Referenced { .. }), "{error:?}");
    }
}

pub(super) async fn what_lives_keeps_what_it_needs(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let mut lease = leased(store, &lease(&ground, machine.id, "train")).await;
    let own = Write::PutToken {
        token: token(Some(ground.project), "ci"),
        hash: Some([1; 32]),
    };
    store.commit(put(own)).await.expect("a token");
    for write in [
        Write::DeleteProject(ground.project),
        Write::DeleteImage(ground.image),
    ] {
        let error = refused(store, write).await;
        assert!(matches!(error, StoreError::Referenced { .. }), "{error:?}");
    }
    lease.state = LeaseState::Released;
    store
        .commit(put(Write::PutLease(Box::new(lease.clone()))))
        .await
        .expect("over");
    for write in [
        Write::DeleteImage(ground.image),
        Write::DeleteProject(ground.project),
    ] {
        store.commit(put(write)).await.expect("nothing needs it");
    }
    let token = store.token_by_hash(&[1; 32], at(0)).await.expect("read");
    assert_eq!(token, None, "a project's tokens go with it");
    let history = store.lease(lease.id).await.expect("read");
    assert!(history.is_some(), "what it had stays on record");
    let error = refused(store, Write::DeleteProject(ground.project)).await;
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
}

pub(super) async fn the_audit_log_only_grows(world: World) {
    let store = &world.store;
    ground(store).await;
    store.seal(at(0)).await.expect("sealed");
    for table in ["audit", "audit_leaves", "audit_nodes"] {
        let column = if table == "audit" { "action" } else { "" };
        let set = if column.is_empty() {
            let key = if table == "audit_leaves" {
                "seq"
            } else {
                "position"
            };
            format!("{key} = {key} + 1")
        } else {
            format!("{column} = 'nothing'")
        };
        for sql in [
            format!("UPDATE {table} SET {set}"),
            format!("DELETE FROM {table}"),
        ] {
            let mut statement = Statement::new("", "test", table);
            statement.sql = sql.clone().into();
            let error = store.execute(statement).await.expect_err("refused");
            assert!(
                matches!(&error, StoreError::Constraint { rule, .. } if rule.contains("append-only")),
                "{sql}: {error:?}"
            );
        }
    }
    // The same row a second time is refused, and what came with it is not kept.
    let row = row("test.once");
    store
        .commit(Batch::new().audited(row.clone()))
        .await
        .expect("once");
    let twice = Batch::new()
        .with(Write::PutMeta {
            key: "twice".into(),
            value: "yes".into(),
        })
        .audited(row);
    let error = store.commit(twice).await.expect_err("not twice");
    assert!(matches!(error, StoreError::Duplicate { .. }), "{error:?}");
    assert_eq!(store.meta("twice").await.expect("read"), None);
    let rows = store.audit(&AuditFilter::default(), None, 10).await;
    assert_eq!(rows.expect("read").len(), 2);
}

pub(super) async fn stale_versions_conflict(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let lease = leased(store, &lease(&ground, machine.id, "train")).await;
    for _ in 0..2 {
        let changed = store.commit(
            put(Write::PutMachine(Box::new(machine.clone())))
                .with(Write::PutLease(Box::new(lease.clone()))),
        );
        let stored = store.machine(machine.id);
        match changed.await {
            Ok(()) => assert_eq!(stored.await.expect("read").expect("there").version, 2),
            Err(error) => {
                assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
                assert_eq!(stored.await.expect("read").expect("there").version, 2);
            }
        }
    }
    let mut stale = lease.clone();
    stale.version = 1;
    let error = refused(store, Write::PutLease(Box::new(stale))).await;
    assert!(
        matches!(error, StoreError::Conflict { what: "lease", .. }),
        "{error:?}"
    );
    let mut gone = super::fixtures::machine(&ground, 9);
    gone.version = 5;
    let error = refused(store, Write::PutMachine(Box::new(gone))).await;
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    let mut new_again = machine;
    new_again.version = 0;
    let error = refused(store, Write::PutMachine(Box::new(new_again))).await;
    assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
}

/// A network that is changed and an address that is given out at the same time: one of the
/// two is told, whichever comes last.
pub(super) async fn networks_stay_around_their_addresses(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let read = async || {
        let network = store.network(ground.network).await.expect("read");
        let given = store.addresses_given(ground.network).await.expect("read");
        (network.expect("there"), given)
    };
    let give = |n, version| {
        let give = Write::GiveAddress {
            network: ground.network,
            version,
        };
        put(give).with(Write::PutMachine(Box::new(machine(&ground, n))))
    };
    let change = |network: &Network, given| {
        put(Write::PutNetwork(network.clone())).with(Write::GivenStill {
            network: ground.network,
            given,
        })
    };
    let conflict = |error: StoreError| {
        assert!(
            matches!(
                &error,
                StoreError::Conflict {
                    what: "network",
                    ..
                }
            ),
            "{error:?}"
        );
    };
    let (network, given) = read().await;
    assert_eq!((network.version, given), (1, 0));
    // Addresses do not stand in each other's way.
    for n in [1, 2] {
        store.commit(give(n, 1)).await.expect("given");
    }
    conflict(
        store
            .commit(change(&network, given))
            .await
            .expect_err("given since"),
    );
    let (network, given) = read().await;
    assert_eq!((network.version, given), (1, 2));
    store
        .commit(change(&network, given))
        .await
        .expect("changed");
    conflict(store.commit(give(3, 1)).await.expect_err("changed since"));
    let machines = store.machines(&MachineFilter::default(), None, 9).await;
    assert_eq!(machines.expect("read").len(), 2, "all or nothing");
    let (network, _) = read().await;
    assert_eq!(network.version, 2);
    store.commit(give(3, 2)).await.expect("given");
}

pub(super) async fn one_holder(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let first = leased(store, &lease(&ground, machine.id, "a")).await;
    let second = leased(store, &lease(&ground, machine.id, "b")).await;
    let hold = |units, lease| Write::Hold {
        machine: machine.id,
        units,
        lease,
    };
    store
        .commit(put(hold(8, first.id)))
        .await
        .expect("held whole");
    for units in [1, 8] {
        let error = refused(store, hold(units, second.id)).await;
        assert!(matches!(error, StoreError::Held { .. }), "{error:?}");
    }
    let held: Vec<_> = (0..8).map(|unit| (machine.id, unit)).collect();
    assert_eq!(store.units_held(first.id).await.expect("read"), held);
    assert_eq!(store.units_held(second.id).await.expect("read"), []);
    let holders = store.holders(machine.id).await.expect("read");
    assert!(holders.iter().all(|(_, lease)| *lease == first.id));
    let unhold = |lease| Write::Unhold {
        lease,
        machine: machine.id,
    };
    store
        .commit(put(unhold(second.id)))
        .await
        .expect("nothing to let go of");
    store
        .commit(put(unhold(first.id)).with(hold(8, second.id)))
        .await
        .expect("handed on in one batch");
    assert_eq!(store.units_held(second.id).await.expect("read").len(), 8);
}
