//! The simulator by hand: one seed with its history, or many.

#![allow(clippy::print_stdout, reason = "it is for reading")]

use std::{ops::Range, process::ExitCode, time::Instant};

use billet_sim::{Options, mutants, run};
use clap::Parser;

/// Simulates the control loop.
#[derive(Parser)]
struct Args {
    /// One seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Many seeds: A..B.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Machines.
    #[arg(long, default_value_t = 8)]
    machines: usize,
    /// Virtual hours with faults.
    #[arg(long, default_value_t = 3)]
    hours: u32,
    /// How many of the machines are taken over; all where not given.
    #[arg(long, default_value_t = usize::MAX)]
    taken: usize,
    /// Print the history.
    #[arg(long)]
    trace: bool,
    /// Stop at the first finding.
    #[arg(long)]
    hasty: bool,
    /// Plant this bug.
    #[arg(long)]
    mutant: Option<String>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (a, b) = text.split_once("..").ok_or("a range is A..B")?;
    let number = |t: &str| t.parse().map_err(|e| format!("{t:?}: {e}"));
    Ok(number(a)?..number(b)?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mutant = match args.mutant.as_deref().map(|n| (n, mutants::named(n))) {
        Some((name, None)) => {
            println!("there is no mutant {name}; there are:");
            for mutant in mutants::ALL {
                println!("  {:24} {}", mutant.name, mutant.story);
            }
            return ExitCode::FAILURE;
        }
        other => other.and_then(|(_, m)| m),
    };
    let many = args.seeds.is_some();
    let mut bad = 0;
    for seed in args.seeds.unwrap_or(args.seed..args.seed + 1) {
        let began = Instant::now();
        let options = Options {
            seed,
            machines: args.machines,
            hours: args.hours,
            taken: args.taken,
            trace: args.trace,
            hasty: args.hasty,
            mutant,
        };
        match run(&options) {
            Ok(outcome) => {
                let show = args.trace || !outcome.findings.is_empty() && !many;
                if show {
                    for line in &outcome.lines {
                        println!("{line}");
                    }
                }
                let took = began.elapsed().as_secs_f64();
                println!(
                    "seed {seed}: {} findings, {} events, {} calls, {took:.2} s, {}",
                    outcome.findings.len(),
                    outcome.events,
                    outcome.calls,
                    &outcome.hash[..16],
                );
                if !many {
                    println!("{:?}", outcome.counts);
                }
                for finding in outcome.findings.iter().take(if many { 3 } else { 20 }) {
                    println!("  {finding}");
                }
                bad += usize::from(!outcome.findings.is_empty());
            }
            Err(error) => {
                println!("seed {seed}: {error}");
                bad += 1;
            }
        }
    }
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
