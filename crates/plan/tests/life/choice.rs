//! Which machines wait warm, and with what.

use billet_model::{
    BootId, ImageId, MachineId, ProjectId, Time,
    image::Image,
    lifecycle::Lifecycle,
    machine::Machine,
    step::Step,
    storage::RootDrive,
    warm::{NotWarm, Prepared, Trial, TrialResult, WarmPolicy},
    work::DriveRef,
};
use billet_plan::{
    placement::{Wanted, candidates},
    warm_choice::{WarmFacts, WarmImage, WhyCold, Wish, choose, most_asked},
};
use jiff::SignedDuration;

use crate::world::World;

const AGAIN: SignedDuration = SignedDuration::from_mins(30);

/// Free machines of one type, alike.
fn machines(count: u8) -> Vec<Machine> {
    let mut world = World::new();
    world.run();
    world.take_over();
    (1..=count)
        .map(|n| Machine {
            id: MachineId::from_parts(1, [n; 10]),
            name: format!("m{n}").parse().expect("a name"),
            ..world.machine.clone()
        })
        .collect()
}

fn image(n: u8) -> WarmImage {
    WarmImage {
        id: ImageId::from_parts(1, [n; 10]),
        digest: format!("d{n}"),
        bytes: 1 << 20,
    }
}

fn holds(machine: &mut Machine, n: u8) {
    let boot = BootId::from_parts(1, [n; 10]);
    machine.step = Step::Warm { boot };
    machine.warm.prepared = Some(Prepared {
        image: image(n).id,
        digest: image(n).digest,
        drive: machine.drives[0].clone(),
        boot,
        read_back: true,
        at: Time::UNIX_EPOCH,
    });
}

/// For each machine the image it is to hold, or why it is cold.
fn chosen(count: u32, images: &[WarmImage], machines: &[Machine]) -> Vec<String> {
    let policy = WarmPolicy {
        count,
        ..WarmPolicy::default()
    };
    let facts = WarmFacts {
        now: Time::UNIX_EPOCH,
        again: AGAIN,
        policy: &policy,
        ramdisk: Some("r1"),
        images,
    };
    let wishes = choose(facts, machines);
    let word = |wish: &Wish| match wish {
        Wish::Warm { image: Some(image) } => image.digest.clone(),
        Wish::Warm { image: None } => "none".into(),
        Wish::Cold { why } => match why {
            WhyCold::NotWanted => "not wanted".into(),
            WhyCold::Enough => "enough".into(),
            WhyCold::Cordoned => "cordoned".into(),
            WhyCold::NotAvailable => "not available".into(),
            WhyCold::TrialFailed { .. } => "trial".into(),
            WhyCold::TypeFailed { .. } => "type".into(),
            WhyCold::FailedLately { .. } => "lately".into(),
        },
    };
    machines.iter().map(|m| word(&wishes[&m.id])).collect()
}

#[test]
fn so_many_are_chosen_and_images_are_spread() {
    let (one, two) = (image(1), image(2));
    let free = machines(4);
    assert_eq!(
        chosen(0, std::slice::from_ref(&one), &free),
        ["not wanted"; 4]
    );
    assert_eq!(chosen(2, &[], &free), ["none", "none", "enough", "enough"]);
    assert_eq!(
        chosen(3, &[one.clone(), two.clone()], &free),
        ["d1", "d1", "d2", "enough"]
    );
    // Too large for the drive: it waits without one.
    let large = WarmImage {
        bytes: 1 << 40,
        ..one
    };
    assert_eq!(chosen(1, &[large], &free)[0], "none");
}

#[test]
fn what_is_warm_stays_and_what_stands_there_stays_there() {
    let images = [image(1), image(2)];
    let mut free = machines(4);
    holds(&mut free[3], 2);
    assert_eq!(chosen(2, &images, &free), ["d1", "enough", "enough", "d2"]);
    // Both have the second: the later one takes the first.
    holds(&mut free[2], 2);
    assert_eq!(chosen(2, &images, &free), ["enough", "enough", "d2", "d1"]);
    // One too many: the later one goes.
    assert_eq!(
        chosen(1, &images, &free),
        ["enough", "enough", "d1", "enough"]
    );
}

#[test]
fn what_cannot_wait_warm_says_why() {
    let images = [image(1)];
    let failed = |ramdisk: &str| {
        Some(Trial {
            ramdisk: ramdisk.into(),
            result: TrialResult::Failed {
                why: "it hung".into(),
            },
            at: Time::UNIX_EPOCH,
        })
    };
    let mut free = machines(5);
    free[0].cordoned = Some("a fan".into());
    free[1].lifecycle = Lifecycle::Active;
    free[2].warm.failed = Some(NotWarm {
        why: "silent".into(),
        at: Time::UNIX_EPOCH - SignedDuration::from_mins(40),
        times: 2,
    });
    assert_eq!(
        chosen(5, &images, &free),
        ["cordoned", "not available", "lately", "d1", "d1"]
    );
    // Kexec failed on one, and passed on none: the type waits cold.
    free[3].warm.trial = failed("r1");
    let told = chosen(5, &images, &free);
    assert_eq!(told[3..], ["trial", "type"]);
    // It passed on another: that one machine does.
    free[4].warm.trial = Some(Trial {
        ramdisk: "r1".into(),
        result: TrialResult::Passed,
        at: Time::UNIX_EPOCH,
    });
    let told = chosen(5, &images, &free);
    assert_eq!(told[3..], ["trial", "d1"]);
    // With an older ramdisk: it may be otherwise now.
    free[3].warm.trial = failed("r0");
    let told = chosen(5, &images, &free);
    assert_eq!(told[3], "d1");
}

#[test]
fn only_what_everyone_may_see_is_among_those_most_asked_for() {
    let known = |n: u8, project: Option<ProjectId>| Image {
        id: ImageId::from_parts(1, [n; 10]),
        project,
        ..World::new().image
    };
    let own = ProjectId::from_parts(1, [1; 10]);
    let images = [known(1, None), known(2, Some(own)), known(3, None)];
    let id = |n: u8| ImageId::from_parts(1, [n; 10]);
    let asked = [id(3), id(2), id(2), id(1), id(2), id(1), id(4)];
    let found: Vec<ImageId> = most_asked(asked, &images, 3).iter().map(|i| i.id).collect();
    assert_eq!(found, [id(1), id(3)]);
}

#[test]
fn a_lease_gets_what_waits_for_it() {
    let mut free = machines(4);
    holds(&mut free[1], 1);
    holds(&mut free[2], 2);
    let order = |cold: bool, image: &str, root: &str| {
        let root_drive: RootDrive = root.parse().expect("a wish");
        let wanted = Wanted {
            site: None,
            cold,
            image: Some(image),
            root_drive: &root_drive,
        };
        let names = candidates(&free, &wanted).into_iter();
        names.map(|m| m.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(order(false, "d2", "first"), ["m3", "m2", "m1", "m4"]);
    assert_eq!(order(false, "d9", "first"), ["m2", "m3", "m1", "m4"]);
    assert_eq!(order(true, "d2", "first"), ["m1", "m4", "m2", "m3"]);
    // An image on another drive has to be erased first.
    assert_eq!(order(false, "d2", "serial=D2"), ["m1", "m4", "m2", "m3"]);
    let other = DriveRef {
        serial: "D2".into(),
        wwn: None,
    };
    assert!(free[0].drives.contains(&other));
}
