//! Which of a machine's drives becomes what.
//!
//! Drives are dealt in the order in which things are asked for: the root, its
//! mirror, each array, and scratch gets what is left. The same wish on the same
//! machine always has the same answer.

use std::collections::BTreeSet;

use billet_model::{
    LeaseId, Name,
    inventory::Drive,
    layout::{
        ArrayWish, Choice, DriveLayout, LaidArray, LaidOut, Level, RootMirror, Scratch,
        ScratchKind, derived,
    },
    lease::{Lease, VisitKind},
    machine::Machine,
    storage::{RootDrive, Size},
    work::{ArrayOrder, DriveRef},
};

use crate::storage;

/// Arrays of one machine at most: each is a file system to make at the first boot.
const MOST_ARRAYS: usize = 32;
/// Drives of one array at most.
pub const MOST_DRIVES: usize = 64;
/// By how much drives of an array that gives only the smallest's room may differ,
/// in parts of a hundred: makers' terabytes differ by less.
const UNLIKE_PERCENT: u64 = 5;
/// Drives smaller than this hold no array: its own records want room.
const LEAST_BYTES: u64 = 64 << 20;

/// A wish that makes no sense on any machine: which part, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Senseless {
    /// The part, as in a request's JSON.
    pub field: String,
    /// Why, and what to ask for instead.
    pub why: String,
}

/// Whether a layout makes sense before any machine is looked at.
///
/// # Errors
/// What does not.
pub fn check(layout: &DriveLayout) -> Result<(), Senseless> {
    let senseless = |field: String, why: String| Err(Senseless { field, why });
    if let Some(mirror) = &layout.root_mirror {
        let field = "layout.root_mirror".to_owned();
        if !(2..=MOST_DRIVES as u32).contains(&mirror.drives) {
            let why = format!(
                "a mirror is of 2 to {MOST_DRIVES} drives, not {}",
                mirror.drives
            );
            return senseless(field, why);
        }
        if !mirror.serials.is_empty() && mirror.serials.len() + 1 != mirror.drives as usize {
            let why = format!(
                "{} drives are wanted and {} serial numbers given: name all but the first, which root_drive chooses",
                mirror.drives,
                mirror.serials.len()
            );
            return senseless(field, why);
        }
    }
    if layout.arrays.len() > MOST_ARRAYS {
        let why = format!("there may be {MOST_ARRAYS} arrays at most");
        return senseless("layout.arrays".into(), why);
    }
    let mut names = BTreeSet::new();
    for (n, wish) in layout.arrays.iter().enumerate() {
        let field = |part: &str| format!("layout.arrays[{n}]{part}");
        check_array(wish).or_else(|(part, why)| senseless(field(part), why))?;
        if !names.insert(wish.name.as_str()) {
            return senseless(
                field(".name"),
                format!("there are two arrays {}", wish.name),
            );
        }
    }
    if let Some(scratch) = &layout.scratch {
        let field = "layout.scratch.mount".to_owned();
        check_mount(&scratch_mount(scratch)).or_else(|why| senseless(field, why))?;
        if names.iter().any(|n| n.starts_with("scratch")) {
            let why =
                "with scratch, an array's name does not begin with `scratch`: call it otherwise";
            return senseless("layout.arrays".into(), why.into());
        }
    }
    check_mounts(layout).or_else(|why| senseless("layout".into(), why))
}

fn check_array(wish: &ArrayWish) -> Result<(), (&'static str, String)> {
    let most = wish.file_system.label().min(32);
    if wish.name.as_str().len() > most {
        return Err((
            ".name",
            format!(
                "an array with {} has a name of {most} characters at most: it is the file system's label",
                wish.file_system
            ),
        ));
    }
    check_mount(&array_mount(wish)).map_err(|why| (".mount", why))?;
    let choice = &wish.drives;
    let named = (!choice.serials.is_empty()).then_some(choice.serials.len());
    let count = named.or(choice.count.map(|c| c as usize));
    let (level, least) = (wish.level, wish.level.least());
    match count {
        Some(count) if level == Level::Single && count > 1 => Err((
            ".drives",
            format!(
                "{count} drives are named for one by itself: give each a name of its own, or a level (`level=0` stripes them)"
            ),
        )),
        Some(count) if count < least || count > MOST_DRIVES => Err((
            ".drives",
            format!("{level} takes {least} to {MOST_DRIVES} drives, and {count} are asked for"),
        )),
        _ if choice.serials.iter().collect::<BTreeSet<_>>().len() != choice.serials.len() => {
            Err((".drives", "a serial number is named twice".into()))
        }
        _ => Ok(()),
    }
}

/// Directories that the system needs as they are.
const SYSTEMS: &[&str] = &[
    "/bin", "/boot", "/dev", "/efi", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run",
    "/sbin", "/sys", "/tmp", "/usr", "/var",
];
/// Of these nothing below may be mounted on either: a system whose programs, or the
/// records of whose packages, lie under an empty file system does not come up.
const SEALED: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/apt",
    "/var/lib/cloud",
    "/var/lib/dbus",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/systemd",
];
/// Below what is sealed, and not the system's.
const OPEN: &[&str] = &["/usr/local", "/usr/src"];

fn check_mount(mount: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let parts: Vec<&str> = mount.split('/').skip(1).collect();
    let whole = mount.starts_with('/')
        && mount.len() <= 200
        && mount.chars().all(plain)
        && parts.iter().all(|p| !p.is_empty() && !p.starts_with('.'));
    if !whole {
        return Err(format!(
            "{mount:?} is no place to mount: an absolute path like /data, of letters, digits, '.', '_' and '-'"
        ));
    }
    let at = |dir: &str| mount == dir || is_below(mount, dir);
    let sealed = SEALED.iter().any(|s| at(s)) && !OPEN.iter().any(|o| at(o));
    if SYSTEMS.contains(&mount) || sealed {
        return Err(format!(
            "{mount} is the system's own: mount at a directory like /data, /srv/data or /var/lib/docker"
        ));
    }
    Ok(())
}

/// Whether a path is below another; not the same.
fn is_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// No two file systems at one place. One below another is well: mounts are made
/// in the order of their paths.
fn check_mounts(layout: &DriveLayout) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let scratch = layout.scratch.as_ref().map(scratch_mount);
    for mount in layout.arrays.iter().map(array_mount).chain(scratch) {
        if !seen.insert(mount.clone()) {
            return Err(format!(
                "two file systems are to be mounted at {mount}: give each its own `mount`"
            ));
        }
    }
    Ok(())
}

fn array_mount(wish: &ArrayWish) -> String {
    wish.mount
        .clone()
        .unwrap_or_else(|| format!("/{}", wish.name))
}

fn scratch_mount(scratch: &Scratch) -> String {
    scratch.mount.clone().unwrap_or_else(|| "/scratch".into())
}

/// Whether drives of these sizes are alike enough for one to be the other's copy.
fn is_like(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= one.max(other) / 100 * UNLIKE_PERCENT
}

/// A machine's drives, being dealt.
struct Deal<'a> {
    left: Vec<DriveRef>,
    known: &'a [Drive],
    /// What each drive that is gone became, for refusals.
    taken: Vec<(String, String)>,
}

impl Deal<'_> {
    fn about(&self, drive: &DriveRef) -> Option<&Drive> {
        storage::about(self.known, drive)
    }

    fn size(&self, drive: &DriveRef) -> u64 {
        self.about(drive).map_or(0, |d| d.size_bytes)
    }

    fn take(&mut self, drives: &[DriveRef], what: &str) {
        self.left.retain(|d| !drives.contains(d));
        self.taken
            .extend(drives.iter().map(|d| (d.serial.clone(), what.to_owned())));
    }

    /// The drive with this serial number, which must be left.
    fn named(&self, serial: &str, what: &str) -> Result<DriveRef, String> {
        if let Some(drive) = self.left.iter().find(|d| d.serial == serial) {
            return Ok(drive.clone());
        }
        Err(match self.taken.iter().find(|(s, _)| s == serial) {
            Some((_, by)) => {
                format!("{what} is wanted on drive {serial}, which is {by} already: name another")
            }
            None => format!(
                "{what} is wanted on drive {serial}, which the machine does not have; there is left: {}",
                self.rest()
            ),
        })
    }

    /// What is left, in words.
    fn rest(&self) -> String {
        if self.left.is_empty() {
            return "nothing".into();
        }
        let told: Vec<String> = self
            .left
            .iter()
            .map(|d| storage::told(self.about(d)))
            .collect();
        told.join(", ")
    }

    fn chosen(&self, choice: &Choice, level: Level, what: &str) -> Result<Vec<DriveRef>, String> {
        if !choice.serials.is_empty() {
            let named = choice.serials.iter().map(|s| self.named(s, what));
            return named.collect();
        }
        let mut fitting: Vec<DriveRef> = self
            .left
            .iter()
            .filter(|d| {
                let kind = self.about(d).map(|k| k.kind);
                choice.kind.is_none_or(|wanted| kind == Some(wanted))
            })
            .cloned()
            .collect();
        match choice.size {
            None => {}
            Some(Size::Smallest) => fitting.sort_by_key(|d| self.size(d)),
            Some(Size::Largest) => fitting.sort_by_key(|d| std::cmp::Reverse(self.size(d))),
        }
        let single = (level == Level::Single).then_some(1);
        let count = choice.count.or(single).map(|c| c as usize);
        let wanted = count.unwrap_or_else(|| level.least());
        if fitting.len() < wanted {
            let of = choice.kind.map_or("drives", storage::plural);
            let of = if wanted == 1 {
                of.trim_end_matches('s')
            } else {
                of
            };
            return Err(format!(
                "{what} needs {wanted} {of}, and {} are left of this machine's: {}. Ask for fewer, for another kind, or for a machine type that has more",
                fitting.len(),
                self.rest()
            ));
        }
        if let Some(count) = count {
            fitting.truncate(count);
        }
        Ok(fitting)
    }

    /// Refuses drives of which an array could use only a part.
    fn alike(&self, drives: &[DriveRef], what: &str) -> Result<(), String> {
        let least = drives.iter().min_by_key(|d| self.size(d));
        let most = drives.iter().max_by_key(|d| self.size(d));
        let (Some(least), Some(most)) = (least, most) else {
            return Ok(());
        };
        let (small, large) = (self.size(least), self.size(most));
        if !is_like(small, large) {
            return Err(format!(
                "{what} needs drives of like size: one has {large} bytes and another only {small}, and more than that of each would lie idle. Choose by kind, size or serial number such as are alike, or stripe them (raid0)"
            ));
        }
        Ok(())
    }

    /// The drives that the root is mirrored on, beside the first.
    fn mirror(&self, mirror: &RootMirror, first: &DriveRef) -> Result<Vec<DriveRef>, String> {
        let what = "the root's mirror";
        let others = if mirror.serials.is_empty() {
            let (kind, size) = (self.about(first).map(|d| d.kind), self.size(first));
            let mut like: Vec<DriveRef> = self
                .left
                .iter()
                .filter(|d| self.about(d).map(|d| d.kind) == kind)
                .filter(|d| is_like(self.size(d), size))
                .cloned()
                .collect();
            like.sort_by_key(|d| self.size(d).abs_diff(size));
            let needed = mirror.drives as usize - 1;
            if like.len() < needed {
                return Err(format!(
                    "{what} needs {needed} more drives like the root's ({}), and {} are left: choose another drive for the root (root_drive), a mirror of fewer, or a machine type that has more",
                    storage::told(self.about(first)),
                    like.len()
                ));
            }
            like.truncate(needed);
            like
        } else {
            let named = mirror.serials.iter().map(|s| self.named(s, what));
            named.collect::<Result<Vec<_>, _>>()?
        };
        let all: Vec<DriveRef> = [first].into_iter().chain(&others).cloned().collect();
        if all.iter().collect::<BTreeSet<_>>().len() != all.len() {
            return Err(format!("{what} has a drive twice: name each once"));
        }
        self.alike(&all, what)?;
        Ok(others)
    }

    fn array(&mut self, wish: &ArrayWish, lease: LeaseId) -> Result<LaidArray, String> {
        let what = format!("array {} ({})", wish.name, wish.level);
        let drives = self.chosen(&wish.drives, wish.level, &what)?;
        if wish.level.is_even() {
            self.alike(&drives, &what)?;
        }
        for drive in &drives {
            let size = self.size(drive);
            if size < LEAST_BYTES {
                return Err(format!(
                    "{what} would be on a drive of {size} bytes, which is too small: choose another"
                ));
            }
        }
        self.take(&drives, &format!("of array {}", wish.name));
        Ok(LaidArray {
            name: wish.name.clone(),
            level: wish.level,
            drives,
            id: derived(lease, &format!("array {}", wish.name)),
            file_system: wish.file_system,
            file_system_id: derived(lease, &format!("file system {}", wish.name)),
            mount: array_mount(wish),
            scratch: false,
        })
    }

    fn scratch(&mut self, scratch: &Scratch, lease: LeaseId) -> Result<Vec<LaidArray>, String> {
        let mount = scratch_mount(scratch);
        let count = self.left.len();
        let wishes: Vec<(String, Level, u32, String)> = match (count, scratch.how) {
            (0, _) => {
                return Err(
                    "no drive is left for scratch: the root and the arrays take them all. Ask for fewer, or leave scratch out"
                        .into(),
                );
            }
            (1, ScratchKind::Striped) => vec![("scratch".into(), Level::Single, 1, mount)],
            (_, ScratchKind::Striped) => {
                vec![(
                    "scratch".into(),
                    Level::Raid0,
                    count.min(MOST_DRIVES) as u32,
                    mount,
                )]
            }
            (_, ScratchKind::Each) => (1..=count)
                .map(|n| {
                    (
                        format!("scratch{n}"),
                        Level::Single,
                        1,
                        format!("{mount}/{n}"),
                    )
                })
                .collect(),
        };
        wishes
            .into_iter()
            .map(|(name, level, count, mount)| {
                let wish = ArrayWish {
                    name: name.parse::<Name>().map_err(|e| e.to_string())?,
                    level,
                    drives: Choice {
                        count: Some(count),
                        ..Choice::default()
                    },
                    file_system: scratch.file_system,
                    mount: Some(mount),
                };
                Ok(LaidArray {
                    scratch: true,
                    ..self.array(&wish, lease)?
                })
            })
            .collect()
    }
}

/// What a lease wants of drives.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// For which lease: its arrays have UUIDs of its own.
    pub lease: LeaseId,
    /// Where the root goes.
    pub root: &'a RootDrive,
    /// What is made of the others.
    pub layout: &'a DriveLayout,
    /// Arrays that are there and stay as they are.
    pub kept: &'a [LaidArray],
}

/// Deals drives out; `known` tells of their kinds and sizes.
///
/// # Errors
/// Which part has no drives, what it needs and what there is, in a sentence.
pub fn lay_out(wanted: &Wanted<'_>, own: &[DriveRef], known: &[Drive]) -> Result<LaidOut, String> {
    let mut deal = Deal {
        left: own.to_vec(),
        known,
        taken: Vec::new(),
    };
    for array in wanted.kept {
        deal.take(
            &array.drives,
            &format!("of array {}, which is kept", array.name),
        );
    }
    let named = |name: &Name| wanted.kept.iter().find(|k| k.name == *name);
    if let Some(twice) = wanted.layout.arrays.iter().find_map(|w| named(&w.name)) {
        return Err(there_twice(twice));
    }
    let first = storage::choose(wanted.root, &deal.left, known)?;
    deal.take(std::slice::from_ref(&first), "the root's");
    let mut root = vec![first];
    if let Some(mirror) = &wanted.layout.root_mirror {
        let others = deal.mirror(mirror, &root[0])?;
        deal.take(&others, "the root's");
        root.extend(others);
    }
    let mut arrays = wanted.kept.to_vec();
    for wish in &wanted.layout.arrays {
        arrays.push(deal.array(wish, wanted.lease)?);
    }
    if let Some(scratch) = &wanted.layout.scratch {
        arrays.extend(deal.scratch(scratch, wanted.lease)?);
    }
    let mut seen = BTreeSet::new();
    let twice = |a: &&LaidArray| !(seen.insert(a.name.to_string()) && seen.insert(a.mount.clone()));
    if let Some(twice) = arrays.iter().find(twice) {
        return Err(there_twice(twice));
    }
    Ok(LaidOut { root, arrays })
}

fn there_twice(array: &LaidArray) -> String {
    format!(
        "array {} at {} would be there twice, once as it is kept: leave it out of the layout, or do not keep it",
        array.name, array.mount
    )
}

/// As [`lay_out`], for a machine.
///
/// # Errors
/// As there.
pub fn lay_out_on(wanted: &Wanted<'_>, machine: &Machine) -> Result<LaidOut, String> {
    let known = machine.inventory.as_ref().map_or(&[][..], |i| &i.drives);
    lay_out(wanted, &storage::erased(machine), known)
}

/// What a reinstallation leaves alone of the drives that hold no root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: all are erased.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// Those of these arrays.
    Arrays(Vec<Name>),
}

/// What becomes of a lease's drives when it is reinstalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relaid {
    /// Which drive is what from then on.
    pub layout: LaidOut,
    /// Drives that are left alone, by serial.
    pub kept: Vec<String>,
}

/// What becomes of a lease's drives when it is reinstalled, with another layout
/// or as it is.
///
/// # Errors
/// What is wanted and cannot be, in a sentence.
pub fn relaid(
    lease: &Lease,
    machine: &Machine,
    keep: &Keep,
    layout: Option<&DriveLayout>,
) -> Result<Relaid, String> {
    let present = match &lease.layout {
        Some(layout) => layout.clone(),
        None => LaidOut {
            root: storage::roots(lease, machine)?,
            arrays: Vec::new(),
        },
    };
    let mut arrays = Vec::new();
    if let Keep::Arrays(names) = keep {
        for name in names {
            let found = present.arrays.iter().find(|a| a.name == *name);
            arrays.push(found.cloned().ok_or_else(|| {
                let there: Vec<&str> = present.arrays.iter().map(|a| a.name.as_str()).collect();
                format!(
                    "there is no array {name} to keep; there is: {}",
                    if there.is_empty() {
                        "none".into()
                    } else {
                        there.join(", ")
                    }
                )
            })?);
        }
    }
    let serials = |arrays: &[LaidArray]| -> Vec<String> {
        let drives = arrays.iter().flat_map(|a| &a.drives);
        drives.map(|d| d.serial.clone()).collect()
    };
    let Some(wish) = layout else {
        storage::roots(lease, machine)?;
        let gone = present.arrays.iter().find_map(|array| {
            let there = |d: &&DriveRef| machine.drives.iter().any(|m| m.serial == d.serial);
            let drive = array.drives.iter().find(|d| !there(d))?;
            Some((array, drive))
        });
        if let Some((array, drive)) = gone {
            return Err(format!(
                "drive {} of array {} is not the machine's any more: reinstall the lease with another layout",
                drive.serial, array.name
            ));
        }
        let kept = match keep {
            Keep::Nothing => Vec::new(),
            Keep::All => storage::others(lease, machine)
                .into_iter()
                .map(|d| d.serial)
                .collect(),
            Keep::Arrays(_) => serials(&arrays),
        };
        return Ok(Relaid {
            layout: present,
            kept,
        });
    };
    if *keep == Keep::All {
        return Err(
            "another layout is made of drives that are erased: keep arrays by name, and not all data drives"
                .into(),
        );
    }
    let wanted = Wanted {
        lease: lease.id,
        root: &lease.spec.root_drive,
        layout: wish,
        kept: &arrays,
    };
    Ok(Relaid {
        layout: lay_out_on(&wanted, machine)?,
        kept: serials(&arrays),
    })
}

/// The drives that a reinstallation under way leaves alone.
pub fn kept_drives(lease: &Lease) -> &[String] {
    let open = lease.visits.last().filter(|v| v.ended_at.is_none());
    open.filter(|v| v.kind == VisitKind::Reinstall)
        .map_or(&[], |v| &v.kept_drives)
}

/// Whether an array is left as it is by a reinstallation under way.
pub fn is_kept(lease: &Lease, array: &LaidArray) -> bool {
    let kept = kept_drives(lease);
    array.drives.iter().all(|d| kept.contains(&d.serial))
}

/// What is ordered of the agent for a lease's arrays.
pub fn orders(lease: &Lease) -> Vec<ArrayOrder> {
    let arrays = lease.layout.iter().flat_map(|l| &l.arrays);
    arrays
        .map(|array| ArrayOrder {
            name: array.name.clone(),
            level: array.level,
            id: array.id,
            drives: array.drives.clone(),
            kept: is_kept(lease, array),
        })
        .collect()
}

#[cfg(test)]
mod tests;
