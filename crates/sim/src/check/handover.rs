//! A lease is active when its own system is on the drive, and came up.

use std::collections::{BTreeMap, BTreeSet};

use billet_model::{
    LeaseId,
    lease::{ActiveBecause, LeaseState},
    lifecycle::Lifecycle,
};

use super::{Checker, Findings, Seen};
use crate::{finding::Violation, metal::Owner};

#[derive(Default)]
pub(crate) struct Handover {
    up: BTreeSet<LeaseId>,
    states: BTreeMap<LeaseId, LeaseState>,
}

impl Checker for Handover {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        match seen {
            Seen::Up { lease } => {
                self.up.insert(*lease);
            }
            // What came up before is gone.
            Seen::Wrote {
                lease: Some(lease), ..
            } if lease.state == LeaseState::Reinstalling => {
                self.up.remove(&lease.id);
            }
            Seen::Stored {
                before: Some(before),
                machine,
                lease: Some(lease),
                metal,
                ..
            } => {
                let was = self.states.insert(lease.id, lease.state);
                // An installer's lease is handed over on a machine that is its
                // tenant's already.
                let installed =
                    was == Some(LeaseState::Installing) && lease.state == LeaseState::Active;
                let handed = machine.lifecycle == Lifecycle::Active
                    && (before.lifecycle != Lifecycle::Active || installed);
                if !handed
                    || matches!(
                        lease.state,
                        LeaseState::Broken | LeaseState::Rescue | LeaseState::Installing
                    )
                {
                    return;
                }
                // A tenant's word, or none in time, says nothing of the drive.
                if matches!(
                    lease.active_because,
                    Some(ActiveBecause::TenantSaid | ActiveBecause::Unreported)
                ) {
                    return;
                }
                let mut wrong = |what: String| findings.add(Violation::NotUp(what));
                if lease.state != LeaseState::Active {
                    wrong(format!(
                        "its machine is active, and lease {} is {}",
                        lease.id, lease.state
                    ));
                }
                if !self.up.contains(&lease.id) {
                    wrong(format!("lease {} is active and never came up", lease.id));
                }
                let own = metal
                    .installed
                    .as_ref()
                    .is_some_and(|i| i.owner == Owner::Lease(lease.id));
                if !own {
                    wrong(format!(
                        "lease {} is active and its image is not on the drive",
                        lease.id
                    ));
                }
            }
            _ => {}
        }
    }
}
