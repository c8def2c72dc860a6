//! The REST API, one file for each group of nouns.

mod audit;
mod calls;
mod consoles;
mod events;
mod evidence;
mod groups;
mod images;
mod install;
mod leases;
mod machine_requests;
mod machine_upkeep;
mod machines;
mod networks;
mod offers;
mod operations;
mod people;
mod places;
mod quotas;
mod service;
mod tokens;
mod users;
mod watch;
mod webhooks;

use billet_store::StoreError;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    app::{App, of_store},
    problem::Failure,
};

/// All of them, with their document.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(service::router())
        .merge(people::router())
        .merge(tokens::router())
        .merge(users::router())
        .merge(quotas::router())
        .merge(groups::router())
        .merge(places::router())
        .merge(networks::router())
        .merge(machines::router())
        .merge(machine_requests::router())
        .merge(machine_upkeep::router())
        .merge(offers::router())
        .merge(images::router())
        .merge(leases::router())
        .merge(consoles::router())
        .merge(operations::router())
        .merge(evidence::router())
        .merge(audit::router())
        .merge(calls::router())
        .merge(events::router())
        .merge(webhooks::router())
        .merge(watch::router())
}

/// A page of a list without filters.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// At most so many, 1 to 1000; 100 where not said.
    limit: Option<usize>,
    /// Those after this cursor.
    after: Option<String>,
}

/// What was read from the store.
fn see<T>(what: &str, read: Result<T, StoreError>) -> Result<T, Failure> {
    read.map_err(|e| of_store(&format!("reading {what}"), e))
}
