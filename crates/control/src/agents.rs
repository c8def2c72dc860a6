//! What agents and tenants' machines say, against what the machine's step is.
//!
//! Whether a token is good is never stored: it is while the step of its machine
//! names its boot. So a step that moves on takes the word from every older agent.

use billet_model::{
    BootId, MachineId, TaskId,
    lease::{ActiveBecause, LeaseState},
    machine::Machine,
    people::Actor,
    secret::Handed,
    step::{Boot, DiskStep, InstallStep, RamdiskStep, Step},
    work::{Progress, Task, Work, WorkKind, WorkOutcome},
};
use billet_plan::seed::{SeedFacts, seed};
use billet_protocol::{
    agent::{Confirm, Hello, Welcome},
    phone_home::PhoneHome,
};
use billet_store::{Batch, StoreError, Write};

use crate::{Core, keys};

/// Why an agent is not answered.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The token is not good, or not any more: 401, and the agent stops.
    #[error("this token is not good (any more)")]
    Unknown,
    /// The token is that of a boot that is about to begin, and is not good yet:
    /// 503, and the agent asks again.
    #[error("this boot is not expected yet: ask again")]
    NotYet,
    /// What it asks for is not its own: 404.
    #[error("there is no such thing for this boot")]
    NotYours,
    /// The store failed: 503, and the agent tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A boot whose token is good, and its machine.
pub(crate) struct Known {
    pub boot: Boot,
    pub machine: Machine,
}

impl Core {
    pub(crate) async fn known(&self, token: &str) -> Result<Known, AgentError> {
        let id = self.keys.boot_of(token).ok_or(AgentError::Unknown)?;
        let boot = self.store.boot(id).await?.ok_or(AgentError::Unknown)?;
        let machine = self
            .store
            .machine(boot.machine)
            .await?
            .ok_or(AgentError::Unknown)?;
        let there = match &machine.step {
            Step::Ramdisk { at, .. } => matches!(at, RamdiskStep::On | RamdiskStep::AwaitAgent),
            _ => true,
        };
        let named = there && machine.step.boot() == Some(id);
        if machine.unconfirmed {
            Err(AgentError::Unknown)
        } else if named {
            Ok(Known { boot, machine })
        } else if self.begins(&machine.step, id).await? {
            Err(AgentError::NotYet)
        } else {
            Err(AgentError::Unknown)
        }
    }

    /// Whether the boot is the one that the trial at work is to begin: its agent
    /// may be quicker than the loop.
    async fn begins(&self, step: &Step, boot: BootId) -> Result<bool, StoreError> {
        let Step::Working {
            task,
            kind: WorkKind::Trial,
            ..
        } = step
        else {
            return Ok(false);
        };
        let record = self.store.task(*task).await?;
        let order = record.map(|r| r.task.work);
        Ok(matches!(order, Some(Work::Trial(order)) if order.next == boot))
    }

    /// Whether this is the same word again of an agent that has told that it
    /// starts a kernel, and did not hear that it was heard: it may go on.
    async fn told_before(
        &self,
        token: &str,
        task: TaskId,
        outcome: &WorkOutcome,
    ) -> Result<bool, AgentError> {
        let id = self.keys.boot_of(token).ok_or(AgentError::Unknown)?;
        let Some(record) = self.store.task(task).await? else {
            return Ok(false);
        };
        let same = record.boot == id && record.outcome.as_ref() == Some(outcome);
        if !same || !matches!(outcome, WorkOutcome::Starting(_)) {
            return Ok(false);
        }
        let machine = self.store.machine(record.machine).await?;
        Ok(match (machine.map(|m| m.step), record.task.work) {
            (Some(Step::FirstBoot { by }), Work::Start(_)) => by == Some(id),
            (Some(Step::Ramdisk { at, boot, .. }), Work::Trial(order)) => {
                at == RamdiskStep::AwaitAgent && boot == order.next
            }
            _ => false,
        })
    }

    /// An agent runs.
    ///
    /// # Errors
    /// When its token is not good, or it runs in another boot or machine than
    /// the token is of.
    pub async fn agent_hello(&self, token: &str, hello: &Hello) -> Result<Welcome, AgentError> {
        let mut tries = 0;
        loop {
            let Known { mut boot, machine } = self.known(token).await?;
            let serial = machine
                .inventory
                .as_ref()
                .and_then(|i| i.system.serial.as_deref());
            let other_machine =
                matches!((serial, hello.serial.as_deref()), (Some(a), Some(b)) if a != b);
            let other_boot = boot
                .kernel_boot_id
                .as_ref()
                .is_some_and(|id| *id != in_short(&hello.kernel_boot_id));
            if other_machine || other_boot {
                let why = if other_machine {
                    "another machine"
                } else {
                    "another boot"
                };
                // Once: rows of the log stay for ever, and who has root in a rescue may say
                // hello as often as they like.
                if !self.turned_away.is_new(boot.id, why) {
                    return Err(AgentError::Unknown);
                }
                let mut row = self.audit_row(
                    &Actor::Agent {
                        machine: machine.id,
                    },
                    "agent.refused",
                    serde_json::json!({
                        "serial": hello.serial.as_deref().map(in_short),
                        "why": why,
                    }),
                );
                row.machine = Some(machine.id);
                self.commit(Batch::new().audited(row)).await?;
                return Err(AgentError::Unknown);
            }
            let now = self.now();
            boot.kernel_boot_id = Some(in_short(&hello.kernel_boot_id));
            boot.hello_at = boot.hello_at.or(Some(now));
            boot.seen_at = Some(now);
            let welcome = Welcome {
                machine: machine.name.to_string(),
                wait_seconds: 20,
            };
            let batch = self.waking(machine).with(Write::PutBoot(Box::new(boot)));
            match self.commit(batch).await {
                Ok(()) => return Ok(welcome),
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A batch that has the loop look at the machine now.
    pub(crate) fn waking(&self, mut machine: Machine) -> Batch {
        machine.wake_at = self.now();
        // It stays as it is.
        (machine.inventory, machine.firmware) = (None, None);
        Batch::new().with(Write::PutMachine(Box::new(machine)))
    }

    async fn seen(&self, mut boot: Boot) -> Result<(), AgentError> {
        let now = self.now();
        // To the second: an agent that asks often shall not write as often.
        if boot
            .seen_at
            .is_none_or(|at| now.duration_since(at) >= jiff::SignedDuration::from_secs(2))
        {
            boot.seen_at = Some(now);
            self.store
                .commit(Batch::new().with(Write::PutBoot(Box::new(boot))))
                .await?;
        }
        Ok(())
    }

    /// The task of an agent, with the secrets that are not stored.
    ///
    /// # Errors
    /// When its token is not good.
    pub async fn agent_task(&self, token: &str) -> Result<Option<Task>, AgentError> {
        let Known { boot, machine } = self.known(token).await?;
        self.seen(boot).await?;
        let Step::Working { task, .. } = machine.step else {
            return Ok(None);
        };
        let Some(mut record) = self.store.task(task).await? else {
            return Ok(None);
        };
        if record.outcome.is_some() {
            return Ok(None);
        }
        if record.taken_at.is_none() {
            record.taken_at = Some(self.now());
            let taken = Batch::new().with(Write::PutTask(Box::new(record.clone())));
            match self.store.commit(taken).await {
                // Its outcome came, or it was asked for twice: the agent asks again.
                Err(StoreError::Conflict { .. }) => return Ok(None),
                done => done?,
            }
        }
        let mut task = record.task;
        if let Work::Trial(order) = &mut task.work {
            order.token = Some(Handed(self.keys.boot_token(order.next)));
        }
        if let Work::Write(order) = &mut task.work
            && let Some(lease) = self.store.lease(order.lease).await?
            && let Some(image) = self.store.image(lease.image).await?
            && image.cloud_init
        {
            order.seed = Some(seed(&SeedFacts {
                lease: &lease,
                addresses: &machine.addresses,
                server: self.servers.first().map_or("", String::as_str),
                token: &self.keys.phone_token(&lease),
                authority: &self.authority,
                about: &self.about(&lease, &machine).await?,
            }));
        }
        Ok(Some(task))
    }

    /// May the agent write now?
    ///
    /// # Errors
    /// When its token is not good.
    pub async fn agent_confirm(&self, token: &str, task: TaskId) -> Result<Confirm, AgentError> {
        let mut tries = 0;
        loop {
            let Known { boot, machine } = self.known(token).await?;
            self.seen(boot).await?;
            let writes = match machine.step {
                Step::Working {
                    task: now, kind, ..
                } if now == task => kind.writes(),
                _ => return Ok(Confirm { current: false }),
            };
            let lease = match machine.lease {
                Some(id) if writes => self.store.lease(id).await?,
                _ => None,
            };
            let Some(mut lease) = lease.filter(|l| l.before_reinstall.is_some()) else {
                return Ok(Confirm { current: true });
            };
            // From the yes on nobody can say that the tenant's drives are as they
            // were: that is on record before it is given.
            lease.before_reinstall = None;
            let mut row = self.audit_row(
                &Actor::Agent {
                    machine: machine.id,
                },
                "lease.writing",
                serde_json::json!({ "task": task }),
            );
            (row.machine, row.lease, row.project) =
                (Some(machine.id), Some(lease.id), Some(lease.project));
            // With the machine, so that a step that gives up meanwhile counts, or this.
            let batch = Batch::new()
                .with(Write::PutMachine(Box::new(machine)))
                .with(Write::PutLease(Box::new(lease)))
                .audited(row);
            match self.commit(batch).await {
                Ok(()) => return Ok(Confirm { current: true }),
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How far the agent is.
    ///
    /// # Errors
    /// When its token is not good.
    pub async fn agent_progress(
        &self,
        token: &str,
        task: TaskId,
        progress: Progress,
    ) -> Result<Confirm, AgentError> {
        let mut tries = 0;
        loop {
            let Known { mut boot, machine } = self.known(token).await?;
            let current = matches!(machine.step, Step::Working { task: now, .. } if now == task);
            let now = self.now();
            boot.seen_at = Some(now);
            let mut batch = Batch::new().with(Write::PutBoot(Box::new(boot)));
            if current
                && let Some(mut record) = self.store.task(task).await?
                && record.outcome.is_none()
            {
                if record.progress.as_ref() != Some(&progress) {
                    record.progress_at = Some(now);
                }
                record.progress = Some(progress.clone());
                batch = batch.with(Write::PutTask(Box::new(record)));
                if let Some(id) = machine.operation
                    && let Some(mut operation) = self.store.operation(id).await?
                    && operation.ended_at.is_none()
                {
                    operation.progress = Some(progress.clone());
                    batch = batch.with(Write::PutOperation(Box::new(operation)));
                }
            }
            match self.commit(batch).await {
                Ok(()) => return Ok(Confirm { current }),
                // What came of it may have been told meanwhile: that stays.
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What came of a task. Told twice, it counts once.
    ///
    /// # Errors
    /// When the token is not good.
    pub async fn agent_outcome(
        &self,
        token: &str,
        task: TaskId,
        outcome: &WorkOutcome,
    ) -> Result<(), AgentError> {
        let mut tries = 0;
        loop {
            let Known { mut boot, machine } = match self.known(token).await {
                Err(AgentError::Unknown) if self.told_before(token, task, outcome).await? => {
                    return Ok(());
                }
                known => known?,
            };
            if !matches!(machine.step, Step::Working { task: now, .. } if now == task) {
                return Ok(());
            }
            let Some(mut record) = self.store.task(task).await? else {
                return Err(AgentError::NotYours);
            };
            if record.outcome.is_some() {
                return Ok(());
            }
            record.outcome = Some(outcome.clone());
            boot.seen_at = Some(self.now());
            let batch = self
                .waking(machine)
                .with(Write::PutBoot(Box::new(boot)))
                .with(Write::PutTask(Box::new(record)));
            match self.commit(batch).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether this boot may read this image: the one it is to write.
    ///
    /// # Errors
    /// When it may not.
    pub async fn agent_image(&self, token: &str, digest: &str) -> Result<(), AgentError> {
        let Known { machine, .. } = self.known(token).await?;
        let Step::Working { task, .. } = machine.step else {
            return Err(AgentError::NotYours);
        };
        let record = self.store.task(task).await?.ok_or(AgentError::NotYours)?;
        match record.task.work {
            Work::Write(order) if order.image == digest => Ok(()),
            Work::Measure(order) if order.image == digest => Ok(()),
            Work::Prepare(order) if order.image == digest => Ok(()),
            _ => Err(AgentError::NotYours),
        }
    }

    /// A tenant's machine says that its first boot is done. Once: a repeat,
    /// as of one whose answer was lost, is told the same and changes nothing.
    ///
    /// # Errors
    /// When the token is not that of a lease that waits for this.
    pub async fn phone_home(&self, token: &str, form: &PhoneHome) -> Result<MachineId, AgentError> {
        let id = keys::Keys::phone_names(token).ok_or(AgentError::Unknown)?;
        let mut tries = 0;
        loop {
            let mut lease = self.store.lease(id).await?.ok_or(AgentError::Unknown)?;
            let expected = self.keys.phone_token(&lease);
            if !keys::same(token, expected.expose()) {
                return Err(AgentError::Unknown);
            }
            match (lease.state, lease.active_because) {
                (LeaseState::Deploying | LeaseState::Reinstalling, None) => {}
                (
                    LeaseState::Deploying | LeaseState::Reinstalling | LeaseState::Active,
                    Some(ActiveBecause::PhonedHome),
                ) => return Ok(lease.machine),
                _ => return Err(AgentError::Unknown),
            }
            let machine = self
                .store
                .machine(lease.machine)
                .await?
                .ok_or(AgentError::Unknown)?;
            // It may be quicker than the BMC is to say that power is on.
            let booting = match machine.step {
                Step::FirstBoot { .. } | Step::DiskBoot { at: DiskStep::On } => true,
                // And a kernel that kexec starts quicker than the loop.
                Step::Working {
                    task,
                    kind: WorkKind::Start,
                    ..
                } => {
                    let outcome = self.store.task(task).await?.and_then(|t| t.outcome);
                    matches!(outcome, Some(WorkOutcome::Starting(_)))
                }
                _ => false,
            };
            if !booting || machine.lease != Some(lease.id) {
                return Err(AgentError::Unknown);
            }
            let id = machine.id;
            lease.active_because = Some(ActiveBecause::PhonedHome);
            lease.host_keys = form.host_keys();
            lease.file_systems.clone_from(&form.drives);
            let mut row = self.audit_row(
                &Actor::Machine { machine: id },
                "lease.phoned_home",
                serde_json::json!({ "host_keys": lease.host_keys.len() }),
            );
            (row.machine, row.lease, row.project) = (Some(id), Some(lease.id), Some(lease.project));
            let batch = self
                .waking(machine)
                .with(Write::PutLease(Box::new(lease)))
                .audited(row);
            match self.commit(batch).await {
                Ok(()) => return Ok(id),
                Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The boot whose medium an address is of, with its machine, while the
    /// machine is on its way to it.
    pub(crate) async fn medium(&self, token: &str) -> Result<(Boot, Machine), AgentError> {
        let id = self.keys.medium_of(token).ok_or(AgentError::Unknown)?;
        let record = self.store.boot(id).await?.ok_or(AgentError::Unknown)?;
        // In short: a BMC reads a medium in many pieces, and each comes here.
        let machine = self.store.machine_in_short(record.machine).await?;
        let machine = machine.ok_or(AgentError::Unknown)?;
        match machine.step {
            // Some BMCs read the medium while the machine boots from it.
            Step::Ramdisk { boot, .. }
            | Step::Working { boot, .. }
            | Step::Rescue { boot }
            | Step::Warming { boot, .. }
                if boot == id =>
            {
                Ok((record, machine))
            }
            // An installer's is served until it is done, and not to a later boot.
            Step::Install { at, boot } if boot == id && !is_done(at) => Ok((record, machine)),
            _ => Err(AgentError::Unknown),
        }
    }
}

/// What an agent says of itself, no longer than such a thing is.
fn in_short(text: &str) -> String {
    text.chars().take(128).collect()
}

/// Whether an installer has said that it is done.
fn is_done(at: InstallStep) -> bool {
    matches!(
        at,
        InstallStep::Eject | InstallStep::SetDisk | InstallStep::HandOver
    )
}
