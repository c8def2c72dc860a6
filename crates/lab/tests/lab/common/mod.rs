//! A caller of BMCs, for tests.

pub mod efi;

use billet_lab::{Lab, LabMachine, LabOptions};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// A lab of so many phantoms.
pub async fn phantoms(n: u32) -> Lab {
    Lab::start(LabOptions {
        phantoms: n,
        seed: Some(1),
        ..LabOptions::default()
    })
    .await
    .expect("a lab")
}

/// A client that checks no certificate.
pub fn client() -> Client {
    Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .build()
        .expect("a client")
}

/// One BMC and who asks it.
pub struct Caller {
    pub client: Client,
    pub machine: LabMachine,
}

impl Caller {
    pub fn new(machine: LabMachine) -> Self {
        Self {
            client: client(),
            machine,
        }
    }

    pub fn plain(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.machine.bmc);
        self.client.request(method, url)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.plain(method, path)
            .basic_auth(&self.machine.user, Some(&self.machine.password))
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.request(Method::GET, path).send().await.expect(path);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.expect("JSON")
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let request = self.request(Method::POST, path).json(&body);
        request.send().await.expect(path)
    }

    pub async fn patch(&self, path: &str, body: Value) -> Response {
        let request = self.request(Method::PATCH, path).json(&body);
        request.send().await.expect(path)
    }

    pub async fn reset(&self, kind: &str) -> StatusCode {
        let path = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
        self.post(path, json!({ "ResetType": kind })).await.status()
    }

    pub async fn power(&self) -> String {
        let system = self.get("/redfish/v1/Systems/1").await;
        system["PowerState"].as_str().expect("a power state").into()
    }

    /// Wait until the power is so, for at most ten seconds.
    pub async fn power_becomes(&self, wanted: &str) {
        for _ in 0..100 {
            if self.power().await == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the power does not become {wanted}");
    }
}
