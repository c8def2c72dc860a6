//! Network interfaces that belong to a piece of hardware.

use billet_model::inventory::{Nic, PciDevice};

use crate::{Tree, pci};

pub(crate) fn nics(tree: &Tree, devices: &[PciDevice]) -> Vec<Nic> {
    tree.list("sys/class/net")
        .into_iter()
        .filter(|name| tree.exists(&format!("sys/class/net/{name}/device")))
        .map(|name| nic(tree, name, devices))
        .collect()
}

fn nic(tree: &Tree, name: String, devices: &[PciDevice]) -> Nic {
    let at = format!("sys/class/net/{name}");
    let pci = tree
        .real(&format!("{at}/device"))
        .and_then(|real| pci::address_in(&real));
    let model = pci.as_ref().and_then(|address| {
        let device = devices.iter().find(|d| &d.address == address)?;
        Some(match &device.name {
            Some(label) => label.clone(),
            None => format!("{}:{}", device.vendor, device.device),
        })
    });
    Nic {
        mac: tree
            .text(&format!("{at}/address"))
            .map(|m| m.to_lowercase()),
        // Reading it fails on an interface that is down: then it is not known.
        link: tree.value::<u8>(&format!("{at}/carrier")).map(|c| c == 1),
        // -1 says that the driver does not know.
        speed_mbps: tree.value(&format!("{at}/speed")),
        driver: tree.link_name(&format!("{at}/device/driver")),
        pci,
        model,
        name,
    }
}
