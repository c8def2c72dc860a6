//! A machine's whole life, decided step by step in a world where everything
//! works at once: the path that every other test departs from.

use billet_model::{
    bmc::{BmcFact, BmcReply, BmcRequest, PowerAction},
    lease::LeaseState,
    lifecycle::{Lifecycle, Power},
    operation::{OperationKind, OperationState},
    step::{DiskStep, Step},
};
use billet_plan::{Effect, Facts, next_step, requests, requests::MachineRequest};
use jiff::SignedDuration;

use crate::world::World;

#[test]
fn a_whole_life() {
    let mut world = World::new();
    world.run();
    assert_eq!(world.machine.lifecycle, Lifecycle::Enrolled);
    assert!(
        world.requests.iter().all(|r| !r.is_change()),
        "enrolment only reads"
    );
    world.take_over();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.certificates.len(), 1);
    world.lease();
    assert_eq!(world.machine.lifecycle, Lifecycle::Active);
    assert!(world.machine.may_hold_data);
    world.release();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(
        world.lease.as_ref().map(|l| l.state),
        Some(LeaseState::Released)
    );
    assert_eq!(world.certificates.len(), 2);
    assert_eq!(
        world.certificates[1].lease,
        world.lease.as_ref().map(|l| l.id)
    );
    use Lifecycle::{Active, Available, Deploying, Enrolled, Erasing, Inspecting, Testing};
    assert_eq!(
        world.lifecycles,
        [
            Enrolled, Inspecting, Erasing, Testing, Available, Deploying, Active, Erasing, Testing,
            Available
        ]
    );
    assert!(
        world
            .operations
            .values()
            .all(|o| o.state == OperationState::Succeeded),
        "{:?}",
        world.operations
    );
    let kinds: Vec<_> = world.operations.values().map(|o| o.kind).collect();
    assert!(kinds.contains(&OperationKind::TakeOver) && kinds.contains(&OperationKind::Release));
}

#[test]
fn a_lost_power_action_is_looked_at_and_not_repeated() {
    let mut world = World::new();
    world.run();
    let drives = ["D1".to_owned(), "D2".to_owned()];
    world.decide(None, false, |facts| {
        requests::take_over(facts, &drives, None).expect("it is taken over")
    });
    // First a reading; then off is asked for, and the answer is lost.
    let mut asked = Vec::new();
    let mut effect = world.decide(None, false, next_step);
    for _ in 0..8 {
        world.now += SignedDuration::from_secs(1);
        let Some(Effect::Ask(pending)) = effect.take() else {
            effect = world.decide(None, false, next_step);
            continue;
        };
        asked.push(pending.request.clone());
        let reply = match pending.request {
            BmcRequest::Power { .. } => BmcReply::Uncertain {
                detail: "timed out".into(),
            },
            ref other => world.bmc(other),
        };
        effect = world.decide(Some(&reply), false, next_step);
    }
    let off = BmcRequest::Power {
        action: PowerAction::Off,
    };
    assert_eq!(
        asked[..3],
        [BmcRequest::ReadPower, off, BmcRequest::ReadPower]
    );
    assert!(world.machine.uncertain_since.is_some());
}

#[test]
fn a_request_whose_sender_died_is_uncertain() {
    let mut world = World::new();
    world.run();
    let drives = ["D1".to_owned(), "D2".to_owned()];
    world.decide(None, false, |facts| {
        requests::take_over(facts, &drives, None).expect("it is taken over")
    });
    world.decide(None, false, next_step);
    world.now += SignedDuration::from_secs(1);
    let reading = BmcReply::Done {
        fact: BmcFact::Power { power: Power::On },
    };
    world.decide(Some(&reading), false, next_step);
    assert!(
        world
            .machine
            .pending
            .as_ref()
            .is_some_and(|p| p.request.is_change())
    );
    // Without the reply nothing moves; once it is known to be lost, it is looked at.
    let before = world.machine.clone();
    assert_eq!(world.decide(None, false, next_step), None);
    assert_eq!(world.machine, before);
    world.now += SignedDuration::from_secs(1);
    let effect = world.decide(None, true, next_step);
    assert!(matches!(
        effect,
        Some(Effect::Ask(p)) if p.request == BmcRequest::ReadPower
    ));
    assert_eq!(world.machine.uncertain_since, Some(world.now));
}

#[test]
fn take_over_wants_every_drive_named() {
    let mut world = World::new();
    world.run();
    let machine = world.machine.clone();
    let fresh = world.fresh();
    let facts = Facts {
        now: world.now,
        policy: &world.policy,
        machine: &machine,
        machine_type: None,
        site: None,
        lease: None,
        image: None,
        image_before: false,
        wish: None,
        ramdisk: None,
        operation: None,
        boot: None,
        task: None,
        reply: None,
        orphaned: false,
        probed: None,
        fresh,
    };
    for named in [vec![], vec!["D1"], vec!["D1", "D3"], vec!["D1", "D2", "D3"]] {
        let named: Vec<String> = named.into_iter().map(str::to_owned).collect();
        let refused = requests::take_over(&facts, &named, None);
        assert!(
            refused.is_err_and(|r| r.field == Some("drives")),
            "{named:?}"
        );
    }
}

#[test]
fn a_machine_whose_drives_nobody_named_is_never_changed() {
    let mut world = World::new();
    world.run();
    // However it came there: restored, or held by an older version.
    for lifecycle in [
        Lifecycle::Enrolled,
        Lifecycle::Quarantined,
        Lifecycle::Maintenance,
    ] {
        world.machine.lifecycle = lifecycle;
        for request in [
            MachineRequest::Power(PowerAction::Off),
            MachineRequest::Test,
            MachineRequest::Repair,
        ] {
            let refused = std::cell::Cell::new(false);
            world.decide(None, false, |facts| {
                let decided = requests::machine(facts, &request);
                refused.set(decided.is_err());
                decided.unwrap_or_else(|_| next_step(facts))
            });
            assert!(
                refused.get(),
                "{request:?} of a machine that is {lifecycle}"
            );
        }
    }
}

#[test]
fn the_medium_is_taken_out_after_what_may_come_late() {
    let mut world = World::new();
    world.run();
    world.machine.lifecycle = Lifecycle::Deploying;
    world.machine.step = Step::DiskBoot { at: DiskStep::Off };
    world.machine.step_since = world.now;
    world.machine.waiting = None;
    // A medium may still be put in: who asked for it got no answer.
    world.machine.uncertain_since = Some(world.now);
    world.power = Power::Off;
    let settled = world.now + world.policy.settle;
    let mut effect = world.decide(None, false, next_step);
    for _ in 0..100 {
        world.now += SignedDuration::from_secs(10);
        let reply = effect.take().map(|effect| match effect {
            Effect::Ask(pending) => {
                assert!(
                    pending.request != BmcRequest::EjectMedia || world.now > settled,
                    "taken out before a late request had its time"
                );
                world.bmc(&pending.request)
            }
            Effect::Probe => panic!("nothing is probed"),
        });
        effect = world.decide(reply.as_ref(), false, next_step);
        if world.requests.last() == Some(&BmcRequest::EjectMedia) {
            return;
        }
    }
    panic!("the medium was never taken out");
}

#[test]
fn a_wish_of_before_the_restore_is_not_carried_out() {
    let mut world = World::new();
    world.run();
    world.take_over();
    world.lease();
    world.decide(None, false, |facts| {
        requests::lease_power(facts, PowerAction::Off).expect("it is active")
    });
    world.decide(None, false, next_step);
    assert!(matches!(world.machine.step, Step::ChangePower { .. }));
    world.machine.unconfirmed = true;
    world.decide(None, false, |facts| {
        requests::machine(facts, &MachineRequest::Confirm).expect("it is confirmed")
    });
    assert_eq!(world.machine.step, Step::Rest);
    assert_eq!(
        (world.machine.power_request, world.machine.operation),
        (None, None)
    );
}

#[test]
fn an_erase_that_is_hardly_looked_at_is_not_accepted() {
    for what in ["canaries", "sampled"] {
        let mut world = World::new();
        match what {
            "canaries" => world.canaries = Some(1),
            _ => world.samples = Some(1),
        }
        world.run();
        world.take_over();
        assert_eq!(world.machine.lifecycle, Lifecycle::Quarantined, "{what}");
        let hold = world.machine.hold.as_ref().expect("a hold");
        assert!(hold.detail.contains(what), "{}", hold.detail);
        assert!(world.machine.may_hold_data && world.certificates.is_empty());
    }
}

/// An image that does not boot: its lease fails with what to look at, and the machine is erased and
/// free again.
#[test]
fn an_image_that_does_not_boot_fails_its_lease_and_frees_the_machine() {
    for (cloud_init, why) in [(true, "--no-cloud-init"), (false, "SSH port")] {
        let mut world = World::new();
        world.policy.settle = SignedDuration::from_secs(10);
        world.policy.first_boot_deadline = SignedDuration::from_mins(2);
        world.run();
        world.take_over();
        world.dead_image = true;
        world.image.cloud_init = cloud_init;
        world.lease();
        let lease = world.lease.as_ref().expect("a lease");
        assert_eq!(lease.state, LeaseState::Failed);
        let reason = lease.reason.as_deref().expect("a reason");
        for told in ["2 minutes", why, "`billet lease console l1 --log`"] {
            assert!(reason.contains(told), "{told}: {reason}");
        }
        assert_eq!(world.machine.lifecycle, Lifecycle::Available);
        assert_eq!(world.machine.lease, None);
        assert!(!world.machine.may_hold_data);
        let certificate = world.certificates.last().expect("a certificate");
        assert_eq!(certificate.lease, Some(lease.id));
    }
}
