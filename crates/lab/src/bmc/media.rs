//! Virtual media: the BMC fetches an image by its address and puts it into the machine.
//!
//! As BMCs do, it checks no certificate. It answers when the image is there; where that takes
//! longer than [`QUICK`], it answers 202 with a task to follow.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::Bmc;
use super::error::RedfishError;
use super::http::{json_response, no_content};
use super::odd;
use super::resources::{task_json, uri};
use super::state::{Inserted, TaskEnd};
use crate::metal::{MediaNeed, MediaSlot, Medium};

/// How long a fetch may take before its caller is given a task instead of an answer.
const QUICK: Duration = Duration::from_secs(8);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How much of an image is fetched where only its end is wanted, in bytes.
const TAIL: u64 = billet_protocol::boot::TAIL_BYTES;

/// The InsertMedia action.
pub(super) async fn insert(
    bmc: &Arc<Bmc>,
    slot: MediaSlot,
    body: &Value,
) -> Result<Response<Body>, RedfishError> {
    const ACTION: &str = "VirtualMedia.InsertMedia";
    let url = match body.get("Image") {
        Some(Value::String(url)) => url.clone(),
        Some(other) => return Err(RedfishError::property_value_type(other, "Image")),
        None => return Err(RedfishError::action_parameter_missing(ACTION, "Image")),
    };
    let write_protected = body
        .get("WriteProtected")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if bmc.lock().media[slot.index()].is_some() {
        return Err(RedfishError::conflict(
            "A medium is inserted already; eject it first.",
        ));
    }
    odd::ejected_first(bmc, slot)?;
    let task = bmc.lock().start_task("Insert Virtual Media");
    let worker = {
        let bmc = Arc::clone(bmc);
        tokio::spawn(async move {
            let result = load(&bmc, slot, url, write_protected).await;
            end(&bmc, task, &result);
            result
        })
    };
    match tokio::time::timeout(QUICK, worker).await {
        Ok(Ok(result)) => result.map(|()| no_content()),
        Ok(Err(e)) => Err(RedfishError::internal(e)),
        Err(_) => Ok(accepted(bmc, task)),
    }
}

/// A task ended so.
pub(super) fn end(bmc: &Bmc, task: u64, result: &Result<(), RedfishError>) {
    let end = match result {
        Ok(()) => TaskEnd::Completed,
        Err(error) => TaskEnd::Failed(error.message()),
    };
    bmc.lock().end_task(task, end);
}

fn accepted(bmc: &Bmc, task: u64) -> Response<Body> {
    let state = bmc.lock();
    let body = state
        .tasks
        .iter()
        .find(|t| t.id == task)
        .map_or(Value::Null, task_json);
    let mut response = json_response(&body);
    *response.status_mut() = StatusCode::ACCEPTED;
    let monitor = uri(&["TaskService", "TaskMonitors", &task.to_string()]);
    if let Ok(monitor) = HeaderValue::from_str(&monitor) {
        response.headers_mut().insert(header::LOCATION, monitor);
    }
    response
}

/// PATCH of a slot: setting `Image` inserts, setting it to null ejects.
pub(super) async fn patch(
    bmc: &Arc<Bmc>,
    slot: MediaSlot,
    body: &Map<String, Value>,
) -> Result<(), RedfishError> {
    for name in body.keys() {
        if !matches!(
            name.as_str(),
            "Image" | "Inserted" | "WriteProtected" | "TransferMethod" | "TransferProtocolType"
        ) {
            return Err(RedfishError::property_not_writable(name));
        }
    }
    match (body.get("Image"), body.get("Inserted")) {
        (Some(Value::Null), _) | (None, Some(Value::Bool(false))) => eject(bmc, slot).await,
        (Some(Value::String(url)), _) => {
            let write_protected = body
                .get("WriteProtected")
                .and_then(Value::as_bool)
                .unwrap_or(true);
            odd::ejected_first(bmc, slot)?;
            load(bmc, slot, url.clone(), write_protected).await
        }
        (Some(other), _) => Err(RedfishError::property_value_type(other, "Image")),
        (None, _) => Err(RedfishError::property_missing("Image")),
    }
}

/// The EjectMedia action. Ejecting from an empty slot changes nothing and is no error.
pub(super) async fn eject(bmc: &Arc<Bmc>, slot: MediaSlot) -> Result<(), RedfishError> {
    let _one_at_a_time = bmc.media_lock.lock().await;
    bmc.metal
        .detach(slot)
        .await
        .map_err(RedfishError::internal)?;
    let was = {
        let mut state = bmc.lock();
        state.ejected[slot.index()] = true;
        state.media[slot.index()].take()
    };
    if was.is_some() {
        bmc.lock().note(
            "OK",
            format!("A medium was ejected: {}.", slot.as_redfish()),
        );
    }
    let _ = std::fs::remove_file(image_file(bmc, slot));
    Ok(())
}

fn image_file(bmc: &Bmc, slot: MediaSlot) -> std::path::PathBuf {
    bmc.media_dir()
        .join(format!("medium-{}.img", slot.as_redfish().to_lowercase()))
}

async fn load(
    bmc: &Arc<Bmc>,
    slot: MediaSlot,
    url: String,
    write_protected: bool,
) -> Result<(), RedfishError> {
    let _one_at_a_time = bmc.media_lock.lock().await;
    let parsed = reqwest::Url::parse(&url)
        .ok()
        .filter(|u| matches!(u.scheme(), "http" | "https"))
        .ok_or_else(|| RedfishError::property_value_format(&url, "Image"))?;
    let failed = |why: String| RedfishError::cannot_fetch(&url, &why);
    let medium = match bmc.metal.media_need() {
        MediaNeed::Whole => {
            let file = image_file(bmc, slot);
            // A machine that runs keeps reading the old file until it is given the new one.
            let part = file.with_extension("part");
            whole(&bmc.fetch, parsed, &part, bmc.media_cap)
                .await
                .map_err(failed)?;
            std::fs::rename(&part, &file).map_err(RedfishError::internal)?;
            Medium {
                file: Some(file),
                tail: None,
            }
        }
        MediaNeed::Tail => {
            let tail = tail(&bmc.fetch, parsed, bmc.media_cap)
                .await
                .map_err(failed)?;
            Medium {
                file: None,
                tail: Some(tail.into()),
            }
        }
    };
    bmc.metal
        .attach(slot, medium)
        .await
        .map_err(RedfishError::internal)?;
    let mut state = bmc.lock();
    state.ejected[slot.index()] = false;
    state.media[slot.index()] = Some(Inserted {
        url,
        write_protected,
    });
    state.note(
        "OK",
        format!("A medium was inserted: {}.", slot.as_redfish()),
    );
    Ok(())
}

/// An error with its causes, in one line.
fn causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

async fn chunk(response: &mut reqwest::Response) -> Result<Option<bytes::Bytes>, String> {
    match tokio::time::timeout(SILENCE, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(e)) => Err(causes(&e)),
        Err(_) => Err(format!("silent for {} s", SILENCE.as_secs())),
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<reqwest::Response, String> {
    let response = match tokio::time::timeout(SILENCE, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(e)) => return Err(causes(&e)),
        Err(_) => return Err(format!("silent for {} s", SILENCE.as_secs())),
    };
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status()));
    }
    Ok(response)
}

/// Fetch an image to `file`.
async fn whole(
    client: &reqwest::Client,
    url: reqwest::Url,
    file: &Path,
    cap: u64,
) -> Result<(), String> {
    let mut response = send(client.get(url)).await?;
    let told = response.content_length();
    let mut out = std::fs::File::create(file).map_err(|e| e.to_string())?;
    let mut bytes = 0;
    while let Some(piece) = chunk(&mut response).await? {
        bytes += piece.len() as u64;
        if bytes > cap {
            return Err(format!("the image is larger than {cap} bytes"));
        }
        out.write_all(&piece).map_err(|e| e.to_string())?;
    }
    if told.is_some_and(|told| told != bytes) {
        return Err("it ended too early".into());
    }
    Ok(())
}

/// Fetch the last [`TAIL`] bytes of an image.
async fn tail(client: &reqwest::Client, url: reqwest::Url, cap: u64) -> Result<Vec<u8>, String> {
    let request = client
        .get(url)
        .header(header::RANGE, format!("bytes=-{TAIL}"));
    let mut response = send(request).await?;
    // A server that knows no ranges sends everything.
    let mut kept: Vec<u8> = Vec::new();
    let mut seen = 0;
    while let Some(piece) = chunk(&mut response).await? {
        seen += piece.len() as u64;
        if seen > cap {
            return Err(format!("the image is larger than {cap} bytes"));
        }
        kept.extend_from_slice(&piece);
        let over = kept.len().saturating_sub(TAIL as usize);
        kept.drain(..over);
    }
    Ok(kept)
}
