//! What reaches BMCs, and when.

use billet_model::{
    bmc::{BmcFact, BmcReply, BmcRequest},
    lease::LeaseState,
    lifecycle::Power,
    step::{DiskStep, Step},
};

use super::{Checker, Findings, Seen, Word};
use crate::{
    finding::Violation,
    metal::{Owner, Running},
};

fn shown(request: &BmcRequest) -> String {
    match request {
        BmcRequest::Power { action } => format!("power {action}"),
        other => format!("{other:?}"),
    }
}

/// No change of Billet's own reaches a machine while a lease on it is active.
pub(crate) struct NoLateChange;

impl Checker for NoLateChange {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        match seen {
            Seen::Carried {
                request,
                word,
                lease: Some(lease),
                ..
            } if lease.state == LeaseState::Active && *word != Word::Tenant(lease.id) => {
                findings.add(Violation::Late {
                    request: shown(request),
                    lease: lease.id,
                });
            }
            Seen::Ramdisk {
                lease: Some(lease), ..
            } if lease.state == LeaseState::Active => {
                findings.add(Violation::Present(lease.id));
            }
            Seen::Stored {
                lease: Some(lease),
                before,
                machine,
                metal,
                ..
            } if lease.state == LeaseState::Active
                && before.is_some_and(|b| b.lifecycle != machine.lifecycle)
                && matches!(metal.running, Running::Ramdisk(_)) =>
            {
                findings.add(Violation::Present(lease.id));
            }
            _ => {}
        }
    }
}

/// A power action is never repeated without a reading between.
pub(crate) struct LookBeforeRepeating {
    unread: Vec<bool>,
}

impl LookBeforeRepeating {
    pub fn new(machines: usize) -> Self {
        Self {
            unread: vec![false; machines],
        }
    }
}

impl Checker for LookBeforeRepeating {
    fn see(&mut self, m: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        let Some(unread) = self.unread.get_mut(m) else {
            return;
        };
        match seen {
            Seen::Sent {
                request: request @ BmcRequest::Power { .. },
                word,
            } => {
                // What the tenant asks for anew is no repetition.
                if *unread && *word == Word::Billet {
                    findings.add(Violation::Repeated(shown(request)));
                }
                *unread = true;
            }
            Seen::Replied {
                reply:
                    BmcReply::Done {
                        fact: BmcFact::Power { .. } | BmcFact::Discovered { .. },
                    },
                ..
            } => *unread = false,
            _ => {}
        }
    }
}

/// Until the take-over, a machine is only read from.
pub(crate) struct EnrolmentReads {
    taken: Vec<bool>,
}

impl EnrolmentReads {
    pub fn new(machines: usize) -> Self {
        Self {
            taken: vec![false; machines],
        }
    }
}

impl Checker for EnrolmentReads {
    fn see(&mut self, m: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        let Some(taken) = self.taken.get_mut(m) else {
            return;
        };
        match seen {
            Seen::TakenOver => *taken = true,
            Seen::Sent { request, .. } if request.is_change() && !*taken => {
                findings.add(Violation::Touched(shown(request)));
            }
            _ => {}
        }
    }
}

/// Media go in while power was read as off, and are out before a tenant's
/// system boots, and once an installer's lease is active.
pub(crate) struct Media {
    off: Vec<bool>,
    installing: Vec<bool>,
}

impl Media {
    pub fn new(machines: usize) -> Self {
        Self {
            off: vec![false; machines],
            installing: vec![false; machines],
        }
    }
}

impl Checker for Media {
    fn see(&mut self, m: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        let Some(off) = self.off.get_mut(m) else {
            return;
        };
        match seen {
            Seen::Replied {
                reply:
                    BmcReply::Done {
                        fact: BmcFact::Power { power } | BmcFact::Discovered { power, .. },
                    },
                ..
            } => *off = *power == Power::Off,
            Seen::Sent {
                request: BmcRequest::Power { .. },
                ..
            } => *off = false,
            Seen::Sent {
                request: BmcRequest::InsertMedia { .. },
                ..
            } if !*off => {
                findings.add(Violation::InsertedOn);
            }
            Seen::Stored {
                lease: Some(lease),
                metal,
                ..
            } => {
                let Some(installing) = self.installing.get_mut(m) else {
                    return;
                };
                let was = std::mem::replace(installing, lease.state == LeaseState::Installing);
                if was && lease.state == LeaseState::Active && metal.medium.is_some() {
                    findings.add(Violation::NotEjected(lease.id));
                }
            }
            Seen::System {
                metal,
                machine: Some(machine),
                lease: Some(lease),
            } => {
                let handed = match machine.step {
                    Step::FirstBoot { .. } | Step::DiskBoot { at: DiskStep::On } => true,
                    _ => lease.state == LeaseState::Active,
                };
                if handed
                    && metal.medium.is_some()
                    && matches!(metal.running, Running::System(Owner::Lease(id)) if id == lease.id)
                {
                    findings.add(Violation::NotEjected(lease.id));
                }
            }
            _ => {}
        }
    }
}
