//! A lease is active when its own system is on the drive, and came up.

use std::collections::BTreeSet;

use billet_model::{LeaseId, lease::LeaseState, lifecycle::Lifecycle};

use super::{Checker, Findings, Seen};
use crate::{finding::Violation, metal::Owner};

#[derive(Default)]
pub(crate) struct Handover {
    up: BTreeSet<LeaseId>,
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
                if machine.lifecycle != Lifecycle::Active || before.lifecycle == Lifecycle::Active {
                    return;
                }
                if matches!(lease.state, LeaseState::Broken | LeaseState::Rescue) {
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
