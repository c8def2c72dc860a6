//! Chooses the kernel modules that the ramdisk carries, with all that they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::kernel::KernelPackage;
use super::modinfo::{self, ModuleError, ModuleInfo};

/// Loaded at every boot, because no device asks for them.
const ALWAYS: &[&str] = &[
    // FAT as Debian's and Ubuntu's kernels mount it, and the seed partition's encodings.
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
    "vfat",
    "ext4",
    "isofs",
    "efivarfs",
    "sd_mod",
    "sr_mod",
    "sg",
];

/// Loaded when a device asks; the ramdisk is of no use without them.
const REQUIRED: &[&str] = &[
    "nvme",
    "ahci",
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "xhci_pci",
    "usb_storage",
    "e1000e",
    "igb",
    "ixgbe",
    "i40e",
    "ice",
    "bnxt_en",
    "mlx5_core",
    "tg3",
    "r8169",
];

/// Loaded when a device asks, and left out where the kernel has none.
const WELCOME: &[&str] = &[
    "vmd",
    "virtio_scsi",
    "virtio_rng",
    "ata_piix",
    "mpt3sas",
    "megaraid_sas",
    "smartpqi",
    "ehci_pci",
    "uas",
    "e1000",
    "igc",
    "msr",
    "i6300esb",
    "iTCO_wdt",
    // Networks that a BMC offers its own machine over USB: seen, so that they can be turned off.
    "cdc_ether",
    "rndis_host",
];

/// The modules of one ramdisk.
#[derive(Debug)]
pub struct Selection {
    /// The modules, by name.
    pub modules: BTreeMap<String, Module>,
    /// Names to load at every boot, in dependency order.
    pub order: Vec<String>,
}

/// One module of a ramdisk.
#[derive(Debug)]
pub struct Module {
    /// Its path below `lib/modules/RELEASE`, without a compression suffix.
    pub path: String,
    /// The module itself.
    pub bytes: Vec<u8>,
    /// What must be loaded before it, in that order.
    pub closure: Vec<String>,
    /// Modalias globs that it answers to.
    pub aliases: Vec<String>,
}

impl Selection {
    /// `modules.dep` in depmod's format.
    pub fn dep(&self) -> String {
        let mut text = String::new();
        for module in self.modules.values() {
            let _ = write!(text, "{}:", module.path);
            for name in module.closure.iter().rev() {
                let _ = write!(text, " {}", self.modules[name].path);
            }
            text.push('\n');
        }
        text
    }

    /// `modules.alias` in depmod's format.
    pub fn alias(&self) -> String {
        let mut text = String::new();
        for (name, module) in &self.modules {
            for pattern in &module.aliases {
                let _ = writeln!(text, "alias {pattern} {name}");
            }
        }
        text
    }

    /// `/modules/order`: a name and an absolute path a line.
    pub fn order(&self, release: &str) -> String {
        let mut text = String::new();
        for name in &self.order {
            let path = &self.modules[name].path;
            let _ = writeln!(text, "{name} /lib/modules/{release}/{path}");
        }
        text
    }
}

/// Chooses the modules out of an unpacked kernel.
pub fn select(kernel: &KernelPackage) -> Result<Selection, ModuleError> {
    let files = find(&kernel.modules)?;
    let built_in = built_in(&kernel.modules);
    let mut index = Index {
        files,
        built_in,
        read: BTreeMap::new(),
        by_alias: None,
    };
    let mut wanted = BTreeSet::new();
    for name in ALWAYS.iter().chain(REQUIRED) {
        if index.files.contains_key(*name) {
            wanted.insert((*name).to_owned());
        } else if !index.built_in.contains(*name) {
            return Err(ModuleError::Missing((*name).to_owned()));
        }
    }
    for name in WELCOME {
        if index.files.contains_key(*name) {
            wanted.insert((*name).to_owned());
        }
    }
    let mut load_order = Vec::new();
    for name in &wanted {
        index.visit(name, &mut load_order, &mut Vec::new())?;
    }

    let mut modules = BTreeMap::new();
    for name in &load_order {
        let mut closure = Vec::new();
        index.visit(name, &mut closure, &mut Vec::new())?;
        closure.pop();
        let file = &index.files[name];
        let (info, bytes) = index.read.remove(name).map_or_else(|| read(file), Ok)?;
        modules.insert(
            name.clone(),
            Module {
                path: plain_path(&kernel.modules, file),
                bytes,
                closure,
                aliases: info.aliases.clone(),
            },
        );
        index.read.insert(name.clone(), (info, Vec::new()));
    }
    let mut order = Vec::new();
    for name in ALWAYS {
        if index.files.contains_key(*name) {
            index.visit(name, &mut order, &mut Vec::new())?;
        }
    }
    Ok(Selection { modules, order })
}

/// All modules of a kernel, and what was read of them so far.
struct Index {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    read: BTreeMap<String, (ModuleInfo, Vec<u8>)>,
    by_alias: Option<BTreeMap<String, Vec<String>>>,
}

impl Index {
    /// Appends `name` to `order`, after all that it depends on.
    fn visit(
        &mut self,
        name: &str,
        order: &mut Vec<String>,
        above: &mut Vec<String>,
    ) -> Result<(), ModuleError> {
        // A soft dependency may lead back to where it came from; a hard one cannot.
        if order.iter().any(|one| one == name) || above.iter().any(|one| one == name) {
            return Ok(());
        }
        above.push(name.to_owned());
        let info = self.info(name)?;
        for dependency in info.depends {
            if self.files.contains_key(&dependency) {
                self.visit(&dependency, order, above)?;
            } else if !self.built_in.contains(&dependency) {
                return Err(ModuleError::Missing(dependency));
            }
        }
        for soft in info.soft_depends {
            for dependency in self.answering_to(&soft)? {
                self.visit(&dependency, order, above)?;
            }
        }
        above.pop();
        order.push(name.to_owned());
        Ok(())
    }

    fn info(&mut self, name: &str) -> Result<ModuleInfo, ModuleError> {
        if let Some((info, _)) = self.read.get(name) {
            return Ok(info.clone());
        }
        let path = self
            .files
            .get(name)
            .ok_or_else(|| ModuleError::Missing(name.to_owned()))?;
        let (info, bytes) = read(path)?;
        self.read.insert(name.to_owned(), (info.clone(), bytes));
        Ok(info)
    }

    /// The modules that a soft dependency means: one by that name, or all that
    /// have it as an alias (`crc32c`).
    fn answering_to(&mut self, soft: &str) -> Result<Vec<String>, ModuleError> {
        if self.files.contains_key(soft) {
            return Ok(vec![soft.to_owned()]);
        }
        if self.by_alias.is_none() {
            self.by_alias = Some(self.plain_aliases()?);
        }
        Ok(self
            .by_alias
            .as_ref()
            .and_then(|aliases| aliases.get(soft))
            .cloned()
            .unwrap_or_default())
    }

    /// Aliases that are words and not globs. They belong to algorithms, which
    /// live in few directories: reading all four thousand modules takes long.
    fn plain_aliases(&self) -> Result<BTreeMap<String, Vec<String>>, ModuleError> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, path) in &self.files {
            let algorithm = path
                .components()
                .any(|part| part.as_os_str() == "crypto" || part.as_os_str() == "lib");
            if algorithm {
                let (info, _) = read(path)?;
                for alias in info.aliases {
                    let alias = alias.replace('-', "_");
                    let names = found.entry(alias).or_default();
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
        }
        Ok(found)
    }
}

fn read(path: &Path) -> Result<(ModuleInfo, Vec<u8>), ModuleError> {
    let bytes = modinfo::read_module(path)?;
    Ok((modinfo::parse(path, &bytes)?, bytes))
}

/// Every module file by name.
fn find(root: &Path) -> Result<BTreeMap<String, PathBuf>, ModuleError> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.join("kernel")];
    while let Some(directory) = directories.pop() {
        let error = |source| ModuleError::Read {
            path: directory.clone(),
            source,
        };
        for entry in fs::read_dir(&directory).map_err(error)? {
            let entry = entry.map_err(error)?;
            let path = entry.path();
            if entry.file_type().map_err(error)?.is_dir() {
                directories.push(path);
            } else if let Some(name) = modinfo::module_name(&path) {
                found.insert(name, path);
            }
        }
    }
    Ok(found)
}

fn built_in(root: &Path) -> BTreeSet<String> {
    fs::read_to_string(root.join("modules.builtin"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| modinfo::module_name(Path::new(line)))
        .collect()
}

/// The path below the modules' root, as it will be in the ramdisk.
fn plain_path(root: &Path, file: &Path) -> String {
    let path = file
        .strip_prefix(root)
        .unwrap_or(file)
        .to_string_lossy()
        .into_owned();
    match path.find(".ko") {
        Some(at) => path[..at + 3].to_owned(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Words<'a> = &'a [&'a str];

    /// From name, hard and soft dependencies, and the aliases it answers to.
    fn index(modules: &[(&str, Words<'_>, Words<'_>, Words<'_>)]) -> Index {
        let mut index = Index {
            files: BTreeMap::new(),
            built_in: BTreeSet::from(["nls_base".to_owned()]),
            read: BTreeMap::new(),
            by_alias: Some(BTreeMap::new()),
        };
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        for (name, depends, soft, answers) in modules {
            index
                .files
                .insert((*name).to_owned(), PathBuf::from(format!("{name}.ko")));
            let info = ModuleInfo {
                depends: owned(depends),
                aliases: vec![],
                soft_depends: owned(soft),
            };
            index.read.insert((*name).to_owned(), (info, vec![]));
            for alias in *answers {
                let by_alias = index.by_alias.as_mut().unwrap();
                by_alias
                    .entry((*alias).to_owned())
                    .or_default()
                    .push((*name).to_owned());
            }
        }
        index
    }

    fn order(index: &mut Index, name: &str) -> Vec<String> {
        let mut order = Vec::new();
        index.visit(name, &mut order, &mut Vec::new()).unwrap();
        order
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let mut index = index(&[
            ("ext4", &["jbd2", "mbcache"], &["crc32c"], &[]),
            ("jbd2", &["crc16"], &[], &[]),
            ("mbcache", &["crc16", "nls_base"], &[], &[]),
            ("crc16", &[], &[], &[]),
            ("crc32c_generic", &[], &[], &["crc32c"]),
            ("crc32c_intel", &[], &[], &["crc32c"]),
        ]);
        assert_eq!(
            order(&mut index, "ext4"),
            [
                "crc16",
                "jbd2",
                "mbcache",
                "crc32c_generic",
                "crc32c_intel",
                "ext4"
            ]
        );
    }

    #[test]
    fn a_soft_dependency_may_lead_in_a_circle() {
        let mut index = index(&[("a", &[], &["b"], &[]), ("b", &[], &["a"], &[])]);
        assert_eq!(order(&mut index, "a"), ["b", "a"]);
    }

    #[test]
    fn a_dependency_that_is_nowhere_is_an_error() {
        let mut index = index(&[("a", &["gone"], &[], &[])]);
        let error = index
            .visit("a", &mut Vec::new(), &mut Vec::new())
            .unwrap_err();
        assert!(matches!(error, ModuleError::Missing(name) if name == "gone"));
    }

    #[test]
    fn tables_are_in_depmods_format() {
        let module = |path: &str, closure: &[&str], aliases: &[&str]| Module {
            path: path.to_owned(),
            bytes: vec![],
            closure: closure.iter().map(|name| (*name).to_owned()).collect(),
            aliases: aliases.iter().map(|name| (*name).to_owned()).collect(),
        };
        let selection = Selection {
            modules: BTreeMap::from([
                ("a".to_owned(), module("kernel/a.ko", &[], &[])),
                ("b".to_owned(), module("kernel/b.ko", &["a"], &["pci:v1*"])),
                ("c".to_owned(), module("kernel/c.ko", &["a", "b"], &[])),
            ]),
            order: vec!["a".to_owned()],
        };
        assert_eq!(
            selection.dep(),
            "kernel/a.ko:\nkernel/b.ko: kernel/a.ko\nkernel/c.ko: kernel/b.ko kernel/a.ko\n"
        );
        assert_eq!(selection.alias(), "alias pci:v1* b\n");
        assert_eq!(selection.order("6.1"), "a /lib/modules/6.1/kernel/a.ko\n");
    }
}
