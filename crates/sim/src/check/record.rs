//! On record: the audit rows, replayed in order, give what is stored.

use std::collections::BTreeMap;

use billet_model::{LeaseId, MachineId, event::AuditRow, lease::LeaseState, lifecycle::Lifecycle};
use serde_json::Value;

use super::{Checker, Findings, Seen};
use crate::finding::Violation;

/// What the record and what the store say.
#[derive(Default)]
pub(crate) struct OnRecord {
    machines: BTreeMap<MachineId, Lifecycle>,
    leases: BTreeMap<LeaseId, LeaseState>,
    stored_machines: BTreeMap<MachineId, Lifecycle>,
    stored_leases: BTreeMap<LeaseId, LeaseState>,
}

fn word<T: serde::de::DeserializeOwned>(row: &AuditRow, key: &str) -> Option<T> {
    serde_json::from_value::<T>(row.detail.get(key).cloned().unwrap_or(Value::Null)).ok()
}

impl OnRecord {
    fn replay(&mut self, row: &AuditRow, findings: &mut Findings<'_>) {
        let mut wrong = |what: String| findings.add(Violation::Record(what));
        match (row.action.as_str(), row.machine, row.lease) {
            ("machine.enroll", Some(machine), _) => {
                self.machines.insert(machine, Lifecycle::Enrolled);
            }
            ("lease.create", _, Some(lease)) => {
                self.leases.insert(lease, LeaseState::Deploying);
            }
            ("machine.lifecycle", Some(machine), _) => {
                let known = self.machines.get(&machine).copied();
                if word(row, "from") != known {
                    wrong(format!(
                        "row {} goes from {} and {machine} was {known:?}",
                        row.id, row.detail
                    ));
                }
                if let Some(to) = word(row, "to") {
                    self.machines.insert(machine, to);
                }
            }
            ("lease.state", _, Some(lease)) => {
                let known = self.leases.get(&lease).copied();
                if word(row, "from") != known {
                    wrong(format!(
                        "row {} goes from {} and {lease} was {known:?}",
                        row.id, row.detail
                    ));
                }
                if let Some(to) = word(row, "to") {
                    self.leases.insert(lease, to);
                }
            }
            _ => {}
        }
    }
}

impl Checker for OnRecord {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        match seen {
            Seen::Stored { machine, lease, .. } => {
                self.stored_machines.insert(machine.id, machine.lifecycle);
                if let Some(lease) = lease {
                    self.stored_leases.insert(lease.id, lease.state);
                }
            }
            Seen::Rows { rows } => {
                for row in *rows {
                    self.replay(row, findings);
                }
            }
            Seen::Audit => {
                for (id, stored) in &self.stored_machines {
                    if self.machines.get(id) != Some(stored) {
                        findings.add(Violation::Record(format!(
                            "machine {id} is {stored}, and by the record {:?}",
                            self.machines.get(id)
                        )));
                    }
                }
                for (id, stored) in &self.stored_leases {
                    if self.leases.get(id) != Some(stored) {
                        findings.add(Violation::Record(format!(
                            "lease {id} is {stored}, and by the record {:?}",
                            self.leases.get(id)
                        )));
                    }
                }
            }
            _ => {}
        }
    }
}
