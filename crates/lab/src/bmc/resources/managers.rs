//! The BMC itself: virtual media, its own network, its log.

use serde_json::{Value, json};

use super::{View, collection, link, member_log_services};
use crate::metal::MediaSlot;

pub(super) fn render(view: &View<'_>, path: &[&str]) -> Option<Value> {
    match path {
        [] => Some(collection(
            "Manager",
            "Manager Collection",
            "Managers",
            ["1"],
        )),
        ["1", rest @ ..] => match rest {
            [] => Some(manager(view)),
            ["VirtualMedia"] => Some(collection(
                "VirtualMedia",
                "Virtual Media",
                "Managers/1/VirtualMedia",
                MediaSlot::ALL.map(MediaSlot::as_redfish),
            )),
            ["VirtualMedia", id] => slot(id).map(|slot| virtual_media(view, slot)),
            ["EthernetInterfaces"] => Some(collection(
                "EthernetInterface",
                "Manager Ethernet Interfaces",
                "Managers/1/EthernetInterfaces",
                ["1"],
            )),
            ["EthernetInterfaces", "1"] => Some(ethernet(view)),
            ["NetworkProtocol"] => Some(protocols(view)),
            ["LogServices", rest @ ..] => member_log_services(view, "Managers/1", rest),
            _ => None,
        },
        _ => None,
    }
}

/// The slot that a member's name stands for.
pub(crate) fn slot(id: &str) -> Option<MediaSlot> {
    MediaSlot::ALL.into_iter().find(|s| s.as_redfish() == id)
}

fn manager(view: &View<'_>) -> Value {
    json!({
        "@odata.type": "#Manager.v1_19_1.Manager",
        "Id": "1",
        "Name": "BMC",
        "ManagerType": "BMC",
        "Manufacturer": crate::facts::MANUFACTURER,
        "Model": view.facts.model,
        "UUID": view.uuid,
        "ServiceEntryPointUUID": view.uuid,
        "FirmwareVersion": view.facts.bmc_firmware,
        "PowerState": "On",
        "DateTime": jiff::Timestamp::now().to_string(),
        "DateTimeLocalOffset": "+00:00",
        "Status": { "State": "Enabled", "Health": "OK" },
        "SerialConsole": {
            "ServiceEnabled": true,
            "MaxConcurrentSessions": 8,
            "ConnectTypesSupported": ["SSH"],
        },
        "VirtualMedia": link("Managers/1/VirtualMedia"),
        "EthernetInterfaces": link("Managers/1/EthernetInterfaces"),
        "NetworkProtocol": link("Managers/1/NetworkProtocol"),
        "LogServices": link("Managers/1/LogServices"),
        "Links": {
            "ManagerForServers": [link("Systems/1")],
            "ManagerForChassis": [link("Chassis/1")],
        },
        "Actions": { "#Manager.Reset": {
            "target": "/redfish/v1/Managers/1/Actions/Manager.Reset",
            "ResetType@Redfish.AllowableValues": ["GracefulRestart", "ForceRestart"],
        }},
    })
}

fn virtual_media(view: &View<'_>, slot: MediaSlot) -> Value {
    let id = slot.as_redfish();
    let inserted = view.state.media[slot.index()].as_ref();
    let types = match slot {
        MediaSlot::Cd => json!(["CD", "DVD"]),
        MediaSlot::Usb => json!(["USBStick"]),
    };
    let target = |action: &str| {
        json!({ "target":
            format!("/redfish/v1/Managers/1/VirtualMedia/{id}/Actions/VirtualMedia.{action}") })
    };
    json!({
        "@odata.type": "#VirtualMedia.v1_6_3.VirtualMedia",
        "Id": id,
        "Name": format!("Virtual {id}"),
        "MediaTypes": types,
        "Image": inserted.map(|m| m.url.as_str()),
        "ImageName": inserted.map(|m| image_name(&m.url)),
        "Inserted": inserted.is_some(),
        "WriteProtected": inserted.is_none_or(|m| m.write_protected),
        "ConnectedVia": if inserted.is_some() { "URI" } else { "NotConnected" },
        "TransferMethod": "Upload",
        "VerifyCertificate": false,
        "Status": { "State": "Enabled", "Health": "OK" },
        "Actions": {
            "#VirtualMedia.InsertMedia": target("InsertMedia"),
            "#VirtualMedia.EjectMedia": target("EjectMedia"),
        },
    })
}

/// The last part of an address, without what a query might hold.
fn image_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

fn ethernet(view: &View<'_>) -> Value {
    json!({
        "@odata.type": "#EthernetInterface.v1_12_1.EthernetInterface",
        "Id": "1",
        "Name": "Management Port",
        "InterfaceEnabled": true,
        "LinkStatus": "LinkUp",
        "MACAddress": view.mac,
        "PermanentMACAddress": view.mac,
        "SpeedMbps": 1000,
        "FullDuplex": true,
        "IPv4Addresses": [{
            "Address": view.address.ip().to_string(),
            "AddressOrigin": "Static",
        }],
        "Status": { "State": "Enabled", "Health": "OK" },
    })
}

fn protocols(view: &View<'_>) -> Value {
    json!({
        "@odata.type": "#ManagerNetworkProtocol.v1_10_1.ManagerNetworkProtocol",
        "Id": "NetworkProtocol",
        "Name": "Manager Network Protocol",
        "HostName": "",
        "HTTP": { "ProtocolEnabled": false, "Port": null },
        "HTTPS": { "ProtocolEnabled": true, "Port": view.address.port() },
        "SSH": { "ProtocolEnabled": true, "Port": view.ssh_port },
        "IPMI": { "ProtocolEnabled": false, "Port": null },
        "Status": { "State": "Enabled", "Health": "OK" },
    })
}
