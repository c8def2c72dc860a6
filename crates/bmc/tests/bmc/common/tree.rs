//! A BMC that is a tree of resources and nothing else: it is read, and logged in to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response};
use serde_json::Value;

use super::{PASSWORD, Serving, USER, serve};

/// Resources by path, without trailing slashes. A text is served as it stands.
pub type Tree = BTreeMap<String, Value>;

/// Serves whatever tree is in it now.
#[derive(Clone, Default)]
pub struct Replay(pub Arc<Mutex<Tree>>);

impl Replay {
    pub fn new(tree: Tree) -> Self {
        Self(Arc::new(Mutex::new(tree)))
    }

    pub async fn serve(&self) -> Serving {
        let tree = self.0.clone();
        serve(Router::new().fallback(move |request: Request| {
            let tree = tree.clone();
            async move { answer(&tree, request).await }
        }))
        .await
    }
}

async fn answer(tree: &Mutex<Tree>, request: Request) -> Response<Body> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let path = uri.path().trim_end_matches('/');
    let reply = |status: u16, body: String| {
        let reply = Response::builder().status(status);
        reply.body(Body::from(body)).unwrap()
    };
    if method == Method::POST && path.ends_with("/Sessions") {
        let bytes = axum::body::to_bytes(request.into_body(), 10_000)
            .await
            .unwrap();
        let login: Value = serde_json::from_slice(&bytes).unwrap();
        if login["UserName"] != USER || login["Password"] != PASSWORD {
            return reply(401, String::new());
        }
        return Response::builder()
            .status(201)
            .header("X-Auth-Token", "t0ken")
            .header("Location", "/redfish/v1/SessionService/Sessions/7")
            .body(Body::empty())
            .unwrap();
    }
    match method {
        Method::DELETE => reply(204, String::new()),
        Method::GET if path != "/redfish/v1" && !request.headers().contains_key("x-auth-token") => {
            reply(401, String::new())
        }
        Method::GET => {
            // Pages are told apart by their queries.
            let tree = tree.lock().unwrap();
            let asked = uri.query().and_then(|q| tree.get(&format!("{path}?{q}")));
            match asked.or_else(|| tree.get(path)) {
                Some(Value::String(raw)) => reply(200, raw.clone()),
                Some(body) => reply(200, body.to_string()),
                None => reply(404, String::new()),
            }
        }
        // A discovery that writes would be an outrage.
        method => panic!("{method} {path} is no read"),
    }
}

/// A tree from the corpus.
pub fn corpus(name: &str) -> Tree {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let text = std::fs::read_to_string(dir.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A recorded tree, unpacked, or `None` (said aloud) where there is no recording.
pub fn recorded(vendor: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/redfish");
    let archive = shared.join(format!("{vendor}.tar.zst"));
    if !archive.exists() {
        use std::io::Write;
        let mut err = std::io::stderr();
        let _ = writeln!(err, "SKIPPED: no recording at {}", archive.display());
        return None;
    }
    // Thousands of small files: in memory, where there is such a place.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.unwrap();
    let unpacked = Command::new("tar")
        .args(["--zstd", "-xf"])
        .arg(&archive)
        .arg("-C")
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(
        unpacked.success(),
        "tar --zstd could not unpack {}",
        archive.display()
    );
    let root = dir.path().join(vendor);
    assert!(root.join("redfish/v1/index.json").exists());
    Some((dir, root))
}
