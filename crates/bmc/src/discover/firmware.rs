//! Which firmware runs where.

use std::collections::BTreeMap;

use billet_model::inventory::Firmware;

use crate::error::BmcError;
use crate::read::Reader;
use crate::value::Resource;

/// Firmware found, and what went wrong on the way.
pub(crate) struct Found {
    pub found: Vec<Firmware>,
    pub notes: Vec<String>,
    /// The first thing that is there and could not be read.
    pub failed: Option<BmcError>,
}

/// The firmware that runs: the system's and the BMC's own words first, then
/// the update service's list, each component once.
pub(crate) async fn firmware(reader: &Reader<'_>, system: &Resource) -> Found {
    let service = reader.service;
    let quirks = service.vendor(system).await.quirks();
    let mut result = Found {
        found: Vec::new(),
        notes: Vec::new(),
        failed: None,
    };
    let mut add = |component: String, version: Option<String>| {
        if let Some(version) = version {
            result.found.push(Firmware { component, version });
        }
    };
    add("BIOS".into(), system.text("/BiosVersion"));
    for manager in reader.managers(system).await {
        add("BMC".into(), manager.text("/FirmwareVersion"));
    }
    let listed = match listed(reader).await {
        Ok(members) => members,
        Err(error) => {
            result.notes.push(format!("firmware inventory: {error}"));
            if !matches!(error, BmcError::Refused { .. }) {
                result.failed = Some(error);
            }
            return result;
        }
    };
    // Several parts of one name need their place beside it to be told apart.
    let mut entries: Vec<(String, String, String)> = Vec::new();
    for member in listed {
        let member = match member {
            Ok(member) => member,
            Err(error) => {
                result.notes.push(error.to_string());
                if !matches!(error, BmcError::Refused { .. }) {
                    result.failed.get_or_insert(error);
                }
                continue;
            }
        };
        let id = member.id();
        let Some(version) = member
            .text("/Version")
            .filter(|_| !quirks.firmware_is_idle(&id))
        else {
            continue;
        };
        // Some ids carry the version: what follows it is the place.
        let place = id.rsplit("__").next().unwrap_or(&id).to_owned();
        let name = member.text("/Name").unwrap_or_else(|| place.clone());
        if !entries.iter().any(|(n, p, _)| *n == name && *p == place) {
            entries.push((name, place, version));
        }
    }
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for (name, ..) in &entries {
        *names.entry(name.clone()).or_default() += 1;
    }
    for (name, place, version) in entries {
        let alone = names.get(&name) == Some(&1);
        let component = if alone {
            name
        } else {
            format!("{name} ({place})")
        };
        let said = result.found.iter().any(|f| f.component == component);
        if !said {
            result.found.push(Firmware { component, version });
        }
    }
    result
}

async fn listed(reader: &Reader<'_>) -> Result<Vec<crate::read::Member>, BmcError> {
    let root = reader.service.root().await?.resource();
    let Some(update) = root.link("/UpdateService") else {
        return Ok(Vec::new());
    };
    let update = reader.read(&update).await?;
    match update.link("/FirmwareInventory") {
        Some(inventory) => reader.members(&inventory).await,
        None => Ok(Vec::new()),
    }
}
