//! A BMC's resources, read by the client that the product reads them with.
//!
//! The first byte names a tree of the BMC's own tests; each line after it changes one resource:
//!
//! - `/path {…}`: the resource is this;
//! - `/path#/pointer {…}`: a part of it is;
//! - `/path` alone: it is not there;
//! - `* {…}`: whatever is not there is this.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use billet_bmc::{Answered, BmcClient, Discovery, StandIn, Timeouts};
use billet_model::{Secret, bmc::BmcEndpoint};
use serde_json::Value;
use tokio::runtime::Runtime;

type Tree = BTreeMap<String, Value>;

/// The trees, without the paths' trailing slashes.
static TREES: LazyLock<Vec<Tree>> = LazyLock::new(|| {
    [
        include_str!("../../../bmc/tests/corpus/oddities.json"),
        include_str!("../../../bmc/tests/corpus/trays.json"),
        include_str!("../../../bmc/tests/corpus/modules.json"),
        include_str!("../../../bmc/tests/corpus/host-and-baseboard.json"),
    ]
    .iter()
    .map(|text| serde_json::from_str(text).expect("a tree"))
    .collect()
});

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
});

/// What a whole server's recorded tree has in resources, and ten times that.
const MOST_REQUESTS: usize = 20_000;

/// A tree that answers.
struct Replay {
    tree: Tree,
    otherwise: Option<String>,
    asked: std::sync::atomic::AtomicUsize,
}

impl StandIn for Replay {
    fn answer(&self, method: &str, path: &str) -> Answered {
        let asked = self
            .asked
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(asked < MOST_REQUESTS, "a BMC was asked {asked} times");
        let reply = |status: u16, body: String| Answered {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
        };
        let bare = path.split('?').next().unwrap_or_default();
        let bare = bare.trim_end_matches('/');
        match method {
            "POST" if bare.to_ascii_lowercase().ends_with("sessions") => Answered {
                status: 201,
                headers: vec![
                    ("X-Auth-Token".into(), "t0ken".into()),
                    ("Location".into(), format!("{bare}/7")),
                ],
                body: Vec::new(),
            },
            "DELETE" => reply(204, String::new()),
            "GET" => match self.tree.get(path).or_else(|| self.tree.get(bare)) {
                // A text is what a BMC says that speaks no JSON.
                Some(Value::String(raw)) => reply(200, raw.clone()),
                Some(Value::Number(status)) => reply(
                    u16::try_from(status.as_u64().unwrap_or(500)).unwrap_or(500),
                    String::new(),
                ),
                Some(body) => reply(200, body.to_string()),
                None => match &self.otherwise {
                    Some(body) => reply(200, body.clone()),
                    None => reply(404, String::new()),
                },
            },
            method => panic!("a discovery sent {method} {path}"),
        }
    }
}

fn timeouts() -> Timeouts {
    let moment = Duration::from_millis(1);
    Timeouts {
        backoff: moment,
        read_budget: moment,
        settle: moment,
        poll: moment,
        ..Timeouts::default()
    }
}

fn changed(bytes: &[u8]) -> Replay {
    let (first, lines) = bytes.split_first().unwrap_or((&0, &[]));
    let mut tree = TREES[usize::from(*first) % TREES.len()].clone();
    let mut otherwise = None;
    let text = String::from_utf8_lossy(lines);
    for line in text.lines() {
        let (place, body) = match line.split_once(' ') {
            Some((place, body)) => (place, Some(body)),
            None => (line, None),
        };
        if place == "*" {
            otherwise = body.map(str::to_owned);
            continue;
        }
        let value = body.map(|body| {
            serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()))
        });
        match (place.split_once('#'), value) {
            (Some((path, pointer)), value) => {
                let whole = tree.get_mut(path.trim_end_matches('/'));
                if let Some(part) = whole.and_then(|whole| whole.pointer_mut(pointer)) {
                    *part = value.unwrap_or_default();
                }
            }
            (None, Some(value)) => {
                tree.insert(place.trim_end_matches('/').to_owned(), value);
            }
            (None, None) => drop(tree.remove(place.trim_end_matches('/'))),
        }
    }
    Replay {
        tree,
        otherwise,
        asked: Default::default(),
    }
}

/// Discovers, and reads what else is read without changing anything.
pub fn run(bytes: &[u8]) {
    let stand_in: Arc<dyn StandIn> = Arc::new(changed(bytes));
    let endpoint = BmcEndpoint {
        address: "https://192.0.2.1".into(),
        user: "billet".into(),
        fingerprint: None,
    };
    let client = BmcClient::answered_by(&endpoint, Secret::new("pw"), timeouts(), stand_in)
        .expect("a client");
    RUNTIME.block_on(async {
        match client.discover().await {
            Ok(found) => {
                let text = serde_json::to_vec(&found).expect("a discovery is JSON");
                let back: Discovery = serde_json::from_slice(&text).expect("and is read back");
                assert_eq!(back, found);
                assert!(found.inventory.notes.len() <= 200);
            }
            Err(error) => assert!(error.kind().is_some(), "a read is never uncertain: {error}"),
        }
        if let Err(error) = client.power().await {
            assert!(error.kind().is_some(), "{error}");
        }
        if let Err(error) = client.firmware_settings().await {
            assert!(error.kind().is_some(), "{error}");
        }
        if let Err(error) = client.serial_console().await {
            assert!(error.kind().is_some(), "{error}");
        }
        client.close().await;
    });
}
