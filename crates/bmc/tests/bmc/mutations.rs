//! Whatever a BMC answers, a discovery ends, without a panic, in an inventory with notes.
//!
//! Trees of the corpus (and of real servers, where their recordings lie beside the project) are
//! mutated by seed: the same seed makes the same tree. A tree that once broke something is kept in
//! the corpus.

use crate::common;

use crate::common::tree::{Replay, Tree, corpus};
use serde_json::{Map, Value, json};

const CORPUS: [&str; 4] = ["host-and-baseboard", "trays", "modules", "oddities"];
/// Trees made of each of the corpus.
const ROUNDS: u64 = 60;

/// Dice that fall the same way each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }
}

/// What may stand where something else is expected.
fn rubbish(dice: &mut Dice) -> Value {
    match dice.roll(16) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!(""),
        4 => json!(-1),
        5 => json!(u64::MAX),
        6 => json!(1e308),
        7 => json!("18446744073709551616"),
        8 => json!([null, [], {"@odata.id": null}]),
        9 => json!({"@odata.id": "/redfish/v1"}),
        10 => json!({"@odata.id": "../../%00/🦀?#"}),
        11 => json!("\u{0}\r\nX-Bad: 1"),
        12 => json!(true),
        13 => json!("0x"),
        14 => json!("🦀".repeat(700)),
        _ => json!([[[[[[{"Id": {"Id": []}}]]]]]]),
    }
}

/// Changes one place somewhere in a value.
fn mutate(value: &mut Value, dice: &mut Dice) {
    let inside = dice.roll(5) > 0;
    match value {
        Value::Object(fields) if inside && !fields.is_empty() => {
            let key = fields.keys().nth(dice.roll(fields.len())).cloned();
            let key = key.unwrap_or_default();
            match dice.roll(6) {
                0 => drop(fields.remove(&key)),
                1 => rename(fields, &key),
                _ => {
                    if let Some(field) = fields.get_mut(&key) {
                        mutate(field, dice);
                    }
                }
            }
        }
        Value::Array(items) if inside && !items.is_empty() => {
            let at = dice.roll(items.len());
            match dice.roll(5) {
                0 => drop(items.remove(at)),
                1 => items.insert(at, rubbish(dice)),
                2 => items.push(items[at].clone()),
                _ => mutate(&mut items[at], dice),
            }
        }
        other => *other = rubbish(dice),
    }
}

fn rename(fields: &mut Map<String, Value>, key: &str) {
    if let Some(value) = fields.remove(key) {
        fields.insert(key.to_lowercase(), value);
    }
}

/// A tree with a few resources changed; which they were.
fn mutated(tree: &Tree, dice: &mut Dice) -> (Tree, Vec<String>) {
    let mut tree = tree.clone();
    let mut touched = Vec::new();
    for _ in 0..=dice.roll(6) {
        let path = tree.keys().nth(dice.roll(tree.len())).cloned();
        let path = path.unwrap_or_default();
        let Some(body) = tree.get_mut(&path) else {
            continue;
        };
        match dice.roll(8) {
            // Not JSON: cut off, too deep, or nothing of the sort.
            0 => {
                let text = body.to_string();
                let end = (0..=dice.roll(text.len()))
                    .rev()
                    .find(|at| text.is_char_boundary(*at));
                *body = Value::String(text[..end.unwrap_or(0)].to_owned());
            }
            1 => *body = Value::String("[".repeat(2000)),
            2 => *body = rubbish(dice),
            _ => mutate(body, dice),
        }
        touched.push(path);
    }
    (tree, touched)
}

/// Whether a discovery may fail for what was touched: without a system there is no machine.
fn vital(path: &str) -> bool {
    path.trim_start_matches("/redfish/v1").matches('/').count() <= 2
        && (path == "/redfish/v1" || path.contains("/Systems"))
}

/// The serial numbers of all drives in a tree.
fn serials(tree: &Tree) -> Vec<String> {
    let drives = tree.iter().filter(|(path, _)| path.contains("/Drives/"));
    drives
        .filter_map(|(_, body)| body["SerialNumber"].as_str().map(str::to_owned))
        .collect()
}

async fn hold(name: &str, tree: &Tree, rounds: u64) {
    let replay = Replay::default();
    let bmc = replay.serve().await;
    for seed in 0..rounds {
        let (now, touched) = mutated(tree, &mut Dice::new(seed));
        *replay.0.lock().unwrap() = now;
        let told = format!("{name}, seed {seed}, touched {touched:?}");
        match bmc.client().discover().await {
            Ok(found) => {
                let text = serde_json::to_string(&found).unwrap();
                let back: billet_bmc::Discovery = serde_json::from_str(&text).unwrap();
                assert_eq!(back, found, "{told}");
                assert!(found.inventory.notes.len() <= 200, "{told}");
                // One bad part costs itself and what hangs below it, and no other drive.
                let way = |t: &String| t.contains("/Storage") || vital(t);
                if !touched.iter().any(way) {
                    let all = serials(tree);
                    let kept = found
                        .inventory
                        .drives
                        .iter()
                        .filter_map(|d| d.serial.clone());
                    let kept: Vec<String> = kept.collect();
                    assert!(all.iter().all(|s| kept.contains(s)), "{told}: {kept:?}");
                }
            }
            Err(error) => {
                assert!(touched.iter().any(|p| vital(p)), "{told}: {error}");
                assert!(error.kind().is_some(), "{told}: a read is never uncertain");
            }
        }
    }
}

#[tokio::test]
async fn whatever_the_corpus_turns_into() {
    for name in CORPUS {
        hold(name, &corpus(name), ROUNDS).await;
    }
}

/// The same with a real server's tree; a few rounds, because it is large.
#[tokio::test]
async fn whatever_a_real_server_turns_into() {
    let Some((_dir, root)) = common::tree::recorded("lenovo") else {
        return;
    };
    let mut tree = Tree::new();
    let mut places = vec![root.join("redfish/v1")];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(&place).unwrap().flatten() {
            if entry.path().is_dir() {
                places.push(entry.path());
            }
        }
        let Ok(text) = std::fs::read_to_string(place.join("index.json")) else {
            continue;
        };
        let path = place.strip_prefix(&root).unwrap().to_str().unwrap();
        tree.insert(
            format!("/{path}"),
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        );
    }
    hold("lenovo", &tree, 4).await;
}
