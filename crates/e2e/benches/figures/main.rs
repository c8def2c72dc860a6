//! Billet's figures, measured beside what they compare with: `make bench`.
//!
//! Machines are shared and noisy: nothing here fails because something was slow. Each line says
//! what was measured, the target that it is held against, and whether it was met. What is learned
//! goes into docs/benchmarks.md.

#[path = "../../tests/lab/site.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod site;
#[path = "../../tests/lab/support.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod support;

mod bare;
mod handover;
mod plane;
mod process;
mod report;
mod writing;

use report::Report;

/// How a site's programs are started: as they are, since what they say costs time.
const LOUD: &[&str] = &[];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    // Run by itself for one write, so that its memory is that write's alone.
    if asked.first().map(String::as_str) == Some(writing::CHILD) {
        return writing::child(&asked[1..]);
    }
    // What cargo hands over is of no use here.
    let only: Vec<&String> = asked.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.contains(o.as_str()));
    let mut report = Report::default();
    if wanted("writing") {
        writing::measure(&mut report);
    }
    if wanted("plane") {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(plane::measure(&mut report));
    }
    if wanted("handover") {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(handover::measure(&mut report));
    }
    report.print();
}
