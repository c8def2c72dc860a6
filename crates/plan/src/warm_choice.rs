//! Which machines of a type wait warm, and with which image.

use std::collections::BTreeMap;

use billet_model::{
    ImageId, MachineId, Name, Time,
    image::{Image, ImageState},
    lifecycle::Lifecycle,
    machine::Machine,
    step::Step,
    warm::{Prepared, TrialResult, WarmPolicy},
    work::WorkKind,
};
use jiff::SignedDuration;

use crate::storage;

/// Whether a machine is to wait warm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is, with this image on a drive, or with none.
    Warm {
        /// Which.
        image: Option<WarmImage>,
    },
    /// It is not.
    Cold {
        /// Why.
        why: WhyCold,
    },
}

/// An image that is for everyone, as it is prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmImage {
    /// Which.
    pub id: ImageId,
    /// Its digest.
    pub digest: String,
    /// Bytes that the drive must have more than.
    pub bytes: u64,
}

impl WarmImage {
    /// The image, where it may stand on a machine before its lease: only one that
    /// every project may see, and that is there.
    pub fn of(image: &Image) -> Option<Self> {
        let content = image.content.as_ref()?;
        let may = image.project.is_none() && image.state == ImageState::Available;
        may.then(|| Self {
            id: image.id,
            digest: content.digest.clone(),
            bytes: content.virtual_bytes,
        })
    }
}

/// Why a machine is not to wait warm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyCold {
    /// None of its type is.
    #[error("no machine of its type is wanted warm")]
    NotWanted,
    /// Enough others are.
    #[error("as many of its type as are wanted wait warm")]
    Enough,
    /// It is off offers.
    #[error("it is kept off offers")]
    Cordoned,
    /// It is not available, and not about to be.
    #[error("it is not available")]
    NotAvailable,
    /// Kexec did not work on it.
    #[error(
        "kexec failed its trial on it with this ramdisk: {why} (`billet machine test` tries again)"
    )]
    TrialFailed {
        /// How.
        why: String,
    },
    /// Kexec did not work on another of its type, and on none did it.
    #[error(
        "kexec failed its trial on {machine}, of the same type: {why} (`billet machine test` tries again)"
    )]
    TypeFailed {
        /// On which.
        machine: Name,
        /// How.
        why: String,
    },
    /// It did not become or stay warm a while ago.
    #[error("it was tried a while ago: {why}")]
    FailedLately {
        /// What came of it.
        why: String,
    },
}

/// What is to be chosen from, and by what.
#[derive(Clone, Copy, Debug)]
pub struct WarmFacts<'a> {
    /// The time.
    pub now: Time,
    /// How long a machine that failed is left alone.
    pub again: SignedDuration,
    /// What the operator wants of the type.
    pub policy: &'a WarmPolicy,
    /// The digest of the ramdisk that machines boot.
    pub ramdisk: Option<&'a str>,
    /// The images to hold, the most wanted first.
    pub images: &'a [WarmImage],
}

/// Chooses among the machines of one type. Whatever is warm or on its way stays
/// so before another is begun; the id decides between equals, so that whoever
/// asks gets the same answer.
pub fn choose<'a>(
    facts: WarmFacts<'_>,
    machines: impl IntoIterator<Item = &'a Machine>,
) -> BTreeMap<MachineId, Wish> {
    let machines: Vec<&Machine> = machines.into_iter().collect();
    let wanted = if facts.policy.cold {
        0
    } else {
        usize::try_from(facts.policy.count).unwrap_or(usize::MAX)
    };
    let mut wishes = BTreeMap::new();
    if wanted == 0 {
        for machine in &machines {
            wishes.insert(machine.id, cold(WhyCold::NotWanted));
        }
        return wishes;
    }
    let type_failed = type_failed(facts.ramdisk, &machines);
    let mut eligible = Vec::new();
    for machine in machines {
        match why_not(facts, machine, type_failed.as_ref()) {
            Some(why) => _ = wishes.insert(machine.id, cold(why)),
            None => eligible.push(machine),
        }
    }
    eligible.sort_by_key(|m| (on_its_way(m), m.id));
    for machine in eligible.split_off(wanted.min(eligible.len())) {
        wishes.insert(machine.id, cold(WhyCold::Enough));
    }
    spread(facts.images, wanted, &eligible, &mut wishes);
    wishes
}

fn cold(why: WhyCold) -> Wish {
    Wish::Cold { why }
}

/// 0 for one that is warm, 1 on its way, 2 for the others.
fn on_its_way(machine: &Machine) -> u8 {
    match machine.step {
        Step::Warm { .. } => 0,
        Step::Warming { .. }
        | Step::Ramdisk {
            then: WorkKind::Prepare | WorkKind::Trial,
            ..
        }
        | Step::Working {
            kind: WorkKind::Prepare | WorkKind::Trial,
            ..
        } => 1,
        _ => 2,
    }
}

fn trial_failed<'a>(machine: &'a Machine, ramdisk: Option<&str>) -> Option<&'a String> {
    let trial = machine.warm.trial.as_ref()?;
    match &trial.result {
        TrialResult::Failed { why } if Some(trial.ramdisk.as_str()) == ramdisk => Some(why),
        _ => None,
    }
}

/// A machine on which the trial failed, where it passed on none.
fn type_failed(ramdisk: Option<&str>, machines: &[&Machine]) -> Option<WhyCold> {
    let passed = machines.iter().any(|m| {
        let trial = m.warm.trial.as_ref();
        trial
            .is_some_and(|t| t.result == TrialResult::Passed && Some(t.ramdisk.as_str()) == ramdisk)
    });
    if passed {
        return None;
    }
    machines.iter().find_map(|m| {
        let why = trial_failed(m, ramdisk)?;
        Some(WhyCold::TypeFailed {
            machine: m.name.clone(),
            why: why.clone(),
        })
    })
}

fn why_not(
    facts: WarmFacts<'_>,
    machine: &Machine,
    type_failed: Option<&WhyCold>,
) -> Option<WhyCold> {
    let about_to_be = machine.lifecycle == Lifecycle::Testing;
    let free = machine.lease.is_none() && !machine.may_hold_data && !machine.unconfirmed;
    if !(machine.lifecycle == Lifecycle::Available || about_to_be) || !free {
        return Some(WhyCold::NotAvailable);
    }
    if machine.cordoned.is_some() {
        return Some(WhyCold::Cordoned);
    }
    if let Some(why) = trial_failed(machine, facts.ramdisk) {
        return Some(WhyCold::TrialFailed { why: why.clone() });
    }
    if let Some(why) = type_failed {
        return Some(why.clone());
    }
    let failed = machine.warm.failed.as_ref();
    if let Some(failed) = failed.filter(|f| facts.now < f.until(facts.again))
        && on_its_way(machine) == 2
    {
        return Some(WhyCold::FailedLately {
            why: failed.why.clone(),
        });
    }
    None
}

/// Gives each of the chosen an image: every image its share, the first the
/// largest; what stands on a drive already stays there where it has a share.
fn spread(
    images: &[WarmImage],
    wanted: usize,
    chosen: &[&Machine],
    wishes: &mut BTreeMap<MachineId, Wish>,
) {
    let mut shares: Vec<(&WarmImage, usize)> = images
        .iter()
        .enumerate()
        .map(|(i, image)| (image, (wanted + images.len() - 1 - i) / images.len()))
        .collect();
    let mut rest = Vec::new();
    for machine in chosen {
        let held = machine.warm.prepared.as_ref();
        let share = shares
            .iter_mut()
            .find(|(image, left)| *left > 0 && held.is_some_and(|p| is(p, image)));
        match share {
            Some((image, left)) => {
                *left -= 1;
                wishes.insert(machine.id, warm(Some(image)));
            }
            None => rest.push(machine),
        }
    }
    for machine in rest {
        let share = shares
            .iter_mut()
            .find(|(image, left)| *left > 0 && has_room(machine, image));
        let image = share.map(|(image, left)| {
            *left -= 1;
            &**image
        });
        wishes.insert(machine.id, warm(image));
    }
}

fn warm(image: Option<&WarmImage>) -> Wish {
    Wish::Warm {
        image: image.cloned(),
    }
}

fn is(prepared: &Prepared, image: &WarmImage) -> bool {
    prepared.digest == image.digest
}

fn has_room(machine: &Machine, image: &WarmImage) -> bool {
    let Ok(root) = storage::choose_of(&Default::default(), machine) else {
        return false;
    };
    machine
        .inventory
        .iter()
        .flat_map(|i| &i.drives)
        .any(|d| d.serial.as_ref() == Some(&root.serial) && d.size_bytes > image.bytes)
}

/// The images that leases asked for most, the most wanted first: only those that
/// may stand on a machine before its lease. `asked` is newest first; between
/// equals the one that was asked for last counts.
pub fn most_asked<'a>(
    asked: impl IntoIterator<Item = ImageId>,
    images: impl IntoIterator<Item = &'a Image>,
    most: usize,
) -> Vec<WarmImage> {
    let mut counts: Vec<(ImageId, usize)> = Vec::new();
    for id in asked {
        match counts.iter_mut().find(|(known, _)| *known == id) {
            Some((_, count)) => *count += 1,
            None => counts.push((id, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let images: Vec<&Image> = images.into_iter().collect();
    counts
        .into_iter()
        .filter_map(|(id, _)| images.iter().find(|i| i.id == id))
        .filter_map(|i| WarmImage::of(i))
        .take(most)
        .collect()
}
