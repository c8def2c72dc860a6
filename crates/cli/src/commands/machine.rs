//! Machines, for operators.

use std::path::PathBuf;

use billet_client::{Client, ConsoleOf, Fingerprint, MachineVerb};
use billet_model::{
    api::{BmcChange, DrivesChange, MachineChanged, MachineView, Page},
    bmc::PowerAction,
    inventory::Inventory,
};
use clap::{Args, Subcommand, ValueEnum};

mod set;
mod view;

pub use view::{mark, parts, show, table};

use super::{ask, console, enroll};
use crate::{
    app::App,
    failure::{Code, Failure},
    human, manifest,
    output::maybe,
    progress,
};

/// Bring machines in, look after them, take them out.
#[derive(Debug, Subcommand)]
pub enum Machine {
    Enroll(Box<enroll::Enroll>),
    /// List machines.
    ///
    /// With what each is doing and why it waits.
    #[command(after_help = "Examples:
  billet machine list
  billet machine list --lifecycle quarantined --site fra1 -o json")]
    List {
        /// Only those in this state, as available.
        #[arg(long, value_name = "STATE")]
        lifecycle: Option<String>,
        /// Only those at this site.
        #[arg(long, value_name = "NAME")]
        site: Option<String>,
        /// Only those of this type.
        #[arg(long = "type", value_name = "NAME")]
        machine_type: Option<String>,
    },
    /// Show a machine, its parts, tests and what is wrong.
    ///
    /// What was found is compared with what was expected, and the difference is shown.
    #[command(after_help = "Examples:
  billet machine show r1-u07
  billet machine show r1-u07 -o json")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Take enrolled machines over: power them off, and erase all of their drives.
    ///
    /// The drives that will be erased are listed by serial, and a yes is asked for. Whatever is on
    /// them is lost. A drive that is found later and was not listed is never erased: its machine
    /// is held until an operator looks at it.
    #[command(
        name = "take-over",
        after_help = "Examples:
  billet machine take-over r1-u07
  billet machine take-over r1-u07 r1-u08 --yes"
    )]
    TakeOver {
        /// Names or ids of the machines.
        #[arg(required = true)]
        names: Vec<String>,
        /// Do not ask: the drives shown may be erased.
        #[arg(long)]
        yes: bool,
        /// Let Billet give the BMC another password now and after each lease, or not; as was said
        /// at enrolment where not given.
        #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes", value_parser = yes_or_no, require_equals = true)]
        rotate_password: Option<bool>,
        #[command(flatten)]
        wait: Wait,
    },
    /// List a machine's parts again.
    ///
    /// Boots it into the ramdisk, so nobody may hold it.
    #[command(after_help = "Examples:\n  billet machine inspect r1-u07")]
    Inspect(One),
    /// Test a machine again.
    ///
    /// Memory, drives and links, from the ramdisk; nobody may hold it.
    #[command(after_help = "Examples:\n  billet machine test r1-u07")]
    Test(One),
    /// Bring a quarantined machine, or one in maintenance, back.
    ///
    /// It is inspected, erased where it may hold data, and tested, and then available.
    #[command(after_help = "Examples:\n  billet machine repair r1-u07")]
    Repair(One),
    /// Keep a machine off offers.
    ///
    /// A lease that holds it goes on.
    #[command(
        after_help = "Examples:\n  billet machine cordon r1-u07 --reason 'fan replacement on Monday'"
    )]
    Cordon(Why),
    /// Offer a machine again.
    ///
    /// Undoes `cordon`.
    #[command(after_help = "Examples:\n  billet machine uncordon r1-u07")]
    Uncordon(One),
    /// Hold a machine from tenants because something is wrong with it.
    ///
    /// `repair` brings it back.
    #[command(after_help = "Examples:\n  billet machine quarantine r1-u07 --reason 'smoke'")]
    Quarantine(Why),
    /// Take a machine out to work on it.
    ///
    /// Billet leaves it alone until `repair`.
    #[command(after_help = "Examples:\n  billet machine maintenance r1-u07 --reason 'new drives'")]
    Maintenance(Why),
    /// Take a machine out under the tenant that has it, to mend it.
    ///
    /// It is powered off, and no drive is erased: that stays on the lease's record and on its erase
    /// certificate. The tenant sees the lease in `maintenance`, with the reason. `repair` boots the
    /// drive again and gives the machine back to its tenant.
    #[command(after_help = "Examples:
  billet machine break-fix r1-u07 --reason 'fan 3 replaced'
  billet machine repair r1-u07")]
    BreakFix(Why),
    /// Take a machine out for good.
    ///
    /// Its record and evidence stay.
    #[command(after_help = "Examples:\n  billet machine retire r1-u07 --yes")]
    Retire {
        /// Its name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Change a machine's power.
    ///
    /// For a machine that nobody holds; a lease's is changed with `lease power`.
    #[command(after_help = "Examples:\n  billet machine power r1-u07 cycle")]
    Power {
        /// Its name or id.
        name: String,
        /// How.
        #[arg(value_enum)]
        action: PowerWord,
        #[command(flatten)]
        wait: Wait,
    },
    /// Use a machine's serial console, or read what it wrote there.
    ///
    /// As `lease console`, and all of it, whoever had the machine. What you read of a tenant's time,
    /// and that you type while it is leased, stays on the lease's record; typing then takes --force.
    /// A BMC's host key is pinned when it is first seen: give another one with --host-key.
    #[command(after_help = "Examples:
  billet machine console r1-u07
  billet machine console r1-u07 --log --since 2d --search 'MCE|Xid' --regex
  billet machine console r1-u07 --status
  billet machine console r1-u07 --host-key SHA256:uNiVztksCsDhcc0u9e8BrQJqFt...")]
    Console {
        /// Its name or id.
        name: String,
        /// Show whether it is connected, and what is recorded.
        #[arg(long, conflicts_with_all = ["log", "read_only", "force", "host_key"])]
        status: bool,
        /// Pin this host key, SHA-256 as `ssh-keygen -l` shows it; `any` for the next one shown.
        #[arg(long, value_name = "SHA256|any", conflicts_with_all = ["log", "read_only", "force"])]
        host_key: Option<String>,
        #[command(flatten)]
        view: Box<console::View>,
    },
    /// Confirm machines after a backup was restored.
    ///
    /// A backup knows what was so when it was made. Until you have looked at a machine and
    /// confirmed it, nothing is done to it.
    #[command(after_help = "Examples:
  billet machine confirm r1-u07
  billet machine confirm $(billet machine list -o json | jq -r '.items[].name')")]
    Confirm {
        /// Names or ids of the machines.
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Give a machine's BMC another password.
    ///
    /// Billet makes it, keeps it encrypted before it is sent, and uses it once it signs in; until
    /// then the old one is kept beside it. While a lease holds the machine this is done when the
    /// lease ends.
    #[command(
        name = "rotate-password",
        after_help = "Examples:
  billet machine rotate-password r1-u07
  billet machine rotate-password r1-u07 --after-each-lease=no"
    )]
    RotatePassword {
        /// Its name or id.
        name: String,
        /// Whether it is also done after each lease from now on; as it was where not given.
        #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes", value_parser = yes_or_no, require_equals = true)]
        after_each_lease: Option<bool>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Print the password of a machine's BMC.
    ///
    /// For operators; each time goes on record. After a restore from a backup the BMC may have a
    /// password that was made since: ask for those by number, each higher than the last.
    #[command(
        name = "bmc-password",
        after_help = "Examples:
  billet machine bmc-password r1-u07
  billet machine bmc-password r1-u07 --number 4 -o json"
    )]
    BmcPassword {
        /// Its name or id.
        name: String,
        /// One that Billet made, by its number.
        #[arg(long)]
        number: Option<u32>,
    },
    /// Take what is set in a machine for what is wanted.
    ///
    /// Its BMC accounts, BIOS settings, boot order and firmware versions are read, and what leases
    /// left otherwise than it was is accepted: after a firmware update of yours, say.
    #[command(
        name = "accept-firmware",
        after_help = "Examples:\n  billet machine accept-firmware r1-u07"
    )]
    AcceptFirmware(One),
    /// Strike a drive from a machine's list, or add one.
    ///
    /// A drive that left the building cannot be erased any more: struck, it is missed no longer,
    /// and that stands on the next erase certificate with the reason. A drive that was put in is
    /// erased only after it was added here. A drive that is there and cannot be erased holds the
    /// machine: let go, on your word, the next `repair` is accepted without it. That stands on the
    /// certificate, on the machine and on its offer, for what is on that drive may be read by the
    /// next tenant.
    #[command(after_help = "Examples:
  billet machine drives r1-u07 --strike S4XNNX0R --reason 'sent back to its maker, RMA 1042'
  billet machine drives r1-u07 --let-go S4XNNX0R --reason 'dead; shredded with the machine'
  billet machine drives r1-u07 --add S7KHNJ0W")]
    Drives {
        /// Its name or id.
        name: String,
        /// Serial number of the drive that left.
        #[arg(
            long,
            value_name = "SERIAL",
            requires = "reason",
            conflicts_with_all = ["add", "let_go"],
            required_unless_present_any = ["add", "let_go"]
        )]
        strike: Option<String>,
        /// Serial number of the drive that cannot be erased, and is let go all the same.
        #[arg(
            long,
            value_name = "SERIAL",
            requires = "reason",
            conflicts_with = "add"
        )]
        let_go: Option<String>,
        /// Why, for the record and the certificate.
        #[arg(long, conflicts_with = "add")]
        reason: Option<String>,
        /// Serial number of the drive that came.
        #[arg(long, value_name = "SERIAL")]
        add: Option<String>,
    },
    /// Correct what is recorded of a machine.
    ///
    /// Name and rack at any time; its site and addresses while no lease holds it and nothing is done
    /// on it. Its type, and the serial number that it should have, are compared with what is found in
    /// it before it is offered: they change while it is enrolled, quarantined or in maintenance, and
    /// `repair` inspects it afterwards. Its BMC is changed with `set-bmc`, its drives with `drives`.
    #[command(after_help = "Examples:
  billet machine set r1-u07 --name r2-u01 --rack r2
  billet machine set r1-u07 --network main=10.88.0.17 --no-network storage
  billet machine set r1-u07 --type h100-sxm5-80g.4x")]
    Set(Box<set::Set>),
    /// Set where a machine's BMC is, and what it is signed in to with.
    ///
    /// What is not given stays as it is. The password is kept encrypted, and nobody can read it
    /// back but with `bmc-password`. Give the fingerprint where the BMC has a new certificate.
    #[command(
        name = "set-bmc",
        after_help = "Examples:
  billet machine set-bmc r1-u07 --user root --password-file new-password
  billet machine set-bmc r1-u07 --address 10.0.0.8 --fingerprint 3f5a..."
    )]
    SetBmc(Box<SetBmc>),
}

/// A machine.
#[derive(Debug, Args)]
pub struct One {
    /// Its name or id.
    name: String,
    #[command(flatten)]
    wait: Wait,
}

/// What is to be changed of a BMC.
#[derive(Debug, Args)]
pub struct SetBmc {
    /// The machine's name or id.
    name: String,
    #[command(flatten)]
    change: Change,
}

/// The changes: at least one.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Change {
    /// The BMC's address.
    #[arg(long, value_parser = manifest::bmc_address)]
    address: Option<String>,
    /// The BMC's user.
    #[arg(long)]
    user: Option<String>,
    /// File with the BMC's password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// SHA-256 of the BMC's certificate, to be pinned from now on.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        other => Err(format!("{other:?} is neither yes nor no")),
    }
}

/// A machine and a reason.
#[derive(Debug, Args)]
pub struct Why {
    /// Its name or id.
    name: String,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
}

/// Whether to wait for what was begun.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// Do not wait for the end of what this begins.
    #[arg(long)]
    pub no_wait: bool,
    /// Wait for it, which is what happens anyway.
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    pub wait: bool,
}

/// How to change the power.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PowerWord {
    /// Power on.
    On,
    /// Power off at once.
    Off,
    /// Ask the system to shut down.
    Shutdown,
    /// Off, a pause, on.
    Cycle,
    /// A hardware reset without loss of power.
    Reset,
}

impl From<PowerWord> for PowerAction {
    fn from(word: PowerWord) -> Self {
        match word {
            PowerWord::On => Self::On,
            PowerWord::Off => Self::Off,
            PowerWord::Shutdown => Self::Shutdown,
            PowerWord::Cycle => Self::Cycle,
            PowerWord::Reset => Self::Reset,
        }
    }
}

impl Machine {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        if let Self::Enroll(enroll) = self {
            return enroll.run(app).await;
        }
        let client = app.client().await?;
        let client = &client;
        match self {
            Self::Enroll(_) => Ok(()),
            Self::List {
                lifecycle,
                site,
                machine_type,
            } => {
                let filters = super::filters(&[
                    ("lifecycle", lifecycle.as_deref()),
                    ("site", site.as_deref()),
                    ("type", machine_type.as_deref()),
                ]);
                let items = client.machines(&filters).all().await?;
                app.output
                    .result(&Page { items, next: None }, |page| table(&page.items))
            }
            Self::Show { name } => app.output.result(&client.machine(&name).await?, show),
            Self::TakeOver {
                names,
                yes,
                rotate_password,
                wait,
            } => take_over(app, client, &names, yes, rotate_password, wait).await,
            Self::Inspect(one) => {
                verb(app, client, &one.name, MachineVerb::Inspect, one.wait).await
            }
            Self::Test(one) => verb(app, client, &one.name, MachineVerb::Test, one.wait).await,
            Self::Repair(one) => verb(app, client, &one.name, MachineVerb::Repair, one.wait).await,
            Self::Uncordon(one) => {
                verb(app, client, &one.name, MachineVerb::Uncordon, one.wait).await
            }
            Self::Cordon(why) => reasoned(app, client, why, MachineVerb::Cordon).await,
            Self::Quarantine(why) => reasoned(app, client, why, MachineVerb::Quarantine).await,
            Self::Maintenance(why) => reasoned(app, client, why, MachineVerb::Maintenance).await,
            Self::BreakFix(why) => reasoned(app, client, why, MachineVerb::BreakFix).await,
            Self::Retire { name, yes } => {
                let machine = client.machine(&name).await?;
                let question = format!("Take {} out for good?", machine.name);
                sure(yes, &question)?;
                let changed = client.ask_machine(&name, &MachineVerb::Retire).await?;
                finish(app, client, changed, NOW).await
            }
            Self::Power { name, action, wait } => {
                let changed = client.power_machine(&name, action.into()).await?;
                finish(app, client, changed, wait).await
            }
            Self::Console {
                name,
                status,
                host_key,
                view,
            } => match host_key {
                Some(key) => {
                    let key = Some(key).filter(|key| key != "any");
                    let pinned = client.pin_console_host_key(&name, key).await?;
                    app.output.result(&pinned, console::status)
                }
                None if status => {
                    let status = client.console_status(&name).await?;
                    app.output.result(&status, console::status)
                }
                None => view.run(app, client, ConsoleOf::Machine(&name)).await,
            },
            Self::Confirm { names } => confirm(app, client, &names).await,
            Self::RotatePassword {
                name,
                after_each_lease,
                wait,
            } => {
                let changed = client.rotate_password(&name, after_each_lease).await?;
                finish(app, client, changed, wait).await
            }
            Self::BmcPassword { name, number } => {
                let shown = client.bmc_password(&name, number).await?;
                if !shown.or.is_empty() {
                    app.output
                        .note("Another one may be it instead: see -o json.");
                }
                app.output.result(&shown, |shown| shown.password.clone())
            }
            Self::AcceptFirmware(one) => {
                verb(
                    app,
                    client,
                    &one.name,
                    MachineVerb::AcceptFirmware,
                    one.wait,
                )
                .await
            }
            Self::Drives {
                name,
                strike,
                let_go,
                reason,
                add,
            } => {
                let change = DrivesChange {
                    strike,
                    let_go,
                    reason,
                    add,
                };
                let changed = client.change_drives(&name, &change).await?;
                finish(app, client, changed, NOW).await
            }
            Self::Set(set) => set.run(app, client).await,
            Self::SetBmc(set) => {
                let SetBmc { name, change } = *set;
                let password = change
                    .password_file
                    .as_deref()
                    .map(manifest::password_file)
                    .transpose()
                    .map_err(Failure::usage)?;
                let change = BmcChange {
                    address: change.address,
                    user: change.user,
                    password,
                    fingerprint: change.fingerprint.map(|print| print.to_string()),
                };
                let changed = client.set_bmc(&name, &change).await?;
                finish(app, client, changed, NOW).await
            }
        }
    }
}

/// For what is done at once: nothing to wait for beyond what the server says.
const NOW: Wait = Wait {
    no_wait: false,
    wait: false,
};

pub(super) fn sure(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || ask::yes(question, "give --yes to do it without being asked")? {
        return Ok(());
    }
    Err(Failure::new(
        Code::Refused,
        "not confirmed; nothing was done",
    ))
}

async fn reasoned(
    app: &App,
    client: &Client,
    why: Why,
    make: fn(String) -> MachineVerb,
) -> Result<(), Failure> {
    verb(app, client, &why.name, make(why.reason), NOW).await
}

async fn verb(
    app: &App,
    client: &Client,
    name: &str,
    verb: MachineVerb,
    wait: Wait,
) -> Result<(), Failure> {
    let changed = client.ask_machine(name, &verb).await?;
    finish(app, client, changed, wait).await
}

/// Follows what was begun, where that is wanted, and prints the machine as it is then.
async fn finish(
    app: &App,
    client: &Client,
    mut changed: MachineChanged,
    wait: Wait,
) -> Result<(), Failure> {
    if let (Some(operation), false) = (&changed.operation, wait.no_wait) {
        let label = changed.machine.name.to_string();
        let operation = progress::follow(app, client, &label, operation.id).await?;
        changed.machine = client.machine(&changed.machine.id.to_string()).await?;
        changed.operation = Some(operation);
    }
    app.output.result(&changed, |changed| {
        let mut text = table(std::slice::from_ref(&changed.machine));
        if let (Some(operation), true) = (&changed.operation, wait.no_wait) {
            text.push_str(&format!(
                "\n\nFollow it with: billet operation follow {}",
                operation.id
            ));
        }
        text
    })
}

async fn take_over(
    app: &App,
    client: &Client,
    names: &[String],
    yes: bool,
    rotate_password: Option<bool>,
    wait: Wait,
) -> Result<(), Failure> {
    let mut machines = Vec::new();
    for name in names {
        machines.push(client.machine(name).await?);
    }
    let mut drives = 0;
    for machine in &machines {
        let serials: Vec<&str> = serials(machine);
        if serials.is_empty() {
            return Err(Failure::new(
                Code::Refused,
                format!("no drive of {} is known yet", machine.name),
            )
            .hint("its BMC shows none, or it was not read yet: see `billet machine show`"));
        }
        drives += serials.len();
        app.output.note(format!(
            "{} ({}): {}",
            machine.name,
            maybe(machine.serial.as_ref()),
            serials.join(", ")
        ));
        for difference in &machine.differences {
            app.output.note(format!("  not as expected: {difference}"));
        }
    }
    let question = format!(
        "Power off {} and erase {}? All that is on them is lost.",
        human::count(machines.len(), "machine"),
        human::count(drives, "drive"),
    );
    sure(yes, &question)?;

    let mut started = Vec::new();
    for machine in &machines {
        let drives = serials(machine).into_iter().map(str::to_owned).collect();
        let id = machine.id.to_string();
        let version = Some(machine.version);
        let one = client.take_over(&id, drives, rotate_password, version);
        started.push(one.await?);
    }
    if !wait.no_wait {
        let operations = started
            .iter()
            .map(|s| (s.machine.name.to_string(), s.operation.id))
            .collect();
        progress::follow_all(app, client, operations).await?;
        for one in &mut started {
            one.machine = client.machine(&one.machine.id.to_string()).await?;
            one.operation = client.operation(one.operation.id).await?;
        }
    }
    let page = Page {
        items: started,
        next: None,
    };
    app.output.result(&page, |page| {
        let machines: Vec<MachineView> = page.items.iter().map(|s| s.machine.clone()).collect();
        table(&machines)
    })
}

/// Serials of the drives that a take-over would erase: its own, not what is plugged in or remote.
fn serials(machine: &MachineView) -> Vec<&str> {
    if !machine.drives.is_empty() {
        return machine.drives.iter().map(|d| d.serial.as_str()).collect();
    }
    let found = machine.inventory.iter().flat_map(Inventory::own_drives);
    found.filter_map(|drive| drive.serial.as_deref()).collect()
}

async fn confirm(app: &App, client: &Client, names: &[String]) -> Result<(), Failure> {
    let mut items = Vec::new();
    for name in names {
        let changed = client.ask_machine(name, &MachineVerb::Confirm).await?;
        items.push(changed.machine);
    }
    app.output
        .result(&Page { items, next: None }, |page| table(&page.items))
}
