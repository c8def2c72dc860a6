//! Operators and tenants, who do what people do, now and then at the wrong moment.

use billet_control::MachineCommand;
use billet_model::{
    LeaseId, Name, Secret,
    api::{NewBmc, NewLease, NewMachine},
    bmc::PowerAction,
    layout::{ArrayWish, Choice, DriveLayout, FileSystem, Level, RootMirror, Scratch},
    lease::{LeaseMode, LeaseState},
    lifecycle::{HoldKind, Lifecycle},
};
use billet_plan::requests::MachineRequest;

use crate::{
    calls::{Answer, Call},
    check::Seen,
    event::Event,
    plane::Other,
    sim::{Sim, SimError},
};

/// A tenant's SSH public key.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz";

fn ask(request: MachineRequest) -> MachineCommand {
    MachineCommand::Request(request)
}

impl Sim {
    /// The operator thinks of a machine.
    pub fn operator(&mut self, m: usize) -> Result<(), SimError> {
        let pause = if self.quiet {
            self.dice.seconds(900, 1800)
        } else {
            self.dice.seconds(240, 900)
        };
        self.after(pause, Event::Operator { m });
        if !self.up {
            return Ok(());
        }
        let call = match self.machines[m].id {
            None => self.enrolment(m)?,
            Some(_) => match self.wish(m) {
                Some(call) => call,
                None => return Ok(()),
            },
        };
        self.person(m, call)
    }

    /// A person makes a call.
    fn person(&mut self, m: usize, call: Call) -> Result<(), SimError> {
        let answer = self.call(Some(m), call.clone())?;
        self.person_told(&call, &answer)
    }

    /// What follows from a person's call, by whichever way it came.
    fn person_told(&mut self, call: &Call, answer: &Answer) -> Result<(), SimError> {
        match (call, answer) {
            (Call::TakeOver { machine, .. }, Answer::Machine(Ok(_)) | Answer::Unknown) => {
                if let Some(m) = self.by_id.get(machine).copied() {
                    self.see(m, &Seen::TakenOver);
                    self.observe(m)?;
                }
            }
            (Call::Power { lease, action }, Answer::Lease(Ok(_)) | Answer::Unknown) => {
                let (lease, action) = (*lease, *action);
                let m = self.machine_of(lease);
                if let Some(m) = m {
                    self.machines[m].asked.push((Some(lease), action));
                    self.observe(m)?;
                }
            }
            (Call::Enroll { .. } | Call::Create { .. }, _) => self.find_new(call)?,
            (
                Call::Release { lease }
                | Call::Extend { lease, .. }
                | Call::Reinstall { lease, .. }
                | Call::Rescue { lease }
                | Call::Measure { lease }
                | Call::InstalledByHand { lease }
                | Call::EndRescue { lease },
                _,
            ) => {
                if let Some(m) = self.machine_of(*lease) {
                    self.observe(m)?;
                }
            }
            (Call::Command { machine, command }, answer) => {
                if let Some(m) = self.by_id.get(machine).copied() {
                    let power = match command {
                        MachineCommand::Request(MachineRequest::Power(action)) => Some(*action),
                        _ => None,
                    };
                    if let (Some(action), Answer::Machine(Ok(_)) | Answer::Unknown) =
                        (power, answer)
                    {
                        self.machines[m].asked.push((None, action));
                    }
                    self.observe(m)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn machine_of(&self, lease: LeaseId) -> Option<usize> {
        self.machines
            .iter()
            .position(|one| one.stored.as_ref().is_some_and(|s| s.lease == Some(lease)))
    }

    /// What a call made that the simulator does not know of yet.
    pub fn find_new(&mut self, call: &Call) -> Result<(), SimError> {
        match call {
            Call::Enroll { new } => {
                let found = crate::block::block_on(self.core.store.machine_by_name(&new.name))?;
                let m = self
                    .machines
                    .iter()
                    .position(|o| o.metal.name == new.name.as_str());
                if let (Some(machine), Some(m)) = (found, m) {
                    self.machines[m].id = Some(machine.id);
                    self.by_id.insert(machine.id, m);
                    self.observe(m)?;
                }
            }
            Call::Create { project, new } => {
                let Some(name) = &new.name else { return Ok(()) };
                let found =
                    crate::block::block_on(self.core.store.lease_by_name(project.id, name))?;
                if let Some(m) = found.and_then(|l| self.by_id.get(&l.machine).copied()) {
                    self.observe(m)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What follows from a call that came between.
    pub fn came_between(&mut self, other: Other, answer: Answer) -> Result<(), SimError> {
        if let Some((m, life, number, heard)) = other.from {
            self.observe(m)?;
            if heard {
                self.told(m, life, number, &other.call, answer);
            }
            return Ok(());
        }
        self.person_told(&other.call, &answer)
    }

    /// Something else that may come between a call's reading and its commit:
    /// a message that is on its way, or a person's wish.
    pub fn another(&mut self, m: Option<usize>, call: &Call) -> Option<Other> {
        if matches!(call, Call::Create { .. }) && self.dice.per_mille(700) {
            let call = self.new_lease()?;
            return Some(Other { call, from: None });
        }
        let m = m?;
        let message = self
            .queue
            .take(|e| matches!(e, Event::Arrive { m: of, .. } if *of == m));
        if let Some(Event::Arrive {
            m,
            life,
            number,
            call,
            heard,
        }) = message
        {
            return Some(Other {
                call,
                from: Some((m, life, number, heard)),
            });
        }
        if self.machines[m].lease.is_some() && self.dice.per_mille(600) {
            let call = self.lease_wish(m)?;
            return Some(Other { call, from: None });
        }
        let call = self.wish(m)?;
        Some(Other { call, from: None })
    }

    fn enrolment(&mut self, m: usize) -> Result<Call, SimError> {
        let metal = &self.machines[m].metal;
        Ok(Call::Enroll {
            new: Box::new(NewMachine {
                name: metal.name.parse()?,
                site: "here".parse()?,
                rack: None,
                machine_type: "plain.1x".parse()?,
                serial: None,
                networks: std::collections::BTreeMap::new(),
                bmc: NewBmc {
                    address: format!("https://10.1.{}.{}", m / 256, m % 256),
                    user: "billet".into(),
                    password: Secret::new("secret"),
                    fingerprint: None,
                },
                rotate_password: m.is_multiple_of(2),
            }),
        })
    }

    /// What the operator wants of a machine that is known.
    fn wish(&mut self, m: usize) -> Option<Call> {
        let one = &self.machines[m];
        let (machine, stored) = (one.id?, one.stored.clone()?);
        let odd = if self.quiet { 0 } else { 60 };
        let command = |command| Some(Call::Command { machine, command });
        let why = || "because".to_owned();
        if stored.cordoned.is_some() {
            return command(ask(MachineRequest::Uncordon));
        }
        let works = matches!(
            stored.lifecycle,
            Lifecycle::Inspecting | Lifecycle::Testing | Lifecycle::Erasing
        );
        if stored.operation.is_some() && !works {
            return None;
        }
        if one.weather.password && !self.dice.per_mille(odd * 5) {
            return self.new_password(m);
        }
        match stored.lifecycle {
            Lifecycle::Enrolled if self.dice.per_mille(odd) => {
                let requests = [
                    MachineRequest::Power(PowerAction::Off),
                    MachineRequest::Quarantine { reason: why() },
                    MachineRequest::Repair,
                    MachineRequest::Retire,
                ];
                let upto = if self.dice.per_mille(100) { 3 } else { 2 };
                let at = self.dice.number(0, upto);
                command(ask(requests.get(at)?.clone()))
            }
            Lifecycle::Enrolled if stored.inventory.is_some() && m >= self.options.taken => None,
            Lifecycle::Enrolled if stored.inventory.is_some() => self.take_over(m),
            Lifecycle::Enrolled => command(ask(MachineRequest::Inspect)),
            Lifecycle::Quarantined => self.mend(m, odd),
            Lifecycle::Maintenance => {
                let requests = [
                    MachineRequest::Repair,
                    MachineRequest::Inspect,
                    MachineRequest::Test,
                    MachineRequest::Power(PowerAction::Cycle),
                ];
                let upto = if self.dice.per_mille(odd * 3) { 3 } else { 0 };
                let at = self.dice.number(0, upto);
                if stored.drives.is_empty() && at == 0 {
                    return self.take_over(m).or_else(|| {
                        Some(Call::Command {
                            machine,
                            command: ask(MachineRequest::Quarantine {
                                reason: "because".into(),
                            }),
                        })
                    });
                }
                command(ask(requests.get(at)?.clone()))
            }
            Lifecycle::Available if self.dice.per_mille(odd) => {
                let requests = [
                    MachineRequest::Test,
                    MachineRequest::Inspect,
                    MachineRequest::Cordon { reason: why() },
                    MachineRequest::Maintenance { reason: why() },
                    MachineRequest::Quarantine { reason: why() },
                    MachineRequest::Power(PowerAction::On),
                    MachineRequest::Power(PowerAction::Cycle),
                    MachineRequest::Power(PowerAction::Off),
                    MachineRequest::RotatePassword {
                        after_each_lease: Some(true),
                    },
                    MachineRequest::AcceptFirmware,
                ];
                let at = self.dice.number(0, requests.len() - 1);
                command(ask(requests.get(at)?.clone()))
            }
            Lifecycle::Inspecting | Lifecycle::Testing | Lifecycle::Erasing
                if self.dice.per_mille(odd * 2) =>
            {
                command(ask(MachineRequest::Quarantine { reason: why() }))
            }
            Lifecycle::Active if stored.lease.is_some() && self.dice.per_mille(odd) => {
                command(ask(MachineRequest::BreakFix { reason: why() }))
            }
            _ => None,
        }
    }

    fn new_password(&mut self, m: usize) -> Option<Call> {
        let machine = self.machines[m].id?;
        self.machines[m].weather.password = false;
        // Whatever the operator gives is what the BMC takes.
        self.machines[m].metal.password = None;
        Some(Call::Command {
            machine,
            command: MachineCommand::SetBmc {
                address: None,
                user: None,
                password: Some(Secret::new("another")),
                fingerprint: None,
            },
        })
    }

    fn take_over(&mut self, m: usize) -> Option<Call> {
        let one = &self.machines[m];
        let mut drives: Vec<String> = one.metal.disks.iter().map(|d| d.serial.clone()).collect();
        if !self.quiet && self.dice.per_mille(50) {
            drives = vec!["WRONG".into()];
        }
        Some(Call::TakeOver {
            machine: self.machines[m].id?,
            drives,
        })
    }

    /// A held machine is mended.
    fn mend(&mut self, m: usize, odd: u32) -> Option<Call> {
        let one = &mut self.machines[m];
        let (machine, stored) = (one.id?, one.stored.clone()?);
        if self.quiet {
            one.repairs += 1;
            if one.repairs > 6 {
                return None;
            }
        }
        if !self.dice.per_mille(600) && !self.quiet {
            return None;
        }
        let requests = [
            MachineRequest::Power(PowerAction::Cycle),
            MachineRequest::Maintenance {
                reason: "because".into(),
            },
        ];
        if self.dice.per_mille(odd * 2)
            && let Some(request) = self.dice.pick(&requests)
        {
            return Some(Call::Command {
                machine,
                command: ask(request),
            });
        }
        let kind = stored.hold.as_ref().map(|h| h.kind);
        if stored.drives.is_empty() || kind == Some(HoldKind::UnconfirmedDrive) {
            if stored.inventory.is_none() && !self.dice.per_mille(300) {
                return Some(Call::Command {
                    machine,
                    command: ask(MachineRequest::Inspect),
                });
            }
            return self.take_over(m);
        }
        Some(Call::Command {
            machine,
            command: ask(MachineRequest::Repair),
        })
    }

    /// The tenants think of something.
    pub fn tenants(&mut self) -> Result<(), SimError> {
        let most = u32::try_from(2400 / self.machines.len().max(1))
            .unwrap_or(60)
            .max(2);
        let pause = self.dice.seconds(1, most);
        if self.quiet {
            return Ok(());
        }
        self.after(pause, Event::Tenants);
        if !self.up {
            return Ok(());
        }
        let leased: Vec<usize> = (0..self.machines.len())
            .filter(|m| {
                self.machines[*m]
                    .lease
                    .as_ref()
                    .is_some_and(|l| !l.state.is_over())
            })
            .collect();
        let call = if self.dice.per_mille(500) {
            self.new_lease()
        } else {
            let m = self.dice.pick(&leased);
            m.and_then(|m| self.lease_wish(m))
        };
        let Some(call) = call else { return Ok(()) };
        let answer = self.call(None, call.clone())?;
        self.person_told(&call, &answer)
    }

    fn new_lease(&mut self) -> Option<Call> {
        self.names += 1;
        let name: Name = format!("l{}", self.names).parse().ok()?;
        let project = self.dice.pick(&self.projects)?;
        let owner = self.projects.first().map(|p| p.id) == Some(project.id);
        let image = match self.dice.number(0, 9) {
            0..5 if owner => crate::sim::OWN,
            0..5 => "debian",
            5..7 => "bare",
            _ => "installer",
        };
        let term_seconds = self
            .dice
            .per_mille(400)
            .then(|| u64::try_from(self.dice.seconds(600, 5400).as_secs()).unwrap_or(600));
        let layout = self.layout(image);
        Some(Call::Create {
            project: Box::new(project),
            new: Box::new(NewLease {
                name: Some(name),
                project: None,
                mode: LeaseMode::Dedicated,
                machine_type: "plain.1x".parse().ok()?,
                site: None,
                image: image.into(),
                ssh_keys: if image != "bare" {
                    vec![KEY.into()]
                } else {
                    Vec::new()
                },
                user_data: None,
                kernel_args: Vec::new(),
                root_drive: billet_model::storage::RootDrive::default(),
                cold: self.dice.per_mille(150),
                layout,
                tags: std::collections::BTreeMap::new(),
                term_seconds,
            }),
        })
    }

    /// What is wanted of the other drives: most ask for nothing, and some for more
    /// than there is.
    fn layout(&mut self, image: &str) -> DriveLayout {
        let kind = self.dice.number(0, 99);
        let array = |name: &str, level| ArrayWish {
            name: name.parse().unwrap_or_else(|_| unreachable!("a name")),
            level,
            drives: Choice::default(),
            file_system: FileSystem::default(),
            mount: None,
        };
        let mut layout = DriveLayout::default();
        if image != "debian" || kind >= 50 {
            return layout;
        }
        match kind {
            0..8 => {
                layout.root_mirror = Some(RootMirror {
                    drives: 2,
                    serials: Vec::new(),
                })
            }
            8..20 => layout.scratch = Some(Scratch::default()),
            20..30 => layout.arrays.push(array("data", Level::Raid1)),
            30..40 => {
                layout.arrays.push(array("data", Level::Single));
                layout.scratch = Some(Scratch::default());
            }
            _ => layout.arrays.push(array("data", Level::Single)),
        }
        layout
    }

    /// What a tenant wants of its lease.
    pub fn lease_wish(&mut self, m: usize) -> Option<Call> {
        let one = &self.machines[m];
        let found = one.lease.as_ref()?;
        let (lease, state) = (found.id, found.state);
        let kind = self.dice.number(0, 99);
        match (state, kind) {
            (LeaseState::Active, 0..20) | (LeaseState::Deploying, 0..25) => {
                Some(Call::Release { lease })
            }
            (LeaseState::Rescue | LeaseState::Broken, 0..15)
            | (LeaseState::Reinstalling, 0..10) => Some(Call::Release { lease }),
            (LeaseState::Active, 20..40)
            | (LeaseState::Broken, 15..50)
            | (LeaseState::Rescue, 15..25) => Some(Call::Reinstall {
                lease,
                keep: self.dice.per_mille(500),
                image: match self.dice.number(0, 5) {
                    0 => Some("installer"),
                    1 => Some("debian"),
                    _ => None,
                },
            }),
            (LeaseState::Installing, 0..10) => Some(Call::Release { lease }),
            (LeaseState::Installing, 10..15) => Some(Call::Reinstall {
                lease,
                keep: self.dice.per_mille(500),
                image: None,
            }),
            (LeaseState::Installing, 15..20) => Some(Call::Rescue { lease }),
            (LeaseState::Installing, 20..35) => Some(Call::InstalledByHand { lease }),
            (LeaseState::Active, 40..55) | (LeaseState::Broken, 50..65) => {
                Some(Call::Rescue { lease })
            }
            (LeaseState::Active, 55..62) => Some(Call::Measure { lease }),
            (LeaseState::Measuring, 0..15) => Some(Call::Release { lease }),
            (LeaseState::Rescue, 25..80) | (LeaseState::Broken, 65..85) => {
                Some(Call::EndRescue { lease })
            }
            (LeaseState::Active, 62..85) => {
                let actions = [
                    PowerAction::Off,
                    PowerAction::On,
                    PowerAction::Cycle,
                    PowerAction::Reset,
                    PowerAction::Shutdown,
                ];
                let action = self.dice.pick(&actions)?;
                Some(Call::Power { lease, action })
            }
            (_, 85..90) => Some(Call::Extend {
                lease,
                seconds: 1200,
            }),
            _ => None,
        }
    }
}
