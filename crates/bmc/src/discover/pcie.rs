//! PCIe functions, and the GPUs among them.

use billet_model::inventory::{Emulation, Gpu, PciDevice, PciLink};
use serde_json::Value;

use super::processors::ListedGpu;
use super::walk::Walk;
use crate::link;
use crate::value::{Resource, small, text};

/// One function, with what ties it to other resources.
pub(crate) struct Function {
    pub device: PciDevice,
    /// Paths under which it, or its device, is known.
    paths: Vec<String>,
    manufacturer: Option<String>,
    serial: Option<String>,
    /// Whose list it is from: the path of a system or chassis.
    home: String,
    /// Whether the address is one of PCI, and not the BMC's own id.
    addressed: bool,
}

/// PCI vendors whose display devices are GPUs and not the BMC's own screen.
const GPU_VENDORS: [&str; 3] = ["10de", "1002", "8086"];

/// All PCIe functions, of systems and chassis, each once.
pub(crate) async fn functions(
    walk: &Walk<'_>,
    system: &Resource,
    others: &[Resource],
    chassis: &[Resource],
) -> Vec<Function> {
    let mut devices: Vec<Resource> = Vec::new();
    for place in std::iter::once(system).chain(others).chain(chassis) {
        let links = place.links("/PCIeDevices");
        let read = if links.is_empty() {
            walk.tree(place.link("/PCIeDevices")).await
        } else {
            let new = links.into_iter().filter(|l| !known(&devices, l));
            let mut unique: Vec<String> = Vec::new();
            for path in new {
                if !unique.iter().any(|u| link::same(u, &path)) {
                    unique.push(path);
                }
            }
            walk.trees(unique).await
        };
        for device in read {
            if !known(&devices, &device.path) && !device.absent() {
                devices.push(device);
            }
        }
    }
    let read = devices.iter().map(|d| of_device(walk, d));
    let read = futures::future::join_all(read).await;
    let mut found: Vec<Function> = Vec::new();
    for function in read.into_iter().flatten() {
        // The same function is often listed under the system and under the chassis.
        let twin = found.iter_mut().find(|f| twins(f, &function));
        match twin {
            Some(twin) => {
                twin.paths.extend(function.paths);
                twin.serial = twin.serial.take().or(function.serial);
                let link = function.device.link;
                twin.device.link = twin.device.link.take().or(link);
            }
            None => found.push(function),
        }
    }
    // Trays count their devices from 1 each: what is left of one name is told apart by its box.
    let shared: Vec<bool> = found
        .iter()
        .map(|f| {
            let same = |o: &Function| o.device.address == f.device.address && o.home != f.home;
            !f.addressed && found.iter().any(same)
        })
        .collect();
    for (function, _) in found.iter_mut().zip(shared).filter(|(_, shared)| *shared) {
        let tray = function.home.rsplit('/').next().unwrap_or_default();
        function.device.address = format!("{tray}/{}", function.device.address);
    }
    found.sort_by(|a, b| a.device.address.cmp(&b.device.address));
    found
}

fn known(devices: &[Resource], path: &str) -> bool {
    devices.iter().any(|d| link::same(&d.path, path))
}

/// Whether two entries are one function. A PCI address is a machine's; an id
/// of the BMC's is one chassis's, and a system may list it once more.
fn twins(a: &Function, b: &Function) -> bool {
    let same = a.device.address == b.device.address
        && a.device.vendor == b.device.vendor
        && a.device.device == b.device.device;
    let conflict = matches!((&a.serial, &b.serial), (Some(a), Some(b)) if a != b);
    let chassis = |f: &Function| f.home.to_ascii_lowercase().contains("/chassis/");
    let apart = chassis(a) && chassis(b) && !link::same(&a.home, &b.home);
    same && !conflict && (a.addressed || !apart)
}

async fn of_device(walk: &Walk<'_>, device: &Resource) -> Vec<Function> {
    let links = [
        device.links("/PCIeFunctions"),
        device.links("/Links/PCIeFunctions"),
    ];
    let functions = match links.into_iter().find(|l| !l.is_empty()) {
        Some(links) => walk.all(links).await,
        None => walk.collection(device.link("/PCIeFunctions")).await,
    };
    let name = ["/Model", "/Name", "/Description"]
        .iter()
        .find_map(|p| device.text(p));
    let whole_device = |address: String| PciDevice {
        address,
        name: name.clone(),
        link: pci_link(device),
        ..PciDevice::default()
    };
    let home = device.path.to_ascii_lowercase().find("/pciedevices/");
    let home = home
        .and_then(|at| device.path.get(..at))
        .unwrap_or_default();
    let place = |device_info: PciDevice, paths: Vec<String>, addressed: bool| Function {
        device: device_info,
        paths,
        manufacturer: device.text("/Manufacturer"),
        serial: device.text("/SerialNumber"),
        home: home.to_owned(),
        addressed,
    };
    if functions.is_empty() {
        let mut whole = whole_device(device.id());
        if names_a_gpu(device) {
            // Nothing else says what it is.
            whole.class = "030200".to_owned();
        }
        return vec![place(whole, vec![device.path.clone()], false)];
    }
    functions
        .iter()
        .map(|function| {
            let body = &function.body;
            let id = function.id();
            let number = |pointer| text(body, pointer).and_then(|raw| walk.quirks.pci_id(&raw));
            let function_name = text(body, "/Name").unwrap_or_default();
            let address =
                told_address(body).or_else(|| walk.quirks.pci_address(&id, &function_name));
            let addressed = address.is_some();
            let address = address.unwrap_or_else(|| {
                // An id such as "1" means nothing without its device's.
                if (id.starts_with(&device.id()) && id != device.id()) || id.contains(':') {
                    id.clone()
                } else {
                    format!("{}/{id}", device.id())
                }
            });
            let described = PciDevice {
                vendor: number("/VendorId").unwrap_or_default(),
                device: number("/DeviceId").unwrap_or_default(),
                class: text(body, "/ClassCode")
                    .and_then(|raw| walk.quirks.pci_class(&raw))
                    .or_else(|| class_of(&text(body, "/DeviceClass")?))
                    .unwrap_or_default(),
                ..whole_device(address)
            };
            let paths = vec![device.path.clone(), function.path.clone()];
            place(described, paths, addressed)
        })
        .collect()
}

/// The PCI address, where the function says it itself.
fn told_address(body: &Value) -> Option<String> {
    let number = |key: &str, most: u64| {
        let raw = text(body, key)?;
        let digits = raw.trim_start_matches("0x").trim_start_matches("0X");
        let number = match digits.len() == raw.len() {
            true => raw.parse().ok()?,
            false => u64::from_str_radix(digits, 16).ok()?,
        };
        (number <= most).then_some(number)
    };
    let (bus, device) = (number("/BusNumber", 0xff)?, number("/DeviceNumber", 0x1f)?);
    let function = number("/FunctionNumber", 7).or_else(|| number("/FunctionId", 7))?;
    let segment = number("/SegmentNumber", 0xffff).unwrap_or(0);
    Some(format!("{segment:04x}:{bus:02x}:{device:02x}.{function}"))
}

/// Whether a device that lists no functions calls itself a GPU of a maker of GPUs.
fn names_a_gpu(device: &Resource) -> bool {
    let maker = device
        .text("/Manufacturer")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let named = ["/Id", "/Name", "/Model", "/Description"]
        .iter()
        .filter_map(|p| device.text(p))
        .any(|word| word.to_ascii_lowercase().contains("gpu"));
    named
        && ["nvidia", "amd", "advanced micro", "intel"]
            .iter()
            .any(|m| maker.contains(m))
}

/// The class code for the standard's word, where no code is given.
fn class_of(word: &str) -> Option<String> {
    let base = match word {
        "MassStorageController" => "01",
        "NetworkController" => "02",
        "DisplayController" => "03",
        "Bridge" => "06",
        "ProcessingAccelerators" => "12",
        _ => return None,
    };
    Some(format!("{base}0000"))
}

fn pci_link(device: &Resource) -> Option<PciLink> {
    let body = device.body.get("PCIeInterface")?;
    let speed = |pointer| match text(body, pointer)?.as_str() {
        "Gen1" => Some(25),
        "Gen2" => Some(50),
        "Gen3" => Some(80),
        "Gen4" => Some(160),
        "Gen5" => Some(320),
        "Gen6" => Some(640),
        _ => None,
    };
    let found = PciLink {
        width: small(body, "/LanesInUse"),
        max_width: small(body, "/MaxLanes"),
        speed: speed("/PCIeType"),
        max_speed: speed("/MaxPCIeType"),
    };
    (found != PciLink::default()).then_some(found)
}

/// The GPUs: those listed as processors, completed with what their PCIe
/// functions know, and display functions that no processor stands for.
pub(crate) fn gpus(listed: Vec<ListedGpu>, pci: &[Function], emulation: Emulation) -> Vec<Gpu> {
    let emulated = emulation != Emulation::None;
    let mut displays: Vec<&Function> = pci.iter().filter(|f| is_gpu(f, emulated)).collect();
    let mut found: Vec<Gpu> = Vec::new();
    let mut loose: Vec<Gpu> = Vec::new();
    for ListedGpu { gpu, pcie } in listed {
        let own = displays.iter().position(|f| {
            let linked = f
                .paths
                .iter()
                .any(|p| pcie.iter().any(|q| link::same(p, q)));
            linked || (gpu.serial.is_some() && gpu.serial == f.serial)
        });
        match own {
            Some(at) => found.push(joined(gpu, displays.remove(at))),
            None => loose.push(gpu),
        }
    }
    // A processor that does not say where it sits is one of the displays that
    // are left, if it is any: to count both would be to count it twice.
    for gpu in loose {
        found.push(match displays.is_empty() {
            true => gpu,
            false => joined(gpu, displays.remove(0)),
        });
    }
    for display in displays {
        let gpu = Gpu {
            address: display.device.address.clone(),
            ..Gpu::default()
        };
        found.push(joined(gpu, display));
    }
    for gpu in &mut found {
        gpu.stand_in = emulated;
    }
    found.sort_by(|a, b| a.address.cmp(&b.address));
    found
}

fn is_gpu(function: &Function, emulated: bool) -> bool {
    let PciDevice { vendor, class, .. } = &function.device;
    if class.starts_with("12") {
        return GPU_VENDORS.contains(&vendor.as_str());
    }
    // A GPU that is known by its name alone has no numbers.
    let known = GPU_VENDORS.contains(&vendor.as_str()) || (vendor.is_empty() && class == "030200");
    class.starts_with("03") && (emulated || known)
}

fn joined(gpu: Gpu, function: &Function) -> Gpu {
    let name = function.device.name.clone();
    Gpu {
        address: function.device.address.clone(),
        model: gpu.model.or(name),
        manufacturer: gpu.manufacturer.or_else(|| function.manufacturer.clone()),
        serial: gpu.serial.or_else(|| function.serial.clone()),
        ..gpu
    }
}
