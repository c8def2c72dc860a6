//! Quieting the machine's devices before another kernel finds them: drivers are
//! unbound, functions are reset where they can be, and none may reach memory by
//! itself any more.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use billet_hardware::Tree;

const DEVICES: &str = "sys/bus/pci/devices";
/// The command register in a function's configuration space, and its bit for
/// reaching memory (PCI Local Bus Specification 3.0, 6.2.2).
const COMMAND: u64 = 4;
const BUS_MASTER: u16 = 1 << 2;

/// A PCI function that works for the running kernel, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its address.
    pub address: String,
    /// Its class, six hexadecimal digits.
    pub class: String,
    /// The driver bound to it.
    pub driver: Option<String>,
    /// Whether the kernel knows how to reset it.
    pub resets: bool,
    /// Whether firmware put the screen there: a reset would leave it dark until
    /// a driver comes, and nobody could read what happens.
    pub screen: bool,
}

impl Function {
    /// What it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self.class.get(..4) {
            Some(c) if c.starts_with("01") => "drives",
            Some(c) if c.starts_with("02") => "network",
            Some(c) if c.starts_with("03") || c.starts_with("12") => "GPUs and accelerators",
            Some("0c03") => "USB",
            _ => "others",
        }
    }

    fn path(&self, tree: &Tree) -> PathBuf {
        tree.path(DEVICES).join(&self.address)
    }
}

/// The functions to be quieted. Bridges and what belongs to the board are left:
/// the other kernel needs them, and they reach memory for nobody but what is
/// behind them.
pub fn functions(tree: &Tree) -> Vec<Function> {
    let mut found = Vec::new();
    for address in tree.list(DEVICES) {
        let at = format!("{DEVICES}/{address}");
        let class = tree.text(&format!("{at}/class")).unwrap_or_default();
        let class = class.trim_start_matches("0x").to_lowercase();
        if !works(&class) {
            continue;
        }
        found.push(Function {
            driver: tree.link_name(&format!("{at}/driver")),
            resets: tree.exists(&format!("{at}/reset")),
            screen: tree.text(&format!("{at}/boot_vga")).as_deref() == Some("1"),
            address,
            class,
        });
    }
    found
}

/// Whether functions of a class do work of their own: not bridges, memory
/// controllers, serial ports, the board's own parts, or what has no class.
fn works(class: &str) -> bool {
    let (Some(base), Some(whole)) = (class.get(..2), class.get(..4)) else {
        return false;
    };
    match base {
        "01" | "02" | "03" | "04" | "09" | "0d" | "0e" | "0f" | "10" | "12" => true,
        // Of serial buses all but the one that the board's sensors are on.
        "0c" => whole != "0c05",
        // Coprocessors, not processors.
        "0b" => whole == "0b40",
        _ => false,
    }
}

/// In sentences, what will be done to these.
pub fn announced(functions: &[Function]) -> Vec<String> {
    let mut said = Vec::new();
    for kind in [
        "network",
        "drives",
        "USB",
        "GPUs and accelerators",
        "others",
    ] {
        let of_kind: Vec<&Function> = functions.iter().filter(|f| f.kind() == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let bound = of_kind.iter().filter(|f| f.driver.is_some()).count();
        let reset = of_kind.iter().filter(|f| f.resets && !f.screen).count();
        said.push(format!(
            "{kind} (PCI functions): {bound} unbound from drivers, {reset} reset, {} kept from memory",
            of_kind.len()
        ));
    }
    said
}

/// Quiets all of them at once. Returns what could not be done, in sentences.
///
/// # Errors
/// The addresses of those that did not come back within `patience`.
pub fn quiet(
    tree: &Tree,
    functions: Vec<Function>,
    patience: Duration,
) -> Result<Vec<String>, Vec<String>> {
    let until = Instant::now() + patience;
    let mut waiting: Vec<String> = functions.iter().map(|f| f.address.clone()).collect();
    let (sender, receiver) = mpsc::channel();
    for function in functions {
        let (tree, sender) = (tree.clone(), sender.clone());
        thread::spawn(move || {
            let failed = one(&tree, &function);
            // Nobody listens any more where time was up.
            let _ = sender.send((function.address, failed));
        });
    }
    drop(sender);
    let mut said = Vec::new();
    while !waiting.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok((address, failed)) => {
                waiting.retain(|w| *w != address);
                said.extend(failed);
            }
            Err(_) => return Err(waiting),
        }
    }
    Ok(said)
}

/// Quiets one; what could not be done.
fn one(tree: &Tree, function: &Function) -> Vec<String> {
    let at = function.path(tree);
    let mut failed = Vec::new();
    let mut tried = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            failed.push(format!(
                "{} ({}): {what}: {error}",
                function.address, function.class
            ));
        }
    };
    if function.driver.is_some() {
        let unbound = fs::write(at.join("driver/unbind"), &function.address);
        tried("unbinding its driver", unbound);
    }
    if function.resets && !function.screen {
        tried("resetting it", fs::write(at.join("reset"), "1"));
    }
    tried("keeping it from memory", keep_from_memory(&at));
    failed
}

/// Takes a function's right to reach memory by itself, and looks whether it is gone.
fn keep_from_memory(at: &Path) -> io::Result<()> {
    let config = OpenOptions::new()
        .read(true)
        .write(true)
        .open(at.join("config"))?;
    let read = || -> io::Result<u16> {
        let mut bytes = [0; 2];
        config.read_exact_at(&mut bytes, COMMAND)?;
        Ok(u16::from_le_bytes(bytes))
    };
    let command = read()?;
    // All ones: it is switched off, or gone.
    if command == u16::MAX || command & BUS_MASTER == 0 {
        return Ok(());
    }
    config.write_all_at(&(command & !BUS_MASTER).to_le_bytes(), COMMAND)?;
    if read()? & BUS_MASTER != 0 {
        return Err(io::Error::other("it still can"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine's PCI bus in files.
    fn bus(functions: &[(&str, &str, Option<&str>)]) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().expect("a directory");
        for (address, class, driver) in functions {
            let at = dir.path().join(DEVICES).join(address);
            fs::create_dir_all(&at).expect("made");
            fs::write(at.join("class"), format!("0x{class}\n")).expect("written");
            let mut config = [0; 64];
            config[4] = 0x07;
            fs::write(at.join("config"), config).expect("written");
            if let Some(driver) = driver {
                let home = dir.path().join("sys/bus/pci/drivers").join(driver);
                fs::create_dir_all(&home).expect("made");
                fs::write(home.join("unbind"), "").expect("written");
                symlink(&home, at.join("driver")).expect("linked");
                fs::write(at.join("reset"), "").expect("written");
            }
        }
        let tree = Tree::new(dir.path());
        (dir, tree)
    }

    fn said(tree: &Tree, path: &str) -> Vec<u8> {
        fs::read(tree.path(path)).expect("a file")
    }

    #[test]
    fn what_works_is_unbound_reset_and_kept_from_memory() {
        let (_dir, tree) = bus(&[
            ("0000:00:00.0", "060000", None),
            ("0000:00:01.0", "060400", Some("pcieport")),
            ("0000:00:1f.3", "0c0500", Some("i801_smbus")),
            ("0000:00:14.0", "0c0330", Some("xhci_hcd")),
            ("0000:01:00.0", "010802", Some("nvme")),
            ("0000:02:00.0", "020000", Some("mlx5_core")),
            ("0000:03:00.0", "030000", Some("ast")),
            ("0000:81:00.0", "030200", None),
        ]);
        let vga = tree.path(DEVICES).join("0000:03:00.0/boot_vga");
        fs::write(vga, "1\n").expect("written");
        let found = functions(&tree);
        let addresses: Vec<&str> = found.iter().map(|f| f.address.as_str()).collect();
        assert_eq!(
            addresses,
            [
                "0000:00:14.0",
                "0000:01:00.0",
                "0000:02:00.0",
                "0000:03:00.0",
                "0000:81:00.0"
            ]
        );
        assert_eq!(
            announced(&found),
            [
                "network (PCI functions): 1 unbound from drivers, 1 reset, 1 kept from memory",
                "drives (PCI functions): 1 unbound from drivers, 1 reset, 1 kept from memory",
                "USB (PCI functions): 1 unbound from drivers, 1 reset, 1 kept from memory",
                "GPUs and accelerators (PCI functions): 1 unbound from drivers, 0 reset, 2 kept from memory",
            ]
        );
        assert_eq!(quiet(&tree, found, Duration::from_secs(10)), Ok(vec![]));
        for (address, masters) in [
            ("0000:00:01.0", true),
            ("0000:00:1f.3", true),
            ("0000:00:14.0", false),
            ("0000:02:00.0", false),
            ("0000:03:00.0", false),
            ("0000:81:00.0", false),
        ] {
            let config = said(&tree, &format!("{DEVICES}/{address}/config"));
            assert_eq!(config[4] & 4 != 0, masters, "{address}");
            assert_eq!(config[4] & 3, 3, "{address}");
        }
        assert_eq!(
            said(&tree, "sys/bus/pci/drivers/nvme/unbind"),
            b"0000:01:00.0"
        );
        assert_eq!(said(&tree, &format!("{DEVICES}/0000:01:00.0/reset")), b"1");
        assert_eq!(said(&tree, &format!("{DEVICES}/0000:03:00.0/reset")), b"");
    }

    #[test]
    fn what_cannot_be_done_is_said_and_what_hangs_is_named() {
        let (dir, tree) = bus(&[("0000:01:00.0", "010802", Some("nvme"))]);
        let config = dir.path().join(DEVICES).join("0000:01:00.0/config");
        fs::remove_file(&config).expect("removed");
        let found = functions(&tree);
        let failed = quiet(&tree, found.clone(), Duration::from_secs(10)).expect("it came back");
        assert_eq!(failed.len(), 1);
        assert!(failed[0].contains("keeping it from memory"), "{failed:?}");

        // A driver that never lets go.
        rustix::fs::mkfifoat(rustix::fs::CWD, &config, rustix::fs::Mode::RUSR)
            .expect("a pipe that nobody writes to");
        let unbind = dir.path().join("sys/bus/pci/drivers/nvme/unbind");
        fs::remove_file(&unbind).expect("removed");
        rustix::fs::mkfifoat(rustix::fs::CWD, &unbind, rustix::fs::Mode::WUSR)
            .expect("a pipe that nobody reads");
        let hung = quiet(&tree, found, Duration::from_millis(200));
        assert_eq!(hung, Err(vec!["0000:01:00.0".to_owned()]));
    }
}
