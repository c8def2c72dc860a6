//! What is corrected of a machine, and when that is refused.

use std::cell::RefCell;

use billet_model::{
    NetworkId, SiteId,
    lifecycle::Lifecycle,
    site::{Address, ExpectedParts},
};
use billet_plan::{
    correct::{Correction, correct},
    next_step,
    requests::{self, MachineRequest},
};

use crate::world::World;

fn free() -> World {
    let mut world = World::new();
    world.run();
    world.take_over();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    world
}

/// Corrects it: what goes on record, or why not.
fn corrected(world: &mut World, to: &Correction) -> Result<Vec<String>, String> {
    let (before, version) = (world.audit.len(), world.machine.version);
    let why = RefCell::new(None);
    world.decide(None, false, |facts| {
        correct(facts, to).unwrap_or_else(|refused| {
            *why.borrow_mut() = Some(refused.detail);
            correct(facts, &Correction::default()).expect("nothing is asked")
        })
    });
    assert_eq!(world.machine.version, version);
    match why.take() {
        Some(why) => Err(why),
        None => Ok(world.audit.split_off(before)),
    }
}

fn ask(world: &mut World, request: &MachineRequest) {
    world.decide(None, false, |facts| {
        requests::machine(facts, request).expect("it is asked")
    });
    world.run();
}

fn labels() -> Correction {
    Correction {
        name: Some("m9".parse().expect("a name")),
        rack: Some(Some("r2".into())),
        rotate_password: Some(true),
        ..Correction::default()
    }
}

fn elsewhere() -> Correction {
    Correction {
        site: Some(SiteId::from_parts(77, [7; 10])),
        ..Correction::default()
    }
}

fn of_another_type() -> Correction {
    Correction {
        machine_type: Some("other".parse().expect("a name")),
        expected: ExpectedParts {
            drives: Some(3),
            ..ExpectedParts::default()
        },
        ..Correction::default()
    }
}

#[test]
fn labels_change_at_any_time_and_once() {
    let mut world = free();
    world.lease();
    let said = corrected(&mut world, &labels()).expect("a label");
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("machine.change"), "{said:?}");
    assert!(said[0].contains("\"is\":\"m9\""), "{said:?}");
    assert_eq!(world.machine.rack.as_deref(), Some("r2"));
    assert!(world.machine.upkeep.rotate);
    // What is so already is not put on record.
    assert_eq!(corrected(&mut world, &labels()), Ok(Vec::new()));
    for to in [elsewhere(), of_another_type()] {
        let why = corrected(&mut world, &to).expect_err("it is leased");
        assert!(why.contains("held by a lease"), "{why}");
    }
    world.release();
    corrected(&mut world, &elsewhere()).expect("nobody has it");
}

#[test]
fn a_type_changes_only_where_an_inspection_comes_before_the_offer() {
    let mut world = free();
    let why = corrected(&mut world, &of_another_type()).expect_err("it is on offer");
    assert!(why.contains("billet machine maintenance"), "{why}");
    let reason = "a test".to_owned();
    ask(&mut world, &MachineRequest::Maintenance { reason });
    corrected(&mut world, &of_another_type()).expect("it is taken out");
    assert_eq!(
        world.machine.differences,
        ["drives: expected 3, found 2"],
        "told at once"
    );
    world.lifecycles.clear();
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(world.lifecycles.first(), Some(&Lifecycle::Inspecting));
    assert_eq!(world.lifecycles.last(), Some(&Lifecycle::Available));

    // An enrolled one as well: a take-over inspects it.
    let mut world = World::new();
    let why = corrected(&mut world, &of_another_type()).expect_err("it is being read");
    assert!(why.contains("something is being done"), "{why}");
    world.run();
    corrected(&mut world, &of_another_type()).expect("it is read");
    world.lifecycles.clear();
    world.take_over();
    assert_eq!(world.lifecycles.first(), Some(&Lifecycle::Inspecting));
}

#[test]
fn addresses_keep_their_interfaces_and_find_free_ones() {
    let address = |network: u64, ip: [u8; 4]| Address {
        network: NetworkId::from_parts(network, [0; 10]),
        ip: ip.into(),
        prefix: 24,
        gateway: None,
        dns: Vec::new(),
        reached_at: ip.into(),
        mac: None,
    };
    let to = |addresses: Vec<Address>| Correction {
        addresses: Some(addresses),
        ..Correction::default()
    };
    let mut world = free();
    corrected(&mut world, &to(vec![address(5, [10, 5, 0, 9])])).expect("given");
    let mac = world.machine.addresses[0].mac.clone();
    assert_eq!(mac.as_deref(), Some("52:54:00:00:00:01"));
    let both = to(vec![address(6, [10, 6, 0, 1]), address(5, [10, 5, 0, 10])]);
    let said = corrected(&mut world, &both).expect("given");
    assert!(said[0].contains("10.5.0.10"), "{said:?}");
    let macs: Vec<_> = world.machine.addresses.iter().map(|a| &a.mac).collect();
    assert_eq!(macs, [&None, &mac], "its only interface stays where it was");
    assert_eq!(corrected(&mut world, &both), Ok(Vec::new()));
}

#[test]
fn a_retired_machine_stays_as_it_is() {
    let mut world = free();
    world.decide(None, false, |facts| {
        requests::machine(facts, &MachineRequest::Retire).expect("it is asked")
    });
    world.decide(None, false, |facts| {
        let refused = correct(facts, &labels()).expect_err("it is gone");
        assert!(refused.detail.contains("retired"), "{refused}");
        next_step(facts)
    });
}
