//! What is the tenant's stays so: no drive is written that the tenant did not
//! name, and a lease that was handed over never fails.

use std::collections::BTreeSet;

use billet_model::{LeaseId, lease::LeaseState};

use super::{Checker, Findings, Seen};
use crate::finding::Violation;

#[derive(Default)]
pub(crate) struct TenantsOwn {
    handed: BTreeSet<LeaseId>,
}

impl Checker for TenantsOwn {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        match seen {
            Seen::Stored {
                lease: Some(lease), ..
            } => {
                if lease.state == LeaseState::Active {
                    self.handed.insert(lease.id);
                }
                if lease.state == LeaseState::Failed && self.handed.contains(&lease.id) {
                    findings.add(Violation::TakenBack(lease.id));
                }
            }
            Seen::Wrote {
                drives,
                lease: Some(lease),
                ..
            } => {
                let kept = lease.visits.last().map(|v| &v.kept_drives);
                let touched = drives.iter().find(|serial| match lease.state {
                    LeaseState::Rescue
                    | LeaseState::Measuring
                    | LeaseState::Broken
                    | LeaseState::Maintenance => true,
                    LeaseState::Reinstalling => kept.is_some_and(|k| k.contains(serial)),
                    _ => false,
                });
                if let Some(drive) = touched {
                    findings.add(Violation::TenantsDrive {
                        drive: drive.clone(),
                        lease: lease.id,
                    });
                }
            }
            _ => {}
        }
    }
}
