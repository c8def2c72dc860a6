//! What machines ask: the agent's channel, a tenant's machine phoning home, and
//! the boot media that BMCs fetch.
//!
//! Whoever asks here has a secret of one boot or one lease and nothing else, and
//! control checks it with each call. An unknown one gets 401 and no word more.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, RawForm, RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use billet_control::AgentError;
use billet_media::boot_media::BootMedium;
use billet_model::{
    TaskId,
    work::{Progress, Task, WorkOutcome},
};
use billet_protocol::{
    agent::{Confirm, Hello, Welcome},
    install,
    phone_home::PhoneHome,
};
use serde::Deserialize;

use crate::{
    app::App,
    extract::{Body, Of, Query},
    problem::{Failure, Kind},
    range::{self, FileSource, Source},
};

/// Longest that an agent may wait for a task in one call, in seconds.
const WAIT_SECONDS: u64 = 60;
/// Largest phone-home form, in bytes.
const FORM_BYTES: usize = 64 * 1024;

/// The routes of machines. They are no part of the API document.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/agent/v1/hello", post(hello))
        .route("/agent/v1/task", get(task))
        .route("/agent/v1/tasks/{task}/confirm", post(confirm))
        .route("/agent/v1/tasks/{task}/progress", post(progress))
        .route("/agent/v1/tasks/{task}/outcome", post(outcome))
        .route("/agent/v1/images/{digest}/manifest", get(manifest))
        .route("/agent/v1/images/{digest}/blob", get(blob))
        .route("/agent/v1/ramdisk", get(ramdisk))
        .route(
            "/phone-home/v1/{token}",
            post(phone_home).layer(axum::extract::DefaultBodyLimit::max(FORM_BYTES)),
        )
        .route("/media/{file}", get(medium))
        .route(
            "/install/v1/{token}/installed",
            get(installed).post(installed),
        )
        .route("/install/v1/{token}/{file}", get(install_file))
}

/// The token of a boot.
struct BootToken(String);

impl FromRequestParts<App> for BootToken {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Failure> {
        bearer(&parts.headers)
            .map(|t| Self(t.to_owned()))
            .ok_or_else(unknown)
    }
}

/// The secret of `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let secret = secret.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret)
}

fn unknown() -> Failure {
    Failure::new(
        Kind::Unauthenticated,
        "this token is not, or no longer, known: stop, and power the machine off",
    )
}

fn refused(error: AgentError) -> Failure {
    match error {
        AgentError::Unknown => unknown(),
        AgentError::NotYet => Failure::new(Kind::Unavailable, error.to_string())
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
        AgentError::NotYours => Failure::new(Kind::NotFound, error.to_string()),
        AgentError::Store(error) => {
            tracing::error!(%error, "a machine could not be answered");
            Failure::new(Kind::Unavailable, "the database failed: ask again")
        }
    }
}

fn task_id(text: &str) -> Result<TaskId, Failure> {
    text.parse().map_err(|_| Failure::not_found("task", text))
}

async fn hello(
    State(app): State<App>,
    token: BootToken,
    Body(hello): Body<Hello>,
) -> Result<Json<Welcome>, Failure> {
    let welcome = app.control().agent_hello(&token.0, &hello).await;
    welcome.map(Json).map_err(refused)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    wait: u64,
}

async fn task(
    State(app): State<App>,
    token: BootToken,
    Query(wait): Query<Wait>,
) -> Result<Response, Failure> {
    let wait = Duration::from_secs(wait.wait.min(WAIT_SECONDS));
    let task: Option<Task> = app
        .control()
        .wait_task(&token.0, wait)
        .await
        .map_err(refused)?;
    Ok(match task {
        Some(task) => Json(task).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn confirm(
    State(app): State<App>,
    token: BootToken,
    Of(task): Of,
) -> Result<Json<Confirm>, Failure> {
    let confirm = app.control().agent_confirm(&token.0, task_id(&task)?).await;
    confirm.map(Json).map_err(refused)
}

async fn progress(
    State(app): State<App>,
    token: BootToken,
    Of(task): Of,
    Body(progress): Body<Progress>,
) -> Result<Json<Confirm>, Failure> {
    let task = task_id(&task)?;
    let confirm = app.control().agent_progress(&token.0, task, progress).await;
    confirm.map(Json).map_err(refused)
}

async fn outcome(
    State(app): State<App>,
    token: BootToken,
    Of(task): Of,
    Body(outcome): Body<WorkOutcome>,
) -> Result<StatusCode, Failure> {
    let task = task_id(&task)?;
    let done = app.control().agent_outcome(&token.0, task, &outcome).await;
    done.map(|()| StatusCode::NO_CONTENT).map_err(refused)
}

async fn manifest(
    State(app): State<App>,
    token: BootToken,
    Of(digest): Of,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    image_file(&app, &token, &digest, &method, &headers, Part::Manifest).await
}

async fn blob(
    State(app): State<App>,
    token: BootToken,
    Of(digest): Of,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    image_file(&app, &token, &digest, &method, &headers, Part::Blob).await
}

#[derive(Clone, Copy)]
enum Part {
    Manifest,
    Blob,
}

/// A file of an image, for the boot whose machine is being written with it.
async fn image_file(
    app: &App,
    token: &BootToken,
    digest: &str,
    method: &Method,
    headers: &HeaderMap,
    part: Part,
) -> Result<Response, Failure> {
    app.control()
        .agent_image(&token.0, digest)
        .await
        .map_err(refused)?;
    let files = app
        .images()
        .files(digest)
        .ok_or_else(|| Failure::not_found("image", digest))?;
    let (path, media_type) = match part {
        Part::Manifest => (files.manifest, "application/json"),
        Part::Blob => (files.blob, "application/octet-stream"),
    };
    let opened = tokio::task::spawn_blocking(move || FileSource::open(&path)).await;
    let source = opened
        .map_err(|e| Failure::internal("opening an image", &e))?
        .map_err(|e| Failure::internal("opening an image", &e))?;
    let etag = format!("\"{digest}\"");
    Ok(range::answer(
        method,
        headers,
        Arc::new(source),
        &etag,
        media_type,
    ))
}

/// The ramdisk that machines boot, for an agent that is to start it by kexec.
async fn ramdisk(
    State(app): State<App>,
    token: BootToken,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (path, digest) = app
        .control()
        .agent_ramdisk(&token.0)
        .await
        .map_err(refused)?;
    let opened = tokio::task::spawn_blocking(move || FileSource::open(&path)).await;
    let source = opened
        .map_err(|e| Failure::internal("opening the ramdisk", &e))?
        .map_err(|e| Failure::internal("opening the ramdisk", &e))?;
    Ok(range::answer(
        &method,
        &headers,
        Arc::new(source),
        &format!("\"{digest}\""),
        "application/octet-stream",
    ))
}

/// cloud-init posts a form; a second time is answered as the first.
async fn phone_home(
    State(app): State<App>,
    Of(token): Of,
    RawQuery(query): RawQuery,
    form: Result<RawForm, axum::extract::rejection::RawFormRejection>,
) -> Result<StatusCode, Failure> {
    let RawForm(bytes) = form.map_err(|e| {
        if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("a form may have {FORM_BYTES} bytes: send less of what was found");
            return Failure::new(Kind::TooLarge, detail);
        }
        Failure::new(
            Kind::MediaType,
            "post a form, as cloud-init's phone_home does",
        )
    })?;
    let mut form: PhoneHome = serde_urlencoded::from_bytes(&bytes)
        .map_err(|e| Failure::new(Kind::Malformed, format!("this is not such a form: {e}")))?;
    let query: Vec<(String, String)> =
        serde_urlencoded::from_str(query.as_deref().unwrap_or_default()).unwrap_or_default();
    form.drives = query
        .into_iter()
        .find(|(key, _)| key == "drives")
        .map(|(_, said)| said.chars().filter(|c| !c.is_control()).take(200).collect());
    let done = app.control().phone_home(&token, &form).await;
    done.map(|_| StatusCode::NO_CONTENT).map_err(refused)
}

/// An installer is done: a GET will do, for those who have no other call.
async fn installed(
    State(app): State<App>,
    method: Method,
    Of(token): Of,
) -> Result<StatusCode, Failure> {
    if method == Method::HEAD {
        // Looking whether it is there says nothing.
        return Ok(StatusCode::NO_CONTENT);
    }
    let done = app.control().installed(&token).await;
    done.map(|_| StatusCode::NO_CONTENT).map_err(refused)
}

/// What an installer reads of its lease.
async fn install_file(
    State(app): State<App>,
    Path((token, file)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let text = app.control().install_file(&token, &file).await;
    let text = text.map_err(refused)?;
    let kind = match file.as_str() {
        install::METADATA => "application/json",
        _ => "text/plain; charset=utf-8",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, text).into_response())
}

/// A boot medium as bytes.
struct Medium(BootMedium);

impl Source for Medium {
    fn size(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }
}

async fn medium(
    State(app): State<App>,
    Of(file): Of,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let none = || Failure::new(Kind::NotFound, "there is no such medium, or no longer");
    let token = file.strip_suffix(".iso").ok_or_else(none)?;
    let (boot, medium) = match app.control().boot_medium(token).await {
        Ok(found) => found,
        // A BMC is not told to sign in: it cannot.
        Err(AgentError::Unknown | AgentError::NotYours) => return Err(none()),
        Err(other) => return Err(refused(other)),
    };
    if method == Method::GET {
        app.control().medium_is_read(&boot, &medium);
    }
    // The token is a secret: it names the medium only through its hash.
    let etag = format!("\"{}\"", &crate::sha256_hex(token.as_bytes())[..32]);
    let source = Arc::new(Medium(medium));
    Ok(range::answer(
        &method,
        &headers,
        source,
        &etag,
        "application/octet-stream",
    ))
}
