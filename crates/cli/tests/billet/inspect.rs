//! `billet bmc inspect`, which needs no server: against a BMC of the lab, and what goes wrong there.

use billet_lab::{Lab, LabMachine, LabOptions, Model, faults::NewFault};
use serde_json::{Value, json};

use crate::support::{Home, Ran, text};

struct Bench {
    home: Home,
    lab: Lab,
    machine: LabMachine,
}

impl Bench {
    async fn new() -> Self {
        let lab = Lab::start(LabOptions {
            phantoms: 1,
            phantom_models: vec![Model::H100],
            ..LabOptions::default()
        });
        let lab = lab.await.expect("a lab");
        let machine = lab.machines().remove(0);
        let home = Home::new();
        Self { home, lab, machine }
    }

    async fn inspect(&self, password: &str, accept: &str, more: &[&str]) -> Ran {
        let file = self.home.write("pw", format!("{password}\n"));
        let mut arguments = vec![
            "bmc",
            "inspect",
            &self.machine.bmc,
            "--user",
            &self.machine.user,
            "--password-file",
            text(&file),
            "--accept-fingerprint",
            accept,
        ];
        arguments.extend(more);
        self.home.run(&arguments).await
    }

    fn arm(&self, fault: Value) {
        let fault: NewFault = serde_json::from_value(fault).expect("a fault");
        self.lab.faults().add(fault).expect("armed");
    }
}

#[tokio::test]
async fn a_bmc_is_read_without_a_server() {
    let b = Bench::new().await;
    let (password, print) = (&b.machine.password, &b.machine.fingerprint);
    let ran = b.inspect(password, print, &["-o", "json"]).await.good();
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(found["fingerprint"], *print);
    assert_eq!(found["system"]["serial"], b.machine.serial);
    assert_eq!(found["power"], "off");
    let count = |key: &str| {
        found[key]
            .as_array()
            .unwrap_or_else(|| panic!("{key}"))
            .len()
    };
    assert_eq!(count("drives"), b.machine.drives.len());
    assert_eq!(count("gpus"), b.machine.gpus as usize);
    for key in [
        "firmware",
        "cpus",
        "nics",
        "pci",
        "sensors",
        "virtual_media",
    ] {
        assert!(count(key) > 0, "{key}");
    }
    assert!(found["memory"]["total_bytes"].as_u64() > Some(0));
    assert!(found["boot"]["targets"].is_array() && found["notes"].is_array());
    assert!(found["nics"][0]["mac"].is_string());

    // And for people; with any certificate, in spite of what this BMC gets wrong.
    b.arm(json!({"at": "read", "kind": "null_members", "path": "/Storage"}));
    let shown = b.inspect(password, "any", &[]).await.good().stdout;
    let said = [
        &b.machine.serial,
        "virtual media",
        "sensors",
        "pcie devices",
        "members are null",
    ];
    for words in said {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    // Nothing is left behind but what was there: no session.
    b.lab.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_is_told_with_the_way_out() {
    let b = Bench::new().await;
    let (password, print) = (&b.machine.password, &b.machine.fingerprint);
    let wrong = b.inspect("mistyped", print, &[]).await;
    assert_eq!(wrong.code, 4, "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("hint: compare --user"),
        "{}",
        wrong.stderr
    );
    assert!(!wrong.stderr.contains("mistyped"));

    let other = "0".repeat(64);
    let refused = b.inspect(password, &other, &[]).await;
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    let accept = format!("--accept-fingerprint {print}");
    assert!(refused.stderr.contains(&accept), "{}", refused.stderr);

    b.arm(json!({"at": "session", "kind": "password_expired"}));
    let expired = b.inspect(password, print, &[]).await;
    assert_eq!(expired.code, 4, "{}", expired.stderr);
    let said = &expired.stderr;
    assert!(
        said.contains("do nothing before its password is changed"),
        "{said}"
    );
    assert!(
        said.contains("/redfish/v1/AccountService/Accounts/1"),
        "{said}"
    );
    b.lab.stop().await;
}
