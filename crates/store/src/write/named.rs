//! Nouns that are put in whole and known by a name that is theirs alone.

use billet_model::{
    NetworkId,
    image::Image,
    people::{Organisation, Project},
    site::{MachineType, Network, Site},
};

use super::{doc, word};
use crate::{
    error::Result,
    statement::{Means::Duplicate, NoRow, Statement, Unique},
};

/// An organisation.
pub(super) fn organisation(noun: &Organisation) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO organisations (id, name, doc) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
        "organisation",
        &noun.name,
    )
    .bind(noun.id)
    .bind(&noun.name)
    .bind(doc("organisation", noun)?)
    .unique(&[Unique {
        index: "organisations_name",
        columns: "organisations.name",
        means: Duplicate("an organisation named", 1),
    }]))
}

/// A site.
pub(super) fn site(noun: &Site) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO sites (id, name, doc) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
        "site",
        &noun.name,
    )
    .bind(noun.id)
    .bind(&noun.name)
    .bind(doc("site", noun)?)
    .unique(&[Unique {
        index: "sites_name",
        columns: "sites.name",
        means: Duplicate("a site named", 1),
    }]))
}

/// A machine type.
pub(super) fn machine_type(noun: &MachineType) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO machine_types (id, name, doc) VALUES ($1, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
        "machine type",
        &noun.name,
    )
    .bind(noun.id)
    .bind(&noun.name)
    .bind(doc("machine type", noun)?)
    .unique(&[Unique {
        index: "machine_types_name",
        columns: "machine_types.name",
        means: Duplicate("a machine type named", 1),
    }]))
}

/// A network, by its version.
pub(super) fn network(mut noun: Network) -> Result<Statement> {
    let given = noun.version;
    noun.version = given + 1;
    let sql = match given {
        0 => {
            "INSERT INTO networks (id, name, doc, version) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (id) DO NOTHING"
        }
        _ => {
            "UPDATE networks SET name = $2, doc = $3, version = $4 \
             WHERE id = $1 AND version = $4 - 1"
        }
    };
    Ok(Statement::new(sql, "network", &noun.name)
        .no_row(NoRow::Conflict)
        .bind(noun.id)
        .bind(&noun.name)
        .bind(doc("network", &noun)?)
        .bind(noun.version)
        .unique(&[Unique {
            index: "networks_name",
            columns: "networks.name",
            means: Duplicate("a network named", 1),
        }]))
}

/// Counts an address that is given out. It waits for a change of the network that is
/// being committed, and finds another version then.
pub(super) fn give(network: NetworkId, version: i64) -> Statement {
    Statement::new(
        "UPDATE networks SET given = given + 1 WHERE id = $1 AND version = $2",
        "network",
        network,
    )
    .no_row(NoRow::Conflict)
    .bind(network)
    .bind(version)
}

/// Fails where an address was given out since.
pub(super) fn given_still(network: NetworkId, given: i64) -> Statement {
    Statement::new(
        "UPDATE networks SET given = given WHERE id = $1 AND given = $2",
        "network",
        network,
    )
    .no_row(NoRow::Conflict)
    .bind(network)
    .bind(given)
}

/// A project.
pub(super) fn project(noun: &Project) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO projects (id, name, doc, organisation) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc, \
         organisation = excluded.organisation",
        "project",
        &noun.name,
    )
    .bind(noun.id)
    .bind(&noun.name)
    .bind(doc("project", noun)?)
    .bind(noun.organisation)
    .unique(&[Unique {
        index: "projects_name",
        columns: "projects.name",
        means: Duplicate("a project named", 1),
    }]))
}

/// An image: its name is its own in its project, or among the operator's.
pub(super) fn image(i: &Image) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO images (id, name, project, state, doc) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, project = excluded.project, \
         state = excluded.state, doc = excluded.doc",
        "image",
        &i.name,
    )
    .bind(i.id)
    .bind(&i.name)
    .bind(i.project)
    .bind(word("image", &i.state)?)
    .bind(doc("image", i)?)
    .unique(&[Unique {
        index: "images_name",
        columns: "index 'images_name'",
        means: Duplicate("an image named", 1),
    }]))
}
