//! What one run of a target may take: memory, and time.

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use peak_alloc::PeakAlloc;

use crate::Target;

/// Counts what is allocated. Whoever runs targets makes it the global allocator.
pub static MEMORY: PeakAlloc = PeakAlloc;

/// How long one input may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// What runs, since when.
static RUNNING: Mutex<Option<(&'static str, String, Instant)>> = Mutex::new(None);

/// Runs a target on one input, which is called `input` where it goes wrong.
///
/// # Panics
/// Where the target does, or takes more memory than it may.
pub fn within(target: &'static Target, input: &str, bytes: &[u8]) {
    now(Some((target.name, input.to_owned(), Instant::now())));
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    (target.run)(bytes);
    let took = MEMORY.peak_usage().saturating_sub(before);
    now(None);
    assert!(
        took <= target.memory,
        "{} took {took} bytes of memory for {input}, and may take {}",
        target.name,
        target.memory
    );
}

fn now(running: Option<(&'static str, String, Instant)>) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = running;
}

/// Ends the process, with the input's name, where one takes too long: a loop
/// without end cannot be left in any other way.
pub fn watch() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((target, input, since)) = &*running
                && since.elapsed() > PATIENCE
            {
                let seconds = PATIENCE.as_secs();
                let _ = writeln!(
                    std::io::stderr(),
                    "{target} did not end within {seconds} s for {input}"
                );
                std::process::abort();
            }
        }
    });
}
