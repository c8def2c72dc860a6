//! Enrolling machines: from a manifest, or one by options. It only reads from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use billet_client::{Client, Fingerprint};
use billet_model::{
    Name,
    api::{MachineStarted, MachineView, NewBmc, NewMachine, Page},
};
use clap::Args;

use super::machine::{Wait, table};
use crate::{
    app::App,
    failure::{Code, Failure},
    human,
    manifest::{self, Known, Manifest},
    progress,
};

/// Enroll machines, from a manifest or one by options.
///
/// Enrolment only reads: the BMC is asked who it is and what is in the machine, and its
/// certificate is pinned. Nothing is powered off or written until `billet machine take-over`.
///
/// A manifest is checked whole before anything is sent; what it declares and the server has
/// already is left as it is, so the same file can be given again. See `billet help manifest`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet machine enroll -f rack1.toml
  billet machine enroll -f rack1.toml --check
  billet machine enroll r1-u07 --bmc 10.0.0.7 --user root --password-file pw \\
      --type h100-sxm5-80g.8x --site fra1 --network main=10.88.0.17")]
pub struct Enroll {
    /// The manifest.
    #[arg(short = 'f', long = "file", value_name = "MANIFEST", conflicts_with_all = ["name", "bmc", "user", "password_file", "machine_type", "site", "rack", "serial", "network", "fingerprint"])]
    file: Option<PathBuf>,
    /// Only check the manifest; ask the server nothing.
    #[arg(long, requires = "file")]
    check: bool,
    /// Name of the one machine to enroll.
    #[arg(required_unless_present = "file", requires_all = ["bmc", "user", "password_file", "machine_type", "site"])]
    name: Option<Name>,
    /// Its BMC's address.
    #[arg(long, value_name = "ADDRESS", value_parser = manifest::bmc_address)]
    bmc: Option<String>,
    /// The BMC's user.
    #[arg(long)]
    user: Option<String>,
    /// File with the BMC's password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Its machine type.
    #[arg(long = "type", value_name = "NAME")]
    machine_type: Option<Name>,
    /// Its site.
    #[arg(long, value_name = "NAME")]
    site: Option<Name>,
    /// Its rack.
    #[arg(long)]
    rack: Option<String>,
    /// The serial number that it should have.
    #[arg(long)]
    serial: Option<String>,
    /// A network that it is on, with its address or `auto`; may be repeated.
    #[arg(long, value_name = "NETWORK=ADDRESS", value_parser = parse_network)]
    network: Vec<(Name, Option<Ipv4Addr>)>,
    /// SHA-256 of the BMC's certificate; else the first one seen is pinned.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
    /// Let Billet give the BMC passwords of its own: when it is taken over, and after each lease.
    #[arg(long, conflicts_with = "file")]
    rotate_password: bool,
    #[command(flatten)]
    wait: Wait,
}

pub(crate) fn parse_network(text: &str) -> Result<(Name, Option<Ipv4Addr>), String> {
    let (name, address) = text
        .split_once('=')
        .ok_or("write it as main=10.88.0.17 or main=auto")?;
    let name = name.parse::<Name>().map_err(|error| error.to_string())?;
    match address {
        "auto" => Ok((name, None)),
        address => address
            .parse()
            .map(|address| (name, Some(address)))
            .map_err(|_| format!("{address:?} is not an IPv4 address")),
    }
}

impl Enroll {
    /// Enrolls.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let manifest = match &self.file {
            Some(file) => read(file)?,
            None => Manifest::default(),
        };
        if self.check {
            app.output.note(format!(
                "Nothing is wrong with it by itself: {}.",
                human::count(manifest.machines.len(), "machine")
            ));
            return Ok(());
        }
        let more = manifest.organisations.len()
            + manifest.projects.len()
            + manifest.images.len()
            + manifest.leases.len()
            + manifest.take_over.len();
        if more > 0 {
            app.output
                .note("What is in it for `billet apply` alone is left out here.");
        }
        let wait = self.wait;
        let file = self.file.clone().unwrap_or_default();
        let one = self.one()?;
        let client = app.client().await?;
        let new = match one {
            Some(one) => vec![one],
            None => prepare(app, &client, &file, manifest).await?,
        };
        enroll(app, &client, new, wait).await
    }

    /// The one machine that the options describe.
    fn one(self) -> Result<Option<NewMachine>, Failure> {
        let (Some(name), Some(address), Some(user), Some(file), Some(machine_type), Some(site)) = (
            self.name,
            self.bmc,
            self.user,
            self.password_file,
            self.machine_type,
            self.site,
        ) else {
            return Ok(None);
        };
        let password = manifest::password_file(&file).map_err(Failure::usage)?;
        Ok(Some(NewMachine {
            name,
            site,
            rack: self.rack,
            machine_type,
            serial: self.serial,
            networks: self.network.into_iter().collect::<BTreeMap<_, _>>(),
            bmc: NewBmc {
                address,
                user,
                password,
                fingerprint: self.fingerprint.map(|print| print.to_string()),
            },
            rotate_password: self.rotate_password,
        }))
    }
}

pub(super) fn read(file: &Path) -> Result<Manifest, Failure> {
    let text = crate::bounded::text(file, crate::bounded::MANIFEST)
        .map_err(|error| Failure::usage(format!("reading {}: {error}", file.display())))?;
    let directory = file.parent().unwrap_or(Path::new("."));
    let variable = |name: &str| std::env::var(name).ok();
    manifest::read(&text, directory, &variable).map_err(|troubles| wrong(file, &troubles))
}

pub(super) fn wrong(file: &Path, troubles: &[manifest::Trouble]) -> Failure {
    let lines: Vec<String> = troubles.iter().map(|t| format!("  {t}")).collect();
    let count = human::count(troubles.len(), "thing");
    let are = if troubles.len() == 1 { "is" } else { "are" };
    Failure::usage(format!(
        "{count} in {} {are} wrong, and nothing was sent:\n{}",
        file.display(),
        lines.join("\n")
    ))
    .hint("`billet help manifest` shows what can be in it")
}

/// Makes what is missing, and gives the machines that are new.
async fn prepare(
    app: &App,
    client: &Client,
    file: &Path,
    manifest: Manifest,
) -> Result<Vec<NewMachine>, Failure> {
    let sites = client.sites().all().await?;
    let networks = client.networks().all().await?;
    let types = client.machine_types().all().await?;
    let machines = client.machines(&[]).all().await?;
    let known = Known {
        sites: sites.into_iter().map(|s| s.name).collect(),
        networks: networks.into_iter().map(|n| n.name).collect(),
        machine_types: types.into_iter().map(|t| t.name).collect(),
        machines: machines
            .into_iter()
            .map(|m| m.name)
            .collect::<BTreeSet<_>>(),
    };
    let dangling = manifest.dangling(&known);
    if !dangling.is_empty() {
        return Err(wrong(file, &dangling));
    }

    for site in manifest.sites.iter().map(|at| &at.value) {
        if !known.sites.contains(&site.name) {
            client.create_site(site).await?;
            app.output.note(format!("site {}: made", site.name));
        }
    }
    for network in manifest.networks.iter().map(|at| &at.value) {
        if !known.networks.contains(&network.name) {
            client.create_network(network).await?;
            app.output.note(format!("network {}: made", network.name));
        }
    }
    for machine_type in manifest.machine_types.iter().map(|at| &at.value) {
        if !known.machine_types.contains(&machine_type.name) {
            client.create_machine_type(machine_type).await?;
            let name = &machine_type.name;
            app.output.note(format!("machine type {name}: made"));
        }
    }
    let mut new = Vec::new();
    for machine in manifest.machines {
        if known.machines.contains(&machine.value.name) {
            let name = &machine.value.name;
            app.output
                .note(format!("machine {name}: enrolled before, left as it is"));
        } else {
            new.push(machine.value);
        }
    }
    Ok(new)
}

async fn enroll(
    app: &App,
    client: &Client,
    new: Vec<NewMachine>,
    wait: Wait,
) -> Result<(), Failure> {
    let mut started: Vec<MachineStarted> = Vec::new();
    let mut refused = Vec::new();
    for machine in &new {
        match client.enroll(machine).await {
            Ok(one) => started.push(one),
            // One machine's trouble is no reason to leave out the others.
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status < 500 && status != 401) =>
            {
                let failure = Failure::from(error);
                refused.push(format!("{}: {}", machine.name, failure.sentence));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let followed = if wait.no_wait {
        Ok(())
    } else {
        let operations = started
            .iter()
            .map(|s| (s.machine.name.to_string(), s.operation.id))
            .collect();
        let followed = progress::follow_all(app, client, operations).await;
        for one in &mut started {
            one.machine = client.machine(&one.machine.id.to_string()).await?;
            one.operation = client.operation(one.operation.id).await?;
        }
        followed
    };
    let page = Page {
        items: started,
        next: None,
    };
    app.output.result(&page, |page| {
        let machines: Vec<MachineView> = page.items.iter().map(|s| s.machine.clone()).collect();
        table(&machines)
    })?;
    if !refused.is_empty() {
        let count = format!(
            "{} of {}",
            refused.len(),
            human::count(new.len(), "machine")
        );
        return Err(Failure::new(
            Code::Refused,
            format!("{count} not enrolled:\n  {}", refused.join("\n  ")),
        ));
    }
    followed?;
    let to_take: Vec<&str> = page
        .items
        .iter()
        .filter(|s| s.machine.lifecycle == billet_model::lifecycle::Lifecycle::Enrolled)
        .map(|s| s.machine.name.as_str())
        .take(8)
        .collect();
    if !to_take.is_empty() && !wait.no_wait {
        app.output.note(format!(
            "Next: billet machine take-over {}",
            to_take.join(" ")
        ));
    }
    Ok(())
}
