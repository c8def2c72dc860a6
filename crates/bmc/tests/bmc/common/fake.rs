//! A small BMC that works, and misbehaves where its script says so.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Response};
use serde_json::{Value, json};

use super::{PASSWORD, Serving, USER, serve};

/// What happens to a request in place of what should.
#[derive(Clone, Debug)]
pub enum Twist {
    /// This status with this body.
    Answer(u16, Value),
    /// This status, these headers, this body.
    Headers(u16, Vec<(&'static str, &'static str)>, Value),
    /// Never an answer; nothing is done.
    Hang,
    /// Done, but the answer never comes.
    DoAndHang,
    /// The connection is cut; nothing is done.
    Cut,
    /// Done, and the connection is cut in place of an answer.
    DoAndCut,
    /// Says that it was done, and does not.
    Forget,
}

struct Rule {
    method: Method,
    path: &'static str,
    times: usize,
    twist: Twist,
}

/// What the BMC remembers.
pub struct State {
    pub power: &'static str,
    pub boot: Value,
    pub slot: Value,
    pub etag: u32,
    /// Refuses a PATCH whose If-Match is not the current ETag.
    pub strict_etag: bool,
    /// Takes Basic authentication.
    pub basic: bool,
    /// Shows even the service root to nobody without a login.
    pub closed_root: bool,
    /// Extra or replaced fields of the system.
    pub system: Value,
    rules: Vec<Rule>,
    tokens: Vec<String>,
    /// Every request: `METHOD path body`.
    pub log: Vec<String>,
}

#[derive(Clone)]
pub struct Fake(Arc<Mutex<State>>);

pub const SYSTEM: &str = "/redfish/v1/Systems/1";
pub const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
pub const SLOT: &str = "/redfish/v1/Managers/1/VirtualMedia/CD";
pub const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

impl Fake {
    pub async fn start() -> (Self, Serving) {
        let fake = Self(Arc::new(Mutex::new(State {
            power: "Off",
            boot: json!({
                "BootSourceOverrideEnabled": "Disabled",
                "BootSourceOverrideTarget": "None",
                "BootSourceOverrideMode": "UEFI",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Cd", "Hdd", "Pxe"],
            }),
            slot: json!({
                "@odata.id": SLOT, "Id": "CD", "Name": "Virtual CD", "MediaTypes": ["CD", "DVD"],
                "Image": null, "Inserted": false,
                "Actions": {
                    "#VirtualMedia.InsertMedia": {"target": format!("{SLOT}/Actions/VirtualMedia.InsertMedia")},
                    "#VirtualMedia.EjectMedia": {"target": format!("{SLOT}/Actions/VirtualMedia.EjectMedia")},
                },
            }),
            etag: 1,
            strict_etag: false,
            basic: true,
            closed_root: false,
            system: json!({}),
            rules: Vec::new(),
            tokens: Vec::new(),
            log: Vec::new(),
        })));
        let handler = fake.clone();
        let app = Router::new().fallback(move |request: Request| {
            let fake = handler.clone();
            async move { fake.handle(request).await }
        });
        (fake, serve(app).await)
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From now on, so many times.
    pub fn twist(&self, method: Method, path: &'static str, times: usize, twist: Twist) {
        self.state().rules.push(Rule {
            method,
            path,
            times,
            twist,
        });
    }

    /// How often this was asked.
    pub fn count(&self, start: &str) -> usize {
        self.state()
            .log
            .iter()
            .filter(|l| l.starts_with(start))
            .count()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.state().tokens.len()
    }

    /// Forgets all sessions, as BMCs do.
    pub fn forget_sessions(&self) {
        self.state().tokens.clear();
    }

    async fn handle(&self, request: Request) -> Response<Body> {
        let method = request.method().clone();
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let headers = request.headers().clone();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20)
            .await
            .unwrap();
        let twist = {
            let mut state = self.state();
            state.log.push(format!(
                "{method} {path} {}",
                String::from_utf8_lossy(&body)
            ));
            let rule = state
                .rules
                .iter_mut()
                .find(|r| r.times > 0 && r.method == method && r.path == path);
            rule.map(|r| {
                r.times -= 1;
                r.twist.clone()
            })
        };
        match twist {
            None => self.state().answer(&method, &path, &headers, &body),
            Some(Twist::Answer(status, body)) => reply(status, &[], &body),
            Some(Twist::Headers(status, headers, body)) => reply(status, &headers, &body),
            Some(Twist::Hang) => hang().await,
            Some(Twist::DoAndHang) => {
                self.state().answer(&method, &path, &headers, &body);
                hang().await
            }
            Some(Twist::Cut) => cut(),
            Some(Twist::DoAndCut) => {
                self.state().answer(&method, &path, &headers, &body);
                cut()
            }
            Some(Twist::Forget) => reply(204, &[], &Value::Null),
        }
    }
}

async fn hang() -> Response<Body> {
    tokio::time::sleep(Duration::from_secs(600)).await;
    reply(500, &[], &Value::Null)
}

/// A handler that unwinds takes its connection with it; this way nothing is printed.
fn cut() -> Response<Body> {
    std::panic::resume_unwind(Box::new("the connection is cut"))
}

fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &Value) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    response.body(body).unwrap()
}

impl State {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Response<Body> {
        let sent: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if path == "/redfish/v1" && (!self.closed_root || headers.contains_key("x-auth-token")) {
            return reply(
                200,
                &[],
                &json!({
                    "Id": "RootService", "Name": "Fake",
                    "Systems": {"@odata.id": "/redfish/v1/Systems"},
                    "Managers": {"@odata.id": "/redfish/v1/Managers"},
                    "Links": {"Sessions": {"@odata.id": SESSIONS}},
                }),
            );
        }
        if *method == Method::POST && path == SESSIONS {
            if sent["UserName"] != USER || sent["Password"] != PASSWORD {
                return reply(401, &[], &Value::Null);
            }
            let token = format!("token-{}", self.log.len());
            self.tokens.push(token.clone());
            let location = format!("{SESSIONS}/{token}");
            return Response::builder()
                .status(201)
                .header("X-Auth-Token", token)
                .header("Location", location)
                .body(Body::from("{}"))
                .unwrap();
        }
        let token = headers.get("x-auth-token").and_then(|t| t.to_str().ok());
        // "billet:correct horse"
        let basic = self.basic
            && headers
                .get("authorization")
                .is_some_and(|a| a == "Basic YmlsbGV0OmNvcnJlY3QgaG9yc2U=");
        if !basic && !token.is_some_and(|t| self.tokens.iter().any(|k| k == t)) {
            return reply(401, &[], &Value::Null);
        }
        match (method.as_str(), path) {
            ("GET", "/redfish/v1/Systems") => members(SYSTEM),
            ("GET", "/redfish/v1/Managers") => members("/redfish/v1/Managers/1"),
            ("GET", "/redfish/v1/Managers/1") => reply(
                200,
                &[],
                &json!({
                    "@odata.id": path, "Id": "1", "FirmwareVersion": "1.0",
                    "VirtualMedia": {"@odata.id": "/redfish/v1/Managers/1/VirtualMedia"},
                }),
            ),
            ("GET", "/redfish/v1/Managers/1/VirtualMedia") => members(SLOT),
            ("GET", SLOT) => reply(200, &[], &self.slot),
            ("GET", SYSTEM) => {
                let mut system = json!({
                    "@odata.id": SYSTEM, "Id": "1", "SystemType": "Physical",
                    "Manufacturer": "Fake", "Model": "F1", "SerialNumber": "S1",
                    "PowerState": self.power, "Boot": self.boot,
                    "@odata.etag": format!("\"{}\"", self.etag),
                    "Actions": {"#ComputerSystem.Reset": {
                        "target": RESET,
                        "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown", "ForceRestart"],
                    }},
                });
                for (key, value) in self.system.as_object().unwrap() {
                    system[key] = value.clone();
                }
                reply(200, &[], &system)
            }
            ("POST", RESET) => {
                match sent["ResetType"].as_str() {
                    Some("On" | "ForceRestart") => self.power = "On",
                    Some("ForceOff" | "GracefulShutdown") => self.power = "Off",
                    _ => return reply(400, &[], &json!({"error": {"message": "no such reset"}})),
                }
                reply(204, &[], &Value::Null)
            }
            ("PATCH", SYSTEM) => {
                let current = format!("\"{}\"", self.etag);
                let given = headers.get("if-match").and_then(|v| v.to_str().ok());
                if self.strict_etag && given != Some(current.as_str()) {
                    return reply(412, &[], &Value::Null);
                }
                for (key, value) in sent["Boot"].as_object().unwrap() {
                    self.boot[key] = value.clone();
                }
                self.etag += 1;
                reply(200, &[], &Value::Null)
            }
            ("POST", insert) if insert.ends_with("VirtualMedia.InsertMedia") => {
                if self.slot["Inserted"] == true {
                    return reply(400, &[], &json!({"error": {"message": "eject first"}}));
                }
                self.slot["Image"] = sent["Image"].clone();
                self.slot["Inserted"] = json!(true);
                reply(204, &[], &Value::Null)
            }
            ("POST", eject) if eject.ends_with("VirtualMedia.EjectMedia") => {
                self.slot["Image"] = Value::Null;
                self.slot["Inserted"] = json!(false);
                reply(204, &[], &Value::Null)
            }
            ("DELETE", session) if session.starts_with(SESSIONS) => {
                self.tokens.retain(|t| !session.ends_with(t.as_str()));
                reply(204, &[], &Value::Null)
            }
            _ => reply(404, &[], &Value::Null),
        }
    }
}

fn members(path: &str) -> Response<Body> {
    reply(
        200,
        &[],
        &json!({"Members": [{"@odata.id": path}], "Members@odata.count": 1}),
    )
}
