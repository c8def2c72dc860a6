//! Each noun comes back as it was put, by every way that leads to it.

use std::net::Ipv4Addr;

use billet_model::{
    BootId, TaskId,
    bmc::FirmwareSettings,
    inventory::Inventory,
    lease::LeaseState,
    lifecycle::{Hold, HoldKind, Lifecycle, Waiting},
    machine::Machine,
    operation::{Operation, OperationKind, OperationState},
    step::{Boot, Pending, Step, TaskRecord},
    work::{Progress, Task, Work},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{World, fixtures::*};
use crate::{
    AuditFilter, Batch, EvidenceFilter, ImageFilter, LeaseFilter, MachineFilter, OperationFilter,
    StoreError, Write,
};

pub(super) async fn machines_round_trip(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut machine = enrolled(store, &ground, 1).await;
    assert_eq!(machine.version, 1);
    assert_eq!(machine.wake_at, at(1), "times keep their nanoseconds");

    machine.lifecycle = Lifecycle::Quarantined;
    machine.hold = Some(Hold {
        kind: HoldKind::EraseFailed,
        detail: "drive S1 did not erase".into(),
        since: at(9),
    });
    machine.waiting = Some(Waiting {
        reason: "held".into(),
        deadline: at(10),
        next_action: "repair it".into(),
    });
    machine.step = Step::PowerBreak {
        off_since: Some(at(3)),
    };
    machine.pending = Some(Pending {
        number: 3,
        request: billet_model::bmc::BmcRequest::EjectMedia,
        since: at(4),
    });
    machine.cordoned = Some("fan".into());
    machine.addresses = vec![address(ground.network, Ipv4Addr::new(10, 7, 5, 5))];
    store
        .commit(put(Write::PutMachine(Box::new(machine.clone()))))
        .await
        .expect("it is changed");
    machine.version = 2;
    assert_eq!(
        store.machine(machine.id).await.expect("read"),
        Some(machine.clone())
    );
    assert_eq!(
        store.machine_by_name(&machine.name).await.expect("read"),
        Some(machine.clone())
    );
    let taken = store.addresses_of_network(ground.network).await;
    assert_eq!(
        taken.expect("read"),
        [(Ipv4Addr::new(10, 7, 5, 5), machine.id)],
        "the table of addresses follows the machine"
    );
    machine.addresses.clear();
    store
        .commit(put(Write::PutMachine(Box::new(machine.clone()))))
        .await
        .expect("it is changed");
    let taken = store.addresses_of_network(ground.network).await;
    assert_eq!(taken.expect("read"), []);

    let nobody = new_id!(MachineId);
    assert_eq!(store.machine(nobody).await.expect("read"), None);
    assert_eq!(
        store.machine_by_name(&name("nobody")).await.expect("read"),
        None
    );
}

pub(super) async fn parts_stay_as_they_are(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut whole = enrolled(store, &ground, 1).await;
    let inventory = whole.inventory.as_mut().expect("an inventory");
    inventory.system.serial = Some("SN1".into());
    whole.firmware = Some(FirmwareSettings::default());
    let write = Write::PutMachine(Box::new(whole.clone()));
    store.commit(put(write)).await.expect("it is changed");
    whole.version = 2;
    let read = store.machine(whole.id).await.expect("read");
    assert_eq!(read.as_ref(), Some(&whole));

    let short = store.machine_in_short(whole.id).await.expect("read");
    let mut short = short.expect("there");
    let without = Machine {
        inventory: None,
        firmware: None,
        ..whole.clone()
    };
    assert_eq!(short, without);
    short.rack = Some("r2".into());
    let batch = Batch::new().with(Write::PutMachine(Box::new(short)));
    store.commit(batch).await.expect("it is put back");
    whole.rack = Some("r2".into());
    whole.version = 3;
    let read = store.machine(whole.id).await.expect("read");
    assert_eq!(read.as_ref(), Some(&whole), "its parts are still there");
    let filter = MachineFilter::default();
    let all = store.machines_in_short(&filter, None, 10);
    let all = all.await.expect("read");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].serial.as_deref(), Some("SN1"));
    assert_eq!(all[0].units, 8);
    assert_eq!(all[0].machine.inventory, None);

    // Found anew, and without a serial number this time.
    whole.inventory = Some(Inventory::default());
    let write = Write::PutMachine(Box::new(whole.clone()));
    store.commit(put(write)).await.expect("it is changed");
    let filter = MachineFilter::default();
    let all = store.machines_in_short(&filter, None, 10);
    let all = all.await.expect("read");
    assert_eq!((all[0].serial.as_deref(), all[0].units), (None, 1));

    // Nothing was ever found in this one: its BMC was never reached.
    let mut unknown = machine(&ground, 2);
    unknown.inventory = None;
    let write = Write::PutMachine(Box::new(unknown));
    store.commit(put(write)).await.expect("it is enrolled");
    let all = store.machines_in_short(&filter, None, 10);
    let all = all.await.expect("read");
    assert_eq!((all[1].serial.as_deref(), all[1].units), (None, 1));
}

pub(super) async fn leases_round_trip(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let mut lease = leased(store, &lease(&ground, machine.id, "train")).await;
    assert_eq!(lease.version, 1);
    lease.state = LeaseState::Active;
    lease.tags.insert("x".into(), "y".into());
    lease.tags.remove("team");
    store
        .commit(put(Write::PutLease(Box::new(lease.clone()))))
        .await
        .expect("it is changed");
    lease.version = 2;
    assert_eq!(
        store.lease(lease.id).await.expect("read"),
        Some(lease.clone())
    );
    assert_eq!(
        store
            .lease_by_name(ground.project, &lease.name)
            .await
            .expect("read"),
        Some(lease.clone())
    );
    assert_eq!(
        store
            .lease_by_name(ground.other_project, &lease.name)
            .await
            .expect("read"),
        None
    );
    for (tag, found) in [
        (("x", Some("y")), 1),
        (("x", Some("z")), 0),
        (("x", None), 1),
        (("team", None), 0),
    ] {
        let filter = LeaseFilter {
            tag: Some((tag.0.to_owned(), tag.1.map(str::to_owned))),
            ..LeaseFilter::default()
        };
        let leases = store.leases(&filter, None, 10).await.expect("read");
        assert_eq!(leases.len(), found, "{tag:?}");
    }

    // Over, and another of the same name: the one that lives comes first.
    lease.state = LeaseState::Released;
    store
        .commit(put(Write::PutLease(Box::new(lease.clone()))))
        .await
        .expect("it is over");
    let again = super::fixtures::lease(&ground, machine.id, "train");
    let again = leased(store, &again).await;
    let found = store.lease_by_name(ground.project, &lease.name).await;
    assert_eq!(found.expect("read"), Some(again));
}

pub(super) async fn work_round_trips(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let mut operation = Operation {
        id: new_id!(OperationId),
        kind: OperationKind::Deploy,
        state: OperationState::Running,
        machine: Some(machine.id),
        lease: None,
        project: Some(ground.project),
        message: "writing".into(),
        progress: Some(Progress {
            step: "image".into(),
            done: 1,
            total: u64::MAX,
            unit: "bytes".into(),
        }),
        created_at: at(1),
        ended_at: None,
    };
    let mut boot = Boot {
        id: new_id!(BootId),
        machine: machine.id,
        epoch: 3,
        created_at: at(1),
        of: billet_model::step::BootOf::Ramdisk,
        kernel_boot_id: None,
        hello_at: None,
        seen_at: None,
        ramdisk: None,
    };
    let mut task = TaskRecord {
        task: Task {
            id: new_id!(TaskId),
            epoch: 3,
            work: Work::Inspect,
            addresses: machine.addresses.clone(),
        },
        machine: machine.id,
        boot: boot.id,
        created_at: at(1),
        taken_at: None,
        progress: None,
        progress_at: None,
        outcome: None,
        version: 0,
    };
    for round in 0..2 {
        let batch = Batch::new()
            .with(Write::PutOperation(Box::new(operation.clone())))
            .with(Write::PutBoot(Box::new(boot.clone())))
            .with(Write::PutTask(Box::new(task.clone())));
        store.commit(batch).await.expect("they are put");
        let found = store.operation(operation.id).await.expect("read");
        assert_eq!(found, Some(operation.clone()), "round {round}");
        assert_eq!(store.boot(boot.id).await.expect("read"), Some(boot.clone()));
        // A report from before what was told since does not take its place.
        let stale = store.commit(Batch::new().with(Write::PutTask(Box::new(task.clone()))));
        let stale = stale.await.expect_err("it is stale");
        assert!(matches!(stale, StoreError::Conflict { .. }), "{stale:?}");
        task.version += 1;
        let found = store.task(task.task.id).await.expect("read");
        assert_eq!(found, Some(task.clone()), "round {round}");
        operation.state = OperationState::Succeeded;
        boot.hello_at = Some(at(2));
        task.taken_at = Some(at(2));
    }
    // Whoever knew it running before it ended does not take that back.
    let mut ended = operation.clone();
    ended.ended_at = Some(at(3));
    let put = |o: &Operation| Batch::new().with(Write::PutOperation(Box::new(o.clone())));
    store.commit(put(&ended)).await.expect("it ends");
    operation.state = OperationState::Running;
    let stale = store.commit(put(&operation)).await;
    assert!(
        matches!(stale, Err(StoreError::Conflict { .. })),
        "{stale:?}"
    );
    let found = store.operation(operation.id).await.expect("read");
    assert_eq!(found, Some(ended));
    // What is old is forgotten, but for what each machine had last.
    let day = |n: u64| n * 86_400_000;
    let mut made = Vec::new();
    for n in [1, 2] {
        boot.id = BootId::from_parts(day(n), [0; 10]);
        task.task.id = TaskId::from_parts(day(n), [0; 10]);
        (task.boot, task.version) = (boot.id, 0);
        let batch = Batch::new()
            .with(Write::PutBoot(Box::new(boot.clone())))
            .with(Write::PutTask(Box::new(task.clone())));
        store.commit(batch).await.expect("they are put");
        made.push((boot.id, task.task.id));
    }
    let other = enrolled(store, &ground, 9).await;
    boot.id = BootId::from_parts(day(1), [9; 10]);
    boot.machine = other.id;
    made.push((boot.id, task.task.id));
    let batch = Batch::new()
        .with(Write::PutBoot(Box::new(boot.clone())))
        .with(Write::ForgetWork {
            before: Timestamp::from_second(2 * 86_400).expect("a time"),
        });
    store.commit(batch).await.expect("they are forgotten");
    for ((boot, task), there) in made.into_iter().zip([false, true, true]) {
        let (boot, task) = (store.boot(boot).await, store.task(task).await);
        assert_eq!(boot.expect("read").is_some(), there);
        assert_eq!(task.expect("read").is_some(), there);
    }
    for (state, found) in [(OperationState::Running, 0), (OperationState::Succeeded, 1)] {
        let filter = OperationFilter {
            state: Some(state),
            machine: Some(machine.id),
            projects: Some(vec![ground.project]),
            lease: None,
        };
        let operations = store.operations(&filter, None, 10).await.expect("read");
        assert_eq!(operations.len(), found, "{state:?}");
    }
}

pub(super) async fn people_round_trip(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let organisation = store
        .organisation(ground.organisation)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(
        store
            .organisation_by_name(&organisation.name)
            .await
            .expect("read")
            .as_ref(),
        Some(&organisation)
    );
    let all = store.organisations(None, 10).await.expect("read");
    assert_eq!(all, [organisation]);

    let mut project = store
        .project(ground.project)
        .await
        .expect("read")
        .expect("there");
    project.name = name("sight");
    store
        .commit(put(Write::PutProject(project.clone())))
        .await
        .expect("renamed");
    assert_eq!(
        store.project_by_name(&name("vision")).await.expect("read"),
        None
    );
    assert_eq!(
        store.project_by_name(&name("sight")).await.expect("read"),
        Some(project.clone())
    );
    assert_eq!(store.projects(None, None, 10).await.expect("read").len(), 2);

    let mut token = token(Some(ground.project), "ci");
    let hash = [1; 32];
    store
        .commit(put(Write::PutToken {
            token: token.clone(),
            hash: Some(hash),
        }))
        .await
        .expect("made");
    assert_eq!(
        store.token_by_hash(&hash, at(0)).await.expect("read"),
        Some(token.clone())
    );
    assert_eq!(
        store.token_by_hash(&[2; 32], at(0)).await.expect("read"),
        None
    );
    // Used: to the microsecond, never backwards, and off the record.
    for (seen, kept) in [(50, 50), (40, 50), (60, 60)] {
        let touch = Write::TouchToken {
            id: token.id,
            at: at(seen),
        };
        store
            .commit(Batch::new().with(touch))
            .await
            .expect("touched");
        let found = store.token(token.id).await.expect("read").expect("there");
        let used = found.last_used_at.expect("it was used");
        assert_eq!(used.as_microsecond(), at(kept).as_microsecond());
    }
    token.disabled = true;
    let change = Write::PutToken {
        token: token.clone(),
        hash: None,
    };
    store.commit(put(change)).await.expect("disabled");
    let found = store.token_by_hash(&hash, at(0)).await.expect("read");
    assert!(found.expect("the secret still finds it").disabled);
    let of_project = store.tokens(Some(&[ground.project]), None, 10).await;
    assert_eq!(of_project.expect("read").len(), 1);
    assert_eq!(store.tokens(None, None, 10).await.expect("read").len(), 2);
    store
        .commit(put(Write::DeleteToken(token.id)))
        .await
        .expect("deleted");
    assert_eq!(store.token_by_hash(&hash, at(0)).await.expect("read"), None);
    let gone = store.commit(put(Write::DeleteToken(token.id))).await;
    assert!(
        matches!(gone, Err(StoreError::NotFound { what: "token", .. })),
        "{gone:?}"
    );
}

pub(super) async fn places_round_trip(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut site = store.site(ground.site).await.expect("read").expect("there");
    site.jurisdiction = "EU".into();
    store
        .commit(put(Write::PutSite(site.clone())))
        .await
        .expect("changed");
    assert_eq!(
        store.site_by_name(&site.name).await.expect("read"),
        Some(site.clone())
    );
    assert_eq!(store.sites(None, 10).await.expect("read"), [site]);

    let mut kind = store
        .machine_type_by_name(&ground.machine_type)
        .await
        .expect("read")
        .expect("there");
    kind.description = "changed".into();
    store
        .commit(put(Write::PutMachineType(kind.clone())))
        .await
        .expect("changed");
    assert_eq!(
        store.machine_type(kind.id).await.expect("read"),
        Some(kind.clone())
    );
    assert_eq!(store.machine_types(None, 10).await.expect("read"), [kind]);

    let mut network = store
        .network(ground.network)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(network.version, 1);
    network.reached_at = Some(Ipv4Addr::new(127, 7, 0, 0));
    store
        .commit(put(Write::PutNetwork(network.clone())))
        .await
        .expect("changed");
    network.version = 2;
    assert_eq!(
        store.network_by_name(&network.name).await.expect("read"),
        Some(network.clone())
    );
    assert_eq!(store.networks(None, 10).await.expect("read"), [network]);
}

pub(super) async fn images_round_trip(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let operators = store
        .image(ground.image)
        .await
        .expect("read")
        .expect("there");
    let mut own = image(Some(ground.project), "debian-12");
    let others = image(Some(ground.other_project), "debian-12");
    for image in [&own, &others] {
        store
            .commit(put(Write::PutImage(Box::new(image.clone()))))
            .await
            .expect("put");
    }
    own.state = billet_model::image::ImageState::Failed;
    own.reason = Some("a wrong checksum".into());
    store
        .commit(put(Write::PutImage(Box::new(own.clone()))))
        .await
        .expect("changed");
    for (project, image) in [
        (None, &operators),
        (Some(ground.project), &own),
        (Some(ground.other_project), &others),
    ] {
        let found = store.image_by_name(project, &image.name).await;
        assert_eq!(found.expect("read").as_ref(), Some(image));
    }
    let seen = |filter: ImageFilter| async move {
        let images = store.images(&filter, None, 10).await.expect("read");
        images.into_iter().map(|i| i.id).collect::<Vec<_>>()
    };
    let filter = ImageFilter {
        visible_to: Some(vec![ground.project]),
        ..ImageFilter::default()
    };
    assert_eq!(seen(filter).await, [operators.id, own.id]);
    let filter = ImageFilter {
        state: Some(billet_model::image::ImageState::Failed),
        ..ImageFilter::default()
    };
    assert_eq!(seen(filter).await, [own.id]);
    store
        .commit(put(Write::DeleteImage(own.id)))
        .await
        .expect("deleted");
    assert_eq!(store.image(own.id).await.expect("read"), None);
}

pub(super) async fn evidence_round_trips(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let machine = enrolled(store, &ground, 1).await;
    let evidence = billet_model::evidence::Evidence {
        id: new_id!(EvidenceId),
        kind: billet_model::evidence::ERASE_PREDICATE.into(),
        machine: machine.id,
        lease: Some(new_id!(LeaseId)),
        project: Some(ground.project),
        created_at: at(7),
        envelope: serde_json::json!({ "payload": "e30=", "signatures": [] }),
    };
    let write = || Write::PutEvidence(Box::new(evidence.clone()));
    store.commit(put(write())).await.expect("put");
    assert_eq!(
        store.evidence(evidence.id).await.expect("read"),
        Some(evidence.clone())
    );
    let again = store.commit(put(write())).await;
    assert!(
        matches!(again, Err(StoreError::Duplicate { .. })),
        "evidence is never changed: {again:?}"
    );
    for (project, found) in [(ground.project, 1), (ground.other_project, 0)] {
        let filter = EvidenceFilter {
            projects: Some(vec![project]),
            lease: evidence.lease,
            machine: Some(machine.id),
            kind: Some(evidence.kind.clone()),
        };
        let list = store.evidence_list(&filter, None, 10).await.expect("read");
        assert_eq!(list.len(), found);
    }
}

pub(super) async fn secrets_and_settings_round_trip(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let owner = Uuid::from_u128(7);
    for ciphertext in [vec![0, 255, 1, 0], Vec::new(), vec![3; 4000]] {
        let write = Write::PutSecret {
            owner,
            kind: "bmc".into(),
            ciphertext: ciphertext.clone(),
        };
        store.commit(put(write)).await.expect("put");
        let found = store.secret(owner, "bmc").await.expect("read");
        assert_eq!(found, Some(ciphertext));
    }
    assert_eq!(store.secret(owner, "other").await.expect("read"), None);
    for _ in 0..2 {
        let write = Write::DeleteSecret {
            owner,
            kind: "bmc".into(),
        };
        store.commit(put(write)).await.expect("deleted");
    }
    assert_eq!(store.secret(owner, "bmc").await.expect("read"), None);

    for value in ["one", "two"] {
        let write = Write::PutMeta {
            key: "site".into(),
            value: value.into(),
        };
        store.commit(Batch::new().with(write)).await.expect("put");
        let found = store.meta("site").await.expect("read");
        assert_eq!(found.as_deref(), Some(value));
    }
    let own = Write::PutMeta {
        key: "store.audit.edge".into(),
        value: "{}".into(),
    };
    let refused = store.commit(Batch::new().with(own)).await;
    assert!(
        matches!(refused, Err(StoreError::Constraint { .. })),
        "{refused:?}"
    );

    let reply = |hash| Write::PutIdempotency {
        key: "k".into(),
        token: ground.token,
        request_hash: [hash; 32],
        status: 201,
        body: "{\"a\":1}".into(),
        at: at(5),
    };
    store
        .commit(Batch::new().with(reply(1)))
        .await
        .expect("put");
    let found = store.idempotency("k", ground.token).await.expect("read");
    let found = found.expect("there");
    assert_eq!(
        (found.request_hash, found.status, &*found.body),
        ([1; 32], 201, "{\"a\":1}")
    );
    let again = store.commit(Batch::new().with(reply(2))).await;
    assert!(
        matches!(again, Err(StoreError::Duplicate { .. })),
        "{again:?}"
    );
    for (before, stays) in [(5, true), (6, false)] {
        let forget = Write::ForgetIdempotency { before: at(before) };
        store
            .commit(Batch::new().with(forget))
            .await
            .expect("forgotten");
        let found = store.idempotency("k", ground.token).await.expect("read");
        assert_eq!(found.is_some(), stays);
    }

    // All of that, and each audit row comes back too.
    let rows = store
        .audit(&AuditFilter::default(), None, 100)
        .await
        .expect("read");
    assert!(rows.iter().all(|r| r.index.is_none()));
    assert_eq!(rows[0].row.action, "test.ground");
    let machines = store.machines(&MachineFilter::default(), None, 10).await;
    assert_eq!(machines.expect("read"), []);
}
