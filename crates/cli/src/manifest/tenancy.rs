//! The part of a manifest that `billet apply` alone brings about: organisations, projects, images
//! and leases.

use std::{collections::BTreeMap, path::PathBuf};

use billet_model::{
    Name,
    api::{NewImage, NewLease, NewProject},
    image::ImageKind,
    layout::DriveLayout,
    lease::LeaseMode,
};

use crate::commands::install_config;

use super::{
    entries::{name, required},
    reader::{Reader, Source},
};

/// An organisation, and its quotas by machine type.
#[derive(Clone, Debug)]
pub struct OrganisationEntry {
    /// Name.
    pub name: Name,
    /// So many machines of each type at most.
    pub quotas: BTreeMap<Name, u32>,
}

/// A project, and its quotas by machine type.
#[derive(Clone, Debug)]
pub struct ProjectEntry {
    /// The project.
    pub new: NewProject,
    /// So many machines of each type at most.
    pub quotas: BTreeMap<Name, u32>,
}

/// An image, by its URL or as a file here.
#[derive(Clone, Debug)]
pub struct ImageEntry {
    /// The image.
    pub new: NewImage,
    /// The file to upload, where it is not fetched.
    pub file: Option<PathBuf>,
    /// Of an install configuration, the files of its parts to upload, by their names.
    pub parts: Vec<(String, PathBuf)>,
}

/// A lease, which here has a name and a project.
#[derive(Clone, Debug)]
pub struct LeaseEntry {
    /// Name.
    pub name: Name,
    /// Project.
    pub project: Name,
    /// The lease.
    pub new: NewLease,
}

/// Reads an organisation.
pub fn organisation(reader: &Reader<'_, '_>) -> Option<OrganisationEntry> {
    let name = name(reader);
    let quotas = quotas(reader);
    Some(OrganisationEntry {
        name: name?,
        quotas,
    })
}

/// Reads a project.
pub fn project(reader: &Reader<'_, '_>) -> Option<ProjectEntry> {
    let name = name(reader);
    let organisation = required(reader, "organisation", Reader::parsed);
    let quotas = quotas(reader);
    Some(ProjectEntry {
        new: NewProject {
            name: name?,
            organisation: organisation?,
        },
        quotas,
    })
}

fn quotas(reader: &Reader<'_, '_>) -> BTreeMap<Name, u32> {
    let mut quotas = BTreeMap::new();
    let Some(table) = reader.table("quotas", &reader.what()) else {
        return quotas;
    };
    for (machine_type, line, value) in table.entries() {
        let most = value.as_integer().and_then(|n| n.as_str().parse().ok());
        match (machine_type.parse::<Name>(), most) {
            (Ok(machine_type), Some(most)) => _ = quotas.insert(machine_type, most),
            (Err(error), _) => reader.wrong(line, format!("\"quotas\": {error}")),
            (_, None) => reader.wrong(
                line,
                format!("\"quotas\": {machine_type} must be a whole number, 0 or more"),
            ),
        }
    }
    quotas
}

/// Reads an image.
pub fn image(source: &Source<'_>, reader: &Reader<'_, '_>) -> Option<ImageEntry> {
    let name = name(reader);
    let project = reader.parsed("project");
    let description = reader.text("description").unwrap_or_default().to_owned();
    let url = reader.text("url").map(str::to_owned);
    let file = reader.text("file").map(|file| source.directory.join(file));
    let checksum = reader.text("checksum").map(str::to_owned);
    let cloud_init = reader.truth("cloud_init").unwrap_or(true);
    let (kernel, ipxe) = (reader.text("kernel"), reader.text("ipxe"));
    let given = install_config::Given {
        initrd: reader.texts("initrds").unwrap_or_default(),
        command_line: reader.text("command_line").map(str::to_owned),
        part_checksum: checksums(reader),
        installs_within: reader.length("installs_within"),
    };
    let mut kind = ImageKind::Disk;
    let (mut install, mut parts) = (None, Vec::new());
    let ways = [
        url.is_some(),
        file.is_some(),
        kernel.is_some(),
        ipxe.is_some(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        let why = "give one of url, file, kernel and ipxe";
        reader.wrong(reader.line, why);
    } else if kernel.is_some() || ipxe.is_some() {
        match install_config::parts(kernel, ipxe, given, source.directory) {
            Ok(made) => {
                (kind, install, parts) = (made.kind, Some(made.install), made.files);
            }
            Err(why) => reader.wrong(reader.line, why),
        }
    }
    let root_mirror = reader.truth("root_mirror").unwrap_or(false);
    match (&url, &file) {
        _ if kernel.is_some() || ipxe.is_some() => {}
        (Some(_), None) => {}
        (None, Some(file)) => {
            if let Err(error) = std::fs::metadata(file) {
                let text = format!("reading {}: {error}", file.display());
                reader.wrong(reader.line_at("file"), text);
            }
        }
        (None, None) => reader.wrong(reader.line, "give a url, or a file to upload"),
        (Some(_), Some(_)) => {}
    }
    if let Some(text) = &checksum {
        let fits = text.split_once(':').is_some_and(|(kind, hex)| {
            let length = match kind {
                "sha256" => 64,
                "sha512" => 128,
                _ => 0,
            };
            hex.len() == length && hex.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if !fits {
            let why = "\"checksum\": write it as sha256:HEX or sha512:HEX";
            reader.wrong(reader.line_at("checksum"), why);
        }
    }
    Some(ImageEntry {
        new: NewImage {
            name: name?,
            project,
            description,
            url,
            kind,
            checksum,
            cloud_init,
            install,
            root_mirror,
        },
        file,
        parts,
    })
}

/// Checksums of an install configuration's parts, by their names.
fn checksums(reader: &Reader<'_, '_>) -> Vec<(String, String)> {
    let mut checksums = Vec::new();
    if let Some(table) = reader.table("checksums", &reader.what()) {
        for (part, line, value) in table.entries() {
            match value.as_str() {
                Some(text) => checksums.push((part.to_owned(), text.to_owned())),
                None => reader.wrong(
                    line,
                    format!("\"checksums\": {part} must be text in quotes"),
                ),
            }
        }
    }
    checksums
}

/// Reads a lease.
pub fn lease(source: &Source<'_>, reader: &Reader<'_, '_>) -> Option<LeaseEntry> {
    let name = name(reader);
    let project: Option<Name> = required(reader, "project", Reader::parsed);
    let machine_type = required(reader, "machine_type", Reader::parsed);
    let image = required(reader, "image", Reader::text).map(str::to_owned);
    let site = reader.parsed("site");
    let mut ssh_keys = Vec::new();
    for given in reader.texts("ssh_keys").unwrap_or_default() {
        // A file lies beside the manifest; a key has spaces, and a path that is meant has none.
        let given = if given.contains(' ') {
            given
        } else {
            source.directory.join(given).display().to_string()
        };
        match crate::commands::keys_given::keys(&given) {
            Ok(keys) => ssh_keys.extend(keys),
            Err(failure) => reader.wrong(reader.line_at("ssh_keys"), failure.sentence),
        }
    }
    let user_data = reader.text("user_data_file").and_then(|file| {
        let path = source.directory.join(file);
        let read = crate::commands::lease::user_data(&path);
        read.map_err(|failure| reader.wrong(reader.line_at("user_data_file"), failure.sentence))
            .ok()
    });
    let kernel_args = reader.texts("kernel_args").unwrap_or_default();
    let mut tags = BTreeMap::new();
    if let Some(table) = reader.table("tags", &reader.what()) {
        for (key, line, value) in table.entries() {
            match value.as_str() {
                Some(text) => _ = tags.insert(key.to_owned(), text.to_owned()),
                None => reader.wrong(line, format!("\"tags\": {key} must be text in quotes")),
            }
        }
    }
    let term_seconds = reader.length("term");
    let root_drive = reader.parsed("root_drive").unwrap_or_default();
    let cold = reader.flag("cold").unwrap_or_default();
    let mut layout = DriveLayout {
        root_mirror: reader.parsed("root_mirror"),
        arrays: Vec::new(),
        scratch: reader.parsed("scratch"),
    };
    for array in reader.texts("arrays").unwrap_or_default() {
        match array.parse() {
            Ok(array) => layout.arrays.push(array),
            Err(error) => reader.wrong(reader.line_at("arrays"), format!("\"arrays\": {error}")),
        }
    }
    let (name, project) = (name?, project?);
    Some(LeaseEntry {
        new: NewLease {
            name: Some(name.clone()),
            project: Some(project.clone()),
            mode: LeaseMode::Dedicated,
            machine_type: machine_type?,
            site,
            image: image?,
            ssh_keys,
            user_data,
            kernel_args,
            root_drive,
            cold,
            layout,
            tags,
            term_seconds,
        },
        name,
        project,
    })
}
