//! Networks: which addresses machines have.

use std::net::Ipv4Addr;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use billet_model::{
    NetworkId,
    api::{NetworkChange, NewNetwork, Page, Problem},
    lifecycle::Lifecycle,
    site::Network,
};
use billet_store::{Batch, StoreError, Write};
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{PageQuery, see};
use crate::{
    app::{About as _, App, of_store},
    auth::Bearer,
    extract::{Body, IfMatch, Of, Query},
    in_use::{self, Needed},
    lookup,
    page::Asked,
    problem::{Failure, Kind},
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_networks, create_network))
        .routes(routes!(show_network, change_network, delete_network))
}

/// List networks
#[utoipa::path(get, path = "/v1/networks", tag = "places", params(PageQuery),
    responses((status = 200, body = Page<Network>)))]
async fn list_networks(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Network>>, Failure> {
    let asked = Asked::<NetworkId>::new(query.limit, query.after.as_deref())?;
    let read = app.store().networks(asked.after, asked.read()).await;
    Ok(asked.page(see("networks", read)?, |n| n.id.to_string()))
}

/// Make a network
#[utoipa::path(post, path = "/v1/networks", tag = "places", request_body = NewNetwork,
    responses((status = 201, body = Network)))]
async fn create_network(
    State(app): State<App>,
    bearer: Bearer,
    Body(new): Body<NewNetwork>,
) -> Result<Response, Failure> {
    let (subnet, prefix) = subnet(&new.subnet)?;
    let (first, last) = pool(new.gateway, new.pool, subnet, prefix)?;
    let mut network = Network {
        id: app.control().new_id(),
        name: new.name,
        subnet,
        prefix,
        gateway: new.gateway,
        dns: new.dns,
        pool_first: first,
        pool_last: last,
        reached_at: new.reached_at,
        created_at: app.now(),
        version: 0,
    };
    let row = app
        .row(&bearer.actor(), "network.create")
        .detail(json!({ "network": network.id, "name": network.name, "subnet": new.subnet }));
    let write = Write::PutNetwork(network.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("making a network", batch).await?;
    network.version = 1;
    let location = format!("/v1/networks/{}", network.id);
    let version = Some(network.version);
    respond::changed(StatusCode::CREATED, &network, version, Some(location))
}

/// Show a network
#[utoipa::path(get, path = "/v1/networks/{network}", tag = "places",
    responses((status = 200, body = Network)))]
async fn show_network(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let network = lookup::network(&app, &text).await?;
    respond::versioned(&headers, &network, network.version)
}

/// Change a network
///
/// A machine is told of it when it is next booted into the ramdisk or leased: what
/// stands on the drive of a running lease stays as it is until a reinstallation.
/// Where the subnet is reached from outside counts at once. A subnet that leaves
/// out an address of a machine is refused, and so is a gateway that is one.
#[utoipa::path(patch, path = "/v1/networks/{network}", tag = "places",
    request_body = NetworkChange,
    responses((status = 200, body = Network), (status = 409, body = Problem)))]
async fn change_network(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
    IfMatch(version): IfMatch,
    Body(change): Body<NetworkChange>,
) -> Result<Response, Failure> {
    let mut tries = 0;
    loop {
        let before = lookup::network(&app, &text).await?;
        if version.is_some_and(|version| version != before.version) {
            let detail = format!(
                "it was changed since you read it (it is at version {} now): read it again",
                before.version
            );
            return Err(Failure::new(Kind::Stale, detail));
        }
        let mut network = changed(&before, &change)?;
        if network == before {
            return respond::changed(StatusCode::OK, &network, Some(network.version), None);
        }
        // Read before the addresses, so that one given out meanwhile is noticed.
        let given = see("networks", app.store().addresses_given(network.id).await)?;
        fits_its_machines(&app, &network).await?;
        let row = app
            .row(&bearer.actor(), "network.change")
            .detail(json!({ "network": network.id, "was": before, "is": network }));
        let batch = Batch::new()
            .with(Write::PutNetwork(network.clone()))
            .with(Write::GivenStill {
                network: network.id,
                given,
            })
            .audited(row);
        match app.store().commit(batch).await {
            Ok(()) => {
                network.version += 1;
                return respond::changed(StatusCode::OK, &network, Some(network.version), None);
            }
            Err(StoreError::Conflict { .. }) if tries < 16 => tries += 1,
            Err(error) => return Err(of_store("changing the network", error)),
        }
    }
}

/// The network as it is to be.
fn changed(before: &Network, change: &NetworkChange) -> Result<Network, Failure> {
    let mut now = before.clone();
    if let Some(name) = &change.name {
        now.name.clone_from(name);
    }
    if let Some(text) = &change.subnet {
        (now.subnet, now.prefix) = subnet(text)?;
    }
    now.gateway = change.gateway.unwrap_or(now.gateway);
    now.reached_at = change.reached_at.unwrap_or(now.reached_at);
    if let Some(dns) = &change.dns {
        now.dns.clone_from(dns);
    }
    if now.subnet != before.subnet && before.reached_at.is_some() && change.reached_at.is_none() {
        let detail = "the subnet begins elsewhere, and is reached from outside: say where, or null";
        return Err(Failure::invalid("reached_at", detail));
    }
    let is = (before.pool_first, before.pool_last);
    // A pool that was all there is goes on to be that.
    let all = pool(before.gateway, None, before.subnet, before.prefix).ok() == Some(is);
    let wanted = change.pool.unwrap_or((!all).then_some(is));
    (now.pool_first, now.pool_last) = pool(now.gateway, wanted, now.subnet, now.prefix)?;
    Ok(now)
}

/// Refuses a network that its machines do not fit: they keep their addresses.
async fn fits_its_machines(app: &App, network: &Network) -> Result<(), Failure> {
    let addresses = app.store().addresses_of_network(network.id).await;
    for (ip, machine) in see("addresses", addresses)? {
        let outside = !network.contains(ip);
        if !outside && network.gateway != Some(ip) {
            continue;
        }
        let machine = app.store().machine_in_short(machine).await;
        let Some(machine) = see("machines", machine)? else {
            continue;
        };
        // A retired one is written nowhere any more.
        if machine.lifecycle == Lifecycle::Retired {
            continue;
        }
        let name = &machine.name;
        let (field, detail) = match outside {
            true => (
                "subnet",
                format!(
                    "machine {name} has {ip}, which is not in {}/{}: give it another address first",
                    network.subnet, network.prefix
                ),
            ),
            false => (
                "gateway",
                format!("{ip} is machine {name}'s: give it another address first"),
            ),
        };
        return Err(Failure::new(Kind::InUse, detail).field(field));
    }
    Ok(())
}

/// Delete a network
///
/// Refused while a machine has an address on it.
#[utoipa::path(delete, path = "/v1/networks/{network}", tag = "places",
    responses((status = 204), (status = 409, body = Problem)))]
async fn delete_network(
    State(app): State<App>,
    bearer: Bearer,
    Of(text): Of,
) -> Result<StatusCode, Failure> {
    let found = lookup::network(&app, &text).await?;
    let row = app
        .row(&bearer.actor(), "network.delete")
        .detail(json!({ "network": found.id, "name": found.name }));
    let batch = Batch::new()
        .with(Write::DeleteNetwork(found.id))
        .audited(row);
    in_use::delete(&app, "network", Needed::Network(found.id), batch).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A subnet as it is written: `10.88.0.0/24`.
fn subnet(text: &str) -> Result<(Ipv4Addr, u8), Failure> {
    let wrong = |why: &str| {
        let text: String = text.chars().take(40).collect();
        Failure::invalid(
            "subnet",
            format!("{text:?} {why}: write it as 10.88.0.0/24"),
        )
    };
    let (address, prefix) = text.split_once('/').ok_or_else(|| wrong("has no prefix"))?;
    let address: Ipv4Addr = address
        .parse()
        .map_err(|_| wrong("is not an IPv4 subnet"))?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong("has no prefix"))?;
    if !(8..=30).contains(&prefix) {
        return Err(wrong("must have a prefix of 8 to 30"));
    }
    if address.to_bits() & !mask(prefix) != 0 {
        return Err(wrong("has bits beyond its prefix"));
    }
    Ok((address, prefix))
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The addresses that are given out: as asked, or all but the gateway.
fn pool(
    gateway: Option<Ipv4Addr>,
    wanted: Option<(Ipv4Addr, Ipv4Addr)>,
    subnet: Ipv4Addr,
    prefix: u8,
) -> Result<(Ipv4Addr, Ipv4Addr), Failure> {
    let base = subnet.to_bits();
    let broadcast = base | !mask(prefix);
    let usable = |address: Ipv4Addr| (base + 1..broadcast).contains(&address.to_bits());
    if let Some(gateway) = gateway.filter(|gateway| !usable(*gateway)) {
        let detail = format!("{gateway} is not an address of the subnet {subnet}/{prefix}");
        return Err(Failure::invalid("gateway", detail));
    }
    if let Some((first, last)) = wanted {
        if !usable(first) || !usable(last) || first > last {
            let detail = format!(
                "{first} to {last} is not a range within the subnet {subnet}/{prefix}, first address first"
            );
            return Err(Failure::invalid("pool", detail));
        }
        return Ok((first, last));
    }
    let (mut first, mut last) = (base + 1, broadcast - 1);
    match gateway.map(Ipv4Addr::to_bits) {
        Some(gateway) if gateway == first => first += 1,
        Some(gateway) if gateway == last => last -= 1,
        // Within the range: what gives addresses out leaves the gateway alone.
        _ => {}
    }
    Ok((Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnet: &str, gateway: Option<&str>, pool: Option<(&str, &str)>) -> NewNetwork {
        let address = |text: &str| text.parse().expect("an address");
        NewNetwork {
            name: "n".parse().expect("a name"),
            subnet: subnet.into(),
            gateway: gateway.map(address),
            dns: Vec::new(),
            pool: pool.map(|(first, last)| (address(first), address(last))),
            reached_at: None,
        }
    }

    fn check(new: &NewNetwork) -> Option<(String, String)> {
        let (base, prefix) = subnet(&new.subnet).ok()?;
        let (first, last) = pool(new.gateway, new.pool, base, prefix).ok()?;
        Some((first.to_string(), last.to_string()))
    }

    #[test]
    fn pools() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        let plain = "10.88.0.0/24";
        assert_eq!(
            check(&network(plain, None, None)),
            pair("10.88.0.1", "10.88.0.254")
        );
        assert_eq!(
            check(&network(plain, Some("10.88.0.1"), None)),
            pair("10.88.0.2", "10.88.0.254")
        );
        assert_eq!(
            check(&network(plain, Some("10.88.0.254"), None)),
            pair("10.88.0.1", "10.88.0.253")
        );
        assert_eq!(
            check(&network(plain, None, Some(("10.88.0.10", "10.88.0.20")))),
            pair("10.88.0.10", "10.88.0.20")
        );
        assert_eq!(check(&network(plain, Some("10.89.0.1"), None)), None);
        assert_eq!(
            check(&network(plain, None, Some(("10.88.0.20", "10.88.0.10")))),
            None
        );
        assert_eq!(
            check(&network(plain, None, Some(("10.88.0.0", "10.88.0.10")))),
            None
        );
        for wrong in [
            "10.88.0.1/24",
            "10.88.0.0",
            "10.88.0.0/31",
            "10.0.0.0/7",
            "x/24",
            "10.88.0.0/x",
        ] {
            assert_eq!(check(&network(wrong, None, None)), None, "{wrong}");
        }
    }

    /// A change beside what it makes of a network: `SUBNET GATEWAY FIRST LAST REACHED`, or the
    /// field that it is refused for.
    #[test]
    fn changes() {
        let before: Network = serde_json::from_value(json!({
            "id": "0197a000-0000-7000-8000-000000000004", "name": "lan", "subnet": "10.88.0.0",
            "prefix": 24, "gateway": "10.88.0.1", "dns": [], "pool_first": "10.88.0.2",
            "pool_last": "10.88.0.254", "reached_at": null,
            "created_at": "2026-11-22T12:00:00Z",
        }))
        .expect("a network");
        assert_eq!(before.version, 1, "kept before networks had one");
        let part = Network {
            pool_first: [10, 88, 0, 10].into(),
            pool_last: [10, 88, 0, 99].into(),
            reached_at: Some([127, 88, 0, 0].into()),
            ..before.clone()
        };
        for (before, change, wanted) in [
            (
                &before,
                json!({}),
                "10.88.0.0/24 10.88.0.1 10.88.0.2 10.88.0.254 none",
            ),
            (
                &before,
                json!({ "subnet": "10.88.0.0/16" }),
                "10.88.0.0/16 10.88.0.1 10.88.0.2 10.88.255.254 none",
            ),
            (
                &before,
                json!({ "gateway": null }),
                "10.88.0.0/24 none 10.88.0.1 10.88.0.254 none",
            ),
            (
                &before,
                json!({ "pool": ["10.88.0.9", "10.88.0.10"], "reached_at": "127.88.0.0" }),
                "10.88.0.0/24 10.88.0.1 10.88.0.9 10.88.0.10 127.88.0.0",
            ),
            (&before, json!({ "subnet": "10.89.0.0/24" }), "gateway"),
            (
                &before,
                json!({ "subnet": "10.89.0.0/24", "gateway": "10.89.0.254" }),
                "10.89.0.0/24 10.89.0.254 10.89.0.1 10.89.0.253 none",
            ),
            // A part of the subnet stays the same part.
            (
                &part,
                json!({ "subnet": "10.88.0.0/25", "gateway": "10.88.0.126" }),
                "10.88.0.0/25 10.88.0.126 10.88.0.10 10.88.0.99 127.88.0.0",
            ),
            (&part, json!({ "subnet": "10.88.0.0/26" }), "pool"),
            (
                &part,
                json!({ "pool": null }),
                "10.88.0.0/24 10.88.0.1 10.88.0.2 10.88.0.254 127.88.0.0",
            ),
            (
                &part,
                json!({ "subnet": "10.89.0.0/24", "gateway": null, "pool": null }),
                "reached_at",
            ),
        ] {
            let told: NetworkChange = serde_json::from_value(change.clone()).expect("a change");
            // What a client sends says the same.
            assert_eq!(serde_json::to_value(&told).expect("JSON"), change);
            let or_none = |ip: Option<Ipv4Addr>| ip.map_or("none".into(), |ip| ip.to_string());
            let came = match changed(before, &told) {
                Ok(n) => format!(
                    "{}/{} {} {} {} {}",
                    n.subnet,
                    n.prefix,
                    or_none(n.gateway),
                    n.pool_first,
                    n.pool_last,
                    or_none(n.reached_at)
                ),
                Err(failure) => failure.about().unwrap_or_default().to_owned(),
            };
            assert_eq!(came, wanted, "{change}");
        }
    }
}
