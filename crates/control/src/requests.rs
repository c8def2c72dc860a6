//! What operators ask of machines, and tenants of their leases, carried out on
//! the store: read, decide, commit; again when someone else was quicker.

use billet_model::{
    LeaseId, MachineId, Secret,
    api::LeaseChange,
    bmc::PowerAction,
    lease::{Lease, LeaseState},
    lifecycle::Lifecycle,
    machine::Machine,
    operation::Operation,
    people::Actor,
};
use billet_plan::{
    Decision, Facts,
    drives::{self, DriveChange},
    requests::{self, MachineRequest, Refused},
};
use billet_store::{Batch, MachineFilter, StoreError, Write};

use crate::{
    Core, Refusal, RefusalKind,
    core::{self, Input},
    enroll,
    facts::Gathered,
    passwords::BMC_PASSWORD,
};

/// What an operator asks of a machine, secrets included.
#[derive(Clone, Debug)]
pub enum MachineCommand {
    /// What is decided purely.
    Request(MachineRequest),
    /// Change the list of its drives.
    Drives(DriveChange),
    /// New credentials for its BMC.
    SetBmc {
        /// The address, if it changed.
        address: Option<String>,
        /// The user, if it changed.
        user: Option<String>,
        /// The password, if it changed.
        password: Option<Secret>,
        /// The certificate to pin; `None` keeps the pinned one.
        fingerprint: Option<String>,
    },
}

pub(crate) fn stale(version: i64) -> Refusal {
    Refusal::new(
        RefusalKind::Precondition,
        format!("it was changed since you read it (it is at version {version} now): read it again"),
    )
}

impl Core {
    /// Decides something that a tenant asked for on a lease's machine, as long
    /// as it is that lease's: the lease and the operation to follow.
    pub(crate) async fn begin_on_lease(
        &self,
        machine: MachineId,
        actor: &Actor,
        id: LeaseId,
        decide: impl Fn(&Facts<'_>) -> Result<Decision, Refused>,
    ) -> Result<(Lease, Operation), Refusal> {
        let (_, lease, operation) = self
            .decide_on(machine, actor, None, |facts| decide(&of_lease(facts, id)))
            .await?;
        lease.zip(operation).ok_or_else(no_operation)
    }

    pub(crate) async fn decide_on(
        &self,
        id: MachineId,
        actor: &Actor,
        if_match: Option<i64>,
        decide: impl Fn(&Facts<'_>) -> Result<Decision, Refused>,
    ) -> Result<(Machine, Option<Lease>, Option<Operation>), Refusal> {
        let mut tries = 0;
        loop {
            let machine = self
                .store
                .machine(id)
                .await?
                .ok_or_else(|| Refusal::missing("machine", id))?;
            if let Some(version) = if_match
                && version != machine.version
            {
                return Err(stale(machine.version));
            }
            let gathered = Gathered::read(self, machine).await?;
            let input = Input::default();
            let facts = gathered.facts(&self.policy, self.now(), &input, self.fresh());
            let mut decision = decide(&facts)?;
            if core::begins(&gathered.machine, &decision) {
                self.tell_of_networks(&mut decision.machine).await?;
            }
            let mut machine = decision.machine.clone();
            let lease = decision.lease.clone();
            let operation = decision.operations.last().cloned();
            let batch = self.batch(&gathered.machine, decision, actor)?;
            match self.commit(batch).await {
                Ok(()) => {
                    machine.version += 1;
                    let lease = lease.map(|mut l| {
                        l.version += 1;
                        l
                    });
                    return Ok((machine, lease, operation));
                }
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Confirms the take-over of a machine.
    ///
    /// # Errors
    /// See [`requests::take_over`].
    pub async fn take_over(
        &self,
        actor: &Actor,
        id: MachineId,
        drives: &[String],
        rotate_password: Option<bool>,
        if_match: Option<i64>,
    ) -> Result<(Machine, Operation), Refusal> {
        self.known_once(id, drives).await?;
        let (machine, _, operation) = self
            .decide_on(id, actor, if_match, |facts| {
                requests::take_over(facts, drives, rotate_password)
            })
            .await?;
        Ok((machine, operation.ok_or_else(no_operation)?))
    }

    /// One physical machine may be reached by two addresses: enrolled twice, its
    /// drives would be erased under whoever holds it by its other name.
    async fn known_once(&self, id: MachineId, drives: &[String]) -> Result<(), Refusal> {
        let this = self
            .store
            .machine(id)
            .await?
            .ok_or_else(|| Refusal::missing("machine", id))?;
        let serial = |m: &Machine| m.inventory.as_ref().and_then(|i| i.system.serial.clone());
        let own = serial(&this);
        let mut after = None;
        loop {
            let page = self
                .store
                .machines(&MachineFilter::default(), after, 1000)
                .await?;
            for other in &page {
                if other.id == id || other.lifecycle == Lifecycle::Retired {
                    continue;
                }
                let drive = drives.iter().find(|d| {
                    other.drives.iter().any(|o| o.serial == **d)
                        || other
                            .inventory
                            .iter()
                            .flat_map(|i| i.own_drives())
                            .any(|o| o.serial.as_ref() == Some(*d))
                });
                let same = match drive {
                    Some(drive) => Some(format!("drive {drive}")),
                    None if own.is_some() && own == serial(other) => {
                        own.as_ref().map(|s| format!("serial number {s}"))
                    }
                    None => None,
                };
                if let Some(same) = same {
                    return Err(Refusal::new(
                        RefusalKind::Conflict,
                        format!(
                            "{same} of {} is known already, as {}'s: they are one machine, or a part has moved; retire the record that is wrong",
                            this.name, other.name
                        ),
                    ));
                }
            }
            if page.len() < 1000 {
                return Ok(());
            }
            after = page.last().map(|m| m.id);
        }
    }

    /// Carries out an operator's command about a machine.
    ///
    /// # Errors
    /// When the machine's state stands against it.
    pub async fn machine_command(
        &self,
        actor: &Actor,
        id: MachineId,
        command: MachineCommand,
        if_match: Option<i64>,
    ) -> Result<(Machine, Option<Operation>), Refusal> {
        match command {
            MachineCommand::Request(request) => {
                let (machine, _, operation) = self
                    .decide_on(id, actor, if_match, |facts| {
                        requests::machine(facts, &request)
                    })
                    .await?;
                Ok((machine, operation))
            }
            MachineCommand::Drives(change) => {
                if let DriveChange::Add { serial } = &change {
                    self.known_once(id, std::slice::from_ref(serial)).await?;
                }
                let (machine, _, _) = self
                    .decide_on(id, actor, if_match, |facts| drives::change(facts, &change))
                    .await?;
                Ok((machine, None))
            }
            MachineCommand::SetBmc {
                address,
                user,
                password,
                fingerprint,
            } => {
                let machine = self
                    .set_bmc(actor, id, if_match, address, user, password, fingerprint)
                    .await?;
                Ok((machine, None))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one request")]
    async fn set_bmc(
        &self,
        actor: &Actor,
        id: MachineId,
        if_match: Option<i64>,
        address: Option<String>,
        user: Option<String>,
        password: Option<Secret>,
        fingerprint: Option<String>,
    ) -> Result<Machine, Refusal> {
        let address = address.as_deref().map(enroll::bmc_address).transpose()?;
        let fingerprint = fingerprint
            .as_deref()
            .map(enroll::fingerprint)
            .transpose()?;
        let mut tries = 0;
        loop {
            let mut machine = self
                .store
                .machine(id)
                .await?
                .ok_or_else(|| Refusal::missing("machine", id))?;
            if let Some(version) = if_match
                && version != machine.version
            {
                return Err(stale(machine.version));
            }
            if let Some(address) = &address {
                if *address != machine.bmc.address && machine.lease.is_some() {
                    return Err(Refusal::new(
                        RefusalKind::Conflict,
                        format!(
                            "{} is held by a lease: its BMC's address cannot be changed until it is released, for another address may be another machine's",
                            machine.name
                        ),
                    ));
                }
                machine.bmc.address.clone_from(address);
            }
            if let Some(user) = &user {
                machine.bmc.user.clone_from(user);
            }
            if fingerprint.is_some() {
                machine.bmc.fingerprint.clone_from(&fingerprint);
            }
            machine.bmc_trouble = None;
            if password.is_some() {
                machine.upkeep.rotation_failed = None;
            }
            if machine.lifecycle == Lifecycle::Enrolled && machine.operation.is_none() {
                requests::start_discovery_of(&mut machine, &self.policy, self.now());
            }
            let mut row = self.audit_row(
                actor,
                "machine.set_bmc",
                serde_json::json!({
                    "address": address,
                    "user": user,
                    "password": password.is_some(),
                    "fingerprint": fingerprint,
                }),
            );
            row.machine = Some(id);
            let mut batch = Batch::new()
                .with(Write::PutMachine(Box::new(machine.clone())))
                .audited(row);
            if let Some(password) = &password {
                batch = batch.with(Write::PutSecret {
                    owner: id.0,
                    kind: BMC_PASSWORD.to_owned(),
                    ciphertext: self
                        .keys
                        .seal(self.world.as_ref(), id.0, BMC_PASSWORD, password),
                });
            }
            match self.commit(batch).await {
                Ok(()) => {
                    machine.version += 1;
                    return Ok(machine);
                }
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) async fn machine_of(
        &self,
        id: LeaseId,
        if_match: Option<i64>,
    ) -> Result<MachineId, Refusal> {
        let lease = self
            .store
            .lease(id)
            .await?
            .ok_or_else(|| Refusal::missing("lease", id))?;
        match if_match {
            Some(version) if version != lease.version => Err(stale(lease.version)),
            _ => Ok(lease.machine),
        }
    }

    /// Takes a lease back.
    ///
    /// # Errors
    /// When it is over, or being released already.
    pub async fn release_lease(
        &self,
        actor: &Actor,
        id: LeaseId,
        if_match: Option<i64>,
    ) -> Result<(Lease, Operation), Refusal> {
        let machine = self.machine_of(id, if_match).await?;
        self.begin_on_lease(machine, actor, id, requests::release)
            .await
    }

    /// Changes the power of a lease's machine.
    ///
    /// # Errors
    /// When it is not active, or something is at work on it.
    pub async fn power_lease(
        &self,
        actor: &Actor,
        id: LeaseId,
        action: PowerAction,
    ) -> Result<(Lease, Operation), Refusal> {
        let machine = self.machine_of(id, None).await?;
        self.begin_on_lease(machine, actor, id, |facts| {
            requests::lease_power(facts, action)
        })
        .await
    }

    /// Changes a lease's tags, names or end.
    ///
    /// # Errors
    /// When it is over, or was changed since it was read.
    pub async fn change_lease(
        &self,
        actor: &Actor,
        id: LeaseId,
        change: &LeaseChange,
        if_match: Option<i64>,
    ) -> Result<Lease, Refusal> {
        if let Some(tags) = &change.tags {
            crate::grants::check_tags(tags)?;
        }
        let mut tries = 0;
        loop {
            let mut lease = self
                .store
                .lease(id)
                .await?
                .ok_or_else(|| Refusal::missing("lease", id))?;
            if let Some(version) = if_match
                && version != lease.version
            {
                return Err(stale(lease.version));
            }
            if lease.state.is_over() {
                return Err(Refusal::new(
                    RefusalKind::Conflict,
                    format!("{} is over", lease.name),
                ));
            }
            if let Some(tags) = &change.tags {
                lease.tags.clone_from(tags);
            }
            if let Some(name) = &change.name {
                lease.name.clone_from(name);
            }
            if let Some(hostname) = &change.hostname {
                crate::grants::check_hostname(hostname)?;
                lease.spec.hostname = Some(hostname.clone()).filter(|h| !h.is_empty());
            }
            if let Some(seconds) = change.extend_seconds {
                if lease.state == LeaseState::Releasing {
                    return Err(Refusal::new(
                        RefusalKind::Conflict,
                        format!("{} is {}, and cannot be extended", lease.name, lease.state),
                    ));
                }
                let from = lease.ends_at.ok_or_else(|| {
                    Refusal::new(
                        RefusalKind::Conflict,
                        format!("{} has no end that could be extended", lease.name),
                    )
                })?;
                lease.ends_at = Some(crate::grants::end_of_term(from, seconds)?);
            }
            let mut row = self.audit_row(
                actor,
                "lease.change",
                serde_json::json!({
                    "tags": change.tags,
                    "name": change.name,
                    "hostname": change.hostname,
                    "ends_at": lease.ends_at,
                }),
            );
            (row.machine, row.lease, row.project) =
                (Some(lease.machine), Some(id), Some(lease.project));
            let batch = Batch::new()
                .with(Write::PutLease(Box::new(lease.clone())))
                .audited(row);
            match self.commit(batch).await {
                Ok(()) => {
                    lease.version += 1;
                    return Ok(lease);
                }
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The facts, with the machine's lease only if it is this one: a machine may
/// have gone to another since.
fn of_lease<'a>(facts: &Facts<'a>, id: LeaseId) -> Facts<'a> {
    let mut facts = facts.clone();
    facts.lease = facts.lease.filter(|l| l.id == id);
    facts
}

fn no_operation() -> Refusal {
    Refusal::new(RefusalKind::Internal, "the decision brought no operation")
}
