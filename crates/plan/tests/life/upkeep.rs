//! What a lease may leave in a BMC, in firmware and in the drive bays.

use billet_model::{
    bmc::{BmcFact, BmcFailure, BmcReply, BmcRequest, PasswordThatWorks},
    inventory::Drive,
    lease::LeaseState,
    lifecycle::{Health, HoldKind, Lifecycle},
    step::{AfterRotation, PasswordForm, RotateStep, Step},
    upkeep::{Restoration, SettingChange},
};
use billet_plan::{
    Effect, PasswordWrite,
    compare::compare,
    drives::{self, DriveChange},
    next_step,
    requests::{self, MachineRequest},
    tenant,
};
use jiff::SignedDuration;

use crate::world::{World, account, inventory};

fn leased() -> World {
    let mut world = World::new();
    world.run();
    world.take_over();
    world.lease();
    assert_eq!(world.machine.lifecycle, Lifecycle::Active);
    world
}

fn ask(world: &mut World, request: &MachineRequest) {
    world.decide(None, false, |facts| {
        requests::machine(facts, request).expect("it is asked")
    });
    world.run();
}

/// As a tenant's root may do from inside.
fn meddle(world: &mut World) {
    let settings = &mut world.settings;
    settings.bios.insert("A".into(), "2".into());
    settings.boot_order.reverse();
    settings.boot_override = "Continuous Pxe".into();
    settings.versions.insert("BIOS".into(), "2".into());
    let accounts = settings.accounts.get_or_insert_default();
    accounts.push(account("2", "mallory"));
}

fn change<'a>(changes: &'a [SettingChange], what: &str) -> &'a SettingChange {
    let found = changes.iter().find(|c| c.what == what);
    found.unwrap_or_else(|| panic!("{what} is not among {changes:?}"))
}

#[test]
fn what_a_lease_left_is_put_back_and_stands_on_the_certificate() {
    let mut world = leased();
    let before = world.settings.clone();
    meddle(&mut world);
    world.settings.boot_override = String::new();
    world.release();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.settings.accounts, before.accounts);
    assert_eq!(world.settings.bios, before.bios);
    assert_eq!(world.settings.boot_order, before.boot_order);
    let certificate = world.certificates.last().expect("one");
    let settings = certificate.settings.as_ref().expect("compared");
    for what in ["BMC account 2", "BIOS setting A", "boot order"] {
        let one = change(&settings.changes, what);
        assert_eq!(one.came_of_it, Restoration::PutBack, "{what}");
        assert_eq!(one.user, None, "no user name on a certificate");
    }
    let version = change(&settings.changes, "firmware version of BIOS");
    assert!(matches!(version.came_of_it, Restoration::Left { .. }));
    let text = serde_json::to_string(certificate).expect("JSON");
    assert!(!text.contains("mallory"), "{text}");
    let told = |what: &str| certificate.not_done.iter().any(|n| n.contains(what));
    assert!(
        told("firmware version of BIOS not put back"),
        "{:?}",
        certificate.not_done
    );
    // What could not be put back waits for an operator, and is offered meanwhile.
    assert_eq!(world.machine.health, Health::Degraded);
    assert_eq!(world.machine.upkeep.left.len(), 1);
    ask(&mut world, &MachineRequest::AcceptFirmware);
    assert_eq!(world.machine.upkeep.left, [""; 0]);
    assert_eq!(world.machine.health, Health::Ok);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    // The next lease is compared with what was accepted.
    world.lease();
    world.release();
    let certificate = world.certificates.last().expect("one");
    let settings = certificate.settings.as_ref().expect("compared");
    assert_eq!(settings.changes, []);
    assert_eq!(world.machine.health, Health::Ok);
}

#[test]
fn nothing_is_read_of_a_tenants_machine_before_it_is_off() {
    let mut world = leased();
    world.requests.clear();
    world.release();
    let off = world
        .requests
        .iter()
        .position(|r| matches!(r, BmcRequest::Power { .. }));
    let read = world
        .requests
        .iter()
        .position(|r| *r == BmcRequest::ReadSettings);
    assert!(off < read, "{:?}", world.requests);
}

#[test]
fn an_account_that_stays_holds_the_machine_until_it_is_gone() {
    let mut world = leased();
    meddle(&mut world);
    world.stubborn = true;
    world.release();
    // Erased, and nobody's; but not offered.
    assert!(!world.machine.may_hold_data && world.machine.lease.is_none());
    assert_eq!(world.machine.lifecycle, Lifecycle::Quarantined);
    let hold = world.machine.hold.clone().expect("a hold");
    assert_eq!(hold.kind, HoldKind::BmcAccounts);
    assert!(!hold.detail.contains("mallory"), "{}", hold.detail);
    let told = world.machine.upkeep.left.join("; ");
    assert!(told.contains("BMC account 2 (mallory)"), "{told}");
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(
        world.machine.hold.as_ref().map(|h| h.kind),
        Some(HoldKind::BmcAccounts)
    );
    // Seen to by hand.
    world.settings.accounts = Some(vec![account("1", "u")]);
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
}

#[test]
fn changed_firmware_holds_where_the_operator_wants_it() {
    let mut world = leased();
    world.policy.hold_on_firmware_change = true;
    world.settings.versions.insert("BIOS".into(), "2".into());
    world.release();
    assert_eq!(
        world.machine.hold.as_ref().map(|h| h.kind),
        Some(HoldKind::FirmwareChanged)
    );
    ask(&mut world, &MachineRequest::AcceptFirmware);
    assert_eq!(
        world.machine.lifecycle,
        Lifecycle::Quarantined,
        "only accepted"
    );
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.machine.health, Health::Ok);
}

#[test]
fn what_comes_only_after_the_lease_is_found_before_the_next() {
    let mut world = leased();
    world.release();
    world
        .settings
        .versions
        .insert("BIOS".into(), "staged".into());
    world.lease();
    assert_eq!(
        world.machine.lifecycle,
        Lifecycle::Active,
        "it stops no lease"
    );
    let left = world.machine.upkeep.left.join("; ");
    assert!(left.contains("firmware version of BIOS"), "{left}");
    world.release();
    assert_eq!(world.machine.health, Health::Degraded);
}

#[test]
fn what_a_bmc_does_not_tell_is_said_and_stops_nothing() {
    let mut world = leased();
    world.settings.accounts = None;
    world.settings.bios.clear();
    world.release();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    let certificate = world.certificates.last().expect("one");
    let not_compared = &certificate
        .settings
        .as_ref()
        .expect("compared")
        .not_compared;
    assert_eq!(
        *not_compared,
        [
            "BMC accounts: told before only, and not compared",
            "BIOS settings: told before only, and not compared",
        ]
    );
}

#[test]
fn accounts_are_told_apart_though_their_ids_move() {
    let mut before = leased().settings;
    before.accounts = Some(vec![
        account("1", "u"),
        account("2", "ops"),
        account("3", "watch"),
    ]);
    let mut after = before.clone();
    after.accounts = Some(vec![account("1", "u"), account("2", "watch")]);
    let found = compare(&before, &after, "u");
    assert_eq!(found.queue, [], "nobody is taken away: {found:?}");
    assert_eq!(
        found.report.changes.len(),
        1,
        "one is gone, and that is told"
    );
    let mut lower = account("3", "watch");
    lower.role = Some("ReadOnly".into());
    after.accounts = Some(vec![account("1", "u"), account("2", "ops"), lower]);
    let found = compare(&before, &after, "u");
    assert_eq!(found.queue.len(), 1, "{found:?}");
}

fn rotating() -> World {
    let mut world = World::new();
    world.run();
    world.machine.upkeep.rotate = true;
    world
}

#[test]
fn a_password_is_kept_before_it_is_sent_and_current_once_it_works() {
    let mut world = rotating();
    world.take_over();
    let form = PasswordForm::Plain;
    let taken = [
        PasswordWrite::Next { number: 1, form },
        PasswordWrite::Promote { number: 1, form },
    ];
    assert_eq!(world.passwords, taken);
    world.lease();
    world.passwords.clear();
    world.release();
    let again = [
        PasswordWrite::Next { number: 2, form },
        PasswordWrite::Promote { number: 2, form },
    ];
    assert_eq!(world.passwords, again);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    ask(
        &mut world,
        &MachineRequest::RotatePassword {
            after_each_lease: Some(false),
        },
    );
    assert_eq!(world.machine.upkeep.password_number, 3);
    world.lease();
    world.passwords.clear();
    world.release();
    assert_eq!(world.passwords, [], "not any more");
}

/// A world at the moment when a password was just sent.
fn sent() -> World {
    let mut world = rotating();
    let drives = ["D1".to_owned(), "D2".to_owned()];
    let effect = world.decide(None, false, |facts| {
        requests::take_over(facts, &drives, None).expect("it is taken over")
    });
    assert_eq!(effect, None);
    let effect = world.decide(None, false, next_step);
    let Some(Effect::Ask(pending)) = effect else {
        panic!("{effect:?}")
    };
    assert_eq!(pending.request, BmcRequest::SetPassword);
    assert_eq!(world.passwords.len(), 1, "kept in the same commit");
    world
}

fn works(works: PasswordThatWorks) -> BmcReply {
    BmcReply::Done {
        fact: BmcFact::Password { works },
    }
}

#[test]
fn what_became_of_a_password_is_looked_at_and_never_guessed() {
    let lost = BmcReply::Uncertain {
        detail: "no answer".into(),
    };
    for orphaned in [false, true] {
        let mut world = sent();
        let reply = (!orphaned).then_some(&lost);
        world.decide(reply, orphaned, next_step);
        assert!(
            matches!(
                world.machine.step,
                Step::Rotate {
                    at: RotateStep::Look,
                    ..
                }
            ),
            "{:?}",
            world.machine.step
        );
        assert_eq!(world.passwords.len(), 1, "both are kept");
        // The old one works: the same one is sent again, a few times; and it is
        // forgotten only when nothing can come late any more.
        for _ in 0..200 {
            let effect = world.decide(None, false, next_step);
            if let Some(Effect::Ask(pending)) = effect {
                let reply = match pending.request {
                    BmcRequest::SetPassword => lost.clone(),
                    BmcRequest::TryPassword => works(PasswordThatWorks::Current),
                    _ => break,
                };
                let since = world.machine.uncertain_since;
                world.decide(Some(&reply), false, next_step);
                if world.passwords.last() == Some(&PasswordWrite::Forget) {
                    let over = since.expect("uncertain") + world.policy.settle;
                    assert!(world.now >= over, "nothing comes late any more");
                    break;
                }
            }
            world.now += SignedDuration::from_secs(5);
        }
        assert_eq!(world.passwords.last(), Some(&PasswordWrite::Forget));
        assert_eq!(world.passwords.len(), 2, "one was made, and sent again");
        assert!(world.machine.upkeep.rotation_failed.is_some());
        world.run();
        assert_eq!(
            world.machine.lifecycle,
            Lifecycle::Available,
            "it stops nothing"
        );
    }
}

#[test]
fn a_password_that_is_refused_is_tried_in_another_form_once() {
    let mut world = sent();
    let refused = BmcReply::Failed {
        kind: BmcFailure::Refused,
        detail: "policy".into(),
    };
    world.decide(Some(&refused), false, next_step);
    let effect = world.decide(None, false, next_step);
    assert!(matches!(effect, Some(Effect::Ask(_))));
    let form = PasswordForm::Marked;
    let next = PasswordWrite::Next { number: 2, form };
    assert_eq!(world.passwords.last(), Some(&next));
    world.decide(Some(&refused), false, next_step);
    assert_eq!(world.passwords.last(), Some(&PasswordWrite::Forget));
    assert!(world.machine.upkeep.rotation_failed.is_some());
    world.run();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
}

#[test]
fn a_password_that_must_be_changed_is_changed_where_that_is_wanted() {
    let must = BmcReply::Failed {
        kind: BmcFailure::PasswordChange,
        detail: "change it".into(),
    };
    for wanted in [true, false] {
        let mut world = World::new();
        world.machine.upkeep.rotate = wanted;
        world.decide(None, false, next_step);
        world.decide(Some(&must), false, next_step);
        let rotates = matches!(
            world.machine.step,
            Step::Rotate {
                then: AfterRotation::Discover,
                ..
            }
        );
        assert_eq!(rotates, wanted);
        if !wanted {
            let next = &world
                .machine
                .waiting
                .as_ref()
                .expect("it waits")
                .next_action;
            assert!(next.contains("rotate-password"), "{next}");
            let request = MachineRequest::RotatePassword {
                after_each_lease: None,
            };
            ask(&mut world, &request);
        }
        world.run();
        assert_eq!(world.machine.lifecycle, Lifecycle::Enrolled);
        assert!(world.machine.inventory.is_some(), "it was read then");
    }
}

#[test]
fn a_drive_that_came_or_went_during_a_visit_is_noticed_and_seen_to() {
    let mut world = leased();
    let reason = "a drive".to_owned();
    ask(&mut world, &MachineRequest::BreakFix { reason });
    assert_eq!(world.machine.lifecycle, Lifecycle::Maintenance);
    let mut listed = inventory();
    listed.drives.retain(|d| d.serial.as_deref() != Some("D2"));
    listed.drives.push(Drive {
        serial: Some("D3".into()),
        ..Drive::default()
    });
    world.listed = Some(listed);
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(
        world.machine.lifecycle,
        Lifecycle::Active,
        "its tenant has it again"
    );
    let visit = world
        .lease
        .as_ref()
        .expect("a lease")
        .visits
        .last()
        .expect("a visit");
    let done = visit.done.join("; ");
    assert!(
        done.contains("drive D3 is in it") && done.contains("drive D2 is not among"),
        "{done}"
    );
    assert_eq!(world.machine.differences.len(), 2);
    // Struck and added, on record; the erase misses it no longer.
    let strike = DriveChange::Strike {
        serial: "D2".into(),
        reason: "RMA 1042".into(),
    };
    let add = DriveChange::Add {
        serial: "D3".into(),
    };
    for one in [&add, &strike] {
        world.decide(None, false, |facts| {
            drives::change(facts, one).expect("changed")
        });
    }
    world.release();
    let certificate = world.certificates.last().expect("one");
    let serials: Vec<&str> = certificate
        .drives
        .iter()
        .map(|d| d.drive.serial.as_str())
        .collect();
    assert_eq!(serials, ["D1", "D3"]);
    assert_eq!(certificate.struck[0].drive.serial, "D2");
    let told = certificate.not_done.join("; ");
    assert!(
        told.contains("drive D2 not erased") && told.contains("RMA 1042"),
        "{told}"
    );
    assert_eq!(world.machine.upkeep.struck, []);
}

#[test]
fn a_list_of_drives_is_not_emptied_nor_doubled() {
    let mut world = leased();
    let strike = |serial: &str| DriveChange::Strike {
        serial: serial.into(),
        reason: "gone".into(),
    };
    let left = |world: &mut World, one: &DriveChange| {
        world.decide(None, false, |facts| {
            drives::change(facts, one).unwrap_or_else(|_| next_step(facts))
        });
        world.machine.drives.len()
    };
    assert_eq!(left(&mut world, &strike("D9")), 2);
    assert_eq!(
        left(
            &mut world,
            &DriveChange::Add {
                serial: "D1".into()
            }
        ),
        2
    );
    assert_eq!(left(&mut world, &strike("D2")), 1);
    assert_eq!(left(&mut world, &strike("D1")), 1, "the last one stays");
}

/// A drive of which root made less than it was is not wholly erased by what is left of it.
#[test]
fn a_drive_that_shows_less_than_it_had_is_not_erased() {
    let mut world = leased();
    let sizes = &mut world.machine.upkeep.sizes;
    assert_eq!(sizes.get("D2"), Some(&(1 << 30)), "noted by its inspection");
    sizes.insert("D2".into(), 2 << 30);
    world.release();
    assert_eq!(world.machine.lifecycle, Lifecycle::Quarantined);
    let held = world.machine.hold.clone().expect("held");
    assert_eq!(held.kind, HoldKind::EraseFailed);
    assert!(
        held.detail.contains("drive D2: it shows"),
        "{}",
        held.detail
    );
    assert!(world.machine.may_hold_data);
    // Whoever added it anew said that this is all of it.
    for what in [
        DriveChange::Strike {
            serial: "D2".into(),
            reason: "made smaller on purpose".into(),
        },
        DriveChange::Add {
            serial: "D2".into(),
        },
    ] {
        world.decide(None, false, |facts| {
            drives::change(facts, &what).expect("taken")
        });
    }
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.machine.upkeep.sizes.get("D2"), Some(&(1 << 30)));
}

/// A drive that cannot be erased holds its machine, until an operator lets it go:
/// that is on record, on the certificate, on the machine, and for one erase only.
#[test]
fn a_drive_that_is_let_go_is_named_wherever_it_counts() {
    let let_go = |serial: &str| DriveChange::LetGo {
        serial: serial.into(),
        reason: "dead".into(),
        by: "alice (operator)".into(),
    };
    let mut world = leased();
    let refused = std::cell::Cell::new(None);
    let change = |world: &mut World, what: &DriveChange| {
        world.decide(None, false, |facts| match drives::change(facts, what) {
            Ok(decision) => {
                refused.set(None);
                decision
            }
            Err(why) => {
                refused.set(Some(why.detail));
                next_step(facts)
            }
        });
        refused.take()
    };
    // Nothing is let go before an erase was refused.
    assert!(change(&mut world, &let_go("D2")).is_some_and(|w| w.contains("nothing to let go")));
    world.dead = Some("D2".into());
    world.release();
    assert_eq!(world.machine.lifecycle, Lifecycle::Quarantined);
    let held = world.machine.hold.clone().expect("held");
    assert_eq!(held.kind, HoldKind::EraseFailed);
    // By its serial, and no other's.
    assert!(change(&mut world, &let_go("D9")).is_some_and(|w| w.contains("D1, D2")));
    assert_eq!(change(&mut world, &let_go("D2")), None);
    assert!(
        world
            .audit
            .iter()
            .any(|a| a.starts_with("machine.erase_overridden"))
    );
    assert!(world.machine.may_hold_data && world.machine.lease.is_some());
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.machine.health, Health::Degraded);
    let certificate = world.certificates.last().expect("one");
    let erased: Vec<_> = certificate
        .drives
        .iter()
        .map(|d| d.drive.serial.as_str())
        .collect();
    assert_eq!(erased, ["D1"]);
    let by = certificate.override_by.as_deref().expect("on whose word");
    assert_eq!(by, "alice (operator) (drive D2: dead)");
    let [unerased] = &certificate.unerased[..] else {
        panic!("{:?}", certificate.unerased);
    };
    assert!(
        unerased.told().contains("it does not answer"),
        "{}",
        unerased.told()
    );
    assert!(
        certificate
            .not_done
            .iter()
            .any(|n| n.contains("drive D2 was NOT erased"))
    );
    assert_eq!(world.machine.upkeep.unerased.len(), 1);
    assert!(world.machine.upkeep.let_go.is_empty(), "for one erase");

    // The next tenant's root is not put there, and the next erase is held anew.
    world.root_drive = "serial=D2".parse().expect("a drive");
    let refused = billet_plan::storage::choose_of(&world.root_drive, &world.machine);
    assert!(refused.is_err());
    world.root_drive = Default::default();
    world.lease();
    // Reinstalled, it stays as it is: it is not asked for what it cannot do.
    let lease = world.lease.clone().expect("a lease");
    let with = tenant::Reinstall {
        image: world.image.id,
        ssh_keys: lease.spec.ssh_keys,
        user_data: None,
        kernel_args: vec![],
        install: None,
        keep: Default::default(),
        layout: None,
    };
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with).expect("it is reinstalled")
    });
    world.run();
    let lease = world.lease.clone().expect("a lease");
    assert_eq!(lease.state, LeaseState::Active, "{:?}", lease.reason);
    world.release();
    assert_eq!(world.machine.lifecycle, Lifecycle::Quarantined);
    // Erased well after all, nothing is said of it any more.
    world.dead = None;
    ask(&mut world, &MachineRequest::Repair);
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert!(world.machine.upkeep.unerased.is_empty());
    let certificate = world.certificates.last().expect("one");
    assert_eq!(
        (certificate.drives.len(), &certificate.override_by),
        (2, &None)
    );
}
