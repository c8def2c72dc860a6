//! What leases leave in a BMC: put back, or said.

use billet_model::{lifecycle::Lifecycle, upkeep::SettingKind};

use super::{Checker, Findings, Seen};
use crate::finding::Violation;

/// An account of a lease's making that can still sign in is on the machine's
/// record, or its BMC could not be read.
pub(crate) struct PutBack;

impl Checker for PutBack {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        let Seen::Stored {
            before: Some(before),
            machine,
            metal,
            ..
        } = seen
        else {
            return;
        };
        let accepted = before.may_hold_data && !machine.may_hold_data;
        let Some(restoring) = before.erase.as_ref().and_then(|e| e.restoring.as_ref()) else {
            return;
        };
        if !accepted || before.lease.is_none() {
            return;
        }
        for account in metal.settings.accounts.iter().flatten() {
            let what = format!("BMC account {}", account.id);
            let said = restoring
                .report
                .changes
                .iter()
                .any(|c| c.kind == SettingKind::Account && c.what == what);
            let was = machine
                .firmware
                .iter()
                .flat_map(|f| f.accounts.iter().flatten())
                .any(|a| a.user == account.user);
            // Who stays and is said must hold the machine from the next tenant.
            let kept = said && !was && machine.lifecycle != Lifecycle::Quarantined;
            if kept && account.user != machine.bmc.user && account.enabled != Some(false) {
                findings.add(Violation::NotPutBack(format!(
                    "{what} can sign in still, and the machine goes on"
                )));
            }
        }
    }
}
