//! Offers and leases, for tenants.

use std::path::{Path, PathBuf};

use billet_client::{Client, ConsoleOf};
use billet_model::{
    Name,
    api::{LeaseChange, LeaseStarted, LeaseView, NewLease, Offer, Page, Reinstall},
    lease::{ActiveBecause, LeaseMode},
    storage::RootDrive,
};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{
    certificate::{first_start, visit},
    console::View,
    keys_given,
    layout::{self, Drives},
    machine::{PowerWord, Wait, mark, sure},
    measured::{installation, measurements},
};
use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list, maybe},
    progress,
};

/// Show what is on offer.
///
/// How many machines of each type are free at each site, what is in them, and what you should know
/// of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet offers
  billet offers --site fra1 -o json")]
pub struct Offers {
    /// Only at this site.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Only of this type.
    #[arg(long = "type", value_name = "NAME")]
    machine_type: Option<String>,
}

impl Offers {
    /// Shows it.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        let filters = super::filters(&[
            ("site", self.site.as_deref()),
            ("type", self.machine_type.as_deref()),
        ]);
        let items = client.offers(&filters).all().await?;
        app.output
            .result(&Page { items, next: None }, |page| offers(&page.items))
    }
}

/// How many wait warm, and what one of them draws.
fn warm(offer: &Offer) -> String {
    match (offer.warm, offer.warm_watts) {
        (0, _) => String::new(),
        (count, Some(watts)) => format!("{count} ({watts} W each)"),
        (count, None) => format!("{count} (power not measured)"),
    }
}

fn offers(offers: &[Offer]) -> String {
    let mut text = list(
        [
            "type", "site", "law", "free#", "warm#", "of#", "gpus", "threads#", "memory#",
            "drives#", "lab",
        ],
        offers.iter().map(|o| {
            let gpus = match (&o.gpu_model, o.gpus) {
                (_, 0) => String::new(),
                (Some(model), count) => format!("{count} x {model}"),
                (None, count) => count.to_string(),
            };
            [
                o.machine_type.to_string(),
                o.site.to_string(),
                o.jurisdiction.clone(),
                o.free.to_string(),
                warm(o),
                o.total.to_string(),
                gpus,
                o.threads.to_string(),
                human::bytes(o.memory_bytes),
                human::bytes(o.drive_bytes),
                mark(o.emulation).to_owned(),
            ]
        }),
    );
    let mut notes: Vec<&String> = offers.iter().flat_map(|o| &o.notes).collect();
    notes.sort();
    notes.dedup();
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        text.push_str(&format!("\nNote: {note}"));
    }
    text
}

/// Lease whole machines, with root.
#[derive(Debug, Subcommand)]
pub enum Lease {
    Create(Box<Create>),
    /// List leases.
    ///
    /// Your project's, or all for an operator.
    #[command(after_help = "Examples:
  billet lease list
  billet lease list --state active --tag team=vision")]
    List {
        /// Only in this state: deploying, installing, active, releasing, released or failed.
        #[arg(long)]
        state: Option<String>,
        /// Only this project's.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// Only with this tag, KEY or KEY=VALUE.
        #[arg(long)]
        tag: Option<String>,
    },
    /// Show a lease.
    ///
    /// Shows its address, its SSH host keys, how it is known to be up, and until when it lasts.
    #[command(after_help = "Examples:\n  billet lease show train-1")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Make a lease last longer.
    ///
    /// The time is added to its present end. Before the end its tenant is warned: `lease show` says
    /// so, and the audit log (`lease.expires`); at the end it is released, and its machine erased.
    #[command(after_help = "Examples:\n  billet lease extend train-1 --by 3d")]
    Extend {
        /// Its name or id.
        name: String,
        /// How much longer, as 3d or 36h.
        #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true)]
        by: u64,
    },
    /// Set and take off a lease's tags.
    ///
    /// Tags that are not named stay.
    #[command(
        after_help = "Examples:\n  billet lease tag train-1 team=vision run=42 --remove draft"
    )]
    Tag {
        /// Its name or id.
        name: String,
        /// Tags to set.
        #[arg(value_name = "KEY=VALUE", value_parser = human::parse_pair)]
        set: Vec<(String, String)>,
        /// A tag to take off, by its key; may be repeated.
        #[arg(long, value_name = "KEY")]
        remove: Vec<String>,
    },
    /// Change what a lease is called, and its tags.
    ///
    /// What is not given stays. A host name counts from the next time that the drive is written:
    /// until then the machine has the one that it has.
    #[command(after_help = "Examples:
  billet lease set train-1 --tag team=vision --untag draft
  billet lease set train-1 --name train-2 --hostname train-2.example.org")]
    Set {
        /// Its name or id.
        lease: String,
        /// Another name.
        #[arg(long)]
        name: Option<Name>,
        /// A host name; empty for the lease's name.
        #[arg(long)]
        hostname: Option<String>,
        /// A tag to set; may be repeated.
        #[arg(long, value_name = "KEY=VALUE", value_parser = human::parse_pair)]
        tag: Vec<(String, String)>,
        /// A tag to take off, by its key; may be repeated.
        #[arg(long, value_name = "KEY")]
        untag: Vec<String>,
    },
    /// Change the power of a lease's machine.
    ///
    /// The machine and its drives stay yours.
    #[command(after_help = "Examples:\n  billet lease power train-1 cycle")]
    Power {
        /// Its name or id.
        name: String,
        /// How.
        #[arg(value_enum)]
        action: PowerWord,
        #[command(flatten)]
        wait: Wait,
    },
    /// Use the serial console of a lease's machine, or read what it wrote there.
    ///
    /// Enter ~ . or Ctrl-] leaves. Several look on, one types; that somebody types is on record,
    /// and what is typed is not, but for its echo. All that the machine writes is recorded from the
    /// lease's deployment to the beginning of its release, and kept as long as the server keeps
    /// consoles, 31 days if not told otherwise. Who types on a console can reach the firmware's setup.
    #[command(after_help = "Examples:
  billet lease console train-1
  billet lease console train-1 --read-only
  billet lease console train-1 --log --since 1h
  billet lease console train-1 --log --search 'kernel panic' --ignore-case --around 5
  billet lease console train-1 --log --follow -o json")]
    Console {
        /// Its name or id.
        name: String,
        #[command(flatten)]
        view: Box<View>,
    },
    Reinstall(Box<Again>),
    /// Boot Billet's ramdisk on a lease's machine, to mend what is on its drives.
    ///
    /// Root gets in by SSH with the lease's keys: `billet ssh NAME`. Billet writes to no drive.
    /// There is a busybox shell, which mounts ext4, FAT and ISO 9660; other tools are brought
    /// along over the same SSH.
    /// With --end the drive is booted again, and the lease is active. That the ramdisk ran stays
    /// on the lease and on its erase certificate.
    #[command(after_help = "Examples:
  billet lease rescue train-1
  billet ssh train-1
  billet lease rescue train-1 --end")]
    Rescue {
        /// Its name or id.
        name: String,
        /// End it: boot the drive.
        #[arg(long)]
        end: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Compare a lease's drive with its image, by reading it.
    ///
    /// The machine is powered off and boots Billet's ramdisk, which reads all that the image covers,
    /// past every cache, and writes nothing; then the drive is booted again. `lease show` says what
    /// share of the image's chunks is still as delivered, and in which partitions others are. A
    /// system that ran has changed some: logs, keys, its file systems' own records. What was read
    /// back after writing, before the first boot, is shown beside it. That the ramdisk ran stays on
    /// the lease and on its erase certificate.
    #[command(after_help = "Examples:
  billet lease measure train-1
  billet lease show train-1 -o json | jq '.measurements[-1].found'")]
    Measure {
        /// Its name or id.
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Say that a lease's machine is installed.
    ///
    /// For an install configuration whose installer does not say so itself: its medium is taken out
    /// of the machine, the drive is what boots from then on, and the lease is active. The machine's
    /// power is left as it is.
    #[command(after_help = "Examples:
  billet lease installed train-1")]
    Installed {
        /// Its name or id.
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Give a lease back.
    ///
    /// The machine is powered off and every drive of it erased, with a certificate that says how:
    /// `billet evidence list --lease NAME`. What is on it is lost.
    #[command(after_help = "Examples:
  billet lease release train-1
  billet lease release train-1 --no-wait")]
    Release {
        /// Its name or id.
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
}

/// Lease a machine.
///
/// The image is written to its drive, checked by reading it back, and booted; the lease is active
/// when the machine itself says that its first boot is done. Then `billet ssh NAME` gets you root.
/// An install configuration is booted from a medium, once, and the lease is active when the
/// installer, or you by `billet lease installed NAME`, say that it is done.
/// To follow it is the default; interrupting that does not stop it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet lease create --type h100-sxm5-80g.8x --image debian-12
  billet lease create --type h100-sxm5-80g.8x --image debian-12 --root-drive smallest-nvme
  billet lease create --type h100-sxm5-80g.8x --image debian-12 --root-drive smallest-nvme \\
      --array data,level=5,drives=4,of=largest-nvme,mount=/data --scratch
  billet lease create --name train-1 --type cpu.2s --image noble --ssh-key ~/.ssh/id_ed25519.pub \\
      --user-data cloud.yaml --kernel-args 'iommu=pt hugepages=64' --tag team=vision --term 3d")]
pub struct Create {
    /// Machine type; see `billet offers`.
    #[arg(long = "type", value_name = "NAME")]
    machine_type: Name,
    /// Image, by name or id; see `billet image list`.
    #[arg(long)]
    image: String,
    /// What to call the lease; one is made up where absent.
    #[arg(long)]
    name: Option<Name>,
    /// SSH public key for root, or a file with some; may be repeated. Without it, the one in
    /// ~/.ssh is taken, where there is just one.
    #[arg(long, value_name = "FILE|KEY")]
    ssh_key: Vec<String>,
    /// Take no SSH key: the image or the user data see to getting in.
    #[arg(long, conflicts_with = "ssh_key")]
    no_ssh_key: bool,
    /// File with user data for cloud-init.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// Added to the kernel's command line; may be repeated.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    kernel_args: Vec<String>,
    /// The drive that the image is written to: first, smallest or largest, of a kind if need be
    /// (smallest-nvme, first-ssd, hdd), or serial=SERIAL. A machine's first where not said.
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "first",
        hide_default_value = true
    )]
    root_drive: RootDrive,
    /// Go through firmware, on a machine that waits warm too: the TPM then measures the boot loader
    /// and the kernel of the image, which kexec passes by.
    #[arg(long)]
    cold: bool,
    #[command(flatten)]
    drives: Drives,
    /// A tag; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = human::parse_pair)]
    tag: Vec<(String, String)>,
    /// For how long, as 3d; until it is released where absent.
    #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true)]
    term: Option<u64>,
    /// Only at this site.
    #[arg(long, value_name = "NAME")]
    site: Option<Name>,
    /// The project, where your token is not for one.
    #[arg(long, value_name = "NAME")]
    project: Option<Name>,
    #[command(flatten)]
    wait: Wait,
}

/// Write a lease's drive anew, with another image or the same.
///
/// The lease keeps its id, its machine and its addresses; what is not given here stays as it was.
/// The other drives of the machine are erased, unless --keep-data-drives is given, or --keep for
/// some. Arrays that are kept are mounted again, with what is in them; the others are made anew, as
/// they were or as another layout has them. The lease is active again when the machine itself says that its first boot is done. If that fails, the lease
/// is `broken`: the machine is off, and still yours to reinstall, rescue or release.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet lease reinstall train-1
  billet lease reinstall train-1 --image debian-12 --keep-data-drives
  billet lease reinstall train-1 --keep data --scratch=each
  billet lease reinstall train-1 --user-data cloud.yaml --kernel-args 'iommu=pt' --yes")]
pub struct Again {
    /// Its name or id.
    name: String,
    /// Image, by name or id; the present one where absent.
    #[arg(long)]
    image: Option<String>,
    /// SSH public key for root, or a file with some; may be repeated. The present ones where absent.
    #[arg(long, value_name = "FILE|KEY")]
    ssh_key: Vec<String>,
    /// File with user data for cloud-init; the present one where absent.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// Without user data.
    #[arg(long, conflicts_with = "user_data")]
    no_user_data: bool,
    /// Added to the kernel's command line; may be repeated. The present ones where absent, none
    /// where empty.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    kernel_args: Vec<String>,
    /// Leave the drives alone on which the image is not written.
    #[arg(long)]
    keep_data_drives: bool,
    /// Leave the drives of this array alone, and erase the others; may be repeated.
    #[arg(long, value_name = "ARRAY", conflicts_with = "keep_data_drives")]
    keep: Vec<Name>,
    #[command(flatten)]
    drives: Drives,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Again {
    async fn run(self, app: &App) -> Result<(), Failure> {
        let mut ssh_keys = Vec::new();
        for given in &self.ssh_key {
            ssh_keys.extend(keys_given::keys(given)?);
        }
        let kernel_args = self
            .kernel_args
            .iter()
            .flat_map(|args| args.split_whitespace())
            .map(str::to_owned)
            .collect();
        let with = Reinstall {
            image: self.image,
            ssh_keys: (!self.ssh_key.is_empty()).then_some(ssh_keys),
            user_data: match &self.user_data {
                Some(path) => Some(user_data(path)?),
                None => self.no_user_data.then(String::new),
            },
            kernel_args: (!self.kernel_args.is_empty()).then_some(kernel_args),
            keep_data_drives: self.keep_data_drives,
            keep_arrays: self.keep.clone(),
            layout: self.drives.layout()?,
        };
        let kept: Vec<&str> = self.keep.iter().map(Name::as_str).collect();
        let lost = if self.keep_data_drives {
            "what is on the drives of its root".to_owned()
        } else if kept.is_empty() {
            "what is on all of its drives".to_owned()
        } else {
            format!(
                "what is on all of its drives but those of {}",
                kept.join(", ")
            )
        };
        let name = &self.name;
        sure(
            self.yes,
            &format!("Reinstalling lease {name} loses {lost}. Go on?"),
        )?;
        let client = app.client().await?;
        let started = client.reinstall_lease(name, &with).await?;
        let started = followed(app, &client, started, self.wait).await?;
        app.output.result(&started, |started| show(&started.lease))
    }
}

impl Create {
    async fn run(self, app: &App) -> Result<(), Failure> {
        let ssh_keys = if self.no_ssh_key {
            Vec::new()
        } else if self.ssh_key.is_empty() {
            let home = app.environment.home.as_deref().unwrap_or(Path::new("/"));
            let (file, keys) = keys_given::default_keys(&home.join(".ssh"))?;
            app.output
                .note(format!("Taking the SSH key in {}.", file.display()));
            keys
        } else {
            let mut keys = Vec::new();
            for given in &self.ssh_key {
                keys.extend(keys_given::keys(given)?);
            }
            keys
        };
        let user_data = self.user_data.as_deref().map(user_data).transpose()?;
        let new = NewLease {
            name: self.name,
            project: self.project,
            mode: LeaseMode::Dedicated,
            machine_type: self.machine_type,
            site: self.site,
            image: self.image,
            ssh_keys,
            user_data,
            kernel_args: self
                .kernel_args
                .iter()
                .flat_map(|args| args.split_whitespace())
                .map(str::to_owned)
                .collect(),
            root_drive: self.root_drive,
            cold: self.cold,
            layout: self.drives.layout()?.unwrap_or_default(),
            tags: self.tag.into_iter().collect(),
            term_seconds: self.term,
        };
        let client = app.client().await?;
        let started = client.create_lease(&new).await?;
        let started = followed(app, &client, started, self.wait).await?;
        app.output.result(&started, |started| {
            let mut text = show(&started.lease);
            let (name, operation) = (&started.lease.name, started.operation.id);
            if self.wait.no_wait {
                text.push_str(&format!(
                    "\nFollow it: billet operation follow {operation}\n"
                ));
            } else {
                text.push_str(&format!("\nGet in:    billet ssh {name}\n"));
            }
            text
        })
    }
}

/// Reads user data from a file.
pub fn user_data(path: &Path) -> Result<String, Failure> {
    const MOST: u64 = 64 * 1024;
    let shown = path.display();
    let size = std::fs::metadata(path).map_or(0, |about| about.len());
    if path.is_file() && size > MOST {
        let size = human::bytes(size);
        return Err(Failure::usage(format!(
            "the user data in {shown} is {size}, and may be 64 KiB"
        ))
        .hint("have it fetch the rest"));
    }
    crate::bounded::text(path, MOST)
        .map_err(|error| Failure::usage(format!("reading user data from {shown}: {error}")))
}

/// The lease as it is after its operation ended, where that is waited for.
async fn followed(
    app: &App,
    client: &Client,
    mut started: LeaseStarted,
    wait: Wait,
) -> Result<LeaseStarted, Failure> {
    if !wait.no_wait {
        let label = started.lease.name.to_string();
        started.operation = progress::follow(app, client, &label, started.operation.id).await?;
        started.lease = client.lease(&started.lease.id.to_string()).await?;
    }
    Ok(started)
}

impl Lease {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::Create(create) => return create.run(app).await,
            Self::Reinstall(again) => return again.run(app).await,
            _ => {}
        }
        let client = app.client().await?;
        match self {
            Self::Create(_) | Self::Reinstall(_) => Ok(()),
            Self::Rescue { name, end, wait } => {
                let started = if end {
                    client.end_rescue(&name).await?
                } else {
                    client.rescue_lease(&name).await?
                };
                let started = followed(app, &client, started, wait).await?;
                app.output.result(&started, |started| show(&started.lease))
            }
            Self::List {
                state,
                project,
                tag,
            } => {
                let filters = super::filters(&[
                    ("state", state.as_deref()),
                    ("project", project.as_deref()),
                    ("tag", tag.as_deref()),
                ]);
                let items = client.leases(&filters).all().await?;
                app.output
                    .result(&Page { items, next: None }, |page| table(&page.items))
            }
            Self::Show { name } => app.output.result(&client.lease(&name).await?, show),
            Self::Extend { name, by } => {
                let change = LeaseChange {
                    extend_seconds: Some(by),
                    ..LeaseChange::default()
                };
                // With the version: the same extension sent twice would count twice.
                let lease = client.lease(&name).await?;
                let id = lease.id.to_string();
                let changed = client
                    .change_lease(&id, &change, Some(lease.version))
                    .await?;
                app.output.result(&changed, show)
            }
            Self::Tag { name, set, remove } => {
                let lease = client.lease(&name).await?;
                let mut tags = lease.tags;
                tags.extend(set);
                tags.retain(|key, _| !remove.contains(key));
                let change = LeaseChange {
                    tags: Some(tags),
                    ..LeaseChange::default()
                };
                let id = lease.id.to_string();
                let changed = client
                    .change_lease(&id, &change, Some(lease.version))
                    .await?;
                app.output.result(&changed, show)
            }
            Self::Set {
                lease,
                name,
                hostname,
                tag,
                untag,
            } => {
                let known = client.lease(&lease).await?;
                let retagged = !(tag.is_empty() && untag.is_empty());
                let mut tags = known.tags;
                tags.extend(tag);
                tags.retain(|key, _| !untag.contains(key));
                let change = LeaseChange {
                    tags: retagged.then_some(tags),
                    name,
                    hostname,
                    ..LeaseChange::default()
                };
                let id = known.id.to_string();
                let changed = client
                    .change_lease(&id, &change, Some(known.version))
                    .await?;
                app.output.result(&changed, show)
            }
            Self::Power { name, action, wait } => {
                let started = client.power_lease(&name, action.into()).await?;
                let started = followed(app, &client, started, wait).await?;
                app.output.result(&started, |started| show(&started.lease))
            }
            Self::Measure { name, wait } => {
                let started = client.measure_lease(&name).await?;
                let started = followed(app, &client, started, wait).await?;
                app.output.result(&started, |started| show(&started.lease))
            }
            Self::Installed { name, wait } => {
                let started = client.installed_lease(&name).await?;
                let started = followed(app, &client, started, wait).await?;
                app.output.result(&started, |started| show(&started.lease))
            }
            Self::Console { name, view } => view.run(app, &client, ConsoleOf::Lease(&name)).await,
            Self::Release { name, wait } => {
                let started = client.release_lease(&name, None).await?;
                let started = followed(app, &client, started, wait).await?;
                app.output.result(&started, |started| show(&started.lease))
            }
        }
    }
}

fn table(leases: &[LeaseView]) -> String {
    list(
        [
            "name", "project", "type", "image", "state", "address", "ends", "lab", "why",
        ],
        leases.iter().map(|l| {
            [
                l.name.to_string(),
                l.project.to_string(),
                l.machine_type.to_string(),
                l.image.to_string(),
                l.state.to_string(),
                maybe(l.addresses.first().map(|a| a.reached_at)),
                l.ends_at.map(human::time).unwrap_or_default(),
                mark(l.emulation).to_owned(),
                maybe(l.reason.as_ref()),
            ]
        }),
    )
}

fn show(l: &LeaseView) -> String {
    let addresses: Vec<String> = l
        .addresses
        .iter()
        .map(|a| {
            if a.reached_at == a.ip {
                format!("{}/{}", a.ip, a.prefix)
            } else {
                format!("{} (on the machine {}/{})", a.reached_at, a.ip, a.prefix)
            }
        })
        .collect();
    let known = match l.active_because {
        Some(ActiveBecause::PhonedHome) => "the machine said that its first boot is done",
        Some(ActiveBecause::PortAnswered) => "its SSH port answers, which is all that is known",
        Some(ActiveBecause::InstallerReported) => {
            "its installer said that it is done, which is all that is known"
        }
        Some(ActiveBecause::TenantSaid) => "its tenant said that it is installed",
        Some(ActiveBecause::Unreported) => {
            "not known: its installer did not say in time that it is done"
        }
        None => "",
    };
    let tags: Vec<String> = l.tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let ends = l.ends_at.map(|end| {
        let left = end.duration_since(Timestamp::now());
        match std::time::Duration::try_from(left) {
            Ok(left) if !l.state.is_over() => {
                format!("{} (in {})", human::time(end), human::length(left))
            }
            _ => human::time(end),
        }
    });
    card([
        ("name", l.name.to_string()),
        ("id", l.id.to_string()),
        ("project", l.project.to_string()),
        ("state", l.state.to_string()),
        ("condition", l.condition.to_string()),
        ("reason", maybe(l.reason.as_ref())),
        (
            "health",
            l.health.map(|h| h.to_string()).unwrap_or_default(),
        ),
        ("up", known.to_owned()),
        ("type", l.machine_type.to_string()),
        ("machine", l.machine.to_string()),
        ("lab", mark(l.emulation).to_owned()),
        ("site", format!("{} ({})", l.site, l.jurisdiction)),
        ("image", l.image.to_string()),
        ("digest", maybe(l.image_digest.as_ref())),
        (
            "power",
            l.power.map(|r| r.power.to_string()).unwrap_or_default(),
        ),
        ("address", addresses.join("\n")),
        ("drives", layout::drives(l)),
        (
            "not erased",
            l.unerased_drives
                .iter()
                .map(|serial| {
                    format!("drive {serial} could not be erased before your lease, and an operator let it go")
                })
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        ("measured", measurements(&l.measurements)),
        (
            "first start",
            l.first_start.as_ref().map(first_start).unwrap_or_default(),
        ),
        (
            "installed by",
            l.install.as_ref().map(installation).unwrap_or_default(),
        ),
        ("host keys", l.host_keys.join("\n")),
        (
            "rescue",
            l.rescue.as_ref().map_or_else(String::new, |r| {
                format!(
                    "the ramdisk has let you in since {}\n{}",
                    human::time(r.since),
                    r.host_keys.join("\n")
                )
            }),
        ),
        (
            "visits",
            l.visits.iter().map(visit).collect::<Vec<_>>().join("\n"),
        ),
        (
            "earlier visits",
            match l.earlier_visits {
                0 => String::new(),
                n => format!("{n} more: `billet audit list --lease {}` has them", l.name),
            },
        ),
        (
            "metadata",
            match (l.metadata.drive, l.metadata.network) {
                (true, true) => "on the drive (cloud-init's seed), and at http://169.254.169.254",
                (true, false) => "on the drive (cloud-init's seed)",
                (false, true) => "at http://169.254.169.254",
                (false, false) => "",
            }
            .to_owned(),
        ),
        ("kernel args", l.kernel_args.join(" ")),
        ("tags", tags.join("\n")),
        ("began", human::time(l.created_at)),
        ("active", l.active_at.map(human::time).unwrap_or_default()),
        (
            "ends",
            ends.unwrap_or_else(|| {
                if l.state.is_over() {
                    String::new()
                } else {
                    "when released".to_owned()
                }
            }),
        ),
        (
            "warned",
            l.warned_at.map_or_else(String::new, |at| {
                format!(
                    "{} that it ends: `billet lease extend {} --by …`",
                    human::time(at),
                    l.name
                )
            }),
        ),
        ("hostname", maybe(l.hostname.as_ref())),
        ("ended", l.ended_at.map(human::time).unwrap_or_default()),
        ("operation", l.operation.to_string()),
    ])
}
