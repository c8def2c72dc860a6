//! Which machine a lease gets.

use billet_model::{SiteId, lifecycle::Lifecycle, machine::Machine};

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

/// The machines that a lease may have, best first: those longest at rest come
/// first, so that wear is even; the id decides between equals.
pub fn candidates<'a>(
    machines: impl IntoIterator<Item = &'a Machine>,
    site: Option<SiteId>,
) -> Vec<&'a Machine> {
    let mut free: Vec<&Machine> = machines
        .into_iter()
        .filter(|m| is_free(m) && site.is_none_or(|s| m.site == s))
        .collect();
    free.sort_by_key(|m| (m.step_since, m.id));
    free
}
