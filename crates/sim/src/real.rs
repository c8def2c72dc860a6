//! What really happens to machines: requests carried out, power, boots,
//! tenants at work, and the weather.

use billet_control::Input;
use billet_model::{
    bmc::{
        BmcAccount, BmcFact, BmcReply, BmcRequest, BootTarget, PasswordThatWorks, PowerAction,
        Restore,
    },
    lifecycle::Power,
    step::BootOf,
};
use billet_protocol::phone_home::PhoneHome;
use jiff::SignedDuration;

use crate::{
    agent::{Agent, At},
    block::block_on,
    bmc::Weather,
    calls::{Answer, Call},
    check::{Seen, Word},
    event::Event,
    finding::Violation,
    metal::{Installed, Installer, Owner, Running, Temper},
    sim::{Sim, SimError, show},
};

impl Sim {
    /// A request has arrived at its BMC.
    pub fn carry(
        &mut self,
        m: usize,
        request: &BmcRequest,
        word: Word,
        answer: Option<(u64, u64)>,
    ) {
        if self.machines[m].weather.dead {
            return;
        }
        if request.is_change() {
            let one = &self.machines[m];
            let lease = one.lease.clone();
            show(
                &mut self.checkers,
                &mut self.findings,
                self.now,
                m,
                &Seen::Carried {
                    request,
                    word,
                    lease: lease.as_ref(),
                    machine: one.stored.as_ref(),
                    metal: &one.metal,
                },
            );
            if answer.is_none() {
                self.note(m, format!("BMC does {request:?} ({word:?}), unheard"));
            }
        }
        let fact = self.carried_out(m, request);
        if let Some((run, number)) = answer {
            let way = self.dice.millis(50, 600);
            let reply = BmcReply::Done { fact };
            self.after(
                way,
                Event::Reply {
                    m,
                    run,
                    number,
                    request: request.clone(),
                    reply,
                },
            );
        }
    }

    fn carried_out(&mut self, m: usize, request: &BmcRequest) -> BmcFact {
        match request {
            BmcRequest::ReadPower => BmcFact::Power {
                power: self.power_as_told(m),
            },
            BmcRequest::Discover => BmcFact::Discovered {
                fingerprint: format!("{m:064x}"),
                inventory: Box::new(
                    self.machines[m]
                        .metal
                        .inventory(billet_model::inventory::Source::Bmc),
                ),
                power: self.power_as_told(m),
            },
            BmcRequest::ReadWatts => BmcFact::Watts { watts: Some(180) },
            BmcRequest::ReadSettings => BmcFact::Settings {
                settings: self.machines[m].metal.settings.clone(),
            },
            BmcRequest::TryPassword => BmcFact::Password {
                works: self.password_that_works(m),
            },
            BmcRequest::SetPassword => {
                let metal = &mut self.machines[m].metal;
                metal.password = metal.password_sent.clone();
                BmcFact::Password {
                    works: PasswordThatWorks::Next,
                }
            }
            BmcRequest::Restore { what } => {
                let metal = &mut self.machines[m].metal;
                let accounts = metal.settings.accounts.get_or_insert_default();
                match what {
                    Restore::RemoveAccount { id, user } => {
                        accounts.retain(|a| a.id != *id || a.user != *user);
                    }
                    Restore::PutAccount { account } => {
                        for one in accounts.iter_mut().filter(|a| a.user == account.user) {
                            *one = account.clone();
                        }
                    }
                    Restore::Bios { attributes } => metal.bios_next.clone_from(attributes),
                    Restore::BootOrder { order } => metal.settings.boot_order.clone_from(order),
                    Restore::SecureBoot { on } => metal.settings.secure_boot = Some(*on),
                }
                BmcFact::Done
            }
            BmcRequest::InsertMedia { boot } => {
                let installer = self.installer_of(m, *boot);
                let metal = &mut self.machines[m].metal;
                metal.medium = Some(*boot);
                metal.installer = installer;
                BmcFact::Done
            }
            BmcRequest::EjectMedia => {
                self.machines[m].metal.medium = None;
                BmcFact::Done
            }
            BmcRequest::SetBoot { target } => {
                self.machines[m].metal.cd_once = *target == BootTarget::CdOnce;
                BmcFact::Done
            }
            BmcRequest::Power { action } => {
                let pause = self.dice.seconds(1, 7);
                let on = self.machines[m].metal.on;
                match action {
                    PowerAction::On => self.after(pause, Event::PowerTo { m, on: true }),
                    PowerAction::Off => self.after(pause, Event::PowerTo { m, on: false }),
                    PowerAction::Shutdown => {
                        let listens = matches!(self.machines[m].metal.running, Running::System(_));
                        if listens && self.dice.per_mille(850) {
                            self.after(pause * 4, Event::PowerTo { m, on: false });
                        }
                    }
                    PowerAction::Cycle => {
                        if on {
                            self.after(pause, Event::PowerTo { m, on: false });
                        }
                        self.after(
                            pause + SignedDuration::from_secs(6),
                            Event::PowerTo { m, on: true },
                        );
                    }
                    PowerAction::Reset if on => {
                        self.machines[m].metal.restart();
                        self.posts(m);
                    }
                    PowerAction::Reset => {}
                }
                BmcFact::Done
            }
        }
    }

    /// The passwords that Billet keeps for a BMC: the current one, and the next.
    pub fn passwords_kept(&self, m: usize) -> [Option<String>; 2] {
        let Some(id) = self.machines[m].id else {
            return [None, None];
        };
        [false, true].map(|next| {
            let kept = block_on(self.core.bmc_secret(id, next)).ok().flatten();
            kept.map(|secret| secret.expose().to_owned())
        })
    }

    fn password_that_works(&self, m: usize) -> PasswordThatWorks {
        let [current, next] = self.passwords_kept(m);
        match &self.machines[m].metal.password {
            None => PasswordThatWorks::Current,
            is if *is == next => PasswordThatWorks::Next,
            is if *is == current => PasswordThatWorks::Current,
            _ => PasswordThatWorks::Neither,
        }
    }

    fn power_as_told(&mut self, m: usize) -> Power {
        let now = self.now;
        let one = &mut self.machines[m];
        let mut on = one.metal.on;
        let cached = one.metal.disks.iter().any(|d| d.temper == Temper::Caches);
        if Weather::holds(one.weather.lies, now) && !cached {
            on = !on;
            one.lied_at = Some(now);
        }
        if on { Power::On } else { Power::Off }
    }

    /// Power really goes on or off.
    pub fn power_to(&mut self, m: usize, on: bool) {
        let metal = &mut self.machines[m].metal;
        if metal.on == on {
            return;
        }
        if on {
            metal.restart();
            self.note(m, "power is really on");
            self.posts(m);
        } else {
            metal.power_off(self.now);
            self.note(m, "power is really off");
        }
    }

    /// Firmware begins.
    pub fn posts(&mut self, m: usize) {
        let life = self.machines[m].metal.life;
        let pause = self.dice.seconds(10, 40);
        self.after(pause, Event::Firmware { m, life });
    }

    pub fn firmware(&mut self, m: usize, life: u64) {
        if self.machines[m].metal.life != life {
            return;
        }
        let weather = &self.machines[m].weather;
        let (hangs, forgets) = (
            Weather::holds(weather.hangs, self.now) && self.dice.per_mille(700),
            Weather::holds(weather.forgets, self.now) && self.dice.per_mille(700),
        );
        if hangs {
            self.note(m, "the boot hangs");
            return;
        }
        let source = self.machines[m].metal.boot_source(forgets);
        let pause = self.dice.seconds(5, 40);
        self.note(m, format!("firmware boots {source:?}"));
        match &source {
            Running::Ramdisk(_) => self.after(pause, Event::RamdiskUp { m, life }),
            Running::System(_) => self.after(pause, Event::SystemUp { m, life }),
            Running::Installer(_) => self.after(pause, Event::InstallerUp { m, life }),
            Running::Nothing | Running::Firmware => {}
        }
        self.machines[m].metal.running = source;
    }

    pub fn ramdisk_up(&mut self, m: usize, life: u64) {
        let one = &self.machines[m];
        let Running::Ramdisk(boot) = one.metal.running else {
            return;
        };
        if one.metal.life != life {
            return;
        }
        let lease = one.lease.clone();
        self.see(
            m,
            &Seen::Ramdisk {
                lease: lease.as_ref(),
            },
        );
        let token = self.core.keys.boot_token(boot).expose().to_owned();
        self.machines[m].metal.agent = Some(Agent {
            token,
            kernel: format!("kernel-{m}-{life}"),
            call: 0,
            at: At::Hello,
        });
        self.after(SignedDuration::ZERO, Event::Agent { m, life, call: 0 });
    }

    /// What is on the medium of a boot, where it is a tenant's own installer.
    fn installer_of(&self, m: usize, boot: billet_model::BootId) -> Option<Installer> {
        let record = block_on(self.core.store.boot(boot)).ok().flatten()?;
        if record.of != BootOf::Installer {
            return None;
        }
        let lease = self.machines[m].lease.as_ref()?;
        let token = self.core.keys.install_token(lease);
        Some(Installer {
            lease: lease.id,
            token: token.expose().to_owned(),
        })
    }

    /// A tenant's own installer is up: it finds its drives as it was promised.
    pub fn installer_up(&mut self, m: usize, life: u64) {
        let one = &self.machines[m];
        let Running::Installer(lease) = one.metal.running else {
            return;
        };
        if one.metal.life != life {
            return;
        }
        show(
            &mut self.checkers,
            &mut self.findings,
            self.now,
            m,
            &Seen::Installer {
                metal: &one.metal,
                lease,
            },
        );
        self.note(m, format!("the installer of lease {lease} is up"));
        self.count("installers up");
        let pause = self.dice.seconds(20, 900);
        self.after(pause, Event::Installs { m, life });
    }

    /// It puts a system on the drive, and says so; or restarts before it did; or
    /// says nothing.
    pub fn installs(&mut self, m: usize, life: u64) {
        let metal = &mut self.machines[m].metal;
        let Running::Installer(lease) = metal.running else {
            return;
        };
        let Some(token) = metal.installer.as_ref().map(|i| i.token.clone()) else {
            return;
        };
        if metal.life != life {
            return;
        }
        let owner = Owner::Lease(lease);
        if let Some(disk) = metal.disks.first_mut() {
            disk.holds.insert(owner);
        }
        metal.installed = Some(Installed {
            owner,
            phone: None,
            booted: true,
            report: Some(token),
        });
        self.note(m, "the installer has written its system");
        let how = self.dice.number(0, 99);
        if how >= 85
            && let Some(installed) = &mut self.machines[m].metal.installed
        {
            installed.report = None;
            self.count("installers that say nothing");
        }
        if how < 60 {
            self.after(SignedDuration::ZERO, Event::Report { m, life, tries: 0 });
        } else {
            self.restarts_itself(m);
        }
    }

    fn restarts_itself(&mut self, m: usize) {
        self.note(m, "the installer restarts the machine");
        self.machines[m].metal.restart();
        self.posts(m);
    }

    /// An installer, or what it installed, says that it is done.
    pub fn report(&mut self, m: usize, life: u64, tries: u32) -> Result<(), SimError> {
        let one = &self.machines[m];
        let Some(installed) = &one.metal.installed else {
            return Ok(());
        };
        let (Owner::Lease(lease), Some(token)) = (installed.owner, installed.report.clone()) else {
            return Ok(());
        };
        if one.metal.life != life {
            return Ok(());
        }
        let mut done = false;
        if self.up && !self.trouble(m, 100) {
            self.see(m, &Seen::Up { lease });
            let answer = self.call(Some(m), Call::Installed { token })?;
            done = matches!(answer, Answer::PhoneHome(Ok(_)));
        }
        if self.machines[m].metal.life != life {
            return Ok(());
        }
        if !done && tries < 20 {
            let tries = tries + 1;
            let pause = SignedDuration::from_secs(10);
            self.after(pause, Event::Report { m, life, tries });
            return Ok(());
        }
        if let Some(installed) = &mut self.machines[m].metal.installed {
            installed.report = None;
        }
        if matches!(self.machines[m].metal.running, Running::Installer(_)) {
            // It goes on writing for a while, and boots what it wrote.
            let pause = self.dice.seconds(1, 60);
            self.after(pause, Event::Restarts { m, life });
        }
        Ok(())
    }

    pub fn restarts(&mut self, m: usize, life: u64) {
        if self.machines[m].metal.life == life {
            self.restarts_itself(m);
        }
    }

    pub fn system_up(&mut self, m: usize, life: u64) {
        let one = &self.machines[m];
        let Running::System(owner) = one.metal.running else {
            return;
        };
        if one.metal.life != life {
            return;
        }
        show(
            &mut self.checkers,
            &mut self.findings,
            self.now,
            m,
            &Seen::System {
                metal: &one.metal,
                machine: one.stored.as_ref(),
                lease: one.lease.as_ref(),
            },
        );
        self.note(m, format!("the system of {owner:?} is up"));
        if let Owner::Lease(_) = owner {
            let pause = self.dice.seconds(60, 1200);
            self.after(pause, Event::Use { m, life });
            let first = one_is_new(&self.machines[m].metal.installed);
            if first {
                let pause = self.dice.seconds(2, 30);
                self.after(pause, Event::Phone { m, life, tries: 0 });
            }
            let installed = self.machines[m].metal.installed.as_ref();
            if installed.is_some_and(|i| i.report.is_some()) {
                let pause = self.dice.seconds(2, 30);
                self.after(pause, Event::Report { m, life, tries: 0 });
            }
        }
    }

    /// A system phones home: cloud-init tries twenty times.
    pub fn phone(&mut self, m: usize, life: u64, tries: u32) -> Result<(), SimError> {
        let one = &mut self.machines[m];
        let (Running::System(Owner::Lease(lease)), Some(installed)) =
            (&one.metal.running, &mut one.metal.installed)
        else {
            return Ok(());
        };
        let Some(token) = installed.phone.clone().filter(|_| !installed.booted) else {
            return Ok(());
        };
        if one.metal.life != life {
            return Ok(());
        }
        let lease = *lease;
        if tries >= 20 {
            installed.booted = true;
            return Ok(());
        }
        if self.up
            && let Some(former) = self.machines[m].metal.former.take()
        {
            let again = former.phone == token;
            let call = Call::PhoneHome {
                token: former.phone,
                form: PhoneHome::default(),
            };
            let answer = self.call(Some(m), call)?;
            if matches!(answer, Answer::PhoneHome(Ok(_))) && !again {
                self.find(m, Violation::FormerBoot(former.lease));
            }
        }
        let arrives = self.up && !self.trouble(m, 100);
        let mut done = false;
        if arrives {
            self.see(m, &Seen::Up { lease });
            let answer = self.call(
                Some(m),
                Call::PhoneHome {
                    token,
                    form: PhoneHome::default(),
                },
            )?;
            done = matches!(answer, Answer::PhoneHome(Ok(_)));
        }
        if done {
            if let Some(installed) = &mut self.machines[m].metal.installed {
                installed.booted = true;
            }
        } else {
            let tries = tries + 1;
            self.after(
                SignedDuration::from_secs(10),
                Event::Phone { m, life, tries },
            );
        }
        Ok(())
    }

    pub fn probed(&mut self, m: usize, run: u64) -> Result<(), SimError> {
        if run != self.run {
            return Ok(());
        }
        let lost = self.trouble(m, 50);
        let answers = match self.machines[m].metal.running {
            Running::System(Owner::Lease(lease)) if !lost => {
                self.see(m, &Seen::Up { lease });
                true
            }
            _ => false,
        };
        let input = Input {
            probed: Some(answers),
            ..Input::default()
        };
        self.step(m, input, None)
    }

    /// A tenant is at work on its machine.
    pub fn used(&mut self, m: usize, life: u64) {
        let metal = &mut self.machines[m].metal;
        let Running::System(owner @ Owner::Lease(_)) = metal.running else {
            return;
        };
        if metal.life != life {
            return;
        }
        for disk in &mut metal.disks {
            disk.holds.insert(owner);
        }
        self.note(m, "the tenant writes to its drives");
        if self.dice.per_mille(120) {
            // Its root reaches the BMC from inside.
            let number = self.dice.number(2, 9);
            let settings = &mut self.machines[m].metal.settings;
            let accounts = settings.accounts.get_or_insert_default();
            let id = number.to_string();
            if accounts.iter().all(|a| a.id != id) {
                accounts.push(BmcAccount {
                    user: format!("mallory{id}"),
                    id,
                    role: Some("Administrator".into()),
                    enabled: Some(true),
                });
            }
            settings.boot_order.reverse();
        }
        if self.dice.per_mille(15) {
            let version = format!("{}", self.now);
            let versions = &mut self.machines[m].metal.settings.versions;
            versions.insert("BIOS".into(), version);
        }
        if self.dice.per_mille(100) {
            let setting = format!("{}", self.now);
            self.machines[m]
                .metal
                .settings
                .bios
                .insert("Boost".into(), setting);
        }
        if self.dice.per_mille(150) {
            self.note(m, "the tenant reboots from inside");
            self.machines[m].metal.restart();
            self.posts(m);
        } else if self.dice.per_mille(60) {
            self.note(m, "the tenant shuts down from inside");
            self.machines[m].metal.power_off(self.now);
        } else {
            let pause = self.dice.seconds(300, 2400);
            self.after(pause, Event::Use { m, life });
        }
    }

    /// Whether a message is hit by trouble, so often out of a thousand in
    /// rough weather, and a tenth of that otherwise.
    pub fn trouble(&mut self, m: usize, per_mille: u32) -> bool {
        let rough = Weather::holds(self.machines[m].weather.rough, self.now);
        !self.quiet
            && self
                .dice
                .per_mille(if rough { per_mille * 2 } else { per_mille / 5 })
    }

    /// The weather changes.
    pub fn weather(&mut self, m: usize) {
        if self.quiet {
            return;
        }
        let until = Some(self.now + self.dice.seconds(60, 900));
        let kind = self.dice.number(0, 99);
        let one = &mut self.machines[m];
        let what = match kind {
            0..40 => {
                one.weather.rough = until;
                "rough"
            }
            40..55 => {
                one.weather.down = until;
                "BMC down"
            }
            55..66 => {
                one.weather.lies = until;
                "BMC lies"
            }
            66..76 => {
                one.weather.forgets = until;
                "override forgotten"
            }
            76..84 => {
                one.weather.no_media = until;
                "media refused"
            }
            84..95 => {
                one.weather.hangs = until;
                "boots hang"
            }
            95..97 => {
                one.weather.password = true;
                "password changed"
            }
            97 => {
                one.metal.broken = true;
                if let Some(disk) = one.metal.disks.first_mut() {
                    disk.temper = Temper::Dead;
                }
                "a drive dies"
            }
            98 => {
                one.metal.broken = true;
                one.weather.dead = true;
                "the BMC dies"
            }
            _ => "fair",
        };
        self.note(m, format!("weather: {what}"));
        let pause = self.dice.seconds(600, 3600);
        self.after(pause, Event::Weather { m });
    }
}

fn one_is_new(installed: &Option<crate::metal::Installed>) -> bool {
    installed
        .as_ref()
        .is_some_and(|i| !i.booted && i.phone.is_some())
}
