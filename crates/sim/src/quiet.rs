//! The quiet at the end, the looks at all that is stored, and what must be
//! true when it is over.

use std::collections::BTreeMap;

use billet_model::{
    LeaseId, MachineId,
    lease::LeaseState,
    lifecycle::{HoldKind, Lifecycle},
    operation::OperationState,
    step::Step,
};
use billet_store::{AuditFilter, LeaseFilter, MachineFilter, OperationFilter};
use jiff::SignedDuration;

use crate::{
    block::block_on,
    calls::Call,
    check::Seen,
    finding::Violation,
    sim::{Sim, SimError, show},
};

/// After so long in the quiet, deadlines are kept.
const SETTLED: SignedDuration = SignedDuration::from_mins(30);

impl Sim {
    /// The faults stop.
    pub fn quieten(&mut self) -> Result<(), SimError> {
        self.note(None, "the faults stop");
        self.quiet = true;
        for one in &mut self.machines {
            one.weather.clear();
        }
        self.start_plane()?;
        // Half of the tenants go home.
        for m in 0..self.machines.len() {
            let lease = self.machines[m].lease.as_ref();
            let Some(lease) = lease.filter(|l| !l.state.is_over()).map(|l| l.id) else {
                continue;
            };
            if m % 2 == 0 {
                self.call(Some(m), Call::Release { lease })?;
            }
        }
        Ok(())
    }

    /// Looks at all that is stored: holds, records, deadlines.
    pub fn audit(&mut self) -> Result<(), SimError> {
        let rarer = i32::try_from(self.machines.len() / 100).unwrap_or(0);
        let pause = SignedDuration::from_mins(30) * (1 + rarer);
        self.after(pause, crate::event::Event::Audit);
        let store = self.core.store.clone();
        loop {
            let rows = block_on(store.audit(&AuditFilter::default(), self.audited, 500))?;
            let full = rows.len() == 500;
            if let Some(last) = rows.last() {
                self.audited = Some(last.row.id);
            }
            let rows: Vec<_> = rows.into_iter().map(|r| r.row).collect();
            if full {
                self.see(0, &Seen::Rows { rows: &rows });
                continue;
            }
            self.see(0, &Seen::Rows { rows: &rows });
            break;
        }
        let mut held: BTreeMap<LeaseId, MachineId> = BTreeMap::new();
        for m in 0..self.machines.len() {
            self.observe(m)?;
            let one = &self.machines[m];
            let Some(stored) = one.stored.clone() else {
                continue;
            };
            let holders = block_on(store.holders(stored.id))?;
            let units = u32::try_from(holders.len()).unwrap_or(u32::MAX);
            let wrong = match stored.lease {
                None if holders.is_empty() => None,
                None => Some("units of it are held, and it has no lease".to_owned()),
                Some(lease) if holders.iter().any(|(_, l)| *l != lease) => {
                    Some("units of it are held by others than its lease".to_owned())
                }
                Some(_) if units != stored.units() => {
                    Some(format!("{units} of its {} units are held", stored.units()))
                }
                Some(lease) => held
                    .insert(lease, stored.id)
                    .map(|other| format!("its lease holds {other} as well")),
            };
            if let Some(why) = wrong {
                self.find(m, Violation::Holder(format!("{}: {why}", stored.name)));
            }
            let settled = self.quiet
                && self.up
                && self.start + SignedDuration::from_hours(i64::from(self.options.hours)) + SETTLED
                    < self.now;
            if settled {
                show(
                    &mut self.checkers,
                    &mut self.findings,
                    self.now,
                    m,
                    &Seen::Quiet { machine: &stored },
                );
            }
        }
        self.see(0, &Seen::Audit);
        Ok(())
    }

    /// Whether the agent of a boot really runs.
    fn is_there(&self, m: usize, boot: billet_model::BootId) -> bool {
        let metal = &self.machines[m].metal;
        let runs = matches!(metal.running, crate::metal::Running::Ramdisk(b) if b == boot);
        metal.on && runs && metal.agent.is_some()
    }

    /// Every machine is in a good state, or a typed hold; no lease hangs.
    pub fn at_the_end(&mut self) -> Result<(), SimError> {
        let store = self.core.store.clone();
        let machines = block_on(store.machines(&MachineFilter::default(), None, 100_000))?;
        for machine in &machines {
            let Some(m) = self.by_id.get(&machine.id).copied() else {
                continue;
            };
            let broken = self.machines[m].metal.broken;
            // An account that its BMC keeps waits for somebody to take it out there.
            let kept = self.machines[m].metal.stubborn
                && machine
                    .hold
                    .as_ref()
                    .is_some_and(|h| h.kind == HoldKind::BmcAccounts);
            // A rescue lasts until its tenant ends it. One that is to wait warm may
            // just be begun anew.
            let begun = self.now.duration_since(machine.step_since) < SETTLED
                && machine.lifecycle == Lifecycle::Available;
            let still = matches!(machine.step, Step::Rest | Step::Rescue { .. });
            let warm = matches!(machine.step, Step::Warm { boot } if self.is_there(m, boot));
            let rests = (still || warm || begun) && machine.operation.is_none();
            let good = match machine.lifecycle {
                Lifecycle::Available | Lifecycle::Active | Lifecycle::Retired => rests,
                Lifecycle::Quarantined => (broken || kept) && rests && machine.hold.is_some(),
                // A BMC that died before it was read; or nobody takes it over.
                Lifecycle::Enrolled => (broken || m >= self.options.taken) && rests,
                _ => false,
            };
            if !good {
                let why = machine.hold.as_ref().map(|h| h.detail.as_str());
                self.find(
                    m,
                    Violation::Stuck(format!(
                        "it ends {} at {:?}, {} ({:?}; {:?})",
                        machine.lifecycle,
                        machine.step,
                        if broken {
                            "and is broken"
                        } else {
                            "though nothing is broken"
                        },
                        why,
                        machine.waiting.as_ref().map(|w| w.reason.as_str()),
                    )),
                );
            }
        }
        let leases = block_on(store.leases(&LeaseFilter::default(), None, 100_000))?;
        for lease in &leases {
            let machine = self.by_id.get(&lease.machine).copied();
            let held = machine
                .and_then(|m| self.machines[m].stored.as_ref())
                .is_some_and(|s| {
                    s.lifecycle == Lifecycle::Quarantined && s.lease == Some(lease.id)
                });
            let hangs = match lease.state {
                LeaseState::Deploying
                | LeaseState::Installing
                | LeaseState::Releasing
                | LeaseState::Reinstalling
                | LeaseState::Measuring => !held,
                LeaseState::Active
                | LeaseState::Rescue
                | LeaseState::Broken
                | LeaseState::Maintenance => machine
                    .and_then(|m| self.machines[m].stored.as_ref())
                    .is_none_or(|s| s.lease != Some(lease.id)),
                LeaseState::Released | LeaseState::Failed => false,
            };
            if hangs {
                self.find(
                    machine,
                    Violation::LeaseHangs {
                        lease: lease.id,
                        state: lease.state,
                    },
                );
            }
        }
        let filter = OperationFilter {
            state: Some(OperationState::Running),
            ..OperationFilter::default()
        };
        for operation in block_on(store.operations(&filter, None, 100_000))? {
            let m = operation
                .machine
                .and_then(|id| self.by_id.get(&id).copied());
            self.find(
                m,
                Violation::OperationHangs(format!(
                    "{} {} ({})",
                    operation.kind.as_str(),
                    operation.id,
                    operation.message
                )),
            );
        }
        Ok(())
    }
}
