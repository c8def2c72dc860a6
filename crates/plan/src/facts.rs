//! What a decision is made from.

use billet_model::{
    BootId, EvidenceId, OperationId, TaskId, Time,
    bmc::BmcReply,
    image::Image,
    lease::Lease,
    machine::Machine,
    operation::Operation,
    site::{MachineType, Site},
    step::{Boot, TaskRecord},
};

use crate::{Policy, warm_choice::Wish};

/// Everything that the next step of one machine depends on.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The time.
    pub now: Time,
    /// How long things may take.
    pub policy: &'a Policy,
    /// The machine.
    pub machine: &'a Machine,
    /// Its type, if known.
    pub machine_type: Option<&'a MachineType>,
    /// Its site.
    pub site: Option<&'a Site>,
    /// The lease that holds it.
    pub lease: Option<&'a Lease>,
    /// That lease's image.
    pub image: Option<&'a Image>,
    /// Whether the image that stood there before a reinstallation is still known.
    pub image_before: bool,
    /// Whether it is to wait warm, where its step asks.
    pub wish: Option<Wish>,
    /// The digest of the ramdisk that machines boot; `None` where there is none.
    pub ramdisk: Option<&'a str>,
    /// The operation at work on it.
    pub operation: Option<&'a Operation>,
    /// The boot that its step names.
    pub boot: Option<&'a Boot>,
    /// The task that its step names.
    pub task: Option<&'a TaskRecord>,
    /// What came of the pending request, if it just came.
    pub reply: Option<&'a BmcReply>,
    /// The pending request's sender died: nobody will bring a reply.
    pub orphaned: bool,
    /// Whether the tenant's port answered, if it was just tried.
    pub probed: Option<bool>,
    /// Ids to use, should the decision need new ones.
    pub fresh: Fresh,
}

/// New ids, brought by the caller so that a decision throws no dice.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// For a boot.
    pub boot: BootId,
    /// For a task.
    pub task: TaskId,
    /// For a signed statement.
    pub evidence: EvidenceId,
    /// For an operation.
    pub operation: OperationId,
}
