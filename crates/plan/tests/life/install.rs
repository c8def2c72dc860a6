//! Leases that are installed by their tenants' own configuration.

use billet_model::{
    ImageId,
    bmc::{BmcRequest, BootTarget, PowerAction},
    image::{ImageKind, InstallPart},
    lease::{ActiveBecause, Install, InstallEnded, LeaseState},
    lifecycle::{Lifecycle, Power},
    operation::OperationState,
    step::{BootOf, InstallStep, Step},
    work::{Work, WorkKind},
};
use billet_plan::{
    layout::Keep,
    next_step, requests,
    tenant::{self, Reinstall},
};
use jiff::SignedDuration;

use crate::world::World;

fn config() -> Install {
    Install {
        kind: ImageKind::Kernel,
        digest: "c".into(),
        parts: vec![InstallPart {
            name: "kernel".into(),
            origin: "upload".into(),
            checksum: None,
            sha256: Some("k".into()),
            bytes: 1,
        }],
        command_line: Some("quiet".into()),
        seconds: 3600,
        hostname: "l1".into(),
        medium: None,
        began_at: None,
        ended: None,
    }
}

/// A lease whose installer runs.
fn installing() -> World {
    let mut world = World::new();
    world.run();
    world.take_over();
    world.works.clear();
    world.requests.clear();
    world.install = Some(config());
    world.lease();
    assert_running(&world);
    world
}

fn assert_running(world: &World) {
    assert!(matches!(
        world.machine.step,
        Step::Install {
            at: InstallStep::Run,
            ..
        }
    ));
    assert_eq!(state(world), LeaseState::Installing);
    assert_eq!(world.machine.lifecycle, Lifecycle::Active);
    assert_eq!(world.power, Power::On);
    assert!(world.medium.is_some(), "it runs from the medium");
    let boot = world.boots.values().next_back().expect("a boot");
    assert_eq!(boot.of, BootOf::Installer);
}

fn state(world: &World) -> LeaseState {
    world.lease.as_ref().expect("a lease").state
}

/// As the control plane takes the installer's word.
fn reports(world: &mut World) {
    let at = world.now;
    let because = ActiveBecause::InstallerReported;
    let lease = world.lease.as_mut().expect("a lease");
    lease.active_because = Some(because);
    lease.install.as_mut().expect("an installation").ended = Some(InstallEnded { at, because });
}

fn with(install: Option<Install>, keep_data_drives: bool) -> Reinstall {
    Reinstall {
        image: ImageId::from_parts(7, [7; 10]),
        ssh_keys: vec!["ssh-ed25519 BBBB".into()],
        user_data: None,
        kernel_args: vec![],
        install,
        keep: if keep_data_drives {
            Keep::All
        } else {
            Keep::Nothing
        },
        layout: None,
    }
}

fn works(world: &World) -> Vec<WorkKind> {
    world.works.iter().map(Work::word).collect()
}

#[test]
fn an_installer_runs_from_its_medium_and_ends_with_its_word() {
    let mut world = installing();
    assert_eq!(works(&world), [], "Billet's ramdisk has nothing to do");
    assert_eq!(world.installs, 1);
    world.requests.clear();
    reports(&mut world);
    world.run();
    assert_eq!(state(&world), LeaseState::Active);
    assert_eq!((world.power, world.medium), (Power::On, None));
    assert!(!world.cd_next);
    // Who says "done" may still be writing.
    let powers = world.requests.iter();
    let powers = powers.filter(|r| matches!(r, BmcRequest::Power { .. }));
    assert_eq!(powers.count(), 0, "{:?}", world.requests);
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.active_because, Some(ActiveBecause::InstallerReported));
    assert!(lease.written.is_none() && lease.measurements.is_empty());
    let operation = &world.operations[&lease.operation];
    assert_eq!(operation.state, OperationState::Succeeded);
    world.release();
    assert_eq!(state(&world), LeaseState::Released);
}

#[test]
fn its_tenant_may_say_that_it_is_installed_and_only_while_it_runs() {
    let mut world = installing();
    world.decide(None, false, |facts| {
        tenant::installed(facts).expect("it runs")
    });
    world.run();
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.state, LeaseState::Active);
    assert_eq!(lease.active_because, Some(ActiveBecause::TenantSaid));
    world.decide(None, false, |facts| {
        let said = tenant::installed(facts).expect_err("it does not run any more");
        assert!(said.detail.contains("no installer runs"), "{}", said.detail);
        let said = tenant::measure(facts).expect_err("there is nothing to compare with");
        assert!(said.detail.contains("own configuration"), "{}", said.detail);
        next_step(facts)
    });
}

#[test]
fn an_installer_that_says_nothing_is_not_waited_for_for_ever() {
    let mut world = installing();
    world.requests.clear();
    for _ in 0..200 {
        world.now += SignedDuration::from_secs(30);
        let reply = world.machine.pending.clone().map(|p| world.bmc(&p.request));
        world.decide(reply.as_ref(), false, next_step);
        if state(&world) != LeaseState::Installing {
            break;
        }
    }
    let lease = world.lease.as_ref().expect("a lease");
    assert_eq!(lease.state, LeaseState::Active, "{:?}", world.machine.step);
    assert_eq!(lease.active_because, Some(ActiveBecause::Unreported));
    let reason = lease.reason.as_ref().expect("a reason");
    assert!(reason.contains("did not say within 1 h"), "{reason}");
    assert_eq!((world.power, world.medium), (Power::On, None));
    assert!(!world.requests.iter().any(|r| matches!(
        r,
        BmcRequest::Power {
            action: PowerAction::Off | PowerAction::Cycle
        }
    )));
    let operation = &world.operations[&lease.operation];
    assert_eq!(operation.state, OperationState::Failed);
}

#[test]
fn a_bmc_that_keeps_the_medium_has_it_taken_out_with_power_off() {
    let mut world = installing();
    world.clings = true;
    reports(&mut world);
    // Its patience with the BMC is longer than one call of `run`.
    world.policy.bmc_deadline = SignedDuration::from_secs(60);
    world.run();
    assert_eq!(state(&world), LeaseState::Active);
    assert_eq!((world.power, world.medium), (Power::On, None));
    assert!(
        world
            .audit
            .iter()
            .any(|told| told.contains("power it off first") || told.contains("it refused"))
    );
}

#[test]
fn a_reinstallation_erases_the_drive_that_an_installer_gets_and_keeps_the_others() {
    for (keep, erased) in [(true, &["D1"][..]), (false, &["D1", "D2"])] {
        let mut world = installing();
        reports(&mut world);
        world.run();
        world.works.clear();
        world.decide(None, false, |facts| {
            tenant::reinstall(facts, &with(Some(config()), keep)).expect("it is reinstalled")
        });
        world.run();
        assert_running(&world);
        let [Work::Wipe(order)] = &world.works[..] else {
            panic!("{:?}", world.works);
        };
        let drives: Vec<&str> = order.drives.iter().map(|d| d.serial.as_str()).collect();
        assert_eq!(drives, erased);
        let lease = world.lease.as_ref().expect("a lease");
        assert_eq!(lease.active_because, None, "what came up before is gone");
        assert!(
            lease.visits[0].ended_at.is_some(),
            "nothing of Billet's runs"
        );
        reports(&mut world);
        world.run();
        assert_eq!(state(&world), LeaseState::Active);
    }
}

#[test]
fn a_lease_goes_from_an_installer_to_an_image_and_back() {
    let mut world = installing();
    // While it still runs: the tenant thinks of something else.
    let operation = world.lease.as_ref().expect("a lease").operation;
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with(None, false)).expect("it is reinstalled")
    });
    assert_eq!(world.operations[&operation].state, OperationState::Failed);
    world.run();
    assert_eq!(state(&world), LeaseState::Active);
    let lease = world.lease.as_ref().expect("a lease");
    assert!(lease.install.is_none() && lease.written.is_some());
    assert_eq!(works(&world), [WorkKind::Wipe, WorkKind::Write]);
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with(Some(config()), true)).expect("it is reinstalled")
    });
    world.run();
    assert_running(&world);
    assert!(world.lease.as_ref().is_some_and(|l| l.written.is_none()));
}

#[test]
fn a_rescue_or_a_release_ends_an_installer() {
    let mut world = installing();
    world.decide(None, false, |facts| {
        tenant::rescue(facts).expect("it is rescued")
    });
    world.run();
    assert_eq!(state(&world), LeaseState::Rescue);
    let mut world = installing();
    world.decide(None, false, |facts| {
        requests::release(facts).expect("it is released")
    });
    world.run();
    assert_eq!(state(&world), LeaseState::Released);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.certificates.len(), 2);
}

#[test]
fn the_medium_is_booted_once_and_settled_before() {
    let world = installing();
    let place = |wanted: &BmcRequest| {
        let at = world.requests.iter().position(|r| r == wanted);
        at.unwrap_or_else(|| panic!("{wanted:?} in {:?}", world.requests))
    };
    let boot = world.boots.values().next_back().expect("a boot").id;
    let order = [
        place(&BmcRequest::ReadSettings),
        place(&BmcRequest::InsertMedia { boot }),
        place(&BmcRequest::SetBoot {
            target: BootTarget::CdOnce,
        }),
        place(&BmcRequest::Power {
            action: PowerAction::On,
        }),
    ];
    assert!(order.is_sorted(), "{:?}", world.requests);
}
