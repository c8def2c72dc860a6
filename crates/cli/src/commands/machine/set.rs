//! `billet machine set`: correcting what is recorded of a machine.

use std::{collections::BTreeMap, net::Ipv4Addr};

use billet_client::Client;
use billet_model::{
    Name,
    api::{MachineChange, MachineView},
};
use clap::Args;

use super::{show, yes_or_no};
use crate::{
    app::App,
    commands::enroll::parse_network,
    failure::{Code, Failure},
};

/// What is corrected of a machine.
#[derive(Debug, Args)]
pub struct Set {
    /// The machine's name or id.
    machine: String,
    #[command(flatten)]
    change: Changes,
}

/// At least one of these.
#[derive(Debug, Args)]
#[group(id = "machine-changes", required = true, multiple = true)]
struct Changes {
    /// The new name.
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Its rack; empty for none.
    #[arg(long)]
    rack: Option<String>,
    /// Its site.
    #[arg(long, value_name = "NAME")]
    site: Option<Name>,
    /// Its machine type.
    #[arg(long = "type", value_name = "NAME")]
    machine_type: Option<Name>,
    /// The serial number that it should have; empty for none.
    #[arg(long)]
    serial: Option<String>,
    /// A network that it is on, with its address there or `auto`; may be repeated. The others stay.
    #[arg(long, value_name = "NETWORK=ADDRESS", value_parser = parse_network)]
    network: Vec<(Name, Option<Ipv4Addr>)>,
    /// A network that it is on no longer; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    no_network: Vec<Name>,
    /// Whether Billet gives its BMC another password when it is taken over, and after each lease.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, default_missing_value = "yes", value_parser = yes_or_no, require_equals = true)]
    rotate_password: Option<bool>,
}

impl Set {
    /// Carries it out.
    pub async fn run(self, app: &App, client: &Client) -> Result<(), Failure> {
        let Self { machine, change } = self;
        let (mut networks, mut version) = (None, None);
        if !change.network.is_empty() || !change.no_network.is_empty() {
            // The API takes all of them: as they were when they were looked at.
            let there = client.machine(&machine).await?;
            version = Some(there.version);
            networks = Some(change.networks(&present(client, &there).await?, &there)?);
        }
        let change = MachineChange {
            name: change.name,
            rack: change.rack,
            site: change.site,
            machine_type: change.machine_type,
            serial: change.serial,
            networks,
            rotate_password: change.rotate_password,
        };
        let changed = client.change_machine(&machine, &change, version).await?;
        app.output.result(&changed, show)
    }
}

impl Changes {
    fn networks(
        &self,
        present: &BTreeMap<Name, Option<Ipv4Addr>>,
        machine: &MachineView,
    ) -> Result<BTreeMap<Name, Option<Ipv4Addr>>, Failure> {
        let mut networks = present.clone();
        for name in &self.no_network {
            if networks.remove(name).is_none() {
                let text = format!("{} is not on network {name}", machine.name);
                return Err(Failure::new(Code::NotFound, text));
            }
        }
        networks.extend(self.network.iter().cloned());
        Ok(networks)
    }
}

/// The networks that a machine is on, by name.
async fn present(
    client: &Client,
    machine: &MachineView,
) -> Result<BTreeMap<Name, Option<Ipv4Addr>>, Failure> {
    let mut present = BTreeMap::new();
    for address in &machine.addresses {
        let network = client.network(&address.network.to_string()).await?;
        present.insert(network.name, Some(address.ip));
    }
    Ok(present)
}
