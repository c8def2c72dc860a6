//! Machines that wait warm: how one comes to, how a lease takes it, and what is
//! done where something fails.

use billet_model::{
    bmc::BmcRequest,
    lease::LeaseState,
    lifecycle::{Lifecycle, Power, PowerReading},
    step::Step,
    warm::{TrialResult, Way},
    work::{Work, WorkKind},
};
use billet_plan::{
    next_step, requests,
    requests::MachineRequest,
    warm_choice::{WarmImage, WhyCold, Wish},
};
use jiff::SignedDuration;

use crate::world::World;

fn wish(world: &World, digest: &str) -> Wish {
    Wish::Warm {
        image: Some(WarmImage {
            id: world.image.id,
            digest: digest.into(),
            bytes: 1 << 20,
        }),
    }
}

/// A world whose machine waits warm with the image that leases ask for.
fn warm() -> World {
    let mut world = World::new();
    world.run();
    world.wish = Some(wish(&world, "d"));
    world.take_over();
    assert!(matches!(world.machine.step, Step::Warm { .. }));
    world
}

fn words(world: &World) -> Vec<WorkKind> {
    world.works.iter().map(Work::word).collect()
}

fn prepared(world: &World) -> Vec<bool> {
    let writes = world.works.iter().filter_map(|w| match w {
        Work::Write(order) => Some(order.prepared),
        _ => None,
    });
    writes.collect()
}

#[test]
fn a_tested_machine_stays_up_tries_kexec_and_is_prepared() {
    use WorkKind::{Erase, Inspect, Prepare, Test, Trial, Verify};
    let world = warm();
    assert_eq!(
        words(&world),
        [Inspect, Erase, Verify, Test, Trial, Prepare]
    );
    let machine = &world.machine;
    assert_eq!(machine.lifecycle, Lifecycle::Available);
    assert!(
        !machine.may_hold_data,
        "an image for everyone is nobody's data"
    );
    assert_eq!(world.power, Power::On);
    assert_eq!(
        world.medium, None,
        "nothing boots it into the ramdisk again"
    );
    let trial = machine.warm.trial.as_ref().expect("a trial");
    assert_eq!(trial.result, TrialResult::Passed);
    let stands = machine.warm.prepared.as_ref().expect("an image");
    assert!(stands.read_back && stands.digest == "d" && stands.drive.serial == "D1");
    assert!(machine.warm.boot.as_ref().is_some_and(|b| b.by_kexec));
}

#[test]
fn a_lease_on_it_goes_through_no_firmware() {
    let mut world = warm();
    world.works.clear();
    world.requests.clear();
    world.lease();
    assert_eq!(words(&world), [WorkKind::Write, WorkKind::Start]);
    assert_eq!(prepared(&world), [true]);
    assert_eq!(world.starts, [Way::Warm]);
    let changes: Vec<&BmcRequest> = world.requests.iter().filter(|r| r.is_change()).collect();
    assert!(changes.is_empty(), "its BMC is only read from: {changes:?}");
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.state, LeaseState::Active);
    let start = lease.first_start.as_ref().expect("a start");
    assert_eq!((start.way, start.prepared), (Way::Warm, true));
    assert!(start.measured_boot.contains("not the tenant's"));
    assert!(start.kernel.is_some() && start.ramdisk.is_some());
    assert_eq!(world.machine.warm.prepared, None, "it is the tenant's now");

    world.release();
    let certificate = world.certificates.last().expect("a certificate");
    let told = certificate.first_start.as_ref().expect("a start");
    assert_eq!(told.way, Way::Warm);
    assert!(
        matches!(world.machine.step, Step::Warm { .. }),
        "after the read-back and the tests it waits again, in the same boot"
    );
    let offs = |r: &&BmcRequest| matches!(r, BmcRequest::Power { action } if *action == billet_model::bmc::PowerAction::Off);
    let count = world.requests.iter().filter(offs).count();
    assert_eq!(count, 2, "off for the erase, and once for memory");
}

#[test]
fn another_image_is_written_whole_and_started_the_same_way() {
    let mut world = warm();
    world.image.content.as_mut().expect("content").digest = "e".into();
    world.works.clear();
    world.lease();
    assert_eq!(words(&world), [WorkKind::Write, WorkKind::Start]);
    assert_eq!(prepared(&world), [false]);
    assert_eq!(world.starts, [Way::Warm]);
}

#[test]
fn who_wants_it_cold_gets_it_cold() {
    let mut world = warm();
    world.cold = Some("the lease asked for it".into());
    world.works.clear();
    world.lease();
    assert_eq!(words(&world), [WorkKind::Write]);
    assert_eq!(prepared(&world), [false], "another boot, another word");
    assert_eq!(world.starts, [Way::Cold]);
    let lease = world.lease.as_ref().expect("a lease");
    let start = lease.first_start.as_ref().expect("a start");
    assert_eq!(start.why, ["the lease asked for it"]);
}

#[test]
fn a_kernel_that_cannot_be_started_is_booted_through_firmware() {
    let mut world = warm();
    world.works.clear();
    world.fails = Some(WorkKind::Start);
    world.lease();
    assert_eq!(words(&world), [WorkKind::Write, WorkKind::Start]);
    assert_eq!(
        world.starts,
        [Way::Cold],
        "the drive stands as it was written"
    );
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.state, LeaseState::Active);
    let start = lease.first_start.as_ref().expect("a start");
    assert_eq!(start.way, Way::Cold);
    assert!(start.why[0].contains("start failed"), "{:?}", start.why);
}

#[test]
fn a_kernel_that_does_not_come_up_is_written_anew_the_full_way() {
    let mut world = warm();
    world.works.clear();
    world.kexec_hangs = true;
    world.policy.kexec_deadline = SignedDuration::from_secs(30);
    world.lease();
    let kinds = words(&world);
    assert_eq!(kinds, [WorkKind::Write, WorkKind::Start, WorkKind::Write]);
    assert_eq!(
        prepared(&world),
        [true, false],
        "its first boot may be half done"
    );
    assert_eq!(world.starts, [Way::Cold]);
    assert_eq!(
        world.lease.as_ref().map(|l| l.state),
        Some(LeaseState::Active)
    );
}

#[test]
fn where_kexec_fails_its_trial_the_machine_waits_cold() {
    let mut world = World::new();
    world.run();
    world.wish = Some(wish(&world, "d"));
    world.kexec_hangs = true;
    world.policy.trial_deadline = SignedDuration::from_secs(30);
    world.take_over();
    assert_eq!(world.machine.step, Step::Rest);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.power, Power::Off);
    assert_eq!(world.medium, None);
    let trial = world.machine.warm.trial.as_ref().expect("a trial");
    assert!(matches!(trial.result, TrialResult::Failed { .. }));
    world.lease();
    assert_eq!(world.starts, [Way::Cold]);
}

#[test]
fn a_machine_at_rest_becomes_warm_and_cold_again() {
    let mut world = World::new();
    world.run();
    world.take_over();
    assert_eq!(world.power, Power::Off);
    world.wish = Some(wish(&world, "d"));
    world.now += SignedDuration::from_secs(600);
    world.decide(None, false, next_step);
    world.run();
    assert!(matches!(world.machine.step, Step::Warm { .. }));
    let why = WhyCold::NotWanted;
    world.wish = Some(Wish::Cold { why });
    world.decide(None, false, next_step);
    world.run();
    assert_eq!(world.machine.step, Step::Rest);
    assert_eq!((world.power, world.medium), (Power::Off, None));
    assert!(world.machine.warm.boot.is_none());
}

#[test]
fn another_image_is_prepared_in_the_same_boot() {
    let mut world = warm();
    let Step::Warm { boot } = world.machine.step else {
        panic!("warm")
    };
    world.works.clear();
    world.wish = Some(wish(&world, "e"));
    world.decide(None, false, next_step);
    world.run();
    assert_eq!(words(&world), [WorkKind::Prepare]);
    assert_eq!(world.machine.step, Step::Warm { boot });
}

#[test]
fn what_is_lost_is_noticed() {
    for lost in ["power", "agent", "ramdisk", "age"] {
        let mut world = warm();
        let later = world.now + SignedDuration::from_secs(300);
        match lost {
            "power" => {
                world.power = Power::Off;
                world.machine.power = Some(PowerReading {
                    power: Power::Off,
                    at: world.now,
                });
            }
            "agent" => world.now = later,
            "ramdisk" => world.ramdisk = "r2".into(),
            _ => world.policy.warm_refresh = SignedDuration::from_millis(1),
        }
        world.now += SignedDuration::from_secs(1);
        world.decide(None, false, next_step);
        assert!(
            matches!(world.machine.step, Step::Shelve { .. }),
            "{lost}: {:?}",
            world.machine.step
        );
        assert_eq!(world.machine.lifecycle, Lifecycle::Available, "{lost}");
    }
}

#[test]
fn a_lease_does_not_take_what_is_not_there() {
    let mut world = warm();
    world.now += SignedDuration::from_secs(300);
    world.works.clear();
    world.lease();
    assert_eq!(world.starts, [Way::Cold], "its agent was not heard");

    let mut world = warm();
    world.machine.uncertain_since = Some(world.now);
    world.lease();
    assert_eq!(world.starts, [Way::Cold], "a change may come late");
}

#[test]
fn an_image_on_another_drive_is_wiped_before_the_lease() {
    let mut world = warm();
    world.root_drive = "serial=D2".parse().expect("a wish");
    world.works.clear();
    world.lease();
    assert_eq!(words(&world), [WorkKind::Wipe, WorkKind::Write]);
    let Work::Wipe(order) = &world.works[0] else {
        panic!("a wipe")
    };
    assert_eq!(order.drives.len(), 1);
    assert_eq!(order.drives[0].serial, "D1");
    assert_eq!(world.starts, [Way::Cold]);
}

#[test]
fn an_operator_takes_a_warm_machine_out_and_it_is_powered_off() {
    let mut world = warm();
    let reason = "a fan".to_owned();
    world.decide(None, false, |facts| {
        requests::machine(
            facts,
            &MachineRequest::Maintenance {
                reason: reason.clone(),
            },
        )
        .expect("taken out")
    });
    world.run();
    assert_eq!(world.machine.lifecycle, Lifecycle::Maintenance);
    assert_eq!(
        (world.power, world.machine.step.clone()),
        (Power::Off, Step::Rest)
    );
}

#[test]
fn a_warm_machine_is_powered_off_before_it_is_retired() {
    let mut world = warm();
    let retire = MachineRequest::Retire;
    world.decide(None, false, |facts| {
        let refused = requests::machine(facts, &retire).expect_err("it is on");
        assert!(refused.detail.contains("machine cordon"), "{refused}");
        next_step(facts)
    });
    let cordon = MachineRequest::Cordon {
        reason: "sold".into(),
    };
    world.decide(None, false, |facts| {
        requests::machine(facts, &cordon).expect("cordoned")
    });
    // What is cordoned is chosen no more.
    let why = WhyCold::NotWanted;
    world.wish = Some(Wish::Cold { why });
    world.decide(None, false, next_step);
    world.run();
    assert_eq!(world.power, Power::Off);
    world.decide(None, false, |facts| {
        requests::machine(facts, &retire).expect("retired")
    });
    assert_eq!(world.machine.lifecycle, Lifecycle::Retired);
}
