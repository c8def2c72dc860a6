//! What the manifest names and is nowhere: neither in it nor on the server.

use std::collections::BTreeSet;

use billet_model::Name;

use super::Present;
use crate::manifest::{At, Known, Manifest, Trouble};

/// References that lead nowhere.
pub fn dangling(manifest: &Manifest, present: &Present) -> Vec<Trouble> {
    let known = Known {
        sites: present.sites.iter().map(|s| s.name.clone()).collect(),
        networks: present.networks.iter().map(|n| n.name.clone()).collect(),
        machine_types: present
            .machine_types
            .iter()
            .map(|t| t.name.clone())
            .collect(),
        machines: present.machines.iter().map(|m| m.name.clone()).collect(),
    };
    let mut troubles = manifest.dangling(&known);
    let organisations = names(
        present.organisations.iter().map(|o| &o.name),
        &manifest.organisations,
        |o| &o.name,
    );
    let projects = names(
        present.projects.iter().map(|p| &p.name),
        &manifest.projects,
        |p| &p.new.name,
    );
    let types = names(known.machine_types.iter(), &manifest.machine_types, |t| {
        &t.name
    });
    let sites = names(known.sites.iter(), &manifest.sites, |s| &s.name);
    let mut check = |line: usize, who: String, what: &str, name: &Name, among: &BTreeSet<&Name>| {
        if among.contains(name) {
            return;
        }
        let distance = |known: &&&Name| strsim::damerau_levenshtein(known.as_str(), name.as_str());
        let near = among.iter().min_by_key(distance);
        let advice = match near.filter(|near| distance(near) <= 2) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!(
                "declare it with [[{}]], or make it first",
                what.replace(' ', "_")
            ),
        };
        let text = format!("{who}: there is no {what} \"{name}\"; {advice}");
        troubles.push(Trouble { line, text });
    };
    for organisation in &manifest.organisations {
        let who = format!("organisation \"{}\"", organisation.value.name);
        for machine_type in organisation.value.quotas.keys() {
            check(
                organisation.line,
                who.clone(),
                "machine type",
                machine_type,
                &types,
            );
        }
    }
    for project in &manifest.projects {
        let new = &project.value.new;
        let who = || format!("project \"{}\"", new.name);
        check(
            project.line,
            who(),
            "organisation",
            &new.organisation,
            &organisations,
        );
        for machine_type in project.value.quotas.keys() {
            check(project.line, who(), "machine type", machine_type, &types);
        }
    }
    // What stands on a machine before its lease is the operator's, for everyone.
    let everyones: BTreeSet<&Name> = present
        .images
        .iter()
        .filter(|i| i.project.is_none())
        .map(|i| &i.name)
        .chain(
            manifest
                .images
                .iter()
                .filter(|i| i.value.new.project.is_none())
                .map(|i| &i.value.new.name),
        )
        .collect();
    for machine_type in &manifest.machine_types {
        let new = &machine_type.value;
        for image in new.warm.iter().flat_map(|w| &w.images) {
            let who = format!("machine type \"{}\", warm_images", new.name);
            check(machine_type.line, who, "image", image, &everyones);
        }
    }
    for image in &manifest.images {
        if let Some(project) = &image.value.new.project {
            let who = format!("image \"{}\"", image.value.new.name);
            check(image.line, who, "project", project, &projects);
        }
    }
    for lease in &manifest.leases {
        let new = &lease.value.new;
        let who = || format!("lease \"{}\"", lease.value.name);
        check(
            lease.line,
            who(),
            "project",
            &lease.value.project,
            &projects,
        );
        check(lease.line, who(), "machine type", &new.machine_type, &types);
        if let Some(site) = &new.site {
            check(lease.line, who(), "site", site, &sites);
        }
        // A lease's image may be its project's, or everybody's.
        let own = present
            .projects
            .iter()
            .find(|p| p.name == lease.value.project)
            .map(|p| p.id);
        let there: Vec<&Name> = present
            .images
            .iter()
            .filter(|i| i.project.is_none() || i.project == own)
            .map(|i| &i.name)
            .collect();
        let images = names(there.into_iter(), &manifest.images, |i| &i.new.name);
        let by_id = present.images.iter().any(|i| i.id.to_string() == new.image);
        match new.image.parse::<Name>() {
            Ok(name) if !by_id => check(lease.line, who(), "image", &name, &images),
            _ => {}
        }
    }
    troubles
}

fn names<'n, T>(
    known: impl Iterator<Item = &'n Name>,
    declared: &'n [At<T>],
    name: impl Fn(&'n T) -> &'n Name,
) -> BTreeSet<&'n Name> {
    known
        .chain(declared.iter().map(|entry| name(&entry.value)))
        .collect()
}
