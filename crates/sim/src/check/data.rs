//! Nothing handed on: whose bytes are on which drive, against what is said of
//! them and signed.

use std::collections::BTreeSet;

use billet_evidence::{TrustedKeys, erase, verify_file};
use billet_model::{evidence::Evidence, lease::Lease, lifecycle::Lifecycle, machine::Machine};
use jiff::SignedDuration;

use super::{Checker, Findings, Seen};
use crate::{
    finding::Violation,
    metal::{Metal, Owner, Running},
};

pub(crate) struct NothingHandedOn {
    keys: TrustedKeys,
    least_off: SignedDuration,
}

impl NothingHandedOn {
    pub fn new(keys: TrustedKeys, least_off: SignedDuration) -> Self {
        Self { keys, least_off }
    }

    /// What stands against the newest certificate of a machine that was just
    /// said to hold nothing.
    fn against(
        &self,
        machine: &Machine,
        before: &Machine,
        metal: &Metal,
        evidence: &[Evidence],
        lied: bool,
    ) -> Option<String> {
        let Some(newest) = evidence.last() else {
            return Some("there is none".into());
        };
        let bytes = serde_json::to_vec(&newest.envelope).ok()?;
        let verified = match verify_file(&bytes, &self.keys) {
            Ok(verified) => verified,
            Err(error) => return Some(error.to_string()),
        };
        let said = match erase::erase_certificate(verified) {
            Ok(said) => said,
            Err(error) => return Some(error.to_string()),
        };
        if said.machine.id != machine.id || said.lease != before.lease {
            return Some(format!(
                "it is of lease {:?}, not {:?}",
                said.lease, before.lease
            ));
        }
        let silent = metal
            .disks
            .iter()
            .find(|d| !said.drives.iter().any(|s| s.drive.serial == d.serial));
        if let Some(disk) = silent {
            return Some(format!("drive {} is not on it", disk.serial));
        }
        if metal.erased_at.is_none_or(|at| at > said.verified_at) {
            return Some("no drive was erased".into());
        }
        let off = SignedDuration::from_secs(i64::try_from(said.memory.off_seconds).unwrap_or(0));
        if off < self.least_off {
            return Some(format!("power was off for {} seconds", off.as_secs()));
        }
        (!metal.off_after_erase && !lied).then(|| "power was never off after the erase".into())
    }
}

fn whose(metal: &Metal) -> Option<String> {
    let disk = metal.disks.iter().find(|d| !d.holds.is_empty())?;
    Some(format!(
        "drive {} holds data of {:?}",
        disk.serial,
        disk.holds.first()
    ))
}

/// What a system misses of its lease's layout, unless its tenant kept what was there.
fn unlaid(metal: &Metal, lease: &Lease) -> Option<String> {
    let kept = lease.visits.iter().flat_map(|v| &v.kept_drives);
    let kept: BTreeSet<&String> = kept.collect();
    let layout = lease.layout.as_ref()?;
    layout.arrays.iter().find_map(|array| {
        let drive = array.drives.iter().find(|drive| {
            let disk = metal.disks.iter().find(|d| d.serial == drive.serial);
            let marked = disk.is_some_and(|d| d.array == Some(array.id));
            !marked && !kept.contains(&drive.serial)
        })?;
        Some(format!(
            "lease {}'s system starts, and drive {} is not of array {}",
            lease.id, drive.serial, array.name
        ))
    })
}

impl Checker for NothingHandedOn {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        match seen {
            Seen::Stored {
                before,
                machine,
                metal,
                evidence,
                lied,
                ..
            } => {
                if !machine.may_hold_data
                    && let Some(data) = whose(metal)
                {
                    findings.add(Violation::Unmarked(data));
                }
                if machine.lifecycle == Lifecycle::Available
                    && let Some(data) = whose(metal)
                {
                    findings.add(Violation::HandedOn(format!("it is available, and {data}")));
                }
                if let Some(before) = before {
                    let cleared = before.may_hold_data && !machine.may_hold_data;
                    let let_go = before.lease.is_some() && machine.lease != before.lease;
                    if (cleared || let_go)
                        && let Some(why) = self.against(machine, before, metal, evidence, *lied)
                    {
                        findings.add(Violation::Certificate(why));
                    }
                }
            }
            Seen::Wrote {
                machine: Some(machine),
                metal,
                ..
            } => {
                if !machine.may_hold_data
                    && let Some(data) = whose(metal)
                {
                    findings.add(Violation::Unmarked(data));
                }
            }
            Seen::Installer { metal, lease } => {
                if let Some((disk, other)) = metal.stranger(Owner::Lease(*lease)) {
                    findings.add(Violation::HandedOn(format!(
                        "lease {lease}'s installer starts, and drive {} holds data of {other:?}",
                        disk.serial
                    )));
                }
            }
            Seen::System { metal, lease, .. } => {
                if let Running::System(Owner::Lease(id)) = metal.running
                    && let Some(lease) = lease.filter(|l| l.id == id)
                    && let Some(why) = unlaid(metal, lease)
                {
                    findings.add(Violation::NotLaidOut(why));
                }
                if let Running::System(owner @ Owner::Lease(id)) = metal.running
                    && let Some((disk, other)) = metal.stranger(owner)
                {
                    findings.add(Violation::HandedOn(format!(
                        "lease {id}'s system starts, and drive {} holds data of {other:?}",
                        disk.serial
                    )));
                }
            }
            _ => {}
        }
    }
}
