//! Foreign clients drive the lab's BMCs: OpenStack's sushy and DMTF's redfish, from PyPI.

use std::path::Path;
use std::time::Duration;

use billet_lab::{Lab, LabOptions, Model};

/// Run a script against a phantom with the Python of `BILLET_TEST_VENV`; skipped, and said so,
/// where that is not set.
async fn drive(script: &str) {
    let Some(venv) = std::env::var_os("BILLET_TEST_VENV") else {
        // What was skipped is the one thing that a test prints.
        #[allow(clippy::print_stderr)]
        {
            eprintln!(
                "skipped: set BILLET_TEST_VENV to a Python venv with the packages of \
                 tests/bmc-conformance/requirements.txt"
            );
        }
        return;
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bmc-conformance");
    let lab = Lab::start(LabOptions {
        phantoms: 1,
        // The one with the fewest parts: clients read them all, again and again.
        phantom_models: vec![Model::Cpu],
        ..LabOptions::default()
    })
    .await
    .expect("a lab");
    let machine = lab.machines().remove(0);
    let child = tokio::process::Command::new(Path::new(&venv).join("bin/python"))
        .arg("-B")
        .arg(scripts.join(script))
        .args([&machine.bmc, &machine.user, &machine.password])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), child)
        .await
        .expect("in time")
        .expect("Python");
    let said = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{trouble}");
    assert!(said.contains("all as it should be"), "{said}{trouble}");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sushy_drives_a_bmc() {
    drive("drive_sushy.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dmtfs_redfish_drives_a_bmc() {
    drive("drive_redfish.py").await;
}
