//! A machine as it really is: power, medium, boot override, drives and what
//! runs. No part of the control plane sees this; the checkers do.

use std::collections::BTreeSet;

use billet_model::{
    BootId, LeaseId, Time,
    bmc::{BmcAccount, FirmwareSettings},
    inventory::{self, Inventory},
};

use crate::{agent::Agent, dice::Dice};

/// Whose bytes are on a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// Whoever had the machine before Billet.
    Before,
    /// The tenant of a lease.
    Lease(LeaseId),
    /// An image that is for everyone, put there for nobody yet.
    Everyone,
}

/// How a drive takes an erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// As it should.
    Honest,
    /// It says done and does nothing.
    Pretends,
    /// It reads as empty until its power was off, and then no more.
    Caches,
    /// It fails.
    Dead,
}

/// A bootable system on a drive.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    pub owner: Owner,
    /// With which its first boot phones home.
    pub phone: Option<String>,
    /// Its first boot is over.
    pub booted: bool,
    /// With which it says that it was installed, where its installer did not.
    pub report: Option<String>,
}

/// What is on a medium that is in, where it is a tenant's own installer.
#[derive(Clone, Debug)]
pub(crate) struct Installer {
    pub lease: LeaseId,
    /// With which it says that it is done.
    pub token: String,
}

/// The word of a system that is not on the drive any more, still on its way.
#[derive(Clone, Debug)]
pub(crate) struct Former {
    pub lease: LeaseId,
    pub phone: String,
}

/// A drive.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub serial: String,
    pub temper: Temper,
    /// Whose data is on it.
    pub holds: BTreeSet<Owner>,
    /// Reads as empty for now.
    pub masked: bool,
    /// The array that it is marked as one of.
    pub array: Option<uuid::Uuid>,
}

impl Disk {
    /// Whether a reading finds anything.
    pub fn reads_data(&self) -> bool {
        !self.holds.is_empty() && !self.masked
    }
}

/// What the processors do.
#[derive(Clone, Debug)]
pub(crate) enum Running {
    Nothing,
    Firmware,
    /// The ramdisk, from this boot's medium.
    Ramdisk(BootId),
    /// A tenant's own installer, from a medium.
    Installer(LeaseId),
    /// A system from the drive.
    System(Owner),
}

/// A machine.
pub(crate) struct Metal {
    pub name: String,
    pub serial: String,
    pub on: bool,
    /// Grows with each change of power or reboot: what was running is gone.
    pub life: u64,
    pub off_since: Option<Time>,
    pub running: Running,
    pub medium: Option<BootId>,
    /// What the medium is, where it is no ramdisk.
    pub installer: Option<Installer>,
    pub cd_once: bool,
    pub disks: Vec<Disk>,
    pub installed: Option<Installed>,
    pub former: Option<Former>,
    /// The image that was put on a drive for nobody yet, on which, and by which
    /// kernel's agent.
    pub prepared: Option<(String, String, String)>,
    pub agent: Option<Agent>,
    pub settings: FirmwareSettings,
    /// BIOS attributes that hold from the next boot on.
    pub bios_next: std::collections::BTreeMap<String, String>,
    /// The BMC's password since Billet gave it one; `None` for the one that
    /// Billet was told.
    pub password: Option<String>,
    /// The password that Billet sent last.
    pub password_sent: Option<String>,
    /// Its BMC refuses passwords without other characters than letters and digits.
    pub picky: bool,
    /// Its BMC neither deletes nor disables accounts.
    pub stubborn: bool,
    /// Parts that will not mend by themselves: a drive, the BMC.
    pub broken: bool,
    pub gpus: usize,
    /// Last erase of all drives that an agent ended.
    pub erased_at: Option<Time>,
    /// Whether power was really off since then.
    pub off_after_erase: bool,
}

impl Metal {
    pub fn new(index: usize, dice: &mut Dice, broken_per_mille: u32) -> Self {
        let count = dice.number(1, 4);
        let mut disks: Vec<Disk> = (0..count)
            .map(|d| Disk {
                serial: format!("D{index:04}-{d}"),
                temper: Temper::Honest,
                holds: BTreeSet::from([Owner::Before]),
                masked: false,
                array: None,
            })
            .collect();
        let mut broken = false;
        if dice.per_mille(broken_per_mille)
            && let Some(disk) = disks.last_mut()
        {
            disk.temper = if dice.per_mille(500) {
                Temper::Pretends
            } else {
                Temper::Caches
            };
            broken = true;
        }
        let on = dice.per_mille(600);
        Self {
            name: format!("m{index:03}"),
            serial: format!("SN{index:05}"),
            on,
            life: 0,
            off_since: None,
            running: if on {
                Running::System(Owner::Before)
            } else {
                Running::Nothing
            },
            medium: None,
            installer: None,
            cd_once: false,
            disks,
            installed: Some(Installed {
                owner: Owner::Before,
                phone: None,
                booted: true,
                report: None,
            }),
            former: None,
            prepared: None,
            agent: None,
            settings: settings(),
            bios_next: std::collections::BTreeMap::new(),
            password: None,
            password_sent: None,
            picky: index % 4 == 2,
            stubborn: index % 5 == 3,
            broken,
            gpus: if index.is_multiple_of(3) { 4 } else { 0 },
            erased_at: None,
            off_after_erase: false,
        }
    }

    /// What a look at it finds.
    pub fn inventory(&self, source: inventory::Source) -> Inventory {
        let drives = self
            .disks
            .iter()
            .enumerate()
            .map(|(i, d)| inventory::Drive {
                name: format!("nvme{i}n1"),
                serial: Some(d.serial.clone()),
                size_bytes: SIZE,
                ..inventory::Drive::default()
            })
            .collect();
        let gpus = (0..self.gpus)
            .map(|g| inventory::Gpu {
                address: format!("0000:{g:02x}:00.0"),
                ..inventory::Gpu::default()
            })
            .collect();
        Inventory {
            source,
            system: inventory::System {
                serial: Some(self.serial.clone()),
                ..inventory::System::default()
            },
            drives,
            gpus,
            ..Inventory::default()
        }
    }

    /// Power goes off: whatever ran is gone.
    pub fn power_off(&mut self, now: Time) {
        if self.on {
            self.on = false;
            self.off_since = Some(now);
            self.life += 1;
            self.running = Running::Nothing;
            self.agent = None;
            self.off_after_erase = true;
            for disk in &mut self.disks {
                disk.masked = false;
            }
        }
    }

    /// The processors begin anew, power on.
    pub fn restart(&mut self) {
        self.on = true;
        self.life += 1;
        self.settings.bios.append(&mut self.bios_next);
        self.running = Running::Firmware;
        self.agent = None;
    }

    /// Another kernel is started, with no pass through firmware.
    pub fn kexec(&mut self, running: Running) {
        self.life += 1;
        self.running = running;
        self.agent = None;
    }

    /// What firmware chooses to boot; the override is used up.
    pub fn boot_source(&mut self, forgets: bool) -> Running {
        let cd = std::mem::take(&mut self.cd_once) && !forgets;
        match (&self.medium, &self.installed) {
            (Some(boot), _) if cd => self.medium_boots(*boot),
            (_, Some(system)) => Running::System(system.owner),
            (Some(boot), None) => self.medium_boots(*boot),
            (None, None) => Running::Nothing,
        }
    }

    fn medium_boots(&self, boot: BootId) -> Running {
        match &self.installer {
            Some(installer) => Running::Installer(installer.lease),
            None => Running::Ramdisk(boot),
        }
    }

    /// A drive that holds the data of another than `owner`, if any.
    pub fn stranger(&self, owner: Owner) -> Option<(&Disk, Owner)> {
        self.disks
            .iter()
            .find_map(|d| d.holds.iter().find(|o| **o != owner).map(|o| (d, *o)))
    }
}

/// What is set in a machine before anybody touched it.
fn settings() -> FirmwareSettings {
    FirmwareSettings {
        bios: [("Boost".to_owned(), "off".to_owned())].into(),
        boot_order: vec!["disk".into(), "network".into()],
        versions: [("BIOS".to_owned(), "1".to_owned())].into(),
        accounts: Some(vec![BmcAccount {
            id: "1".into(),
            user: "billet".into(),
            role: Some("Administrator".into()),
            enabled: Some(true),
        }]),
        secure_boot: Some(false),
        ..FirmwareSettings::default()
    }
}

/// Bytes of a drive.
pub(crate) const SIZE: u64 = 1 << 30;
