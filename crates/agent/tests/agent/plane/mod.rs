//! A control plane for tests: serves the agent's channel over TLS from a list of
//! tasks, and misbehaves on request.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_server::tls_rustls::RustlsConfig;
use billet_model::{
    Secret, TaskId,
    image::{BootKind, CHUNK_BYTES, ImageChunk, ImageManifest},
    work::{Progress, Task, WorkOutcome},
};
use billet_protocol::{
    agent::{Confirm, Hello, Welcome},
    boot::BootRecord,
};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio_stream::StreamExt;

pub const TOKEN: &str = "a token that must not be seen";
/// The token of the boot that a trial begins.
pub const NEXT: &str = "another token that must not be seen";

/// What the control plane knows, and how it misbehaves.
#[derive(Default)]
pub struct Facts {
    pub tasks: Vec<Task>,
    pub outcomes: BTreeMap<TaskId, WorkOutcome>,
    pub hellos: Vec<Hello>,
    pub progress: Vec<Progress>,
    pub confirms: u32,
    /// Answers of `confirm` and `progress` are no.
    pub superseded: bool,
    /// So many calls are answered with 503.
    pub unavailable: u32,
    /// So many outcomes are kept, and their acknowledgement lost.
    pub lose_acknowledgement: u32,
    /// So many answers with a blob break off half-way.
    pub break_blob: u32,
    pub images: HashMap<String, (ImageManifest, Vec<u8>)>,
    /// Once all tasks are done, the token is not known any more.
    pub forget_when_done: bool,
    /// The ramdisk, for a trial.
    pub ramdisk: Vec<u8>,
    /// After this task's outcome the one token is not known any more, and the
    /// other is.
    pub trial: Option<TaskId>,
}

type Shared = Arc<Mutex<Facts>>;

/// A control plane that runs until it is dropped.
pub struct Plane {
    pub address: SocketAddr,
    pub authority: String,
    pub facts: Shared,
    handle: axum_server::Handle<SocketAddr>,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

impl Plane {
    /// Starts one on loopback, with a certificate for it and for 10.0.2.2, which
    /// is the loopback as a guest of QEMU's user network sees it.
    pub fn start() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority = ca.self_signed(&key).expect("an authority").pem();
        let issuer = Issuer::new(ca, key);
        let key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), "10.0.2.2".to_owned()];
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .expect("a configuration");
        let facts = Shared::default();
        let app = routes(facts.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        let handle = axum_server::Handle::new();
        let server = {
            let _inside = runtime.enter();
            axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(Arc::new(tls)))
                .expect("a server")
                .handle(handle.clone())
        };
        runtime.spawn(server.serve(app.into_make_service()));
        Self {
            address,
            authority,
            facts,
            handle,
            _runtime: runtime,
        }
    }

    /// A boot record that leads here, by this host name.
    pub fn record(&self, host: &str) -> BootRecord {
        BootRecord {
            servers: vec![format!("https://{host}:{}", self.address.port())],
            authority: self.authority.clone(),
            token: Secret::new(TOKEN),
            addresses: vec![],
            made_at: jiff::Timestamp::now(),
        }
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut Facts) -> T) -> T {
        f(&mut self.facts.lock().expect("the lock"))
    }

    /// Takes a disk image in; returns its digest.
    pub fn add_image(&self, disk: &[u8], boot: BootKind, root: Option<u32>) -> String {
        let mut blob = Vec::new();
        let mut chunks = Vec::new();
        for (index, plain) in (0..).zip(disk.chunks(CHUNK_BYTES as usize)) {
            if plain.iter().all(|b| *b == 0) {
                continue;
            }
            let packed = zstd::bulk::compress(plain, 1).expect("packed");
            chunks.push(ImageChunk {
                index,
                sha256: sha256(plain),
                offset: blob.len() as u64,
                length: u32::try_from(packed.len()).expect("short"),
            });
            blob.extend(packed);
        }
        let manifest = ImageManifest {
            version: 1,
            virtual_bytes: disk.len() as u64,
            chunk_bytes: CHUNK_BYTES,
            chunks,
            boot,
            root_partition: root,
        };
        let digest = sha256(&manifest.canonical());
        self.with(|f| f.images.insert(digest.clone(), (manifest, blob)));
        digest
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn routes(facts: Shared) -> Router {
    Router::new()
        .route("/agent/v1/hello", post(hello))
        .route("/agent/v1/task", get(task))
        .route("/agent/v1/tasks/{id}/confirm", post(confirm))
        .route("/agent/v1/tasks/{id}/progress", post(progress))
        .route("/agent/v1/tasks/{id}/outcome", post(outcome))
        .route("/agent/v1/ramdisk", get(ramdisk))
        .route("/agent/v1/images/{digest}/manifest", get(manifest))
        .route("/agent/v1/images/{digest}/blob", get(blob))
        .layer(middleware::from_fn_with_state(facts.clone(), gate))
        .with_state(facts)
}

/// Knows the token, or does not; and is unavailable when told to be.
async fn gate(State(facts): State<Shared>, request: Request, next: Next) -> Response {
    let given = request.headers().get("authorization");
    let given = given.map(|h| h.as_bytes().to_vec()).unwrap_or_default();
    let bearer = |token: &str| given == format!("Bearer {token}").as_bytes();
    {
        let mut facts = facts.lock().expect("the lock");
        let tried = facts.trial.is_some_and(|t| facts.outcomes.contains_key(&t));
        if bearer(NEXT) && facts.trial.is_some() && !tried {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let known = bearer(if tried { NEXT } else { TOKEN });
        let done = facts
            .tasks
            .iter()
            .all(|t| facts.outcomes.contains_key(&t.id));
        if !known || (facts.forget_when_done && done) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        if facts.unavailable > 0 {
            facts.unavailable -= 1;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    next.run(request).await
}

async fn hello(State(facts): State<Shared>, Json(hello): Json<Hello>) -> Json<Welcome> {
    facts.lock().expect("the lock").hellos.push(hello);
    Json(Welcome {
        machine: "test-1".into(),
        wait_seconds: 1,
    })
}

async fn task(State(facts): State<Shared>) -> Response {
    let facts = facts.lock().expect("the lock");
    let next = facts
        .tasks
        .iter()
        .find(|t| !facts.outcomes.contains_key(&t.id));
    match next {
        Some(task) => Json(task.clone()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn confirm(State(facts): State<Shared>) -> Json<Confirm> {
    let mut facts = facts.lock().expect("the lock");
    facts.confirms += 1;
    Json(Confirm {
        current: !facts.superseded,
    })
}

async fn progress(State(facts): State<Shared>, Json(progress): Json<Progress>) -> Json<Confirm> {
    let mut facts = facts.lock().expect("the lock");
    facts.progress.push(progress);
    Json(Confirm {
        current: !facts.superseded,
    })
}

async fn outcome(
    State(facts): State<Shared>,
    Path(id): Path<TaskId>,
    Json(outcome): Json<WorkOutcome>,
) -> StatusCode {
    let mut facts = facts.lock().expect("the lock");
    if facts.lose_acknowledgement > 0 {
        facts.lose_acknowledgement -= 1;
        return StatusCode::BAD_GATEWAY;
    }
    facts.outcomes.insert(id, outcome);
    StatusCode::NO_CONTENT
}

async fn ramdisk(State(facts): State<Shared>) -> Vec<u8> {
    facts.lock().expect("the lock").ramdisk.clone()
}

async fn manifest(State(facts): State<Shared>, Path(digest): Path<String>) -> Response {
    match facts.lock().expect("the lock").images.get(&digest) {
        Some((manifest, _)) => Json(manifest.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn blob(
    State(facts): State<Shared>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response {
    let mut facts = facts.lock().expect("the lock");
    let range = headers.get("range").and_then(|h| h.to_str().ok());
    let Some((first, last)) = range
        .and_then(|r| r.strip_prefix("bytes="))
        .and_then(|r| r.split_once('-'))
        .and_then(|(a, b)| Some((a.parse::<usize>().ok()?, b.parse::<usize>().ok()?)))
    else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    // A look at one chunk that packs well is not worth breaking.
    let breaks = facts.break_blob > 0 && last - first > 64 << 10;
    facts.break_blob -= u32::from(breaks);
    let Some((_, blob)) = facts.images.get(&digest) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Some(bytes) = blob.get(first..=last.min(blob.len() - 1)) else {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    };
    let body = if breaks {
        let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
        let broken = std::io::Error::other("broken on request");
        // What came before the break is on its way before the connection ends.
        let slow = tokio_stream::iter([Ok(half), Err(broken)]).then(async |part| {
            if part.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            }
            part
        });
        Body::from_stream(slow)
    } else {
        Body::from(bytes.to_vec())
    };
    (StatusCode::PARTIAL_CONTENT, body).into_response()
}
