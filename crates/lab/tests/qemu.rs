//! An emulated machine: real firmware behind a BMC.

#[allow(dead_code)]
mod common;

use std::time::{Duration, Instant};

use billet_lab::{Lab, LabOptions, NetOptions};
use common::Caller;
use reqwest::StatusCode;

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

async fn console_says(lab: &Lab, words: &str, within: Duration) {
    let begin = Instant::now();
    while !lab.console("lab-001").expect("a machine").contains(words) {
        let so_far = lab.console("lab-001").expect("a machine");
        assert!(begin.elapsed() < within, "no {words:?} in {so_far:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn firmware_starts_on_power_on_and_is_gone_on_power_off() {
    if !may_run() {
        return;
    }
    let lab = Lab::start(options()).await.expect("a lab");
    let machine = lab.machines().remove(0);
    assert!(machine.model.ends_with("(emulated)"));
    let caller = Caller::new(machine);
    assert_eq!(caller.power().await, "Off");
    assert_eq!(caller.reset("On").await, StatusCode::NO_CONTENT);
    assert_eq!(caller.power().await, "On");
    console_says(&lab, "BdsDxe", Duration::from_secs(40)).await;
    assert_eq!(caller.reset("ForceOff").await, StatusCode::NO_CONTENT);
    assert_eq!(caller.power().await, "Off");
    lab.stop().await;
}
