//! From an HTTP request to an answer: faults, authentication, and what is at the address.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::error::RedfishError;
use super::resources::{View, render};
use super::{Bmc, accounts, actions, auth, expand, odd, patch};
use crate::faults::{FaultKind, Point};

/// The longest request body that is read, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long a request that gets no answer is kept open.
const NO_ANSWER: Duration = Duration::from_secs(600);

/// The connection is closed without an answer.
#[derive(Debug)]
pub(super) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

/// A request, read whole.
pub(super) struct Call {
    pub method: Method,
    /// The path as it was sent, without a query.
    pub path: String,
    /// How many levels of what stands below it are asked for with it.
    pub expand: Option<u8>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The user who asks, once known.
    pub user: Option<String>,
}

impl Call {
    /// The path below `/redfish/v1`.
    pub fn segments(&self) -> Option<Vec<&str>> {
        let rest = self.path.strip_prefix("/redfish/v1")?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        Some(rest.split('/').filter(|s| !s.is_empty()).collect())
    }

    /// The body as JSON; an empty body is an empty object.
    pub fn json(&self) -> Result<Value, RedfishError> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        match serde_json::from_slice(&self.body) {
            Ok(value @ Value::Object(_)) => Ok(value),
            _ => Err(RedfishError::malformed_json()),
        }
    }

    fn point(&self) -> Point {
        let path = self.path.as_str();
        let read = self.method == Method::GET || self.method == Method::HEAD;
        if read {
            Point::Read
        } else if path.contains("/Sessions") {
            Point::Session
        } else if path.contains("/VirtualMedia/") {
            Point::Media
        } else if path.ends_with(".Reset") {
            Point::Power
        } else if path.trim_end_matches('/').ends_with("/Systems/1")
            && self.json().is_ok_and(|body| body.get("Boot").is_some())
        {
            Point::Boot
        } else {
            Point::Any
        }
    }
}

/// Answer one request, or close the connection.
pub(super) async fn answer(
    bmc: &Arc<Bmc>,
    request: Request<Body>,
) -> Result<Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_LIMIT)
        .await
        .map_err(|_| Closed)?;
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        expand: expand::asked(parts.uri.query()),
        headers: parts.headers,
        body,
        user: None,
    };
    let head = call.method == Method::HEAD;
    let mut response = faulty(bmc, call).await?;
    finish(&mut response);
    if head {
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

async fn faulty(bmc: &Arc<Bmc>, call: Call) -> Result<Response<Body>, Closed> {
    let points = [Point::Any, call.point()];
    if let Some(seconds) = odd::busy(bmc) {
        return Ok(busy(seconds));
    }
    let struck = bmc.faults.strike(&bmc.name, &points, |kind| {
        kind.meets_requests() && (points[1] != Point::Read || !kind.needs_change())
    });
    match struck {
        None => detached(bmc, call).await,
        Some(FaultKind::Refuse) => Err(Closed),
        Some(FaultKind::Delay { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            detached(bmc, call).await
        }
        Some(FaultKind::Drop) => {
            let _ = detached(bmc, call).await;
            Err(Closed)
        }
        Some(FaultKind::Status { code }) => Ok(RedfishError::chosen(code).into_response()),
        Some(FaultKind::Hang { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Err(Closed)
        }
        Some(FaultKind::Bare { ms }) => {
            let bmc = Arc::clone(bmc);
            let done = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                respond(&bmc, call).await.status()
            });
            // It is done while one waits, where no time was asked for.
            if ms == 0 {
                let _ = done.await;
            }
            Ok(Response::new(Body::empty()))
        }
        Some(FaultKind::Busy { ms }) => {
            odd::be_busy(bmc, Duration::from_millis(ms));
            Ok(busy(ms / 1000 + 1))
        }
        Some(FaultKind::Restart { ms, done }) => {
            if done {
                let _ = detached(bmc, call).await;
            }
            odd::restart(bmc, Duration::from_millis(ms));
            Err(Closed)
        }
        Some(FaultKind::Late { ms, answered }) => {
            let bmc = Arc::clone(bmc);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                let response = respond(&bmc, call).await;
                tracing::info!(machine = bmc.name, status = %response.status(), "carried out late");
            });
            if answered {
                Ok(no_content())
            } else {
                tokio::time::sleep(NO_ANSWER).await;
                Err(Closed)
            }
        }
        Some(_) => detached(bmc, call).await,
    }
}

/// What a BMC says that has no time.
fn busy(seconds: u64) -> Response<Body> {
    let mut response = RedfishError::busy().into_response();
    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// Carry a call out to its end, whether or not the caller waits for it.
async fn detached(bmc: &Arc<Bmc>, call: Call) -> Result<Response<Body>, Closed> {
    if call.method == Method::GET || call.method == Method::HEAD {
        return Ok(respond(bmc, call).await);
    }
    let bmc = Arc::clone(bmc);
    tokio::spawn(async move { respond(&bmc, call).await })
        .await
        .map_err(|_| Closed)
}

async fn respond(bmc: &Arc<Bmc>, call: Call) -> Response<Body> {
    match dispatch(bmc, call).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn dispatch(bmc: &Arc<Bmc>, mut call: Call) -> Result<Response<Body>, RedfishError> {
    let reads = call.method == Method::GET || call.method == Method::HEAD;
    let trimmed = call.path.trim_end_matches('/');
    if let Some(version) = call.headers.get("odata-version")
        && version != "4.0"
    {
        return Err(RedfishError::odata_version(
            version.to_str().unwrap_or("not text"),
        ));
    }
    // These four need no authentication.
    if trimmed == "/redfish" {
        return if reads {
            Ok(json_response(&json!({ "v1": "/redfish/v1/" })))
        } else {
            Err(RedfishError::method_not_allowed(
                call.method.as_str(),
                &["GET", "HEAD"],
            ))
        };
    }
    let path = call.path.clone();
    let Some(segments) = call
        .segments()
        .map(|s| s.into_iter().map(str::to_owned).collect::<Vec<_>>())
    else {
        return Err(RedfishError::not_found(&path));
    };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["odata"] if reads => return Ok(json_response(&odata())),
        ["$metadata"] if reads => return Ok(xml_response(METADATA)),
        [] if reads => return get(bmc, &segments),
        ["SessionService", "Sessions"] | ["SessionService", "Sessions", "Members"]
            if call.method == Method::POST =>
        {
            return actions::login(bmc, &call.json()?);
        }
        _ => {}
    }
    call.user = auth::who(&mut bmc.lock(), &call.headers);
    if call.user.is_none() {
        return Err(RedfishError::unauthorized());
    }
    let own = matches!(
        segments.as_slice(),
        ["AccountService", "Accounts", _] | ["SessionService", "Sessions", _]
    );
    if !own && odd::password_expired(bmc) {
        let account = super::resources::uri(&["AccountService", "Accounts", "1"]);
        return Err(RedfishError::password_change_required(&account));
    }
    if reads {
        return if actions::is_action(&segments) {
            Err(absent_or_forbidden(bmc, &segments, &call))
        } else {
            odd::known(bmc, &segments)?;
            if let Some(levels) = call.expand {
                return expand::get(bmc, &segments, levels);
            }
            get(bmc, &segments)
        };
    }
    if let Some(user) = &call.user {
        let state = bmc.lock();
        let own = match segments.as_slice() {
            ["SessionService", "Sessions", _] => true,
            ["AccountService", "Accounts", id] => {
                let only = call
                    .json()?
                    .as_object()
                    .is_some_and(|body| body.keys().all(|name| name == "Password"));
                only && accounts::is_own(&state, user, id)
            }
            _ => false,
        };
        if !own && !accounts::may_change(&state, user) {
            return Err(RedfishError::insufficient_privilege());
        }
    }
    odd::off_first(bmc, call.point())?;
    if call.method == Method::PATCH {
        if !patch::patchable(&segments) {
            return Err(absent_or_forbidden(bmc, &segments, &call));
        }
        check_etag(bmc, &segments, &call)?;
        patch::patch(bmc, &segments, &call.json()?).await?;
        return get(bmc, &segments);
    }
    if call.method == Method::DELETE
        && let ["SessionService", "Sessions", id] = segments.as_slice()
    {
        return actions::logout(bmc, id);
    }
    match segments.as_slice() {
        ["AccountService", "Accounts"] if call.method == Method::POST => {
            return accounts::create(bmc, &call.json()?);
        }
        ["AccountService", "Accounts", id] if call.method == Method::DELETE => {
            return accounts::delete(bmc, id);
        }
        _ => {}
    }
    if call.method == Method::POST
        && let Some(response) = actions::post(bmc, &segments, &call).await
    {
        return response;
    }
    Err(absent_or_forbidden(bmc, &segments, &call))
}

/// The resource at `path` as it truly is.
pub(super) fn resource(bmc: &Bmc, path: &[&str]) -> Option<Value> {
    let state = bmc.lock();
    render(
        &View {
            facts: bmc.metal.facts(),
            state: &state,
            power: bmc.metal.power(),
            ssh_port: bmc.ssh_address.port(),
            uuid: &bmc.uuid,
            mac: &bmc.mac,
            address: bmc.address,
        },
        path,
    )
}

/// The resource at `path` as it is shown, and its ETag.
pub(super) fn shown(bmc: &Bmc, path: &[&str]) -> Result<(Value, String), RedfishError> {
    let mut value =
        resource(bmc, path).ok_or_else(|| RedfishError::not_found(&super::resources::uri(path)))?;
    let etag = etag(&value);
    odd::shown(bmc, path, &mut value);
    if let Value::Object(object) = &mut value {
        object.insert("@odata.etag".into(), json!(etag));
    }
    Ok((value, etag))
}

fn get(bmc: &Bmc, path: &[&str]) -> Result<Response<Body>, RedfishError> {
    let (value, etag) = shown(bmc, path)?;
    let mut response = json_response(&value);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// A resource's ETag: the same as long as nothing but the clock has changed in it.
fn etag(value: &Value) -> String {
    let mut value = value.clone();
    if let Value::Object(object) = &mut value {
        object.remove("DateTime");
    }
    let digest = Sha256::digest(value.to_string());
    let mut text = String::from("\"");
    for byte in &digest[..8] {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('"');
    text
}

/// A condition that the caller set must hold; weak and strong tags compare alike.
fn check_etag(bmc: &Bmc, path: &[&str], call: &Call) -> Result<(), RedfishError> {
    let Some(wanted) = call.headers.get(header::IF_MATCH) else {
        return Ok(());
    };
    let wanted = wanted.to_str().unwrap_or_default();
    let now = resource(bmc, path).map(|value| etag(&value));
    let holds = wanted
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || now.as_deref() == Some(tag.strip_prefix("W/").unwrap_or(tag)));
    if holds {
        Ok(())
    } else {
        Err(RedfishError::precondition_failed())
    }
}

fn absent_or_forbidden(bmc: &Bmc, path: &[&str], call: &Call) -> RedfishError {
    if actions::is_action(path) {
        return RedfishError::method_not_allowed(call.method.as_str(), &["POST"]);
    }
    if resource(bmc, path).is_none() {
        return RedfishError::not_found(&call.path);
    }
    let mut allow = vec!["GET", "HEAD"];
    if patch::patchable(path) {
        allow.push("PATCH");
    }
    match path {
        ["SessionService", "Sessions"] => allow.push("POST"),
        ["SessionService", "Sessions", _] => allow.push("DELETE"),
        ["AccountService", "Accounts"] => allow.push("POST"),
        ["AccountService", "Accounts", _] => allow.push("DELETE"),
        _ => {}
    }
    RedfishError::method_not_allowed(call.method.as_str(), &allow)
}

/// An answer that says that all is well and nothing more.
pub(super) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// An answer with a JSON body.
pub(super) fn json_response(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}

fn xml_response(text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml; charset=utf-8"),
    );
    response
}

/// What every answer carries.
fn finish(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert("OData-Version", HeaderValue::from_static("4.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::SERVER, HeaderValue::from_static("Billet-Lab-BMC"));
    headers.insert(
        header::LINK,
        HeaderValue::from_static(
            "<http://redfish.dmtf.org/schemas/v1/redfish-error.v1_0_2.json>; rel=describedby",
        ),
    );
}

fn odata() -> Value {
    let services = [
        "Systems",
        "Chassis",
        "Managers",
        "SessionService",
        "AccountService",
        "UpdateService",
        "TaskService",
    ];
    let mut value = vec![json!({
        "name": "Service", "kind": "Singleton", "url": "/redfish/v1/",
    })];
    value.extend(
        services
            .iter()
            .map(|s| json!({ "name": s, "kind": "Singleton", "url": format!("/redfish/v1/{s}") })),
    );
    json!({ "@odata.context": "/redfish/v1/$metadata", "value": value })
}

/// The least that OData's metadata document must say.
const METADATA: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">
  <edmx:Reference Uri="http://redfish.dmtf.org/schemas/v1/ServiceRoot_v1.xml">
    <edmx:Include Namespace="ServiceRoot"/>
    <edmx:Include Namespace="ServiceRoot.v1_16_1"/>
  </edmx:Reference>
  <edmx:DataServices>
    <Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="Service">
      <EntityContainer Name="Service" Extends="ServiceRoot.v1_16_1.ServiceContainer"/>
    </Schema>
  </edmx:DataServices>
</edmx:Edmx>
"#;
