//! Whatever is in a batch: all of it is kept, or nothing.

use std::net::Ipv4Addr;

use billet_model::{
    LeaseId, MachineId, ProjectId,
    lease::{Lease, LeaseState},
    lifecycle::Lifecycle,
    machine::Machine,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{World, fixtures::*};
use crate::{Batch, Store, Write, select::column, statement::Statement};

/// A write in small numbers, so that batches collide with what is there and
/// within themselves.
#[derive(Clone, Debug)]
enum Op {
    Enroll {
        slot: usize,
        name: u32,
        ip: u8,
    },
    Change {
        slot: usize,
        available: bool,
        holds_data: bool,
        stale: bool,
        ip: u8,
    },
    Lease {
        slot: usize,
        machine: usize,
        name: u8,
    },
    End {
        slot: usize,
        over: bool,
    },
    Hold {
        machine: usize,
        lease: usize,
        units: u32,
    },
    Unhold {
        machine: usize,
        lease: usize,
    },
    Project {
        name: u8,
        known_organisation: bool,
    },
    DropProject,
    Meta {
        value: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..4_usize;
    prop_oneof![
        3 => (slot.clone(), 0..5_u32, 0..5_u8)
            .prop_map(|(slot, name, ip)| Op::Enroll { slot, name, ip }),
        4 => (slot.clone(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), 0..5_u8)
            .prop_map(|(slot, available, holds_data, stale, ip)| Op::Change {
                slot, available, holds_data, stale, ip,
            }),
        3 => (slot.clone(), slot.clone(), 0..3_u8)
            .prop_map(|(slot, machine, name)| Op::Lease { slot, machine, name }),
        2 => (slot.clone(), any::<bool>()).prop_map(|(slot, over)| Op::End { slot, over }),
        3 => (slot.clone(), slot.clone(), 1..3_u32)
            .prop_map(|(machine, lease, units)| Op::Hold { machine, lease, units }),
        2 => (slot.clone(), slot).prop_map(|(machine, lease)| Op::Unhold { machine, lease }),
        1 => (0..3_u8, prop::bool::weighted(0.8))
            .prop_map(|(name, known_organisation)| Op::Project { name, known_organisation }),
        1 => Just(Op::DropProject),
        2 => any::<u8>().prop_map(|value| Op::Meta { value }),
    ]
}

/// What the check believes is stored, for making writes from.
#[derive(Clone, Default)]
struct Belief {
    machines: [Option<Machine>; 4],
    leases: [Option<Lease>; 4],
}

struct Ids {
    /// Added to machines' numbers: histories share a database, not names.
    base: u32,
    machines: [MachineId; 4],
    leases: [LeaseId; 4],
    extra_project: ProjectId,
}

fn write(op: &Op, ground: &Ground, ids: &Ids, belief: &mut Belief) -> Option<Write> {
    let address = |ip: u8| vec![address(ground.network, Ipv4Addr::new(10, 7, 1, ip))];
    Some(match op.clone() {
        Op::Enroll { slot, name, ip } => {
            let mut machine = machine(ground, ids.base + name);
            machine.id = ids.machines[slot];
            machine.addresses = address(ip);
            let write = Write::PutMachine(Box::new(machine.clone()));
            machine.version = 1;
            belief.machines[slot] = Some(machine);
            write
        }
        Op::Change {
            slot,
            available,
            holds_data,
            stale,
            ip,
        } => {
            let machine = belief.machines[slot].as_mut()?;
            machine.lifecycle = if available {
                Lifecycle::Available
            } else {
                Lifecycle::Testing
            };
            machine.may_hold_data = holds_data;
            machine.addresses = address(ip);
            let mut written = machine.clone();
            written.version += i64::from(stale);
            machine.version += 1;
            Write::PutMachine(Box::new(written))
        }
        Op::Lease {
            slot,
            machine,
            name,
        } => {
            let mut lease = lease(ground, ids.machines[machine], &format!("l{name}"));
            lease.id = ids.leases[slot];
            let write = Write::PutLease(Box::new(lease.clone()));
            lease.version = 1;
            belief.leases[slot] = Some(lease);
            write
        }
        Op::End { slot, over } => {
            let lease = belief.leases[slot].as_mut()?;
            lease.state = if over {
                LeaseState::Released
            } else {
                LeaseState::Active
            };
            let write = Write::PutLease(Box::new(lease.clone()));
            lease.version += 1;
            write
        }
        Op::Hold {
            machine,
            lease,
            units,
        } => Write::Hold {
            machine: ids.machines[machine],
            units,
            lease: ids.leases[lease],
        },
        Op::Unhold { machine, lease } => Write::Unhold {
            machine: ids.machines[machine],
            lease: ids.leases[lease],
        },
        Op::Project {
            name,
            known_organisation,
        } => {
            let organisation = if known_organisation {
                ground.organisation
            } else {
                new_id!(OrganisationId)
            };
            let mut project = project(organisation, ["speech", "x", "y"][usize::from(name)]);
            project.id = ids.extra_project;
            Write::PutProject(project)
        }
        Op::DropProject => Write::DeleteProject(ids.extra_project),
        Op::Meta { value } => Write::PutMeta {
            key: "property".into(),
            value: value.to_string(),
        },
    })
}

/// Every row that a batch could have left, as text.
async fn everything(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "SELECT 'machine ' || lifecycle || ' ' || doc FROM machines ORDER BY id",
        "SELECT 'address ' || machine || ' ' || network || ' ' || ip FROM addresses ORDER BY machine",
        "SELECT 'lease ' || state || ' ' || doc FROM leases ORDER BY id",
        "SELECT 'tag ' || lease || ' ' || key FROM lease_tags ORDER BY lease, key",
        "SELECT 'hold ' || machine || ' ' || CAST(unit AS TEXT) || ' ' || lease FROM holds ORDER BY machine, unit",
        "SELECT 'project ' || doc FROM projects ORDER BY id",
        "SELECT 'meta ' || key || ' ' || value FROM meta ORDER BY key",
        "SELECT 'audit ' || id FROM audit ORDER BY seq",
    ] {
        let rows = store
            .fetch(Statement::read(sql, "everything"))
            .await
            .expect("read");
        for row in &rows {
            all.push(column::<String>("everything", row, 0).expect("text"));
        }
    }
    all
}

/// What must be true of the data after any history.
fn invariants(all: &[String]) {
    for line in all {
        let available = line.starts_with("machine available ");
        assert!(
            !(available && line.contains("\"may_hold_data\":true")),
            "on offer with data on it: {line}"
        );
    }
    let mut units: Vec<_> = all
        .iter()
        .filter_map(|line| line.strip_prefix("hold "))
        .map(|hold| hold.rsplit_once(' ').map(|(unit, _)| unit))
        .collect();
    let before = units.len();
    units.dedup();
    assert_eq!(units.len(), before, "a unit has two holders");
}

async fn history(store: &Store, ground: &Ground, base: u32, batches: &[Vec<Op>]) -> (u32, u32) {
    // A network, a project and ids of this history's own.
    let own = network(&format!("n{base}"));
    let tenant = project(ground.organisation, &format!("p{base}"));
    let ground = &Ground {
        network: own.id,
        project: tenant.id,
        ..ground.clone()
    };
    let laid = put(Write::PutNetwork(own)).with(Write::PutProject(tenant));
    store.commit(laid).await.expect("the ground is laid");
    let ids = Ids {
        base,
        machines: std::array::from_fn(|_| new_id!(MachineId)),
        leases: std::array::from_fn(|_| new_id!(LeaseId)),
        extra_project: new_id!(ProjectId),
    };
    let mut belief = Belief::default();
    let (mut kept, mut refused) = (0, 0);
    for ops in batches {
        let mut then = belief.clone();
        let mut batch = Batch::new().audited(row("test.property"));
        for op in ops {
            batch.writes.extend(write(op, ground, &ids, &mut then));
        }
        let (writes, audit) = (batch.writes.clone(), batch.audit[0].id);
        let before = everything(store).await;
        let result = store.commit(batch).await;
        let after = everything(store).await;
        invariants(&after);
        match result {
            Ok(()) => {
                kept += 1;
                assert!(after.contains(&format!("audit {audit}")));
                for write in &writes {
                    visible(store, write, &then).await;
                }
                belief = then;
            }
            Err(error) => {
                refused += 1;
                assert_eq!(
                    before, after,
                    "refused with {error}, and yet something was kept"
                );
            }
        }
    }
    (kept, refused)
}

/// What a kept batch wrote is what is read, unless the batch wrote it again.
async fn visible(store: &Store, write: &Write, belief: &Belief) {
    match write {
        Write::PutMachine(written) => {
            let found = store.machine(written.id).await.expect("read");
            let believed = belief
                .machines
                .iter()
                .flatten()
                .find(|m| m.id == written.id);
            assert_eq!(found.as_ref(), believed);
        }
        Write::PutLease(written) => {
            let found = store.lease(written.id).await.expect("read");
            let believed = belief.leases.iter().flatten().find(|l| l.id == written.id);
            assert_eq!(found.as_ref(), believed);
        }
        _ => {}
    }
}

pub(super) async fn batches_are_all_or_nothing(world: World) {
    let cases = if world.is_postgres() { 12 } else { 32 };
    let handle = tokio::runtime::Handle::current();
    let ground = ground(&world.store).await;
    let store = world.store.clone();
    let (kept, refused) = tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        });
        let batches = prop::collection::vec(prop::collection::vec(op(), 1..4), 1..12);
        let counts = std::cell::RefCell::new((0, 0));
        let base = std::cell::Cell::new(0);
        runner
            .run(&batches, |batches| {
                base.set(base.get() + 8);
                let ran = history(&store, &ground, base.get(), &batches);
                let (k, r) = handle.block_on(ran);
                let mut counts = counts.borrow_mut();
                counts.0 += k;
                counts.1 += r;
                Ok(())
            })
            .expect("the property holds");
        counts.into_inner()
    })
    .await
    .expect("the runner ends");
    assert!(
        kept >= 10 && refused >= 10,
        "both ends are seen: {kept} kept, {refused} refused"
    );
}
