//! What tenants ask during a lease: reinstalled, rescued, and what goes wrong.

use billet_model::{
    ImageId,
    lease::{LeaseState, VisitKind},
    lifecycle::{Lifecycle, Power},
    measure::MeasuredWhen,
    operation::OperationState,
    step::Step,
    work::{Work, WorkKind},
};
use billet_plan::{
    layout::Keep,
    next_step, requests,
    tenant::{self, Reinstall},
};

use crate::world::World;

fn leased() -> World {
    let mut world = World::new();
    world.run();
    world.take_over();
    world.lease();
    assert_eq!(state(&world), LeaseState::Active);
    world.works.clear();
    world
}

fn state(world: &World) -> LeaseState {
    world.lease.as_ref().expect("a lease").state
}

fn with(keep_data_drives: bool) -> Reinstall {
    Reinstall {
        image: ImageId::from_parts(7, [7; 10]),
        ssh_keys: vec!["ssh-ed25519 BBBB".into()],
        user_data: None,
        kernel_args: vec!["quiet".into()],
        install: None,
        keep: if keep_data_drives {
            Keep::All
        } else {
            Keep::Nothing
        },
        layout: None,
    }
}

fn reinstall(world: &mut World, keep: bool) {
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with(keep)).expect("it is reinstalled")
    });
    world.run();
}

fn rescue(world: &mut World) {
    world.decide(None, false, |facts| {
        tenant::rescue(facts).expect("it is rescued")
    });
    world.run();
}

fn end_rescue(world: &mut World) {
    world.decide(None, false, |facts| {
        tenant::end_rescue(facts).expect("it is ended")
    });
    world.run();
}

fn measure(world: &mut World) {
    world.decide(None, false, |facts| {
        tenant::measure(facts).expect("it is measured")
    });
    world.run();
}

#[test]
fn the_root_stands_where_it_was_wanted_and_the_other_drives_are_the_others() {
    let mut world = World::new();
    world.run();
    world.take_over();
    world.root_drive = "serial=D2".parse().expect("a drive");
    world.lease();
    let lease = world.lease.clone().expect("a lease");
    assert_eq!(lease.root_drive.expect("chosen").serial, "D2");
    let written = world.works.iter().find_map(|w| match w {
        Work::Write(order) => Some(order.drive.serial.clone()),
        _ => None,
    });
    assert_eq!(written.as_deref(), Some("D2"));
    assert_eq!(lease.measurements[0].drive, "D2");
    measure(&mut world);
    world.works.clear();
    reinstall(&mut world, false);
    let Some(Work::Wipe(order)) = world.works.first() else {
        panic!("it wipes first");
    };
    let serials: Vec<_> = order.drives.iter().map(|d| d.serial.as_str()).collect();
    assert_eq!(serials, ["D1"], "the root's is written anew");
    assert_eq!(state(&world), LeaseState::Active);

    // Another drive stands in its place: nothing is guessed.
    world.machine.drives[1].serial = "D3".into();
    let refused = std::cell::Cell::new(None);
    world.decide(None, false, |facts| {
        refused.set(tenant::reinstall(facts, &with(true)).err());
        next_step(facts)
    });
    let refused = refused.take().expect("it is refused");
    assert!(refused.detail.contains("drive D2"), "{refused}");
}

#[test]
fn a_measurement_reads_boots_back_and_is_on_record() {
    let mut world = leased();
    let before = world.lease.clone().expect("a lease");
    let first = before.measurements.first().expect("read back at writing");
    assert_eq!(first.when, MeasuredWhen::BeforeFirstBoot);
    assert!(first.found.chunks.all_same());
    measure(&mut world);
    let kinds: Vec<_> = world.works.iter().map(Work::word).collect();
    assert_eq!(kinds, [WorkKind::Measure]);
    let lease = world.lease.clone().expect("a lease");
    assert_eq!(lease.state, LeaseState::Active);
    assert_eq!((world.power, world.medium), (Power::On, None));
    let [_, since] = &lease.measurements[..] else {
        panic!("two: {:?}", lease.measurements);
    };
    assert_eq!(since.when, MeasuredWhen::Since);
    assert_eq!(since.found.chunks.per_mille(), 666);
    assert_ne!(since.boot, first.boot);
    let visit = lease.visits.last().expect("it is on record");
    assert_eq!(visit.kind, VisitKind::Measure);
    assert!(visit.ended_at.is_some());
    // The one of the writing stays, and the oldest of the others go.
    for _ in 0..12 {
        measure(&mut world);
    }
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.measurements.len(), 11);
    assert_eq!(&lease.measurements[0], first);
    // Written anew, only that counts.
    reinstall(&mut world, true);
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.measurements.len(), 1);
    assert_ne!(lease.measurements[0].boot, first.boot);
}

#[test]
fn a_measurement_that_fails_boots_the_drive_again() {
    let mut world = leased();
    world.fails = Some(WorkKind::Measure);
    world.policy.max_attempts = 1;
    measure(&mut world);
    let lease = world.lease.clone().expect("a lease");
    assert_eq!(lease.state, LeaseState::Active, "{:?}", lease.reason);
    assert_eq!(world.power, Power::On);
    assert_eq!(lease.measurements.len(), 1);
    let operation = &world.operations[&lease.operation];
    assert_eq!(operation.state, OperationState::Failed);
    assert!(operation.message.contains("the drive is booted again"));
    // Only an active lease is measured: afterwards its drive is booted.
    rescue(&mut world);
    let refused = std::cell::Cell::new(None);
    world.decide(None, false, |facts| {
        refused.set(tenant::measure(facts).err());
        next_step(facts)
    });
    let refused = refused.take().expect("it is refused");
    assert!(refused.detail.contains("is rescue"), "{refused}");
}

#[test]
fn a_reinstallation_erases_the_other_drives_and_keeps_the_lease() {
    let mut world = leased();
    let before = world.lease.clone().expect("a lease");
    reinstall(&mut world, false);
    let kinds: Vec<_> = world.works.iter().map(Work::word).collect();
    assert_eq!(kinds, [WorkKind::Wipe, WorkKind::Write]);
    let Some(Work::Wipe(order)) = world.works.first() else {
        panic!("it wipes first");
    };
    let serials: Vec<_> = order.drives.iter().map(|d| d.serial.as_str()).collect();
    assert_eq!(serials, ["D2"], "the first is written anew");
    let lease = world.lease.clone().expect("a lease");
    assert_eq!((lease.id, lease.machine), (before.id, before.machine));
    assert_eq!(
        (lease.state, lease.active_at),
        (LeaseState::Active, before.active_at)
    );
    assert_eq!(lease.image, with(false).image);
    assert_ne!(lease.operation, before.operation, "and so a new token");
    let visit = lease.visits.last().expect("it is on record");
    assert_eq!(visit.kind, VisitKind::Reinstall);
    assert!(visit.ended_at.is_some());
    assert!(
        visit.done.iter().any(|d| d.contains("drive D2 erased")),
        "{visit:?}"
    );
    let operation = &world.operations[&lease.operation];
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(world.machine.lifecycle, Lifecycle::Active);
    // And the release certificate says that it was so.
    world.release();
    let certificate = world.certificates.last().expect("one");
    assert_eq!(certificate.visits, lease.visits);
}

#[test]
fn a_reinstallation_that_wrote_nothing_boots_the_drive_again() {
    for (fails, keep) in [(WorkKind::Wipe, false), (WorkKind::Write, true)] {
        let mut world = leased();
        let before = world.lease.clone().expect("a lease");
        (world.fails, world.untouched) = (Some(fails), true);
        reinstall(&mut world, keep);
        let lease = world.lease.clone().expect("a lease");
        assert_eq!(
            lease.state,
            LeaseState::Active,
            "{fails}: {:?}",
            lease.reason
        );
        assert_eq!((world.power, world.medium), (Power::On, None));
        assert_eq!(lease.image, before.image);
        assert_eq!(lease.spec, before.spec);
        assert_eq!(lease.written, before.written);
        assert_eq!(lease.measurements, before.measurements);
        assert_eq!(lease.active_because, before.active_because);
        assert!(lease.before_reinstall.is_none());
        let operation = &world.operations[&lease.operation];
        assert_eq!(operation.state, OperationState::Failed);
        assert!(operation.message.contains("the drive is booted again"));
        let done = lease.visits[0].done.join("; ");
        assert!(done.contains("nothing was written"), "{done}");
    }
    // What stands there after a reinstallation that wrote is another matter.
    let mut world = leased();
    world.fails = Some(WorkKind::Write);
    reinstall(&mut world, true);
    assert_eq!(state(&world), LeaseState::Broken);
}

#[test]
fn an_image_that_is_gone_is_not_put_back_and_the_rest_is() {
    let mut world = leased();
    let before = world.lease.clone().expect("a lease");
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with(true)).expect("it is reinstalled")
    });
    let mut lease = world.lease.clone().expect("a lease");
    assert!(lease.put_back(false));
    assert_eq!(lease.image, with(true).image);
    assert_eq!(lease.written, before.written, "and its digest with it");
    assert!(!lease.put_back(true), "once");
}

#[test]
fn after_a_restore_nobody_knows_what_a_reinstallation_wrote() {
    let mut world = leased();
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with(true)).expect("it is reinstalled")
    });
    assert!(
        world
            .lease
            .as_ref()
            .is_some_and(|l| l.before_reinstall.is_some())
    );
    world.machine.unconfirmed = true;
    assert!(ask(&mut world, &requests::MachineRequest::Confirm));
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.state, LeaseState::Broken);
    assert_eq!(lease.active_because, None);
}

#[test]
fn data_drives_are_kept_where_that_is_asked() {
    let mut world = leased();
    reinstall(&mut world, true);
    let kinds: Vec<_> = world.works.iter().map(Work::word).collect();
    assert_eq!(kinds, [WorkKind::Write]);
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.visits[0].kept_drives, ["D2"]);
}

#[test]
fn a_reinstallation_that_fails_leaves_the_machine_to_its_tenant() {
    for fails in [WorkKind::Wipe, WorkKind::Write] {
        let mut world = leased();
        world.fails = Some(fails);
        reinstall(&mut world, false);
        assert_eq!(state(&world), LeaseState::Broken, "{fails}");
        assert_eq!(world.machine.lifecycle, Lifecycle::Active);
        assert_eq!((world.power, world.medium), (Power::Off, None));
        assert!(world.machine.may_hold_data && world.machine.lease.is_some());
        let lease = world.lease.as_ref().expect("a lease");
        let reason = lease.reason.as_deref().expect("a reason");
        assert!(reason.contains("billet lease reinstall l1"), "{reason}");
        assert_eq!(
            world.operations[&lease.operation].state,
            OperationState::Failed
        );
        // What is on the drive never came up: there is nothing to go back to.
        let facts_refuse = std::cell::Cell::new(false);
        world.decide(None, false, |facts| {
            facts_refuse.set(tenant::end_rescue(facts).is_err());
            next_step(facts)
        });
        assert!(facts_refuse.get());
        // The way out is to do it again.
        reinstall(&mut world, false);
        assert_eq!(state(&world), LeaseState::Active, "{fails}");
        world.release();
        assert_eq!(state(&world), LeaseState::Released);
    }
}

#[test]
fn a_rescue_touches_no_drive_and_ends_in_the_same_system() {
    let mut world = leased();
    let before = world.lease.clone().expect("a lease");
    rescue(&mut world);
    assert!(matches!(world.machine.step, Step::Rescue { .. }));
    assert_eq!(state(&world), LeaseState::Rescue);
    assert!(world.medium.is_some(), "it runs from the medium");
    let lease = world.lease.clone().expect("a lease");
    assert_eq!(
        lease.rescue.expect("a way in").host_keys,
        ["ssh-ed25519 AAAA"]
    );
    // It lasts as long as the tenant wants.
    for _ in 0..100 {
        world.now += jiff::SignedDuration::from_mins(10);
        let reply = world.machine.pending.clone().map(|p| world.bmc(&p.request));
        world.decide(reply.as_ref(), false, next_step);
    }
    assert_eq!(state(&world), LeaseState::Rescue);
    world.decide(None, true, next_step);
    end_rescue(&mut world);
    assert_eq!(state(&world), LeaseState::Active);
    assert_eq!((world.power, world.medium), (Power::On, None));
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.written, before.written);
    assert_eq!(lease.host_keys, before.host_keys);
    assert!(lease.rescue.is_none() && lease.visits[0].ended_at.is_some());
    let kinds: Vec<_> = world.works.iter().map(Work::word).collect();
    assert_eq!(kinds, [WorkKind::Rescue]);
}

fn refused_rescue(world: &mut World) -> Option<String> {
    let said = std::cell::RefCell::new(None);
    world.decide(None, false, |facts| {
        *said.borrow_mut() = tenant::rescue(facts).err().map(|r| r.detail);
        next_step(facts)
    });
    said.into_inner()
}

#[test]
fn a_rescue_that_is_lost_is_begun_anew() {
    let hour = jiff::SignedDuration::from_hours(1);
    for off in [true, false] {
        let mut world = leased();
        rescue(&mut world);
        let said = refused_rescue(&mut world).expect("it is up");
        assert!(said.contains("billet ssh l1"), "{said}");
        world.now += hour;
        if off {
            world.power = Power::Off;
        }
        let now = world.now;
        if let Some(boot) = world.boot().filter(|_| off) {
            boot.seen_at = Some(now);
        }
        world.decide(None, false, next_step);
        world.answer();
        let lease = world.lease.clone().expect("a lease");
        let reason = lease.reason.expect("its tenant is told");
        assert!(reason.contains("billet lease rescue l1`)"), "{reason}");
        assert!(world.audit.iter().any(|a| a.contains("rescue_lost")));
        let first = world.boot().expect("a boot").id;
        rescue(&mut world);
        assert_eq!(state(&world), LeaseState::Rescue);
        assert_ne!(world.boot().expect("a boot").id, first);
        let lease = world.lease.clone().expect("a lease");
        assert_eq!((lease.reason, world.power), (None, Power::On));
        assert_eq!(lease.visits.len(), 2);
        assert!(lease.visits[0].ended_at.is_some());
        end_rescue(&mut world);
        assert_eq!(state(&world), LeaseState::Active);
    }
}

#[test]
fn a_ramdisk_that_is_heard_again_is_not_lost() {
    let mut world = leased();
    rescue(&mut world);
    world.now += jiff::SignedDuration::from_hours(1);
    world.decide(None, false, next_step);
    world.answer();
    assert!(world.lease.as_ref().is_some_and(|l| l.reason.is_some()));
    let now = world.now;
    world.boot().expect("a boot").seen_at = Some(now);
    world.decide(None, false, next_step);
    world.answer();
    assert!(world.lease.as_ref().is_some_and(|l| l.reason.is_none()));
    assert!(refused_rescue(&mut world).is_some());
}

#[test]
fn what_helps_a_broken_lease_on_a_held_machine_is_said() {
    use billet_model::bmc::{BmcFailure, BmcReply};
    let mut world = leased();
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with(true)).expect("it is reinstalled")
    });
    world.decide(None, false, next_step);
    let reply = BmcReply::Failed {
        kind: BmcFailure::Credentials,
        detail: "no".into(),
    };
    world.decide(Some(&reply), false, next_step);
    assert_eq!(world.machine.lifecycle, Lifecycle::Quarantined);
    let lease = world.lease.clone().expect("a lease");
    assert_eq!(lease.state, LeaseState::Broken);
    let told = [
        lease.reason.clone().expect("a reason"),
        world.operations[&lease.operation].message.clone(),
    ];
    for said in &told {
        assert!(!said.contains("billet lease reinstall"), "{said}");
        assert!(said.contains("operator"), "{said}");
    }
    assert!(told[0].contains("billet lease release l1"), "{}", told[0]);
    // Mended, what helps is said again: nothing was written, so its drive boots.
    assert!(ask(&mut world, &requests::MachineRequest::Repair));
    world.run();
    let lease = world.lease.clone().expect("a lease");
    let reason = lease.reason.expect("a reason");
    assert!(reason.contains("billet lease reinstall l1"), "{reason}");
    assert!(reason.contains("billet lease rescue l1 --end"), "{reason}");
    end_rescue(&mut world);
    assert_eq!(state(&world), LeaseState::Active);
}

#[test]
fn a_rescue_that_does_not_come_up_boots_the_drive_again() {
    let mut world = leased();
    world.fails = Some(WorkKind::Rescue);
    // Each try fails; the policy has few.
    world.policy.max_attempts = 1;
    rescue(&mut world);
    assert_eq!(state(&world), LeaseState::Active);
    let lease = world.lease.as_ref().expect("a lease");
    let operation = &world.operations[&lease.operation];
    assert_eq!(operation.state, OperationState::Failed);
    assert!(
        operation.message.contains("no rescue"),
        "{}",
        operation.message
    );
}

#[test]
fn a_term_ends_in_rescue_too() {
    let mut world = leased();
    rescue(&mut world);
    let ends = world.now + jiff::SignedDuration::from_mins(1);
    world.lease.as_mut().expect("a lease").ends_at = Some(ends);
    world.now = ends;
    world.decide(None, true, next_step);
    assert_eq!(state(&world), LeaseState::Releasing);
    world.run();
    assert_eq!(state(&world), LeaseState::Released);
}

#[test]
fn nobody_without_a_key_is_rescued() {
    let mut world = leased();
    world.lease.as_mut().expect("a lease").spec.ssh_keys.clear();
    let said = std::cell::RefCell::new(String::new());
    world.decide(None, false, |facts| {
        let refused = tenant::rescue(facts).expect_err("nobody could get in");
        *said.borrow_mut() = refused.detail;
        next_step(facts)
    });
    assert!(said.borrow().contains("no SSH key"), "{}", said.borrow());
}

#[test]
fn one_thing_at_a_time() {
    let mut world = leased();
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with(true)).expect("it is reinstalled")
    });
    let refused = std::cell::Cell::new(0);
    world.decide(None, false, |facts| {
        let all = [
            tenant::reinstall(facts, &with(true)).is_err(),
            tenant::rescue(facts).is_err(),
            tenant::end_rescue(facts).is_err(),
            requests::lease_power(facts, billet_model::bmc::PowerAction::Off).is_err(),
        ];
        refused.set(all.iter().filter(|r| **r).count());
        next_step(facts)
    });
    assert_eq!(refused.get(), 4);
    // But it can be given back at any time.
    world.decide(None, false, |facts| {
        requests::release(facts).expect("it is released")
    });
}

#[test]
fn a_tenant_is_warned_before_the_end_and_the_release_can_be_followed() {
    let mut world = leased();
    let began = world.lease.as_ref().expect("a lease").created_at;
    let hours = jiff::SignedDuration::from_hours;
    let ends = began + hours(100);
    world.lease.as_mut().expect("a lease").ends_at = Some(ends);
    let mut warned = Vec::new();
    while state(&world) == LeaseState::Active {
        world.decide(None, true, next_step);
        let last = world.lease.as_ref().expect("a lease").warned_at;
        if last.is_some() && warned.last() != last.as_ref() {
            warned.extend(last);
        }
        let wake = world.machine.wake_at;
        assert!(wake <= ends, "it is woken at its end");
        world.now = wake.max(world.now + jiff::SignedDuration::from_secs(1));
    }
    let late = |at: billet_model::Time, lead: i64| at.duration_since(ends - hours(lead));
    assert_eq!(warned.len(), 2, "{warned:?}");
    for (at, lead) in warned.iter().zip([24, 1]) {
        let late = late(*at, lead);
        assert!((0..60).contains(&late.as_secs()), "{late:?}");
    }
    let lease = world.lease.as_ref().expect("a lease");
    let kind = world.operations[&lease.operation].kind;
    assert_eq!(kind, billet_model::operation::OperationKind::Release);
    world.run();
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.state, LeaseState::Released);
    assert_eq!(
        world.operations[&lease.operation].state,
        OperationState::Succeeded
    );
}

fn ask(world: &mut World, request: &requests::MachineRequest) -> bool {
    let done = std::cell::Cell::new(false);
    world.decide(None, false, |facts| {
        let decided = requests::machine(facts, request);
        done.set(decided.is_ok());
        decided.unwrap_or_else(|_| next_step(facts))
    });
    done.get()
}

#[test]
fn an_operator_mends_a_machine_under_its_tenant_and_erases_nothing() {
    use requests::MachineRequest::{BreakFix, Inspect, Repair, Test};
    let mut world = leased();
    let reason = || "a fan".to_owned();
    assert!(ask(&mut world, &BreakFix { reason: reason() }));
    world.run();
    assert_eq!(state(&world), LeaseState::Maintenance);
    assert_eq!(world.machine.lifecycle, Lifecycle::Maintenance);
    assert_eq!((world.power, world.medium), (Power::Off, None));
    // Nothing that would end in an erase, nor the tenant meanwhile.
    for refused in [Inspect, Test, BreakFix { reason: reason() }] {
        assert!(!ask(&mut world, &refused), "{refused:?}");
    }
    let refused = std::cell::Cell::new(false);
    world.decide(None, false, |facts| {
        refused.set(tenant::reinstall(facts, &with(true)).is_err());
        next_step(facts)
    });
    assert!(refused.get());
    assert!(ask(&mut world, &Repair));
    world.run();
    assert_eq!(state(&world), LeaseState::Active);
    assert_eq!(world.power, Power::On);
    assert!(world.works.is_empty(), "no agent ran: {:?}", world.works);
    world.release();
    let visit = &world.certificates.last().expect("one").visits[0];
    assert_eq!(visit.kind, VisitKind::BreakFix);
    assert!(visit.done[0].contains("no drive was erased"), "{visit:?}");
    // A machine that nobody has is no case for it.
    assert!(!ask(&mut world, &BreakFix { reason: reason() }));
}

/// An operator's visit, or a hold, that goes on for longer than the lease.
#[test]
fn a_term_warns_and_ends_while_an_operator_works_on_the_machine() {
    let mut world = leased();
    let hours = jiff::SignedDuration::from_hours;
    let ends = world.lease.as_ref().expect("a lease").created_at + hours(100);
    world.lease.as_mut().expect("a lease").ends_at = Some(ends);
    let reason = "a fan".to_owned();
    assert!(ask(
        &mut world,
        &requests::MachineRequest::BreakFix { reason }
    ));
    world.run();
    let mut warned = 0;
    while state(&world) == LeaseState::Maintenance {
        world.decide(None, true, next_step);
        warned = world
            .audit
            .iter()
            .filter(|a| a.contains("lease.expires"))
            .count();
        let wake = world.machine.wake_at;
        assert!(wake <= ends || world.now >= ends, "it is woken at its end");
        world.now = wake.max(world.now + jiff::SignedDuration::from_secs(1));
    }
    assert_eq!(warned, 2);
    assert_eq!(state(&world), LeaseState::Releasing);
    assert_eq!(world.machine.lifecycle, Lifecycle::Maintenance);
    assert!(
        world.works.is_empty(),
        "nothing is erased under the operator"
    );
    let lease = world.lease.clone().expect("a lease");
    assert!(lease.reason.is_some_and(|r| r.contains("operator repairs")));
    assert!(ask(&mut world, &requests::MachineRequest::Repair));
    world.run();
    assert_eq!(state(&world), LeaseState::Released);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
}

#[test]
fn a_term_warns_during_any_visit() {
    let mut world = leased();
    let hours = jiff::SignedDuration::from_hours;
    let ends = world.lease.as_ref().expect("a lease").created_at + hours(100);
    world.lease.as_mut().expect("a lease").ends_at = Some(ends);
    world.decide(None, false, |facts| {
        tenant::measure(facts).expect("it is measured")
    });
    world.now = ends - hours(23);
    world.decide(None, true, next_step);
    assert_eq!(state(&world), LeaseState::Measuring);
    assert!(world.audit.iter().any(|a| a.contains("lease.expires")));
}

#[test]
fn visits_that_a_certificate_does_not_list_are_counted_on_it() {
    let mut world = leased();
    for _ in 0..53 {
        measure(&mut world);
    }
    let lease = world.lease.clone().expect("a lease");
    assert_eq!((lease.visits.len(), lease.earlier_visits), (50, 3));
    world.release();
    let certificate = world.certificates.last().expect("one");
    let earlier = certificate.earlier_visits.as_ref().expect("it says so");
    assert_eq!(earlier.count, 3);
    assert!(
        earlier.recorded_in.contains(&lease.id.to_string()),
        "{}",
        earlier.recorded_in
    );
}

#[test]
fn what_is_given_back_during_a_repair_is_erased_after_it() {
    let mut world = leased();
    let reason = "a fan".to_owned();
    assert!(ask(
        &mut world,
        &requests::MachineRequest::BreakFix { reason }
    ));
    world.run();
    world.decide(None, false, |facts| {
        requests::release(facts).expect("it is released")
    });
    assert_eq!(world.machine.lifecycle, Lifecycle::Maintenance);
    assert_eq!(state(&world), LeaseState::Releasing);
    assert!(ask(&mut world, &requests::MachineRequest::Repair));
    world.run();
    assert_eq!(state(&world), LeaseState::Released);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
}

/// A backup is restored while something of Billet's is at work on a machine that was handed over.
#[test]
fn what_was_handed_over_stays_its_tenants_over_a_restore() {
    use requests::MachineRequest::{BreakFix, Confirm, Repair};
    for what in ["break/fix", "reinstall", "rescue", "rescued"] {
        let mut world = leased();
        match what {
            "break/fix" => {
                let reason = "a fan".to_owned();
                assert!(ask(&mut world, &BreakFix { reason }));
                world.run();
            }
            "reinstall" => {
                world.decide(None, false, |facts| {
                    tenant::reinstall(facts, &with(false)).expect("it is reinstalled")
                });
            }
            "rescue" => {
                world.decide(None, false, |facts| {
                    tenant::rescue(facts).expect("it is rescued")
                });
            }
            _ => rescue(&mut world),
        }
        world.machine.unconfirmed = true;
        assert!(ask(&mut world, &Confirm), "{what}");
        world.run();
        if world.machine.lifecycle == Lifecycle::Maintenance {
            assert_eq!(state(&world), LeaseState::Maintenance, "{what}");
            assert!(ask(&mut world, &Repair), "{what}");
            world.run();
            assert_eq!(state(&world), LeaseState::Active, "{what}");
        } else {
            assert_eq!(state(&world), LeaseState::Broken, "{what}");
        }
        assert_eq!(world.machine.lifecycle, Lifecycle::Active, "{what}");
        assert!(world.machine.may_hold_data && world.machine.lease.is_some());
        assert!(
            world.works.iter().all(|w| !matches!(w, Work::Erase(_))),
            "{what}: {:?}",
            world.works
        );
        let certificates = world.certificates.len();
        assert_eq!(certificates, 1, "{what}: of the take-over alone");
    }
}

/// A tenant reads what went wrong, and nothing of how the operator's BMC is reached.
#[test]
fn a_bmcs_own_words_are_not_told_to_a_tenant() {
    use billet_model::bmc::{BmcFailure, BmcReply};
    let secret = "https://10.1.2.3/redfish/v1/Systems/1: no admin there";
    let replies = [
        BmcFailure::Unreachable,
        BmcFailure::Credentials,
        BmcFailure::Certificate,
        BmcFailure::Refused,
        BmcFailure::Malformed,
    ]
    .map(|kind| BmcReply::Failed {
        kind,
        detail: secret.into(),
    });
    let uncertain = BmcReply::Uncertain {
        detail: secret.into(),
    };
    for reply in replies.into_iter().chain([uncertain]) {
        let mut world = leased();
        world.decide(None, false, |facts| {
            tenant::reinstall(facts, &with(true)).expect("it is reinstalled")
        });
        for _ in 0..3000 {
            let done = world.machine.step == Step::Rest;
            if done {
                break;
            }
            world.decide(None, false, next_step);
            world.now += jiff::SignedDuration::from_secs(2);
            if world.machine.pending.is_some() {
                world.decide(Some(&reply), false, next_step);
            }
        }
        assert_eq!(state(&world), LeaseState::Broken, "{reply:?}");
        let lease = serde_json::to_string(&world.lease).expect("JSON");
        let operations: Vec<_> = world.operations.values().collect();
        let operations = serde_json::to_string(&operations).expect("JSON");
        let audit = world.audit.join("\n");
        for said in [&lease, &operations, &audit] {
            assert!(!said.contains("10.1.2.3"), "{reply:?}: {said}");
        }
        let hold = world.machine.hold.as_ref().map(|h| &h.detail);
        assert!(!hold.is_some_and(|d| d.contains("10.1.2.3")), "{hold:?}");
        if matches!(reply, BmcReply::Failed { .. }) {
            let trouble = world
                .machine
                .bmc_trouble
                .as_ref()
                .expect("for the operator");
            assert_eq!(trouble.detail, secret);
        }
    }
}
