//! A control plane to call, and what tests need there is in it.

use std::{path::Path, time::Duration};

use billet_api::{ServeOptions, Server, tls::Authority};
use billet_control::{Control, Settings};
use billet_model::{
    EventId, ImageId, LeaseId, MachineId, ProjectId,
    api::{Problem, TokenMade},
    image::{BootKind, Image, ImageContent, ImageState},
    inventory::{Drive, Inventory},
    lifecycle::Lifecycle,
    machine::Machine,
    people::Actor,
    step::Step,
    work::DriveRef,
};
use billet_store::{Batch, Write};
use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A control plane that serves.
pub struct Site {
    pub control: Control,
    pub server: Server,
    pub http: Client,
    /// The operator's secret.
    pub operator: String,
    pub directory: tempfile::TempDir,
}

/// An answer, read.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("{e} in {} {}", self.status, self.body))
    }

    pub fn value(&self) -> Value {
        self.json()
    }

    /// The problem, which it must be.
    pub fn problem(&self, status: u16) -> Problem {
        let problem: Problem = self.json();
        assert_eq!(self.status.as_u16(), status, "{problem:?}");
        assert_eq!(problem.status, status);
        let media_type = self.headers.get("content-type").expect("a type");
        assert_eq!(media_type, "application/problem+json");
        problem
    }

    pub fn ok(self) -> Self {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        self
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// What a control plane in `directory` is set up with.
pub fn settings(directory: &Path) -> Settings {
    let (data, keys) = (directory.join("data"), directory.join("keys"));
    let authority = Authority::open(&keys, &data).expect("an authority");
    let ramdisk = directory.join("ramdisk.efi");
    if !ramdisk.exists() {
        std::fs::write(&ramdisk, vec![0x5a; 100_000]).expect("a ramdisk");
    }
    Settings {
        data,
        keys,
        database: None,
        servers: vec!["https://127.0.0.1:8443".into()],
        media_base: "https://127.0.0.1:8443".into(),
        ramdisk: Some(ramdisk),
        stub: billet_media::ramdisk::DEFAULT_STUB.into(),
        ipxe: None,
        authority: authority.pem().to_owned(),
        policy: Default::default(),
    }
}

impl Site {
    pub async fn new() -> Self {
        Self::with(ServeOptions::default()).await
    }

    pub async fn with(options: ServeOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let control = Control::open(settings(directory.path()))
            .await
            .expect("a control plane");
        let operator = billet_api::bootstrap(&control).await.expect("a token");
        let operator = operator.expect("the first start").expose().to_owned();
        Self::serve(directory, control, operator, options).await
    }

    pub async fn serve(
        directory: tempfile::TempDir,
        control: Control,
        operator: String,
        options: ServeOptions,
    ) -> Self {
        let options = ServeOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            ..options
        };
        let server = billet_api::serve(control.clone(), options)
            .await
            .expect("a server");
        let authority = reqwest::Certificate::from_pem(control.settings().authority.as_bytes());
        let http = Client::builder()
            .tls_certs_only([authority.expect("the authority")])
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        Self {
            control,
            server,
            http,
            operator,
            directory,
        }
    }

    /// A request without anybody's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("https://{}{path}", self.server.address());
        self.http.request(method, url)
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.expect("a body"),
        }
    }

    pub async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(token))
            .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_as(&self.operator, path).await
    }

    pub async fn call_as(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let request = self.request(method, path).bearer_auth(token);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        self.send(request).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call_as(&self.operator, Method::POST, path, body).await
    }

    /// A token's secret.
    pub async fn token(&self, name: &str, role: &str, project: Option<&str>) -> String {
        let body = json!({ "name": name, "role": role, "project": project });
        let made: TokenMade = self.post("/v1/tokens", body).await.ok().json();
        made.secret
    }

    /// Organisation, site, machine type and two projects, `a` and `b`.
    pub async fn furnish(&self) {
        for (path, body) in [
            ("/v1/organisations", json!({ "name": "acme" })),
            (
                "/v1/projects",
                json!({ "name": "a", "organisation": "acme" }),
            ),
            (
                "/v1/projects",
                json!({ "name": "b", "organisation": "acme" }),
            ),
            ("/v1/sites", json!({ "name": "here", "jurisdiction": "DE" })),
            (
                "/v1/machine-types",
                json!({ "name": "box", "description": "a box" }),
            ),
            (
                "/v1/networks",
                json!({ "name": "lan", "subnet": "10.88.0.0/24" }),
            ),
        ] {
            self.post(path, body).await.ok();
        }
    }

    pub async fn project(&self, name: &str) -> ProjectId {
        let read = self
            .control
            .store()
            .project_by_name(&name.parse().expect("a name"))
            .await;
        read.expect("the store").expect("the project").id
    }

    /// A machine that can be leased, put there without any BMC.
    pub async fn machine(&self, name: &str) -> Machine {
        let id: MachineId = self.control.new_id();
        let body = json!({
            "name": name, "site": "here", "machine_type": "box",
            "networks": { "lan": null },
            "bmc": {
                "address": format!("https://192.0.2.1:{}", 1000 + id.0.as_bytes()[15] as u16 * 200 + id.0.as_bytes()[14] as u16 % 200),
                "user": "root", "password": "bmc-hunter2",
            },
        });
        let started = self.post("/v1/machines", body).await.ok().value();
        let id: MachineId =
            serde_json::from_value(started["machine"]["id"].clone()).expect("an id");
        let mut machine = self
            .control
            .store()
            .machine(id)
            .await
            .expect("the store")
            .expect("it");
        machine.lifecycle = Lifecycle::Available;
        machine.step = Step::Rest;
        machine.operation = None;
        machine.may_hold_data = false;
        machine.drives = vec![DriveRef {
            serial: "S1".into(),
            wwn: None,
        }];
        machine.inventory = Some(Inventory {
            drives: vec![Drive {
                serial: Some("S1".into()),
                size_bytes: 1 << 40,
                ..Drive::default()
            }],
            ..Inventory::default()
        });
        self.put_machine(machine).await
    }

    pub async fn put_machine(&self, machine: Machine) -> Machine {
        let row = self.row();
        let write = Write::PutMachine(Box::new(machine.clone()));
        self.commit(Batch::new().with(write).audited(row)).await;
        let read = self.control.store().machine(machine.id).await;
        read.expect("the store").expect("the machine")
    }

    pub fn row(&self) -> billet_model::event::AuditRow {
        let mut row = self.control.audit_row(&Actor::Billet, "test", json!({}));
        row.id = self.control.new_id::<EventId>();
        row
    }

    pub async fn commit(&self, batch: Batch) {
        self.control.store().commit(batch).await.expect("a commit");
    }

    /// An image that is there, without its bytes.
    pub async fn image(&self, name: &str, project: Option<ProjectId>) -> ImageId {
        let id: ImageId = self.control.new_id();
        let image = Image {
            id,
            name: name.parse().expect("a name"),
            project,
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
            created_at: self.control.now(),
        };
        let write = Write::PutImage(Box::new(image));
        self.commit(Batch::new().with(write).audited(self.row()))
            .await;
        id
    }

    /// A lease of project `a` on a machine of its own.
    pub async fn lease(&self, name: &str) -> LeaseId {
        self.machine(&format!("m-{name}")).await;
        let body =
            json!({ "name": name, "project": "a", "machine_type": "box", "image": "debian" });
        let started = self.post("/v1/leases", body).await.ok().value();
        serde_json::from_value(started["lease"]["id"].clone()).expect("an id")
    }
}
