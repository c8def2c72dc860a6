//! One machine's step, whole: read, decide, commit. The effect is the caller's.

use std::{pin::Pin, sync::Arc};

use billet_evidence::{Envelope, erase};
use billet_model::{
    EventId, EvidenceId, MachineId, Time,
    bmc::BmcReply,
    event::AuditRow,
    evidence::{ERASE_PREDICATE, EraseCertificate, Evidence},
    machine::Machine,
    people::Actor,
    step::Step,
};
use billet_plan::{Decision, Effect, Facts, Fresh, Policy};
use billet_store::{Batch, EngineKind, Store, StoreError, Write};

use crate::{
    World,
    facts::Gathered,
    keys::Keys,
    operations::{self, Followers},
    turned_away::TurnedAway,
    warm::WarmChoices,
    world::NewId,
};

/// The control plane but for time, chance and the outside.
pub struct Core {
    /// Where everything is kept.
    pub store: Store,
    /// How long things may take.
    pub policy: Policy,
    /// Time and chance.
    pub world: Arc<dyn World>,
    /// Keys.
    pub keys: Keys,
    /// The decision: [`billet_plan::next_step`], or a mutant in the simulator.
    pub decide: fn(&Facts<'_>) -> Decision,
    /// Where machines reach the control plane: base URLs, the first for phoning home.
    pub servers: Vec<String>,
    /// The control plane's authority, PEM.
    pub authority: String,
    /// The digest of the ramdisk that machines boot; `None` where there is none.
    pub ramdisk: Option<String>,
    /// Which machines wait warm, as chosen a moment ago.
    pub warm: WarmChoices,
    /// Rung at every commit: there may be something to do.
    pub changed: tokio::sync::Notify,
    /// Who waits for an operation to change.
    pub followers: Followers,
    /// Agents that were turned away, each recorded once.
    pub turned_away: TurnedAway,
}

/// What is new for a machine.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// What came of a request, by its number.
    pub reply: Option<(u64, BmcReply)>,
    /// Whoever sent the pending request is gone.
    pub orphaned: bool,
    /// Whether the tenant's port answered.
    pub probed: Option<bool>,
}

/// A machine as it last was on record, with a question to its BMC that is under way: for
/// the step that comes next, and read again only where somebody else changed it since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnRecord {
    machine: Box<Machine>,
    /// With what was found in it.
    whole: bool,
}

impl OnRecord {
    /// The machine; what was found in it may be left out.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

/// A step that was taken and committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// What to do now.
    pub effect: Option<Effect>,
    /// When to look again, if nothing comes before.
    pub wake_at: Time,
    /// The step is on record; whether anything changed.
    pub changed: bool,
    /// The machine as it is on record now.
    pub known: OnRecord,
}

/// How often a step is decided again when someone else's change came between.
const TRIES: u32 = 16;

impl Core {
    /// Takes a machine one step on; `None` when there is no such machine. `known` is what
    /// the step before left; it is an error of nobody's if it is not true any more.
    ///
    /// # Errors
    /// When the store fails. Nothing was changed then, as far as is known.
    pub async fn step(
        &self,
        machine: MachineId,
        mut known: Option<OnRecord>,
        input: &Input,
    ) -> Result<Option<Stepped>, StoreError> {
        let mut tries = 0;
        loop {
            let known_before = known.is_some();
            let Some(OnRecord { machine, whole }) = self.on_record(machine, known.take()).await?
            else {
                return Ok(None);
            };
            let gathered = Gathered::read(self, *machine).await?;
            let facts = gathered.facts(&self.policy, self.now(), input, self.fresh());
            let mut decision = (self.decide)(&facts);
            if begins(&gathered.machine, &decision) {
                self.tell_of_networks(&mut decision.machine).await?;
            }
            let effect = decision.effect.clone();
            let mut machine = decision.machine.clone();
            // Of several control planes two might give the same number to two requests, of
            // which one is on no record, and take the answer to one for the other's.
            let alone = self.store.engine() == EngineKind::Sqlite;
            if alone && only_asks(&gathered.machine, &decision) {
                return Ok(Some(Stepped {
                    effect,
                    wake_at: machine.wake_at,
                    changed: false,
                    known: OnRecord {
                        machine: Box::new(machine),
                        whole,
                    },
                }));
            }
            let lasting = effect.is_some() || gathered.machine.step != machine.step;
            let mut batch = self.batch(&gathered.machine, decision, &Actor::Billet)?;
            batch.readings_only = !lasting && batch.is_machine_only();
            let changed = !batch.is_empty();
            if !changed && known_before {
                // No commit says whether it is true still.
                continue;
            }
            if machine != gathered.machine {
                machine.version += 1;
            }
            match self.commit(batch).await {
                Ok(()) => {
                    return Ok(Some(Stepped {
                        effect,
                        wake_at: machine.wake_at,
                        changed,
                        known: OnRecord {
                            machine: Box::new(machine),
                            whole,
                        },
                    }));
                }
                Err(StoreError::Conflict { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// A machine with as much of it as its next step looks at.
    async fn on_record(
        &self,
        id: MachineId,
        known: Option<OnRecord>,
    ) -> Result<Option<OnRecord>, StoreError> {
        let machine = match known {
            Some(known) if known.whole => return Ok(Some(known)),
            Some(known) => Some(*known.machine),
            None => self.store.machine_in_short(id).await?,
        };
        let (machine, whole) = match machine {
            Some(machine) if billet_plan::looks_inside(&machine) => {
                (self.store.machine(id).await?, true)
            }
            short => (short, false),
        };
        Ok(machine.map(|machine| OnRecord {
            machine: Box::new(machine),
            whole,
        }))
    }

    /// Tells a machine what its networks are now. Boxed, because it is seldom done, and
    /// what a step may need is on the stack of every step.
    pub(crate) fn tell_of_networks<'a>(
        &'a self,
        machine: &'a mut Machine,
    ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>> {
        Box::pin(async move {
            for address in &mut machine.addresses {
                if let Some(network) = self.store.network(address.network).await? {
                    *address = network.address(address.ip, address.mac.take());
                }
            }
            Ok(())
        })
    }

    /// What a decision writes, in the order that the store wants.
    pub(crate) fn batch(
        &self,
        before: &Machine,
        decision: Decision,
        actor: &Actor,
    ) -> Result<Batch, StoreError> {
        let mut batch = Batch::new();
        let machine = &decision.machine;
        let lease = decision.lease.as_ref();
        let lease_id = before.lease.or(machine.lease).or(lease.map(|l| l.id));
        let mut project = lease.map(|l| l.project);
        for operation in &decision.operations {
            project = project.or(operation.project);
        }
        for note in &decision.audit {
            batch = batch.audited(AuditRow {
                id: self.new_id(),
                at: self.now(),
                actor: actor.clone(),
                action: note.action.to_owned(),
                machine: Some(machine.id),
                lease: lease_id,
                image: None,
                project,
                detail: note.detail.clone(),
            });
        }
        if machine != before {
            batch = batch.with(put(before, machine.clone()));
        }
        if let Some(lease) = decision.lease {
            batch = batch.with(Write::PutLease(Box::new(lease)));
        }
        for operation in decision.operations {
            batch = batch.with(Write::PutOperation(Box::new(operation)));
        }
        if let Some(boot) = decision.boot {
            batch = batch.with(Write::PutBoot(Box::new(boot)));
        }
        if let Some(task) = decision.task {
            batch = batch.with(Write::PutTask(Box::new(task)));
        }
        if let Some(password) = decision.password {
            for write in self.password_writes(before.id, password) {
                batch = batch.with(write);
            }
        }
        if let Some((id, certificate)) = decision.certificate {
            let evidence = self.sign(id, certificate)?;
            batch = batch.with(Write::PutEvidence(Box::new(evidence)));
        }
        if let Some(lease) = before.lease
            && decision.machine.lease.is_none()
        {
            batch = batch.with(Write::Unhold {
                lease,
                machine: before.id,
            });
        }
        Ok(batch)
    }

    fn sign(&self, id: EvidenceId, certificate: EraseCertificate) -> Result<Evidence, StoreError> {
        let corrupt = |why: String| StoreError::Corrupt {
            what: "an erase certificate",
            why,
        };
        let (machine, lease, project) = (
            certificate.machine.id,
            certificate.lease,
            certificate.project,
        );
        let statement = erase::erase_statement(certificate).map_err(|e| corrupt(e.to_string()))?;
        let bytes = billet_evidence::sign_statement(&statement, self.keys.evidence())
            .map_err(|e| corrupt(e.to_string()))?;
        let envelope = Envelope::parse(&bytes).map_err(|e| corrupt(e.to_string()))?;
        Ok(Evidence {
            id,
            kind: ERASE_PREDICATE.to_owned(),
            machine,
            lease,
            project,
            created_at: self.now(),
            envelope: serde_json::to_value(&envelope).map_err(|e| corrupt(e.to_string()))?,
        })
    }

    /// Commits, unless there is nothing to commit.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        // What was read of a machine gives nobody else anything to do.
        let rings = !batch.readings_only;
        let operations = operations::written(&batch);
        self.store.commit(batch).await?;
        self.followers.ring(&operations);
        if rings {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.world.now()
    }

    /// A new id of any kind.
    pub fn new_id<T: NewId>(&self) -> T {
        let mut random = [0; 10];
        self.world.fill(&mut random);
        T::from_parts(
            u64::try_from(self.now().as_millisecond()).unwrap_or(0),
            random,
        )
    }

    pub(crate) fn fresh(&self) -> Fresh {
        Fresh {
            boot: self.new_id(),
            task: self.new_id(),
            evidence: self.new_id(),
            operation: self.new_id(),
        }
    }

    /// An audit row of now.
    pub fn audit_row(&self, actor: &Actor, action: &str, detail: serde_json::Value) -> AuditRow {
        AuditRow {
            id: self.new_id::<EventId>(),
            at: self.now(),
            actor: actor.clone(),
            action: action.to_owned(),
            machine: None,
            lease: None,
            image: None,
            project: None,
            detail,
        }
    }
}

/// Whether a boot or a lease begins with a decision: there a machine is told what its
/// networks are. It keeps that until the next, so that a medium that is being read does not
/// change.
pub(crate) fn begins(before: &Machine, decision: &Decision) -> bool {
    let after = decision.machine.lease;
    decision.boot.is_some() || (after.is_some() && after != before.lease)
}

/// Whether a decision only asks the BMC of a machine at rest what it can be asked again:
/// that need not be on record before the answer is. The record is as it was until then,
/// and whoever changes it meanwhile makes the answer one to nobody's question.
fn only_asks(before: &Machine, decision: &Decision) -> bool {
    let Some(Effect::Ask(pending)) = &decision.effect else {
        return false;
    };
    let rests = before.step == Step::Rest && before.pending.is_none();
    if pending.request.is_change() || !rests || !decision.is_of_machine_only() {
        return false;
    }
    let machine = &decision.machine;
    let mut asking = before.clone();
    asking.pending.clone_from(&machine.pending);
    asking.requests = machine.requests;
    asking.notes.asked_at = machine.notes.asked_at;
    asking.wake_at = machine.wake_at;
    asking == *machine
}

/// Puts a machine in place of what it was; what was found in it only where that changed.
pub(crate) fn put(before: &Machine, mut after: Machine) -> Write {
    if after.inventory == before.inventory {
        after.inventory = None;
    }
    if after.firmware == before.firmware {
        after.firmware = None;
    }
    Write::PutMachine(Box::new(after))
}
