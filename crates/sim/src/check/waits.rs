//! Every state that waits has a reason, a deadline and a next action, and
//! nothing waits for ever.

use billet_model::{lifecycle::Lifecycle, machine::Machine, step::Step};
use jiff::SignedDuration;

use super::{Checker, Findings, Seen};
use crate::finding::Violation;

pub(crate) struct NothingWaits;

/// How long a deadline may be past before it counts as missed.
const GRACE: SignedDuration = SignedDuration::from_mins(5);

fn wrong(machine: &Machine, why: impl Into<String>) -> Violation {
    Violation::Waits {
        lifecycle: machine.lifecycle,
        step: format!("{:?}", machine.step),
        why: why.into(),
    }
}

impl Checker for NothingWaits {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        match seen {
            Seen::Stored { machine, .. } => {
                let rests = matches!(machine.step, Step::Rest | Step::Warm { .. })
                    && matches!(
                        machine.lifecycle,
                        Lifecycle::Available | Lifecycle::Active | Lifecycle::Retired
                    );
                match &machine.waiting {
                    _ if rests => {}
                    None => findings.add(wrong(machine, "it waits for nothing that is told")),
                    Some(w) if w.reason.is_empty() || w.next_action.is_empty() => {
                        findings.add(wrong(machine, "no reason or next action"));
                    }
                    Some(_) => {}
                }
                if machine.lifecycle == Lifecycle::Quarantined && machine.hold.is_none() {
                    findings.add(wrong(machine, "it is held for no typed reason"));
                }
            }
            Seen::Quiet { machine } => {
                if machine.lifecycle == Lifecycle::Retired {
                    return;
                }
                if let Some(waiting) = &machine.waiting
                    && findings.now.duration_since(waiting.deadline) > GRACE
                {
                    let past = waiting.deadline;
                    findings.add(wrong(
                        machine,
                        format!("its deadline was {past} ({})", waiting.reason),
                    ));
                }
                if findings.now.duration_since(machine.wake_at) > GRACE {
                    findings.add(wrong(machine, "nobody looks at it though it is due"));
                }
            }
            _ => {}
        }
    }
}
