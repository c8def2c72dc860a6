//! Discovery of three real servers, from recordings of their BMCs.
//!
//! The recordings lie beside the project, not in it; without them these tests
//! say so and pass over.

use std::path::{Path, PathBuf};

use crate::common::tree::recorded;
use crate::common::{PASSWORD, Serving, USER, serve};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use billet_bmc::Discovery;
use billet_model::bmc::{BmcFact, BmcReply, BmcRequest};
use billet_model::inventory::{DriveKind, Gpu, Inventory, Nic, Sensor};
use billet_model::lifecycle::Power;

/// Serves a tree as the BMC did: sessions, a token asked for, one file a resource.
async fn replay(root: PathBuf) -> Serving {
    let app = Router::new().fallback(move |request: Request<Body>| {
        let root = root.clone();
        async move { answer(&root, request).await }
    });
    serve(app).await
}

async fn answer(root: &Path, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let token = request.headers().get("x-auth-token").cloned();
    let sessions = path == "/redfish/v1/SessionService/Sessions";
    match *request.method() {
        Method::POST if sessions => {
            let bytes = axum::body::to_bytes(request.into_body(), 10_000)
                .await
                .unwrap();
            let login: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            if login["UserName"] != USER || login["Password"] != PASSWORD {
                return status(StatusCode::UNAUTHORIZED);
            }
            Response::builder()
                .status(201)
                .header("X-Auth-Token", "t0ken")
                .header("Location", "/redfish/v1/SessionService/Sessions/7")
                .body(Body::from("{}"))
                .unwrap()
        }
        Method::GET if path != "/redfish/v1" && token.is_none_or(|t| t != "t0ken") => {
            status(StatusCode::UNAUTHORIZED)
        }
        Method::GET => match std::fs::read(root.join(&path[1..]).join("index.json")) {
            Ok(bytes) => Response::builder()
                .header("Content-Type", "application/json")
                .body(Body::from(bytes))
                .unwrap(),
            Err(_) => status(StatusCode::NOT_FOUND),
        },
        Method::DELETE if path.starts_with("/redfish/v1/SessionService/Sessions/") => {
            status(StatusCode::NO_CONTENT)
        }
        // A discovery that writes would be an outrage.
        _ => panic!("{} {path} is no read", request.method()),
    }
}

fn status(code: StatusCode) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::empty())
        .unwrap()
}

async fn discover(vendor: &str) -> Option<Discovery> {
    let (_dir, root) = recorded(vendor)?;
    let bmc = replay(root).await;
    let client = bmc.client();
    let found = client.discover().await.unwrap();
    assert_eq!(found.fingerprint, bmc.fingerprint);
    client.close().await;
    Some(found)
}

fn sensor<'a>(found: &'a Inventory, name: &str) -> &'a Sensor {
    let sensor = found.sensors.iter().find(|s| s.name == name);
    sensor.unwrap_or_else(|| panic!("no sensor {name:?}"))
}

fn version<'a>(found: &'a Inventory, component: &str) -> &'a str {
    let firmware = found.firmware.iter().find(|f| f.component == component);
    &firmware
        .unwrap_or_else(|| panic!("no firmware {component:?}"))
        .version
}

fn nic<'a>(found: &'a Inventory, mac: &str) -> &'a Nic {
    let nic = found.nics.iter().find(|n| n.mac.as_deref() == Some(mac));
    nic.unwrap_or_else(|| panic!("no interface {mac}"))
}

fn serials(found: &Inventory) -> Vec<&str> {
    found
        .drives
        .iter()
        .filter_map(|d| d.serial.as_deref())
        .collect()
}

/// What `billet bmc inspect` prints is what it reads back.
fn survives_json(found: &Discovery) {
    let text = serde_json::to_string(found).unwrap();
    assert_eq!(&serde_json::from_str::<Discovery>(&text).unwrap(), found);
}

#[tokio::test]
async fn what_a_server_draws_is_read_from_where_its_bmc_measures_it() {
    for (vendor, drawn) in [("dell", 614), ("hpe", 531), ("lenovo", 700)] {
        let Some((_dir, root)) = recorded(vendor) else {
            return;
        };
        let bmc = replay(root).await;
        let client = bmc.client();
        let reply = client.carry_out(&BmcRequest::ReadWatts, None).await;
        let fact = BmcFact::Watts { watts: Some(drawn) };
        assert_eq!(reply, BmcReply::Done { fact }, "{vendor}");
        client.close().await;
    }
}

#[tokio::test]
async fn dell_poweredge_r750() {
    let Some(found) = discover("dell").await else {
        return;
    };
    survives_json(&found);
    let inventory = &found.inventory;
    let system = &inventory.system;
    assert_eq!(system.manufacturer.as_deref(), Some("Dell Inc."));
    assert_eq!(system.model.as_deref(), Some("PowerEdge R750"));
    // The service tag is on the label and in SMBIOS; the board's number is a note.
    assert_eq!(system.serial.as_deref(), Some("F54P1G3"));
    assert!(inventory.notes.iter().any(|n| n.contains("CNIVC0014M0388")));
    assert_eq!(
        system.uuid.as_deref(),
        Some("4c4c4544-0035-3410-8050-c6c04f314733")
    );
    assert_eq!(found.power, Power::On);
    assert!(found.service.managers[0].contains("6.00.30.00"));
    assert_eq!(version(inventory, "BIOS"), "1.8.2");
    assert_eq!(version(inventory, "BMC"), "6.00.30.00");
    assert_eq!(version(inventory, "PCIe SSD in Slot 0 in Bay 1"), "2.1.3");
    assert!(
        !inventory
            .firmware
            .iter()
            .any(|f| f.version.starts_with("4.40")),
        "that one is the previous"
    );
    assert_eq!(found.boot.mode.as_deref(), Some("UEFI"));
    assert!(found.boot.targets.iter().any(|t| t == "Cd"));
    assert_eq!(found.boot.order[0], "Boot0000");
    assert!(found.boot.options.iter().any(|o| {
        o.reference == "Boot0000"
            && o.name.as_deref() == Some("HTTP Device 1: NIC in Slot 5 Port 1")
    }));
    let cds: Vec<&str> = found
        .virtual_media
        .iter()
        .filter(|s| s.cd)
        .map(|s| s.path.as_str())
        .collect();
    assert!(cds.contains(&"/redfish/v1/Managers/iDRAC.Embedded.1/VirtualMedia/CD"));
    assert!(
        found.virtual_media.iter().any(|s| !s.cd),
        "the removable disk is no CD"
    );
    assert_eq!(inventory.cpus.len(), 2);
    assert_eq!(
        inventory.cpus[0].model.as_deref(),
        Some("Intel(R) Xeon(R) Gold 6354 CPU @ 3.00GHz")
    );
    assert_eq!(
        (inventory.cpus[0].cores, inventory.cpus[0].threads),
        (Some(18), Some(36))
    );
    assert_eq!(inventory.memory.total_bytes, 512 << 30);
    assert_eq!(inventory.memory.modules.len(), 16);
    assert!(
        inventory
            .memory
            .modules
            .iter()
            .any(|m| m.serial.as_deref() == Some("2E67A144") && m.slot == "DIMM B1")
    );
    assert_eq!(
        serials(inventory),
        ["61X0A002TCD8", "61M0A08ZTCD8", "61P0A06CTCD8"]
    );
    assert!(
        inventory
            .drives
            .iter()
            .all(|d| d.kind == DriveKind::Nvme && d.size_bytes == 1_920_383_410_176)
    );
    assert_eq!(inventory.nics.len(), 7);
    assert_eq!(nic(inventory, "70:b5:e8:f0:52:dc").link, Some(false));
    assert_eq!(
        nic(inventory, "b8:3f:d2:90:97:c4").model.as_deref(),
        Some("BlueField-2 SmartNIC Main Card")
    );
    // This one is InfiniBand, and only the adapter's ports know it.
    assert_eq!(nic(inventory, "b8:3f:d2:a4:1b:d3").link, Some(true));
    assert_eq!(inventory.pci.len(), 18);
    assert_eq!(
        inventory.gpus,
        [Gpu {
            address: "0000:17:00.0".into(),
            model: Some("NVIDIA H100 PCIe".into()),
            manufacturer: Some("NVIDIA Corporation".into()),
            serial: Some("1654422007043".into()),
            ..Gpu::default()
        }]
    );
    let tpm = inventory.tpm.as_ref().unwrap();
    assert_eq!(
        (tpm.version.as_str(), tpm.firmware.as_deref()),
        ("2.0", Some("7.2.2.0"))
    );
    assert_eq!(sensor(inventory, "CPU1 Temp").value, Some(37.0));
    assert_eq!(sensor(inventory, "System Board Fan1A").value, Some(18600.0));
    assert_eq!(sensor(inventory, "System Power Control").value, Some(614.0));
    assert_eq!(sensor(inventory, "PS1 Current 1").value, Some(1.4));
}

#[tokio::test]
async fn hpe_proliant_dl385() {
    let Some(found) = discover("hpe").await else {
        return;
    };
    survives_json(&found);
    let inventory = &found.inventory;
    assert_eq!(inventory.notes, [""; 0]);
    assert_eq!(
        inventory.system.model.as_deref(),
        Some("ProLiant DL385 Gen10 Plus v2")
    );
    assert_eq!(inventory.system.serial.as_deref(), Some("MXQ302099S"));
    assert_eq!(found.power, Power::On);
    assert_eq!(version(inventory, "BIOS"), "A42 v2.60 (08/11/2022)");
    assert_eq!(version(inventory, "BMC"), "iLO 5 v2.72");
    assert_eq!(found.boot.order.len(), 30);
    let cds: Vec<&str> = found
        .virtual_media
        .iter()
        .filter(|s| s.cd)
        .map(|s| s.path.as_str())
        .collect();
    assert_eq!(cds, ["/redfish/v1/Managers/1/VirtualMedia/2"]);
    assert_eq!(inventory.cpus.len(), 2);
    assert_eq!(
        inventory.cpus[1].model.as_deref(),
        Some("AMD EPYC 7763 64-Core Processor")
    );
    assert_eq!(inventory.cpus[1].cores, Some(64));
    assert_eq!(inventory.memory.total_bytes, 1024 << 30);
    assert_eq!(
        inventory.memory.modules.len(),
        16,
        "empty slots are no modules"
    );
    assert_eq!(inventory.drives.len(), 18);
    let nvme = inventory
        .drives
        .iter()
        .find(|d| d.name == "DA000000")
        .unwrap();
    assert_eq!(nvme.serial.as_deref(), Some("S6C1NA0TA01511"));
    assert_eq!(nvme.wwn.as_deref(), Some("0025389A210108DA"));
    assert_eq!(
        (nvme.kind, nvme.size_bytes),
        (DriveKind::Nvme, 6_401_252_745_216)
    );
    // Behind the RAID controller, where only the vendor's own list has them.
    let sata = inventory
        .drives
        .iter()
        .find(|d| d.serial.as_deref() == Some("S6MPNE0T802701"))
        .unwrap();
    assert_eq!(sata.kind, DriveKind::Ssd);
    // One drive says that it is not well.
    let ill: Vec<&str> = inventory
        .drives
        .iter()
        .filter(|d| d.healthy == Some(false))
        .map(|d| d.name.as_str())
        .collect();
    assert_eq!(ill, ["DA00001C"]);
    assert_eq!(nic(inventory, "b8:3f:d2:d7:f7:4a").link, Some(true));
    assert_eq!(
        nic(inventory, "b8:3f:d2:d7:f7:4a").speed_mbps,
        Some(100_000)
    );
    assert!(
        inventory
            .nics
            .iter()
            .all(|n| n.mac.as_ref().is_some_and(|m| m.len() == 17)),
        "a GUID is no MAC"
    );
    let controller = inventory
        .pci
        .iter()
        .find(|p| p.name.as_deref() == Some("830824-B21"))
        .unwrap();
    assert_eq!(
        (controller.vendor.as_str(), controller.device.as_str()),
        ("9005", "028f")
    );
    assert!(inventory.gpus.is_empty(), "the BMC's own screen is no GPU");
    assert_eq!(
        inventory.tpm.as_ref().unwrap().firmware.as_deref(),
        Some("73.64")
    );
    assert_eq!(sensor(inventory, "01-Inlet Ambient").value, Some(20.0));
    assert_eq!(sensor(inventory, "Fan 1").value, Some(51.0));
}

#[tokio::test]
async fn lenovo_thinksystem_sr670() {
    let Some(found) = discover("lenovo").await else {
        return;
    };
    survives_json(&found);
    let inventory = &found.inventory;
    assert_eq!(
        inventory.system.model.as_deref(),
        Some("ThinkSystem SR670 V2")
    );
    assert_eq!(inventory.system.serial.as_deref(), Some("J105958B"));
    assert_eq!(found.power, Power::On);
    assert_eq!(version(inventory, "BIOS"), "U8E122J");
    assert_eq!(version(inventory, "GPU firmware (GPU8)"), "95.02.39.00.01");
    assert!(
        !inventory
            .firmware
            .iter()
            .any(|f| f.component.contains("Backup"))
    );
    assert_eq!(found.boot.order, ["Boot0003", "Boot0002"]);
    assert_eq!(found.virtual_media.len(), 20);
    assert_eq!(
        inventory.cpus.len(),
        2,
        "GPUs are listed among processors and are none"
    );
    assert_eq!(inventory.memory.modules.len(), 16);
    assert_eq!(inventory.memory.total_bytes, 1024 << 30);
    assert_eq!(
        serials(inventory),
        [
            "233242BE0C46",
            "233242BE0C5A",
            "233442ABA3AB",
            "233442ABA28A"
        ]
    );
    assert_eq!(inventory.nics.len(), 4);
    assert_eq!(
        nic(inventory, "00:62:0b:4c:28:4e").model.as_deref(),
        Some("BCM5719")
    );
    assert!(
        inventory.notes.iter().any(|n| n.contains("ToManager")),
        "the host interface is noted"
    );
    assert_eq!(inventory.pci.len(), 19);
    assert_eq!(inventory.gpus.len(), 8);
    let gpu = inventory
        .gpus
        .iter()
        .find(|g| g.serial.as_deref() == Some("1325322005680"))
        .unwrap();
    assert_eq!(gpu.address, "0000:1c:00.0");
    assert_eq!(gpu.model.as_deref(), Some("NVIDIA L40"));
    assert!(!gpu.stand_in);
    let card = inventory
        .pci
        .iter()
        .find(|p| p.address == "0000:1c:00.0")
        .unwrap();
    let link = card.link.as_ref().unwrap();
    assert_eq!(
        (link.width, link.max_width, link.speed),
        (Some(16), Some(16), Some(160))
    );
    assert_eq!(sensor(inventory, "Ambient Temp").value, Some(19.0));
    assert_eq!(
        sensor(inventory, "Fan 1A Tach").unit.as_deref(),
        Some("RPM")
    );
}

#[tokio::test]
async fn firmware_settings_of_all_three() {
    for (vendor, count, name, value, boot) in [
        ("dell", 455, "AcPwrRcvryUserDelay", "120", "Boot0000"),
        ("hpe", 277, "AcpiSlit", "Enabled", "Boot002C"),
        (
            "lenovo",
            348,
            "Processors_SWGuardExtensions",
            "Disabled",
            "Boot0003",
        ),
    ] {
        let Some((_dir, root)) = recorded(vendor) else {
            return;
        };
        let bmc = replay(root).await;
        let settings = bmc.client().firmware_settings().await.unwrap();
        // An attribute that is null says nothing and is not kept.
        assert!(
            settings.bios.len() <= count && settings.bios.len() > count / 2,
            "{vendor}: {}",
            settings.bios.len()
        );
        assert_eq!(
            settings.bios.get(name).map(String::as_str),
            Some(value),
            "{vendor}"
        );
        assert_eq!(settings.secure_boot, Some(false), "{vendor}");
        assert_eq!(settings.boot_order[0], boot, "{vendor}");
        assert!(settings.versions.contains_key("BIOS"), "{vendor}");
    }
}
