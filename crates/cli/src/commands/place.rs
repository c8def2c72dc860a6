//! Sites, networks and machine types.

use std::net::Ipv4Addr;

use billet_model::{
    Name,
    api::{
        MachineTypeChange, NetworkChange, NewMachineType, NewNetwork, NewSite, Page, SiteChange,
    },
    site::{ExpectedParts, MachineType, Network as Net, Site as Place},
    warm::WarmPolicy,
};
use clap::{Args, Subcommand};

use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list, maybe},
};

/// Places with a jurisdiction.
#[derive(Debug, Subcommand)]
pub enum Site {
    /// List sites.
    ///
    /// Every machine is at one, and placement never crosses its jurisdiction.
    #[command(after_help = "Examples:\n  billet site list")]
    List,
    /// Make a site.
    ///
    /// The jurisdiction is the code of the country or region whose law holds there.
    #[command(after_help = "Examples:\n  billet site create fra1 --jurisdiction DE")]
    Create {
        /// Its name.
        name: Name,
        /// Code of the country or region.
        #[arg(long, value_name = "CODE")]
        jurisdiction: String,
    },
    /// Show a site.
    ///
    /// Shows its jurisdiction and since when it is known.
    #[command(after_help = "Examples:\n  billet site show fra1")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Change a site's name or jurisdiction.
    ///
    /// The jurisdiction stays while a lease holds a machine there.
    #[command(
        after_help = "Examples:\n  billet site set fra1 --name fra-west\n  billet site set lab --jurisdiction CH"
    )]
    Set {
        /// Its name or id.
        name: String,
        /// The new name.
        #[arg(
            long = "name",
            value_name = "NAME",
            required_unless_present = "jurisdiction"
        )]
        new: Option<Name>,
        /// Code of the country or region.
        #[arg(long, value_name = "CODE")]
        jurisdiction: Option<String>,
    },
    /// Delete a site.
    ///
    /// Refused while there is a machine at it, a retired one included, and says which.
    #[command(after_help = "Examples:\n  billet site delete fra1")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

impl Site {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        match self {
            Self::List => {
                let items = client.sites().all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "jurisdiction", "since"],
                        page.items.iter().map(|s| {
                            let since = human::time(s.created_at);
                            [s.name.to_string(), s.jurisdiction.clone(), since]
                        }),
                    )
                })
            }
            Self::Create { name, jurisdiction } => {
                let new = NewSite { name, jurisdiction };
                app.output.result(&client.create_site(&new).await?, site)
            }
            Self::Show { name } => app.output.result(&client.site(&name).await?, site),
            Self::Set {
                name,
                new,
                jurisdiction,
            } => {
                let change = SiteChange {
                    name: new,
                    jurisdiction,
                };
                app.output
                    .result(&client.change_site(&name, &change).await?, site)
            }
            Self::Delete { name } => {
                client.delete_site(&name).await?;
                app.output.note(format!("Site {name} is deleted."));
                Ok(())
            }
        }
    }
}

fn site(s: &Place) -> String {
    card([
        ("name", s.name.to_string()),
        ("jurisdiction", s.jurisdiction.clone()),
        ("id", s.id.to_string()),
        ("since", human::time(s.created_at)),
    ])
}

/// Networks that machines have addresses on.
#[derive(Debug, Subcommand)]
pub enum Network {
    /// List networks.
    ///
    /// A machine's addresses on them are its own for its life.
    #[command(after_help = "Examples:\n  billet network list")]
    List,
    /// Make a network.
    ///
    /// Addresses are given out from the pool, or from the whole subnet but for the gateway.
    #[command(
        after_help = "Examples:\n  billet network create main --subnet 10.88.0.0/24 --gateway 10.88.0.1"
    )]
    Create(Box<NetworkCreate>),
    /// Show a network.
    ///
    /// Shows its subnet, gateway and pool.
    #[command(after_help = "Examples:\n  billet network show main")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Change a network.
    ///
    /// A machine is told of it when it is next booted into the ramdisk or leased. What stands on the
    /// drive of a running lease is its tenant's, and stays as it is until it is reinstalled; where
    /// machines are reached from outside counts at once. A subnet that leaves out an address of a
    /// machine is refused, and says whose.
    #[command(after_help = "Examples:
  billet network set main --gateway 10.88.0.254 --dns 10.88.0.2 --dns 10.88.0.3
  billet network set main --subnet 10.88.0.0/16 --pool all
  billet network set main --name tenants --reached-at none")]
    Set(Box<NetworkSet>),
    /// Delete a network.
    ///
    /// Refused while a machine has an address on it, and says which.
    #[command(after_help = "Examples:\n  billet network delete main")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

/// What a network is made of.
#[derive(Debug, Args)]
pub struct NetworkCreate {
    /// Its name.
    name: Name,
    /// The subnet, 10.88.0.0/24.
    #[arg(long)]
    subnet: String,
    /// The gateway.
    #[arg(long)]
    gateway: Option<Ipv4Addr>,
    /// A name server; may be repeated.
    #[arg(long)]
    dns: Vec<Ipv4Addr>,
    /// The first and last address to give out, as 10.88.0.10-10.88.0.99.
    #[arg(long, value_parser = parse_pool)]
    pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Where the subnet is reached from outside by one-to-one translation: the first address.
    #[arg(long, value_name = "ADDRESS")]
    reached_at: Option<Ipv4Addr>,
}

/// What changes of a network.
#[derive(Debug, Args)]
pub struct NetworkSet {
    /// Its name or id.
    network: String,
    #[command(flatten)]
    change: NetworkChanges,
}

/// At least one of these.
#[derive(Debug, Args)]
#[group(id = "network-changes", required = true, multiple = true)]
struct NetworkChanges {
    /// The new name.
    #[arg(long = "name", value_name = "NAME")]
    name: Option<Name>,
    /// The subnet, 10.88.0.0/24.
    #[arg(long)]
    subnet: Option<String>,
    /// The gateway, or none.
    #[arg(long, value_name = "ADDRESS|none", value_parser = Part::<Ipv4Addr>::address)]
    gateway: Option<Part<Ipv4Addr>>,
    /// A name server; may be repeated, and those of before are none any more.
    #[arg(long)]
    dns: Vec<Ipv4Addr>,
    /// It has no name servers.
    #[arg(long, conflicts_with = "dns")]
    no_dns: bool,
    /// The first and last address to give out, as 10.88.0.10-10.88.0.99; all for the whole subnet
    /// but for the gateway.
    #[arg(long, value_name = "FIRST-LAST|all", value_parser = pool_or_all)]
    pool: Option<Part<(Ipv4Addr, Ipv4Addr)>>,
    /// Where the subnet is reached from outside by one-to-one translation: the first address, or
    /// none.
    #[arg(long, value_name = "ADDRESS|none", value_parser = Part::<Ipv4Addr>::address)]
    reached_at: Option<Part<Ipv4Addr>>,
}

impl NetworkChanges {
    fn change(self) -> NetworkChange {
        NetworkChange {
            name: self.name,
            subnet: self.subnet,
            gateway: self.gateway.map(|part| part.0),
            dns: (self.no_dns || !self.dns.is_empty()).then_some(self.dns),
            pool: self.pool.map(|part| part.0),
            reached_at: self.reached_at.map(|part| part.0),
        }
    }
}

fn pool_or_all(text: &str) -> Result<Part<(Ipv4Addr, Ipv4Addr)>, String> {
    match text {
        "all" => Ok(Part(None)),
        text => parse_pool(text).map(|pool| Part(Some(pool))),
    }
}

fn parse_pool(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    text.split_once('-')
        .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
        .filter(|(first, last): &(Ipv4Addr, Ipv4Addr)| first <= last)
        .ok_or_else(|| "write the first and the last address, as 10.88.0.10-10.88.0.99".to_owned())
}

impl Network {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        match self {
            Self::List => {
                let items = client.networks().all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "subnet", "gateway", "pool"],
                        page.items.iter().map(|n| {
                            [
                                n.name.to_string(),
                                format!("{}/{}", n.subnet, n.prefix),
                                maybe(n.gateway),
                                format!("{}-{}", n.pool_first, n.pool_last),
                            ]
                        }),
                    )
                })
            }
            Self::Create(create) => {
                let new = NewNetwork {
                    name: create.name,
                    subnet: create.subnet,
                    gateway: create.gateway,
                    dns: create.dns,
                    pool: create.pool,
                    reached_at: create.reached_at,
                };
                app.output
                    .result(&client.create_network(&new).await?, network)
            }
            Self::Show { name } => app.output.result(&client.network(&name).await?, network),
            Self::Set(set) => {
                let change = set.change.change();
                let changed = client.change_network(&set.network, &change, None).await?;
                app.output.result(&changed, network)
            }
            Self::Delete { name } => {
                client.delete_network(&name).await?;
                app.output.note(format!("Network {name} is deleted."));
                Ok(())
            }
        }
    }
}

fn network(n: &Net) -> String {
    let dns: Vec<String> = n.dns.iter().map(ToString::to_string).collect();
    card([
        ("name", n.name.to_string()),
        ("subnet", format!("{}/{}", n.subnet, n.prefix)),
        ("gateway", maybe(n.gateway)),
        ("name servers", dns.join(", ")),
        ("pool", format!("{}-{}", n.pool_first, n.pool_last)),
        ("reached at", maybe(n.reached_at)),
        ("id", n.id.to_string()),
        ("since", human::time(n.created_at)),
    ])
}

/// Types of machines alike enough to swap.
#[derive(Debug, Subcommand)]
pub enum Type {
    /// List machine types.
    ///
    /// Tenants lease by type; `billet offers` shows what is free.
    #[command(after_help = "Examples:\n  billet type list")]
    List,
    /// Make a machine type.
    ///
    /// What is expected of its machines is compared with what is found in them; what is not given
    /// is not compared.
    #[command(
        after_help = "Examples:\n  billet type create h100-sxm5-80g.8x --gpus 8 --gpu-model H100 --min-memory 2TiB"
    )]
    Create(Box<TypeCreate>),
    /// Change a machine type: what is expected of its machines, and how many wait warm.
    ///
    /// What is expected is compared when a machine is next inspected; `none` in the place of a value
    /// has it compared no longer, and what is not given stays.
    ///
    /// A machine that waits warm is powered, in Billet's ramdisk, tested, and has an image on its
    /// drive already: a lease starts there in seconds, by kexec and without a pass through firmware.
    /// It draws its idle power meanwhile, which `billet offers` and `billet machine show` tell. Kexec
    /// is tried on each machine before; where that fails it waits cold. Leases that there are, are
    /// left alone.
    #[command(after_help = "Examples:
  billet type set h100-sxm5-80g.8x --gpus 8 --min-memory 1TiB --gpu-model none
  billet type set h100-sxm5-80g.8x --warm 2 --warm-image debian-12 --warm-image noble
  billet type set h100-sxm5-80g.8x --warm 2 --most-asked
  billet type set h100-sxm5-80g.8x --warm 0
  billet type set h100-sxm5-80g.8x --cold")]
    Set(Box<TypeSet>),
    /// Show a machine type.
    ///
    /// Shows what is expected of its machines.
    #[command(after_help = "Examples:\n  billet type show h100-sxm5-80g.8x")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Delete a machine type.
    ///
    /// Refused while a machine is of it, a retired one included, and says which.
    #[command(after_help = "Examples:\n  billet type delete h100-sxm5-80g.8x")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

/// What changes of a machine type.
#[derive(Debug, Args)]
pub struct TypeSet {
    /// Its name or id.
    name: String,
    #[command(flatten)]
    change: TypeChanges,
}

/// At least one of these.
#[derive(Debug, Args)]
#[group(id = "changes", required = true, multiple = true)]
struct TypeChanges {
    /// How many of its available machines wait warm.
    #[arg(long, value_name = "COUNT")]
    warm: Option<u32>,
    /// An image of the operator's that they hold, the most wanted first; may be repeated.
    #[arg(long = "warm-image", value_name = "NAME")]
    warm_images: Vec<Name>,
    /// They hold the images that leases of the type ask for most, of those that are for everyone.
    #[arg(long, conflicts_with = "warm_images")]
    most_asked: bool,
    /// Leases of it go through firmware always, and none of its machines waits warm.
    #[arg(long)]
    cold: bool,
    /// Leases of it may be started by kexec again.
    #[arg(long, conflicts_with = "cold")]
    no_cold: bool,
    /// What it is, in a line.
    #[arg(long)]
    description: Option<String>,
    /// How many GPUs.
    #[arg(long, value_name = "COUNT|none", value_parser = Part::<u32>::count)]
    gpus: Option<Part<u32>>,
    /// Text that each GPU's model contains.
    #[arg(long, value_name = "TEXT|none", value_parser = Part::<String>::text)]
    gpu_model: Option<Part<String>>,
    /// How many drives of its own.
    #[arg(long, value_name = "COUNT|none", value_parser = Part::<u32>::count)]
    drives: Option<Part<u32>>,
    /// At least so many hardware threads.
    #[arg(long, value_name = "COUNT|none", value_parser = Part::<u32>::count)]
    min_threads: Option<Part<u32>>,
    /// At least so much memory, as 2TiB.
    #[arg(long, value_name = "SIZE|none", value_parser = Part::<u64>::bytes)]
    min_memory: Option<Part<u64>>,
    /// At least so many network interfaces.
    #[arg(long, value_name = "COUNT|none", value_parser = Part::<u32>::count)]
    min_nics: Option<Part<u32>>,
}

/// What something is to be from now on, or that it is to be nothing: `none`.
#[derive(Clone, Debug)]
struct Part<T>(Option<T>);

impl<T> Part<T> {
    fn read(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => read(text).map(|value| Self(Some(value))),
        }
    }
}

impl Part<u32> {
    fn count(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is neither a count nor none");
        Self::read(text, |text| text.parse().map_err(wrong))
    }
}

impl Part<u64> {
    fn bytes(text: &str) -> Result<Self, String> {
        Self::read(text, human::parse_bytes)
    }
}

impl Part<Ipv4Addr> {
    fn address(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is neither an IPv4 address nor none");
        Self::read(text, |text| text.parse().map_err(wrong))
    }
}

impl Part<String> {
    fn text(text: &str) -> Result<Self, String> {
        Self::read(text, |text| Ok(text.to_owned()))
    }
}

impl TypeChanges {
    /// What is expected from now on, where any of it was said.
    fn expected(&self, is: &ExpectedParts) -> ExpectedParts {
        let count = |said: &Option<Part<u32>>, is| said.as_ref().map_or(is, |part| part.0);
        ExpectedParts {
            gpus: count(&self.gpus, is.gpus),
            gpu_model: match &self.gpu_model {
                Some(part) => part.0.clone(),
                None => is.gpu_model.clone(),
            },
            drives: count(&self.drives, is.drives),
            min_threads: count(&self.min_threads, is.min_threads),
            min_memory_bytes: self
                .min_memory
                .as_ref()
                .map_or(is.min_memory_bytes, |part| part.0),
            min_nics: count(&self.min_nics, is.min_nics),
        }
    }

    fn change(self, is: &ExpectedParts) -> MachineTypeChange {
        let images = self.most_asked || !self.warm_images.is_empty();
        let expected = self.expected(is);
        MachineTypeChange {
            description: self.description,
            expected: (expected != *is).then_some(expected),
            warm: self.warm,
            warm_images: images.then_some(self.warm_images),
            cold: (self.cold || self.no_cold).then_some(self.cold),
        }
    }
}

/// What a machine type is made of.
#[derive(Debug, Args)]
pub struct TypeCreate {
    /// Its name.
    name: Name,
    /// What it is, in a line.
    #[arg(long, default_value = "")]
    description: String,
    /// How many GPUs.
    #[arg(long)]
    gpus: Option<u32>,
    /// Text that each GPU's model contains.
    #[arg(long, value_name = "TEXT")]
    gpu_model: Option<String>,
    /// How many drives of its own.
    #[arg(long)]
    drives: Option<u32>,
    /// At least so many hardware threads.
    #[arg(long, value_name = "COUNT")]
    min_threads: Option<u32>,
    /// At least so much memory, as 2TiB.
    #[arg(long, value_name = "SIZE", value_parser = human::parse_bytes)]
    min_memory: Option<u64>,
    /// At least so many network interfaces.
    #[arg(long, value_name = "COUNT")]
    min_nics: Option<u32>,
}

impl Type {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        match self {
            Self::List => {
                let items = client.machine_types().all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "gpus#", "warm#", "description"],
                        page.items.iter().map(|t| {
                            let gpus = maybe(t.expected.gpus);
                            let warm = match t.warm.count {
                                0 => String::new(),
                                count => count.to_string(),
                            };
                            [t.name.to_string(), gpus, warm, t.description.clone()]
                        }),
                    )
                })
            }
            Self::Create(create) => {
                let new = NewMachineType {
                    name: create.name,
                    description: create.description,
                    expected: ExpectedParts {
                        gpus: create.gpus,
                        gpu_model: create.gpu_model,
                        drives: create.drives,
                        min_threads: create.min_threads,
                        min_memory_bytes: create.min_memory,
                        min_nics: create.min_nics,
                    },
                    warm: None,
                };
                app.output
                    .result(&client.create_machine_type(&new).await?, machine_type)
            }
            Self::Set(set) => {
                // The API takes what is expected whole.
                let there = client.machine_type(&set.name).await?;
                let change = set.change.change(&there.expected);
                let changed = client.change_machine_type(&set.name, &change).await?;
                app.output.result(&changed, machine_type)
            }
            Self::Show { name } => app
                .output
                .result(&client.machine_type(&name).await?, machine_type),
            Self::Delete { name } => {
                client.delete_machine_type(&name).await?;
                app.output.note(format!("Machine type {name} is deleted."));
                Ok(())
            }
        }
    }
}

/// How many machines of a type wait warm, and with what, in a line.
fn warm(policy: &WarmPolicy) -> String {
    if policy.cold {
        return "none: its leases go through firmware always".to_owned();
    }
    let images: Vec<&str> = policy.images.iter().map(|i| i.as_str()).collect();
    match (policy.count, images.is_empty()) {
        (0, _) => String::new(),
        (count, true) => format!("{count}, with the images most asked for"),
        (count, false) => format!("{count}, with {}", images.join(", ")),
    }
}

fn machine_type(t: &MachineType) -> String {
    let expected = &t.expected;
    card([
        ("name", t.name.to_string()),
        ("description", t.description.clone()),
        ("gpus", maybe(expected.gpus)),
        ("gpu model", maybe(expected.gpu_model.as_ref())),
        ("drives", maybe(expected.drives)),
        ("threads, at least", maybe(expected.min_threads)),
        (
            "memory, at least",
            expected
                .min_memory_bytes
                .map(human::bytes)
                .unwrap_or_default(),
        ),
        ("nics, at least", maybe(expected.min_nics)),
        ("wait warm", warm(&t.warm)),
        ("id", t.id.to_string()),
        ("since", human::time(t.created_at)),
    ])
}
