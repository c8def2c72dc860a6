//! Memory: patterns over a good part of what is free, by all processors at once,
//! for some seconds; and the errors that the kernel counted.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use billet_hardware::Tree;
use billet_model::work::{TestResult, Verdict};

use crate::result;

/// Bytes of one block that a thread fills and checks.
const BLOCK: u64 = 16 << 20;
const MIB: u64 = 1 << 20;

/// Tests memory for at most `time`.
pub(crate) fn test(tree: &Tree, time: Duration) -> Vec<TestResult> {
    let Some(free) = available(tree) else {
        return vec![result(
            "memory",
            "patterns",
            Verdict::NotTested,
            None,
            "the kernel does not say how much memory is free",
        )];
    };
    // A good part, and no more: what tests must not run out of memory.
    let outcome = run(free / 2, time);
    let tested = format!("{} MiB", outcome.tested / MIB);
    let patterns = match outcome.wrong {
        None if outcome.tested == 0 => result(
            "memory",
            "patterns",
            Verdict::NotTested,
            None,
            "there was not enough free memory",
        ),
        None => result(
            "memory",
            "patterns",
            Verdict::Passed,
            Some(tested),
            format!("{} passes of pattern and complement", outcome.passes),
        ),
        Some((expected, found)) => result(
            "memory",
            "patterns",
            Verdict::Failed,
            Some(tested),
            format!("wrote {expected:#018x} and read {found:#018x}"),
        ),
    };
    let rate = outcome.rate() / MIB;
    let bandwidth = result(
        "memory",
        "bandwidth",
        if rate > 0 {
            Verdict::Passed
        } else {
            Verdict::NotTested
        },
        (rate > 0).then(|| format!("{rate} MiB/s")),
        "writing by all processors; there is no baseline to compare with yet",
    );
    vec![patterns, bandwidth]
}

/// Errors counted by memory controllers (EDAC).
pub(crate) fn error_counts(tree: &Tree) -> Vec<TestResult> {
    let at = "sys/devices/system/edac/mc";
    let controllers: Vec<String> = tree
        .list(at)
        .into_iter()
        .filter(|name| name.starts_with("mc"))
        .collect();
    let sum = |file: &str| -> u64 {
        controllers
            .iter()
            .filter_map(|mc| tree.value::<u64>(&format!("{at}/{mc}/{file}")))
            .sum()
    };
    if controllers.is_empty() {
        let why = "the kernel has no driver for this machine's memory controller";
        return vec![result("memory", "ecc", Verdict::NotTested, None, why)];
    }
    let (corrected, uncorrected) = (sum("ce_count"), sum("ue_count"));
    vec![result(
        "memory",
        "ecc",
        if uncorrected == 0 {
            Verdict::Passed
        } else {
            Verdict::Failed
        },
        Some(format!("{corrected} corrected, {uncorrected} uncorrected")),
        "since this boot",
    )]
}

fn available(tree: &Tree) -> Option<u64> {
    let text = tree.text("proc/meminfo")?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What the threads did together.
#[derive(Debug, Default)]
struct Outcome {
    tested: u64,
    passes: u64,
    written: u64,
    writing: Duration,
    wrong: Option<(u64, u64)>,
}

impl Outcome {
    /// Bytes written a second.
    fn rate(&self) -> u64 {
        let nanos = self.writing.as_nanos().max(1);
        u64::try_from(u128::from(self.written) * 1_000_000_000 / nanos).unwrap_or(0)
    }
}

/// Tests up to `limit` bytes. All blocks are held at once, so that no two are
/// the same physical memory.
fn run(limit: u64, time: Duration) -> Outcome {
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let began = Instant::now();
    let left = AtomicU64::new(limit);
    let passes = AtomicU64::new(u64::MAX);
    let total = Mutex::new(Outcome::default());
    thread::scope(|scope| {
        for thread in 0..threads {
            let (left, total, passes) = (&left, &total, &passes);
            scope.spawn(move || {
                let mut blocks: Vec<Vec<u64>> = Vec::new();
                let mut mine = Outcome::default();
                let mut pass = 0;
                loop {
                    // Even passes write the pattern, odd ones its complement.
                    let flip = if pass % 2 == 0 { 0 } else { u64::MAX };
                    let seed =
                        |block: usize| ((thread << 40) | ((block as u64) << 24)) ^ (pass / 2);
                    let start = Instant::now();
                    if pass == 0 {
                        while began.elapsed() < time / 4
                            && left
                                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |l| {
                                    l.checked_sub(BLOCK)
                                })
                                .is_ok()
                        {
                            let mut block = vec![0; (BLOCK / 8) as usize];
                            fill(&mut block, seed(blocks.len()), flip);
                            blocks.push(block);
                        }
                    } else {
                        for (at, block) in blocks.iter_mut().enumerate() {
                            fill(block, seed(at), flip);
                        }
                        // The first pass takes memory from the kernel, and measures that.
                        mine.written += blocks.len() as u64 * BLOCK;
                        mine.writing += start.elapsed();
                    }
                    for (at, block) in blocks.iter().enumerate() {
                        mine.wrong = mine.wrong.or(check(block, seed(at), flip));
                    }
                    pass += 1;
                    // Another pass must fit: they take about equally long.
                    let each = began.elapsed() / u32::try_from(pass).unwrap_or(1);
                    let even = pass % 2 == 0;
                    if blocks.is_empty() || (even && began.elapsed() + each * 2 > time) {
                        break;
                    }
                }
                passes.fetch_min(pass, Ordering::Relaxed);
                let mut total = total.lock().unwrap_or_else(|e| e.into_inner());
                total.tested += blocks.len() as u64 * BLOCK;
                total.written += mine.written;
                total.writing = total.writing.max(mine.writing);
                total.wrong = total.wrong.or(mine.wrong);
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(|e| e.into_inner());
    total.passes = passes.into_inner() / 2;
    total
}

/// The word that stands at `at`: every bit changes from word to word.
fn word(seed: u64, at: u64) -> u64 {
    (seed ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(block: &mut [u64], seed: u64, flip: u64) {
    for (at, value) in (0..).zip(block.iter_mut()) {
        *value = word(seed, at) ^ flip;
    }
}

/// The first word that is not what was written: expected, found.
fn check(block: &[u64], seed: u64, flip: u64) -> Option<(u64, u64)> {
    (0..)
        .zip(std::hint::black_box(block))
        .map(|(at, value)| (word(seed, at) ^ flip, *value))
        .find(|(expected, found)| expected != found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_that_flips_is_found() {
        let mut block = vec![0; 1000];
        fill(&mut block, 7, 0);
        assert_eq!(check(&block, 7, 0), None);
        block[567] ^= 1 << 33;
        let (expected, found) = check(&block, 7, 0).expect("the flipped bit");
        assert_eq!(expected ^ found, 1 << 33);
    }

    #[test]
    fn memory_is_tested_within_its_limits() {
        let outcome = run(4 * BLOCK, Duration::from_secs(1));
        assert_eq!(outcome.wrong, None);
        assert!(outcome.tested > 0 && outcome.tested <= 4 * BLOCK);
        assert!(outcome.passes >= 1);
        assert!(outcome.rate() > 0);
    }

    #[test]
    fn uncorrected_errors_fail() {
        let dir = tempfile::tempdir().expect("a directory");
        let mc = dir.path().join("sys/devices/system/edac/mc/mc0");
        let tree = Tree::new(dir.path());
        assert_eq!(error_counts(&tree)[0].verdict, Verdict::NotTested);
        std::fs::create_dir_all(&mc).expect("made");
        std::fs::write(mc.join("ce_count"), "3\n").expect("written");
        std::fs::write(mc.join("ue_count"), "0\n").expect("written");
        assert_eq!(error_counts(&tree)[0].verdict, Verdict::Passed);
        std::fs::write(mc.join("ue_count"), "1\n").expect("written");
        assert_eq!(error_counts(&tree)[0].verdict, Verdict::Failed);
    }
}
