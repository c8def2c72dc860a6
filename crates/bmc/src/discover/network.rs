//! Network interfaces, known by their MACs, gathered from three places that
//! each know something else.

use std::collections::BTreeMap;

use billet_model::inventory::Nic;
use serde_json::Value;

use super::walk::Walk;
use crate::value::{Resource, list, mac, real, text, whole};

/// All interfaces with a MAC, each once.
pub(crate) async fn nics(walk: &Walk<'_>, system: &Resource, chassis: &[Resource]) -> Vec<Nic> {
    let mut found: BTreeMap<String, Nic> = BTreeMap::new();
    for interface in walk.collection(system.link("/EthernetInterfaces")).await {
        if interface.link("/Links/HostInterface").is_some() {
            walk.note(format!(
                "{} is the host's own way to the BMC, not a network",
                interface.id()
            ));
            continue;
        }
        let body = &interface.body;
        merge(
            &mut found,
            address(body, &["/PermanentMACAddress", "/MACAddress"]),
            Nic {
                name: interface.id(),
                link: link_of(body),
                speed_mbps: speed(body),
                ..Nic::default()
            },
        );
    }
    let mut adapters: Vec<Resource> = Vec::new();
    for place in chassis {
        adapters.extend(walk.tree(place.link("/NetworkAdapters")).await);
    }
    for adapter in adapters {
        // Its name is of no use: "Network Adapter View".
        let model = adapter.text("/Model");
        let functions = walk.collection(adapter.link("/NetworkDeviceFunctions"));
        let ports = async {
            match adapter
                .link("/Ports")
                .or_else(|| adapter.link("/NetworkPorts"))
            {
                Some(ports) => walk.collection(Some(ports)).await,
                None => Vec::new(),
            }
        };
        let (functions, ports) = tokio::join!(functions, ports);
        for function in functions {
            let mac = address(
                &function.body,
                &["/Ethernet/PermanentMACAddress", "/Ethernet/MACAddress"],
            );
            merge(
                &mut found,
                mac,
                Nic {
                    name: format!("{} {}", adapter.id(), function.id()),
                    model: model.clone(),
                    ..Nic::default()
                },
            );
        }
        for port in ports {
            let mut macs: Vec<&Value> = Vec::new();
            for place in [
                "/Ethernet/AssociatedMACAddresses",
                "/AssociatedNetworkAddresses",
            ] {
                macs.extend(list(&port.body, place));
            }
            for raw in macs {
                let mac = raw.as_str().and_then(mac);
                merge(
                    &mut found,
                    mac,
                    Nic {
                        name: format!("{} {}", adapter.id(), port.id()),
                        link: link_of(&port.body),
                        speed_mbps: speed(&port.body),
                        model: model.clone(),
                        ..Nic::default()
                    },
                );
            }
        }
    }
    if found.is_empty() {
        walk.note("no network interface with a MAC could be read");
    }
    let mut nics: Vec<Nic> = found.into_values().collect();
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

/// Adds an interface, or what it knows to the one with the same MAC.
fn merge(found: &mut BTreeMap<String, Nic>, mac: Option<String>, nic: Nic) {
    let Some(mac) = mac else { return };
    let known = found.entry(mac.clone()).or_insert_with(|| Nic {
        name: nic.name,
        mac: Some(mac),
        ..Nic::default()
    });
    known.link = known.link.or(nic.link);
    known.speed_mbps = known.speed_mbps.or(nic.speed_mbps);
    known.model = known.model.take().or(nic.model);
}

fn address(body: &Value, places: &[&str]) -> Option<String> {
    places.iter().find_map(|p| mac(&text(body, p)?))
}

fn link_of(body: &Value) -> Option<bool> {
    match text(body, "/LinkStatus")?.as_str() {
        "LinkUp" | "Up" => Some(true),
        "LinkDown" | "Down" | "NoLink" => Some(false),
        _ => None,
    }
}

fn speed(body: &Value) -> Option<u64> {
    whole(body, "/SpeedMbps")
        .or_else(|| whole(body, "/CurrentLinkSpeedMbps"))
        .or_else(|| real(body, "/CurrentSpeedGbps").map(|g| (g * 1000.0) as u64))
        .filter(|s| *s > 0)
}
