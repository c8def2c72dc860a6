//! Discovery of BMCs that get things wrong: one bad part costs only itself.

use crate::common::Serving;
use crate::common::fake::{Fake, SYSTEM, Twist};
use axum::http::Method;
use billet_bmc::BmcError;
use billet_model::lifecycle::Power;
use serde_json::{Value, json};

const PROCESSORS: &str = "/redfish/v1/Systems/1/Processors";

fn always(fake: &Fake, path: &'static str, body: Value) {
    fake.twist(Method::GET, path, 999, Twist::Answer(200, body));
}

#[tokio::test]
async fn a_bmc_with_almost_nothing_is_discovered_with_notes() {
    let (fake, bmc) = Fake::start().await;
    let found = bmc.client().discover().await.unwrap();
    assert_eq!(found.power, Power::Off);
    assert_eq!(found.inventory.system.serial.as_deref(), Some("S1"));
    assert!(found.virtual_media[0].cd);
    for missing in [
        "no processor",
        "no drive",
        "no chassis",
        "no sensor",
        "no network interface",
    ] {
        assert!(
            found.inventory.notes.iter().any(|n| n.contains(missing)),
            "{missing}: {:?}",
            found.inventory.notes
        );
    }
    let changes = fake
        .state()
        .log
        .iter()
        .filter(|l| !l.starts_with("GET"))
        .count();
    assert_eq!(changes, 1, "only the login: {:?}", fake.state().log);
}

#[tokio::test]
async fn one_bad_member_costs_only_itself() {
    let (fake, bmc) = Fake::start().await;
    fake.state().system =
        json!({"Processors": {"@odata.id": PROCESSORS}, "Memory": {"@odata.id": ""}});
    always(
        &fake,
        PROCESSORS,
        json!({
            "Members": [
                {"@odata.id": "/redfish/v1/Systems/1/Processors/1"},
                {"@odata.id": "/redfish/v1/Systems/1/Processors/broken"},
                {"@odata.id": ""},
                null,
                {"@odata.id": "https://192.0.2.1/redfish/v1/Systems/1/Processors/2/"},
                {"@odata.id": "/redfish/v1/Systems/1/Processors/hung"},
            ],
            "Members@odata.nextLink": "/redfish/v1/Systems/1/Processors/page2",
        }),
    );
    always(
        &fake,
        "/redfish/v1/Systems/1/Processors/page2",
        json!({
            "Members": [{"Id": "3", "Name": "CPU 3", "@odata.id": "/x", "Socket": "3", "Model": "inline"}],
            "Members@odata.nextLink": PROCESSORS,
        }),
    );
    always(
        &fake,
        "/redfish/v1/Systems/1/Processors/1",
        json!({"Id": "1", "Socket": "1", "TotalCores": "16"}),
    );
    always(
        &fake,
        "/redfish/v1/Systems/1/Processors/2",
        json!({"Id": "", "Socket": null, "ProcessorType": null}),
    );
    fake.twist(
        Method::GET,
        "/redfish/v1/Systems/1/Processors/broken",
        999,
        Twist::Answer(404, json!({})),
    );
    fake.twist(
        Method::GET,
        "/redfish/v1/Systems/1/Processors/hung",
        999,
        Twist::Hang,
    );
    let found = bmc.client().discover().await.unwrap();
    let sockets: Vec<&str> = found
        .inventory
        .cpus
        .iter()
        .map(|c| c.socket.as_str())
        .collect();
    assert_eq!(sockets, ["1", "2", "3"]);
    assert_eq!(found.inventory.cpus[0].cores, Some(16));
    for said in ["/broken", "/hung", "a member without a link"] {
        assert!(
            found.inventory.notes.iter().any(|n| n.contains(said)),
            "{said}: {:?}",
            found.inventory.notes
        );
    }
}

#[tokio::test]
async fn members_that_are_null_are_none() {
    let (fake, bmc) = Fake::start().await;
    fake.state().system = json!({"Processors": {"@odata.id": PROCESSORS}});
    always(
        &fake,
        PROCESSORS,
        json!({"Members": null, "Members@odata.count": 0}),
    );
    let found = bmc.client().discover().await.unwrap();
    assert!(found.inventory.cpus.is_empty());
}

#[tokio::test]
async fn a_bmc_that_dies_on_the_way_is_no_empty_machine() {
    let (fake, bmc) = Fake::start().await;
    fake.state().system = json!({"Processors": {"@odata.id": PROCESSORS}});
    let members: Vec<Value> = (0..40)
        .map(|n| json!({"@odata.id": format!("/redfish/v1/Systems/1/Processors/{n}")}))
        .collect();
    always(&fake, PROCESSORS, json!({"Members": members}));
    for n in 0..40 {
        let path = Box::leak(format!("{PROCESSORS}/{n}").into_boxed_str());
        fake.twist(Method::GET, path, 999, Twist::Answer(503, json!({})));
    }
    let failed = bmc.client().discover().await.unwrap_err();
    assert!(matches!(failed, BmcError::Unreachable { .. }), "{failed}");
}

#[tokio::test]
async fn of_several_systems_the_host_is_the_machine_and_the_baseboard_has_its_gpus() {
    const BOARD: &str = "/redfish/v1/Systems/HGX_Baseboard_0";
    const BOARDS: &str = "/redfish/v1/Systems/HGX_Baseboard_0/Processors";
    let (fake, bmc) = Fake::start().await;
    always(
        &fake,
        "/redfish/v1/Systems",
        json!({"Members": [{"@odata.id": BOARD}, {"@odata.id": SYSTEM}]}),
    );
    always(
        &fake,
        BOARD,
        json!({
            "@odata.id": BOARD, "Id": "HGX_Baseboard_0", "SystemType": "Physical",
            "Processors": {"@odata.id": BOARDS},
        }),
    );
    always(
        &fake,
        BOARDS,
        json!({"Members": [
            {"@odata.id": "/redfish/v1/Systems/HGX_Baseboard_0/Processors/GPU_SXM_1"},
            {"@odata.id": "/redfish/v1/Systems/HGX_Baseboard_0/Processors/FPGA_0"},
        ]}),
    );
    always(
        &fake,
        "/redfish/v1/Systems/HGX_Baseboard_0/Processors/GPU_SXM_1",
        json!({
            "Id": "GPU_SXM_1", "ProcessorType": "GPU", "Model": "H100 80GB HBM3", "Manufacturer": "NVIDIA",
            "SerialNumber": "165", "UUID": "u-1", "MemorySummary": {"TotalMemorySizeMiB": 81559},
        }),
    );
    always(
        &fake,
        "/redfish/v1/Systems/HGX_Baseboard_0/Processors/FPGA_0",
        json!({
            "Id": "FPGA_0", "ProcessorType": "FPGA",
        }),
    );
    let found = bmc.client().discover().await.unwrap();
    assert_eq!(found.service.system, SYSTEM);
    assert_eq!(found.inventory.gpus.len(), 1);
    let gpu = &found.inventory.gpus[0];
    assert_eq!(gpu.uuid.as_deref(), Some("u-1"));
    assert_eq!(gpu.memory_bytes, Some(81_559 << 20));
}

#[tokio::test]
async fn slashes_do_not_matter() {
    let (fake, bmc) = Fake::start().await;
    always(
        &fake,
        "/redfish/v1/Systems",
        json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1/"}]}),
    );
    // This one answers 308 to the first form it is asked in.
    fake.twist(
        Method::GET,
        SYSTEM,
        1,
        Twist::Headers(308, vec![("Location", "/elsewhere")], json!({})),
    );
    assert_eq!(bmc.client().power().await.unwrap(), Power::Off);
    assert_eq!(
        fake.count("GET /elsewhere"),
        0,
        "redirects are not followed"
    );
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let (fake, bmc) = Fake::start().await;
    let client = bmc.client();
    client.power().await.unwrap();
    always(&fake, SYSTEM, json!({"Id": "x".repeat(9 << 20)}));
    let failed = client.power().await.unwrap_err();
    assert!(matches!(failed, BmcError::Malformed { .. }), "{failed}");
}

/// A service root that announces `$expand`, as it is announced with levels: one of them.
fn announces_expand(fake: &Fake) {
    announces_levels(fake, 1);
}

fn announces_levels(fake: &Fake, levels: u8) {
    always(
        fake,
        "/redfish/v1",
        json!({
            "Id": "RootService", "Name": "Fake",
            "ProtocolFeaturesSupported": {"ExpandQuery": {
                "NoLinks": true, "Levels": true, "MaxLevels": levels,
            }},
            "Systems": {"@odata.id": "/redfish/v1/Systems"},
            "Managers": {"@odata.id": "/redfish/v1/Managers"},
            "Links": {"Sessions": {"@odata.id": "/redfish/v1/SessionService/Sessions"}},
        }),
    );
    fake.state().system = json!({"Processors": {"@odata.id": PROCESSORS}});
}

fn processor(n: u32) -> Value {
    json!({
        "@odata.id": format!("{PROCESSORS}/{n}"), "Id": n.to_string(), "Name": "CPU",
        "ProcessorType": "CPU", "Model": format!("model {n}"), "TotalCores": 4,
    })
}

#[tokio::test]
async fn members_that_come_with_their_collection_are_not_read_again() {
    let (fake, bmc) = Fake::start().await;
    announces_expand(&fake);
    always(
        &fake,
        PROCESSORS,
        json!({"Members": [processor(1), processor(2)]}),
    );
    let found = bmc.client().discover().await.unwrap();
    assert_eq!(found.inventory.cpus.len(), 2, "{:?}", found.inventory.notes);
    assert_eq!(fake.count(&format!("GET {PROCESSORS} ")), 1);
    assert_eq!(fake.count(&format!("GET {PROCESSORS}/")), 0);
}

#[tokio::test]
async fn a_bmc_that_cannot_do_what_it_announces_is_read_one_by_one() {
    let (fake, bmc) = Fake::start().await;
    announces_expand(&fake);
    let cannot = Twist::Answer(501, json!({"error": {"message": "not implemented"}}));
    fake.twist(Method::GET, "/redfish/v1/Systems", 1, cannot);
    let links = [1, 2].map(|n| json!({"@odata.id": format!("{PROCESSORS}/{n}")}));
    always(&fake, PROCESSORS, json!({ "Members": links }));
    always(&fake, "/redfish/v1/Systems/1/Processors/1", processor(1));
    always(&fake, "/redfish/v1/Systems/1/Processors/2", processor(2));
    let found = bmc.client().discover().await.unwrap();
    assert_eq!(found.inventory.cpus.len(), 2, "{:?}", found.inventory.notes);
    // It was asked once for what it cannot do, of all its collections.
    assert_eq!(fake.count(&format!("GET {PROCESSORS} ")), 1);
    assert!(fake.count("GET /redfish/v1/Systems ") >= 2);
}

const STORAGE: &str = "/redfish/v1/Systems/1/Storage";
const DRIVE: &str = "/redfish/v1/Systems/1/Storage/1/Drives/1";

fn drive(serial: &str) -> Value {
    json!({
        "@odata.id": DRIVE, "@odata.type": "#Drive.v1_17_0.Drive", "Id": "1", "Name": "Drive",
        "SerialNumber": serial, "CapacityBytes": 960_197_124_096_u64,
    })
}

/// A collection of one controller, with this in place of its drives.
fn storage(drives: Value) -> Value {
    json!({"Members": [{
        "@odata.id": format!("{STORAGE}/1"), "@odata.type": "#Storage.v1_15_0.Storage",
        "Id": "1", "Name": "Storage", "Drives": drives,
        // A part of the controller itself, which is no resource.
        "Redundancy": [{
            "@odata.id": format!("{STORAGE}/1#/Redundancy/0"), "Id": "0", "Name": "Pair",
            "@odata.type": "#Redundancy.v1_5_0.Redundancy", "Mode": "Failover",
        }],
    }]})
}

/// The serial numbers of the drives that are found where `storage` is what comes of asking
/// for so many levels.
async fn serials(fake: &Fake, bmc: &Serving, levels: u8, storage: Value) -> Vec<Option<String>> {
    announces_levels(fake, levels);
    fake.state().system = json!({"Storage": {"@odata.id": STORAGE}});
    always(fake, STORAGE, storage);
    always(fake, DRIVE, drive("READ"));
    let found = bmc.client().discover().await.unwrap().inventory;
    found.drives.into_iter().map(|d| d.serial).collect()
}

fn serial(text: &str) -> Vec<Option<String>> {
    vec![Some(text.to_owned())]
}

#[tokio::test]
async fn what_stands_inside_of_members_is_not_read_again() {
    let (fake, bmc) = Fake::start().await;
    let inside = storage(json!([drive("INSIDE")]));
    assert_eq!(serials(&fake, &bmc, 6, inside).await, serial("INSIDE"));
    assert_eq!(fake.count(&format!("GET {STORAGE} ")), 1);
    assert_eq!(fake.count(&format!("GET {STORAGE}/")), 0);
}

#[tokio::test]
async fn a_few_words_about_a_resource_are_not_taken_for_it() {
    let words = json!({"@odata.id": DRIVE, "Id": "1", "Name": "Drive", "Status": {}});
    let list = "/redfish/v1/Systems/1/Storage/1/Drives";
    for short in [
        json!([words]),
        // Where the levels were used up, or the BMC left some out.
        json!({"@odata.id": list, "Name": "Drives", "Members": [], "Members@odata.count": 1}),
        json!({"@odata.id": list, "Name": "Drives", "Members": []}),
        json!({"@odata.id": list, "Name": "Drives", "Members": [words]}),
    ] {
        let (fake, bmc) = Fake::start().await;
        always(&fake, list, json!({"Members": [{"@odata.id": DRIVE}]}));
        let found = serials(&fake, &bmc, 6, storage(short.clone())).await;
        assert_eq!(found, serial("READ"), "{short}");
    }
}

#[tokio::test]
async fn nothing_is_asked_for_twice_in_a_discovery() {
    let (fake, bmc) = Fake::start().await;
    announces_levels(&fake, 6);
    let system = json!({
        "@odata.id": SYSTEM, "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": "1", "Name": "System", "SerialNumber": "S1", "PowerState": "Off",
    });
    always(&fake, "/redfish/v1/Systems", json!({"Members": [system]}));
    let slots = "/redfish/v1/Managers/1/VirtualMedia";
    let slot = fake.state().slot.clone();
    always(&fake, slots, json!({"Members": [slot]}));
    let found = bmc.client().discover().await.unwrap();
    assert_eq!(found.inventory.system.serial.as_deref(), Some("S1"));
    assert!(found.virtual_media[0].cd);
    let mut asked: Vec<String> = fake.state().log.clone();
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all, "{:#?}", fake.state().log);
}

#[tokio::test]
async fn what_a_list_says_of_a_system_is_not_taken_for_it() {
    let (fake, bmc) = Fake::start().await;
    let words = json!({"@odata.id": SYSTEM, "Id": "1", "Name": "System", "Status": {}});
    always(&fake, "/redfish/v1/Systems", json!({"Members": [words]}));
    let client = bmc.client();
    for look in ["the first", "the next"] {
        let found = client.discover().await.unwrap();
        let serial = found.inventory.system.serial;
        assert_eq!(serial.as_deref(), Some("S1"), "{look}");
        assert_eq!(found.power, Power::Off, "{look}");
    }
}

#[tokio::test]
async fn a_relative_link_at_depth_is_of_what_it_stands_in() {
    let (fake, bmc) = Fake::start().await;
    let mut inner = drive("INSIDE");
    inner["@odata.id"] = json!("1");
    let list = json!({
        "@odata.id": "/redfish/v1/Systems/1/Storage/1/Drives", "Name": "Drives",
        "Members": [inner], "Members@odata.count": 1,
    });
    let found = serials(&fake, &bmc, 6, storage(list)).await;
    assert_eq!(found, serial("INSIDE"));
    assert_eq!(fake.count(&format!("GET {STORAGE}/")), 0);
}

#[tokio::test]
async fn what_fails_at_depth_is_asked_for_with_its_members_alone() {
    // One that cannot, and one that misses something deep inside.
    for status in [500, 404] {
        let (fake, bmc) = Fake::start().await;
        let cannot = Twist::Answer(status, json!({"error": {"message": "too much"}}));
        fake.twist(Method::GET, STORAGE, 1, cannot);
        let links = storage(json!([{ "@odata.id": DRIVE }]));
        assert_eq!(serials(&fake, &bmc, 2, links).await, serial("READ"));
        // Once deep, and once with its members; what is deeper is read by itself then.
        assert_eq!(fake.count(&format!("GET {STORAGE} ")), 2, "{status}");
        assert_eq!(fake.count(&format!("GET {STORAGE}/1 ")), 0, "{status}");
        assert_eq!(fake.count(&format!("GET {DRIVE} ")), 1, "{status}");
    }
}
