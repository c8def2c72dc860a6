//! What can be told to be wrong without a server, and what only with one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
};

use billet_model::{Name, Secret};
use url::Url;

use super::{At, Manifest, Trouble, reader::Source};

/// What the server has already.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its sites.
    pub sites: BTreeSet<Name>,
    /// Its networks.
    pub networks: BTreeSet<Name>,
    /// Its machine types.
    pub machine_types: BTreeSet<Name>,
    /// Its machines.
    pub machines: BTreeSet<Name>,
}

/// Reads `10.88.0.0/24`.
pub fn subnet(text: &str) -> Result<(Ipv4Addr, u32), String> {
    let wrong = || format!("{text:?} is not a subnet: write it as 10.88.0.0/24");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
    if !(8..=30).contains(&prefix) {
        return Err(format!(
            "{text:?} has a prefix that is not between 8 and 30"
        ));
    }
    let mask = u32::MAX << (32 - prefix);
    let first = Ipv4Addr::from_bits(address.to_bits() & mask);
    if first != address {
        return Err(format!(
            "{text:?} is not a subnet's first address: did you mean {first}/{prefix}?"
        ));
    }
    Ok((address, mask))
}

/// Reads a BMC's address; `https://` may be left out.
pub fn bmc_address(text: &str) -> Result<String, String> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url: Url = full
        .parse()
        .map_err(|error| format!("{text:?} is not a BMC's address: {error}"))?;
    let plain = url.scheme() == "https"
        && url.host_str().is_some()
        && matches!(url.path(), "" | "/")
        && url.username().is_empty()
        && url.query().is_none();
    if !plain {
        return Err(format!(
            "{text:?} is not a BMC's address: write https://ADDRESS or https://ADDRESS:PORT"
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Reads a password from a file, without the line's end.
pub fn password_file(path: &Path) -> Result<Secret, String> {
    let text = crate::bounded::text(path, crate::bounded::SMALL)
        .map_err(|error| format!("reading the password from {}: {error}", path.display()))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(format!("the password file {} is empty", path.display()));
    }
    Ok(Secret::new(text))
}

/// Notes what the manifest says twice, or says against itself.
pub fn alone(manifest: &Manifest, source: &Source<'_>) {
    twice(source, "site", &manifest.sites, |s| &s.name);
    twice(source, "network", &manifest.networks, |n| &n.name);
    twice(source, "machine type", &manifest.machine_types, |t| &t.name);
    twice(source, "machine", &manifest.machines, |m| &m.name);
    twice(source, "organisation", &manifest.organisations, |o| &o.name);
    twice(source, "project", &manifest.projects, |p| &p.new.name);
    twice(source, "image", &manifest.images, |i| {
        (&i.new.name, &i.new.project)
    });
    twice(source, "lease", &manifest.leases, |l| (&l.name, &l.project));

    let mut bmcs: BTreeMap<&str, &At<_>> = BTreeMap::new();
    let mut serials: BTreeMap<&str, &At<_>> = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for machine in &manifest.machines {
        let new = &machine.value;
        let wrong =
            |text: String| source.wrong(machine.line, format!("machine \"{}\": {text}", new.name));
        if let Some(other) = bmcs.insert(&new.bmc.address, machine) {
            let (name, line) = (&other.value.name, other.line);
            let address = &new.bmc.address;
            wrong(format!(
                "its BMC {address} is also that of \"{name}\" on line {line}"
            ));
        }
        if let Some(serial) = &new.serial
            && let Some(other) = serials.insert(serial, machine)
        {
            let (name, line) = (&other.value.name, other.line);
            wrong(format!(
                "its serial {serial} is also that of \"{name}\" on line {line}"
            ));
        }
        for (network, address) in &new.networks {
            let Some(address) = address else { continue };
            if let Some(other) = addresses.insert((network, *address), machine) {
                let (name, line) = (&other.value.name, other.line);
                wrong(format!(
                    "its address {address} on network {network} is also that of \"{name}\" on line {line}"
                ));
            }
            let declared = manifest.networks.iter().find(|n| n.value.name == *network);
            if let Some(declared) = declared
                && let Ok((first, mask)) = subnet(&declared.value.subnet)
                && address.to_bits() & mask != first.to_bits()
            {
                let subnet = &declared.value.subnet;
                wrong(format!(
                    "its address {address} is not in network {network}, {subnet}"
                ));
            }
        }
    }
}

/// What a thing is told apart by.
trait Key: Ord {
    fn name(&self) -> &Name;
}

impl Key for &Name {
    fn name(&self) -> &Name {
        self
    }
}

impl<T: Ord> Key for (&Name, &T) {
    fn name(&self) -> &Name {
        self.0
    }
}

fn twice<'e, T, K: Key>(
    source: &Source<'_>,
    what: &str,
    entries: &'e [At<T>],
    key: impl Fn(&'e T) -> K,
) {
    let mut seen = BTreeMap::new();
    for entry in entries {
        let again = key(&entry.value);
        let name = again.name().clone();
        if let Some(first) = seen.insert(again, entry.line) {
            let text = format!("{what} \"{name}\" is declared twice, first on line {first}");
            source.wrong(entry.line, text);
        }
    }
}

impl Manifest {
    /// References to what is neither declared here nor known to the server.
    pub fn dangling(&self, known: &Known) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let sites = names(&known.sites, &self.sites, |s| &s.name);
        let types = names(&known.machine_types, &self.machine_types, |t| &t.name);
        let networks = names(&known.networks, &self.networks, |n| &n.name);
        for machine in &self.machines {
            let new = &machine.value;
            let mut check = |what: &str, table: &str, name: &Name, among: &BTreeSet<&Name>| {
                if among.contains(name) {
                    return;
                }
                let near = among
                    .iter()
                    .map(|known| {
                        (
                            strsim::damerau_levenshtein(known.as_str(), name.as_str()),
                            known,
                        )
                    })
                    .min()
                    .filter(|(distance, _)| *distance <= 2);
                let advice = match near {
                    Some((_, near)) => format!("did you mean \"{near}\"?"),
                    None => format!("declare it with [[{table}]], or make it first"),
                };
                troubles.push(Trouble {
                    line: machine.line,
                    text: format!(
                        "machine \"{}\": there is no {what} \"{name}\"; {advice}",
                        new.name
                    ),
                });
            };
            check("site", "site", &new.site, &sites);
            check("machine type", "machine_type", &new.machine_type, &types);
            for network in new.networks.keys() {
                check("network", "network", network, &networks);
            }
        }
        troubles
    }
}

fn names<'n, T>(
    known: &'n BTreeSet<Name>,
    declared: &'n [At<T>],
    name: impl Fn(&'n T) -> &'n Name,
) -> BTreeSet<&'n Name> {
    known
        .iter()
        .chain(declared.iter().map(|entry| name(&entry.value)))
        .collect()
}
