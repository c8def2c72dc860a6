//! What waits warm: nobody's, with no medium in, and with an image that every
//! project may see.

use billet_model::{lease::LeaseState, lifecycle::Lifecycle, step::Step};

use super::{Checker, Findings, Seen};
use crate::{
    finding::Violation,
    metal::{Owner, Running},
};

pub(crate) struct Warm;

impl Checker for Warm {
    fn see(&mut self, _: usize, seen: &Seen<'_>, findings: &mut Findings<'_>) {
        let mut wrong = |what: String| findings.add(Violation::Warm(what));
        match seen {
            Seen::Stored { machine, metal, .. } => {
                if !matches!(machine.step, Step::Warm { .. }) {
                    return;
                }
                if machine.lifecycle != Lifecycle::Available || machine.lease.is_some() {
                    wrong(format!("it waits warm, and is {}", machine.lifecycle));
                }
                if metal.medium.is_some() {
                    wrong("it waits warm with the boot medium in".into());
                }
                if machine.uncertain_since.is_some() {
                    wrong("it waits warm, and a change may come late".into());
                }
            }
            Seen::Prepared {
                image,
                everyones,
                lease,
            } => {
                if !everyones {
                    wrong(format!("image {image} is a project's, and was prepared"));
                }
                // A yes is good for a while: a lease may just have begun.
                if let Some(lease) = lease.filter(|l| l.state.is_tenants()) {
                    wrong(format!("an image was prepared under lease {}", lease.id));
                }
            }
            Seen::Jumped { metal, lease } => {
                if let Running::System(Owner::Lease(id)) = metal.running {
                    if metal.medium.is_some() {
                        findings.add(Violation::NotEjected(id));
                    }
                    let own = lease.is_some_and(|l| {
                        l.id == id && matches!(l.state, LeaseState::Deploying | LeaseState::Active)
                    });
                    if !own {
                        let what = format!("kexec started lease {id}'s system out of its time");
                        findings.add(Violation::Warm(what));
                    }
                }
            }
            _ => {}
        }
    }
}
