//! What is the tenant's stays so: no drive is written that the tenant did not
//! name, and a lease that was handed over never fails.

use std::collections::BTreeSet;

use billet_model::{
    LeaseId,
    bmc::{BmcRequest, PowerAction},
    lease::LeaseState,
    lifecycle::Lifecycle,
};

use super::{Checker, Findings, Seen, Word};
use crate::{finding::Violation, metal::Running};

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
                if matches!(lease.state, LeaseState::Active | LeaseState::Installing) {
                    self.handed.insert(lease.id);
                }
                if lease.state == LeaseState::Failed && self.handed.contains(&lease.id) {
                    findings.add(Violation::TakenBack(lease.id));
                }
            }
            // Once its medium is known to stay in, there is no other way.
            Seen::Carried {
                request:
                    BmcRequest::Power {
                        action: PowerAction::Off | PowerAction::Cycle | PowerAction::Reset,
                    },
                word: Word::Billet,
                lease: Some(lease),
                machine: Some(machine),
                metal,
            } if lease.state == LeaseState::Installing
                && machine.lifecycle == Lifecycle::Active
                && matches!(metal.running, Running::Installer(_)) =>
            {
                findings.add(Violation::CutOff(lease.id));
            }
            Seen::Wrote {
                drives,
                lease: Some(lease),
                ..
            } => {
                let kept = lease.visits.last().map(|v| &v.kept_drives);
                let touched = drives.iter().find(|serial| match lease.state {
                    LeaseState::Rescue
                    | LeaseState::Installing
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
