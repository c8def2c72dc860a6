//! The control loop through fifty seeds, a large fleet, and every seed that
//! ever failed; and that a seed gives one history.

use billet_sim::{Options, run};

/// Runs a seed and tells what it found, and how to see it again.
fn check(options: &Options) {
    let outcome = run(options).unwrap_or_else(|e| panic!("seed {}: {e}", options.seed));
    assert!(
        outcome.calls > 500 && outcome.counts.get("available").is_some_and(|n| *n > 0),
        "seed {}: too little happened: {:?}",
        options.seed,
        outcome.counts
    );
    let found: Vec<String> = outcome
        .findings
        .iter()
        .take(10)
        .map(ToString::to_string)
        .collect();
    assert!(
        found.is_empty(),
        "seed {seed}: {count} findings:\n  {found}\nsee it again:\n  \
         cargo run -p billet-sim -- --seed {seed} --machines {machines} --hours {hours} --trace\n\
         and keep it: a line `{seed} {machines} {hours}` in crates/sim/seeds/kept.txt, with its story",
        seed = options.seed,
        count = outcome.findings.len(),
        found = found.join("\n  "),
        machines = options.machines,
        hours = options.hours,
    );
}

fn seeds(range: std::ops::RangeInclusive<u64>) {
    for seed in range {
        check(&Options::of_seed(seed));
    }
}

#[test]
fn seeds_1_to_25() {
    seeds(1..=25);
}

#[test]
fn seeds_26_to_50() {
    seeds(26..=50);
}

/// Each line: seed, machines, hours, and what it once found.
#[test]
fn kept_seeds() {
    let mut kept = 0;
    for line in include_str!("../../seeds/kept.txt").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let (Some(seed), Some(machines), Some(hours)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        check(&Options {
            machines: machines.parse().expect("machines"),
            hours: hours.parse().expect("hours"),
            ..Options::of_seed(seed.parse().expect("a seed"))
        });
        kept += 1;
    }
    assert!(kept > 0, "there are kept seeds");
}

#[test]
fn two_thousand_machines() {
    check(&Options {
        machines: 2000,
        hours: 1,
        taken: 60,
        ..Options::of_seed(2000)
    });
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let once = |seed| run(&Options::of_seed(seed)).expect("it runs");
    let (a, b, c) = (once(7), once(7), once(8));
    assert_eq!(a.hash, b.hash, "the same seed, the same history");
    assert_eq!((a.events, a.calls), (b.events, b.calls));
    assert_ne!(a.hash, c.hash, "another seed, another history");
}
