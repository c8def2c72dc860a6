//! Machines: the operator's requests; the agent's channel; boot media.

use billet_model::{
    BootId,
    image::ImageManifest,
    lifecycle::Lifecycle,
    machine::Machine,
    step::{Boot, RamdiskStep, Step, TaskRecord},
    work::{Task, TrialOrder, Work, WorkKind, WriteOrder},
};
use billet_protocol::boot::BootRecord;
use billet_store::{Batch, Write};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::site::Site;

#[tokio::test]
async fn operators_ask_and_see() {
    let site = Site::new().await;
    site.furnish().await;
    site.machine("m1").await;
    let shown = site.get("/v1/machines/m1").await.ok();
    assert_eq!(shown.value()["lifecycle"], "available");
    assert!(
        shown.value()["bmc_address"]
            .as_str()
            .expect("an address")
            .contains("192.0.2.1")
    );
    assert!(!shown.body.contains("hunter2"), "{}", shown.body);
    let list = site
        .get("/v1/machines?type=box&lifecycle=available")
        .await
        .ok()
        .value();
    assert_eq!(list["items"][0]["inventory"], Value::Null);
    let list = site.get("/v1/machines?lifecycle=active").await.ok().value();
    assert_eq!(list["items"], json!([]));
    let problem = site.get("/v1/machines?lifecycle=ready").await.problem(422);
    assert_eq!(problem.field.as_deref(), Some("lifecycle"));

    let cordon = json!({ "reason": "a loose cable" });
    let answer = site
        .post("/v1/machines/m1/cordon", cordon)
        .await
        .ok()
        .value();
    assert_eq!(answer["machine"]["cordoned"], "a loose cable");
    let offers = site.get("/v1/offers").await.ok().value();
    assert_eq!(offers["items"][0]["free"], 0);
    site.post("/v1/machines/m1/uncordon", Value::Null)
        .await
        .ok();
    let problem = site
        .post("/v1/machines/m1/cordon", json!({ "reason": " " }))
        .await
        .problem(422);
    assert_eq!(problem.field.as_deref(), Some("reason"));

    let etag = shown.header("etag").to_owned();
    let request = site
        .request(Method::POST, "/v1/machines/m1/retire")
        .bearer_auth(&site.operator);
    site.send(request.header("If-Match", etag))
        .await
        .problem(412);
}

/// A machine that is on its way to the ramdisk, and its boot.
async fn booting(site: &Site) -> (Machine, BootId) {
    let mut machine = site.machine("m1").await;
    let boot: BootId = site.control.new_id();
    machine.lifecycle = Lifecycle::Inspecting;
    machine.step = Step::Ramdisk {
        at: RamdiskStep::AwaitAgent,
        boot,
        then: WorkKind::Inspect,
    };
    let write = Write::PutBoot(Box::new(Boot {
        id: boot,
        machine: machine.id,
        epoch: machine.epoch,
        created_at: site.control.now(),
        of: billet_model::step::BootOf::Ramdisk,
        kernel_boot_id: None,
        hello_at: None,
        seen_at: None,
        ramdisk: None,
    }));
    site.commit(Batch::new().with(write)).await;
    (site.put_machine(machine).await, boot)
}

#[tokio::test]
async fn a_bmc_fetches_a_medium_in_whole_and_in_part() {
    let site = Site::new().await;
    site.furnish().await;
    let (machine, boot) = booting(&site).await;
    let token = site.control.keys.medium_token(boot);
    let path = format!("/media/{}.iso", token.expose());
    let head = site
        .request(Method::HEAD, &path)
        .send()
        .await
        .expect("an answer");
    assert_eq!(head.status(), StatusCode::OK);
    let size: usize = head.headers()["content-length"]
        .to_str()
        .expect("text")
        .parse()
        .expect("a number");
    assert_eq!(head.headers()["accept-ranges"], "bytes");

    let get = |range: Option<String>| {
        let request = site.request(Method::GET, &path);
        let request = match range {
            Some(range) => request.header("Range", range),
            None => request,
        };
        async move {
            let response = request.send().await.expect("an answer");
            let (status, headers) = (response.status(), response.headers().clone());
            (status, headers, response.bytes().await.expect("a body"))
        }
    };
    let (status, _, whole) = get(None).await;
    assert_eq!((status, whole.len()), (StatusCode::OK, size));
    let record = BootRecord::find(&whole[size - 65536..]).expect("a record");
    assert_eq!(record.authority, site.control.settings().authority);
    assert_eq!(record.addresses, machine.addresses);

    let last = size - 1;
    for (range, first, last) in [
        ("bytes=0-2047".to_owned(), 0, 2047),
        (format!("bytes={}-", size - 100), size - 100, last),
        ("bytes=-64".to_owned(), size - 64, last),
        (format!("bytes=300000-{}", size * 2), 300_000, last),
    ] {
        let (status, headers, part) = get(Some(range.clone())).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(
            headers["content-range"],
            format!("bytes {first}-{last}/{size}"),
            "{range}"
        );
        assert_eq!(
            headers["content-length"],
            (last - first + 1).to_string(),
            "{range}"
        );
        assert!(part == whole.slice(first..=last), "{range}");
    }
    let (status, headers, _) = get(Some(format!("bytes={size}-"))).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(headers["content-range"], format!("bytes */{size}"));

    // Over with the boot: over with the medium.
    let mut machine = site
        .control
        .store()
        .machine(machine.id)
        .await
        .expect("the store")
        .expect("it");
    machine.step = Step::Rest;
    site.put_machine(machine).await;
    let gone = site.request(Method::GET, &path);
    site.send(gone).await.problem(404);
}

#[tokio::test]
async fn an_agent_speaks_while_its_boot_is_the_one() {
    let site = Site::new().await;
    site.furnish().await;
    let (machine, boot) = booting(&site).await;
    let token = site.control.keys.boot_token(boot).expose().to_owned();
    let hello =
        json!({ "version": "1", "serial": null, "kernel_boot_id": "k1", "uptime_seconds": 9 });
    let welcome = site
        .call_as(&token, Method::POST, "/agent/v1/hello", hello.clone())
        .await
        .ok();
    assert_eq!(welcome.value()["machine"], "m1");
    let none = site.get_as(&token, "/agent/v1/task?wait=0").await;
    assert_eq!(none.status, StatusCode::NO_CONTENT);
    let task = "0197a000-0000-7000-8000-000000000000";
    let confirm = site
        .call_as(
            &token,
            Method::POST,
            &format!("/agent/v1/tasks/{task}/confirm"),
            Value::Null,
        )
        .await
        .ok();
    assert_eq!(confirm.value()["current"], false);
    // An image that is not its task's, and a path for one, are not there.
    for digest in ["0".repeat(64), "..%2f..%2fkeys".into()] {
        let path = format!("/agent/v1/images/{digest}/blob");
        site.get_as(&token, &path).await.problem(404);
    }
    // Another boot with the same token; then another step.
    let mut other = hello;
    other["kernel_boot_id"] = json!("k2");
    site.call_as(&token, Method::POST, "/agent/v1/hello", other)
        .await
        .problem(401);
    let mut machine = site
        .control
        .store()
        .machine(machine.id)
        .await
        .expect("the store")
        .expect("it");
    machine.step = Step::Rest;
    site.put_machine(machine).await;
    site.get_as(&token, "/agent/v1/task?wait=0")
        .await
        .problem(401);
}

/// A boot of a machine, kept.
async fn another_boot(site: &Site, machine: &Machine) -> BootId {
    let boot: BootId = site.control.new_id();
    let write = Write::PutBoot(Box::new(Boot {
        of: billet_model::step::BootOf::Ramdisk,
        id: boot,
        machine: machine.id,
        epoch: machine.epoch,
        created_at: site.control.now(),
        kernel_boot_id: None,
        hello_at: None,
        seen_at: None,
        ramdisk: None,
    }));
    site.commit(Batch::new().with(write)).await;
    boot
}

/// The word of an agent that starts a kernel counts once and is acknowledged as often as it is
/// told; the agent that it starts is asked to wait until the step has moved on, and never told to
/// power the machine off.
#[tokio::test]
async fn a_trial_of_kexec_survives_lost_answers_and_a_quick_kernel() {
    let site = Site::new().await;
    site.furnish().await;
    let (mut machine, boot) = booting(&site).await;
    let next = another_boot(&site, &machine).await;
    let task: billet_model::TaskId = site.control.new_id();
    machine.step = Step::Working {
        task,
        kind: WorkKind::Trial,
        boot,
    };
    let order = TrialOrder { next, token: None };
    let record = TaskRecord {
        task: Task {
            id: task,
            epoch: machine.epoch,
            work: Work::Trial(order),
            addresses: Vec::new(),
        },
        machine: machine.id,
        boot,
        created_at: site.control.now(),
        taken_at: None,
        progress: None,
        progress_at: None,
        outcome: None,
        version: 0,
    };
    let write = Write::PutTask(Box::new(record));
    site.commit(Batch::new().with(write)).await;
    site.put_machine(machine).await;

    let old = site.control.keys.boot_token(boot).expose().to_owned();
    let new = site.control.keys.boot_token(next).expose().to_owned();
    let given = site.get_as(&old, "/agent/v1/task?wait=5").await.ok();
    assert_eq!(given.value()["work"]["token"], json!(new));
    let kept = site.control.store().task(task).await.expect("the store");
    let kept = serde_json::to_string(&kept).expect("JSON");
    assert!(!kept.contains(&new), "the token is kept nowhere");
    let ramdisk = site.request(Method::GET, "/agent/v1/ramdisk");
    let ramdisk = ramdisk.bearer_auth(&old).send().await.expect("an answer");
    assert_eq!(ramdisk.status(), StatusCode::OK);
    assert_eq!(ramdisk.bytes().await.expect("a body").len(), 100_000);

    let hello =
        json!({ "version": "1", "serial": null, "kernel_boot_id": "k2", "uptime_seconds": 1 });
    let hello = || site.call_as(&new, Method::POST, "/agent/v1/hello", hello.clone());
    let early = hello().await;
    early.problem(503);
    assert_eq!(early.header("retry-after"), "1");
    let path = format!("/agent/v1/tasks/{task}/outcome");
    let told = |kernel: &str| {
        let outcome = json!({
            "outcome": "starting", "kernel": kernel, "initrd": null, "cmdline": "", "done": [],
        });
        site.call_as(&old, Method::POST, &path, outcome)
    };
    assert_eq!(told("uki").await.status, StatusCode::NO_CONTENT);

    // The loop takes its step; the answer was lost.
    let name = "m1".parse().expect("a name");
    let machine = site.control.store().machine_by_name(&name).await;
    let mut machine = machine.expect("the store").expect("it");
    machine.step = Step::Ramdisk {
        at: RamdiskStep::AwaitAgent,
        boot: next,
        then: WorkKind::Prepare,
    };
    site.put_machine(machine).await;
    assert_eq!(told("uki").await.status, StatusCode::NO_CONTENT);
    told("another").await.problem(401);
    site.get_as(&old, "/agent/v1/task?wait=0")
        .await
        .problem(401);
    site.get_as(&old, "/agent/v1/ramdisk").await.problem(401);
    hello().await.ok();
    site.get_as(&new, "/agent/v1/ramdisk").await.problem(404);
}

#[tokio::test]
async fn an_agent_reads_the_image_that_it_is_to_write_and_no_other() {
    let site = Site::new().await;
    site.furnish().await;
    site.post("/v1/images", json!({ "name": "disk" }))
        .await
        .ok();
    let upload = site
        .request(Method::PUT, "/v1/images/disk/content")
        .bearer_auth(&site.operator)
        .body(vec![7; 4 << 20]);
    let image = site.send(upload).await.ok().value();
    let digest = image["image"]["content"]["digest"]
        .as_str()
        .expect("a digest");
    let (mut machine, boot) = booting(&site).await;
    let task = Task {
        id: site.control.new_id(),
        epoch: machine.epoch,
        work: Work::Write(WriteOrder {
            lease: site.control.new_id(),
            image: digest.to_owned(),
            arrays: Vec::new(),
            mirror: Vec::new(),
            drive: machine.drives[0].clone(),
            kernel_args: Vec::new(),
            seed: None,
            prepared: false,
        }),
        addresses: Vec::new(),
    };
    machine.step = Step::Working {
        task: task.id,
        kind: WorkKind::Write,
        boot,
    };
    let record = TaskRecord {
        task: task.clone(),
        machine: machine.id,
        boot,
        created_at: site.control.now(),
        taken_at: None,
        progress: None,
        progress_at: None,
        outcome: None,
        version: 0,
    };
    site.commit(Batch::new().with(Write::PutTask(Box::new(record))))
        .await;
    site.put_machine(machine).await;

    let token = site.control.keys.boot_token(boot).expose().to_owned();
    let given: Task = site
        .get_as(&token, "/agent/v1/task?wait=5")
        .await
        .ok()
        .json();
    assert_eq!(given, task);
    let confirm = format!("/agent/v1/tasks/{}/confirm", task.id);
    let confirm = site
        .call_as(&token, Method::POST, &confirm, Value::Null)
        .await
        .ok();
    assert_eq!(confirm.value()["current"], true);

    let path = format!("/agent/v1/images/{digest}");
    let manifest: ImageManifest = site
        .get_as(&token, &format!("{path}/manifest"))
        .await
        .ok()
        .json();
    assert_eq!(manifest.chunks.len(), 4);
    let last = manifest.chunks.last().expect("a chunk");
    let range = format!(
        "bytes={}-{}",
        last.offset,
        last.offset + u64::from(last.length) - 1
    );
    let blob = site
        .request(Method::GET, &format!("{path}/blob"))
        .bearer_auth(&token);
    let part = blob.header("Range", range).send().await.expect("an answer");
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        part.bytes().await.expect("a body").len(),
        last.length as usize
    );
    let other = format!("/agent/v1/images/{}/manifest", "0".repeat(64));
    site.get_as(&token, &other).await.problem(404);
}

#[tokio::test]
async fn a_network_is_changed_for_what_is_written_next() {
    let site = Site::new().await;
    site.furnish().await;
    site.image("debian", None).await;
    let first = site.lease("first").await;
    site.machine("m2").await;
    let change =
        |body: Value| site.call_as(&site.operator, Method::PATCH, "/v1/networks/lan", body);
    let shown = site.get("/v1/networks/lan").await.ok();
    assert_eq!(shown.header("etag"), "\"1\"");
    let wanted =
        json!({ "gateway": "10.88.0.254", "dns": ["10.88.0.200"], "reached_at": "127.9.0.0" });
    let changed = change(wanted.clone()).await.ok();
    assert_eq!(changed.header("etag"), "\"2\"");
    assert_eq!(changed.value()["gateway"], "10.88.0.254");
    assert_eq!(changed.value()["pool_last"], "10.88.0.253");
    // Nothing is changed, and nothing goes on record, a second time.
    assert_eq!(change(wanted).await.ok().header("etag"), "\"2\"");
    let rows = site
        .get("/v1/audit?action=network.change")
        .await
        .ok()
        .value();
    assert_eq!(rows["items"].as_array().expect("rows").len(), 1);
    assert_eq!(rows["items"][0]["detail"]["was"]["gateway"], Value::Null);

    // What stands on a leased drive is told as it is; the way to it as it is now.
    let lease = site.get(&format!("/v1/leases/{first}")).await.ok().value();
    let address = &lease["addresses"][0];
    assert_eq!(
        (&address["gateway"], &address["dns"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(address["reached_at"], "127.9.0.1");
    // Whoever is leased next has it.
    let body = json!({ "name": "next", "project": "a", "machine_type": "box", "image": "debian" });
    let lease = site.post("/v1/leases", body).await.ok().value();
    let address = &lease["lease"]["addresses"][0];
    assert_eq!(address["gateway"], "10.88.0.254");
    assert_eq!(address["dns"], json!(["10.88.0.200"]));

    // Machines keep their addresses.
    let problem = change(json!({ "subnet": "10.88.0.128/25", "reached_at": null }))
        .await
        .problem(409);
    assert_eq!(problem.field.as_deref(), Some("subnet"));
    assert!(
        problem.detail.contains("machine m-first has 10.88.0.1,"),
        "{problem:?}"
    );
    let problem = change(json!({ "gateway": "10.88.0.1" })).await.problem(409);
    assert_eq!(problem.field.as_deref(), Some("gateway"));
    let wider = change(json!({ "subnet": "10.88.0.0/16", "name": "wide" }))
        .await
        .ok()
        .value();
    assert_eq!(
        (&wider["prefix"], &wider["pool_last"]),
        (&json!(16), &json!("10.88.255.254"))
    );

    let stale = site
        .request(Method::PATCH, "/v1/networks/wide")
        .bearer_auth(&site.operator)
        .header("If-Match", "\"2\"")
        .json(&json!({ "dns": [] }));
    site.send(stale).await.problem(412);
}

#[tokio::test]
async fn a_machine_is_corrected() {
    let site = Site::new().await;
    site.furnish().await;
    site.image("debian", None).await;
    for (path, body) in [
        (
            "/v1/sites",
            json!({ "name": "there", "jurisdiction": "CH" }),
        ),
        (
            "/v1/machine-types",
            json!({ "name": "crate", "expected": { "drives": 2 } }),
        ),
        (
            "/v1/networks",
            json!({ "name": "storage", "subnet": "10.89.0.0/24" }),
        ),
    ] {
        site.post(path, body).await.ok();
    }
    site.lease("first").await;
    site.machine("m2").await;
    let change = |name: &str, body: Value| {
        let path = format!("/v1/machines/{name}");
        let site = &site;
        async move {
            site.call_as(&site.operator, Method::PATCH, &path, body)
                .await
        }
    };
    let moved = json!({
        "name": "m3", "site": "there", "rack": "r2", "rotate_password": true,
        "networks": { "storage": null, "lan": "10.88.0.77" },
    });
    let answer = change("m2", moved.clone()).await.ok();
    let machine = answer.value();
    assert_eq!(machine["site"], "there");
    assert_eq!(machine["bmc_password"]["after_each_lease"], true);
    let ips: Vec<&Value> = machine["addresses"]
        .as_array()
        .expect("it")
        .iter()
        .map(|a| &a["ip"])
        .collect();
    assert_eq!(ips, ["10.88.0.77", "10.89.0.1"]);
    assert_eq!(answer.header("etag"), format!("\"{}\"", machine["version"]));
    // Said again, with the next free address where it has one, nothing differs.
    let again = change("m3", moved).await.ok();
    assert_eq!(again.header("etag"), answer.header("etag"));
    let rows = site
        .get("/v1/audit?action=machine.change")
        .await
        .ok()
        .value();
    assert_eq!(rows["items"].as_array().expect("rows").len(), 1);
    // Off a network, its address is free again.
    change("m3", json!({ "networks": { "lan": null }, "rack": "" }))
        .await
        .ok();
    site.call_as(
        &site.operator,
        Method::DELETE,
        "/v1/networks/storage",
        Value::Null,
    )
    .await
    .ok();

    for (name, body, status, told) in [
        ("m3", json!({ "name": "m-first" }), 409, "m-first"),
        (
            "m3",
            json!({ "site": "nowhere" }),
            422,
            "there is no site nowhere",
        ),
        (
            "m3",
            json!({ "networks": { "lan": "10.88.0.1" } }),
            422,
            "is taken",
        ),
        (
            "m3",
            json!({ "networks": { "lan": "10.89.0.1" } }),
            422,
            "is not in lan",
        ),
        (
            "m3",
            json!({ "machine_type": "crate" }),
            409,
            "billet machine maintenance m3",
        ),
        (
            "m3",
            json!({ "serial": "X1" }),
            409,
            "billet machine maintenance m3",
        ),
        ("m-first", json!({ "networks": {} }), 409, "held by a lease"),
        (
            "m-first",
            json!({ "site": "there" }),
            409,
            "held by a lease",
        ),
    ] {
        let problem = change(name, body.clone()).await.problem(status);
        assert!(problem.detail.contains(told), "{body}: {problem:?}");
    }
    site.post("/v1/machines/m3/maintenance", json!({ "reason": "a test" }))
        .await
        .ok();
    let changed = change("m3", json!({ "machine_type": "crate", "serial": "X1" }))
        .await
        .ok()
        .value();
    assert_eq!(
        (&changed["machine_type"], &changed["expected_serial"]),
        (&json!("crate"), &json!("X1"))
    );
    assert_eq!(
        changed["differences"],
        json!(["drives: expected 2, found 1"])
    );
    let stale = site
        .request(Method::PATCH, "/v1/machines/m3")
        .bearer_auth(&site.operator)
        .header("If-Match", "\"1\"")
        .json(&json!({ "rack": "r1" }));
    site.send(stale).await.problem(412);
}
