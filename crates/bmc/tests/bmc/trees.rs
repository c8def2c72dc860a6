//! Discovery of servers that nobody recorded: GPU servers of several systems, chassis, trays and
//! modules, and one that gets everything wrong that can be got wrong.

use crate::common::tree::{Replay, corpus};
use billet_bmc::Discovery;
use billet_model::lifecycle::Power;

async fn discover(name: &str) -> Discovery {
    let bmc = Replay::new(corpus(name)).serve().await;
    bmc.client().discover().await.unwrap()
}

fn addresses(found: &Discovery) -> Vec<&str> {
    let gpus = found.inventory.gpus.iter();
    gpus.map(|g| g.address.as_str()).collect()
}

fn noted(found: &Discovery, words: &str) -> bool {
    found.inventory.notes.iter().any(|n| n.contains(words))
}

#[tokio::test]
async fn a_host_and_its_gpu_baseboard() {
    let found = discover("host-and-baseboard").await;
    assert_eq!(found.service.system, "/redfish/v1/Systems/DGX/");
    assert_eq!(found.service.managers.len(), 2);
    let inventory = &found.inventory;
    assert_eq!(inventory.cpus.len(), 2);
    assert_eq!(inventory.memory.total_bytes, 256 << 30);
    assert_eq!(inventory.drives.len(), 4);
    assert_eq!(inventory.nics[0].mac.as_deref(), Some("94:6d:ae:00:00:01"));
    // Each GPU is listed as a processor and as a PCIe device, one of them by the host as well.
    assert_eq!(inventory.gpus.len(), 8, "{:#?}", inventory.gpus);
    for gpu in &inventory.gpus {
        assert_eq!(gpu.model.as_deref(), Some("H100 80GB HBM3"));
        assert_eq!(gpu.memory_bytes, Some(81_559 << 20));
        assert!(gpu.serial.is_some() && gpu.uuid.is_some());
    }
    assert_eq!(inventory.pci.len(), 12, "switches are devices and no GPUs");
    assert!(
        inventory
            .sensors
            .iter()
            .any(|s| s.name == "GPU_SXM_8_TEMP_0")
    );
    assert_eq!(found.boot.options.len(), 2);
    // The first manager that the system names has no media; the second has.
    let slots = &found.virtual_media;
    assert!(slots.len() == 1 && slots[0].cd, "{slots:?}");
    assert_eq!(inventory.notes, [""; 0]);
}

#[tokio::test]
async fn trays_that_count_their_gpus_from_one_each() {
    let found = discover("trays").await;
    assert_eq!(found.power, Power::Off);
    assert_eq!(
        addresses(&found),
        [
            "Tray1/1/1",
            "Tray1/2/1",
            "Tray1b/GPU7",
            "Tray2/1/1",
            "Tray2/2/1",
            "Tray2b/GPU7",
        ],
        "{:#?}",
        found.inventory.gpus
    );
    let serials: Vec<_> = found
        .inventory
        .gpus
        .iter()
        .filter_map(|g| g.serial.as_deref())
        .collect();
    assert_eq!(serials, ["T1G1", "T1G2", "T1A", "T2G1", "T2G2", "T2A"]);
}

#[tokio::test]
async fn processors_in_modules_of_another_system() {
    let found = discover("modules").await;
    assert_eq!(found.service.system, "/redfish/v1/Systems/System_0");
    let inventory = &found.inventory;
    assert_eq!(inventory.cpus.len(), 2);
    assert_eq!(inventory.cpus[0].cores, Some(72));
    assert_eq!(inventory.gpus.len(), 4, "{:#?}", inventory.gpus);
    assert_eq!(
        inventory.memory.total_bytes,
        2 * (480 << 30),
        "not the GPUs' own"
    );
    assert!(noted(&found, "processors are listed by another system"));
    assert!(noted(&found, "memory is listed by another system"));
    assert!(
        found.virtual_media.iter().any(|s| s.cd),
        "at the manager that nobody names"
    );
}

#[tokio::test]
async fn a_tree_in_which_all_is_odd() {
    let found = discover("oddities").await;
    let inventory = &found.inventory;
    assert_eq!(inventory.system.serial.as_deref(), Some("12345"));
    assert_eq!(found.power, Power::Unknown);
    let sockets: Vec<_> = inventory.cpus.iter().map(|c| c.socket.as_str()).collect();
    assert!(sockets.contains(&"1"), "{sockets:?}");
    let serials: Vec<_> = inventory
        .drives
        .iter()
        .filter_map(|d| d.serial.as_deref())
        .collect();
    assert_eq!(serials, ["D1", "D2"]);
    assert_eq!(inventory.nics[0].mac.as_deref(), Some("94:6d:ae:00:00:01"));
    assert!(inventory.sensors.iter().any(|s| s.value == Some(7.0)));
    for words in [
        "its members are null",
        "its members are no list",
        "a member without a link",
        "Storage/text",
        "Storage/list",
        "Storage/cut",
        "PCIeDevices/gone",
        "does not say its manufacturer",
    ] {
        assert!(noted(&found, words), "{words}: {:#?}", inventory.notes);
    }
}
