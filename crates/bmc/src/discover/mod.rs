//! What a machine is and has, as its BMC tells it. Only reads.
//!
//! Nothing but the system itself must be there: whatever else is missing or
//! malformed becomes a note and costs nothing around it.

mod chassis;
mod firmware;
mod network;
mod pcie;
mod processors;
mod sensors;
mod storage;
mod walk;

use std::time::Instant;

use billet_model::inventory::{Inventory, System, Tpm};
use billet_model::lifecycle::Power;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::BmcError;
use crate::media::{inserted, is_cd};
use crate::power::power_of;
use crate::service::Service;
use crate::value::{Resource, absent, list, text, texts};
use walk::Walk;

pub(crate) use firmware::firmware;

/// What a discovery found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// SHA-256 of the certificate shown, lower-case hex.
    pub fingerprint: String,
    /// The BMC itself.
    pub service: ServiceFacts,
    /// The power, as read.
    pub power: Power,
    /// What can be booted.
    pub boot: BootChoices,
    /// Virtual media slots.
    pub virtual_media: Vec<MediaSlot>,
    /// The machine's parts, and notes on what could not be read; in JSON they
    /// stand beside the rest: `drives`, `gpus` and so on.
    #[serde(flatten)]
    pub inventory: Inventory,
}

/// What the BMC says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceFacts {
    /// Vendor, where it names one.
    pub vendor: Option<String>,
    /// Product, where it names one.
    pub product: Option<String>,
    /// Version of Redfish it claims.
    pub redfish: Option<String>,
    /// Managers: model and firmware.
    pub managers: Vec<String>,
    /// Path of the system that is the machine.
    pub system: String,
    /// What `Reset` offers; empty where it does not say.
    pub reset_types: Vec<String>,
}

/// What can be booted, and what is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootChoices {
    /// `Disabled`, `Once`, `Continuous`.
    pub override_enabled: Option<String>,
    /// What the override boots.
    pub override_target: Option<String>,
    /// `UEFI` or `Legacy`.
    pub mode: Option<String>,
    /// What an override may name.
    pub targets: Vec<String>,
    /// The boot order, by reference.
    pub order: Vec<String>,
    /// The options that references name.
    pub options: Vec<BootOption>,
}

/// One boot option of the firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootOption {
    /// `Boot0003`.
    pub reference: String,
    /// Its name for people.
    pub name: Option<String>,
    /// Its UEFI device path.
    pub device: Option<String>,
}

/// One virtual media slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MediaSlot {
    /// Where it is.
    pub path: String,
    /// What it can be, as the BMC says it.
    pub types: Vec<String>,
    /// Whether it can be a CD.
    pub cd: bool,
    /// Whether a medium is in.
    pub inserted: bool,
    /// Which, where it says.
    pub image: Option<String>,
}

/// Reads everything.
pub(crate) async fn discover(service: &Service) -> Result<Discovery, BmcError> {
    let deadline = Instant::now() + service.http.timeouts.discover;
    let root = service.root().await?.resource();
    // What is read from here on is of one moment, and read once.
    let reader = service.reader_until(deadline);
    let system = reader.system().await?;
    let quirks = service.vendor(&system).await.quirks();
    let walk = Walk::new(reader, quirks);
    let managers = walk.reader.managers(&system).await;
    if managers.is_empty() {
        walk.note("no manager could be read");
        walk.collection(root.link("/Managers")).await;
    }
    let chassis = chassis::all(&walk, &root).await;
    let others = other_systems(&walk, &system).await;
    for other in others.iter().filter(|o| crate::system::host_score(o) >= 4) {
        walk.note(format!(
            "{} is another system, and not taken for the machine",
            other.path
        ));
    }

    let (firmware, processors, memory, drives, nics, pci, sensors, slots, options, reset_types) = tokio::join!(
        firmware::firmware(&walk.reader, &system),
        processors::processors(&walk, &system, &others, &chassis),
        processors::memory(&walk, &system, &others),
        storage::drives(&walk, &system, &chassis),
        network::nics(&walk, &system, &chassis),
        pcie::functions(&walk, &system, &others, &chassis),
        sensors::sensors(&walk, &chassis),
        media_slots(&walk, &system),
        boot_options(&walk, &system),
        walk.reader.reset_types(&system),
    );
    if let Some(gone) = walk.reader.gone() {
        return Err(gone.clone());
    }
    for note in firmware.notes {
        walk.note(note);
    }
    let identity = identity(&walk, &system);
    let mut inventory = Inventory {
        system: identity,
        firmware: firmware.found,
        cpus: processors.cpus,
        memory,
        drives,
        nics,
        tpm: tpm(&system),
        sensors,
        ..Inventory::default()
    };
    inventory.gpus = pcie::gpus(processors.gpus, &pci, inventory.emulation());
    inventory.pci = pci.into_iter().map(|f| f.device).collect();
    inventory.notes = walk.into_notes();
    Ok(Discovery {
        fingerprint: service.http.fingerprint().unwrap_or_default(),
        service: ServiceFacts {
            vendor: root.text("/Vendor"),
            product: root.text("/Product"),
            redfish: root.text("/RedfishVersion"),
            managers: managers.iter().map(manager_words).collect(),
            system: system.path.clone(),
            reset_types,
        },
        power: power_of(&system),
        boot: boot_choices(&system, options),
        virtual_media: slots,
        inventory,
    })
}

/// The server as a product. Where the vendor's `SerialNumber` is not the one
/// on the label and in SMBIOS, the one that is.
fn identity(walk: &Walk<'_>, system: &Resource) -> System {
    let mut found = System {
        manufacturer: system.text("/Manufacturer"),
        model: system.text("/Model"),
        serial: system.text("/SerialNumber"),
        uuid: system.text("/UUID").map(|u| u.to_ascii_lowercase()),
        sku: system.text("/SKU"),
        asset_tag: system.text("/AssetTag"),
    };
    if walk.quirks.serial_is_sku
        && let Some(tag) = &found.sku
    {
        if let Some(board) = &found.serial
            && board != tag
        {
            walk.note(format!(
                "serial {tag} is the service tag (SKU); SerialNumber {board} is the board's"
            ));
        }
        found.serial = Some(tag.clone());
    }
    for (name, field) in [
        ("manufacturer", &found.manufacturer),
        ("model", &found.model),
        ("serial number", &found.serial),
    ] {
        if field.is_none() {
            walk.note(format!("the system does not say its {name}"));
        }
    }
    found
}

fn tpm(system: &Resource) -> Option<Tpm> {
    let module = list(&system.body, "/TrustedModules")
        .iter()
        .find(|m| !absent(m))?;
    let kind = text(module, "/InterfaceType")?;
    Some(Tpm {
        version: match kind.as_str() {
            "TPM2_0" => "2.0".to_owned(),
            "TPM1_2" => "1.2".to_owned(),
            other => other.to_owned(),
        },
        manufacturer: text(module, "/Manufacturer"),
        firmware: text(module, "/FirmwareVersion"),
    })
}

/// Systems that are not the machine itself but may list its parts: a GPU
/// baseboard has a system of its own.
async fn other_systems(walk: &Walk<'_>, machine: &Resource) -> Vec<Resource> {
    let systems = match walk.service().root().await {
        Ok(root) => walk.collection(root.resource().link("/Systems")).await,
        Err(_) => Vec::new(),
    };
    systems
        .into_iter()
        .filter(|s| !crate::link::same(&s.path, &machine.path))
        .collect()
}

fn manager_words(manager: &Resource) -> String {
    let model = manager.text("/Model").unwrap_or_else(|| manager.id());
    match manager.text("/FirmwareVersion") {
        Some(version) => format!("{model}, firmware {version}"),
        None => model,
    }
}

async fn media_slots(walk: &Walk<'_>, system: &Resource) -> Vec<MediaSlot> {
    let slots = match walk.reader.slots(system).await {
        Ok(slots) => slots,
        Err(error) => {
            walk.note(format!("virtual media: {error}"));
            Vec::new()
        }
    };
    if !slots.iter().any(is_cd) {
        walk.note("no virtual CD was found");
    }
    slots
        .iter()
        .map(|slot| MediaSlot {
            path: slot.path.clone(),
            types: texts(&slot.body, "/MediaTypes"),
            cd: is_cd(slot),
            inserted: inserted(slot),
            image: slot.text("/Image"),
        })
        .collect()
}

async fn boot_options(walk: &Walk<'_>, system: &Resource) -> Vec<BootOption> {
    let options = walk.collection(system.link("/Boot/BootOptions")).await;
    options
        .iter()
        .map(|o| BootOption {
            reference: o.text("/BootOptionReference").unwrap_or_else(|| o.id()),
            name: o.text("/DisplayName").or_else(|| o.text("/Name")),
            device: o.text("/UefiDevicePath"),
        })
        .collect()
}

fn boot_choices(system: &Resource, options: Vec<BootOption>) -> BootChoices {
    // Here "None" is a value, so the text is taken as it stands.
    let raw = |key: &str| {
        let value = system.body.pointer(&format!("/Boot/{key}"));
        value.and_then(Value::as_str).map(str::to_owned)
    };
    let targets = list(
        &system.body,
        "/Boot/BootSourceOverrideTarget@Redfish.AllowableValues",
    );
    BootChoices {
        override_enabled: raw("BootSourceOverrideEnabled"),
        override_target: raw("BootSourceOverrideTarget"),
        mode: raw("BootSourceOverrideMode"),
        targets: targets
            .iter()
            .filter_map(|t| t.as_str().map(str::to_owned))
            .collect(),
        order: texts(&system.body, "/Boot/BootOrder"),
        options,
    }
}
