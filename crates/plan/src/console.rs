//! Whose a console's output is: a tenant sees what its machine wrote during its
//! lease, and neither who was there before nor what is done there after.

use billet_model::{
    Time,
    lease::{Lease, LeaseState, VisitKind},
};

/// Whether a lease's tenant may see what was written between `from` and `at`.
pub fn is_tenants(lease: &Lease, from: Time, at: Time) -> bool {
    if from < begin(lease) || end(lease).is_some_and(|end| at >= end) {
        return false;
    }
    // An operator who mends the machine under its tenant writes there, too.
    !lease.visits.iter().any(|visit| {
        visit.kind == VisitKind::BreakFix
            && at >= visit.began_at
            && visit.ended_at.is_none_or(|end| from < end)
    })
}

/// From when on the console is the tenant's: from its own deployment on.
pub fn begin(lease: &Lease) -> Time {
    // Visits are kept up to a number: what was before those cannot be told apart.
    match lease.visits.first() {
        Some(first) if lease.visits.len() >= Lease::VISITS => first.began_at,
        _ => lease.created_at,
    }
}

/// Until when: the machine is taken back from there on.
pub fn end(lease: &Lease) -> Option<Time> {
    match lease.state {
        LeaseState::Releasing | LeaseState::Released | LeaseState::Failed => {
            // One that ended before this was kept has nothing to show.
            Some(lease.leaving_at.unwrap_or(lease.created_at))
        }
        _ => None,
    }
}

/// Why a tenant may not type just now, if it may not.
pub fn may_not_type(lease: &Lease) -> Option<&'static str> {
    match lease.state {
        LeaseState::Active | LeaseState::Installing | LeaseState::Rescue | LeaseState::Broken => {
            None
        }
        LeaseState::Deploying | LeaseState::Reinstalling => Some("the machine is being made ready"),
        LeaseState::Measuring => Some("Billet reads the machine's drive"),
        LeaseState::Maintenance => Some("an operator works on the machine"),
        LeaseState::Releasing | LeaseState::Released | LeaseState::Failed => {
            Some("the lease is over")
        }
    }
}
