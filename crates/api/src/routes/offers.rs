//! Offers: what is free, and what it is. Nothing here says which machines.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State};
use billet_model::{
    Name, SiteId,
    api::{Offer, Page},
    lifecycle::Lifecycle,
    machine::Machine,
};
use billet_plan::placement;
use billet_store::MachineFilter;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::see;
use crate::{app::App, extract::Query, lookup, problem::Failure};

/// Most available machines of a type at a site that are looked at for those that
/// wait warm.
const MOST_LOOKED_AT: usize = 10_000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_offers))
}

/// Which offers.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct OfferQuery {
    /// Taken for the sake of sameness; all offers are one page.
    #[serde(rename = "limit")]
    _limit: Option<usize>,
    /// Taken for the sake of sameness.
    after: Option<String>,
    /// At this site, by name or id.
    site: Option<String>,
    /// Of this machine type.
    #[serde(rename = "type")]
    machine_type: Option<Name>,
}

/// List what is on offer
///
/// One entry for each machine type at each site. What a machine has is taken
/// from one of the type that was inspected; types are of machines alike enough
/// to swap.
#[utoipa::path(get, path = "/v1/offers", tag = "leases", params(OfferQuery),
    responses((status = 200, body = Page<Offer>)))]
async fn list_offers(
    State(app): State<App>,
    Query(query): Query<OfferQuery>,
) -> Result<Json<Page<Offer>>, Failure> {
    let none = || Page {
        items: Vec::new(),
        next: None,
    };
    if query.after.is_some() {
        return Ok(Json(none()));
    }
    let site = match &query.site {
        Some(site) => Some(lookup::site(&app, site).await?.id),
        None => None,
    };
    let mut counts: BTreeMap<(Name, SiteId), (u32, u32)> = BTreeMap::new();
    for count in see("offers", app.store().offers_counts().await)? {
        let wanted = site.is_none_or(|site| site == count.site)
            && query
                .machine_type
                .as_ref()
                .is_none_or(|wanted| *wanted == count.machine_type);
        if wanted && count.lifecycle != Lifecycle::Retired {
            let machines = u32::try_from(count.machines).unwrap_or(u32::MAX);
            let (free, total) = counts.entry((count.machine_type, count.site)).or_default();
            *total += machines;
            if count.free {
                *free += machines;
            }
        }
    }
    let mut items = Vec::with_capacity(counts.len());
    for ((machine_type, site), (free, total)) in counts {
        items.push(offer(&app, machine_type, site, free, total).await?);
    }
    Ok(Json(Page { items, next: None }))
}

async fn offer(
    app: &App,
    machine_type: Name,
    site: SiteId,
    free: u32,
    total: u32,
) -> Result<Offer, Failure> {
    let read = app.store().machine_type_by_name(&machine_type).await;
    let found = see("machine types", read)?;
    let wants_warm = found.as_ref().is_some_and(|t| t.warm.count > 0);
    let description = found.map_or_else(String::new, |t| t.description);
    let site = see("sites", app.store().site(site).await)?
        .ok_or_else(|| Failure::internal("reading offers", &"a machine's site is gone"))?;
    let warm = match wants_warm {
        true => Warm::of(app, &machine_type, site.id).await?,
        false => Warm::default(),
    };
    let sample = sample(app, &machine_type, site.id).await?;
    let inventory = sample.as_ref().and_then(|m| m.inventory.as_ref());
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.sum();
    let unerased = unerased(app, &machine_type, site.id).await?;
    let mut notes = vec![
        "network isolation: not by Billet".to_owned(),
        "whether root can reach the BMC from inside is not checked by Billet yet".to_owned(),
    ];
    if inventory.is_none() {
        notes.push("no machine of this type was inspected yet: what it has is not known".into());
    }
    if unerased > 0 {
        notes.push(format!(
            "{unerased} of those free have a drive that could not be erased and was let go by an operator: they are given last, and the lease names the drive"
        ));
    }
    Ok(Offer {
        machine_type,
        description,
        site: site.name,
        jurisdiction: site.jurisdiction,
        free,
        warm: warm.machines,
        warm_images: warm.images,
        warm_watts: warm.watts,
        total,
        gpus: inventory.map_or(0, |i| u32::try_from(i.gpus.len()).unwrap_or(u32::MAX)),
        gpu_model: inventory.and_then(|i| i.gpus.first()?.model.clone()),
        threads: inventory.map_or(0, |i| i.cpus.iter().filter_map(|cpu| cpu.threads).sum()),
        memory_bytes: inventory.map_or(0, |i| i.memory.total_bytes),
        drive_bytes: inventory.map_or(0, |i| sum(&mut i.own_drives().map(|d| d.size_bytes))),
        unerased,
        emulation: sample.as_ref().map(|m| m.emulation).unwrap_or_default(),
        notes,
    })
}

/// The free machines of a type at a site that wait warm.
#[derive(Default)]
struct Warm {
    machines: u32,
    images: Vec<Name>,
    watts: Option<u32>,
}

impl Warm {
    async fn of(app: &App, machine_type: &Name, site: SiteId) -> Result<Self, Failure> {
        let filter = MachineFilter {
            lifecycle: Some(Lifecycle::Available),
            site: Some(site),
            machine_type: Some(machine_type.clone()),
            ..MachineFilter::default()
        };
        let machines = app.store().machines(&filter, None, MOST_LOOKED_AT).await;
        let mut machines = see("machines", machines)?;
        machines.retain(|m| placement::is_free(m) && placement::is_warm(m));
        let mut images = BTreeSet::new();
        for prepared in machines.iter().filter_map(|m| m.warm.prepared.as_ref()) {
            let image = see("images", app.store().image(prepared.image).await)?;
            images.extend(image.filter(|i| i.project.is_none()).map(|i| i.name));
        }
        let drawn = machines.iter().filter_map(|m| m.warm.idle?.watts);
        let (sum, measured) = drawn.fold((0_u64, 0), |(s, n), w| (s + u64::from(w), n + 1));
        Ok(Self {
            machines: u32::try_from(machines.len()).unwrap_or(u32::MAX),
            images: images.into_iter().collect(),
            watts: sum
                .checked_div(measured)
                .and_then(|w| u32::try_from(w).ok()),
        })
    }
}

/// How many that are free have a drive that was let go without an erase.
async fn unerased(app: &App, machine_type: &Name, site: SiteId) -> Result<u32, Failure> {
    let machines = see("machines", app.store().machines_with_unerased().await)?;
    let count = machines
        .iter()
        .filter(|m| m.site == site && m.machine_type == *machine_type && placement::is_free(m))
        .count();
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A machine of the type at the site, a free one if there is one, that was inspected.
async fn sample(app: &App, machine_type: &Name, site: SiteId) -> Result<Option<Machine>, Failure> {
    for lifecycle in [Some(Lifecycle::Available), None] {
        let filter = MachineFilter {
            lifecycle,
            site: Some(site),
            machine_type: Some(machine_type.clone()),
            ..MachineFilter::default()
        };
        let machines = see("machines", app.store().machines(&filter, None, 20).await)?;
        let inspected = |m: &Machine| m.lifecycle != Lifecycle::Retired && m.inventory.is_some();
        if let Some(machine) = machines.into_iter().find(inspected) {
            return Ok(Some(machine));
        }
    }
    Ok(None)
}
