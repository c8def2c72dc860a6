//! What stands against a deletion, by name: "it is still used" alone sends people
//! looking.

use billet_model::{
    Name, NetworkId, OrganisationId, SiteId, lifecycle::Lifecycle, machine::Machine,
};
use billet_store::{Batch, MachineFilter, StoreError};

use crate::{
    app::{App, of_store},
    problem::{Failure, Kind},
};

/// So many are named.
const NAMED: usize = 8;
/// So many are looked through, at a time.
const PAGE: usize = 500;

/// Something that others may need.
pub(crate) enum Needed<'a> {
    Organisation(OrganisationId),
    Site(SiteId),
    MachineType(&'a Name),
    Network(NetworkId),
}

/// Carries a deletion out; where it is refused, says what needs the thing.
pub(crate) async fn delete(
    app: &App,
    what: &str,
    needed: Needed<'_>,
    batch: Batch,
) -> Result<(), Failure> {
    let doing = format!("deleting the {what}");
    match app.store().commit(batch).await {
        Err(error @ StoreError::Referenced { .. }) => {
            let users = users(app, &needed).await?;
            if users.is_empty() {
                return Err(of_store(&doing, error));
            }
            let more = match users.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named: Vec<&str> = users.iter().take(NAMED).map(String::as_str).collect();
            let detail = format!("the {what} is still used by {}{more}", named.join(", "));
            Err(Failure::new(Kind::InUse, detail))
        }
        other => other.map_err(|error| of_store(&doing, error)),
    }
}

async fn users(app: &App, needed: &Needed<'_>) -> Result<Vec<String>, Failure> {
    let filter = match needed {
        Needed::Organisation(id) => return projects(app, *id).await,
        Needed::Site(id) => MachineFilter {
            site: Some(*id),
            ..MachineFilter::default()
        },
        Needed::MachineType(name) => MachineFilter {
            machine_type: Some((*name).clone()),
            ..MachineFilter::default()
        },
        Needed::Network(_) => MachineFilter::default(),
    };
    let uses = |machine: &Machine| match needed {
        Needed::Network(id) => machine.addresses.iter().any(|a| a.network == *id),
        _ => true,
    };
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let read = app.store().machines(&filter, after, PAGE).await;
        let page = read.map_err(|e| of_store("looking for what uses it", e))?;
        after = page.last().map(|m| m.id);
        users.extend(page.iter().filter(|m| uses(m)).map(machine));
        if page.len() < PAGE {
            return Ok(users);
        }
    }
}

fn machine(machine: &Machine) -> String {
    match machine.lifecycle {
        Lifecycle::Retired => format!("machine {} (retired)", machine.name),
        _ => format!("machine {}", machine.name),
    }
}

async fn projects(app: &App, organisation: OrganisationId) -> Result<Vec<String>, Failure> {
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let read = app.store().projects(None, after, PAGE).await;
        let page = read.map_err(|e| of_store("looking for what uses it", e))?;
        after = page.last().map(|p| p.id);
        let own = page.iter().filter(|p| p.organisation == organisation);
        users.extend(own.map(|p| format!("project {}", p.name)));
        if page.len() < PAGE {
            return Ok(users);
        }
    }
}
