//! libFuzzer at work on one target: see `scripts/fuzz`, which builds and calls it.

#![no_main]
#![allow(
    unsafe_code,
    reason = "libFuzzer calls functions by their unmangled names"
)]

use std::{io::Write as _, sync::OnceLock};

use billet_fuzz::{TARGETS, Target, bounds, target};

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = bounds::MEMORY;

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

/// The target that the environment names.
fn choose() -> &'static Target {
    let name = std::env::var("BILLET_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        let _ = writeln!(
            std::io::stderr(),
            "BILLET_FUZZ_TARGET is {name:?}, and may be one of: {}",
            names.join(", ")
        );
        std::process::exit(2)
    })
}

libfuzzer_sys::fuzz_target!(
    init: {
        // What the product catches (readers of others' file systems panic) is no finding;
        // what leaves a target unwinds to libFuzzer's side, which takes it for one.
        std::panic::set_hook(Box::new(|panic| {
            let _ = writeln!(std::io::stderr(), "{panic}");
        }));
        CHOSEN.get_or_init(choose);
    },
    |bytes: &[u8]| {
        bounds::within(CHOSEN.get_or_init(choose), "this input", bytes);
    }
);
