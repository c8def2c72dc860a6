//! Measures and tests the machine it runs on: the quick tests, some seconds
//! long, that stand between inspection and being offered.
//!
//! What was not looked at is `NotTested` with the reason, never `Passed`.

mod drives;
mod links;
mod memory;

use std::time::Duration;

use billet_drives::{Stopped, Watch};
use billet_hardware::{NvmeProbe, Tree};
use billet_model::{
    inventory::{Drive, Inventory},
    work::{Progress, TestResult, Verdict},
};

/// How long memory is tested at most.
const MEMORY_TIME: Duration = Duration::from_secs(7);

/// Runs the quick tests: memory, drives, links. Drives are written only with
/// `may_write`, and read as zero afterwards where they did before.
///
/// # Errors
/// [`Stopped`] when the watch said so before a write.
pub fn quick(
    tree: &Tree,
    nvme: &dyn NvmeProbe,
    inventory: &Inventory,
    may_write: bool,
    watch: &dyn Watch,
) -> Result<Vec<TestResult>, Stopped> {
    let step = |what: &str, done: u64| {
        watch.progress(Progress {
            step: format!("testing {what}"),
            done,
            total: 3,
            unit: "parts".into(),
        });
    };
    step("memory", 0);
    let mut results = memory::test(tree, MEMORY_TIME);
    results.extend(memory::error_counts(tree));
    step("drives", 1);
    let own: Vec<&Drive> = inventory.own_drives().collect();
    results.extend(drives::test(&own, nvme, may_write, watch)?);
    step("links", 2);
    results.extend(links::test(inventory));
    results.extend(inventory.gpus.iter().map(|gpu| TestResult {
        part: gpu.address.clone(),
        test: "gpu".into(),
        verdict: Verdict::NotTested,
        figure: None,
        detail: "GPU tests come with the GPU bundle".into(),
    }));
    step("links", 3);
    Ok(results)
}

/// A result in one line.
pub(crate) fn result(
    part: &str,
    test: &str,
    verdict: Verdict,
    figure: Option<String>,
    detail: impl Into<String>,
) -> TestResult {
    TestResult {
        part: part.into(),
        test: test.into(),
        verdict,
        figure,
        detail: detail.into(),
    }
}
