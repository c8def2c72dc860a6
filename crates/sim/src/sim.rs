//! The simulator: everything that there is, and the loop over what happens.

use std::{collections::BTreeMap, sync::Arc};

use billet_control::{Core, OnRecord, keys::Keys};
use billet_evidence::{Keyring, SiteKey};
use billet_model::{
    EventId, LeaseId, MachineId, Name, Time,
    bmc::PowerAction,
    image::{BootKind, Image, ImageContent, ImageKind, ImageState, InstallConfig, InstallPart},
    lease::Lease,
    machine::Machine,
    people::{Actor, Organisation, Project},
    site::{ExpectedParts, MachineType, Site},
    warm::WarmPolicy,
};
use billet_plan::Policy;
use billet_store::{Batch, Store, StoreError, StoreUrl, Write};
use jiff::SignedDuration;

use crate::{
    block::block_on,
    bmc::Weather,
    check::{self, Checker, Findings, Seen},
    clock::SimWorld,
    dice::Dice,
    event::Event,
    finding::{Finding, Violation},
    history::History,
    metal::Metal,
    mutants::Mutant,
    queue::Queue,
};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// The seed: the same gives the same history.
    pub seed: u64,
    /// How many machines.
    pub machines: usize,
    /// Virtual hours with faults, before the quiet ones.
    pub hours: u32,
    /// Keep the whole history, not only its end.
    pub trace: bool,
    /// Stop at the first finding.
    pub hasty: bool,
    /// A planted bug.
    pub mutant: Option<&'static Mutant>,
    /// How many of the machines are ever taken over; the others stay enrolled.
    pub taken: usize,
}

impl Options {
    /// The usual for a seed.
    pub fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            machines: 8,
            hours: 3,
            trace: false,
            hasty: false,
            mutant: None,
            taken: usize::MAX,
        }
    }
}

/// What a simulation gave.
#[derive(Debug)]
pub struct Outcome {
    /// SHA-256 of the history.
    pub hash: String,
    /// The history, or its last lines.
    pub lines: Vec<String>,
    /// How many events there were.
    pub events: u64,
    /// How many calls into the core.
    pub calls: u64,
    /// How often what happened, by a word: to see that a simulation is worth something.
    pub counts: BTreeMap<&'static str, u64>,
    /// What must not be and was.
    pub findings: Vec<Finding>,
}

/// Why a simulation could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The runtime.
    #[error("starting a runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// The store.
    #[error("the simulator's own reading of the store: {0}")]
    Store(#[from] StoreError),
    /// A name of the simulator's own making.
    #[error(transparent)]
    Name(#[from] billet_model::name::InvalidName),
    /// A time beyond the calendar.
    #[error(transparent)]
    Time(#[from] jiff::Error),
}

/// A machine: what it is, what is around it and what is known of it.
pub(crate) struct One {
    pub metal: Metal,
    pub weather: Weather,
    pub id: Option<MachineId>,
    /// As last read from the store.
    pub stored: Option<Machine>,
    pub lease: Option<Lease>,
    /// The control plane works on it, and waits for something.
    pub busy: bool,
    /// What the step before left of it, while it is busy.
    pub known: Option<Box<OnRecord>>,
    /// Something rang meanwhile.
    pub rang: bool,
    pub work_at: Option<Time>,
    /// Steps without a pause.
    pub steps: u32,
    /// Changes of power that its tenant or operator asked for and that were not sent yet.
    pub asked: Vec<(Option<LeaseId>, PowerAction)>,
    pub lied_at: Option<Time>,
    pub repairs: u32,
}

pub(crate) struct Sim {
    pub options: Options,
    pub dice: Dice,
    pub now: Time,
    pub start: Time,
    pub quiet: bool,
    pub queue: Queue<Event>,
    pub history: History,
    pub findings: Vec<Finding>,
    pub checkers: Vec<Box<dyn Checker>>,
    pub core: Arc<Core>,
    pub world: Arc<SimWorld>,
    pub machines: Vec<One>,
    pub by_id: BTreeMap<MachineId, usize>,
    pub up: bool,
    /// Which run of the control plane's process.
    pub run: u64,
    pub projects: Vec<Project>,
    pub audited: Option<EventId>,
    pub names: u32,
    pub events: u64,
    pub calls: u64,
    pub counts: BTreeMap<&'static str, u64>,
    pub over: bool,
}

/// The hours of quiet at the end.
const QUIET: SignedDuration = SignedDuration::from_hours(6);

/// Durations for the simulation: as long as in earnest where they matter to
/// safety, and with fewer looks at machines at rest.
pub fn policy() -> Policy {
    let s = SignedDuration::from_secs;
    Policy {
        power_poll: s(4),
        boot_deadline: s(600),
        work_stall: s(600),
        first_boot_deadline: s(900),
        look: s(1800),
        kexec_deadline: s(600),
        trial_deadline: s(200),
        warm_again: s(900),
        warm_refresh: SignedDuration::from_hours(8),
        probe: s(20),
        backoff: s(4),
        canaries: 2,
        samples: 4,
        ..Policy::default()
    }
}

/// The first project's own image, by name: its digest ends with it.
pub(crate) const OWN: &str = "own";

/// Carries out a simulation.
///
/// # Errors
/// When it cannot be carried out at all. What it finds is no error.
pub fn run(options: &Options) -> Result<Outcome, SimError> {
    // A call that comes between two steps of another is polled within it, and unoptimised a
    // frame that polls any call has half a MiB: two of them are more than a test's thread has.
    std::thread::scope(|scope| {
        let history = std::thread::Builder::new()
            .name(format!("seed {}", options.seed))
            .stack_size(16 << 20)
            .spawn_scoped(scope, || history(options))?;
        history
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn history(options: &Options) -> Result<Outcome, SimError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let store = runtime.block_on(Store::open(&StoreUrl::SqliteInMemory))?;
    // The store's own pauses want a runtime at hand; nothing is run by it.
    let _within = runtime.enter();
    let mut sim = Sim::new(options.clone(), store)?;
    while !(sim.over || sim.options.hasty && !sim.findings.is_empty())
        && let Some((at, event)) = sim.queue.pop()
    {
        sim.now = sim.now.max(at);
        sim.world.set(sim.now);
        sim.events += 1;
        sim.happens(event)?;
    }
    let core = sim.core.clone();
    let outcome = sim.finish();
    block_on(core.store.close());
    Ok(outcome)
}

impl Sim {
    fn new(options: Options, store: Store) -> Result<Self, SimError> {
        let start: Time = "2026-01-01T00:00:00Z".parse()?;
        let world = Arc::new(SimWorld::new(options.seed, start));
        let mut key = [0; 32];
        key[..8].copy_from_slice(&options.seed.to_be_bytes());
        let mut ring = Keyring::default();
        ring.rotate(SiteKey::from_seed(&key).public().clone(), start);
        let mut policy = policy();
        // Many machines at rest are looked at less often, for time's sake.
        policy.look *= 1 + i32::try_from(options.machines / 100).unwrap_or(0);
        let core = Arc::new(Core {
            store,
            policy: policy.clone(),
            world: world.clone(),
            keys: Keys::of_seed(key, start),
            decide: options.mutant.map_or(billet_plan::next_step, |m| m.decide),
            servers: vec!["https://10.0.0.1".into()],
            authority: "authority".into(),
            ramdisk: Some("sha256:ramdisk".into()),
            warm: billet_control::WarmChoices::default(),
            changed: tokio::sync::Notify::new(),
            followers: Default::default(),
            turned_away: Default::default(),
        });
        let mut dice = Dice::new(options.seed);
        let machines: Vec<One> = (0..options.machines)
            .map(|i| One::new(i, &mut dice))
            .collect();
        let checkers = check::all(options.machines, ring.trusted(), &policy);
        let mut sim = Self {
            history: History::new(start, options.trace),
            dice,
            now: start,
            start,
            quiet: false,
            queue: Queue::new(),
            findings: Vec::new(),
            checkers,
            core,
            world,
            machines,
            by_id: BTreeMap::new(),
            up: true,
            run: 1,
            projects: Vec::new(),
            audited: None,
            names: 0,
            events: 0,
            calls: 0,
            counts: BTreeMap::new(),
            over: false,
            options,
        };
        sim.furnish()?;
        sim.begin();
        Ok(sim)
    }

    /// The things that are there before any machine.
    fn furnish(&mut self) -> Result<(), SimError> {
        let core = self.core.clone();
        let organisation = Organisation {
            id: core.new_id(),
            name: "org".parse()?,
            created_at: self.now,
        };
        for name in ["red", "green", "blue"] {
            self.projects.push(Project {
                id: core.new_id(),
                name: name.parse()?,
                organisation: organisation.id,
                created_at: self.now,
            });
        }
        let mut batch = Batch::new()
            .audited(core.audit_row(&Actor::Billet, "simulation.start", serde_json::json!({})))
            .with(Write::PutOrganisation(organisation))
            .with(Write::PutSite(Site {
                id: core.new_id(),
                name: "here".parse()?,
                jurisdiction: "DE".into(),
                created_at: self.now,
            }))
            .with(Write::PutMachineType(MachineType {
                id: core.new_id(),
                name: "plain.1x".parse()?,
                description: String::new(),
                expected: ExpectedParts::default(),
                warm: WarmPolicy {
                    count: u32::try_from(self.options.machines / 4).unwrap_or(u32::MAX),
                    ..WarmPolicy::default()
                },
                created_at: self.now,
            }));
        for project in &self.projects {
            batch = batch.with(Write::PutProject(project.clone()));
        }
        let own = self.projects.first().map(|p| p.id);
        for (name, project, cloud_init) in [
            ("debian", None, true),
            ("bare", None, false),
            (OWN, own, true),
        ] {
            let name: Name = name.parse()?;
            batch = batch.with(Write::PutImage(Box::new(Image {
                id: core.new_id(),
                name: name.clone(),
                project,
                description: String::new(),
                origin: "upload".into(),
                checksum: None,
                state: ImageState::Available,
                reason: None,
                content: Some(ImageContent {
                    digest: format!("sha256:{name}"),
                    virtual_bytes: 1 << 20,
                    data_bytes: 1 << 19,
                    stored_bytes: 1 << 18,
                    boot: BootKind::Bls,
                    root_partition: Some(1),
                    storage: billet_model::image::ImageStorage {
                        mirror: Some(true),
                        ..Default::default()
                    },
                }),
                cloud_init,
                kind: ImageKind::Disk,
                install: None,
                root_mirror: false,
                created_at: self.now,
            })));
        }
        batch = batch.with(Write::PutImage(Box::new(self.installer()?)));
        block_on(core.store.commit(batch))?;
        Ok(())
    }

    /// An install configuration.
    fn installer(&self) -> Result<Image, SimError> {
        let part = |name: &str| InstallPart {
            name: name.into(),
            origin: "upload".into(),
            checksum: None,
            sha256: Some(format!("{name} of the installer")),
            bytes: 1 << 20,
        };
        Ok(Image {
            id: self.core.new_id(),
            name: "installer".parse()?,
            project: None,
            description: String::new(),
            kind: ImageKind::Kernel,
            origin: "upload".into(),
            checksum: None,
            state: ImageState::Available,
            reason: None,
            content: None,
            install: Some(InstallConfig {
                parts: vec![part("kernel"), part("initrd-1")],
                command_line: Some("done=${billet-url}/installed".into()),
                seconds: 3600,
                digest: Some("installer".into()),
            }),
            cloud_init: false,
            root_mirror: false,
            created_at: self.now,
        })
    }

    /// What sets everything going.
    fn begin(&mut self) {
        for m in 0..self.machines.len() {
            let at = self.now + self.dice.seconds(1, 600);
            self.queue.put(at, Event::Operator { m });
            let at = self.now + self.dice.seconds(60, 3600);
            self.queue.put(at, Event::Weather { m });
        }
        let hours = SignedDuration::from_hours(i64::from(self.options.hours));
        self.queue
            .put(self.now + SignedDuration::from_mins(20), Event::Tenants);
        self.queue
            .put(self.now + SignedDuration::from_mins(15), Event::Audit);
        let at = self.now + self.dice.seconds(300, 3000);
        self.queue.put(at, Event::Crash);
        self.queue.put(self.now + hours, Event::Quiet);
        self.queue.put(self.now + hours + QUIET, Event::End);
    }

    pub fn after(&mut self, pause: SignedDuration, event: Event) {
        self.queue.put(self.now + pause, event);
    }

    /// Something for the history.
    pub fn note(&mut self, m: impl Into<Option<usize>>, text: impl AsRef<str>) {
        self.history.add(self.now, m.into(), text.as_ref());
    }

    pub fn count(&mut self, word: &'static str) {
        *self.counts.entry(word).or_default() += 1;
    }

    pub fn find(&mut self, m: impl Into<Option<usize>>, what: Violation) {
        let machine = m.into();
        self.note(machine, format!("FOUND {what}"));
        self.findings.push(Finding {
            at: self.now,
            machine,
            what,
        });
    }

    /// Shows the checkers something.
    pub fn see(&mut self, m: usize, seen: &Seen<'_>) {
        show(&mut self.checkers, &mut self.findings, self.now, m, seen);
    }

    fn happens(&mut self, event: Event) -> Result<(), SimError> {
        match event {
            Event::Work { m, run } => self.work(m, run)?,
            Event::Reply {
                m,
                run,
                number,
                request,
                reply,
            } => {
                self.reply(m, run, number, &request, reply)?;
            }
            Event::Probed { m, run } => self.probed(m, run)?,
            Event::Carry {
                m,
                request,
                word,
                answer,
            } => self.carry(m, &request, word, answer),
            Event::PowerTo { m, on } => self.power_to(m, on),
            Event::Firmware { m, life } => self.firmware(m, life),
            Event::RamdiskUp { m, life } => self.ramdisk_up(m, life),
            Event::SystemUp { m, life } => self.system_up(m, life),
            Event::InstallerUp { m, life } => self.installer_up(m, life),
            Event::Installs { m, life } => self.installs(m, life),
            Event::Report { m, life, tries } => self.report(m, life, tries)?,
            Event::Restarts { m, life } => self.restarts(m, life),
            Event::Agent { m, life, call } => self.agent(m, life, call),
            Event::Arrive {
                m,
                life,
                number,
                call,
                heard,
            } => {
                self.arrive(m, life, number, call, heard)?;
            }
            Event::Unanswered { m, life, number } => self.unanswered(m, life, number),
            Event::Phone { m, life, tries } => self.phone(m, life, tries)?,
            Event::Use { m, life } => self.used(m, life),
            Event::Operator { m } => self.operator(m)?,
            Event::Tenants => self.tenants()?,
            Event::Weather { m } => self.weather(m),
            Event::Crash => {
                if !self.quiet {
                    self.crash("killed");
                    let again = self.dice.seconds(600, 5400);
                    self.after(again, Event::Crash);
                }
            }
            Event::Start => self.start_plane()?,
            Event::Audit => self.audit()?,
            Event::Quiet => self.quieten()?,
            Event::End => {
                self.audit()?;
                self.at_the_end()?;
                self.over = true;
            }
        }
        Ok(())
    }

    fn finish(self) -> Outcome {
        let (hash, lines) = self.history.finish();
        Outcome {
            hash,
            lines,
            events: self.events,
            calls: self.calls,
            counts: self.counts,
            findings: self.findings,
        }
    }
}

/// Shows the checkers something, when parts of the simulator are lent out.
pub(crate) fn show(
    checkers: &mut [Box<dyn Checker>],
    findings: &mut Vec<Finding>,
    now: Time,
    m: usize,
    seen: &Seen<'_>,
) {
    for checker in checkers {
        checker.see(
            m,
            seen,
            &mut Findings {
                now,
                machine: Some(m),
                into: findings,
            },
        );
    }
}

impl One {
    fn new(index: usize, dice: &mut Dice) -> Self {
        Self {
            metal: Metal::new(index, dice, 60),
            weather: Weather::default(),
            id: None,
            stored: None,
            lease: None,
            busy: false,
            known: None,
            rang: false,
            work_at: None,
            steps: 0,
            asked: Vec::new(),
            lied_at: None,
            repairs: 0,
        }
    }
}
