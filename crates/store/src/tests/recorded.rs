//! Nothing changes off the record.

use billet_model::{
    lifecycle::{Lifecycle, Power, PowerReading},
    operation::{Operation, OperationKind, OperationState},
};

use super::{World, fixtures::*};
use crate::{AuditFilter, Batch, StoreError, Write};

fn off_record(error: &StoreError) -> bool {
    matches!(error, StoreError::Constraint { rule, .. } if rule.contains("on record"))
}

pub(super) async fn changes_need_an_audit_row(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let lease = lease(&ground, machine.id, "a");
    for write in [
        Write::PutMachine(Box::new(super::fixtures::machine(&ground, 2))),
        Write::PutLease(Box::new(lease.clone())),
        Write::PutImage(Box::new(image(None, "x"))),
        Write::DeleteImage(ground.image),
        Write::Hold {
            machine: machine.id,
            units: 1,
            lease: lease.id,
        },
        Write::Unhold {
            lease: lease.id,
            machine: machine.id,
        },
        Write::PutProject(project(ground.organisation, "x")),
        Write::DeleteProject(ground.project),
        Write::PutSite(site("x")),
        Write::PutMachineType(machine_type("x")),
        Write::PutNetwork(network("x")),
        Write::PutToken {
            token: token(None, "x"),
            hash: Some([3; 32]),
        },
        Write::DeleteToken(ground.token),
        Write::PutSecret {
            owner: machine.id.0,
            kind: "bmc".into(),
            ciphertext: vec![1],
        },
        Write::DeleteSecret {
            owner: machine.id.0,
            kind: "bmc".into(),
        },
    ] {
        let error = store
            .commit(Batch::new().with(write.clone()))
            .await
            .expect_err("refused");
        assert!(off_record(&error), "{write:?}: {error:?}");
    }
    let rows = store.audit(&AuditFilter::default(), None, 10).await;
    assert_eq!(rows.expect("read").len(), 2, "nothing was kept of all that");
}

pub(super) async fn progress_needs_none(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut machine = enrolled(store, &ground, 1).await;
    machine.power = Some(PowerReading {
        power: Power::On,
        at: at(3),
    });
    machine.wake_at = at(99);
    let operation = Operation {
        id: new_id!(OperationId),
        kind: OperationKind::Test,
        state: OperationState::Running,
        machine: Some(machine.id),
        lease: None,
        project: None,
        message: String::new(),
        progress: None,
        created_at: at(0),
        ended_at: None,
    };
    let batch = Batch::new()
        .with(Write::PutMachine(Box::new(machine.clone())))
        .with(Write::PutOperation(Box::new(operation)));
    store.commit(batch).await.expect("progress");
    machine.version = 2;
    let found = store.machine(machine.id).await.expect("read");
    assert_eq!(found, Some(machine));
}

pub(super) async fn machines_change_on_record(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let changes: [fn(&mut billet_model::machine::Machine); 5] = [
        |m| m.lifecycle = Lifecycle::Inspecting,
        |m| m.may_hold_data = false,
        |m| m.cordoned = Some("why".into()),
        |m| m.unconfirmed = true,
        |m| m.lease = Some(new_id!(LeaseId)),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut changed = machine.clone();
        change(&mut changed);
        let write = || Write::PutMachine(Box::new(changed.clone()));
        let error = store
            .commit(Batch::new().with(write()))
            .await
            .expect_err("refused");
        assert!(off_record(&error), "change {n}: {error:?}");
        let found = store.machine(machine.id).await.expect("read");
        assert_eq!(found, Some(machine.clone()), "change {n}");
        // Stale as well: that is what it says then.
        let mut stale = changed.clone();
        stale.version = 7;
        let error = store
            .commit(Batch::new().with(Write::PutMachine(Box::new(stale))))
            .await
            .expect_err("refused");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
    }
    let mut changed = machine.clone();
    changed.lifecycle = Lifecycle::Inspecting;
    changed.lease = Some(new_id!(LeaseId));
    store
        .commit(put(Write::PutMachine(Box::new(changed))))
        .await
        .expect("on record it may");
}
