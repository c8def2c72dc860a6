//! Kernel modules: what no device asks for first, then by modalias until no
//! pass finds anything new.
//!
//! The ramdisk has no modprobe: `modules.dep` lists whole closures (see
//! `billet-media`), loaded from right to left.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{io::Errno, system::finit_module};

/// How long slow buses are given to show their devices.
const KEEP_LOADING: Duration = Duration::from_secs(60);

/// Modules as depmod lists them.
#[derive(Debug, Default)]
pub struct Index {
    /// Pattern of a modalias, and the module's name.
    aliases: Vec<(String, String)>,
    /// The module's name, its path and what must be loaded before, in that order.
    chains: HashMap<String, Vec<String>>,
}

impl Index {
    /// Reads depmod's `modules.dep` and `modules.alias`.
    pub fn parse(dep: &str, alias: &str) -> Self {
        let chains = dep
            .lines()
            .filter_map(|line| {
                let (path, before) = line.split_once(':')?;
                let mut chain: Vec<String> =
                    before.split_whitespace().rev().map(str::to_owned).collect();
                chain.push(path.to_owned());
                Some((name_of(path), chain))
            })
            .collect();
        let aliases = alias
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some("alias"))
                    .then(|| Some((words.next()?.to_owned(), words.next()?.replace('-', "_"))))?
            })
            .collect();
        Self { aliases, chains }
    }

    /// Paths to load for a device, in order.
    pub fn wanted(&self, modalias: &str) -> Vec<&str> {
        let names = self
            .aliases
            .iter()
            .filter(|(pattern, _)| matches(pattern.as_bytes(), modalias.as_bytes()))
            .map(|(_, name)| name);
        let mut paths: Vec<&str> = Vec::new();
        for path in names.filter_map(|name| self.chains.get(name)).flatten() {
            if !paths.contains(&path.as_str()) {
                paths.push(path);
            }
        }
        paths
    }
}

/// A module's name from its file's: without directory and suffix, `-` as `_`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// A shell glob: `*`, `?`, `[..]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, text) || text.split_first().is_some_and(|(_, t)| matches(pattern, t))
        }
        (Some((b'?', rest)), Some((_, text))) => matches(rest, text),
        (Some((b'[', rest)), Some((c, text))) => {
            let Some(end) = rest.iter().position(|b| *b == b']') else {
                return false;
            };
            in_class(&rest[..end], *c) && matches(&rest[end + 1..], text)
        }
        (Some((p, rest)), Some((c, text))) => p == c && matches(rest, text),
        _ => false,
    }
}

fn in_class(class: &[u8], c: u8) -> bool {
    match class {
        [low, b'-', high, rest @ ..] => (low..=high).contains(&&c) || in_class(rest, c),
        [one, rest @ ..] => *one == c || in_class(rest, c),
        [] => false,
    }
}

fn directory() -> PathBuf {
    let uname = rustix::system::uname();
    Path::new("/lib/modules").join(uname.release().to_string_lossy().as_ref())
}

fn index(directory: &Path) -> Index {
    let text = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    Index::parse(&text("modules.dep"), &text("modules.alias"))
}

/// Loads everything that is wanted now. Returns how many modules were loaded.
pub fn load_all() -> usize {
    let order = fs::read_to_string("/modules/order").unwrap_or_default();
    let listed = order
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|path| load(Path::new(path)))
        .count();
    let directory = directory();
    listed + load_new(&directory, &index(&directory), &mut HashSet::new())
}

/// Goes on loading what slow buses bring to light, for a minute.
pub fn keep_loading() {
    let directory = directory();
    let index = index(&directory);
    let mut seen = HashSet::new();
    for _ in 0..KEEP_LOADING.as_secs() {
        load_new(&directory, &index, &mut seen);
        thread::sleep(Duration::from_secs(1));
    }
}

/// Loads for devices not seen before, until a pass finds none.
fn load_new(directory: &Path, index: &Index, seen: &mut HashSet<String>) -> usize {
    let mut loaded = 0;
    loop {
        let mut found = Vec::new();
        modaliases(Path::new("/sys/devices"), &mut found);
        found.retain(|modalias| seen.insert(modalias.clone()));
        if found.is_empty() {
            return loaded;
        }
        for modalias in found {
            loaded += index
                .wanted(&modalias)
                .into_iter()
                .filter(|path| load(&directory.join(path)))
                .count();
        }
    }
}

/// All modaliases below a directory of sysfs; links are not followed.
fn modaliases(at: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => modaliases(&entry.path(), found),
            Ok(kind) if kind.is_file() && entry.file_name() == "modalias" => {
                if let Ok(text) = fs::read_to_string(entry.path()) {
                    found.push(text.trim().to_owned());
                }
            }
            _ => {}
        }
    }
}

/// Loads one module; whether it is new. A module may refuse a machine that has
/// no use for it: that is no error here.
fn load(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    match finit_module(&file, c"", 0) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_depmod_means_them() {
        for (pattern, text, expected) in [
            ("pci:v00001AF4d*sv*", "pci:v00001AF4d00001041sv0", true),
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d10sv1sd1bc01sc08i02",
                true,
            ),
            ("virtio:d00000001v*", "virtio:d00000002v00001AF4", false),
            (
                "cpu:type:x86,ven*fam*mod*:feature:*008[0-2]*",
                "cpu:type:x86,ven0fam6mod1:feature:,0081,",
                true,
            ),
            ("usb:v0*p?", "usb:v05p1", true),
            ("a[bc", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let index = Index::parse(
            "kernel/net/virtio-net.ko: kernel/net/failover.ko kernel/core.ko\n\
             kernel/core.ko:\nkernel/net/failover.ko: kernel/core.ko\n",
            "# comment\nalias virtio:d1v* virtio-net\nalias virtio:d1* failover\n",
        );
        assert_eq!(
            index.wanted("virtio:d1v9"),
            [
                "kernel/core.ko",
                "kernel/net/failover.ko",
                "kernel/net/virtio-net.ko"
            ]
        );
        assert!(index.wanted("pci:v1").is_empty());
    }
}
