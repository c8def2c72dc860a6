//! A phantom's agent and its tenant's system, against a control plane of the test's own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{Caller, phantoms};
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use billet_model::image::{BootKind, ImageChunk, ImageManifest};
use billet_model::work::{
    DriveRef, EraseOrder, Seed, Task, VerifyOrder, Work, WorkFailure, WorkOutcome, WriteOrder,
};
use billet_model::{LeaseId, Secret, TaskId};
use billet_protocol::agent::{Confirm, Hello, Welcome};
use billet_protocol::boot::BootRecord;
use billet_protocol::phone_home::PhoneHome;
use reqwest::StatusCode as Status;
use serde_json::json;

#[derive(Default)]
struct Plane {
    tasks: Mutex<VecDeque<Task>>,
    hellos: Mutex<Vec<Hello>>,
    outcomes: Mutex<Vec<WorkOutcome>>,
    homes: Mutex<Vec<PhoneHome>>,
    stale: Mutex<bool>,
    gone: Mutex<bool>,
}

type Shared = State<Arc<Plane>>;

fn known(plane: &Plane, headers: &HeaderMap) -> Result<(), StatusCode> {
    let bearer = headers.get("authorization").map(|v| v.as_bytes());
    if bearer == Some(b"Bearer t0ken") && !*plane.gone.lock().expect("lock") {
        Ok(())
    } else {
        Err(StatusCode::UNAUTHORIZED)
    }
}

async fn hello(
    State(plane): Shared,
    headers: HeaderMap,
    Json(hello): Json<Hello>,
) -> Result<Json<Welcome>, StatusCode> {
    known(&plane, &headers)?;
    plane.hellos.lock().expect("lock").push(hello);
    Ok(Json(Welcome {
        machine: "m".into(),
        wait_seconds: 1,
    }))
}

async fn task(State(plane): Shared, headers: HeaderMap) -> Response {
    if let Err(status) = known(&plane, &headers) {
        return status.into_response();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    match plane.tasks.lock().expect("lock").pop_front() {
        Some(task) => Json(task).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn told(
    State(plane): Shared,
    headers: HeaderMap,
    Path((_, what)): Path<(String, String)>,
    body: String,
) -> Response {
    if let Err(status) = known(&plane, &headers) {
        return status.into_response();
    }
    if what == "outcome" {
        let outcome = serde_json::from_str(&body).expect("an outcome");
        plane.outcomes.lock().expect("lock").push(outcome);
        return StatusCode::NO_CONTENT.into_response();
    }
    let current = !*plane.stale.lock().expect("lock");
    Json(Confirm { current }).into_response()
}

async fn manifest() -> Json<ImageManifest> {
    Json(ImageManifest {
        version: 1,
        virtual_bytes: 10 << 20,
        chunk_bytes: 4 << 20,
        chunks: vec![ImageChunk {
            index: 0,
            sha256: String::new(),
            offset: 0,
            length: 10,
        }],
        boot: BootKind::Grub,
        root_partition: Some(1),
    })
}

struct Bench {
    lab: billet_lab::Lab,
    caller: Caller,
    plane: Arc<Plane>,
    url: String,
}

impl Bench {
    /// A phantom, a control plane, and a medium with the record of a boot.
    async fn new() -> Self {
        let plane = Arc::new(Plane::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        // Machines know the host's loopback by another address: the phantom must see to it.
        let record = BootRecord {
            servers: vec![format!("http://10.88.0.1:{}", address.port())],
            authority: authority(),
            token: Secret::new("t0ken"),
            addresses: vec![],
            made_at: jiff::Timestamp::now(),
        };
        let mut medium = vec![0; 100_000];
        medium.extend(record.to_tail());
        medium.resize(medium.len() + 2048, 0);
        let router = Router::new()
            .route("/agent/v1/hello", post(hello))
            .route("/agent/v1/task", get(task))
            .route("/agent/v1/tasks/{id}/{what}", post(told))
            .route("/agent/v1/images/{digest}/manifest", get(manifest))
            .route("/phone-home/v1/{token}", post(phone_home))
            .route("/boot.iso", get(async move || medium.clone()))
            .with_state(Arc::clone(&plane));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let lab = phantoms(1).await;
        let caller = Caller::new(lab.machines().remove(0));
        Self {
            lab,
            caller,
            plane,
            url: format!("http://{address}"),
        }
    }

    async fn boot_from(&self, target: &str) {
        let body = json!({ "Boot": {
            "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target,
        }});
        let patched = self.caller.patch("/redfish/v1/Systems/1", body).await;
        assert_eq!(patched.status(), Status::OK);
        assert_eq!(self.caller.reset("On").await, Status::NO_CONTENT);
    }

    async fn boot_agent(&self) {
        let insert = "/redfish/v1/Managers/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia";
        let image = json!({ "Image": format!("{}/boot.iso", self.url) });
        let inserted = self.caller.post(insert, image).await;
        assert_eq!(inserted.status(), Status::NO_CONTENT);
        self.boot_from("Cd").await;
    }

    async fn give(&self, work: Work) -> WorkOutcome {
        self.plane.tasks.lock().expect("lock").push_back(Task {
            id: TaskId::from_parts(1, rand::random()),
            epoch: 1,
            work,
            addresses: vec![],
        });
        let plane = &self.plane;
        let outcome = || plane.outcomes.lock().expect("lock").pop();
        until("an outcome", outcome).await
    }

    fn drive(&self, n: usize) -> DriveRef {
        DriveRef {
            serial: self.caller.machine.drives[n].clone(),
            wwn: None,
        }
    }

    fn write(&self) -> Work {
        Work::Write(WriteOrder {
            lease: LeaseId::from_parts(1, [7; 10]),
            image: "abc".into(),
            arrays: Vec::new(),
            mirror: Vec::new(),
            drive: self.drive(0),
            kernel_args: vec![],
            seed: Some(Seed {
                meta_data: "instance-id: i-1\nlocal-hostname: box\n".into(),
                user_data: "#cloud-config\n".into(),
                vendor_data: format!(
                    "#cloud-config\nphone_home:\n  url: {}/phone-home/v1/tok\n",
                    self.url
                ),
                network_config: String::new(),
            }),
            prepared: false,
        })
    }
}

async fn phone_home(State(plane): Shared, Form(form): Form<PhoneHome>) -> StatusCode {
    plane.homes.lock().expect("lock").push(form);
    StatusCode::OK
}

fn authority() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["lab".into()]).expect("parameters");
    params.self_signed(&key).expect("a certificate").pem()
}

async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "no {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_phantom_is_inspected_written_booted_and_erased() {
    let b = Bench::new().await;
    b.boot_agent().await;
    let WorkOutcome::Inspected { inventory } = b.give(Work::Inspect).await else {
        panic!("not inspected");
    };
    assert_eq!(
        inventory.system.serial.as_deref(),
        Some(b.caller.machine.serial.as_str())
    );
    let hello = b.plane.hellos.lock().expect("lock").remove(0);
    assert_eq!(hello.serial, inventory.system.serial);

    let WorkOutcome::Written(report) = b.give(b.write()).await else {
        panic!("not written");
    };
    assert_eq!(report.written_bytes, 4 << 20);
    assert_eq!(b.caller.reset("ForceOff").await, Status::NO_CONTENT);
    assert_eq!(b.caller.reset("On").await, Status::NO_CONTENT);
    let homes = || b.plane.homes.lock().expect("lock").pop();
    let home = until("phone-home", homes).await;
    assert_eq!(home.instance_id.as_deref(), Some("i-1"));
    assert_eq!(home.hostname.as_deref(), Some("box"));
    assert_eq!(home.host_keys().len(), 1);

    assert_eq!(b.caller.reset("ForceOff").await, Status::NO_CONTENT);
    b.boot_from("Cd").await;
    let order = EraseOrder {
        drives: vec![b.drive(0), b.drive(1)],
        canaries: 4,
    };
    let WorkOutcome::Erased { drives, unordered } = b.give(Work::Erase(order)).await else {
        panic!("not erased");
    };
    assert!(
        drives
            .iter()
            .all(|d| d.failure.is_none() && d.canaries.len() == 4)
    );
    assert_eq!(unordered.len(), b.caller.machine.drives.len() - 2);
    let order = VerifyOrder {
        erased: drives,
        samples: 16,
        clear_tpm: true,
    };
    let WorkOutcome::Verified { drives, .. } = b.give(Work::Verify(order)).await else {
        panic!("not verified");
    };
    assert!(
        drives
            .iter()
            .all(|d| d.canaries_found == 0 && d.canaries_read == 4)
    );
    // Nothing is left to boot: nobody phones home again.
    assert_eq!(b.caller.reset("ForceOff").await, Status::NO_CONTENT);
    b.boot_from("Hdd").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(b.plane.homes.lock().expect("lock").is_empty());
    b.lab.stop().await;
}

#[tokio::test]
async fn an_agent_whose_task_is_stale_writes_nothing() {
    let b = Bench::new().await;
    *b.plane.stale.lock().expect("lock") = true;
    b.boot_agent().await;
    let outcome = b.give(b.write()).await;
    assert!(matches!(
        outcome,
        WorkOutcome::Failed {
            kind: WorkFailure::Superseded,
            ..
        }
    ));
    b.lab.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_not_known_any_more_powers_off() {
    let b = Bench::new().await;
    b.boot_agent().await;
    let hellos = || b.plane.hellos.lock().expect("lock").pop();
    until("hello", hellos).await;
    *b.plane.gone.lock().expect("lock") = true;
    b.caller.power_becomes("Off").await;
    b.lab.stop().await;
}

#[tokio::test]
async fn drives_fail_and_power_goes_where_it_is_asked_for() {
    let b = Bench::new().await;
    let arm = |fault: serde_json::Value| {
        let fault = serde_json::from_value(fault).expect("a fault");
        b.lab.faults().add(fault).expect("armed");
    };
    b.boot_agent().await;
    let bad = b.drive(1).serial;
    arm(json!({ "at": "erase", "kind": "drive_errors", "serial": bad, "count": 1 }));
    let order = EraseOrder {
        drives: vec![b.drive(0), b.drive(1)],
        canaries: 1,
    };
    let WorkOutcome::Erased { drives, .. } = b.give(Work::Erase(order)).await else {
        panic!("no outcome of erase");
    };
    assert!(drives[0].failure.is_none());
    assert!(drives[1].failure.is_some());
    arm(json!({ "at": "write", "kind": "power_cut", "count": 1 }));
    b.plane.tasks.lock().expect("lock").push_back(Task {
        id: TaskId::from_parts(2, [1; 10]),
        epoch: 1,
        work: b.write(),
        addresses: vec![],
    });
    b.caller.power_becomes("Off").await;
    assert!(b.plane.outcomes.lock().expect("lock").is_empty());
    b.lab.stop().await;
}
