//! What GRUB would boot: its configuration run as GRUB runs it, as far as
//! finding the default entry and what that loads.

mod conditions;

use std::{collections::BTreeMap, rc::Rc};

use super::{
    BootError, Boots, Loader, Piece, entries, script,
    script::{Command, Part, Word},
    text, version,
    volume::{Role, Volume},
};

/// Where distributions put the configuration, from a file system's root.
const PLACES: &[&str] = &[
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/grub/grub.cfg",
    "/grub2/grub.cfg",
];
/// No configuration takes more commands than this.
const STEPS: u32 = 20_000;
/// Functions and files call one another no deeper than this.
const DEPTH: u32 = 24;

/// What GRUB would boot; `None` where no configuration of it is found.
pub(super) fn boots<V: Volume>(volumes: &[V]) -> Result<Option<Boots>, BootError> {
    let Some((volume, path)) = configuration(volumes)? else {
        return Ok(None);
    };
    let failed = |detail: String| BootError::unknown(path.clone(), detail);
    let mut grub = Grub::new(volumes, volume, &path);
    grub.source(volume, &path, 0).map_err(failed)?;
    let chosen = grub.chosen().map_err(failed)?;
    grub.enter(chosen).map(Some).map_err(failed)
}

/// The configuration that the drive's boot loader reads first: on the ESP, where
/// it often says no more than where the other one is, or that other one.
fn configuration<V: Volume>(volumes: &[V]) -> Result<Option<(usize, String)>, BootError> {
    let mut found = Vec::new();
    for (at, volume) in volumes.iter().enumerate() {
        if volume.role() == Role::System {
            let vendors = volume
                .list("/EFI")
                .map_err(BootError::io("listing /EFI"))?
                .into_iter()
                .map(|vendor| format!("/EFI/{vendor}/grub.cfg"));
            for path in vendors {
                if let Some(stub) = text(volume, &path)? {
                    // An image may carry those of several; one that leads
                    // nowhere is not the one.
                    let mut grub = Grub::new(volumes, at, &path);
                    if script::parse(&stub).is_ok()
                        && grub.source(at, &path, 0).is_ok()
                        && (grub.kernel.is_some() || !grub.menu.is_empty())
                    {
                        return Ok(Some((at, path)));
                    }
                }
            }
        }
        for place in PLACES {
            let size = volume
                .size(place)
                .map_err(BootError::io(format!("looking for {place}")))?;
            if size.is_some() {
                found.push((at, (*place).to_owned()));
            }
        }
    }
    Ok(found.into_iter().next())
}

/// An entry of the menu.
#[derive(Clone, Debug)]
struct Item {
    title: String,
    id: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Entry(Rc<Vec<Command>>),
    Submenu(Rc<Vec<Command>>),
    /// A boot loader entry, as Fedora's GRUB reads them.
    Listed(Box<entries::Entry>),
}

/// GRUB, as far as it matters here.
struct Grub<'a, V> {
    volumes: &'a [V],
    variables: BTreeMap<String, String>,
    functions: BTreeMap<String, Rc<Vec<Command>>>,
    menu: Vec<Item>,
    steps: u32,
    kernel: Option<Piece>,
    initrds: Vec<Piece>,
    cmdline: String,
    /// What else than Linux would be booted.
    other: Option<String>,
}

impl<'a, V: Volume> Grub<'a, V> {
    fn new(volumes: &'a [V], volume: usize, path: &str) -> Self {
        let directory = path.rsplit_once('/').map_or("", |(d, _)| d);
        let root = device(&volumes[volume]);
        let mut variables: BTreeMap<String, String> = [
            "feature_200_final",
            "feature_all_video_module",
            "feature_chainloader_bpb",
            "feature_default_font_path",
            "feature_menuentry_id",
            "feature_menuentry_options",
            "feature_nativedisk_cmd",
            "feature_ntldr",
            "feature_platform_search_hint",
            "feature_timeout_style",
        ]
        .into_iter()
        .map(|feature| (feature.to_owned(), "y".to_owned()))
        .collect();
        for (name, value) in [
            ("grub_platform", "efi".to_owned()),
            ("grub_cpu", std::env::consts::ARCH.to_owned()),
            ("prefix", format!("({root}){directory}")),
            ("config_directory", format!("({root}){directory}")),
            ("config_file", format!("({root}){path}")),
            ("root", root),
        ] {
            variables.insert(name.into(), value);
        }
        Self {
            volumes,
            variables,
            functions: BTreeMap::new(),
            menu: Vec::new(),
            steps: 0,
            kernel: None,
            initrds: Vec::new(),
            cmdline: String::new(),
            other: None,
        }
    }

    fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// Which file system a path is on, and the path there.
    fn place(&self, path: &str) -> Option<(usize, String)> {
        let (named, path) = match path.strip_prefix('(').and_then(|p| p.split_once(')')) {
            Some((named, path)) => (named, path),
            None => (self.get("root"), path),
        };
        let at = self.volumes.iter().position(|v| is_device(v, named))?;
        path.starts_with('/').then(|| (at, path.to_owned()))
    }

    fn piece(&self, path: &str) -> Result<Piece, String> {
        let (volume, inside) = self
            .place(path)
            .ok_or_else(|| format!("{path:?} is on no file system that is known"))?;
        Ok(Piece {
            volume,
            path: inside,
            section: None,
        })
    }

    /// Runs a configuration file.
    fn source(&mut self, volume: usize, path: &str, depth: u32) -> Result<bool, String> {
        let said = text(&self.volumes[volume], path).map_err(|e| e.to_string())?;
        let Some(said) = said else {
            return Ok(false);
        };
        let commands = script::parse(&said)?;
        self.run(&commands, depth + 1)
    }

    /// Runs commands; whether the last went well.
    fn run(&mut self, commands: &[Command], depth: u32) -> Result<bool, String> {
        if depth > DEPTH {
            return Err("its functions call one another without end".into());
        }
        let mut well = true;
        for command in commands {
            self.steps += 1;
            if self.steps > STEPS {
                return Err("it takes more commands than any configuration does".into());
            }
            well = match command {
                Command::Function { name, body } => {
                    self.functions.insert(name.clone(), Rc::new(body.clone()));
                    true
                }
                Command::If {
                    branches,
                    otherwise,
                } => {
                    let mut taken = otherwise;
                    for (condition, body) in branches {
                        if self.run(condition, depth + 1)? {
                            taken = body;
                            break;
                        }
                    }
                    self.run(taken, depth + 1)?
                }
                Command::Simple { words, block } => {
                    let words = self.expand(words);
                    self.simple(&words, block.as_ref(), depth)?
                }
            };
        }
        Ok(well)
    }

    /// Words with their variables filled in; what is not in quotes is split.
    fn expand(&self, words: &[Word]) -> Vec<String> {
        let mut out = Vec::new();
        for word in words {
            let mut now = String::new();
            let mut any = word.quoted;
            for part in &word.parts {
                match part {
                    Part::Text(text) => {
                        now.push_str(text);
                        any = true;
                    }
                    Part::Variable { name, quoted: true } => now.push_str(self.get(name)),
                    Part::Variable { name, .. } => {
                        let value = self.get(name);
                        if value.starts_with(char::is_whitespace) && any {
                            out.push(std::mem::take(&mut now));
                            any = false;
                        }
                        for (n, piece) in value.split_whitespace().enumerate() {
                            if n > 0 {
                                out.push(std::mem::take(&mut now));
                            }
                            now.push_str(piece);
                            any = true;
                        }
                    }
                }
            }
            if any {
                out.push(now);
            }
        }
        out
    }

    fn simple(
        &mut self,
        words: &[String],
        block: Option<&Vec<Command>>,
        depth: u32,
    ) -> Result<bool, String> {
        let Some((name, arguments)) = words.split_first() else {
            return Ok(true);
        };
        if let Some(body) = self.functions.get(name).cloned() {
            for (n, argument) in (1..).zip(arguments) {
                self.set(&format!("{n}"), argument.clone());
            }
            return self.run(&body, depth + 1);
        }
        match (name.as_str(), block) {
            ("menuentry" | "submenu", Some(block)) => {
                self.menu.push(item(name == "submenu", arguments, block));
            }
            ("set", _) => {
                for argument in arguments {
                    self.assign(argument);
                }
            }
            ("unset", _) => {
                for argument in arguments {
                    self.variables.remove(argument);
                }
            }
            ("true" | ":", _) => {}
            ("false", _) => return Ok(false),
            ("[" | "test", _) => return Ok(self.test(name, arguments)),
            ("!", _) => return Ok(!self.simple(arguments, block, depth + 1)?),
            ("load_env", _) => return self.load_env(arguments),
            ("source" | "." | "configfile" | "normal", _) => {
                let Some((volume, path)) = arguments.first().and_then(|p| self.place(p)) else {
                    return Ok(false);
                };
                if name == "configfile" {
                    // A menu of its own.
                    self.menu.clear();
                }
                return self.source(volume, &path, depth);
            }
            ("blscfg", _) => return self.list_entries(),
            ("linux" | "linuxefi" | "linux16", _) => self.linux(arguments)?,
            ("initrd" | "initrdefi" | "initrd16", _) => {
                let found: Result<Vec<Piece>, String> = arguments
                    .iter()
                    .map(|path| self.piece(path.strip_prefix("newc:").unwrap_or(path)))
                    .collect();
                self.initrds = found?;
            }
            ("chainloader" | "multiboot" | "multiboot2" | "xen_hypervisor", _) => {
                self.other = Some(format!("{name} {}", arguments.join(" ")));
            }
            ("search", _) => return Ok(self.search(arguments)),
            (name, _) if name.starts_with("search.") => {
                let mut all = vec![match name {
                    "search.fs_uuid" => "--fs-uuid".to_owned(),
                    "search.fs_label" => "--label".to_owned(),
                    _ => "--file".to_owned(),
                }];
                if let [value, variable, ..] = arguments {
                    all.extend([format!("--set={variable}"), value.clone()]);
                }
                return Ok(self.search(&all));
            }
            // What sets up screens and keyboards, and what loads GRUB's own parts.
            (
                "insmod" | "export" | "terminal_input" | "terminal_output" | "terminal"
                | "loadfont" | "save_env" | "echo" | "serial" | "background_image" | "play"
                | "sleep" | "clear" | "gfxpayload" | "load_video" | "menuentry" | "submenu"
                | "rmmod" | "boot" | "font" | "setparams",
                _,
            ) => {}
            // What changes where the script goes on, and what ends GRUB.
            ("return" | "break" | "continue" | "shift" | "exit" | "halt" | "reboot", _) => {
                return Err(format!("it uses {name:?}, which is not known here"));
            }
            _ if self.assign(name) => {}
            // What GRUB does not know, or what is not in its core here, fails.
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `name=value`; whether it is one.
    fn assign(&mut self, text: &str) -> bool {
        match text.split_once('=') {
            Some((name, value))
                if !name.is_empty()
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') =>
            {
                self.set(name, value);
                true
            }
            _ => false,
        }
    }

    /// Variables that GRUB keeps on the drive.
    fn load_env(&mut self, arguments: &[String]) -> Result<bool, String> {
        let mut file = format!("{}/grubenv", self.get("prefix"));
        let mut wanted: Vec<&String> = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "-f" | "--file" => file = rest.next().cloned().unwrap_or_default(),
                "-s" | "--skip-sig" => {}
                _ => wanted.push(argument),
            }
        }
        let Some((volume, path)) = self.place(&file) else {
            return Ok(false);
        };
        let Some(said) = text(&self.volumes[volume], &path).map_err(|e| e.to_string())? else {
            return Ok(false);
        };
        for line in said.lines().filter(|l| !l.starts_with('#')) {
            if let Some((name, value)) = line.split_once('=')
                && (wanted.is_empty() || wanted.iter().any(|w| *w == name))
            {
                self.set(name, value);
            }
        }
        Ok(true)
    }

    /// Puts what is found by UUID, label or file into a variable.
    fn search(&mut self, arguments: &[String]) -> bool {
        let (mut by, mut variable) = ("", "root".to_owned());
        let mut value = None;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--fs-uuid" | "-u" => by = "uuid",
                "--label" | "--fs-label" | "-l" => by = "label",
                "--file" | "-f" => by = "file",
                "--set" | "-s" | "--no-floppy" | "-n" | "--efidisk-only" => {}
                "--hint" | "-h" => drop(rest.next()),
                other => match other.strip_prefix("--set=") {
                    Some(name) => variable = name.to_owned(),
                    None if other.starts_with("--hint") => {}
                    None => value = Some(other),
                },
            }
        }
        let Some(value) = value else { return false };
        let same = |found: Option<&str>| found.is_some_and(|f| f.eq_ignore_ascii_case(value));
        let found = self.volumes.iter().find(|volume| match by {
            "uuid" => same(volume.uuid()),
            "label" => volume.label() == Some(value),
            _ => matches!(volume.size(value), Ok(Some(_))),
        });
        let Some(found) = found.map(device) else {
            return false;
        };
        self.set(&variable, found);
        true
    }

    fn linux(&mut self, arguments: &[String]) -> Result<(), String> {
        let (path, rest) = arguments.split_first().ok_or("a kernel has no name")?;
        self.kernel = Some(self.piece(path)?);
        // As GRUB itself puts it: what finds its own kernel looks for this.
        self.cmdline = format!("BOOT_IMAGE={path}");
        for argument in rest {
            self.cmdline.push(' ');
            self.cmdline.push_str(&quoted(argument));
        }
        Ok(())
    }

    /// Boot loader entries, as Fedora's GRUB lists them.
    fn list_entries(&mut self) -> Result<bool, String> {
        let named = self.get("blsdir").to_owned();
        let root = self.get("root").to_owned();
        let Some(volume) = self.volumes.iter().position(|v| is_device(v, &root)) else {
            return Ok(false);
        };
        let places = [named.as_str(), "/loader/entries", "/boot/loader/entries"];
        for place in places.into_iter().filter(|p| !p.is_empty()) {
            let found = &self.volumes[volume];
            let mut listed = Vec::new();
            for name in found
                .list(place)
                .map_err(|e| format!("listing {place}: {e}"))?
            {
                if !name.ends_with(".conf") {
                    continue;
                }
                let said = text(found, &format!("{place}/{name}")).map_err(|e| e.to_string())?;
                let entry = entries::parse(&name, &said.unwrap_or_default());
                if entry.linux.is_some() {
                    listed.push(entries::Entry { volume, ..entry });
                }
            }
            listed.sort_by(|a, b| version::compare(&b.id, &a.id));
            if !listed.is_empty() {
                self.menu.extend(listed.into_iter().map(|entry| Item {
                    title: entry.title.clone().unwrap_or_else(|| entry.id.clone()),
                    id: entry.id.strip_suffix(".conf").map(str::to_owned),
                    kind: Kind::Listed(Box::new(entry)),
                }));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The entry that boots by itself. What cannot be found is the first.
    fn chosen(&mut self) -> Result<Item, String> {
        if self.kernel.is_some() && self.menu.is_empty() {
            return Ok(Item {
                title: "without a menu".into(),
                id: None,
                kind: Kind::Entry(Rc::default()),
            });
        }
        let mut wanted = self.get("default").to_owned();
        for _ in 0..DEPTH {
            let (head, rest) = match wanted.split_once('>') {
                // A title may have the sign in it, doubled.
                Some((head, rest)) if !rest.starts_with('>') => (head, rest.to_owned()),
                _ => (wanted.as_str(), String::new()),
            };
            let number = head.parse::<usize>().ok();
            let named = |item: &&Item| item.title == head || item.id.as_deref() == Some(head);
            let item = number
                .and_then(|n| self.menu.get(n))
                .or_else(|| self.menu.iter().find(named))
                .or(self.menu.first())
                .cloned()
                .ok_or("its menu has no entry")?;
            let Kind::Submenu(body) = &item.kind else {
                return Ok(item);
            };
            self.menu.clear();
            self.run(body, 1)?;
            wanted = rest;
        }
        Err("its menus have no end".into())
    }

    /// What an entry loads.
    fn enter(mut self, item: Item) -> Result<Boots, String> {
        self.set("chosen", item.title.clone());
        match &item.kind {
            Kind::Entry(body) => {
                self.run(body, 1)?;
            }
            Kind::Submenu(_) => {}
            Kind::Listed(entry) => {
                self.listed(entry)?;
            }
        }
        match (self.other, self.kernel) {
            (Some(other), _) => Err(format!(
                "the entry {:?} boots something else than Linux: {other}",
                item.title
            )),
            (None, None) => Err(format!("the entry {:?} loads no kernel", item.title)),
            (None, Some(kernel)) => Ok(Boots {
                loader: Loader::Grub,
                entry: item.title,
                kernel,
                initrds: self.initrds,
                cmdline: self.cmdline,
            }),
        }
    }

    /// A boot loader entry, whose options may name GRUB's variables.
    fn listed(&mut self, entry: &entries::Entry) -> Result<(), String> {
        let volume = &self.volumes[entry.volume];
        let root = device(volume);
        // Where the entry's file system holds all of /boot, paths are from there.
        let whole = |path: &String| {
            let below = format!("/boot{path}");
            let there = |p: &str| matches!(volume.size(p), Ok(Some(_)));
            let path = if !there(path) && there(&below) {
                &below
            } else {
                path
            };
            format!("({root}){path}")
        };
        let options = entry.options.clone().unwrap_or_default();
        let mut words = vec![whole(
            entry.linux.as_ref().ok_or("the entry has no kernel")?,
        )];
        // Expanded as words of a command are.
        let filled = options.replace(['"', '\''], "");
        for command in script::parse(&filled).map_err(|e| format!("{}: {e}", entry.id))? {
            if let Command::Simple { words: parts, .. } = command {
                words.extend(self.expand(&parts));
            }
        }
        self.linux(&words)?;
        let initrds: Vec<String> = entry
            .initrds
            .iter()
            .flat_map(|line| {
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            // A variable that Fedora sets where a tuned profile has one.
            .filter(|path| !path.contains('$'))
            .collect();
        let pieces: Result<Vec<Piece>, String> = initrds
            .iter()
            .map(|path| self.piece(&whole(path)))
            .collect();
        self.initrds = pieces?;
        Ok(())
    }
}

/// What GRUB calls a file system of the drive that it boots from.
fn device<V: Volume>(volume: &V) -> String {
    format!("hd0,gpt{}", volume.number())
}

/// Whether a device of this name is this file system: the drive is the first
/// that GRUB sees, however its partitions are counted.
fn is_device<V: Volume>(volume: &V, named: &str) -> bool {
    let Some((_, partition)) = named.split_once(',') else {
        return false;
    };
    let digits = partition.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    digits.parse() == Ok(volume.number())
}

fn item(submenu: bool, arguments: &[String], block: &[Command]) -> Item {
    let mut id = None;
    let mut title = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--id" => id = rest.next().cloned(),
            "--class" | "--users" | "--hotkey" | "--source" => drop(rest.next()),
            other => match other.strip_prefix("--id=") {
                Some(value) => id = Some(value.to_owned()),
                None if other.starts_with("--") => {}
                None => {
                    title.get_or_insert_with(|| other.to_owned());
                }
            },
        }
    }
    let block = Rc::new(block.to_vec());
    Item {
        title: title.unwrap_or_default(),
        id,
        kind: if submenu {
            Kind::Submenu(block)
        } else {
            Kind::Entry(block)
        },
    }
}

/// An argument as it stands on the kernel's command line.
fn quoted(argument: &str) -> String {
    let escaped: String = argument
        .chars()
        .flat_map(|c| {
            let escape = matches!(c, '\\' | '\'' | '"');
            escape.then_some('\\').into_iter().chain([c])
        })
        .collect();
    if argument.contains(' ') {
        format!("\"{escaped}\"")
    } else {
        escaped
    }
}
