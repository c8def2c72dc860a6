//! A world of one machine, where what is asked is done at once.

use std::collections::BTreeMap;

use billet_model::{
    BootId, EvidenceId, ImageId, LeaseId, MachineId, NetworkId, OperationId, ProjectId, SiteId,
    TaskId, Time,
    bmc::{
        BmcAccount, BmcEndpoint, BmcFact, BmcFailure, BmcReply, BmcRequest, FirmwareSettings,
        PasswordThatWorks, PowerAction, Restore,
    },
    evidence::EraseCertificate,
    image::{BootKind, Image, ImageContent, ImageState},
    inventory::{Drive, Emulation, Inventory, Nic},
    layout::DriveLayout,
    lease::{ActiveBecause, Install, Lease, LeaseMode, LeaseSpec, LeaseState},
    lifecycle::{Health, Lifecycle, Power},
    machine::Machine,
    measure::{ChunkCount, Measured},
    operation::Operation,
    site::Address,
    step::{Boot, BootOf, InstallStep, Step, StepNotes, TaskRecord},
    storage::RootDrive,
    warm::Way,
    work::{
        Canary, DriveErase, DriveVerify, EraseMethod, StartReport, TestResult, TpmClear, Verdict,
        Work, WorkFailure, WorkKind, WorkOutcome, WriteReport,
    },
};
use billet_plan::{
    Decision, Effect, Facts, Fresh, PasswordWrite, Policy, looks_inside, next_step, requests,
    warm_choice::Wish,
};
use jiff::SignedDuration;

/// A world of one machine, where what is asked is done.
pub struct World {
    pub now: Time,
    pub counter: u64,
    pub policy: Policy,
    pub machine: Machine,
    pub lease: Option<Lease>,
    pub image: Image,
    pub operations: BTreeMap<OperationId, Operation>,
    pub boots: BTreeMap<BootId, Boot>,
    /// Whether the machine is wanted warm.
    pub wish: Option<Wish>,
    /// The digest of the ramdisk that machines boot.
    pub ramdisk: String,
    /// Kexec starts nothing here, and nobody says so.
    pub kexec_hangs: bool,
    /// What is on the drive does not boot.
    pub dead_image: bool,
    /// How often the tenant's system began, and whether power was on all the time.
    pub starts: Vec<Way>,
    pub task: Option<TaskRecord>,
    pub power: Power,
    pub medium: Option<BootId>,
    pub cd_next: bool,
    pub certificates: Vec<EraseCertificate>,
    /// What went on record: what was done, and its detail in JSON.
    pub audit: Vec<String>,
    /// Canaries that the agent plants, if fewer than ordered.
    pub canaries: Option<u32>,
    /// Blocks that the agent samples, if fewer than ordered.
    pub samples: Option<u32>,
    pub requests: Vec<BmcRequest>,
    /// What is set in its BMC and firmware.
    pub settings: FirmwareSettings,
    /// Its BMC does not delete accounts, and says that it did.
    pub stubborn: bool,
    /// What its BMC lists, where that is not what is in it.
    pub listed: Option<Inventory>,
    /// What was written of passwords.
    pub passwords: Vec<PasswordWrite>,
    pub lifecycles: Vec<Lifecycle>,
    /// Work that was done.
    pub works: Vec<Work>,
    /// Which drive a lease wants its root on.
    pub root_drive: RootDrive,
    pub layout: DriveLayout,
    /// Work that fails, once.
    pub fails: Option<WorkKind>,
    /// A drive that is not erased any more, by its serial.
    pub dead: Option<String>,
    /// It fails before it was asked whether a drive may be written.
    pub untouched: bool,
    /// Why leases go the cold way.
    pub cold: Option<String>,
    /// What leases are installed by, where it is no image.
    pub install: Option<Install>,
    /// Its BMC keeps media while the machine is on.
    pub clings: bool,
    /// How often the installer ran.
    pub installs: u32,
}

fn settings() -> FirmwareSettings {
    FirmwareSettings {
        bios: [("A".to_owned(), "1".to_owned())].into(),
        boot_order: vec!["disk".into(), "net".into()],
        versions: [("BIOS".to_owned(), "1".to_owned())].into(),
        secure_boot: Some(false),
        accounts: Some(vec![account("1", "u")]),
        ..FirmwareSettings::default()
    }
}

pub fn account(id: &str, user: &str) -> BmcAccount {
    BmcAccount {
        id: id.into(),
        user: user.into(),
        role: Some("Administrator".into()),
        enabled: Some(true),
    }
}

pub fn inventory() -> Inventory {
    let drive = |serial: &str| Drive {
        name: serial.to_lowercase(),
        serial: Some(serial.into()),
        size_bytes: 1 << 30,
        ..Drive::default()
    };
    Inventory {
        drives: vec![drive("D1"), drive("D2")],
        nics: vec![Nic {
            mac: Some("52:54:00:00:00:01".into()),
            link: Some(true),
            ..Nic::default()
        }],
        ..Inventory::default()
    }
}

impl World {
    pub fn new() -> Self {
        let now = Time::UNIX_EPOCH;
        let policy = Policy::default();
        let mut machine = Machine {
            id: MachineId::from_parts(1, [1; 10]),
            name: "m1".parse().expect("a name"),
            site: SiteId::from_parts(1, [1; 10]),
            rack: None,
            machine_type: "t".parse().expect("a name"),
            expected_serial: None,
            bmc: BmcEndpoint {
                address: "https://bmc".into(),
                user: "u".into(),
                fingerprint: None,
            },
            addresses: vec![Address {
                network: NetworkId::from_parts(1, [1; 10]),
                ip: [10, 0, 0, 2].into(),
                prefix: 24,
                gateway: None,
                dns: vec![],
                reached_at: [10, 0, 0, 2].into(),
                mac: None,
            }],
            lifecycle: Lifecycle::Enrolled,
            step: Step::Rest,
            attempts: 0,
            waiting: None,
            hold: None,
            power: None,
            health: Health::Unknown,
            may_hold_data: true,
            cordoned: None,
            unconfirmed: false,
            emulation: Emulation::None,
            inventory: None,
            differences: vec![],
            drives: vec![],
            tests: vec![],
            firmware: None,
            lease: None,
            operation: None,
            epoch: 0,
            pending: None,
            requests: 0,
            uncertain_since: None,
            bmc_trouble: None,
            notes: StepNotes::default(),
            erase: None,
            upkeep: Default::default(),
            warm: Default::default(),
            power_request: None,
            wake_at: now,
            step_since: now,
            created_at: now,
            version: 1,
        };
        requests::start_discovery_of(&mut machine, &policy, now);
        let image = Image {
            id: ImageId::from_parts(1, [1; 10]),
            name: "debian-12".parse().expect("a name"),
            project: None,
            description: String::new(),
            origin: "upload".into(),
            checksum: None,
            state: ImageState::Available,
            reason: None,
            content: Some(ImageContent {
                digest: "d".into(),
                virtual_bytes: 1 << 20,
                data_bytes: 1 << 20,
                stored_bytes: 1 << 20,
                boot: BootKind::Bls,
                root_partition: Some(2),
                storage: Default::default(),
            }),
            cloud_init: true,
            kind: billet_model::image::ImageKind::Disk,
            install: None,
            root_mirror: false,
            created_at: now,
        };
        Self {
            now,
            counter: 1,
            policy,
            machine,
            lease: None,
            image,
            operations: BTreeMap::new(),
            boots: BTreeMap::new(),
            wish: None,
            ramdisk: "r1".into(),
            kexec_hangs: false,
            dead_image: false,
            starts: vec![],
            task: None,
            power: Power::On,
            medium: None,
            cd_next: false,
            audit: Vec::new(),
            certificates: vec![],
            canaries: None,
            samples: None,
            requests: vec![],
            settings: settings(),
            stubborn: false,
            listed: None,
            passwords: vec![],
            lifecycles: vec![Lifecycle::Enrolled],
            works: vec![],
            root_drive: RootDrive::default(),
            layout: DriveLayout::default(),
            fails: None,
            untouched: false,
            cold: None,
            dead: None,
            install: None,
            clings: false,
            installs: 0,
        }
    }

    pub fn fresh(&mut self) -> Fresh {
        self.counter += 1;
        let n = self.counter;
        Fresh {
            boot: BootId::from_parts(n, [0; 10]),
            task: TaskId::from_parts(n, [0; 10]),
            evidence: EvidenceId::from_parts(n, [0; 10]),
            operation: OperationId::from_parts(n, [0; 10]),
        }
    }

    pub fn decide(
        &mut self,
        reply: Option<&BmcReply>,
        orphaned: bool,
        decide: impl Fn(&Facts<'_>) -> Decision,
    ) -> Option<Effect> {
        let fresh = self.fresh();
        let machine = self.machine.clone();
        let facts = Facts {
            now: self.now,
            policy: &self.policy,
            machine: &machine,
            machine_type: None,
            site: None,
            lease: self.lease.as_ref(),
            image: Some(&self.image),
            image_before: true,
            wish: self.wish.clone(),
            ramdisk: Some(&self.ramdisk),
            operation: machine.operation.and_then(|id| self.operations.get(&id)),
            boot: machine.step.boot().and_then(|id| self.boots.get(&id)),
            task: self.task.as_ref(),
            reply,
            orphaned,
            probed: None,
            fresh,
        };
        let again = decide(&facts);
        let decision = decide(&facts);
        assert_eq!(
            again.machine, decision.machine,
            "decided twice, decided alike"
        );
        if !looks_inside(&machine) {
            let mut short = machine.clone();
            (short.inventory, short.firmware) = (None, None);
            let seeing = next_step(&facts);
            let mut blind = next_step(&Facts {
                machine: &short,
                ..facts.clone()
            });
            blind.machine.inventory.clone_from(&machine.inventory);
            blind.machine.firmware.clone_from(&machine.firmware);
            assert_eq!(
                format!("{blind:?}"),
                format!("{seeing:?}"),
                "what is inside made a difference"
            );
        }
        if decision.machine.lifecycle != machine.lifecycle {
            assert!(
                decision
                    .audit
                    .iter()
                    .any(|a| a.action == "machine.lifecycle"),
                "a change of lifecycle is on record"
            );
            self.lifecycles.push(decision.machine.lifecycle);
        }
        assert!(
            decision.machine.lifecycle != Lifecycle::Available || !decision.machine.may_hold_data
        );
        assert!(
            decision.lease.is_none() || !decision.audit.is_empty(),
            "a change of a lease is on record"
        );
        let told = decision
            .audit
            .iter()
            .map(|a| format!("{} {}", a.action, a.detail));
        self.audit.extend(told);
        self.machine = decision.machine;
        self.passwords.extend(decision.password);
        if let Some(lease) = decision.lease {
            self.lease = Some(lease);
        }
        for operation in decision.operations {
            self.operations.insert(operation.id, operation);
        }
        if let Some(boot) = decision.boot {
            self.boots.insert(boot.id, boot);
        }
        if decision.task.is_some() {
            self.task = decision.task;
        }
        self.certificates
            .extend(decision.certificate.map(|(_, certificate)| certificate));
        decision.effect
    }

    pub fn bmc(&mut self, request: &BmcRequest) -> BmcReply {
        self.requests.push(request.clone());
        let fact = match request {
            BmcRequest::Discover => BmcFact::Discovered {
                fingerprint: "f".into(),
                inventory: Box::new(self.listed.clone().unwrap_or_else(inventory)),
                power: self.power,
            },
            BmcRequest::ReadPower => BmcFact::Power { power: self.power },
            BmcRequest::ReadWatts => BmcFact::Watts { watts: Some(180) },
            BmcRequest::ReadSettings => BmcFact::Settings {
                settings: self.settings.clone(),
            },
            BmcRequest::Restore { what } => {
                match what {
                    Restore::RemoveAccount { id, .. } => {
                        let accounts = self.settings.accounts.get_or_insert_default();
                        if !self.stubborn {
                            accounts.retain(|a| a.id != *id);
                        }
                    }
                    Restore::PutAccount { account } => {
                        let accounts = self.settings.accounts.get_or_insert_default();
                        accounts.retain(|a| a.user != account.user);
                        accounts.push(account.clone());
                    }
                    Restore::Bios { attributes } => self.settings.bios.extend(attributes.clone()),
                    Restore::BootOrder { order } => self.settings.boot_order.clone_from(order),
                    Restore::SecureBoot { on } => self.settings.secure_boot = Some(*on),
                }
                BmcFact::Done
            }
            BmcRequest::SetPassword | BmcRequest::TryPassword => BmcFact::Password {
                works: PasswordThatWorks::Next,
            },
            BmcRequest::Power { action } => {
                match action {
                    PowerAction::Off | PowerAction::Shutdown => self.power = Power::Off,
                    PowerAction::On | PowerAction::Cycle | PowerAction::Reset => {
                        self.power = Power::On;
                        self.boots();
                    }
                }
                BmcFact::Done
            }
            BmcRequest::InsertMedia { boot } => {
                assert_eq!(self.power, Power::Off, "media go in while off");
                self.medium = Some(*boot);
                BmcFact::Done
            }
            BmcRequest::EjectMedia if self.clings && self.power == Power::On => {
                return BmcReply::Failed {
                    kind: BmcFailure::Refused,
                    detail: "power it off first".into(),
                };
            }
            BmcRequest::EjectMedia => {
                self.medium = None;
                BmcFact::Done
            }
            BmcRequest::SetBoot { target } => {
                self.cd_next = *target == billet_model::bmc::BootTarget::CdOnce;
                BmcFact::Done
            }
        };
        BmcReply::Done { fact }
    }

    pub fn boots(&mut self) {
        let now = self.now;
        if self.cd_next
            && let Some(boot) = self.medium.and_then(|id| self.boots.get_mut(&id))
        {
            self.cd_next = false;
            if boot.of == BootOf::Installer {
                self.installs += 1;
            } else {
                boot.hello_at = Some(now);
                boot.seen_at = Some(now);
            }
        } else {
            self.system_starts(Way::Cold);
        }
    }

    /// The last boot of the ramdisk.
    pub fn boot(&mut self) -> Option<&mut Boot> {
        self.boots.values_mut().next_back()
    }

    /// What is on the drive begins to run.
    fn system_starts(&mut self, way: Way) {
        if self.dead_image {
            return;
        }
        if let Some(lease) = &mut self.lease
            && matches!(
                lease.state,
                LeaseState::Deploying | LeaseState::Reinstalling
            )
            && lease.active_because.is_none()
        {
            assert_eq!(
                self.medium, None,
                "no medium is in when the tenant's system boots"
            );
            self.starts.push(way);
            lease.active_because = Some(ActiveBecause::PhonedHome);
        }
    }

    /// The agent was told that its word is taken: it jumps.
    fn jumps(&mut self) {
        let Some(task) = self.task.clone() else {
            return;
        };
        self.task = None;
        if !matches!(task.outcome, Some(WorkOutcome::Starting(_))) || self.kexec_hangs {
            return;
        }
        let now = self.now;
        match task.task.work {
            Work::Trial(order) => {
                if let Some(boot) = self.boots.get_mut(&order.next) {
                    boot.hello_at = Some(now);
                    boot.seen_at = Some(now);
                }
            }
            Work::Start(order) => {
                let lease = self.lease.as_ref().expect("a lease");
                assert_eq!(order.lease, lease.id);
                assert_eq!(lease.root_drive.as_ref(), Some(&order.drive));
                self.system_starts(Way::Warm);
            }
            _ => {}
        }
    }

    pub fn works(&mut self) {
        let now = self.now;
        let Some(task) = &mut self.task else { return };
        let outcome = match &task.task.work {
            Work::Inspect => WorkOutcome::Inspected {
                inventory: Box::new(inventory()),
            },
            Work::Test { may_write } => {
                assert!(*may_write, "tests come after the erase");
                WorkOutcome::Tested {
                    results: vec![TestResult {
                        part: "memory".into(),
                        test: "pattern".into(),
                        verdict: Verdict::Passed,
                        figure: None,
                        detail: String::new(),
                    }],
                }
            }
            Work::Write(order) => WorkOutcome::Written(report(&order.image)),
            Work::Measure(order) => {
                let lease = self.lease.as_ref().expect("a lease");
                assert_eq!(lease.root_drive.as_ref(), Some(&order.drive));
                WorkOutcome::Measured(measured(&order.image, 2))
            }
            Work::Rescue(order) => {
                assert!(!order.ssh_keys.is_empty(), "somebody can get in");
                WorkOutcome::Rescuing {
                    host_keys: vec!["ssh-ed25519 AAAA".into()],
                }
            }
            Work::Erase(order) | Work::Wipe(order) => WorkOutcome::Erased {
                drives: order
                    .drives
                    .iter()
                    .map(|drive| DriveErase {
                        drive: drive.clone(),
                        size_bytes: 1 << 30,
                        method: Some(EraseMethod::WriteZeroes),
                        tried: vec![],
                        bytes: 1 << 30,
                        canaries: (0..self.canaries.unwrap_or(order.canaries))
                            .map(|n| Canary {
                                offset: u64::from(n) * 4096,
                                sha256: String::new(),
                            })
                            .collect(),
                        failure: (self.dead.as_ref() == Some(&drive.serial))
                            .then(|| "it does not answer".into()),
                    })
                    .collect(),
                unordered: vec![],
            },
            Work::Verify(order) => WorkOutcome::Verified {
                drives: order
                    .erased
                    .iter()
                    .map(|e| DriveVerify {
                        drive: e.drive.clone(),
                        canaries_read: e.canaries.len() as u32,
                        canaries_found: 0,
                        samples_read: self.samples.unwrap_or(order.samples),
                        samples_with_data: 0,
                        failure: None,
                    })
                    .collect(),
                tpm: TpmClear::None,
            },
            Work::Prepare(order) => {
                let done = task.outcome.is_some();
                assert!(done || self.machine.lease.is_none(), "prepared for nobody");
                WorkOutcome::Prepared(report(&order.image))
            }
            Work::Start(_) | Work::Trial(_) => WorkOutcome::Starting(StartReport {
                kernel: "vmlinuz".into(),
                initrd: Some("initrd".into()),
                cmdline: "root=/dev/sda2".into(),
                done: vec!["drivers unbound".into()],
            }),
        };
        if task.outcome.is_none() {
            self.works.push(task.task.work.clone());
            let kind = task.task.work.word();
            let writes = kind.writes() && !(self.untouched && self.fails == Some(kind));
            if let Some(lease) = self.lease.as_mut().filter(|_| writes) {
                lease.before_reinstall = None;
            }
            task.outcome = Some(
                if self
                    .fails
                    .take_if(|f| *f == task.task.work.word())
                    .is_some()
                {
                    WorkOutcome::Failed {
                        kind: WorkFailure::DriveFailed,
                        detail: "the drive fails".into(),
                    }
                } else {
                    outcome
                },
            );
            task.progress_at = Some(now);
        }
    }

    /// Goes on until the machine rests in a lifecycle where nothing is done.
    pub fn run(&mut self) {
        for _ in 0..400 {
            // An agent that is there is heard.
            let now = self.now;
            let boot = self.machine.step.boot();
            if let Some(boot) = boot.and_then(|id| self.boots.get_mut(&id))
                && boot.hello_at.is_some()
            {
                boot.seen_at = Some(now);
            }
            let effect = self.decide(None, false, next_step);
            if let Some(Effect::Ask(pending)) = effect {
                self.now += SignedDuration::from_millis(50);
                let reply = self.bmc(&pending.request);
                let effect = self.decide(Some(&reply), false, next_step);
                if let Some(Effect::Ask(_)) = effect {
                    // Sent at once, with its reply: as the loop does.
                    self.answer();
                }
            }
            self.works();
            let starts = matches!(
                self.task.as_ref().and_then(|t| t.outcome.as_ref()),
                Some(WorkOutcome::Starting(_))
            );
            if starts {
                self.decide(None, false, next_step);
                self.answer();
                self.jumps();
            }
            if let Step::Rescue { .. }
            | Step::Warm { .. }
            | Step::Install {
                at: InstallStep::Run,
                ..
            } = self.machine.step
            {
                return;
            }
            if self.machine.step == Step::Rest && !self.machine.lifecycle.is_working() {
                return;
            }
            assert!(
                self.machine
                    .waiting
                    .as_ref()
                    .is_some_and(|w| w.deadline > self.now),
                "what waits has a deadline: {:?}",
                self.machine.step
            );
            self.now += SignedDuration::from_secs(1);
        }
        panic!("it never rests: {:?}", self.machine);
    }

    pub fn answer(&mut self) {
        while let Some(pending) = self.machine.pending.clone() {
            self.now += SignedDuration::from_millis(50);
            let reply = self.bmc(&pending.request);
            self.decide(Some(&reply), false, next_step);
        }
    }

    pub fn take_over(&mut self) {
        let drives = ["D1".to_owned(), "D2".to_owned()];
        self.decide(None, false, |facts| {
            requests::take_over(facts, &drives, None).expect("it is taken over")
        });
        self.run();
    }

    pub fn lease(&mut self) {
        let operation = OperationId::from_parts(9999, [9; 10]);
        let lease = Lease {
            id: LeaseId::from_parts(1, [1; 10]),
            name: "l1".parse().expect("a name"),
            project: ProjectId::from_parts(1, [1; 10]),
            mode: LeaseMode::Dedicated,
            state: LeaseState::Deploying,
            reason: None,
            machine: self.machine.id,
            machine_type: "t".parse().expect("a name"),
            image: self.image.id,
            spec: LeaseSpec {
                ssh_keys: vec!["ssh-ed25519 AAAA".into()],
                root_drive: self.root_drive.clone(),
                layout: self.layout.clone(),
                ..LeaseSpec::default()
            },
            tags: BTreeMap::new(),
            ends_at: None,
            active_because: None,
            host_keys: vec![],
            written: None,
            firmware_before: None,
            operation,
            created_at: self.now,
            active_at: None,
            ended_at: None,
            leaving_at: None,
            warned_at: None,
            visits: vec![],
            rescue: None,
            measurements: vec![],
            root_drive: None,
            before_reinstall: None,
            earlier_visits: 0,
            first_start: None,
            begun_anew: 0,
            install: self.install.clone(),
            layout: None,
            file_systems: None,
            version: 0,
        };
        let cold = self.cold.clone();
        self.decide(None, false, |facts| {
            requests::grant(
                facts,
                &requests::Grant {
                    lease: &lease,
                    operation,
                    cold: cold.clone(),
                },
            )
            .expect("it is free")
        });
        self.run();
    }

    pub fn release(&mut self) {
        self.decide(None, false, |facts| {
            requests::release(facts).expect("it is released")
        });
        self.run();
    }
}

fn report(image: &str) -> WriteReport {
    WriteReport {
        image: image.into(),
        written_bytes: 1,
        discarded_bytes: 1,
        verified_bytes: 1,
        resumed: 0,
        root_bytes: None,
        kernel_args: None,
        measured: Some(Box::new(measured(image, 3))),
        changes: vec![],
        arrays: Vec::new(),
        mirrors: Vec::new(),
        mirrored: Vec::new(),
    }
}

/// A drive of three chunks, of which so many are as delivered.
fn measured(image: &str, same: u64) -> Measured {
    Measured {
        image: image.into(),
        content: image.into(),
        bytes: 3 << 20,
        chunks: ChunkCount {
            data: 3,
            data_same: same,
            empty: 0,
            empty_same: 0,
        },
        parts: vec![],
        copies: Vec::new(),
    }
}
