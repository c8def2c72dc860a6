//! What was found in a machine, by its BMC or by the agent on it.
//!
//! Whatever is missing or malformed is `None` or a note, never an error:
//! real machines differ. Sizes are bytes, speeds as the unit in the name says.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The BMC, from outside.
    #[default]
    Bmc,
    /// The agent, from inside.
    Agent,
}

/// Whether the machine is real silicon, from what it says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Emulation {
    /// Nothing says that it is not.
    #[default]
    None,
    /// A QEMU machine of the lab: real firmware, kernel and disks; emulated silicon.
    Emulated,
    /// A machine of the lab that only pretends.
    Phantom,
}

impl Emulation {
    /// Reads the mark from manufacturer and model, as SMBIOS and Redfish give them.
    pub fn of(manufacturer: &str, model: &str) -> Self {
        let (manufacturer, model) = (manufacturer.to_lowercase(), model.to_lowercase());
        if manufacturer.contains("billet lab") && model.contains("phantom") {
            Self::Phantom
        } else if manufacturer.contains("billet lab")
            || manufacturer.contains("qemu")
            || model.contains("emulated")
        {
            Self::Emulated
        } else {
            Self::None
        }
    }
}

/// A machine's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Inventory {
    /// Who looked.
    pub source: Source,
    /// The server as a product.
    pub system: System,
    /// Firmware, by component.
    pub firmware: Vec<Firmware>,
    /// Processors.
    pub cpus: Vec<Cpu>,
    /// NUMA nodes (agent only).
    pub numa: Vec<NumaNode>,
    /// Memory.
    pub memory: Memory,
    /// PCI functions.
    pub pci: Vec<PciDevice>,
    /// Drives.
    pub drives: Vec<Drive>,
    /// Network interfaces.
    pub nics: Vec<Nic>,
    /// TPM.
    pub tpm: Option<Tpm>,
    /// GPUs, or what stands in for them.
    pub gpus: Vec<Gpu>,
    /// Sensors (BMC only).
    pub sensors: Vec<Sensor>,
    /// `true` where a hypervisor bit is set (agent only).
    pub hypervisor: Option<bool>,
    /// What was missing or odd, in sentences.
    pub notes: Vec<String>,
}

impl Inventory {
    /// Whether the machine is real silicon.
    pub fn emulation(&self) -> Emulation {
        Emulation::of(
            self.system.manufacturer.as_deref().unwrap_or_default(),
            self.system.model.as_deref().unwrap_or_default(),
        )
    }

    /// Units that leases hold: each GPU, or the processors of a machine without GPUs.
    pub fn units(&self) -> u32 {
        u32::try_from(self.gpus.len()).unwrap_or(u32::MAX).max(1)
    }

    /// The drives that belong to the machine: not remote, not removable, and
    /// not a medium of the BMC's.
    pub fn own_drives(&self) -> impl Iterator<Item = &Drive> {
        self.drives.iter().filter(|d| !d.remote && !d.removable)
    }
}

/// The server as a product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct System {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its SMBIOS UUID.
    pub uuid: Option<String>,
    /// Part number or SKU.
    pub sku: Option<String>,
    /// Asset tag.
    pub asset_tag: Option<String>,
}

/// One piece of firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Firmware {
    /// What it belongs to (`BIOS`, `BMC`, a part).
    pub component: String,
    /// Its version.
    pub version: String,
}

/// One processor package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Cpu {
    /// Socket, as labelled or numbered.
    pub socket: String,
    /// Model.
    pub model: Option<String>,
    /// Maker.
    pub manufacturer: Option<String>,
    /// Physical cores.
    pub cores: Option<u32>,
    /// Hardware threads.
    pub threads: Option<u32>,
    /// Highest clock in MHz.
    pub max_mhz: Option<u32>,
    /// `x86_64`, `aarch64`.
    pub architecture: Option<String>,
    /// Serial number, where given.
    pub serial: Option<String>,
}

/// One NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NumaNode {
    /// Its number.
    pub id: u32,
    /// Its CPUs, as the kernel lists them (`0-15,32-47`).
    pub cpus: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Distances to all nodes, in the kernel's units (10 is local).
    pub distances: Vec<u32>,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Memory {
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// Modules.
    pub modules: Vec<MemoryModule>,
}

/// One memory module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MemoryModule {
    /// Slot.
    pub slot: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Megatransfers per second.
    pub speed_mts: Option<u32>,
    /// Maker.
    pub manufacturer: Option<String>,
    /// Part number.
    pub part: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
}

/// One PCI function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PciDevice {
    /// `0000:81:00.0`, or the BMC's own id.
    pub address: String,
    /// Vendor, four hex digits.
    pub vendor: String,
    /// Device, four hex digits.
    pub device: String,
    /// Class, six hex digits.
    pub class: String,
    /// Name, where known.
    pub name: Option<String>,
    /// The bridge above, where known: addresses make the tree.
    pub parent: Option<String>,
    /// NUMA node.
    pub numa: Option<u32>,
    /// Kernel driver bound.
    pub driver: Option<String>,
    /// Link, where it has one.
    pub link: Option<PciLink>,
}

/// A PCIe link: what it runs at and what it could.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PciLink {
    /// Lanes now.
    pub width: Option<u32>,
    /// Lanes possible.
    pub max_width: Option<u32>,
    /// Speed now, in units of 0.1 GT/s (`160` is 16.0 GT/s).
    pub speed: Option<u32>,
    /// Speed possible, in units of 0.1 GT/s.
    pub max_speed: Option<u32>,
}

/// How a drive is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriveKind {
    /// NVMe.
    Nvme,
    /// SATA or SAS, flash.
    Ssd,
    /// SATA or SAS, rotating.
    Hdd,
    /// Anything else.
    #[default]
    Other,
}

/// One drive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Drive {
    /// The kernel's name without `/dev/` (`nvme0n1`), or the BMC's id.
    pub name: String,
    /// Kind.
    pub kind: DriveKind,
    /// Maker, where given.
    pub manufacturer: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial number: what a drive is known by.
    pub serial: Option<String>,
    /// World-wide name, EUI-64 or NGUID, as text.
    pub wwn: Option<String>,
    /// Firmware revision.
    pub firmware: Option<String>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Logical block size in bytes (agent only).
    pub block_bytes: Option<u32>,
    /// Reached over a network: never Billet's to erase.
    pub remote: bool,
    /// Removable, or a virtual medium of the BMC's.
    pub removable: bool,
    /// What it says it can do to erase itself (agent only).
    pub erase: EraseCapabilities,
    /// Hours powered on, where it says.
    pub power_on_hours: Option<u64>,
    /// Its own verdict on its health, where it gives one: `true` is well.
    pub healthy: Option<bool>,
    /// NVMe: namespaces found, active or not.
    pub namespaces: Vec<u32>,
}

/// Ways of erasing, as capability bits say (never as a success code says).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EraseCapabilities {
    /// NVMe sanitize, crypto erase.
    pub sanitize_crypto: bool,
    /// NVMe sanitize, block erase.
    pub sanitize_block: bool,
    /// NVMe sanitize, overwrite.
    pub sanitize_overwrite: bool,
    /// NVMe format with crypto erase.
    pub format_crypto: bool,
    /// NVMe format with user data erase.
    pub format_user: bool,
    /// Write-zeroes command.
    pub write_zeroes: bool,
    /// Discard (never an erase by itself).
    pub discard: bool,
    /// ATA secure erase; `Some(true)` when frozen or locked.
    pub ata_secure: bool,
    /// The drive is locked or frozen and refuses erasure.
    pub locked: bool,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Nic {
    /// The kernel's name, or the BMC's id.
    pub name: String,
    /// MAC, lower-case with colons.
    pub mac: Option<String>,
    /// Whether a link is there.
    pub link: Option<bool>,
    /// Speed in Mbit/s.
    pub speed_mbps: Option<u64>,
    /// PCI address.
    pub pci: Option<String>,
    /// Kernel driver.
    pub driver: Option<String>,
    /// Model.
    pub model: Option<String>,
}

/// A trusted platform module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Tpm {
    /// `2.0`.
    pub version: String,
    /// Maker, where given.
    pub manufacturer: Option<String>,
    /// Firmware version, where given.
    pub firmware: Option<String>,
}

/// A GPU, or a display device that stands in for one in the lab.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Gpu {
    /// PCI address, or the BMC's id.
    pub address: String,
    /// Model.
    pub model: Option<String>,
    /// Maker.
    pub manufacturer: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// NUMA node.
    pub numa: Option<u32>,
    /// Not a GPU at all: a device of the lab's in its place.
    pub stand_in: bool,
}

/// One reading of a sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Sensor {
    /// Its name.
    pub name: String,
    /// `temperature`, `power`, `fan`, `voltage`, or as the BMC says.
    pub kind: String,
    /// The reading.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: Option<String>,
    /// The BMC's verdict on it.
    pub health: Option<String>,
}

// A sensor's reading is a float and never NaN (JSON has none), so equality is total.
impl Eq for Sensor {}
