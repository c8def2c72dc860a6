//! Manifests beside what there is, and the plans that come of it.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use billet_model::lifecycle::Lifecycle;

use super::*;

const AT: &str = "2026-11-22T12:00:00Z";

fn id(n: u32) -> String {
    format!("0197a000-0000-7000-8000-{n:012}")
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("what there is")
}

const FILE: &str = r#"
[[organisation]]
name = "acme"
quotas = { box = 9 }
[[project]]
name = "vision"
organisation = "acme"
quotas = { box = 4 }
[[site]]
name = "fra1"
jurisdiction = "DE"
[[network]]
name = "main"
subnet = "10.88.0.0/24"
[[machine_type]]
name = "box"
[[image]]
name = "debian"
url = "https://images.example.org/debian.raw"
[[machine]]
name = "m1"
site = "fra1"
machine_type = "box"
networks = { main = "auto" }
take_over = ["S2", "S1"]
[machine.bmc]
address = "10.0.0.1"
user = "root"
password = "calvin"
[[lease]]
name = "train"
project = "vision"
machine_type = "box"
image = "debian"
tags = { a = "b" }
"#;

fn machine(lifecycle: &str, drives: &[&str]) -> MachineView {
    let drives: Vec<Value> = drives
        .iter()
        .map(|serial| json!({ "serial": serial, "size_bytes": 1 }))
        .collect();
    let mut inventory =
        serde_json::to_value(billet_model::inventory::Inventory::default()).expect("an inventory");
    let mut drive = serde_json::to_value(billet_model::inventory::Drive::default()).expect("one");
    inventory["drives"] = drives
        .iter()
        .map(|given| {
            drive["serial"] = given["serial"].clone();
            drive.clone()
        })
        .collect();
    of(json!({
        "id": id(50), "name": "m1", "site": "fra1", "site_id": id(3), "rack": null,
        "machine_type": "box", "serial": "X1", "lifecycle": lifecycle, "doing": "",
        "waiting": null, "hold": null, "power": null, "health": "unknown",
        "may_hold_data": true, "cordoned": null, "unconfirmed": false, "emulation": "none",
        "bmc_address": "https://10.0.0.1", "bmc_fingerprint": null, "bmc_trouble": null,
        "addresses": [{
            "network": id(4), "ip": "10.88.0.10", "prefix": 24, "gateway": null, "dns": [],
            "reached_at": "10.88.0.10", "mac": null,
        }],
        "units": 1, "lease": null, "operation": null, "drives": [], "differences": [],
        "tests": [], "inventory": inventory, "created_at": AT, "version": 3,
    }))
}

fn lease() -> LeaseView {
    of(json!({
        "id": id(60), "name": "train", "project": "vision", "project_id": id(2),
        "mode": "dedicated", "state": "active", "reason": null, "machine_type": "box",
        "machine": id(50), "site": "fra1", "jurisdiction": "DE", "emulation": "none",
        "image": "debian", "image_digest": null, "power": null, "addresses": [],
        "active_because": null, "host_keys": [], "rescue": null, "visits": [],
        "kernel_args": [], "tags": { "a": "b" }, "ends_at": null, "warned_at": null,
        "hostname": null, "operation": id(70), "created_at": AT, "active_at": AT,
        "ended_at": null, "version": 7,
    }))
}

/// All that the file says.
fn there() -> Present {
    Present {
        organisations: vec![of(json!({ "id": id(1), "name": "acme", "created_at": AT }))],
        projects: vec![of(json!({
            "id": id(2), "name": "vision", "organisation": id(1), "created_at": AT,
        }))],
        quotas: vec![
            of(json!({
                "machine_type": "box", "organisation": "acme", "project": null, "most": 9, "used": 0,
            })),
            of(json!({
                "machine_type": "box", "organisation": null, "project": "vision", "most": 4, "used": 0,
            })),
        ],
        sites: vec![of(
            json!({ "id": id(3), "name": "fra1", "jurisdiction": "DE", "created_at": AT }),
        )],
        networks: vec![of(json!({
            "id": id(4), "name": "main", "subnet": "10.88.0.0", "prefix": 24, "gateway": null,
            "dns": [], "pool_first": "10.88.0.1", "pool_last": "10.88.0.254", "reached_at": null,
            "created_at": AT,
        }))],
        machine_types: vec![of(json!({
            "id": id(5), "name": "box", "description": "", "expected": {}, "created_at": AT,
        }))],
        images: vec![of(json!({
            "id": id(6), "name": "debian", "project": null, "description": "",
            "origin": "https://images.example.org/debian.raw", "checksum": null,
            "state": "available", "reason": null, "content": null, "cloud_init": true,
            "created_at": AT,
        }))],
        machines: vec![machine("available", &[])],
        leases: vec![lease()],
    }
}

fn planned(text: &str, present: &Present) -> Result<Plan, String> {
    let read = crate::manifest::read(text, Path::new("/nonexistent"), &|_| None);
    let told = |troubles: Vec<Trouble>| {
        let lines: Vec<String> = troubles.iter().map(Trouble::to_string).collect();
        lines.join("\n")
    };
    plan(&read.map_err(told)?, present).map_err(told)
}

/// What there is to do, a line each.
fn lines(plan: &Plan) -> Vec<String> {
    let todo = |item: &&Item| !matches!(item.action, Action::Unchanged);
    let line = |item: &Item| {
        let changes = item.changes.iter();
        let changes = changes.map(|c| format!("; {} {} -> {}", c.field, c.from, c.to));
        let loses = item.loses.iter().map(|l| format!("; loses {l}"));
        let more: String = changes.chain(loses).collect();
        format!("{:?} {} {}{more}", item.action, item.kind, item.name)
    };
    plan.items.iter().filter(todo).map(line).collect()
}

#[test]
fn where_there_is_nothing_all_is_made_in_order() {
    let plan = planned(FILE, &Present::default()).expect("a plan");
    assert_eq!(
        lines(&plan),
        [
            "Create site fra1",
            "Create network main",
            "Create machine type box",
            "Create organisation acme",
            "Create project vision",
            "Change quota box of organisation acme; most without end -> 9",
            "Change quota box of project vision; most without end -> 4",
            "Create image debian",
            "Create machine m1",
            "Erase take-over m1; loses all that is on S1, S2",
            "Create lease train",
        ]
    );
    assert!(plan.erases() && !plan.is_empty());
    let json = serde_json::to_string(&plan).expect("JSON");
    assert!(!json.contains("calvin") && !format!("{plan:?}").contains("calvin"));
}

#[test]
fn where_all_is_there_nothing_is_done() {
    let plan = planned(FILE, &there()).expect("a plan");
    assert_eq!(lines(&plan), Vec::<String>::new());
    assert!(plan.is_empty());
    assert_eq!(plan.count(Action::Unchanged), 11);
    // And what the file does not have is left alone.
    let plan = planned("", &there()).expect("a plan");
    assert!(plan.is_empty());
    assert_eq!(plan.count(Action::Left), 8);
}

#[test]
fn what_differs_is_changed_where_it_can_be() {
    for (from, to, wanted) in [
        (
            "name = \"box\"",
            "name = \"box\"\ndescription = \"a box\"\n[machine_type.expected]\ngpus = 8\ngpu_model = \"H100\"",
            "Change machine type box; gpus any -> 8; gpu_model any -> H100; description  -> a box",
        ),
        (
            "subnet = \"10.88.0.0/24\"",
            "subnet = \"10.88.0.0/16\"\ngateway = \"10.88.0.1\"\ndns = [\"10.88.0.2\", \"10.88.0.3\"]\nreached_at = \"127.1.0.0\"",
            "Change network main; subnet 10.88.0.0/24 -> 10.88.0.0/16; gateway none -> 10.88.0.1; dns  -> 10.88.0.2, 10.88.0.3; reached_at none -> 127.1.0.0",
        ),
        (
            "subnet = \"10.88.0.0/24\"",
            "subnet = \"10.88.0.0/24\"\npool = [\"10.88.0.9\", \"10.88.0.99\"]",
            "Change network main; pool 10.88.0.1 to 10.88.0.254 -> 10.88.0.9 to 10.88.0.99",
        ),
        (
            "box = 4",
            "box = 5",
            "Change quota box of project vision; most 4 -> 5",
        ),
        (
            "name = \"box\"",
            "name = \"box\"\nwarm = 2\nwarm_images = [\"debian\"]",
            "Change machine type box; warm 0 -> 2; warm_images those most asked for -> debian",
        ),
        (
            "\"10.0.0.1\"",
            "\"10.0.0.2\"",
            "Change machine m1; BMC https://10.0.0.1 -> https://10.0.0.2",
        ),
        (
            "tags = { a = \"b\" }",
            "tags = { a = \"c\", d = \"e\" }",
            "Change lease train; tags a=b -> a=c d=e",
        ),
        (
            "tags = { a = \"b\" }",
            "tags = { a = \"b\" }\nkernel_args = [\"quiet\"]",
            "Erase reinstall train; kernel arguments  -> quiet; loses all that is on its machine's drives",
        ),
    ] {
        assert!(FILE.contains(from), "{from}");
        let plan = planned(&FILE.replace(from, to), &there()).expect(to);
        assert_eq!(lines(&plan), [wanted]);
    }
}

#[test]
fn a_site_changes_its_jurisdiction_while_no_lease_was_promised_another() {
    let text = FILE.replace("jurisdiction = \"DE\"", "jurisdiction = \"FR\"");
    let why = planned(&text, &there()).expect_err("it is leased there");
    assert_eq!(
        why,
        "line 9: site \"fra1\": its jurisdiction is \"DE\" and the file says \"FR\", which was promised otherwise to the tenants of train: wait until no lease holds a machine there"
    );
    let mut present = there();
    present.leases.clear();
    let text = &text[..text.find("[[lease]]").expect("it")];
    let plan = planned(text, &present).expect("a plan");
    assert_eq!(lines(&plan), ["Change site fra1; jurisdiction DE -> FR"]);
}

#[test]
fn a_network_keeps_its_machines_in_it_and_what_the_file_leaves_out() {
    let mut present = there();
    let network = &mut present.networks[0];
    network.gateway = Some([10, 88, 0, 1].into());
    network.dns = vec![[10, 88, 0, 2].into()];
    let plan = planned(FILE, &present).expect("a plan");
    assert!(plan.is_empty(), "{plan:?}");
    let text = FILE.replace("10.88.0.0/24", "10.88.0.128/25");
    assert_eq!(
        planned(&text, &present).expect_err("m1 is outside"),
        "line 12: network \"main\": machine m1 has 10.88.0.10, which is not in 10.88.0.128/25: give it another address first"
    );
    present.machines[0].lifecycle = Lifecycle::Retired;
    let why = planned(&text, &present).expect_err("the file has m1");
    assert!(!why.contains("another address first"), "{why}");
}

#[test]
fn a_machine_is_corrected_where_its_state_allows_it() {
    let lease = |machine: &mut MachineView| machine.lease = id(60).parse().ok();
    let nothing = |_: &mut MachineView| {};
    type Edit<'e> = &'e dyn Fn(&mut MachineView);
    for (lifecycle, edit, from, to, wanted) in [
        (
            "available",
            &nothing as Edit<'_>,
            "machine_type = \"box\"\nnetworks = { main = \"auto\" }",
            "machine_type = \"box\"\nrack = \"r2\"\nrotate_password = true\nnetworks = { main = \"10.88.0.9\" }",
            "Change machine m1; rack none -> r2; networks main=10.88.0.10 -> main=10.88.0.9; rotate_password false -> true",
        ),
        (
            "available",
            &lease,
            "networks = { main = \"auto\" }",
            "rack = \"r2\"\nnetworks = { main = \"10.88.0.9\" }",
            "line 20: machine \"m1\": the file changes its networks from \"main=10.88.0.10\" to \"main=10.88.0.9\", which its tenant was promised: wait until its lease is over and it is erased",
        ),
        (
            "maintenance",
            &nothing,
            "networks = {",
            "serial = \"X1\"\nnetworks = {",
            "",
        ),
        (
            "maintenance",
            &|m| m.expected_serial = Some("X9".into()),
            "networks = {",
            "serial = \"X1\"\nnetworks = {",
            "Change machine m1; serial X9 -> X1",
        ),
        (
            "maintenance",
            &nothing,
            "networks = {",
            "serial = \"X2\"\nnetworks = {",
            "line 20: machine \"m1\": its serial is \"X1\" and the file says \"X2\": it may be another machine, so correct the file, or its BMC's address with `billet machine set-bmc`",
        ),
        (
            "available",
            &|m| m.machine_type = "crate".parse().expect("a name"),
            "networks = {",
            "networks = {",
            "line 20: machine \"m1\": the file changes its machine type from \"crate\" to \"box\", and it is available, where it would be offered without being compared: `billet machine maintenance m1` first, then apply, then `billet machine repair m1`",
        ),
        (
            "quarantined",
            &|m| m.machine_type = "crate".parse().expect("a name"),
            "networks = {",
            "networks = {",
            "Change machine m1; machine type crate -> box",
        ),
    ] {
        assert!(FILE.contains(from), "{from}");
        let mut present = there();
        present.machines = vec![machine(lifecycle, &[])];
        edit(&mut present.machines[0]);
        let came = planned(&FILE.replacen(from, to, 1), &present);
        let came = came.map_or_else(|why| why, |plan| lines(&plan).join("\n"));
        assert_eq!(came, wanted);
    }
}

#[test]
fn what_a_file_does_not_expect_of_a_type_stays() {
    let mut present = there();
    let expected = &mut present.machine_types[0].expected;
    (expected.gpus, expected.min_nics) = (Some(4), Some(2));
    let plan = planned(FILE, &present).expect("a plan");
    assert!(plan.is_empty(), "{plan:?}");
    let from = "name = \"box\"";
    let to = "name = \"box\"\nexpected = { gpus = 8 }";
    let plan = planned(&FILE.replace(from, to), &present).expect("a plan");
    assert_eq!(lines(&plan), ["Change machine type box; gpus 4 -> 8"]);
    let change = plan.items.iter().find_map(|item| match &item.step {
        Step::MachineTypeChange(_, change) => change.expected.clone(),
        _ => None,
    });
    // The API takes all of it anew.
    assert_eq!(change.expect("a change").min_nics, Some(2));
}

#[test]
fn a_machine_is_taken_over_only_by_all_of_its_drives_names() {
    let mut present = there();
    present.leases.clear();
    let text = &FILE[..FILE.find("[[lease]]").expect("it")];
    present.machines = vec![machine("enrolled", &["S1", "S2"])];
    let plan = planned(text, &present).expect("a plan");
    let erase = "Erase take-over m1; loses all that is on S1, S2";
    assert_eq!(lines(&plan), [erase]);
    for drives in [&["S1"][..], &["S1", "S2", "S3"], &["S1", "S9"], &[]] {
        present.machines = vec![machine("enrolled", drives)];
        let why = planned(text, &present).expect_err("other drives");
        assert!(
            why.contains("line 25") && why.contains("take_over names [S1, S2]"),
            "{why}"
        );
    }
    // Not named, it is not touched.
    let without = text.replace("take_over = [\"S2\", \"S1\"]\n", "");
    let plan = planned(&without, &present).expect("a plan");
    assert!(plan.is_empty(), "{plan:?}");
    let empty = text.replace("[\"S2\", \"S1\"]", "[]");
    assert!(planned(&empty, &present).is_err());
}

#[test]
fn what_cannot_be_is_told_before_anything_is_sent() {
    for (from, to, wanted) in [
        (
            "debian.raw",
            "other.raw",
            "line 17: image \"debian\": its origin is \"https://images.example.org/debian.raw\" and the file says \"https://images.example.org/other.raw\", which cannot be changed: an image never changes: give the new one another name, or delete this one first",
        ),
        (
            "organisation = \"acme\"",
            "organisation = \"acne\"",
            "line 5: project \"vision\": its organisation is \"acme\" and the file says \"acne\", which cannot be changed: correct the file, or use another name\nline 5: project \"vision\": there is no organisation \"acne\"; did you mean \"acme\"?",
        ),
        (
            "image = \"debian\"",
            "image = \"windows\"",
            "line 30: lease \"train\": there is no image \"windows\"; declare it with [[image]], or make it first",
        ),
        (
            "project = \"vision\"",
            "project = \"vison\"",
            "line 30: lease \"train\": there is no project \"vison\"; did you mean \"vision\"?",
        ),
        (
            "quotas = { box = 4 }",
            "quotas = { bax = 4 }",
            "line 5: project \"vision\": there is no machine type \"bax\"; did you mean \"box\"?",
        ),
        (
            "quotas = { box = 4 }",
            "quotas = { box = \"4\" }",
            "line 8: project \"vision\": \"quotas\": box must be a whole number, 0 or more",
        ),
        (
            "url = ",
            "file = \"debian.raw\"\nurl = ",
            "line 17: image \"debian\": give one of url, file, kernel and ipxe",
        ),
        (
            "image = \"debian\"",
            "image = \"debian\"\nssh_keys = [\"nowhere.pub\"]",
            "line 35: lease \"train\": \"/nonexistent/nowhere.pub\" is neither an SSH public key nor a file with one: No such file or directory (os error 2)",
        ),
        (
            "[[lease]]",
            "[[leese]]",
            "line 30: there is no key \"leese\"; did you mean \"lease\"?",
        ),
        (
            "machine_type = \"box\"\nimage",
            "machien_type = \"box\"\nimage",
            "line 30: lease \"train\": \"machine_type\" is missing\nline 33: lease \"train\": there is no key \"machien_type\"; did you mean \"machine_type\"?",
        ),
        (
            "[[project]]",
            "[[project]]\nname = \"vision\"\norganisation = \"acme\"\n[[project]]",
            "line 8: project \"vision\" is declared twice, first on line 5",
        ),
    ] {
        assert!(FILE.contains(from), "{from}");
        let mut present = there();
        // So that what a name leads to is not said twice.
        if !to.contains("acne") {
            present.leases.clear();
        }
        let why = planned(&FILE.replacen(from, to, 1), &present).expect_err(to);
        assert_eq!(why, wanted);
    }
}

#[test]
fn an_image_that_was_not_uploaded_is_uploaded_and_one_that_failed_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("d.raw"), b"x").expect("written");
    let text = "[[image]]\nname = \"debian\"\nfile = \"d.raw\"\n";
    let manifest = crate::manifest::read(text, folder.path(), &|_| None).expect("it");
    let mut present = there();
    present.images[0].state = billet_model::image::ImageState::AwaitingUpload;
    let plan = plan(&manifest, &present).expect("a plan");
    let todo: Vec<&Item> = plan
        .items
        .iter()
        .filter(|i| i.action == Action::Change)
        .collect();
    assert!(matches!(
        todo[..],
        [Item {
            step: Step::Upload(..),
            ..
        }]
    ));
    present.images[0].state = billet_model::image::ImageState::Failed;
    present.images[0].reason = Some("it was cut short".into());
    let why = planned(
        "[[image]]\nname = \"debian\"\nurl = \"https://images.example.org/debian.raw\"\n",
        &present,
    );
    assert!(why.is_err_and(|why| why.contains("it was cut short")));
}
