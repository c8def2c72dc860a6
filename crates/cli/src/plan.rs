//! What is to be done so that there is what a manifest says.
//!
//! Pure: from the manifest and from what there is, what to create, to change and to erase, in the
//! order of what needs what. What cannot be brought about is found here too, before anything is
//! sent.

mod compare;
mod references;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use billet_model::{
    ImageId, LeaseId,
    api::{
        BmcChange, LeaseChange, LeaseView, MachineChange, MachineTypeChange, MachineView,
        NetworkChange, NewImage, NewLease, NewMachine, NewMachineType, NewNetwork, NewOrganisation,
        NewProject, NewSite, QuotaChange, QuotaView, Reinstall, SiteChange,
    },
    image::Image,
    people::{Organisation, Project},
    site::{MachineType, Network, Site},
};
use serde::Serialize;

use crate::manifest::{Manifest, Trouble};

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Organisations; not asked for where the file needs none.
    pub organisations: Vec<Organisation>,
    /// Projects that the caller sees.
    pub projects: Vec<Project>,
    /// Quotas.
    pub quotas: Vec<QuotaView>,
    /// Sites.
    pub sites: Vec<Site>,
    /// Networks; not asked for where the file needs none.
    pub networks: Vec<Network>,
    /// Machine types.
    pub machine_types: Vec<MachineType>,
    /// Images.
    pub images: Vec<Image>,
    /// Machines, with their inventory where the file takes them over.
    pub machines: Vec<MachineView>,
    /// Leases that are not over.
    pub leases: Vec<LeaseView>,
}

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// Something is lost by it.
    Erase,
    /// It is as the file says.
    Unchanged,
    /// The file does not have it: it is left alone.
    Left,
}

/// A field that becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Which.
    pub field: &'static str,
    /// What it is.
    pub from: String,
    /// What it is to be.
    pub to: String,
}

/// One thing of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub action: Action,
    /// What changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Changed>,
    /// What is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
    /// How it is done.
    #[serde(skip)]
    pub step: Step,
}

/// What is sent for an item.
#[derive(Clone, Debug, Default)]
pub enum Step {
    /// Nothing.
    #[default]
    Nothing,
    /// Make an organisation.
    Organisation(NewOrganisation),
    /// Make a project.
    Project(NewProject),
    /// Make a site.
    Site(NewSite),
    /// Change a site.
    SiteChange(String, SiteChange),
    /// Make a network.
    Network(NewNetwork),
    /// Change a network, where it still has this version.
    NetworkChange(String, NetworkChange, i64),
    /// Make a machine type.
    MachineType(NewMachineType),
    /// Change a machine type.
    MachineTypeChange(String, MachineTypeChange),
    /// Set a quota.
    Quota(QuotaChange),
    /// Add an image, and upload it where there is a file.
    Image(NewImage, Option<PathBuf>),
    /// Add an install configuration, and upload its parts where there are files.
    Install(NewImage, Vec<(String, PathBuf)>),
    /// Upload the parts of an install configuration that is not whole.
    Parts(ImageId, Vec<(String, PathBuf)>),
    /// Upload an image that has no bytes yet.
    Upload(ImageId, PathBuf),
    /// Wait until an image that is being taken in is there.
    Await(ImageId),
    /// Enroll a machine.
    Enroll(Box<NewMachine>),
    /// Correct what is recorded of a machine, where it still has this version.
    MachineChange(String, Box<MachineChange>, i64),
    /// Set how a machine's BMC is reached.
    Bmc(String, Box<BmcChange>),
    /// Take a machine over: these drives are erased.
    TakeOver(String, Vec<String>),
    /// Make a lease.
    Lease(Box<NewLease>),
    /// Change a lease, where it still has this version.
    LeaseChange(LeaseId, LeaseChange, i64),
    /// Write a lease's drive anew.
    Reinstall(LeaseId, Box<Reinstall>),
}

/// All that is to be done, in order, and all that is not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// Its items.
    pub items: Vec<Item>,
}

impl Plan {
    /// How many items there are with an action.
    pub fn count(&self, action: Action) -> usize {
        self.items.iter().filter(|i| i.action == action).count()
    }

    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.items
            .iter()
            .all(|i| matches!(i.action, Action::Unchanged | Action::Left))
    }

    /// Whether something is lost by it.
    pub fn erases(&self) -> bool {
        self.count(Action::Erase) > 0
    }

    fn push(&mut self, kind: &'static str, name: impl ToString, action: Action, step: Step) {
        self.items.push(Item {
            kind,
            name: name.to_string(),
            action,
            changes: Vec::new(),
            loses: None,
            step,
        });
    }

    fn unchanged(&mut self, kind: &'static str, name: impl ToString) {
        self.push(kind, name, Action::Unchanged, Step::Nothing);
    }

    fn change(
        &mut self,
        kind: &'static str,
        name: impl ToString,
        changes: Vec<Changed>,
        step: Step,
    ) {
        self.push(kind, name, Action::Change, step);
        if let Some(item) = self.items.last_mut() {
            item.changes = changes;
        }
    }

    fn erase(
        &mut self,
        kind: &'static str,
        name: impl ToString,
        changes: Vec<Changed>,
        loses: String,
        step: Step,
    ) {
        self.push(kind, name, Action::Erase, step);
        if let Some(item) = self.items.last_mut() {
            item.changes = changes;
            item.loses = Some(loses);
        }
    }
}

/// The plan that brings what is present to what the manifest says; or all that stands against it.
pub fn plan(manifest: &Manifest, present: &Present) -> Result<Plan, Vec<Trouble>> {
    let mut troubles = references::dangling(manifest, present);
    let mut plan = Plan::default();
    compare::all(manifest, present, &mut plan, &mut troubles);
    if troubles.is_empty() {
        return Ok(plan);
    }
    troubles.sort();
    Err(troubles)
}
