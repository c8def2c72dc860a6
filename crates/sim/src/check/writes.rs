//! A late task must not touch a disk.

use std::collections::BTreeMap;

use billet_model::{TaskId, Time, lease::LeaseState, step::Step};
use billet_protocol::agent::CONFIRM_SECONDS;
use jiff::SignedDuration;

use super::{Checker, Findings, Seen};
use crate::finding::Violation;

/// Each task that was current once, and since when it is not.
#[derive(Default)]
pub(crate) struct NoLateWrite {
    over: BTreeMap<TaskId, Option<Time>>,
}

fn current(step: &Step) -> Option<TaskId> {
    match step {
        Step::Working { task, .. } => Some(*task),
        _ => None,
    }
}

impl Checker for NoLateWrite {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        match seen {
            Seen::Stored {
                before, machine, ..
            } => {
                let now = current(&machine.step);
                if let Some(task) = now {
                    self.over.insert(task, None);
                }
                if let Some(old) = before.and_then(|b| current(&b.step))
                    && now != Some(old)
                {
                    self.over.insert(old, Some(findings.now));
                }
            }
            Seen::Wrote { task, lease, .. } => {
                if let Some(lease) = lease
                    && lease.state == LeaseState::Active
                {
                    findings.add(Violation::WroteInLease {
                        task: *task,
                        lease: lease.id,
                    });
                }
                // A yes is good for a while: so long may it write after.
                let good =
                    SignedDuration::from_secs(i64::try_from(CONFIRM_SECONDS).unwrap_or(i64::MAX));
                let stale = match self.over.get(task) {
                    None => true,
                    Some(None) => false,
                    Some(Some(since)) => findings.now.duration_since(*since) > good,
                };
                if stale {
                    findings.add(Violation::WroteStale { task: *task });
                }
            }
            _ => {}
        }
    }
}
