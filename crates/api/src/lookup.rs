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
    people::{Group, Organisation, Project, Token, User},
    site::{MachineType, Network, Site},
    webhook::{Delivery, Webhook},
};
use billet_store::{ImageFilter, LeaseFilter, StoreError, WebhookFilter};

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
    /// A user.
    user, user_by_name: User, "user";
    /// A group.
    group, group_by_name: Group, "group";
}

/// A project that the caller may see.
pub(crate) async fn project(app: &App, bearer: &Bearer, text: &str) -> Result<Project, Failure> {
    let read = match asked("project", text)? {
        Asked::Id(id) => app.store().project(id).await,
        Asked::Name(name) => app.store().project_by_name(&name).await,
    };
    let project = found("project", text, read)?;
    bearer.admit("project", text, Some(project.id))?;
    Ok(project)
}

/// The project that a request is for: the caller's own, or the one it names.
pub(crate) async fn project_for(
    app: &App,
    bearer: &Bearer,
    named: Option<&str>,
) -> Result<Project, Failure> {
    match (named, bearer.bound_to().as_deref()) {
        (Some(named), _) => project(app, bearer, named)
            .await
            .map_err(|f| f.field("project")),
        (None, Some([own])) => project(app, bearer, &own.to_string()).await,
        (None, _) => Err(Failure::invalid(
            "project",
            "your token is for no one project: say for which this is (`--project`)",
        )),
    }
}

/// The projects that a list is cut to: the one asked for, if one is; else all
/// that the caller sees.
pub(crate) async fn project_filter(
    app: &App,
    bearer: &Bearer,
    named: Option<&str>,
) -> Result<Option<Vec<ProjectId>>, Failure> {
    match named {
        None => Ok(bearer.bound_to()),
        Some(named) => project(app, bearer, named).await.map(|p| Some(vec![p.id])),
    }
}

/// A token that the caller may see, by id.
pub(crate) async fn token(app: &App, bearer: &Bearer, text: &str) -> Result<Token, Failure> {
    let Ok(id) = text.parse() else {
        return Err(Failure::not_found("token", text));
    };
    let token = found("token", text, app.store().token(id).await)?;
    bearer.admit("token", text, token.project)?;
    Ok(token)
}

/// A lease that the caller may see.
pub(crate) async fn lease(app: &App, bearer: &Bearer, text: &str) -> Result<Lease, Failure> {
    let lease = match (asked("lease", text)?, bearer.bound_to().as_deref()) {
        (Asked::Id(id), _) => found("lease", text, app.store().lease(id).await)?,
        (Asked::Name(name), Some([own])) => {
            let read = app.store().lease_by_name(*own, &name).await;
            found("lease", text, read)?
        }
        (Asked::Name(name), own) => {
            let filter = LeaseFilter {
                projects: own.map(<[ProjectId]>::to_vec),
                name: Some(name),
                live: Some(true),
                ..LeaseFilter::default()
            };
            let read = app.store().leases(&filter, None, 2).await;
            only("lease", text, read)?
        }
    };
    bearer.admit("lease", text, Some(lease.project))?;
    Ok(lease)
}

/// An image that the caller may use: its project's own, or the operator's.
pub(crate) async fn image(app: &App, bearer: &Bearer, text: &str) -> Result<Image, Failure> {
    let image = match asked("image", text)? {
        Asked::Id(id) => found("image", text, app.store().image(id).await)?,
        Asked::Name(name) => match bearer.bound_to() {
            // The caller's own goes before the operator's of the same name.
            own @ Some(_) => {
                let filter = ImageFilter {
                    visible_to: own,
                    name: Some(name),
                    ..ImageFilter::default()
                };
                let read = app.store().images(&filter, None, 3).await.map(|mut read| {
                    if read.iter().any(|image| image.project.is_some()) {
                        read.retain(|image| image.project.is_some());
                    }
                    read
                });
                only("image", text, read)?
            }
            None => match app.store().image_by_name(None, &name).await.transpose() {
                Some(shared) => found("image", text, shared.map(Some))?,
                None => {
                    let filter = ImageFilter {
                        name: Some(name),
                        ..ImageFilter::default()
                    };
                    only("image", text, app.store().images(&filter, None, 2).await)?
                }
            },
        },
    };
    if image.project.is_some() {
        bearer.admit("image", text, image.project)?;
    }
    Ok(image)
}

/// A webhook that the caller may see, with how far it has come.
pub(crate) async fn webhook(
    app: &App,
    bearer: &Bearer,
    text: &str,
) -> Result<(Webhook, Delivery), Failure> {
    let webhook = match asked("webhook", text)? {
        Asked::Id(id) => found("webhook", text, app.store().webhook(id).await)?,
        Asked::Name(name) => {
            let filter = WebhookFilter {
                projects: bearer.bound_to(),
                name: Some(name),
                ..WebhookFilter::default()
            };
            only(
                "webhook",
                text,
                app.store().webhooks(&filter, None, 2).await,
            )?
        }
    };
    bearer.admit("webhook", text, webhook.0.project)?;
    Ok(webhook)
}

/// The only one of a name that several projects may have used.
fn only<T>(what: &str, text: &str, read: Result<Vec<T>, StoreError>) -> Result<T, Failure> {
    let mut read = read.map_err(|e| of_store(&format!("looking for the {what}"), e))?;
    match read.len() {
        0 => Err(Failure::not_found(what, text)),
        1 => Ok(read.remove(0)),
        _ => Err(Failure::new(
            Kind::Conflict,
            format!(
                "several projects have a {what} named {text:?}: ask by id, which `billet {what} \
                 list -o json` shows"
            ),
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
