//! Drives as their tenant wants them, through a lease's life.

use billet_model::{
    layout::{ArrayWish, DriveLayout},
    lease::{Lease, LeaseState},
    work::{DriveRef, Work, WorkKind},
};
use billet_plan::{
    layout::{Keep, orders},
    next_step,
    seed::{SeedFacts, seed},
    tenant,
};

use crate::world::World;

/// A world with four drives, of which three are an array and scratch.
fn leased() -> World {
    let mut world = World::new();
    world.run();
    world.take_over();
    for serial in ["D3", "D4"] {
        world.machine.drives.push(DriveRef {
            serial: serial.into(),
            wwn: None,
        });
    }
    let size = 1u64 << 40;
    let inventory = world.machine.inventory.as_mut().expect("inspected");
    let like = inventory.drives[0].clone();
    for serial in ["D3", "D4"] {
        let mut drive = like.clone();
        drive.serial = Some(serial.into());
        inventory.drives.push(drive);
    }
    for drive in &mut inventory.drives {
        drive.size_bytes = size;
    }
    world.layout = DriveLayout {
        root_mirror: None,
        arrays: vec![array("data,level=1,serial=D2,serial=D3")],
        scratch: Some("striped".parse().expect("scratch")),
    };
    world.lease();
    world
}

fn array(text: &str) -> ArrayWish {
    text.parse().expect("an array")
}

fn lease(world: &World) -> Lease {
    world.lease.clone().expect("a lease")
}

/// What a reinstallation erases and what it orders: names of arrays, and whether
/// they are kept.
fn reinstalled(
    world: &mut World,
    keep: Keep,
    layout: Option<DriveLayout>,
) -> (Vec<WorkKind>, Vec<(String, bool)>) {
    let before = world.works.len();
    let with = tenant::Reinstall {
        image: world.image.id,
        ssh_keys: lease(world).spec.ssh_keys,
        user_data: None,
        kernel_args: vec![],
        install: None,
        keep,
        layout,
    };
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with).expect("it is reinstalled")
    });
    let ordered = orders(&lease(world));
    world.run();
    assert_eq!(lease(world).state, LeaseState::Active);
    let told = ordered.into_iter().map(|o| (o.name.to_string(), o.kept));
    let works = world.works[before..].iter().map(Work::word);
    (works.collect(), told.collect())
}

/// Why a reinstallation is refused.
fn refused(world: &mut World, with: &tenant::Reinstall) -> String {
    let refused = std::cell::Cell::new(None);
    world.decide(None, false, |facts| {
        refused.set(tenant::reinstall(facts, with).err());
        next_step(facts)
    });
    refused.take().expect("it is refused").detail
}

#[test]
fn arrays_are_ordered_kept_and_made_anew() {
    let mut world = leased();
    let laid = lease(&world).layout.expect("laid out");
    let told: Vec<(&str, usize)> = laid
        .arrays
        .iter()
        .map(|a| (a.name.as_str(), a.drives.len()))
        .collect();
    assert_eq!(told, [("data", 2), ("scratch", 1)]);
    let all = |kept| vec![("data".to_owned(), kept), ("scratch".to_owned(), kept)];

    // All data drives are kept: nothing is erased, and nothing made.
    let (works, ordered) = reinstalled(&mut world, Keep::All, None);
    assert_eq!((works, ordered), (vec![WorkKind::Write], all(true)));
    // The array is kept, and scratch erased and made anew.
    let data = || Keep::Arrays(vec!["data".parse().expect("a name")]);
    let (works, ordered) = reinstalled(&mut world, data(), None);
    assert_eq!(works, [WorkKind::Wipe, WorkKind::Write]);
    assert_eq!(
        ordered,
        [("data".to_owned(), true), ("scratch".to_owned(), false)]
    );
    // Once more with nothing kept.
    let (works, ordered) = reinstalled(&mut world, Keep::Nothing, None);
    assert_eq!(
        (works, ordered),
        (vec![WorkKind::Wipe, WorkKind::Write], all(false))
    );
    // Another layout of what is not kept; the array keeps its UUIDs.
    let fast = DriveLayout {
        arrays: vec![array("fast,serial=D4,fs=xfs")],
        ..DriveLayout::default()
    };
    let (_, ordered) = reinstalled(&mut world, data(), Some(fast));
    assert_eq!(
        ordered,
        [("data".to_owned(), true), ("fast".to_owned(), false)]
    );
    assert_eq!(
        lease(&world).layout.expect("laid out").arrays[0],
        laid.arrays[0]
    );
}

#[test]
fn what_cannot_be_kept_is_refused_and_nothing_changes() {
    let mut world = leased();
    let before = lease(&world);
    let keep = |name: &str| Keep::Arrays(vec![name.parse().expect("a name")]);
    let again = DriveLayout {
        arrays: vec![array("data,serial=D4")],
        ..DriveLayout::default()
    };
    for (keep, layout, said) in [
        (
            keep("date"),
            None,
            "there is no array date to keep; there is: data, scratch",
        ),
        (
            Keep::All,
            Some(DriveLayout::default()),
            "keep arrays by name",
        ),
        (keep("data"), Some(again), "would be there twice"),
    ] {
        let with = tenant::Reinstall {
            image: world.image.id,
            ssh_keys: vec!["ssh-ed25519 AAAA".into()],
            user_data: None,
            kernel_args: vec![],
            install: None,
            keep,
            layout,
        };
        let refused = refused(&mut world, &with);
        assert!(refused.contains(said), "{refused}");
    }
    // A drive that left the building cannot be written.
    world.machine.drives.retain(|d| d.serial != "D3");
    let with = tenant::Reinstall {
        image: world.image.id,
        ssh_keys: vec!["ssh-ed25519 AAAA".into()],
        user_data: None,
        kernel_args: vec![],
        install: None,
        keep: Keep::Nothing,
        layout: None,
    };
    let refused = refused(&mut world, &with);
    assert!(refused.contains("drive D3 of array data"), "{refused}");
    assert_eq!(lease(&world), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real shell is asked")]
fn the_seed_makes_file_systems_by_what_the_agent_marked() {
    let world = leased();
    let lease = lease(&world);
    let seed = seed(&SeedFacts {
        lease: &lease,
        addresses: &[],
        server: "https://10.0.0.1",
        token: &billet_model::Secret::new("token"),
        authority: "PEM",
        about: &serde_json::json!({}),
    });
    let laid = lease.layout.expect("laid out");
    let [data, scratch] = &laid.arrays[..] else {
        panic!("two arrays");
    };
    let line = format!(
        "array data {} ext4 {} /data new data\n",
        data.device(),
        data.file_system_id
    );
    assert!(data.device().starts_with("/dev/disk/by-id/md-uuid-"));
    assert!(seed.vendor_data.contains(&line), "{}", seed.vendor_data);
    let line = format!(
        "array scratch /dev/disk/by-partuuid/{} ext4 {} /scratch new scratch\n",
        scratch.id, scratch.file_system_id
    );
    assert!(seed.vendor_data.contains(&line), "{}", seed.vendor_data);
    assert!(
        seed.vendor_data
            .contains("/phone-home/v1/token?drives=BILLET-DRIVES")
    );

    // Both hooks are scripts that a shell can read.
    let hooks = seed.vendor_data.split("boothook; charset=\"utf-8\"\n\n");
    let mut count = 0;
    for hook in hooks.skip(1) {
        let script = hook.split("--==billet==").next().unwrap_or_default();
        let read = std::process::Command::new("sh")
            .args(["-n", "-c", script])
            .output();
        let said = read.expect("a shell");
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn a_reinstallation_that_wrote_nothing_leaves_the_layout_as_it_was() {
    let mut world = leased();
    let before = lease(&world);
    let with = tenant::Reinstall {
        image: world.image.id,
        ssh_keys: vec!["ssh-ed25519 AAAA".into()],
        user_data: None,
        kernel_args: vec![],
        install: None,
        keep: Keep::Nothing,
        layout: Some(DriveLayout::default()),
    };
    world.decide(None, false, |facts| {
        tenant::reinstall(facts, &with).expect("it is reinstalled")
    });
    let mut lease = lease(&world);
    assert_ne!(lease.layout, before.layout);
    assert!(lease.put_back(true));
    assert_eq!(lease.layout, before.layout);
    assert_eq!(lease.root_drive, before.root_drive);
    assert_eq!(lease.spec.layout, before.spec.layout);
}
