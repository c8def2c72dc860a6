//! The computer system: power, boot override, firmware settings, and what it is made of.

use serde_json::{Value, json};

use super::{View, collection, link, member_log_services, nth, numbered, ok, ok_with_rollup};
use crate::bmc::state::{BIOS, BOOT_OPTIONS};
use crate::facts::{Cpu, Dimm, Drive, Nic};
use crate::metal::{BootTarget, Power};

/// Every kind of reset a BMC of the lab carries out.
pub(crate) const RESETS: [&str; 8] = [
    "On",
    "ForceOff",
    "GracefulShutdown",
    "GracefulRestart",
    "ForceRestart",
    "PowerCycle",
    "Nmi",
    "PushPowerButton",
];

pub(super) fn render(view: &View<'_>, path: &[&str]) -> Option<Value> {
    let facts = view.facts;
    match path {
        [] => Some(collection(
            "ComputerSystem",
            "Computer System Collection",
            "Systems",
            ["1"],
        )),
        ["1", rest @ ..] => match rest {
            [] => Some(system(view)),
            ["Bios", rest @ ..] => bios(view, rest),
            ["SecureBoot"] => Some(secure_boot(view)),
            ["BootOptions"] => Some(collection(
                "BootOption",
                "Boot Options",
                "Systems/1/BootOptions",
                BOOT_OPTIONS.iter().map(|(reference, _)| reference),
            )),
            ["BootOptions", id] => {
                let (reference, name) = BOOT_OPTIONS.iter().find(|(r, _)| r == id)?;
                Some(json!({
                    "@odata.type": "#BootOption.v1_0_6.BootOption",
                    "Id": reference,
                    "Name": name,
                    "DisplayName": name,
                    "BootOptionReference": reference,
                    "BootOptionEnabled": true,
                }))
            }
            ["Processors"] => Some(collection(
                "Processor",
                "Processors",
                "Systems/1/Processors",
                numbered(facts.cpus.len())
                    .map(|n| format!("CPU{n}"))
                    .chain(numbered(facts.gpus.len()).map(|n| format!("GPU{n}"))),
            )),
            ["Processors", id] => processor(view, id),
            ["Memory"] => Some(collection(
                "Memory",
                "Memory",
                "Systems/1/Memory",
                numbered(facts.dimms.len()),
            )),
            ["Memory", id] => nth(&facts.dimms, id).map(|(n, d)| memory(n, d)),
            ["Storage"] => Some(collection(
                "Storage",
                "Storage",
                "Systems/1/Storage",
                ["NVMe"],
            )),
            ["Storage", "NVMe"] => Some(storage(view)),
            ["Storage", "NVMe", "Drives", id] => nth(&facts.drives, id).map(|(n, d)| drive(n, d)),
            ["EthernetInterfaces"] => Some(collection(
                "EthernetInterface",
                "Ethernet Interfaces",
                "Systems/1/EthernetInterfaces",
                numbered(facts.nics.len()),
            )),
            ["EthernetInterfaces", id] => nth(&facts.nics, id).map(|(n, nic)| ethernet(n, nic)),
            ["LogServices", rest @ ..] => member_log_services(view, "Systems/1", rest),
            _ => None,
        },
        _ => None,
    }
}

fn system(view: &View<'_>) -> Value {
    let (facts, lasting) = (view.facts, &view.state.lasting);
    let targets: Vec<&str> = BootTarget::ALL.iter().map(|t| t.as_redfish()).collect();
    let pci = facts.drives.len() + facts.nics.len() + facts.gpus.len();
    json!({
        "@odata.type": "#ComputerSystem.v1_22_0.ComputerSystem",
        "Id": "1",
        "Name": "System",
        "SystemType": "Physical",
        "Manufacturer": facts.manufacturer,
        "Model": facts.model,
        "SerialNumber": facts.serial,
        "UUID": facts.uuid,
        "AssetTag": lasting.asset_tag,
        "HostName": lasting.host_name,
        "PowerState": view.power.as_redfish(),
        "BiosVersion": facts.firmware_version,
        "LastResetTime": view.state.last_reset.to_string(),
        "Status": match view.power {
            Power::On => ok_with_rollup(),
            Power::Off => json!({ "State": "Disabled", "Health": "OK", "HealthRollup": "OK" }),
        },
        "LocationIndicatorActive": view.state.indicator,
        "Boot": {
            "BootSourceOverrideEnabled": lasting.boot.enabled.as_redfish(),
            "BootSourceOverrideTarget": lasting.boot.target.as_redfish(),
            "BootSourceOverrideMode": "UEFI",
            "BootSourceOverrideEnabled@Redfish.AllowableValues":
                ["Disabled", "Once", "Continuous"],
            "BootSourceOverrideTarget@Redfish.AllowableValues": targets,
            "BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI"],
            "BootOrder": lasting.boot_order,
            "BootOptions": link("Systems/1/BootOptions"),
        },
        "ProcessorSummary": {
            "Count": facts.cpus.len(),
            "CoreCount": facts.cpus.iter().map(|c| c.cores).sum::<u32>(),
            "LogicalProcessorCount": facts.cpus.iter().map(|c| c.threads).sum::<u32>(),
            "Model": facts.cpus.first().map(|c| c.model.as_str()),
            "Status": ok(),
        },
        "MemorySummary": {
            // Redfish counts GiB.
            "TotalSystemMemoryGiB": facts.memory_mib() as f64 / 1024.0,
            "Status": ok(),
        },
        "TrustedModules": if facts.tpm {
            json!([{ "InterfaceType": "TPM2_0", "Status": { "State": "Enabled" } }])
        } else {
            json!([])
        },
        "SerialConsole": {
            "MaxConcurrentSessions": 8,
            "SSH": {
                "ServiceEnabled": true,
                "Port": view.ssh_port,
                "SharedWithManagerCLI": false,
                "HotKeySequenceDisplay": "Enter, then ~. to leave",
            },
        },
        "Bios": link("Systems/1/Bios"),
        "SecureBoot": link("Systems/1/SecureBoot"),
        "Processors": link("Systems/1/Processors"),
        "Memory": link("Systems/1/Memory"),
        "Storage": link("Systems/1/Storage"),
        "EthernetInterfaces": link("Systems/1/EthernetInterfaces"),
        "LogServices": link("Systems/1/LogServices"),
        "VirtualMedia": link("Managers/1/VirtualMedia"),
        "PCIeDevices": numbered(pci)
            .map(|n| link(&format!("Chassis/1/PCIeDevices/{n}")))
            .collect::<Vec<_>>(),
        "PCIeDevices@odata.count": pci,
        "Links": {
            "Chassis": [link("Chassis/1")],
            "ManagedBy": [link("Managers/1")],
        },
        "Actions": { "#ComputerSystem.Reset": {
            "target": "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset",
            "ResetType@Redfish.AllowableValues": RESETS,
        }},
    })
}

fn bios(view: &View<'_>, rest: &[&str]) -> Option<Value> {
    let lasting = &view.state.lasting;
    match rest {
        [] => Some(json!({
            "@odata.type": "#Bios.v1_2_1.Bios",
            "Id": "Bios",
            "Name": "Firmware Settings",
            "AttributeRegistry": "BilletLabBios.v1_0_0",
            "Attributes": lasting.bios,
            "@Redfish.Settings": {
                "@odata.type": "#Settings.v1_3_5.Settings",
                "SettingsObject": link("Systems/1/Bios/Settings"),
                "SupportedApplyTimes": ["OnReset"],
            },
            "Actions": { "#Bios.ResetBios": {
                "target": "/redfish/v1/Systems/1/Bios/Actions/Bios.ResetBios",
            }},
        })),
        ["Settings"] => {
            let mut wanted = lasting.bios.clone();
            wanted.extend(lasting.bios_pending.clone());
            Some(json!({
                "@odata.type": "#Bios.v1_2_1.Bios",
                "Id": "Settings",
                "Name": "Firmware Settings from the Next Start",
                "AttributeRegistry": "BilletLabBios.v1_0_0",
                "Attributes": wanted,
            }))
        }
        _ => None,
    }
}

/// The acceptable values of a firmware setting, if there is such a setting.
pub(crate) fn bios_values(name: &str) -> Option<&'static [&'static str]> {
    BIOS.iter()
        .find(|(known, _, _)| *known == name)
        .map(|(_, _, values)| *values)
}

fn secure_boot(view: &View<'_>) -> Value {
    let on = view.state.lasting.secure_boot;
    json!({
        "@odata.type": "#SecureBoot.v1_1_2.SecureBoot",
        "Id": "SecureBoot",
        "Name": "UEFI Secure Boot",
        "SecureBootEnable": view.state.secure_boot_wanted,
        "SecureBootCurrentBoot": if on { "Enabled" } else { "Disabled" },
        "SecureBootMode": if super::super::secure_boot_possible(view.facts) {
            "UserMode"
        } else {
            "SetupMode"
        },
    })
}

fn processor(view: &View<'_>, id: &str) -> Option<Value> {
    if let Some(n) = id.strip_prefix("CPU") {
        return nth(&view.facts.cpus, n).map(|(n, cpu)| cpu_json(n, cpu));
    }
    let (n, gpu) = nth(&view.facts.gpus, id.strip_prefix("GPU")?)?;
    Some(json!({
        "@odata.type": "#Processor.v1_20_1.Processor",
        "Id": format!("GPU{n}"),
        "Name": format!("GPU {n}"),
        "ProcessorType": "GPU",
        "Manufacturer": gpu.manufacturer,
        "Model": gpu.model,
        "SerialNumber": gpu.serial,
        "UUID": gpu.uuid,
        "Socket": gpu.pci,
        "MemorySummary": {
            "TotalMemorySizeMiB": gpu.memory_mib,
        },
        "Status": ok(),
    }))
}

fn cpu_json(n: usize, cpu: &Cpu) -> Value {
    json!({
        "@odata.type": "#Processor.v1_20_1.Processor",
        "Id": format!("CPU{n}"),
        "Name": format!("Processor {n}"),
        "Socket": format!("CPU {n}"),
        "ProcessorType": "CPU",
        "ProcessorArchitecture": "x86",
        "InstructionSet": "x86-64",
        "Manufacturer": cpu.manufacturer,
        "Model": cpu.model,
        "TotalCores": cpu.cores,
        "TotalThreads": cpu.threads,
        "MaxSpeedMHz": cpu.max_mhz,
        "Status": ok(),
    })
}

fn memory(n: usize, dimm: &Dimm) -> Value {
    let kind = match dimm.kind.as_str() {
        "DDR5" => json!("DDR5"),
        "DDR4" => json!("DDR4"),
        _ => json!(null),
    };
    json!({
        "@odata.type": "#Memory.v1_20_0.Memory",
        "Id": n.to_string(),
        "Name": dimm.slot,
        "DeviceLocator": dimm.slot,
        "MemoryType": "DRAM",
        "MemoryDeviceType": kind,
        "CapacityMiB": dimm.mib,
        "OperatingSpeedMhz": dimm.mts,
        "Manufacturer": dimm.manufacturer,
        "PartNumber": dimm.part,
        "SerialNumber": dimm.serial,
        "Status": ok(),
    })
}

fn storage(view: &View<'_>) -> Value {
    let count = view.facts.drives.len();
    json!({
        "@odata.type": "#Storage.v1_17_0.Storage",
        "Id": "NVMe",
        "Name": "NVMe Drives",
        "Status": ok_with_rollup(),
        "Drives@odata.count": count,
        "Drives": numbered(count)
            .map(|n| link(&format!("Systems/1/Storage/NVMe/Drives/{n}")))
            .collect::<Vec<_>>(),
    })
}

fn drive(n: usize, drive: &Drive) -> Value {
    json!({
        "@odata.type": "#Drive.v1_20_0.Drive",
        "Id": n.to_string(),
        "Name": format!("NVMe Drive {n}"),
        "Manufacturer": drive.manufacturer,
        "Model": drive.model,
        "SerialNumber": drive.serial,
        "Revision": drive.firmware,
        "CapacityBytes": drive.bytes,
        "BlockSizeBytes": 512,
        "MediaType": "SSD",
        "Protocol": "NVMe",
        "FailurePredicted": false,
        "Identifiers": drive.wwn.iter().map(|wwn| json!({
            "DurableName": wwn.trim_start_matches("eui."),
            "DurableNameFormat": "EUI",
        })).collect::<Vec<_>>(),
        "PhysicalLocation": { "PartLocation": {
            "LocationType": "Bay",
            "LocationOrdinalValue": n,
            "ServiceLabel": format!("Bay {n}"),
        }},
        "Status": ok(),
        "Links": { "Chassis": link("Chassis/1") },
    })
}

fn ethernet(n: usize, nic: &Nic) -> Value {
    json!({
        "@odata.type": "#EthernetInterface.v1_12_1.EthernetInterface",
        "Id": n.to_string(),
        "Name": format!("Port {n}"),
        "Description": format!("{} {}", nic.manufacturer, nic.model),
        "InterfaceEnabled": true,
        "LinkStatus": if nic.link_up { "LinkUp" } else { "LinkDown" },
        "MACAddress": nic.mac,
        "PermanentMACAddress": nic.mac,
        "SpeedMbps": nic.speed_mbps,
        "FullDuplex": true,
        "Status": ok(),
    })
}
