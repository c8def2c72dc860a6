//! Which machines are to wait warm, from what the store has; and what a trial of
//! kexec needs.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use billet_model::{
    ImageId, MachineId, Name, Time, lifecycle::Lifecycle, machine::Machine, site::MachineType,
    step::Step, work::WorkKind,
};
use billet_plan::warm_choice::{WarmFacts, WarmImage, Wish, choose, most_asked};
use billet_store::{MachineFilter, StoreError};

use crate::{AgentError, Control, Core, agents::Known};

/// How many leases are looked at for the images that are asked for most.
const LEASES: usize = 100;
/// How many images are held where none is named.
const IMAGES: usize = 3;
/// How many machines of a type are chosen from.
const MACHINES: usize = 10_000;

type Choice = Arc<BTreeMap<MachineId, Wish>>;

/// What was chosen a moment ago, by type: many machines ask at once.
#[derive(Debug, Default)]
pub struct WarmChoices {
    by_type: Mutex<HashMap<Name, (Time, Choice)>>,
    /// How often machines of a type were woken.
    woken: AtomicU64,
}

impl WarmChoices {
    /// How often machines of a type were woken: while it is the same, none was.
    pub(crate) fn woken(&self) -> u64 {
        self.woken.load(Ordering::SeqCst)
    }

    fn of(&self, machine_type: &Name, since: Time) -> Option<Choice> {
        let known = self.by_type.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, choice) = known.get(machine_type)?;
        (*at > since).then(|| choice.clone())
    }

    fn keep(&self, machine_type: &Name, at: Time, choice: Choice) {
        let mut known = self.by_type.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(machine_type.clone(), (at, choice));
    }
}

/// Whether a machine's step depends on whether it is to wait warm.
fn asks(machine: &Machine) -> bool {
    let free = matches!(machine.lifecycle, Lifecycle::Available | Lifecycle::Testing);
    let at = match &machine.step {
        Step::Rest => machine.pending.is_none(),
        Step::Warm { .. } | Step::Warming { .. } => true,
        Step::Ramdisk { then, .. } => matches!(then, WorkKind::Prepare | WorkKind::Trial),
        Step::Working { kind, .. } => {
            matches!(kind, WorkKind::Prepare | WorkKind::Trial | WorkKind::Test)
        }
        _ => false,
    };
    free && at && !machine.unconfirmed
}

impl Core {
    /// Whether the machine is to wait warm, where its step asks.
    pub(crate) async fn wish(&self, machine: &Machine) -> Result<Option<Wish>, StoreError> {
        if !asks(machine) {
            return Ok(None);
        }
        let of = &machine.machine_type;
        let Some(machine_type) = self.store.machine_type_by_name(of).await? else {
            return Ok(None);
        };
        if machine_type.warm.count == 0 && machine.step == Step::Rest {
            return Ok(None);
        }
        let now = self.now();
        let fresh = self.warm.of(of, now - self.policy.power_poll);
        if let Some(wish) = fresh.and_then(|choice| choice.get(&machine.id).cloned()) {
            return Ok(Some(wish));
        }
        let choice = Arc::new(self.choose(&machine_type).await?);
        let wish = choice.get(&machine.id).cloned();
        self.warm.keep(of, now, choice);
        Ok(wish)
    }

    async fn choose(
        &self,
        machine_type: &MachineType,
    ) -> Result<BTreeMap<MachineId, Wish>, StoreError> {
        let mut machines = Vec::new();
        for lifecycle in [Lifecycle::Available, Lifecycle::Testing] {
            let filter = MachineFilter {
                machine_type: Some(machine_type.name.clone()),
                lifecycle: Some(lifecycle),
                ..MachineFilter::default()
            };
            machines.extend(self.store.machines(&filter, None, MACHINES).await?);
        }
        let images = if machine_type.warm.count == 0 {
            Vec::new()
        } else {
            self.warm_images(machine_type).await?
        };
        let facts = WarmFacts {
            now: self.now(),
            again: self.policy.warm_again,
            policy: &machine_type.warm,
            ramdisk: self.ramdisk.as_deref(),
            images: &images,
        };
        Ok(choose(facts, &machines))
    }

    /// The images that machines of a type are to hold, the most wanted first.
    async fn warm_images(&self, machine_type: &MachineType) -> Result<Vec<WarmImage>, StoreError> {
        let mut found = Vec::new();
        for name in &machine_type.warm.images {
            // The operator's own: no project's image stands on a machine that it
            // has not leased.
            let image = self.store.image_by_name(None, name).await?;
            found.extend(image.as_ref().and_then(WarmImage::of));
        }
        if !machine_type.warm.images.is_empty() {
            return Ok(found);
        }
        let asked = self.store.images_asked(&machine_type.name, LEASES).await?;
        let mut images = BTreeMap::<ImageId, _>::new();
        for id in &asked {
            if !images.contains_key(id)
                && let Some(image) = self.store.image(*id).await?
            {
                images.insert(*id, image);
            }
        }
        Ok(most_asked(asked, images.values(), IMAGES))
    }

    /// Has the loop look at the available machines of a type now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wake_type(&self, machine_type: &Name) -> Result<(), StoreError> {
        self.warm.keep(machine_type, Time::MIN, Choice::default());
        self.store.wake_available(machine_type, self.now()).await?;
        // Those at work just now may have looked before, and put their own time in its place.
        self.warm.woken.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
        Ok(())
    }
}

impl Control {
    /// The ramdisk that machines boot, for an agent that is to try kexec with it:
    /// the file, and its digest.
    ///
    /// # Errors
    /// When the token is not good, or nothing is to be tried.
    pub async fn agent_ramdisk(&self, token: &str) -> Result<(PathBuf, String), AgentError> {
        let Known { machine, .. } = self.known(token).await?;
        let tries = matches!(
            machine.step,
            Step::Working {
                kind: WorkKind::Trial,
                ..
            }
        );
        let digest = self.ramdisk.clone().filter(|_| tries);
        let digest = digest.ok_or(AgentError::NotYours)?;
        Ok((self.ramdisk_file(), digest))
    }
}
