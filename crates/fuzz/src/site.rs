//! A control plane in this process, with a machine and a lease in it.

use std::{
    path::Path,
    sync::{LazyLock, Mutex},
};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use billet_api::{ServeOptions, Service, tls::Authority};
use billet_control::{Control, Settings};
use billet_model::{
    BootId, ImageId, TaskId,
    image::{BootKind, Image, ImageContent, ImageState},
    inventory::{Drive, Inventory},
    lease::Lease,
    lifecycle::Lifecycle,
    machine::Machine,
    people::Actor,
    step::{Boot, Step, TaskRecord},
    work::{DriveRef, Task, Work, WorkKind},
};
use billet_store::{Batch, Write};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What there is.
pub struct Site {
    pub runtime: Runtime,
    pub service: Service,
    /// Tokens of an operator, a member of project `a`, an auditor, and a boot's.
    pub tokens: [String; 4],
    /// A machine that an agent works on.
    pub machine: Machine,
    /// A lease on another one.
    pub lease: Lease,
    pub image: Image,
}

/// Where the site's files are. Statics are never dropped, so [`close`] removes it.
static DIRECTORY: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);

/// The one site of this process.
pub static SITE: LazyLock<Site> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    crate::targets::sweep();
    let directory = crate::targets::directory();
    let made = runtime.block_on(make(directory.path()));
    *DIRECTORY.lock().expect("nobody panics with it") = Some(directory);
    let (service, tokens, machine, lease, image) = made;
    Site {
        runtime,
        service,
        tokens,
        machine,
        lease,
        image,
    }
});

/// Removes the files of the site, if there was one: for the end of the process.
pub fn close() {
    drop(DIRECTORY.lock().expect("nobody panics with it").take());
}

async fn make(directory: &Path) -> (Service, [String; 4], Machine, Lease, Image) {
    let (data, keys) = (directory.join("data"), directory.join("keys"));
    let authority = Authority::open(&keys, &data).expect("an authority");
    let settings = Settings {
        data,
        keys,
        database: None,
        servers: vec!["https://127.0.0.1:8443".into()],
        media_base: "https://127.0.0.1:8443".into(),
        ramdisk: None,
        ipxe: None,
        stub: std::path::PathBuf::new(),
        authority: authority.pem().to_owned(),
        policy: Default::default(),
    };
    let control = Control::open(settings).await.expect("a control plane");
    let operator = billet_api::bootstrap(&control).await.expect("a token");
    let operator = operator.expect("the first start").expose().to_owned();
    let service = Service::new(control.clone(), &ServeOptions::default()).expect("a service");
    let post = async |path: &str, body: Value| post(&service, &operator, path, body).await;
    for (path, body) in [
        ("/v1/organisations", json!({"name": "acme"})),
        ("/v1/projects", json!({"name": "a", "organisation": "acme"})),
        ("/v1/projects", json!({"name": "b", "organisation": "acme"})),
        ("/v1/sites", json!({"name": "here", "jurisdiction": "DE"})),
        (
            "/v1/machine-types",
            json!({"name": "box", "description": "a box"}),
        ),
        (
            "/v1/networks",
            json!({"name": "lan", "subnet": "10.88.0.0/16"}),
        ),
    ] {
        post(path, body).await;
    }
    let token = async |name: &str, role: &str, project: Option<&str>| {
        let body = json!({"name": name, "role": role, "project": project});
        let made = post("/v1/tokens", body).await;
        made["secret"].as_str().expect("a secret").to_owned()
    };
    let member = token("member", "member", Some("a")).await;
    let auditor = token("auditor", "auditor", None).await;
    let image = image(&control).await;
    let mut machines = Vec::new();
    for (name, host) in [("m1", 1), ("m2", 2)] {
        let body = json!({
            "name": name, "site": "here", "machine_type": "box", "networks": {"lan": null},
            "bmc": {"address": format!("https://192.0.2.{host}"), "user": "root", "password": "bmc-hunter2"},
        });
        let started = post("/v1/machines", body).await;
        let id = started["machine"]["id"].as_str().expect("an id");
        let id = id.parse().expect("an id");
        let machine = control.store().machine(id).await.expect("the store");
        machines.push(free(machine.expect("the machine")));
    }
    for machine in &machines {
        put(&control, Write::PutMachine(Box::new(machine.clone()))).await;
    }
    let body = json!({"name": "l1", "project": "a", "machine_type": "box", "image": "debian"});
    let started = post("/v1/leases", body).await;
    let id = started["lease"]["id"].as_str().expect("an id");
    let lease = control.store().lease(id.parse().expect("an id")).await;
    let lease = lease.expect("the store").expect("the lease");
    let other = machines.iter().find(|m| m.id != lease.machine);
    let (machine, boot) = working(&control, other.expect("two machines")).await;
    let boot = control.keys.boot_token(boot).expose().to_owned();
    (
        service,
        [operator, member, auditor, boot],
        machine,
        lease,
        image,
    )
}

async fn post(service: &Service, token: &str, path: &str, body: Value) -> Value {
    let request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a request");
    let response = service.answer(request).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    let text = String::from_utf8_lossy(&bytes);
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn put(control: &Control, write: Write) {
    let row = control.audit_row(&Actor::Billet, "test", json!({}));
    let batch = Batch::new().with(write).audited(row);
    control.store().commit(batch).await.expect("a commit");
}

async fn image(control: &Control) -> Image {
    let image = Image {
        id: control.new_id::<ImageId>(),
        name: "debian".parse().expect("a name"),
        project: None,
        description: String::new(),
        origin: "upload".into(),
        checksum: None,
        state: ImageState::Available,
        reason: None,
        content: Some(ImageContent {
            digest: "d".repeat(64),
            virtual_bytes: 1 << 30,
            data_bytes: 1,
            stored_bytes: 1,
            boot: BootKind::Bls,
            root_partition: Some(1),
            storage: Default::default(),
        }),
        cloud_init: true,
        kind: billet_model::image::ImageKind::Disk,
        install: None,
        root_mirror: false,
        created_at: control.now(),
    };
    put(control, Write::PutImage(Box::new(image.clone()))).await;
    image
}

/// The machine as it is when it can be leased.
fn free(machine: Machine) -> Machine {
    let drive = |serial: &str| Drive {
        serial: Some(serial.into()),
        size_bytes: 1 << 40,
        ..Drive::default()
    };
    Machine {
        lifecycle: Lifecycle::Available,
        step: Step::Rest,
        operation: None,
        may_hold_data: false,
        drives: ["D1", "D2"]
            .map(|serial| DriveRef {
                serial: serial.into(),
                wwn: None,
            })
            .to_vec(),
        inventory: Some(Inventory {
            drives: vec![drive("D1"), drive("D2")],
            ..Inventory::default()
        }),
        ..machine
    }
}

/// The machine with an agent at work on it.
async fn working(control: &Control, machine: &Machine) -> (Machine, BootId) {
    let boot: BootId = control.new_id();
    let task: TaskId = control.new_id();
    let read = control
        .store()
        .machine(machine.id)
        .await
        .expect("the store");
    let machine = Machine {
        lifecycle: Lifecycle::Inspecting,
        step: Step::Working {
            task,
            kind: WorkKind::Inspect,
            boot,
        },
        ..read.expect("the machine")
    };
    let record = self::boot(boot, &machine);
    put(control, Write::PutBoot(Box::new(record))).await;
    // The store takes one of version 0 as new.
    let record = TaskRecord {
        version: 0,
        ..self::task(task, &machine, boot, Work::Inspect)
    };
    put(control, Write::PutTask(Box::new(record))).await;
    put(control, Write::PutMachine(Box::new(machine.clone()))).await;
    (machine, boot)
}

/// A boot of the machine, as one is stored that nothing else is known of.
pub fn boot(id: BootId, machine: &Machine) -> Boot {
    let boot = json!({
        "id": id, "machine": machine.id, "epoch": machine.epoch,
        "created_at": machine.created_at, "kernel_boot_id": null,
        "hello_at": null, "seen_at": null,
    });
    serde_json::from_value(boot).expect("a boot")
}

/// A task of that boot, likewise.
pub fn task(id: TaskId, machine: &Machine, boot: BootId, work: Work) -> TaskRecord {
    let task = Task {
        id,
        epoch: machine.epoch,
        work,
        addresses: vec![],
    };
    let record = json!({
        "task": task, "machine": machine.id, "boot": boot,
        "created_at": machine.created_at, "taken_at": null,
        "progress": null, "progress_at": null, "outcome": null,
    });
    serde_json::from_value(record).expect("a task")
}
