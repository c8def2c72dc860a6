//! An emulated machine: real firmware behind a BMC.

use std::time::{Duration, Instant};

use crate::common::Caller;
use crate::common::efi::{End, bootable};
use axum::Router;
use axum::routing::get;
use billet_lab::{Lab, LabOptions, NetOptions};
use reqwest::StatusCode;
use serde_json::json;

/// Whether tests may start QEMU; says so where they may not.
fn may_run() -> bool {
    let may = std::env::var_os("BILLET_TEST_QEMU").is_some();
    if !may {
        // What was skipped is the one thing that a test prints.
        #[allow(clippy::print_stderr)]
        {
            eprintln!("skipped: set BILLET_TEST_QEMU=1 to run tests with QEMU");
        }
    }
    may
}

fn options() -> LabOptions {
    LabOptions {
        machines: 1,
        seed: Some(5),
        memory_mib: 768,
        drive_bytes: 256 << 20,
        gpus: 2,
        net: NetOptions {
            reached_at: [127, 88, 77, 0].into(),
            ..NetOptions::default()
        },
        ..LabOptions::default()
    }
}

/// Translated firmware takes 8 s to boot where nothing else runs, and its machine is shared.
const BOOT: Duration = Duration::from_secs(120);

async fn console_says(lab: &Lab, words: &str) {
    let begin = Instant::now();
    while !lab.console("lab-001").expect("a machine").contains(words) {
        let so_far = lab.console("lab-001").expect("a machine");
        assert!(begin.elapsed() < BOOT, "no {words:?} in {so_far:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn serve(file: std::path::PathBuf) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let medium = std::fs::read(file).expect("the medium");
    let router = Router::new().route("/stick.img", get(async move || medium.clone()));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/stick.img")
}

/// An override for once is obeyed by the firmware, and spent: when the system that it booted
/// restarts the machine, the drive boots; and when that powers the machine off, it is off.
#[tokio::test]
async fn a_restart_after_an_override_for_once_boots_the_drive() {
    if !may_run() {
        return;
    }
    let lab = Lab::start(options()).await.expect("a lab");
    let machine = lab.machines().remove(0);
    assert!(machine.model.ends_with("(emulated)"));
    bootable(&machine.drive_files[0], "BOOTED-FROM-DRIVE", End::Off);
    let scratch = tempfile::tempdir().expect("a directory");
    let stick = scratch.path().join("stick.img");
    bootable(&stick, "BOOTED-FROM-STICK", End::Reset);

    let caller = Caller::new(machine);
    assert_eq!(caller.power().await, "Off");
    let insert = "/redfish/v1/Managers/1/VirtualMedia/Usb/Actions/VirtualMedia.InsertMedia";
    let inserted = caller
        .post(insert, json!({ "Image": serve(stick).await }))
        .await;
    assert_eq!(inserted.status(), StatusCode::NO_CONTENT);
    let once = json!({ "Boot": {
        "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Usb",
    }});
    let patched = caller.patch("/redfish/v1/Systems/1", once).await;
    assert_eq!(patched.status(), StatusCode::OK);

    assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
    assert_eq!(caller.power().await, "On");
    console_says(&lab, "BOOTED-FROM-STICK").await;
    console_says(&lab, "BOOTED-FROM-DRIVE").await;
    caller.power_becomes("Off").await;
    let said = lab.console("lab-001").expect("a machine");
    assert_eq!(said.matches("BOOTED-FROM-STICK").count(), 1, "{said}");

    // Once more, and its power is cut in the middle of the firmware.
    assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
    assert_eq!(caller.power().await, "On");
    assert_eq!(caller.reset("ForceOff").await, StatusCode::NO_CONTENT);
    assert_eq!(caller.power().await, "Off");

    // QEMU takes drives that fail; what an agent makes of them is tested where agents are.
    let fails = json!({ "at": "erase", "kind": "drive_errors", "count": 1 });
    let fails = serde_json::from_value(fails).expect("a fault");
    lab.faults().add(fails).expect("armed");
    let once = json!({ "Boot": {
        "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Usb",
    }});
    let patched = caller.patch("/redfish/v1/Systems/1", once).await;
    assert_eq!(patched.status(), StatusCode::OK);
    assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
    assert!(lab.faults().list().is_empty());
    lab.stop().await;
}
