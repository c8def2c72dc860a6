//! What is shown of machines and leases, and to whom.
//!
//! A [`LeaseView`] never has anything of the BMC. Once a lease is over it has
//! nothing of the machine's present either: that is another tenant's by then.

use std::collections::HashMap;

use billet_model::{
    ImageId, MachineId, Name, NetworkId, ProjectId, SiteId,
    api::{BmcPasswordState, LeaseView, MachineView, MachineWarmth, MetadataOffered},
    condition::Condition,
    inventory::Emulation,
    layout::LaidOut,
    lease::Lease,
    lifecycle::Lifecycle,
    machine::Machine,
    site::{Address, Network, Site},
    step::{InstallStep, Step},
};

use billet_store::MachineInShort;

use crate::{
    app::{App, of_store},
    problem::Failure,
};

/// Makes views, and remembers what it looked up for the length of one request.
pub(crate) struct Views<'a> {
    app: &'a App,
    sites: HashMap<SiteId, Option<Site>>,
    networks: HashMap<NetworkId, Option<Network>>,
    projects: HashMap<ProjectId, Option<Name>>,
    /// Name, and whether it has cloud-init.
    images: HashMap<ImageId, Option<(Name, bool)>>,
}

impl<'a> Views<'a> {
    pub(crate) fn new(app: &'a App) -> Self {
        Self {
            app,
            sites: HashMap::new(),
            networks: HashMap::new(),
            projects: HashMap::new(),
            images: HashMap::new(),
        }
    }

    async fn site(&mut self, id: SiteId) -> Result<Option<Site>, Failure> {
        if let Some(known) = self.sites.get(&id) {
            return Ok(known.clone());
        }
        let site = self.app.store().site(id).await;
        let site = site.map_err(|e| of_store("looking for a site", e))?;
        self.sites.insert(id, site.clone());
        Ok(site)
    }

    /// Addresses as machines know them; where they are reached from outside is the
    /// network's to say, and may have changed since.
    async fn addresses(&mut self, mut addresses: Vec<Address>) -> Result<Vec<Address>, Failure> {
        for address in &mut addresses {
            let id = address.network;
            if !self.networks.contains_key(&id) {
                let network = self.app.store().network(id).await;
                let network = network.map_err(|e| of_store("looking for a network", e))?;
                self.networks.insert(id, network);
            }
            if let Some(Some(network)) = self.networks.get(&id) {
                address.reached_at = network.reach(address.ip);
            }
        }
        Ok(addresses)
    }

    async fn project(&mut self, id: ProjectId) -> Result<Option<Name>, Failure> {
        if let Some(known) = self.projects.get(&id) {
            return Ok(known.clone());
        }
        let project = self.app.store().project(id).await;
        let name = project
            .map_err(|e| of_store("looking for a project", e))?
            .map(|project| project.name);
        self.projects.insert(id, name.clone());
        Ok(name)
    }

    async fn image(&mut self, id: ImageId) -> Result<Option<(Name, bool)>, Failure> {
        if let Some(known) = self.images.get(&id) {
            return Ok(known.clone());
        }
        let image = self.app.store().image(id).await;
        let name = image
            .map_err(|e| of_store("looking for an image", e))?
            .map(|image| (image.name, image.cloud_init));
        self.images.insert(id, name.clone());
        Ok(name)
    }

    async fn machine_of(&self, id: MachineId) -> Result<Option<Machine>, Failure> {
        let machine = self.app.store().machine_in_short(id).await;
        machine.map_err(|e| of_store("looking for a lease's machine", e))
    }

    /// A machine with all that was found in it, for operators and auditors of everything.
    pub(crate) async fn machine(&mut self, machine: Machine) -> Result<MachineView, Failure> {
        let found = machine.inventory.as_ref();
        let serial = found.and_then(|inventory| inventory.system.serial.clone());
        let units = machine.units();
        self.machine_in_short(MachineInShort {
            machine,
            serial,
            units,
        })
        .await
    }

    /// The same as far as it is given.
    pub(crate) async fn machine_in_short(
        &mut self,
        short: MachineInShort,
    ) -> Result<MachineView, Failure> {
        let MachineInShort {
            machine,
            serial,
            units,
        } = short;
        let site = self.site(machine.site).await?;
        let doing = doing(&machine);
        let warm = warmth(&machine);
        let serial = serial.or_else(|| machine.expected_serial.clone());
        Ok(MachineView {
            id: machine.id,
            name: machine.name,
            site: site.map_or_else(|| stand_in(&machine.site), |site| Ok(site.name))?,
            site_id: machine.site,
            rack: machine.rack,
            machine_type: machine.machine_type,
            serial,
            expected_serial: machine.expected_serial,
            lifecycle: machine.lifecycle,
            doing,
            waiting: machine.waiting,
            hold: machine.hold,
            power: machine.power,
            health: machine.health,
            may_hold_data: machine.may_hold_data,
            cordoned: machine.cordoned,
            unconfirmed: machine.unconfirmed,
            emulation: machine.emulation,
            bmc_address: machine.bmc.address,
            bmc_fingerprint: machine.bmc.fingerprint,
            bmc_trouble: machine.bmc_trouble,
            addresses: self.addresses(machine.addresses).await?,
            units,
            lease: machine.lease,
            operation: machine.operation,
            drives: machine.drives,
            differences: machine.differences,
            settings_left: machine.upkeep.left,
            settings: machine.firmware,
            bmc_password: BmcPasswordState {
                after_each_lease: machine.upkeep.rotate,
                rotated_at: machine.upkeep.rotated_at,
                failed: machine.upkeep.rotation_failed,
            },
            struck: machine.upkeep.struck,
            warm,
            let_go: machine.upkeep.let_go,
            unerased: machine.upkeep.unerased,
            tests: machine.tests,
            inventory: machine.inventory,
            created_at: machine.created_at,
            version: machine.version,
        })
    }

    /// A lease, for those who may see it.
    pub(crate) async fn lease(&mut self, lease: Lease) -> Result<LeaseView, Failure> {
        let machine = self.machine_of(lease.machine).await?;
        let site = match &machine {
            Some(machine) => self.site(machine.site).await?,
            None => None,
        };
        let project = self.project(lease.project).await?;
        let image = self.image(lease.image).await?;
        let cloud_init = image.as_ref().is_some_and(|(_, cloud_init)| *cloud_init);
        // Only while it is the lease's: afterwards these are someone else's.
        let held = machine
            .as_ref()
            .filter(|machine| !lease.state.is_over() && machine.lease == Some(lease.id));
        let addresses = held.map_or_else(Vec::new, |machine| machine.addresses.clone());
        let addresses = self.addresses(addresses).await?;
        let metadata_drive = cloud_init && lease.written.is_some();
        let (image_digest, arrays_written, root_mirrored) = match lease.written {
            Some(written) => (Some(written.image), written.arrays, written.mirrored),
            None => (None, Vec::new(), Vec::new()),
        };
        Ok(LeaseView {
            id: lease.id,
            name: lease.name,
            project: project.map_or_else(|| stand_in(&lease.project), Ok)?,
            project_id: lease.project,
            mode: lease.mode,
            state: lease.state,
            condition: Condition::of(lease.state, held),
            health: held.map(|machine| machine.health),
            reason: lease.reason,
            machine_type: lease.machine_type,
            machine: lease.machine,
            jurisdiction: site
                .as_ref()
                .map_or_else(String::new, |site| site.jurisdiction.clone()),
            site: match site {
                Some(site) => site.name,
                None => stand_in(&lease.machine)?,
            },
            emulation: machine
                .as_ref()
                .map_or(Emulation::default(), |machine| machine.emulation),
            image: image.map_or_else(|| stand_in(&lease.image), |(name, _)| Ok(name))?,
            metadata: MetadataOffered {
                drive: metadata_drive,
                network: self.app.serves_metadata()
                    && held.is_some_and(|machine| !machine.addresses.is_empty()),
            },
            image_digest,
            power: held.and_then(|machine| machine.power),
            addresses,
            active_because: lease.active_because,
            host_keys: lease.host_keys,
            rescue: lease.rescue,
            measurements: lease.measurements,
            install: lease.install,
            unerased_drives: held.map_or_else(Vec::new, |machine| {
                let unerased = machine.upkeep.unerased.iter();
                unerased.map(|u| u.drive.serial.clone()).collect()
            }),
            root_drive: lease.root_drive.as_ref().map(|d| d.serial.clone()),
            layout: lease.layout.unwrap_or_else(|| LaidOut {
                root: lease.root_drive.into_iter().collect(),
                arrays: Vec::new(),
            }),
            layout_wanted: lease.spec.layout,
            arrays_written,
            root_mirrored,
            file_systems: lease.file_systems,
            visits: lease.visits,
            earlier_visits: lease.earlier_visits,
            first_start: lease.first_start,
            kernel_args: lease.spec.kernel_args,
            tags: lease.tags,
            ends_at: lease.ends_at,
            warned_at: lease.warned_at,
            hostname: lease.spec.hostname,
            operation: lease.operation,
            created_at: lease.created_at,
            active_at: lease.active_at,
            ended_at: lease.ended_at,
            version: lease.version,
        })
    }
}

/// The id in place of the name of something that was deleted: an id is a name too.
fn stand_in(id: &impl ToString) -> Result<Name, Failure> {
    id.to_string()
        .parse()
        .map_err(|e| Failure::internal("naming what was deleted", &e))
}

/// A machine as one that waits warm, or may.
fn warmth(machine: &Machine) -> MachineWarmth {
    let waits = matches!(machine.step, Step::Warm { .. });
    MachineWarmth {
        since: waits.then_some(machine.step_since),
        prepared: machine.warm.prepared.clone(),
        trial: machine.warm.trial.clone(),
        failed: machine.warm.failed.clone(),
        idle: machine.warm.idle.filter(|_| waits),
    }
}

/// What is being done to a machine, in a few words.
fn doing(machine: &Machine) -> String {
    match &machine.step {
        Step::Rest => match machine.lifecycle {
            Lifecycle::Enrolled => "waits to be taken over".into(),
            Lifecycle::Available => "waits for a lease".into(),
            Lifecycle::Active => "the tenant's".into(),
            Lifecycle::Quarantined => "held from tenants".into(),
            Lifecycle::Maintenance => "the operator's".into(),
            Lifecycle::Retired => "gone".into(),
            _ => "rests".into(),
        },
        Step::Discover => "being read through its BMC".into(),
        Step::ReadSettings { .. } => "firmware settings are being read".into(),
        Step::Restore { .. } => "what a lease changed is being put back".into(),
        Step::Rotate { .. } => "its BMC gets another password".into(),
        Step::LookOver => "being looked at through its BMC".into(),
        Step::Ramdisk { then, .. } => format!("on its way to the ramdisk, to {then}"),
        Step::Working { kind, .. } => format!("the agent is at work: {kind}"),
        Step::Rescue { .. } => "the ramdisk runs for the tenant".into(),
        Step::PowerBreak { .. } => "off for a while, so that memory is cleared".into(),
        Step::Install {
            at: InstallStep::Run,
            ..
        } => "the tenant's own installer runs".into(),
        Step::Install {
            at: InstallStep::Eject | InstallStep::SetDisk | InstallStep::HandOver,
            ..
        } => "the installer's medium is being taken out".into(),
        Step::Install { .. } => "on its way to the tenant's own installer".into(),
        Step::DiskBoot { .. } => "on its way to the tenant's disk".into(),
        Step::Warming { .. } => "being made ready to wait warm".into(),
        Step::Warm { .. } => "waits warm for a lease".into(),
        Step::FirstBoot { by: Some(_) } => {
            "first boot of the tenant's system, started by kexec".into()
        }
        Step::FirstBoot { by: None } => "first boot of the tenant's system".into(),
        Step::Shelve { .. } => "being put back on offer".into(),
        Step::ChangePower { action } => format!("power: {action}"),
    }
}
