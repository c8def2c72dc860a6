//! Pages: each thing once, in order, whatever is added meanwhile.

use billet_model::lifecycle::Lifecycle;

use super::{World, fixtures::*};
use crate::{AuditFilter, MachineFilter, Write};

pub(super) async fn pages_are_stable(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut put_there = Vec::new();
    for n in 0..25 {
        put_there.push(enrolled(store, &ground, n).await.id);
    }
    let (mut seen, mut after, mut n) = (Vec::new(), None, 25);
    loop {
        let page = store
            .machines(&MachineFilter::default(), after, 4)
            .await
            .expect("read");
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.iter().map(|m| m.id));
        if n < 30 {
            // Meanwhile one more comes, and one that was seen changes.
            put_there.push(enrolled(store, &ground, n).await.id);
            let mut changed = page[0].clone();
            changed.requests += 1;
            store
                .commit(put(Write::PutMachine(Box::new(changed))))
                .await
                .expect("changed");
            n += 1;
        }
    }
    assert_eq!(seen, put_there);

    // The audit log both ways.
    for newest_first in [false, true] {
        let filter = AuditFilter {
            newest_first,
            ..AuditFilter::default()
        };
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.audit(&filter, after, 7).await.expect("read");
            let Some(last) = page.last() else { break };
            after = Some(last.row.id);
            seen.extend(page.iter().map(|r| r.row.id));
        }
        let whole = store.audit(&filter, None, 1000).await.expect("read");
        let whole: Vec<_> = whole.iter().map(|r| r.row.id).collect();
        assert_eq!(seen, whole);
        assert_eq!(seen.is_sorted(), !newest_first);
    }
}

pub(super) async fn filters_choose(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    for n in 0..6 {
        let mut machine = machine(&ground, n);
        if n % 2 == 0 {
            machine.lifecycle = Lifecycle::Quarantined;
        }
        if n % 3 == 0 {
            machine.cordoned = Some("why".into());
        }
        let mut batch = put(Write::PutMachine(Box::new(machine.clone())));
        batch.audit[0].machine = Some(machine.id);
        batch.audit[0].action = format!("machine.m{n}");
        batch.audit[0].at = at(i64::from(n));
        store.commit(batch).await.expect("put");
    }
    let everything = MachineFilter::default;
    for (filter, found) in [
        (everything(), 6),
        (
            MachineFilter {
                lifecycle: Some(Lifecycle::Quarantined),
                ..everything()
            },
            3,
        ),
        (
            MachineFilter {
                lifecycle: Some(Lifecycle::Quarantined),
                cordoned: Some(true),
                ..everything()
            },
            1,
        ),
        (
            MachineFilter {
                cordoned: Some(false),
                ..everything()
            },
            4,
        ),
        (
            MachineFilter {
                site: Some(ground.site),
                machine_type: Some(ground.machine_type.clone()),
                name: Some(name("r1-u3")),
                ..everything()
            },
            1,
        ),
        (
            MachineFilter {
                unconfirmed: Some(true),
                ..everything()
            },
            0,
        ),
    ] {
        let machines = store.machines(&filter, None, 100).await.expect("read");
        assert_eq!(machines.len(), found, "{filter:?}");
    }
    let machine = store
        .machine_by_name(&name("r1-u3"))
        .await
        .expect("read")
        .expect("there");
    let everything = AuditFilter::default;
    for (filter, found) in [
        (
            AuditFilter {
                action: Some("machine.".into()),
                ..everything()
            },
            6,
        ),
        (
            AuditFilter {
                action: Some("machine.m3".into()),
                ..everything()
            },
            1,
        ),
        (
            AuditFilter {
                action: Some("%".into()),
                ..everything()
            },
            0,
        ),
        (
            AuditFilter {
                machine: Some(machine.id),
                ..everything()
            },
            1,
        ),
        (
            AuditFilter {
                action: Some("machine".into()),
                since: Some(at(2)),
                until: Some(at(4)),
                ..everything()
            },
            2,
        ),
        (
            AuditFilter {
                projects: Some(vec![ground.project]),
                ..everything()
            },
            0,
        ),
    ] {
        let rows = store.audit(&filter, None, 100).await.expect("read");
        assert_eq!(rows.len(), found, "{filter:?}");
    }
}
