//! Reads the machine it runs on into an inventory: sysfs, procfs, SMBIOS and
//! the drives' own words. It changes nothing.
//!
//! Whatever is missing becomes `None` or a note: [`inventory`] never fails.
//! The root directory is a parameter, so that tests read recorded trees.

mod cpu;
mod drive;
mod gpu;
mod memory;
mod net;
mod numa;
pub mod nvme;
mod pci;
mod scsi;
mod smbios;
mod sys;
mod system;
mod tree;

use billet_model::inventory::{Inventory, Source, Tpm};

pub use nvme::{NvmeIoctl, NvmeProbe};
pub use tree::Tree;

/// The inventory of the machine whose root directory is `tree`.
///
/// `nvme` asks the drives' controllers; on the machine itself it is [`NvmeIoctl`].
pub fn inventory(tree: &Tree, nvme: &dyn NvmeProbe) -> Inventory {
    let mut notes = Vec::new();
    let tables = smbios::Tables::read(tree);
    if tables.is_empty() {
        notes.push("no SMBIOS tables: memory modules are not listed".into());
    }
    let system = system::system(tree);
    if system.serial.is_none() {
        notes.push("SMBIOS gives no serial number for the system".into());
    }
    let pci = pci::devices(tree);
    let mut inventory = Inventory {
        source: Source::Agent,
        firmware: system::firmware(tree),
        cpus: cpu::packages(tree, &tables),
        numa: numa::nodes(tree),
        memory: memory::memory(tree, &tables),
        drives: drive::drives(tree, nvme, &mut notes),
        nics: net::nics(tree, &pci),
        tpm: tpm(tree),
        hypervisor: cpu::hypervisor(tree),
        system,
        pci,
        ..Inventory::default()
    };
    inventory.gpus = gpu::gpus(&inventory.pci, inventory.emulation());
    if inventory.tpm.is_none() {
        notes.push("no TPM".into());
    }
    if inventory.nics.is_empty() {
        notes.push("no network interface".into());
    }
    inventory.notes = notes;
    inventory
}

/// The machine's drives alone: quicker than the whole inventory.
pub fn drives(tree: &Tree, nvme: &dyn NvmeProbe) -> Vec<billet_model::inventory::Drive> {
    drive::drives(tree, nvme, &mut Vec::new())
}

/// The serial number that SMBIOS gives the machine.
pub fn system_serial(tree: &Tree) -> Option<String> {
    system::system(tree).serial
}

fn tpm(tree: &Tree) -> Option<Tpm> {
    let first = tree.list("sys/class/tpm").into_iter().next()?;
    let major = tree.text(&format!("sys/class/tpm/{first}/tpm_version_major"));
    Some(Tpm {
        version: match major.as_deref() {
            Some("2") => "2.0".into(),
            Some("1") => "1.2".into(),
            other => other.unwrap_or("unknown").into(),
        },
        ..Tpm::default()
    })
}
