//! A machine's whole life, decided step by step in a world where everything
//! works at once: the path that every other test departs from.

use std::collections::BTreeMap;

use billet_model::{
    BootId, EvidenceId, ImageId, LeaseId, MachineId, NetworkId, OperationId, ProjectId, SiteId,
    TaskId, Time,
    bmc::{BmcEndpoint, BmcFact, BmcReply, BmcRequest, FirmwareSettings, PowerAction},
    evidence::EraseCertificate,
    image::{BootKind, Image, ImageContent, ImageState},
    inventory::{Drive, Emulation, Inventory, Nic},
    lease::{ActiveBecause, Lease, LeaseMode, LeaseSpec, LeaseState},
    lifecycle::{Health, Lifecycle, Power},
    machine::Machine,
    operation::{Operation, OperationKind, OperationState},
    site::Address,
    step::{Boot, DiskStep, Step, StepNotes, TaskRecord},
    work::{
        Canary, DriveErase, DriveVerify, EraseMethod, TestResult, TpmClear, Verdict, Work,
        WorkOutcome, WriteReport,
    },
};
use billet_plan::{
    Decision, Effect, Facts, Fresh, Policy, next_step, requests, requests::MachineRequest,
};
use jiff::SignedDuration;

/// A world of one machine, where what is asked is done.
struct World {
    now: Time,
    counter: u64,
    policy: Policy,
    machine: Machine,
    lease: Option<Lease>,
    image: Image,
    operations: BTreeMap<OperationId, Operation>,
    boot: Option<Boot>,
    task: Option<TaskRecord>,
    power: Power,
    medium: Option<BootId>,
    cd_next: bool,
    certificates: Vec<EraseCertificate>,
    /// Canaries that the agent plants, if fewer than ordered.
    canaries: Option<u32>,
    /// Blocks that the agent samples, if fewer than ordered.
    samples: Option<u32>,
    requests: Vec<BmcRequest>,
    lifecycles: Vec<Lifecycle>,
}

fn inventory() -> Inventory {
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
    fn new() -> Self {
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
            }),
            cloud_init: true,
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
            boot: None,
            task: None,
            power: Power::On,
            medium: None,
            cd_next: false,
            certificates: vec![],
            canaries: None,
            samples: None,
            requests: vec![],
            lifecycles: vec![Lifecycle::Enrolled],
        }
    }

    fn fresh(&mut self) -> Fresh {
        self.counter += 1;
        let n = self.counter;
        Fresh {
            boot: BootId::from_parts(n, [0; 10]),
            task: TaskId::from_parts(n, [0; 10]),
            evidence: EvidenceId::from_parts(n, [0; 10]),
            operation: OperationId::from_parts(n, [0; 10]),
        }
    }

    fn decide(
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
            operation: machine.operation.and_then(|id| self.operations.get(&id)),
            boot: self.boot.as_ref(),
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
        self.machine = decision.machine;
        if let Some(lease) = decision.lease {
            self.lease = Some(lease);
        }
        for operation in decision.operations {
            self.operations.insert(operation.id, operation);
        }
        if decision.boot.is_some() {
            self.boot = decision.boot;
        }
        if decision.task.is_some() {
            self.task = decision.task;
        }
        self.certificates
            .extend(decision.certificate.map(|(_, certificate)| certificate));
        decision.effect
    }

    fn bmc(&mut self, request: &BmcRequest) -> BmcReply {
        self.requests.push(request.clone());
        let fact = match request {
            BmcRequest::Discover => BmcFact::Discovered {
                fingerprint: "f".into(),
                inventory: Box::new(inventory()),
                power: self.power,
            },
            BmcRequest::ReadPower => BmcFact::Power { power: self.power },
            BmcRequest::ReadSettings => BmcFact::Settings {
                settings: FirmwareSettings::default(),
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

    fn boots(&mut self) {
        let now = self.now;
        if self.cd_next && self.boot.as_ref().map(|b| b.id) == self.medium {
            self.cd_next = false;
            if let Some(boot) = &mut self.boot {
                boot.hello_at = Some(now);
                boot.seen_at = Some(now);
            }
        } else if let Some(lease) = &mut self.lease
            && lease.state == LeaseState::Deploying
        {
            assert_eq!(
                self.medium, None,
                "no medium is in when the tenant's system boots"
            );
            lease.active_because = Some(ActiveBecause::PhonedHome);
        }
    }

    fn works(&mut self) {
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
            Work::Write(order) => WorkOutcome::Written(WriteReport {
                image: order.image.clone(),
                written_bytes: 1,
                discarded_bytes: 1,
                verified_bytes: 1,
                resumed: 0,
                root_bytes: None,
                kernel_args: None,
            }),
            Work::Erase(order) => WorkOutcome::Erased {
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
                        failure: None,
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
        };
        if task.outcome.is_none() {
            task.outcome = Some(outcome);
            task.progress_at = Some(now);
        }
    }

    /// Goes on until the machine rests in a lifecycle where nothing is done.
    fn run(&mut self) {
        for _ in 0..400 {
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

    fn answer(&mut self) {
        while let Some(pending) = self.machine.pending.clone() {
            self.now += SignedDuration::from_millis(50);
            let reply = self.bmc(&pending.request);
            self.decide(Some(&reply), false, next_step);
        }
    }

    fn take_over(&mut self) {
        let drives = ["D1".to_owned(), "D2".to_owned()];
        self.decide(None, false, |facts| {
            requests::take_over(facts, &drives).expect("it is taken over")
        });
        self.run();
    }

    fn lease(&mut self) {
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
            spec: LeaseSpec::default(),
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
            version: 0,
        };
        self.decide(None, false, |facts| {
            requests::grant(
                facts,
                &requests::Grant {
                    lease: &lease,
                    operation,
                },
            )
            .expect("it is free")
        });
        self.run();
    }

    fn release(&mut self) {
        self.decide(None, false, |facts| {
            requests::release(facts).expect("it is released")
        });
        self.run();
    }
}

#[test]
fn a_whole_life() {
    let mut world = World::new();
    world.run();
    assert_eq!(world.machine.lifecycle, Lifecycle::Enrolled);
    assert!(
        world.requests.iter().all(|r| !r.is_change()),
        "enrolment only reads"
    );
    world.take_over();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(world.certificates.len(), 1);
    world.lease();
    assert_eq!(world.machine.lifecycle, Lifecycle::Active);
    assert!(world.machine.may_hold_data);
    world.release();
    assert_eq!(world.machine.lifecycle, Lifecycle::Available);
    assert_eq!(
        world.lease.as_ref().map(|l| l.state),
        Some(LeaseState::Released)
    );
    assert_eq!(world.certificates.len(), 2);
    assert_eq!(
        world.certificates[1].lease,
        world.lease.as_ref().map(|l| l.id)
    );
    use Lifecycle::{Active, Available, Deploying, Enrolled, Erasing, Inspecting, Testing};
    assert_eq!(
        world.lifecycles,
        [
            Enrolled, Inspecting, Erasing, Testing, Available, Deploying, Active, Erasing, Testing,
            Available
        ]
    );
    assert!(
        world
            .operations
            .values()
            .all(|o| o.state == OperationState::Succeeded),
        "{:?}",
        world.operations
    );
    let kinds: Vec<_> = world.operations.values().map(|o| o.kind).collect();
    assert!(kinds.contains(&OperationKind::TakeOver) && kinds.contains(&OperationKind::Release));
}

#[test]
fn a_lost_power_action_is_looked_at_and_not_repeated() {
    let mut world = World::new();
    world.run();
    let drives = ["D1".to_owned(), "D2".to_owned()];
    world.decide(None, false, |facts| {
        requests::take_over(facts, &drives).expect("it is taken over")
    });
    // First a reading; then off is asked for, and the answer is lost.
    let mut asked = Vec::new();
    let mut effect = world.decide(None, false, next_step);
    for _ in 0..8 {
        world.now += SignedDuration::from_secs(1);
        let Some(Effect::Ask(pending)) = effect.take() else {
            effect = world.decide(None, false, next_step);
            continue;
        };
        asked.push(pending.request.clone());
        let reply = match pending.request {
            BmcRequest::Power { .. } => BmcReply::Uncertain {
                detail: "timed out".into(),
            },
            ref other => world.bmc(other),
        };
        effect = world.decide(Some(&reply), false, next_step);
    }
    let off = BmcRequest::Power {
        action: PowerAction::Off,
    };
    assert_eq!(
        asked[..3],
        [BmcRequest::ReadPower, off, BmcRequest::ReadPower]
    );
    assert!(world.machine.uncertain_since.is_some());
}

#[test]
fn a_request_whose_sender_died_is_uncertain() {
    let mut world = World::new();
    world.run();
    let drives = ["D1".to_owned(), "D2".to_owned()];
    world.decide(None, false, |facts| {
        requests::take_over(facts, &drives).expect("it is taken over")
    });
    world.decide(None, false, next_step);
    world.now += SignedDuration::from_secs(1);
    let reading = BmcReply::Done {
        fact: BmcFact::Power { power: Power::On },
    };
    world.decide(Some(&reading), false, next_step);
    assert!(
        world
            .machine
            .pending
            .as_ref()
            .is_some_and(|p| p.request.is_change())
    );
    // Without the reply nothing moves; once it is known to be lost, it is looked at.
    let before = world.machine.clone();
    assert_eq!(world.decide(None, false, next_step), None);
    assert_eq!(world.machine, before);
    world.now += SignedDuration::from_secs(1);
    let effect = world.decide(None, true, next_step);
    assert!(matches!(
        effect,
        Some(Effect::Ask(p)) if p.request == BmcRequest::ReadPower
    ));
    assert_eq!(world.machine.uncertain_since, Some(world.now));
}

#[test]
fn take_over_wants_every_drive_named() {
    let mut world = World::new();
    world.run();
    let machine = world.machine.clone();
    let fresh = world.fresh();
    let facts = Facts {
        now: world.now,
        policy: &world.policy,
        machine: &machine,
        machine_type: None,
        site: None,
        lease: None,
        image: None,
        operation: None,
        boot: None,
        task: None,
        reply: None,
        orphaned: false,
        probed: None,
        fresh,
    };
    for named in [vec![], vec!["D1"], vec!["D1", "D3"], vec!["D1", "D2", "D3"]] {
        let named: Vec<String> = named.into_iter().map(str::to_owned).collect();
        let refused = requests::take_over(&facts, &named);
        assert!(
            refused.is_err_and(|r| r.field == Some("drives")),
            "{named:?}"
        );
    }
}

#[test]
fn a_machine_whose_drives_nobody_named_is_never_changed() {
    let mut world = World::new();
    world.run();
    // However it came there: restored, or held by an older version.
    for lifecycle in [
        Lifecycle::Enrolled,
        Lifecycle::Quarantined,
        Lifecycle::Maintenance,
    ] {
        world.machine.lifecycle = lifecycle;
        for request in [
            MachineRequest::Power(PowerAction::Off),
            MachineRequest::Test,
            MachineRequest::Repair,
        ] {
            let refused = std::cell::Cell::new(false);
            world.decide(None, false, |facts| {
                let decided = requests::machine(facts, &request);
                refused.set(decided.is_err());
                decided.unwrap_or_else(|_| next_step(facts))
            });
            assert!(
                refused.get(),
                "{request:?} of a machine that is {lifecycle}"
            );
        }
    }
}

#[test]
fn the_medium_is_taken_out_after_what_may_come_late() {
    let mut world = World::new();
    world.run();
    world.machine.lifecycle = Lifecycle::Deploying;
    world.machine.step = Step::DiskBoot { at: DiskStep::Off };
    world.machine.step_since = world.now;
    world.machine.waiting = None;
    // A medium may still be put in: who asked for it got no answer.
    world.machine.uncertain_since = Some(world.now);
    world.power = Power::Off;
    let settled = world.now + world.policy.settle;
    let mut effect = world.decide(None, false, next_step);
    for _ in 0..100 {
        world.now += SignedDuration::from_secs(10);
        let reply = effect.take().map(|effect| match effect {
            Effect::Ask(pending) => {
                assert!(
                    pending.request != BmcRequest::EjectMedia || world.now > settled,
                    "taken out before a late request had its time"
                );
                world.bmc(&pending.request)
            }
            Effect::Probe => panic!("nothing is probed"),
        });
        effect = world.decide(reply.as_ref(), false, next_step);
        if world.requests.last() == Some(&BmcRequest::EjectMedia) {
            return;
        }
    }
    panic!("the medium was never taken out");
}

#[test]
fn a_wish_of_before_the_restore_is_not_carried_out() {
    let mut world = World::new();
    world.run();
    world.take_over();
    world.lease();
    world.decide(None, false, |facts| {
        requests::lease_power(facts, PowerAction::Off).expect("it is active")
    });
    world.decide(None, false, next_step);
    assert!(matches!(world.machine.step, Step::ChangePower { .. }));
    world.machine.unconfirmed = true;
    world.decide(None, false, |facts| {
        requests::machine(facts, &MachineRequest::Confirm).expect("it is confirmed")
    });
    assert_eq!(world.machine.step, Step::Rest);
    assert_eq!(
        (world.machine.power_request, world.machine.operation),
        (None, None)
    );
}

#[test]
fn an_erase_that_is_hardly_looked_at_is_not_accepted() {
    for what in ["canaries", "sampled"] {
        let mut world = World::new();
        match what {
            "canaries" => world.canaries = Some(1),
            _ => world.samples = Some(1),
        }
        world.run();
        world.take_over();
        assert_eq!(world.machine.lifecycle, Lifecycle::Quarantined, "{what}");
        let hold = world.machine.hold.as_ref().expect("a hold");
        assert!(hold.detail.contains(what), "{}", hold.detail);
        assert!(world.machine.may_hold_data && world.certificates.is_empty());
    }
}
