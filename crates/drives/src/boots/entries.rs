//! Boot loader entries, and which of them boots by itself: what systemd-boot
//! does (<https://uapi-group.org/specifications/specs/boot_loader_specification/>).

use std::cmp::Ordering;

use super::{
    BootError, Boots, LARGEST_PROGRAM, Loader, Piece, glob, text,
    uki::{self, os_release},
    version,
    volume::{Role, Volume},
};

/// What entries may ask for that is not this machine.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "x64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "aa64";

/// One entry of either type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which file system it stands on.
    pub volume: usize,
    /// Its file's name, without what counts its tries.
    pub id: String,
    pub title: Option<String>,
    pub version: Option<String>,
    pub machine_id: Option<String>,
    pub sort_key: Option<String>,
    pub linux: Option<String>,
    pub initrds: Vec<String>,
    pub efi: Option<String>,
    pub options: Option<String>,
    pub architecture: Option<String>,
    /// Whether it was tried in vain as often as it may be.
    pub bad: bool,
}

/// Reads an entry of type 1: a text file `name`.
pub(super) fn parse(name: &str, text: &str) -> Entry {
    let (id, bad) = without_tries(name);
    let mut entry = Entry {
        id,
        bad,
        ..Entry::default()
    };
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let value = value.trim().to_owned();
        match key {
            "title" => entry.title = Some(value),
            "version" => entry.version = Some(value),
            "machine-id" => entry.machine_id = Some(value),
            "sort-key" => entry.sort_key = Some(value),
            "linux" => entry.linux = Some(slashes(&value)),
            "initrd" => entry.initrds.push(slashes(&value)),
            "efi" | "uki" => entry.efi = Some(slashes(&value)),
            "architecture" => entry.architecture = Some(value.to_lowercase()),
            "options" => match &mut entry.options {
                Some(options) => {
                    options.push(' ');
                    options.push_str(&value);
                }
                None => entry.options = Some(value),
            },
            _ => {}
        }
    }
    entry
}

fn slashes(path: &str) -> String {
    let path = path.replace('\\', "/");
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

/// A file's name without its counter (`name+LEFT-DONE.conf`), and whether it has
/// no tries left.
fn without_tries(name: &str) -> (String, bool) {
    let Some((stem, suffix)) = name.rsplit_once('.') else {
        return (name.to_owned(), false);
    };
    let Some((base, count)) = stem.rsplit_once('+') else {
        return (name.to_owned(), false);
    };
    let (left, done) = count.split_once('-').unwrap_or((count, "0"));
    match (left.parse::<u32>(), done.parse::<u32>()) {
        (Ok(left), Ok(_)) => (format!("{base}.{suffix}"), left == 0),
        _ => (name.to_owned(), false),
    }
}

/// Which of two entries stands above the other in the menu.
pub(super) fn order(a: &Entry, b: &Entry) -> Ordering {
    let newer_first = |x: &Option<String>, y: &Option<String>| {
        version::compare(y.as_deref().unwrap_or(""), x.as_deref().unwrap_or(""))
    };
    a.bad
        .cmp(&b.bad)
        .then_with(|| a.sort_key.is_none().cmp(&b.sort_key.is_none()))
        .then_with(|| match a.sort_key {
            None => Ordering::Equal,
            Some(_) => (a.sort_key.cmp(&b.sort_key))
                .then_with(|| a.machine_id.cmp(&b.machine_id))
                .then_with(|| newer_first(&a.version, &b.version)),
        })
        .then_with(|| version::compare(&b.id, &a.id))
}

/// The entry that boots by itself.
pub(super) fn default<'a>(entries: &'a [Entry], loader_conf: &str) -> Option<&'a Entry> {
    let value = |key: &str| {
        loader_conf
            .lines()
            .filter_map(|line| line.trim().split_once(char::is_whitespace))
            .rfind(|(k, _)| *k == key)
            .map(|(_, v)| v.trim().to_owned())
    };
    let named = ["preferred", "default"]
        .into_iter()
        .filter_map(value)
        .find_map(|pattern| {
            // In the menu's order, so that of several the first is meant.
            entries
                .iter()
                .find(|e| !e.bad && glob::matches(&pattern, &e.id))
        });
    named.or_else(|| entries.first())
}

/// What systemd-boot would boot; `None` where there is no entry.
pub(super) fn boots<V: Volume>(volumes: &[V]) -> Result<Option<Boots>, BootError> {
    let mut entries = Vec::new();
    let mut loader_conf = String::new();
    for (at, volume) in volumes.iter().enumerate() {
        if volume.role() == Role::Other {
            continue;
        }
        if volume.role() == Role::System
            && let Some(conf) = text(volume, "/loader/loader.conf")?
        {
            loader_conf = conf;
        }
        entries.extend(type_1(at, volume)?);
        entries.extend(type_2(at, volume)?);
    }
    entries.sort_by(order);
    let Some(entry) = default(&entries, &loader_conf) else {
        return Ok(None);
    };
    taken(entry, &volumes[entry.volume]).map(Some)
}

fn names<V: Volume>(volume: &V, directory: &str, suffix: &str) -> Result<Vec<String>, BootError> {
    let mut names = volume
        .list(directory)
        .map_err(BootError::io(format!("listing {directory}")))?;
    names.retain(|name| name.to_lowercase().ends_with(suffix));
    names.sort();
    Ok(names)
}

/// The text entries that a boot loader would show: those that are this machine's
/// and whose program is there.
fn type_1<V: Volume>(at: usize, volume: &V) -> Result<Vec<Entry>, BootError> {
    const PLACE: &str = "/loader/entries";
    let mut found = Vec::new();
    for name in names(volume, PLACE, ".conf")? {
        let Some(said) = text(volume, &format!("{PLACE}/{name}"))? else {
            continue;
        };
        let entry = Entry {
            volume: at,
            ..parse(&name, &said)
        };
        let other = |a: &String| a != ARCHITECTURE;
        let Some(program) = entry.linux.as_ref().or(entry.efi.as_ref()) else {
            continue;
        };
        let there = volume
            .size(program)
            .map_err(BootError::io(format!("looking for {program}")))?;
        if there.is_some() && !entry.architecture.as_ref().is_some_and(other) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Unified kernel images in their place, which are entries by themselves.
fn type_2<V: Volume>(at: usize, volume: &V) -> Result<Vec<Entry>, BootError> {
    const PLACE: &str = "/EFI/Linux";
    let mut found = Vec::new();
    for name in names(volume, PLACE, ".efi")? {
        let path = format!("{PLACE}/{name}");
        let program = volume
            .read(&path, LARGEST_PROGRAM)
            .map_err(BootError::io(format!("reading {path}")))?;
        let Some(program) = program.filter(|p| uki::is_one(p)) else {
            continue;
        };
        let release = uki::said(&program, ".osrel").unwrap_or_default();
        let first = |fields: &[&str]| fields.iter().find_map(|f| os_release(&release, f));
        let (id, bad) = without_tries(&name);
        found.push(Entry {
            volume: at,
            id,
            bad,
            title: first(&["PRETTY_NAME", "IMAGE_ID", "ID"]),
            version: first(&["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"]),
            sort_key: first(&["IMAGE_ID", "ID"]),
            efi: Some(path),
            ..Entry::default()
        });
    }
    Ok(found)
}

/// What an entry boots.
fn taken<V: Volume>(entry: &Entry, volume: &V) -> Result<Boots, BootError> {
    let loader = Loader::SystemdBoot;
    let title = entry.title.clone().unwrap_or_else(|| entry.id.clone());
    let piece = |path: &String| Piece {
        volume: entry.volume,
        path: path.clone(),
        section: None,
    };
    if let Some(linux) = &entry.linux {
        return Ok(Boots {
            loader,
            entry: title,
            kernel: piece(linux),
            initrds: entry.initrds.iter().map(piece).collect(),
            cmdline: entry.options.clone().unwrap_or_default(),
        });
    }
    let efi = entry.efi.clone().unwrap_or_default();
    // What stands beside an image is added to it by its stub, and not here.
    let extra = names(volume, &format!("{efi}.extra.d"), "")?;
    if !extra.is_empty() {
        let detail = format!(
            "it has add-ons ({}), which only firmware adds",
            extra.join(", ")
        );
        return Err(BootError::unknown(efi, detail));
    }
    let program = volume
        .read(&efi, LARGEST_PROGRAM)
        .map_err(BootError::io(format!("reading {efi}")))?;
    let program = program.unwrap_or_default();
    let mut boots = uki::boots(entry.volume, &efi, &program, loader)?;
    boots.entry = title;
    if let Some(options) = entry.options.clone() {
        boots.cmdline = options;
    }
    Ok(boots)
}
