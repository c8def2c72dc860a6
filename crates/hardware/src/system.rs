//! The server as a product, and its firmware, as SMBIOS names them.

use billet_model::inventory::{Firmware, System};

use crate::Tree;

/// Texts that vendors leave where a value should be.
const PLACEHOLDERS: &[&str] = &[
    "to be filled by o.e.m.",
    "default string",
    "not specified",
    "none",
    "not available",
    "system serial number",
    "0123456789",
    "unknown",
    "n/a",
];

/// Reads a field of SMBIOS, placeholders left out.
fn field(tree: &Tree, name: &str) -> Option<String> {
    real_text(tree.text(&format!("sys/class/dmi/id/{name}"))?)
}

/// `None` for a text that only fills the place.
pub(crate) fn real_text(text: String) -> Option<String> {
    let lower = text.to_lowercase();
    let empty = text.chars().all(|c| c == '0' || c == ' ' || c == '.');
    (!empty && !PLACEHOLDERS.contains(&lower.as_str())).then_some(text)
}

pub(crate) fn system(tree: &Tree) -> System {
    System {
        manufacturer: field(tree, "sys_vendor"),
        model: field(tree, "product_name"),
        serial: field(tree, "product_serial"),
        uuid: field(tree, "product_uuid").map(|u| u.to_lowercase()),
        sku: field(tree, "product_sku"),
        asset_tag: field(tree, "chassis_asset_tag"),
    }
}

pub(crate) fn firmware(tree: &Tree) -> Vec<Firmware> {
    field(tree, "bios_version")
        .map(|version| Firmware {
            component: "BIOS".into(),
            version: match field(tree, "bios_date") {
                Some(date) => format!("{version} ({date})"),
                None => version,
            },
        })
        .into_iter()
        .collect()
}
