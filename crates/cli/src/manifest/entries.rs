//! From tables to the API's bodies.

use std::{cell::RefCell, collections::BTreeMap};

use billet_client::Fingerprint;
use billet_model::{
    Name, Secret,
    api::{NewBmc, NewMachine, NewMachineType, NewNetwork, NewSite},
    site::ExpectedParts,
    warm::WarmPolicy,
};
use toml::de::DeTable;

use super::{
    At, Manifest,
    reader::{Reader, Source},
    tenancy,
};

/// Reads the whole document. What is wrong is noted in `source`, and left out of the result.
pub fn manifest(source: &Source<'_>, table: &DeTable<'_>) -> Manifest {
    let top = Reader::new(source, table, 1, "");
    let take_over = RefCell::default();
    let mut manifest = Manifest {
        sites: each(top.list("site", "sites"), site),
        networks: each(top.list("network", "networks"), network),
        machine_types: each(top.list("machine_type", "machine_types"), machine_type),
        machines: each(top.list("machine", "machines"), |reader| {
            machine(source, reader, &take_over)
        }),
        organisations: each(
            top.list("organisation", "organisations"),
            tenancy::organisation,
        ),
        projects: each(top.list("project", "projects"), tenancy::project),
        images: each(top.list("image", "images"), |reader| {
            tenancy::image(source, reader)
        }),
        leases: each(top.list("lease", "leases"), |reader| {
            tenancy::lease(source, reader)
        }),
        ..Manifest::default()
    };
    manifest.take_over = take_over.into_inner();
    top.end();
    manifest
}

fn each<T>(
    readers: Vec<Reader<'_, '_>>,
    read: impl Fn(&Reader<'_, '_>) -> Option<T>,
) -> Vec<At<T>> {
    let mut found = Vec::new();
    for reader in readers {
        let line = reader.line;
        let value = read(&reader);
        if let (true, Some(value)) = (reader.end(), value) {
            found.push(At { line, value });
        }
    }
    found
}

/// The name, by which the table is called from then on.
pub fn name(reader: &Reader<'_, '_>) -> Option<Name> {
    let name: Option<Name> = required(reader, "name", Reader::parsed);
    if let Some(name) = &name {
        let what = reader.what();
        reader.call(format!("{what} \"{name}\""));
    }
    name
}

/// The value of a key that must be there.
pub fn required<'s, 't, T>(
    reader: &Reader<'s, 't>,
    key: &'static str,
    read: impl FnOnce(&Reader<'s, 't>, &'static str) -> Option<T>,
) -> Option<T> {
    if reader.raw(key).is_none() {
        reader.missing(key);
        return None;
    }
    read(reader, key)
}

fn site(reader: &Reader<'_, '_>) -> Option<NewSite> {
    let name = name(reader);
    let jurisdiction = required(reader, "jurisdiction", Reader::text);
    Some(NewSite {
        name: name?,
        jurisdiction: jurisdiction?.to_owned(),
    })
}

fn network(reader: &Reader<'_, '_>) -> Option<NewNetwork> {
    let name = name(reader);
    let subnet = required(reader, "subnet", Reader::text);
    let subnet = subnet.and_then(|text| match super::check::subnet(text) {
        Ok(_) => Some(text.to_owned()),
        Err(why) => {
            reader.wrong(reader.line_at("subnet"), format!("\"subnet\": {why}"));
            None
        }
    });
    let pool = match reader.addresses("pool").as_deref() {
        None => None,
        Some(&[first, last]) if first <= last => Some((first, last)),
        Some(_) => {
            reader.wrong(
                reader.line_at("pool"),
                "\"pool\" must be two addresses, the first and the last to give out",
            );
            None
        }
    };
    let (gateway, dns) = (reader.address("gateway"), reader.addresses("dns"));
    let reached_at = reader.address("reached_at");
    Some(NewNetwork {
        name: name?,
        subnet: subnet?,
        gateway,
        dns: dns.unwrap_or_default(),
        pool,
        reached_at,
    })
}

fn machine_type(reader: &Reader<'_, '_>) -> Option<NewMachineType> {
    let name = name(reader);
    let description = reader.text("description").unwrap_or_default().to_owned();
    let mut expected = ExpectedParts::default();
    if let Some(parts) = reader.table("expected", &format!("{}, expected", reader.what())) {
        expected = ExpectedParts {
            gpus: parts.count("gpus"),
            gpu_model: parts.text("gpu_model").map(str::to_owned),
            drives: parts.count("drives"),
            min_threads: parts.count("min_threads"),
            min_memory_bytes: parts.bytes("min_memory_bytes"),
            min_nics: parts.count("min_nics"),
        };
        parts.end();
    }
    let (count, images) = (reader.count("warm"), reader.texts("warm_images"));
    let cold = reader.flag("cold");
    let says = count.is_some() || images.is_some() || cold.is_some();
    let mut named = Vec::new();
    for image in images.unwrap_or_default() {
        match image.parse() {
            Ok(image) => named.push(image),
            Err(error) => {
                let text = format!("\"warm_images\": {image:?}: {error}");
                reader.wrong(reader.line_at("warm_images"), text);
            }
        }
    }
    Some(NewMachineType {
        name: name?,
        description,
        expected,
        warm: says.then(|| WarmPolicy {
            count: count.unwrap_or_default(),
            images: named,
            cold: cold.unwrap_or_default(),
        }),
    })
}

fn machine(
    source: &Source<'_>,
    reader: &Reader<'_, '_>,
    take_over: &RefCell<BTreeMap<Name, At<Vec<String>>>>,
) -> Option<NewMachine> {
    let name = name(reader);
    let site = required(reader, "site", Reader::parsed);
    let machine_type = required(reader, "machine_type", Reader::parsed);
    let rack = reader.text("rack").map(str::to_owned);
    let serial = reader.text("serial").map(str::to_owned);
    let rotate_password = reader.flag("rotate_password");
    let mut networks = BTreeMap::new();
    if let Some(table) = reader.table("networks", &reader.what()) {
        for (network, line, value) in table.entries() {
            let network: Name = match network.parse() {
                Ok(name) => name,
                Err(error) => {
                    table.wrong(line, format!("\"networks\": {error}"));
                    continue;
                }
            };
            match value.as_str() {
                Some("auto") => _ = networks.insert(network, None),
                Some(text) => {
                    if let Some(address) = table.ipv4("networks", text, line) {
                        networks.insert(network, Some(address));
                    }
                }
                None => table.wrong(
                    line,
                    format!("network {network}: give its address in quotes, or \"auto\""),
                ),
            }
        }
    }
    let bmc = match reader.raw("bmc") {
        None => {
            reader.missing("bmc");
            None
        }
        Some(_) => reader
            .table("bmc", &format!("{}, bmc", reader.what()))
            .and_then(|table| {
                let read = bmc(source, &table);
                if table.end() { read } else { None }
            }),
    };
    if let (Some(name), Some(drives)) = (&name, reader.texts("take_over")) {
        let line = reader.line_at("take_over");
        if drives.is_empty() {
            let why = "\"take_over\" names each drive that is erased by its serial: give them, or leave it out";
            reader.wrong(line, why);
        }
        let drives = At {
            line,
            value: drives,
        };
        take_over.borrow_mut().insert(name.clone(), drives);
    }
    Some(NewMachine {
        name: name?,
        site: site?,
        rack,
        machine_type: machine_type?,
        serial,
        networks,
        bmc: bmc?,
        rotate_password: rotate_password.unwrap_or(false),
    })
}

fn bmc(source: &Source<'_>, reader: &Reader<'_, '_>) -> Option<NewBmc> {
    let address = required(reader, "address", Reader::text).and_then(|text| {
        super::check::bmc_address(text)
            .map_err(|why| reader.wrong(reader.line_at("address"), format!("\"address\": {why}")))
            .ok()
    });
    let user = required(reader, "user", Reader::text).map(str::to_owned);
    let fingerprint = reader
        .parsed::<Fingerprint>("fingerprint")
        .map(|print| print.to_string());
    let password = password(source, reader);
    Some(NewBmc {
        address: address?,
        user: user?,
        password: password?,
        fingerprint,
    })
}

fn password(source: &Source<'_>, reader: &Reader<'_, '_>) -> Option<Secret> {
    let here = reader.text("password");
    let file = reader.text("password_file");
    let variable = reader.text("password_env");
    match (here, file, variable) {
        (Some(text), None, None) => Some(Secret::new(text)),
        (None, Some(file), None) => {
            let path = source.directory.join(file);
            match super::check::password_file(&path) {
                Ok(secret) => Some(secret),
                Err(why) => {
                    reader.wrong(reader.line_at("password_file"), why);
                    None
                }
            }
        }
        (None, None, Some(name)) => {
            let value = (source.variable)(name).filter(|value| !value.is_empty());
            if value.is_none() {
                let line = reader.line_at("password_env");
                reader.wrong(line, format!("the environment has no variable {name}"));
            }
            value.map(Secret::new)
        }
        (None, None, None) => {
            reader.wrong(
                reader.line,
                "the password is missing: give password, password_file or password_env",
            );
            None
        }
        _ => {
            reader.wrong(
                reader.line,
                "give one of password, password_file and password_env, not several",
            );
            None
        }
    }
}
