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
    api::{NewNetwork, Page, Problem},
    site::Network,
};
use billet_store::{Batch, Write};
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{PageQuery, see};
use crate::{
    app::{About as _, App},
    auth::Bearer,
    extract::{Body, Of, Query},
    in_use::{self, Needed},
    lookup,
    page::Asked,
    problem::Failure,
    respond,
};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_networks, create_network))
        .routes(routes!(show_network, delete_network))
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
    let (first, last) = pool(&new, subnet, prefix)?;
    let network = Network {
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
    };
    let row = app
        .row(&bearer.actor(), "network.create")
        .detail(json!({ "network": network.id, "name": network.name, "subnet": new.subnet }));
    let write = Write::PutNetwork(network.clone());
    let batch = Batch::new().with(write).audited(row);
    app.commit("making a network", batch).await?;
    let location = format!("/v1/networks/{}", network.id);
    respond::changed(StatusCode::CREATED, &network, None, Some(location))
}

/// Show a network
#[utoipa::path(get, path = "/v1/networks/{network}", tag = "places",
    responses((status = 200, body = Network)))]
async fn show_network(
    State(app): State<App>,
    Of(text): Of,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    respond::one(&headers, &lookup::network(&app, &text).await?, None)
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
fn pool(new: &NewNetwork, subnet: Ipv4Addr, prefix: u8) -> Result<(Ipv4Addr, Ipv4Addr), Failure> {
    let base = subnet.to_bits();
    let broadcast = base | !mask(prefix);
    let usable = |address: Ipv4Addr| (base + 1..broadcast).contains(&address.to_bits());
    if let Some(gateway) = new.gateway.filter(|gateway| !usable(*gateway)) {
        let detail = format!("{gateway} is not an address of the subnet {}", new.subnet);
        return Err(Failure::invalid("gateway", detail));
    }
    if let Some((first, last)) = new.pool {
        if !usable(first) || !usable(last) || first > last {
            let detail = format!(
                "{first} to {last} is not a range within the subnet {}, first address first",
                new.subnet
            );
            return Err(Failure::invalid("pool", detail));
        }
        return Ok((first, last));
    }
    let (mut first, mut last) = (base + 1, broadcast - 1);
    match new.gateway.map(Ipv4Addr::to_bits) {
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
        let (first, last) = pool(new, base, prefix).ok()?;
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
}
