//! One holder: a machine's record and its lease's agree. (That the holds do is
//! looked at by the simulator, which asks the store.)

use billet_model::lease::LeaseState;

use super::{Checker, Findings, Seen};
use crate::finding::Violation;

pub(crate) struct OneHolder;

impl Checker for OneHolder {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        let Seen::Stored { machine, lease, .. } = seen else {
            return;
        };
        match (machine.lease, lease) {
            (Some(id), Some(lease)) => {
                if lease.id != id || lease.machine != machine.id {
                    findings.add(Violation::Holder(format!(
                        "{} is held by {id}, whose machine is {}",
                        machine.name, lease.machine
                    )));
                }
                if lease.state == LeaseState::Released {
                    findings.add(Violation::Holder(format!(
                        "{} is held by {id}, which is released",
                        machine.name
                    )));
                }
            }
            (Some(id), None) => {
                findings.add(Violation::Holder(format!("lease {id} does not exist")));
            }
            (None, _) => {
                use billet_model::lifecycle::Lifecycle::{Active, Deploying};
                if matches!(machine.lifecycle, Active | Deploying) {
                    findings.add(Violation::Holder(format!(
                        "{} is {} for nobody",
                        machine.name, machine.lifecycle
                    )));
                }
            }
        }
    }
}
