use billet_model::inventory::DriveKind;

use super::*;

/// Serial, kind, GiB.
const DRIVES: &[(&str, DriveKind, u64)] = &[
    ("S1", DriveKind::Ssd, 480),
    ("S2", DriveKind::Ssd, 480),
    ("N1", DriveKind::Nvme, 3840),
    ("N2", DriveKind::Nvme, 3840),
    ("N3", DriveKind::Nvme, 3840),
    ("N4", DriveKind::Nvme, 3800),
    ("H1", DriveKind::Hdd, 8000),
];

fn own() -> Vec<DriveRef> {
    let refs = DRIVES.iter().map(|(serial, ..)| DriveRef {
        serial: (*serial).into(),
        wwn: None,
    });
    refs.collect()
}

fn known() -> Vec<Drive> {
    let drives = DRIVES.iter().map(|(serial, kind, gib)| Drive {
        serial: Some((*serial).into()),
        kind: *kind,
        size_bytes: gib << 30,
        ..Drive::default()
    });
    drives.collect()
}

fn wish(arrays: &[&str], scratch: Option<&str>) -> DriveLayout {
    DriveLayout {
        root_mirror: None,
        arrays: arrays
            .iter()
            .map(|a| a.parse().expect("an array"))
            .collect(),
        scratch: scratch.map(|s| s.parse().expect("scratch")),
    }
}

/// Each array's name, level and drives, the root first.
fn dealt(arrays: &[&str], scratch: Option<&str>) -> Result<String, String> {
    let layout = wish(arrays, scratch);
    check(&layout).map_err(|e| format!("{}: {}", e.field, e.why))?;
    let wanted = Wanted {
        lease: LeaseId::from_parts(1, [1; 10]),
        root: &RootDrive::default(),
        layout: &layout,
        kept: &[],
    };
    let laid = lay_out(&wanted, &own(), &known())?;
    let list = |drives: &[DriveRef]| {
        let serials: Vec<&str> = drives.iter().map(|d| d.serial.as_str()).collect();
        serials.join("+")
    };
    let arrays = laid
        .arrays
        .iter()
        .map(|a| format!("; {} {} {} {}", a.name, a.level, list(&a.drives), a.mount));
    Ok(format!(
        "{}{}",
        list(&laid.root),
        arrays.collect::<String>()
    ))
}

#[test]
fn drives_are_dealt_in_order_and_scratch_gets_the_rest() {
    for (arrays, scratch, told) in [
        (&[][..], None, "S1"),
        (
            &[],
            Some("striped"),
            "S1; scratch raid0 S2+N1+N2+N3+N4+H1 /scratch",
        ),
        (
            &["data,level=5,of=nvme,drives=3"],
            Some("each,mount=/fast"),
            "S1; data raid5 N1+N2+N3 /data; scratch1 single S2 /fast/1; scratch2 single N4 /fast/2; scratch3 single H1 /fast/3",
        ),
        (
            &["data,level=1,of=nvme"],
            None,
            "S1; data raid1 N1+N2+N3+N4 /data",
        ),
        (
            &["a,of=largest", "b,of=smallest,mount=/srv/b"],
            None,
            "S1; a single H1 /a; b single S2 /srv/b",
        ),
        (
            &["a,level=10,serial=N4,serial=N1"],
            None,
            "S1; a raid10 N4+N1 /a",
        ),
        (
            &["a,level=0,drives=all"],
            None,
            "S1; a raid0 S2+N1+N2+N3+N4+H1 /a",
        ),
        (
            &["a,level=0,drives=5,of=first"],
            Some("striped"),
            "S1; a raid0 S2+N1+N2+N3+N4 /a; scratch single H1 /scratch",
        ),
    ] {
        assert_eq!(
            dealt(arrays, scratch).as_deref(),
            Ok(told),
            "{arrays:?} {scratch:?}"
        );
    }
}

#[test]
fn a_refusal_names_the_drive_the_need_and_the_way_out() {
    for (arrays, scratch, parts) in [
        (
            &["a,level=6,of=ssd"][..],
            None,
            &["array a (raid6) needs 4 SSDs", "1 are left", "machine type"][..],
        ),
        (
            &["a,level=1,drives=2,of=largest"],
            None,
            &["like size", "one has 8589934592000", "raid0"],
        ),
        (
            &["a,serial=S1"],
            None,
            &["drive S1", "the root's already", "name another"],
        ),
        (
            &["a,serial=X"],
            None,
            &["drive X", "does not have", "SSD of"],
        ),
        (
            &["a,serial=N1", "b,serial=N1"],
            None,
            &["drive N1", "of array a already"],
        ),
        (
            &["a,level=0"],
            Some("striped"),
            &["no drive is left for scratch"],
        ),
        (
            &["a,level=5,drives=2"],
            None,
            &["layout.arrays[0].drives", "3 to 64"],
        ),
        (
            &["a,drives=2"],
            None,
            &["arrays[0].drives", "one by itself"],
        ),
        (&["a,level=1,serial=N1,serial=N1"], None, &["named twice"]),
        (
            &["a", "a"],
            None,
            &["layout.arrays[1].name", "two arrays a"],
        ),
        (
            &["scratch2"],
            Some("each"),
            &["does not begin with `scratch`"],
        ),
        (&["a,mount=/x", "b,mount=/x"], None, &["mounted at /x"]),
        (
            &["a-name-that-is-too-long"],
            None,
            &["16 characters", "label"],
        ),
        (&["thirteen-long,fs=xfs"], None, &["12 characters"]),
        (&["a,mount=/etc"], None, &["/etc is the system's own"]),
        (&["a,mount=/boot/x"], None, &["/boot/x is the system's own"]),
        (
            &["a,mount=/usr/bin"],
            None,
            &["/usr/bin is the system's own"],
        ),
        (&["a,mount=/lib/modules"], None, &["the system's own"]),
        (&["a,mount=/var/lib/dpkg/info"], None, &["the system's own"]),
        (&["a,mount=data"], None, &["no place to mount"]),
        (&["a,mount=/a/../etc"], None, &["no place to mount"]),
        (&["a,mount=/a b"], None, &["no place to mount"]),
        (&["a,mount=/"], None, &["no place to mount"]),
    ] {
        let error = dealt(arrays, scratch).expect_err(parts[0]);
        for part in parts {
            assert!(
                error.contains(part),
                "{arrays:?}: {part:?} is not in {error:?}"
            );
        }
    }
    assert!(dealt(&["a,mount=/var/lib/docker"], None).is_ok());
    assert!(dealt(&["a,mount=/usrlocal"], None).is_ok());
    assert!(dealt(&["a,mount=/usr/local/share/models"], None).is_ok());
}

#[test]
fn no_drive_is_two_things_and_the_same_wish_has_the_same_answer() {
    proptest::proptest!(|(counts in proptest::collection::vec((0u32..4, 0usize..6), 0..4), each: bool)| {
        let levels = [Level::Single, Level::Raid0, Level::Raid1, Level::Raid5, Level::Raid6, Level::Raid10];
        let layout = DriveLayout {
            root_mirror: None,
            arrays: counts.iter().enumerate().map(|(n, (count, level))| ArrayWish {
                name: format!("a{n}").parse().expect("a name"),
                level: levels[*level],
                drives: Choice { count: (*count > 0).then_some(*count), ..Choice::default() },
                file_system: Default::default(),
                mount: None,
            }).collect(),
            scratch: Some(Scratch {
                how: if each { ScratchKind::Each } else { ScratchKind::Striped },
                ..Scratch::default()
            }),
        };
        let wanted = Wanted {
            lease: LeaseId::from_parts(1, [1; 10]),
            root: &RootDrive::default(),
            layout: &layout,
            kept: &[],
        };
        proptest::prop_assume!(check(&layout).is_ok());
        let laid = lay_out(&wanted, &own(), &known());
        proptest::prop_assert_eq!(&laid, &lay_out(&wanted, &own(), &known()));
        if let Ok(laid) = laid {
            let of_arrays = laid.arrays.iter().flat_map(|a| &a.drives);
            let all: Vec<&DriveRef> = laid.root.iter().chain(of_arrays).collect();
            let distinct: BTreeSet<&&DriveRef> = all.iter().collect();
            proptest::prop_assert_eq!(all.len(), distinct.len());
            proptest::prop_assert_eq!(all.len(), DRIVES.len(), "scratch takes the rest");
            for array in &laid.arrays {
                proptest::prop_assert!(array.drives.len() >= array.level.least());
            }
        }
    });
}
