//! Gathers the facts that one machine's next step depends on.

use billet_model::{
    image::Image,
    lease::Lease,
    machine::Machine,
    operation::Operation,
    site::{MachineType, Site},
    step::{Boot, Goal, Step, TaskRecord},
    work::WorkKind,
};
use billet_plan::{Facts, Fresh, Policy, warm_choice::Wish};
use billet_store::StoreError;

use crate::{Core, core::Input};

/// Facts, owned, as they were read.
pub(crate) struct Gathered {
    pub machine: Machine,
    machine_type: Option<MachineType>,
    site: Option<Site>,
    lease: Option<Lease>,
    image: Option<Image>,
    image_before: bool,
    wish: Option<Wish>,
    ramdisk: Option<String>,
    operation: Option<Operation>,
    boot: Option<Boot>,
    task: Option<TaskRecord>,
}

impl Gathered {
    /// Reads what the machine's step needs, and no more.
    pub async fn read(core: &Core, machine: Machine) -> Result<Self, StoreError> {
        let (store, step) = (&core.store, &machine.step);
        let lease = match machine.lease {
            Some(id) => store.lease(id).await?,
            None => None,
        };
        let inspects = matches!(
            step,
            Step::Discover
                | Step::Working {
                    kind: WorkKind::Inspect,
                    ..
                }
        );
        // A wipe is followed by a write in the same boot.
        let of_image =
            |kind: &WorkKind| matches!(kind, WorkKind::Write | WorkKind::Wipe | WorkKind::Measure);
        let writes = match step {
            Step::Working { kind, .. } | Step::Ramdisk { then: kind, .. } => of_image(kind),
            Step::FirstBoot { .. } => true,
            step => matches!(
                step,
                Step::ReadSettings {
                    then: Goal::DeployWarm { .. }
                }
            ),
        };
        let verifies = matches!(
            step,
            Step::Working {
                kind: WorkKind::Verify,
                ..
            }
        );
        Ok(Self {
            machine_type: if inspects {
                store.machine_type_by_name(&machine.machine_type).await?
            } else {
                None
            },
            site: if verifies {
                store.site(machine.site).await?
            } else {
                None
            },
            image: match &lease {
                Some(lease) if writes => store.image(lease.image).await?,
                _ => None,
            },
            image_before: match lease.as_ref().and_then(|l| l.before_reinstall.as_ref()) {
                Some(before) => store.image(before.image).await?.is_some(),
                None => false,
            },
            operation: match machine.operation {
                Some(id) => store.operation(id).await?,
                None => None,
            },
            boot: match step.boot() {
                Some(boot) => store.boot(boot).await?,
                None => None,
            },
            wish: core.wish(&machine).await?,
            ramdisk: core.ramdisk.clone(),
            task: match step {
                Step::Working { task, .. } => store.task(*task).await?,
                _ => None,
            },
            lease,
            machine,
        })
    }

    /// The facts as a decision takes them.
    pub fn facts<'a>(
        &'a self,
        policy: &'a Policy,
        now: billet_model::Time,
        input: &'a Input,
        fresh: Fresh,
    ) -> Facts<'a> {
        let number = self.machine.pending.as_ref().map(|p| p.number);
        Facts {
            now,
            policy,
            machine: &self.machine,
            machine_type: self.machine_type.as_ref(),
            site: self.site.as_ref(),
            lease: self.lease.as_ref(),
            image: self.image.as_ref(),
            image_before: self.image_before,
            wish: self.wish.clone(),
            ramdisk: self.ramdisk.as_deref(),
            operation: self.operation.as_ref(),
            boot: self.boot.as_ref(),
            task: self.task.as_ref(),
            // A reply to another request than the pending one is none.
            reply: input
                .reply
                .as_ref()
                .filter(|(n, _)| Some(*n) == number)
                .map(|(_, reply)| reply),
            orphaned: input.orphaned,
            probed: input.probed,
            fresh,
        }
    }
}
