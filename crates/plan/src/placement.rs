//! Which machine a lease gets.

use billet_model::{
    SiteId, lifecycle::Lifecycle, machine::Machine, step::Step, storage::RootDrive, work::DriveRef,
};

use crate::storage;

/// What of a lease's wishes counts for which machine is best.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// At which site, if at a certain one.
    pub site: Option<SiteId>,
    /// It goes through firmware, whatever machine it gets.
    pub cold: bool,
    /// The digest of its image.
    pub image: Option<&'a str>,
    /// Where its root is to be.
    pub root_drive: &'a RootDrive,
}

/// Whether a machine can be leased now.
pub fn is_free(machine: &Machine) -> bool {
    machine.lifecycle == Lifecycle::Available
        && !machine.may_hold_data
        && machine.lease.is_none()
        && machine.cordoned.is_none()
        && !machine.unconfirmed
        && machine.operation.is_none()
        && machine.power_request.is_none()
        && machine.bmc_trouble.is_none()
}

/// Whether it waits warm, as far as can be told from it alone.
pub fn is_warm(machine: &Machine) -> bool {
    matches!(machine.step, Step::Warm { .. }) && machine.uncertain_since.is_none()
}

/// Whether an image stands, since before any lease, on another drive than this.
pub fn holds_elsewhere(machine: &Machine, root: &DriveRef) -> bool {
    let prepared = machine.warm.prepared.as_ref();
    prepared.is_some_and(|p| p.drive.serial != root.serial)
}

/// The machines that a lease may have, best first. One that waits warm with the
/// image goes before one that waits without it, and that before those that are
/// off; where the lease goes through firmware anyhow, those that are off go
/// first. Among equals those longest at rest, so that wear is even; the id
/// decides between equals. Those with a drive that was not erased come last.
pub fn candidates<'a>(
    machines: impl IntoIterator<Item = &'a Machine>,
    wanted: &Wanted<'_>,
) -> Vec<&'a Machine> {
    let mut free: Vec<&Machine> = machines
        .into_iter()
        .filter(|m| is_free(m) && wanted.site.is_none_or(|s| m.site == s))
        .collect();
    free.sort_by_key(|m| {
        let unerased = !m.upkeep.unerased.is_empty();
        (unerased, rank(m, wanted), m.step_since, m.id)
    });
    free
}

fn rank(machine: &Machine, wanted: &Wanted<'_>) -> u8 {
    let resting = machine.step == Step::Rest;
    let root = storage::choose_of(wanted.root_drive, machine);
    if root.is_ok_and(|root| holds_elsewhere(machine, &root)) {
        // Another drive of it has to be erased first.
        return 4;
    }
    let prepared = machine.warm.prepared.as_ref();
    let has = prepared.is_some_and(|p| p.read_back && Some(p.digest.as_str()) == wanted.image);
    match (is_warm(machine), wanted.cold) {
        (true, false) if has => 0,
        (true, false) => 1,
        (true, true) => 3,
        (false, _) if resting => 2,
        (false, _) => 3,
    }
}
