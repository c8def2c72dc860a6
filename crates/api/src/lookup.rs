//! Finding what a path or a body names, by name or by id.
//!
//! What the caller may not see is not found, in the very words of what does not
//! exist: no answer here tells the two apart.

use std::str::FromStr;

use billet_model::{
    LeaseId, MachineId, Name, ProjectId,
    image::Image,
    lease::Lease,
    machine::Machine,
    people::{Organisation, Project, Token},
    site::{MachineType, Network, Site},
};
use billet_store::{ImageFilter, LeaseFilter, StoreError};

use crate::{
    app::{App, of_store},
    auth::Bearer,
    problem::{Failure, Kind},
};

/// An id or a name, whichever the text is.
enum Asked<I> {
    Id(I),
    Name(Name),
}

fn asked<I: FromStr>(what: &str, text: &str) -> Result<Asked<I>, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(Asked::Id(id));
    }
    text.parse()
        .map(Asked::Name)
        .map_err(|_| Failure::not_found(what, text))
}

fn found<T>(what: &str, text: &str, read: Result<Option<T>, StoreError>) -> Result<T, Failure> {
    read.map_err(|e| of_store(&format!("looking for the {what}"), e))?
        .ok_or_else(|| Failure::not_found(what, text))
}

macro_rules! by_name_or_id {
    ($($(#[$doc:meta])* $function:ident, $by_name:ident: $noun:ty, $what:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $function(app: &App, text: &str) -> Result<$noun, Failure> {
            let read = match asked($what, text)? {
                Asked::Id(id) => app.store().$function(id).await,
                Asked::Name(name) => app.store().$by_name(&name).await,
            };
            found($what, text, read)
        }
    )*};
}

by_name_or_id! {
    /// An organisation.
    organisation, organisation_by_name: Organisation, "organisation";
    /// A site.
    site, site_by_name: Site, "site";
    /// A machine type.
    machine_type, machine_type_by_name: MachineType, "machine type";
    /// A network.
    network, network_by_name: Network, "network";
    /// A machine.
    machine, machine_by_name: Machine, "machine";
}

/// A project that the caller may see.
pub(crate) async fn project(app: &App, bearer: &Bearer, text: &str) -> Result<Project, Failure> {
    let read = match asked("project", text)? {
        Asked::Id(id) => app.store().project(id).await,
        Asked::Name(name) => app.store().project_by_name(&name).await,
    };
    let project = found("project", text, read)?;
    if bearer.sees(Some(project.id)) {
        Ok(project)
    } else {
        Err(Failure::not_found("project", text))
    }
}

/// The project that a request is for: the caller's own, or the one it names.
pub(crate) async fn project_for(
    app: &App,
    bearer: &Bearer,
    named: Option<&str>,
) -> Result<Project, Failure> {
    match (named, bearer.bound_to()) {
        (Some(named), _) => project(app, bearer, named)
            .await
            .map_err(|f| f.field("project")),
        (None, Some(own)) => project(app, bearer, &own.to_string()).await,
        (None, None) => Err(Failure::invalid(
            "project",
            "your token is for no one project: say for which this is",
        )),
    }
}

/// The project that a list is cut to: the caller's own always; else the one
/// asked for, if one is.
pub(crate) async fn project_filter(
    app: &App,
    bearer: &Bearer,
    named: Option<&str>,
) -> Result<Option<ProjectId>, Failure> {
    match named {
        None => Ok(bearer.bound_to()),
        Some(named) => project(app, bearer, named).await.map(|p| Some(p.id)),
    }
}

/// A token that the caller may see, by id.
pub(crate) async fn token(app: &App, bearer: &Bearer, text: &str) -> Result<Token, Failure> {
    let Ok(id) = text.parse() else {
        return Err(Failure::not_found("token", text));
    };
    let token = found("token", text, app.store().token(id).await)?;
    if bearer.sees(token.project) {
        Ok(token)
    } else {
        Err(Failure::not_found("token", text))
    }
}

/// A lease that the caller may see.
pub(crate) async fn lease(app: &App, bearer: &Bearer, text: &str) -> Result<Lease, Failure> {
    let lease = match (asked("lease", text)?, bearer.bound_to()) {
        (Asked::Id(id), _) => found("lease", text, app.store().lease(id).await)?,
        (Asked::Name(name), Some(own)) => {
            let read = app.store().lease_by_name(own, &name).await;
            found("lease", text, read)?
        }
        (Asked::Name(name), None) => {
            let filter = LeaseFilter {
                name: Some(name),
                live: Some(true),
                ..LeaseFilter::default()
            };
            let read = app.store().leases(&filter, None, 2).await;
            only("lease", text, read)?
        }
    };
    if bearer.sees(Some(lease.project)) {
        Ok(lease)
    } else {
        Err(Failure::not_found("lease", text))
    }
}

/// An image that the caller may use: its project's own, or the operator's.
pub(crate) async fn image(app: &App, bearer: &Bearer, text: &str) -> Result<Image, Failure> {
    let image = match asked("image", text)? {
        Asked::Id(id) => found("image", text, app.store().image(id).await)?,
        Asked::Name(name) => {
            let own = match bearer.bound_to() {
                None => None,
                own => app.store().image_by_name(own, &name).await.transpose(),
            };
            let shared = match own {
                None => app.store().image_by_name(None, &name).await.transpose(),
                own => own,
            };
            match (shared, bearer.bound_to()) {
                (None, None) => {
                    let filter = ImageFilter {
                        name: Some(name),
                        ..ImageFilter::default()
                    };
                    only("image", text, app.store().images(&filter, None, 2).await)?
                }
                (read, _) => found("image", text, read.transpose())?,
            }
        }
    };
    if image.project.is_none() || bearer.sees(image.project) {
        Ok(image)
    } else {
        Err(Failure::not_found("image", text))
    }
}

/// The only one of a name that several projects may have used.
fn only<T>(what: &str, text: &str, read: Result<Vec<T>, StoreError>) -> Result<T, Failure> {
    let mut read = read.map_err(|e| of_store(&format!("looking for the {what}"), e))?;
    match read.len() {
        0 => Err(Failure::not_found(what, text)),
        1 => Ok(read.remove(0)),
        _ => Err(Failure::new(
            Kind::Conflict,
            format!("several projects have a {what} of this name: ask by id"),
        )),
    }
}

/// The lease that a list is cut to, if it is.
pub(crate) async fn lease_filter(
    app: &App,
    bearer: &Bearer,
    named: Option<&str>,
) -> Result<Option<LeaseId>, Failure> {
    match named {
        None => Ok(None),
        Some(named) => {
            let found = lease(app, bearer, named).await;
            found.map(|l| Some(l.id)).map_err(|f| f.field("lease"))
        }
    }
}

/// The machine that a list is cut to, if it is. A project's callers know
/// machines by id alone, and are not told which exist.
pub(crate) async fn machine_filter(
    app: &App,
    bearer: &Bearer,
    named: Option<&str>,
) -> Result<Option<MachineId>, Failure> {
    let Some(named) = named else {
        return Ok(None);
    };
    if let Ok(id) = named.parse() {
        return Ok(Some(id));
    }
    let found = match bearer.bound_to() {
        None => machine(app, named).await,
        Some(_) => Err(Failure::not_found("machine", named)),
    };
    found.map(|m| Some(m.id)).map_err(|f| f.field("machine"))
}
