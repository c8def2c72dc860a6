//! What a process took, as the kernel counts it.

use std::fs;

/// Processor time in milliseconds, its own and the kernel's for it. Children do not count.
pub fn processor_ms(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // The name, in brackets, may hold anything.
    let after = stat.rsplit_once(") ").expect("a name").1;
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|at| fields[*at].parse::<u64>().expect("ticks"))
        .sum();
    // USER_HZ, which is 100 on every Linux that Billet runs on.
    ticks as f64 * 10.0
}

/// A line of `/proc/PID/status` that is in kB, as MiB.
pub fn memory_mib(pid: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kb: f64 = status
        .lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .and_then(|l| l.parse().ok())
        .expect("a size");
    kb / 1024.0
}
