//! The manifest: what there is to be, in one TOML file. `billet apply` brings all of it about;
//! `billet machine enroll` its machines, and the sites, networks and machine types that they need.
//!
//! Everything that can be wrong with it is found before anything is sent, and all of it is said at
//! once, each with its line and name. Keys are those of the API's bodies; beside them a BMC's
//! password may be left to a file or to the environment. Tables may be called `[[machine]]` or
//! `[[machines]]`, and so the others.

mod check;
mod entries;
mod reader;
mod tenancy;

use std::{collections::BTreeMap, fmt, path::Path};

use billet_model::{
    Name,
    api::{NewMachine, NewMachineType, NewNetwork, NewSite},
};

pub use check::{Known, bmc_address, password_file, subnet};
pub use tenancy::{ImageEntry, LeaseEntry, OrganisationEntry, ProjectEntry};

/// Something declared, with the line that it is on.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The line, from 1.
    pub line: usize,
    /// What is declared.
    pub value: T,
}

/// Something wrong with the manifest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, with the name of the thing.
    pub text: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// A manifest without anything wrong that can be told by itself.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// Sites to be made where missing.
    pub sites: Vec<At<NewSite>>,
    /// Networks to be made where missing.
    pub networks: Vec<At<NewNetwork>>,
    /// Machine types to be made where missing.
    pub machine_types: Vec<At<NewMachineType>>,
    /// Machines to enroll.
    pub machines: Vec<At<NewMachine>>,
    /// Machines to take over, each with the serials of the drives that are erased by it.
    pub take_over: BTreeMap<Name, At<Vec<String>>>,
    /// Organisations.
    pub organisations: Vec<At<OrganisationEntry>>,
    /// Projects.
    pub projects: Vec<At<ProjectEntry>>,
    /// Images.
    pub images: Vec<At<ImageEntry>>,
    /// Leases.
    pub leases: Vec<At<LeaseEntry>>,
}

/// Reads a manifest. `directory` is where relative password files are looked for, `variable` gives
/// the environment's.
pub fn read(
    text: &str,
    directory: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Manifest, Vec<Trouble>> {
    let table = toml::de::DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        vec![Trouble {
            line: reader::line_of(text, start),
            text: format!("this is not TOML: {}", error.message()),
        }]
    })?;
    let source = reader::Source::new(text, directory, variable);
    let manifest = entries::manifest(&source, table.get_ref());
    check::alone(&manifest, &source);
    let mut troubles = source.troubles();
    if troubles.is_empty() {
        return Ok(manifest);
    }
    troubles.sort();
    Err(troubles)
}

#[cfg(test)]
mod tests;
