//! Every input that is kept, and seeded mutations of it, end well.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use billet_fuzz::{TARGETS, bounds, corpus, mutate};

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = bounds::MEMORY;

/// Bytes of the whole corpus, at most: it is a part of the tree.
const LARGEST: usize = 1 << 20;

/// One test, because memory is counted for the whole process.
#[test]
fn whatever_is_kept_and_what_it_turns_into_ends_well() {
    bounds::watch();
    let mut failed = Vec::new();
    for target in TARGETS {
        let inputs = corpus::inputs(target.name);
        let kept = inputs.iter().cloned();
        let made = (0..u64::from(target.mutations)).map(|seed| {
            let bytes = mutate::mutated(&inputs, seed, target.largest);
            (format!("mutation {seed}"), bytes)
        });
        for (name, bytes) in kept.chain(made) {
            let run = || bounds::within(target, &name, &bytes);
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                let path = std::env::temp_dir().join(format!(
                    "billet-fuzz-{}-{}",
                    target.name,
                    name.replace(' ', "-")
                ));
                let _ = std::fs::write(&path, &bytes);
                failed.push(format!(
                    "{}, {name}: kept in {}",
                    target.name,
                    path.display()
                ));
            }
        }
    }
    billet_fuzz::close();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_corpus_is_small_and_everything_in_it_has_a_target() {
    let root = corpus::directory("");
    let listed: BTreeSet<String> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let names: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    assert_eq!(listed, names);
    let inputs = TARGETS.iter().flat_map(|t| corpus::inputs(t.name));
    let bytes: usize = inputs.map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < LARGEST, "{bytes} bytes");
}

/// What begins the corpus of `evidence` is made by a key, and checked against it. Where it is to
/// be written anew: `BILLET_FUZZ_SEEDS=1`.
#[test]
fn the_corpus_has_what_the_key_signed() {
    let directory = corpus::directory("evidence");
    for (name, bytes) in billet_fuzz::targets::evidence::signed() {
        let path = directory.join(format!("seed-{name}"));
        if std::env::var_os("BILLET_FUZZ_SEEDS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}");
    }
}
