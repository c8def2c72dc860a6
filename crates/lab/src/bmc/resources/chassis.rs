//! The chassis: power supply, temperatures, sensors and PCIe devices.
//!
//! Readings follow the power state and are otherwise constant: the lab measures nothing, and
//! sensors that jitter by themselves would only pretend that it does.

use serde_json::{Value, json};

use super::{View, collection, link, nth, numbered, ok, ok_with_rollup};
use crate::facts::Facts;
use crate::metal::Power;

pub(super) fn render(view: &View<'_>, path: &[&str]) -> Option<Value> {
    match path {
        [] => Some(collection(
            "Chassis",
            "Chassis Collection",
            "Chassis",
            ["1"],
        )),
        ["1", rest @ ..] => match rest {
            [] => Some(chassis(view)),
            ["Sensors"] => Some(collection(
                "Sensor",
                "Sensors",
                "Chassis/1/Sensors",
                sensors(view).iter().map(|s| s.id),
            )),
            ["Sensors", id] => sensors(view).iter().find(|s| s.id == *id).map(sensor),
            ["Thermal"] => Some(thermal(view)),
            ["Power"] => Some(power(view)),
            ["PCIeDevices"] => Some(collection(
                "PCIeDevice",
                "PCIe Devices",
                "Chassis/1/PCIeDevices",
                numbered(devices(view.facts).len()),
            )),
            ["PCIeDevices", id] => nth(&devices(view.facts), id).map(|(n, d)| pcie(n, d)),
            ["PCIeDevices", id, "PCIeFunctions"] => {
                nth(&devices(view.facts), id)?;
                Some(collection(
                    "PCIeFunction",
                    "PCIe Functions",
                    &format!("Chassis/1/PCIeDevices/{id}/PCIeFunctions"),
                    ["0"],
                ))
            }
            ["PCIeDevices", id, "PCIeFunctions", "0"] => {
                nth(&devices(view.facts), id).map(|(n, d)| function(n, d))
            }
            _ => None,
        },
        _ => None,
    }
}

fn chassis(view: &View<'_>) -> Value {
    let facts = view.facts;
    json!({
        "@odata.type": "#Chassis.v1_25_0.Chassis",
        "Id": "1",
        "Name": "Chassis",
        "ChassisType": "RackMount",
        "Manufacturer": facts.manufacturer,
        "Model": facts.model,
        "SerialNumber": facts.serial,
        "AssetTag": view.state.lasting.asset_tag,
        "PowerState": view.power.as_redfish(),
        "LocationIndicatorActive": view.state.indicator,
        "Status": ok_with_rollup(),
        "Sensors": link("Chassis/1/Sensors"),
        "Thermal": link("Chassis/1/Thermal"),
        "Power": link("Chassis/1/Power"),
        "PCIeDevices": link("Chassis/1/PCIeDevices"),
        "Links": {
            "ComputerSystems": [link("Systems/1")],
            "ManagedBy": [link("Managers/1")],
        },
    })
}

struct Reading {
    id: &'static str,
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    value: f64,
}

/// Watts drawn, in the manner of the servers that phantoms pretend to be.
fn watts(view: &View<'_>) -> f64 {
    match view.power {
        Power::Off => 12.0,
        Power::On => {
            let per_gpu = if view.facts.gpus.iter().any(|g| g.memory_mib > 0) {
                95.0
            } else {
                5.0
            };
            180.0 + view.facts.gpus.len() as f64 * per_gpu
        }
    }
}

fn sensors(view: &View<'_>) -> Vec<Reading> {
    let on = view.power == Power::On;
    let either = |running: f64, off: f64| if on { running } else { off };
    vec![
        Reading {
            id: "InletTemp",
            name: "Inlet Temperature",
            kind: "Temperature",
            unit: "Cel",
            value: 22.0,
        },
        Reading {
            id: "CpuTemp",
            name: "CPU Temperature",
            kind: "Temperature",
            unit: "Cel",
            value: either(46.0, 23.0),
        },
        Reading {
            id: "Fan1",
            name: "Fan 1",
            kind: "Rotational",
            unit: "{rev}/min",
            value: either(7200.0, 0.0),
        },
        Reading {
            id: "TotalPower",
            name: "Total Power",
            kind: "Power",
            unit: "W",
            value: watts(view),
        },
    ]
}

fn sensor(reading: &Reading) -> Value {
    json!({
        "@odata.type": "#Sensor.v1_9_1.Sensor",
        "Id": reading.id,
        "Name": reading.name,
        "ReadingType": reading.kind,
        "Reading": reading.value,
        "ReadingUnits": reading.unit,
        "Status": ok(),
    })
}

fn thermal(view: &View<'_>) -> Value {
    let readings = sensors(view);
    let temperatures: Vec<Value> = readings
        .iter()
        .filter(|r| r.kind == "Temperature")
        .enumerate()
        .map(|(i, r)| {
            json!({
                "@odata.id": format!("/redfish/v1/Chassis/1/Thermal#/Temperatures/{i}"),
                "MemberId": i.to_string(),
                "Name": r.name,
                "ReadingCelsius": r.value,
                "UpperThresholdCritical": 95,
                "PhysicalContext": if r.id == "CpuTemp" { "CPU" } else { "Intake" },
                "Status": ok(),
            })
        })
        .collect();
    let fans: Vec<Value> = readings
        .iter()
        .filter(|r| r.kind == "Rotational")
        .enumerate()
        .map(|(i, r)| {
            json!({
                "@odata.id": format!("/redfish/v1/Chassis/1/Thermal#/Fans/{i}"),
                "MemberId": i.to_string(),
                "Name": r.name,
                "Reading": r.value as i64,
                "ReadingUnits": "RPM",
                "Status": ok(),
            })
        })
        .collect();
    json!({
        "@odata.type": "#Thermal.v1_7_3.Thermal",
        "Id": "Thermal",
        "Name": "Thermal",
        "Temperatures@odata.count": temperatures.len(),
        "Temperatures": temperatures,
        "Fans@odata.count": fans.len(),
        "Fans": fans,
    })
}

fn power(view: &View<'_>) -> Value {
    json!({
        "@odata.type": "#Power.v1_7_3.Power",
        "Id": "Power",
        "Name": "Power",
        "PowerControl@odata.count": 1,
        "PowerControl": [{
            "@odata.id": "/redfish/v1/Chassis/1/Power#/PowerControl/0",
            "MemberId": "0",
            "Name": "System Power Control",
            "PowerConsumedWatts": watts(view),
            "PowerCapacityWatts": 10_200,
            "Status": ok(),
        }],
        "PowerSupplies@odata.count": 1,
        "PowerSupplies": [{
            "@odata.id": "/redfish/v1/Chassis/1/Power#/PowerSupplies/0",
            "MemberId": "0",
            "Name": "Power Supply 1",
            "PowerSupplyType": "AC",
            "LineInputVoltage": 230,
            "PowerCapacityWatts": 10_200,
            "Status": ok(),
        }],
    })
}

struct Device<'a> {
    class: &'static str,
    /// PCI class code, six hexadecimal digits.
    code: &'static str,
    name: String,
    manufacturer: &'a str,
    model: &'a str,
    serial: Option<&'a str>,
    pci: &'a str,
    ids: Option<(u16, u16)>,
    link: Option<(u8, u8)>,
}

fn devices(facts: &Facts) -> Vec<Device<'_>> {
    let gpus = facts.gpus.iter().enumerate().map(|(i, g)| Device {
        class: "DisplayController",
        code: "0x030200",
        name: format!("GPU {}", i + 1),
        manufacturer: &g.manufacturer,
        model: &g.model,
        serial: Some(&g.serial),
        pci: &g.pci,
        ids: Some((g.vendor_id, g.device_id)),
        link: Some((g.link_gen, g.link_width)),
    });
    let nics = facts.nics.iter().enumerate().map(|(i, n)| Device {
        class: "NetworkController",
        code: "0x020000",
        name: format!("NIC {}", i + 1),
        manufacturer: &n.manufacturer,
        model: &n.model,
        serial: None,
        pci: &n.pci,
        ids: Some((n.vendor_id, n.device_id)),
        link: None,
    });
    let drives = facts.drives.iter().enumerate().map(|(i, d)| Device {
        class: "MassStorageController",
        code: "0x010802",
        name: format!("NVMe Drive {}", i + 1),
        manufacturer: &d.manufacturer,
        model: &d.model,
        serial: Some(&d.serial),
        pci: &d.pci,
        ids: None,
        link: None,
    });
    gpus.chain(nics).chain(drives).collect()
}

fn pcie(n: usize, device: &Device<'_>) -> Value {
    let mut value = json!({
        "@odata.type": "#PCIeDevice.v1_15_0.PCIeDevice",
        "Id": n.to_string(),
        "Name": device.name,
        "Manufacturer": device.manufacturer,
        "Model": device.model,
        "SerialNumber": device.serial,
        "DeviceType": "SingleFunction",
        "Status": ok(),
        "PCIeFunctions": link(&format!("Chassis/1/PCIeDevices/{n}/PCIeFunctions")),
        "Links": { "Chassis": [link("Chassis/1")] },
    });
    if let (Some(object), Some((generation, width))) = (value.as_object_mut(), device.link) {
        object.insert(
            "PCIeInterface".into(),
            json!({
                "PCIeType": format!("Gen{generation}"),
                "MaxPCIeType": format!("Gen{generation}"),
                "LanesInUse": width,
                "MaxLanes": width,
            }),
        );
    }
    value
}

fn function(n: usize, device: &Device<'_>) -> Value {
    let id = |id: Option<u16>| id.map(|id| format!("0x{id:04x}"));
    json!({
        "@odata.type": "#PCIeFunction.v1_6_0.PCIeFunction",
        "Id": "0",
        "Name": format!("{} Function", device.name),
        "Description": format!("at {}", device.pci),
        "FunctionId": 0,
        "FunctionType": "Physical",
        "DeviceClass": device.class,
        "ClassCode": device.code,
        "VendorId": id(device.ids.map(|i| i.0)),
        "DeviceId": id(device.ids.map(|i| i.1)),
        "Enabled": true,
        "Status": ok(),
        "Links": { "PCIeDevice": link(&format!("Chassis/1/PCIeDevices/{n}")) },
    })
}
