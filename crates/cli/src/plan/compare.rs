//! Each thing of the manifest beside what there is of its name.

use std::{collections::BTreeMap, net::Ipv4Addr};

use billet_model::{
    Name,
    api::{
        BmcChange, LeaseChange, MachineChange, MachineTypeChange, MachineView, NetworkChange,
        NewInstall, NewMachine, NewMachineType, NewNetwork, NewPart, QuotaChange, Reinstall,
        SiteChange,
    },
    image::{ImageState, InstallConfig},
    inventory::Inventory,
    layout::DriveLayout,
    lifecycle::Lifecycle,
    site::{ExpectedParts, MachineType, Network},
    warm::WarmPolicy,
};

use super::{Changed, Item, Plan, Present, Step};
use crate::{
    manifest::{self, At, ImageEntry, LeaseEntry, Manifest, Trouble},
    plan::Action,
};

/// Notes what cannot be brought about.
struct Troubles<'t>(&'t mut Vec<Trouble>);

impl Troubles<'_> {
    fn add(&mut self, line: usize, text: String) {
        self.0.push(Trouble { line, text });
    }

    /// That a field is otherwise, where it cannot be changed.
    fn fixed(&mut self, line: usize, who: &str, field: &str, is: &str, wanted: &str, way: &str) {
        if is != wanted {
            let text = format!(
                "{who}: its {field} is {is:?} and the file says {wanted:?}, which cannot be changed: {way}"
            );
            self.add(line, text);
        }
    }
}

const RENAME: &str = "correct the file, or use another name";

/// Everything, in the order of what needs what.
pub fn all(manifest: &Manifest, present: &Present, plan: &mut Plan, troubles: &mut Vec<Trouble>) {
    let mut troubles = Troubles(troubles);
    places(manifest, present, plan, &mut troubles);
    people(manifest, present, plan, &mut troubles);
    for image in &manifest.images {
        self::image(image, present, plan, &mut troubles);
    }
    for At { value: new, .. } in &manifest.machine_types {
        let there = present.machine_types.iter().find(|t| t.name == new.name);
        let is = there.map_or_else(WarmPolicy::default, |t| t.warm.clone());
        if let Some(wanted) = new.warm.as_ref().filter(|warm| **warm != is) {
            plan.items.push(warmth(&new.name, &is, wanted));
        }
    }
    for machine in &manifest.machines {
        let there = present
            .machines
            .iter()
            .find(|m| m.name == machine.value.name);
        let new = &machine.value;
        match there {
            None => plan.push(
                "machine",
                &new.name,
                Action::Create,
                Step::Enroll(Box::new(new.clone())),
            ),
            Some(there) => self::machine(machine, there, present, plan, &mut troubles),
        }
    }
    for machine in &manifest.machines {
        take_over(manifest, &machine.value.name, present, plan, &mut troubles);
    }
    for lease in &manifest.leases {
        self::lease(lease, present, plan, &mut troubles);
    }
    left(manifest, present, plan);
}

fn places(manifest: &Manifest, present: &Present, plan: &mut Plan, troubles: &mut Troubles<'_>) {
    for At { line, value: new } in &manifest.sites {
        let who = format!("site \"{}\"", new.name);
        match present.sites.iter().find(|s| s.name == new.name) {
            None => plan.push("site", &new.name, Action::Create, Step::Site(new.clone())),
            Some(there) if there.jurisdiction == new.jurisdiction => {
                plan.unchanged("site", &new.name);
            }
            Some(there) => {
                let (from, to) = (there.jurisdiction.clone(), new.jurisdiction.clone());
                let leases: Vec<&str> = present
                    .leases
                    .iter()
                    .filter(|lease| lease.site == new.name)
                    .map(|lease| lease.name.as_str())
                    .collect();
                if !leases.is_empty() {
                    let text = format!(
                        "{who}: its jurisdiction is {from:?} and the file says {to:?}, which was promised otherwise to the tenants of {}: wait until no lease holds a machine there",
                        leases.join(", ")
                    );
                    troubles.add(*line, text);
                    continue;
                }
                let change = SiteChange {
                    jurisdiction: Some(to.clone()),
                    ..SiteChange::default()
                };
                let field = "jurisdiction";
                let changes = vec![Changed { field, from, to }];
                let step = Step::SiteChange(new.name.to_string(), change);
                plan.change("site", &new.name, changes, step);
            }
        }
    }
    for At { line, value: new } in &manifest.networks {
        let who = format!("network \"{}\"", new.name);
        match present.networks.iter().find(|n| n.name == new.name) {
            None => plan.push(
                "network",
                &new.name,
                Action::Create,
                Step::Network(new.clone()),
            ),
            Some(there) => {
                let (change, changes) = network(there, new);
                if changes.is_empty() {
                    plan.unchanged("network", &new.name);
                    continue;
                }
                outside(*line, &who, there, new, present, troubles);
                let step = Step::NetworkChange(new.name.to_string(), change, there.version);
                plan.change("network", &new.name, changes, step);
            }
        }
    }
    for At { value: new, .. } in &manifest.machine_types {
        match present.machine_types.iter().find(|t| t.name == new.name) {
            None => plan.push(
                "machine type",
                &new.name,
                Action::Create,
                Step::MachineType(NewMachineType {
                    warm: None,
                    ..new.clone()
                }),
            ),
            Some(there) => {
                let (change, changes) = kind(there, new);
                if !changes.is_empty() {
                    let step = Step::MachineTypeChange(new.name.to_string(), change);
                    plan.change("machine type", &new.name, changes, step);
                } else if new.warm.as_ref().is_none_or(|warm| *warm == there.warm) {
                    plan.unchanged("machine type", &new.name);
                }
            }
        }
    }
}

/// What becomes otherwise of a machine type but for its machines that wait warm,
/// which comes when the images are there. What the file does not say is left.
fn kind(there: &MachineType, new: &NewMachineType) -> (MachineTypeChange, Vec<Changed>) {
    let (is, wanted) = (&there.expected, &new.expected);
    let merged = ExpectedParts {
        gpus: wanted.gpus.or(is.gpus),
        gpu_model: wanted.gpu_model.clone().or_else(|| is.gpu_model.clone()),
        drives: wanted.drives.or(is.drives),
        min_threads: wanted.min_threads.or(is.min_threads),
        min_memory_bytes: wanted.min_memory_bytes.or(is.min_memory_bytes),
        min_nics: wanted.min_nics.or(is.min_nics),
    };
    let mut changes = Vec::new();
    let mut differs = |field, from: Option<String>, to: Option<String>| {
        if from != to {
            let told = |value: Option<String>| value.unwrap_or_else(|| "any".to_owned());
            let (from, to) = (told(from), told(to));
            changes.push(Changed { field, from, to });
        }
    };
    let count = |count: Option<u32>| count.map(|c| c.to_string());
    let bytes = |bytes: Option<u64>| bytes.map(|b| b.to_string());
    differs("gpus", count(is.gpus), count(merged.gpus));
    differs("gpu_model", is.gpu_model.clone(), merged.gpu_model.clone());
    differs("drives", count(is.drives), count(merged.drives));
    differs(
        "min_threads",
        count(is.min_threads),
        count(merged.min_threads),
    );
    let (from, to) = (bytes(is.min_memory_bytes), bytes(merged.min_memory_bytes));
    differs("min_memory_bytes", from, to);
    differs("min_nics", count(is.min_nics), count(merged.min_nics));
    let description = Some(&new.description).filter(|d| !d.is_empty() && **d != there.description);
    if let Some(to) = description {
        let from = there.description.clone();
        differs("description", Some(from), Some(to.clone()));
    }
    let change = MachineTypeChange {
        description: description.cloned(),
        expected: (merged != *is).then_some(merged),
        ..MachineTypeChange::default()
    };
    (change, changes)
}

/// How many of a type's machines wait warm becomes another number, or with other
/// images.
fn warmth(name: &Name, is: &WarmPolicy, wanted: &WarmPolicy) -> Item {
    let images = |w: &WarmPolicy| match w.images.is_empty() {
        true => "those most asked for".to_owned(),
        false => w
            .images
            .iter()
            .map(|i| i.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let changes = [
        ("warm", is.count.to_string(), wanted.count.to_string()),
        ("warm_images", images(is), images(wanted)),
        ("cold", is.cold.to_string(), wanted.cold.to_string()),
    ];
    let change = MachineTypeChange {
        warm: Some(wanted.count),
        warm_images: Some(wanted.images.clone()),
        cold: Some(wanted.cold),
        ..MachineTypeChange::default()
    };
    Item {
        kind: "machine type",
        name: name.to_string(),
        action: Action::Change,
        changes: changes
            .into_iter()
            .filter(|(_, from, to)| from != to)
            .map(|(field, from, to)| Changed { field, from, to })
            .collect(),
        loses: None,
        step: Step::MachineTypeChange(name.to_string(), change),
    }
}

/// What becomes otherwise of a network. What the file does not say is left.
fn network(there: &Network, new: &NewNetwork) -> (NetworkChange, Vec<Changed>) {
    let mut change = NetworkChange::default();
    let mut changes = Vec::new();
    let mut differs = |field, from: String, to: String| {
        let differs = from != to;
        if differs {
            changes.push(Changed { field, from, to });
        }
        differs
    };
    let subnet = format!("{}/{}", there.subnet, there.prefix);
    if differs("subnet", subnet, new.subnet.clone()) {
        change.subnet = Some(new.subnet.clone());
    }
    let or_none = |ip: Option<Ipv4Addr>| ip.map_or("none".to_owned(), |ip| ip.to_string());
    if let Some(gateway) = new.gateway
        && differs("gateway", or_none(there.gateway), gateway.to_string())
    {
        change.gateway = Some(Some(gateway));
    }
    let list = |dns: &[Ipv4Addr]| {
        let dns: Vec<String> = dns.iter().map(Ipv4Addr::to_string).collect();
        dns.join(", ")
    };
    if !new.dns.is_empty() && differs("dns", list(&there.dns), list(&new.dns)) {
        change.dns = Some(new.dns.clone());
    }
    let pool = |first: Ipv4Addr, last: Ipv4Addr| format!("{first} to {last}");
    if let Some((first, last)) = new.pool {
        let is = pool(there.pool_first, there.pool_last);
        if differs("pool", is, pool(first, last)) {
            change.pool = Some(new.pool);
        }
    }
    if let Some(at) = new.reached_at
        && differs("reached_at", or_none(there.reached_at), at.to_string())
    {
        change.reached_at = Some(Some(at));
    }
    (change, changes)
}

/// Notes the machines whose addresses a network would leave out.
fn outside(
    line: usize,
    who: &str,
    there: &Network,
    new: &NewNetwork,
    present: &Present,
    troubles: &mut Troubles<'_>,
) {
    let Ok((first, mask)) = manifest::subnet(&new.subnet) else {
        return;
    };
    let live = |machine: &&MachineView| machine.lifecycle != Lifecycle::Retired;
    for machine in present.machines.iter().filter(live) {
        let own = machine.addresses.iter().filter(|a| a.network == there.id);
        for address in own.filter(|a| a.ip.to_bits() & mask != first.to_bits()) {
            let text = format!(
                "{who}: machine {} has {}, which is not in {}: give it another address first",
                machine.name, address.ip, new.subnet
            );
            troubles.add(line, text);
        }
    }
}

fn people(manifest: &Manifest, present: &Present, plan: &mut Plan, troubles: &mut Troubles<'_>) {
    for At { value: entry, .. } in &manifest.organisations {
        let new = billet_model::api::NewOrganisation {
            name: entry.name.clone(),
        };
        if present.organisations.iter().any(|o| o.name == new.name) {
            plan.unchanged("organisation", &new.name);
        } else {
            let name = new.name.clone();
            plan.push(
                "organisation",
                name,
                Action::Create,
                Step::Organisation(new),
            );
        }
    }
    for At { line, value: entry } in &manifest.projects {
        let new = &entry.new;
        match present.projects.iter().find(|p| p.name == new.name) {
            None => plan.push(
                "project",
                &new.name,
                Action::Create,
                Step::Project(new.clone()),
            ),
            Some(there) => {
                let of = present
                    .organisations
                    .iter()
                    .find(|o| o.id == there.organisation);
                if let Some(of) = of {
                    let who = format!("project \"{}\"", new.name);
                    let (is, wanted) = (of.name.as_str(), new.organisation.as_str());
                    troubles.fixed(*line, &who, "organisation", is, wanted, RENAME);
                }
                plan.unchanged("project", &new.name);
            }
        }
    }
    for At { value: entry, .. } in &manifest.organisations {
        for (machine_type, most) in &entry.quotas {
            quota(None, Some(&entry.name), machine_type, *most, present, plan);
        }
    }
    for At { value: entry, .. } in &manifest.projects {
        for (machine_type, most) in &entry.quotas {
            quota(
                Some(&entry.new.name),
                None,
                machine_type,
                *most,
                present,
                plan,
            );
        }
    }
}

fn quota(
    project: Option<&Name>,
    organisation: Option<&Name>,
    machine_type: &Name,
    most: u32,
    present: &Present,
    plan: &mut Plan,
) {
    let (what, holder) = match (project, organisation) {
        (Some(project), _) => ("project", project),
        (None, Some(organisation)) => ("organisation", organisation),
        (None, None) => return,
    };
    let name = format!("{machine_type} of {what} {holder}");
    let step = Step::Quota(QuotaChange {
        project: project.map(Name::to_string),
        organisation: organisation.map(Name::to_string),
        machine_type: machine_type.clone(),
        most: Some(most),
    });
    let there = present.quotas.iter().find(|q| {
        q.machine_type == *machine_type
            && q.project.as_ref() == project
            && q.organisation.as_ref() == organisation
    });
    let changed = |from: String| {
        let (field, to) = ("most", most.to_string());
        vec![Changed { field, from, to }]
    };
    match there {
        Some(there) if there.most == most => plan.unchanged("quota", name),
        Some(there) => plan.change("quota", name, changed(there.most.to_string()), step),
        None => plan.change("quota", name, changed("without end".to_owned()), step),
    }
}

fn image(image: &At<ImageEntry>, present: &Present, plan: &mut Plan, troubles: &mut Troubles<'_>) {
    let At { line, value: entry } = image;
    let new = &entry.new;
    let own = new.project.as_ref().map(|name| {
        let there = present.projects.iter().find(|p| p.name == *name);
        there.map(|p| p.id)
    });
    let there = present.images.iter().find(|i| {
        i.name == new.name
            && match own {
                None => i.project.is_none(),
                Some(own) => own.is_some() && i.project == own,
            }
    });
    let Some(there) = there else {
        let step = match new.kind.installs() {
            true => Step::Install(new.clone(), entry.parts.clone()),
            false => Step::Image(new.clone(), entry.file.clone()),
        };
        return plan.push("image", &new.name, Action::Create, step);
    };
    let who = format!("image \"{}\"", new.name);
    let way = "an image never changes: give the new one another name, or delete this one first";
    if let (Some(is), Some(wanted)) = (&there.checksum, &new.checksum) {
        troubles.fixed(*line, &who, "checksum", is, wanted, way);
    } else if let Some(url) = &new.url {
        troubles.fixed(*line, &who, "origin", &there.origin, kept(url), way);
    }
    if there.kind != new.kind {
        let (is, wanted) = (there.kind.to_string(), new.kind.to_string());
        troubles.fixed(*line, &who, "kind", &is, &wanted, way);
        return;
    }
    if let (Some(is), Some(wanted)) = (&there.install, &new.install) {
        installs(is, wanted, &mut |field, is, wanted| {
            troubles.fixed(*line, &who, field, is, wanted, way);
        });
    }
    match (there.state, &entry.file) {
        (ImageState::AwaitingUpload | ImageState::Failed, _) if !entry.parts.is_empty() => {
            let changes = vec![Changed {
                field: "state",
                from: state(there.state).to_owned(),
                to: "available".to_owned(),
            }];
            let step = Step::Parts(there.id, entry.parts.clone());
            plan.change("image", &new.name, changes, step);
        }
        (ImageState::AwaitingUpload | ImageState::Failed, Some(file)) => {
            let changes = vec![Changed {
                field: "state",
                from: state(there.state).to_owned(),
                to: "available".to_owned(),
            }];
            let step = Step::Upload(there.id, file.clone());
            plan.change("image", &new.name, changes, step);
        }
        (ImageState::Failed, None) => {
            let why = there.reason.as_deref().unwrap_or("it is not said why");
            let text = format!(
                "{who}: it could not be taken in: {why}. Delete it with `billet image delete {}`, and apply again",
                new.name
            );
            troubles.add(*line, text);
        }
        (ImageState::Importing, _) => {
            plan.push("image", &new.name, Action::Unchanged, Step::Await(there.id))
        }
        _ => plan.unchanged("image", &new.name),
    }
}

/// What the server keeps of an address: no query, which may hold a signature.
fn kept(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

/// What differs between an install configuration and the one that is wanted.
fn installs(
    is: &InstallConfig,
    wanted: &NewInstall,
    differs: &mut dyn FnMut(&'static str, &str, &str),
) {
    let line = |text: Option<&str>| text.unwrap_or_default().trim().to_owned();
    let (a, b) = (
        line(is.command_line.as_deref()),
        line(wanted.command_line.as_deref()),
    );
    if a != b {
        differs("command_line", &a, &b);
    }
    let parts = wanted.kernel.iter().chain(&wanted.initrds);
    let parts: Vec<&NewPart> = parts.chain(&wanted.script).collect();
    if parts.len() != is.parts.len() {
        let (a, b) = (is.parts.len().to_string(), parts.len().to_string());
        differs("number of parts", &a, &b);
        return;
    }
    for (part, wanted) in is.parts.iter().zip(parts) {
        if let (Some(a), Some(b)) = (&part.checksum, &wanted.checksum)
            && !a.eq_ignore_ascii_case(b)
        {
            differs("checksum of a part", a, b);
        } else if let Some(url) = &wanted.url
            && kept(url) != part.origin
        {
            differs("origin of a part", &part.origin, kept(url));
        }
    }
}

fn state(state: ImageState) -> &'static str {
    match state {
        ImageState::AwaitingUpload => "awaiting upload",
        ImageState::Importing => "importing",
        ImageState::Available => "available",
        ImageState::Failed => "failed",
    }
}

fn machine(
    machine: &At<NewMachine>,
    there: &MachineView,
    present: &Present,
    plan: &mut Plan,
    troubles: &mut Troubles<'_>,
) {
    let At { line, value: new } = machine;
    let who = format!("machine \"{}\"", new.name);
    if there.lifecycle == Lifecycle::Retired {
        troubles.add(
            *line,
            format!("{who}: it is retired, and its name with it: give the new one another"),
        );
        return;
    }
    // What was found in it, where that can be told from what was expected.
    let found = there.serial.as_ref().filter(|serial| {
        there.expected_serial.as_ref() != Some(serial) || there.lifecycle != Lifecycle::Enrolled
    });
    if let (Some(is), Some(wanted)) = (found, &new.serial)
        && is != wanted
    {
        let text = format!(
            "{who}: its serial is {is:?} and the file says {wanted:?}: it may be another machine, so correct the file, or its BMC's address with `billet machine set-bmc`"
        );
        return troubles.add(*line, text);
    }
    let (change, changes) = correction(new, there, present);
    refused(*line, &who, &changes, there, troubles);
    let corrected = !changes.is_empty();
    if corrected {
        let step = Step::MachineChange(there.id.to_string(), Box::new(change), there.version);
        plan.change("machine", &new.name, changes, step);
    }
    if there.bmc_address == new.bmc.address {
        if !corrected {
            plan.unchanged("machine", &new.name);
        }
    } else {
        let changes = vec![Changed {
            field: "BMC",
            from: there.bmc_address.clone(),
            to: new.bmc.address.clone(),
        }];
        let change = BmcChange {
            address: Some(new.bmc.address.clone()),
            user: Some(new.bmc.user.clone()),
            password: Some(new.bmc.password.clone()),
            fingerprint: new.bmc.fingerprint.clone(),
        };
        let step = Step::Bmc(there.id.to_string(), Box::new(change));
        plan.change("machine", &new.name, changes, step);
    }
}

/// What becomes otherwise of a machine but for its BMC. What the file does not say is left.
fn correction(
    new: &NewMachine,
    there: &MachineView,
    present: &Present,
) -> (MachineChange, Vec<Changed>) {
    let mut change = MachineChange::default();
    let mut changes = Vec::new();
    let mut differs = |field, from: &str, to: &str| {
        let differs = from != to;
        if differs {
            let (from, to) = (from.to_owned(), to.to_owned());
            changes.push(Changed { field, from, to });
        }
        differs
    };
    let none = "none".to_owned();
    if differs("site", there.site.as_str(), new.site.as_str()) {
        change.site = Some(new.site.clone());
    }
    let (is, wanted) = (there.machine_type.as_str(), new.machine_type.as_str());
    if differs("machine type", is, wanted) {
        change.machine_type = Some(new.machine_type.clone());
    }
    if let Some(rack) = &new.rack
        && differs("rack", there.rack.as_ref().unwrap_or(&none), rack)
    {
        change.rack = Some(rack.clone());
    }
    // One that was found needs not be expected to be as it is.
    if let Some(serial) = &new.serial
        && (there.expected_serial.is_some() || there.serial.as_ref() != Some(serial))
        && differs(
            "serial",
            there.expected_serial.as_ref().unwrap_or(&none),
            serial,
        )
    {
        change.serial = Some(serial.clone());
    }
    let mut networks = BTreeMap::new();
    for address in &there.addresses {
        let of = present.networks.iter().find(|n| n.id == address.network);
        networks.extend(of.map(|n| (n.name.clone(), Some(address.ip))));
    }
    let before = networks.clone();
    for (network, wanted) in &new.networks {
        // The next free one is what it has.
        if wanted.is_some() || !networks.contains_key(network) {
            networks.insert(network.clone(), *wanted);
        }
    }
    let told = |networks: &BTreeMap<Name, Option<Ipv4Addr>>| {
        let ip = |ip: &Option<Ipv4Addr>| ip.map_or("auto".to_owned(), |ip| ip.to_string());
        let each = networks.iter().map(|(n, a)| format!("{n}={}", ip(a)));
        each.collect::<Vec<_>>().join(" ")
    };
    if differs("networks", &told(&before), &told(&networks)) {
        change.networks = Some(networks);
    }
    if new.rotate_password
        && !there.bmc_password.after_each_lease
        && differs("rotate_password", "false", "true")
    {
        change.rotate_password = Some(true);
    }
    (change, changes)
}

/// Notes what of a machine cannot become otherwise as it is now.
fn refused(
    line: usize,
    who: &str,
    changes: &[Changed],
    there: &MachineView,
    troubles: &mut Troubles<'_>,
) {
    let name = &there.name;
    for Changed { field, from, to } in changes {
        let hardware = matches!(*field, "machine type" | "serial");
        let way = match *field {
            "site" | "networks" | "machine type" | "serial" if there.lease.is_some() => {
                "which its tenant was promised: wait until its lease is over and it is erased"
                    .to_owned()
            }
            _ if hardware && !there.lifecycle.is_set_aside() => format!(
                "and it is {}, where it would be offered without being compared: `billet machine maintenance {name}` first, then apply, then `billet machine repair {name}`",
                there.lifecycle
            ),
            _ => continue,
        };
        let text = format!("{who}: the file changes its {field} from {from:?} to {to:?}, {way}");
        troubles.add(line, text);
    }
}

fn take_over(
    manifest: &Manifest,
    name: &Name,
    present: &Present,
    plan: &mut Plan,
    troubles: &mut Troubles<'_>,
) {
    let Some(At {
        line,
        value: drives,
    }) = manifest.take_over.get(name)
    else {
        return;
    };
    let there = present.machines.iter().find(|m| m.name == *name);
    if there.is_some_and(|m| m.lifecycle != Lifecycle::Enrolled) {
        return plan.unchanged("take-over", name);
    }
    let known: Option<Vec<&str>> = there.and_then(|m| m.inventory.as_ref()).map(|inventory| {
        let found = Inventory::own_drives(inventory);
        let mut serials: Vec<&str> = found.filter_map(|d| d.serial.as_deref()).collect();
        serials.sort_unstable();
        serials
    });
    let mut named: Vec<&str> = drives.iter().map(String::as_str).collect();
    named.sort_unstable();
    if let Some(known) = known
        && known != named
    {
        let text = format!(
            "machine \"{name}\": its drives are [{}], and take_over names [{}]: each one is erased, so each is named by its serial",
            known.join(", "),
            named.join(", ")
        );
        return troubles.add(*line, text);
    }
    let loses = format!("all that is on {}", named.join(", "));
    let step = Step::TakeOver(name.to_string(), drives.clone());
    plan.erase("take-over", name, Vec::new(), loses, step);
}

fn lease(lease: &At<LeaseEntry>, present: &Present, plan: &mut Plan, troubles: &mut Troubles<'_>) {
    let At { line, value: entry } = lease;
    let (new, name) = (&entry.new, &entry.name);
    let there = present
        .leases
        .iter()
        .find(|l| l.name == *name && l.project == entry.project);
    let Some(there) = there else {
        let step = Step::Lease(Box::new(new.clone()));
        return plan.push("lease", name, Action::Create, step);
    };
    let who = format!("lease \"{name}\"");
    let way = "release it first, or use another name";
    let (is, wanted) = (there.machine_type.as_str(), new.machine_type.as_str());
    troubles.fixed(*line, &who, "machine type", is, wanted, way);
    if let Some(site) = &new.site {
        troubles.fixed(*line, &who, "site", there.site.as_str(), site.as_str(), way);
    }
    let changed = |field, from: String, to: String| Changed { field, from, to };
    let by_id = present
        .images
        .iter()
        .find(|i| i.id.to_string() == new.image);
    let image = by_id.map_or(new.image.as_str(), |i| i.name.as_str());
    let mut anew = Vec::new();
    if there.image.as_str() != image {
        anew.push(changed("image", there.image.to_string(), image.to_owned()));
    }
    if there.kernel_args != new.kernel_args {
        let (from, to) = (there.kernel_args.join(" "), new.kernel_args.join(" "));
        anew.push(changed("kernel arguments", from, to));
    }
    let relaid = there.layout_wanted != new.layout;
    if relaid {
        let told = |layout: &DriveLayout| serde_json::to_string(layout).unwrap_or_default();
        let (from, to) = (told(&there.layout_wanted), told(&new.layout));
        anew.push(changed("layout of drives", from, to));
    }
    let tags = there.tags != new.tags;
    if tags {
        let changes = vec![changed("tags", words(&there.tags), words(&new.tags))];
        let change = LeaseChange {
            tags: Some(new.tags.clone()),
            ..LeaseChange::default()
        };
        let step = Step::LeaseChange(there.id, change, there.version);
        plan.change("lease", name, changes, step);
    }
    if !anew.is_empty() {
        let with = Reinstall {
            image: Some(new.image.clone()),
            kernel_args: Some(new.kernel_args.clone()),
            layout: relaid.then(|| new.layout.clone()),
            ..Reinstall::default()
        };
        let step = Step::Reinstall(there.id, Box::new(with));
        let loses = "all that is on its machine's drives".to_owned();
        plan.erase("reinstall", name, anew, loses, step);
    } else if !tags {
        plan.unchanged("lease", name);
    }
}

fn words(tags: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(" ")
    }
}

/// What there is and the file does not have.
fn left(manifest: &Manifest, present: &Present, plan: &mut Plan) {
    let mut leave = |kind, name: &Name, there: bool| {
        if !there {
            plan.push(kind, name, Action::Left, Step::Nothing);
        }
    };
    for one in &present.organisations {
        let there = manifest.organisations.iter();
        leave(
            "organisation",
            &one.name,
            { there }.any(|e| e.value.name == one.name),
        );
    }
    for one in &present.projects {
        let there = manifest.projects.iter();
        leave(
            "project",
            &one.name,
            { there }.any(|e| e.value.new.name == one.name),
        );
    }
    for one in &present.sites {
        let there = manifest.sites.iter();
        leave(
            "site",
            &one.name,
            { there }.any(|e| e.value.name == one.name),
        );
    }
    for one in &present.networks {
        let there = manifest.networks.iter();
        leave(
            "network",
            &one.name,
            { there }.any(|e| e.value.name == one.name),
        );
    }
    for one in &present.machine_types {
        let there = manifest.machine_types.iter();
        leave(
            "machine type",
            &one.name,
            { there }.any(|e| e.value.name == one.name),
        );
    }
    for one in &present.images {
        let there = manifest.images.iter();
        leave(
            "image",
            &one.name,
            { there }.any(|e| e.value.new.name == one.name),
        );
    }
    for one in present
        .machines
        .iter()
        .filter(|m| m.lifecycle != Lifecycle::Retired)
    {
        let there = manifest.machines.iter();
        leave(
            "machine",
            &one.name,
            { there }.any(|e| e.value.name == one.name),
        );
    }
    for one in &present.leases {
        let mut there = manifest.leases.iter();
        let same = |e: &At<LeaseEntry>| e.value.name == one.name && e.value.project == one.project;
        leave("lease", &one.name, there.any(same));
    }
}
