//! PCI functions, the tree they form, and what their links run at.

use billet_model::inventory::{PciDevice, PciLink};

use crate::Tree;

pub(crate) fn devices(tree: &Tree) -> Vec<PciDevice> {
    let mut addresses = tree.list("sys/bus/pci/devices");
    // Hexadecimal, of fixed width: their order is that of their text.
    addresses.sort();
    addresses
        .into_iter()
        .map(|address| device(tree, address))
        .collect()
}

fn device(tree: &Tree, address: String) -> PciDevice {
    let at = format!("sys/bus/pci/devices/{address}");
    let hex = |name: &str| {
        let text = tree.text(&format!("{at}/{name}")).unwrap_or_default();
        text.trim_start_matches("0x").to_lowercase()
    };
    PciDevice {
        vendor: hex("vendor"),
        device: hex("device"),
        class: hex("class"),
        name: tree.text(&format!("{at}/label")),
        parent: tree.real(&at).and_then(|real| parent(&real)),
        // -1 says that the firmware did not tell.
        numa: tree.value(&format!("{at}/numa_node")),
        driver: tree.link_name(&format!("{at}/driver")),
        link: link(tree, &at),
        address,
    }
}

/// The bridge above, from the real path of a device.
fn parent(real: &str) -> Option<String> {
    let above = real.rsplit('/').nth(1)?;
    is_address(above).then(|| above.to_owned())
}

/// The innermost PCI address in a path of sysfs.
pub(crate) fn address_in(real: &str) -> Option<String> {
    real.rsplit('/')
        .find(|part| is_address(part))
        .map(str::to_owned)
}

/// Whether a name looks like `0000:81:00.0`.
fn is_address(name: &str) -> bool {
    let parts: Vec<&str> = name.split([':', '.']).collect();
    parts.len() == 4
        && name.matches(':').count() == 2
        && parts
            .iter()
            .all(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_hexdigit()))
}

fn link(tree: &Tree, at: &str) -> Option<PciLink> {
    // 0 and 255 stand for a link that is down, or for none at all.
    let width = |name: &str| {
        tree.value::<u32>(&format!("{at}/{name}"))
            .filter(|w| *w > 0 && *w < 255)
    };
    let speed = |name: &str| speed(&tree.text(&format!("{at}/{name}"))?);
    let link = PciLink {
        width: width("current_link_width"),
        max_width: width("max_link_width"),
        speed: speed("current_link_speed"),
        max_speed: speed("max_link_speed"),
    };
    (link != PciLink::default()).then_some(link)
}

/// `16.0 GT/s PCIe` in units of 0.1 GT/s.
fn speed(text: &str) -> Option<u32> {
    let number = text.split_whitespace().next()?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let tenth: u32 = tenth.get(..1)?.parse().ok()?;
    Some(whole.parse::<u32>().ok()? * 10 + tenth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_tenths_of_gigatransfers() {
        assert_eq!(speed("16.0 GT/s PCIe"), Some(160));
        assert_eq!(speed("2.5 GT/s PCIe"), Some(25));
        assert_eq!(speed("8 GT/s"), Some(80));
        assert_eq!(speed("Unknown"), None);
    }

    #[test]
    fn a_tree_is_read_with_its_parents() {
        let dir = tempfile::tempdir().expect("a directory");
        let real = dir
            .path()
            .join("sys/devices/pci0000:00/0000:00:1c.0/0000:81:00.0");
        std::fs::create_dir_all(&real).expect("a device");
        for (name, value) in [
            ("vendor", "0x10de\n"),
            ("device", "0x2330\n"),
            ("class", "0x030200\n"),
            ("numa_node", "-1\n"),
            ("current_link_width", "8\n"),
            ("max_link_width", "16\n"),
            ("current_link_speed", "16.0 GT/s PCIe\n"),
            ("max_link_speed", "Unknown\n"),
        ] {
            std::fs::write(real.join(name), value).expect("an attribute");
        }
        let bus = dir.path().join("sys/bus/pci/devices");
        std::fs::create_dir_all(&bus).expect("the bus");
        std::os::unix::fs::symlink(&real, bus.join("0000:81:00.0")).expect("a link");
        let found = devices(&Tree::new(dir.path()));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].parent.as_deref(), Some("0000:00:1c.0"));
        assert_eq!((found[0].vendor.as_str(), found[0].numa), ("10de", None));
        let link = found[0].link.clone().expect("a link");
        assert_eq!((link.width, link.max_width), (Some(8), Some(16)));
        assert_eq!((link.speed, link.max_speed), (Some(160), None));
    }
}
