//! How fast commits and readings are: `cargo run -p billet-store --example commits -- [FILE]`.
//! In memory where no file is given. A commit here is a machine's change with an
//! operation and an audit row, as the control loop makes them.
#![allow(clippy::print_stdout, reason = "a measurement is for reading")]

use std::time::{Duration, Instant};

use billet_model::{event::AuditRow, machine::Machine, operation::Operation};
use billet_store::{Batch, MachineFilter, Store, StoreUrl, Write};
use serde_json::json;

const MACHINES: u64 = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = match std::env::args().nth(1) {
        Some(path) => StoreUrl::Sqlite { path: path.into() },
        None => StoreUrl::SqliteInMemory,
    };
    let store = Store::open(&url).await?;
    let mut next = 0_u64;
    let mut id = || {
        next += 1;
        uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(next))
    };
    let (site, kind) = (id(), id());
    let since = "2026-01-01T00:00:00Z";
    let setup = Batch::new()
        .with(Write::PutSite(serde_json::from_value(
            json!({"id": site, "name": "s", "jurisdiction": "DE", "created_at": since}),
        )?))
        .with(Write::PutMachineType(serde_json::from_value(
            json!({"id": kind, "name": "t", "description": "", "expected": {}, "created_at": since}),
        )?))
        .audited(row(id())?);
    store.commit(setup).await?;

    let mut machines = Vec::new();
    for n in 0..MACHINES {
        machines.push(machine(id(), n, site)?);
    }
    let started = Started::now();
    for machine in &mut machines {
        let write = Write::PutMachine(Box::new(machine.clone()));
        store
            .commit(Batch::new().with(write).audited(row(id())?))
            .await?;
        machine.version = 1;
    }
    report("enrolments", MACHINES, &started);

    let operation: Operation = serde_json::from_value(json!({
        "id": id(), "kind": "deploy", "state": "running", "machine": null, "lease": null,
        "project": null, "message": "", "progress": null, "created_at": since, "ended_at": null
    }))?;
    let started = Started::now();
    let mut commits = 0;
    while started.wall.elapsed() < Duration::from_secs(3) {
        for machine in &mut machines {
            let batch = Batch::new()
                .with(Write::PutMachine(Box::new(machine.clone())))
                .with(Write::PutOperation(Box::new(operation.clone())))
                .audited(row(id())?);
            store.commit(batch).await?;
            machine.version += 1;
            commits += 1;
        }
    }
    report("changes on record", commits, &started);

    let started = Started::now();
    let mut commits = 0;
    while started.wall.elapsed() < Duration::from_secs(3) {
        for machine in &mut machines {
            store
                .commit(Batch::new().with(Write::PutMachine(Box::new(machine.clone()))))
                .await?;
            machine.version += 1;
            commits += 1;
        }
    }
    report("changes off the record", commits, &started);

    let started = Started::now();
    for machine in &machines {
        store.machine(machine.id).await?;
    }
    report("readings of a machine", MACHINES, &started);

    let started = Started::now();
    for _ in 0..200 {
        store.machines_due(since.parse()?, 100).await?;
    }
    report("readings of 100 that are due", 200, &started);

    let started = Started::now();
    for _ in 0..50 {
        let filter = MachineFilter::default();
        store.machines_in_short(&filter, None, 1000).await?;
    }
    report("lists of 1000 machines in short", 50, &started);

    let started = Started::now();
    let sealed = store.seal(since.parse()?).await?;
    report("rows sealed", sealed, &started);
    Ok(())
}

/// When a measurement began, by the clock and by this process's own time: the
/// second tells the same on a busy machine.
struct Started {
    wall: Instant,
    cpu: Duration,
}

impl Started {
    fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu_time(),
        }
    }
}

/// Processor time of this process so far, to 10 ms; zero where Linux's `/proc` is not.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses: state is field 3, utime 14, stime 15.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn report(what: &str, count: u64, started: &Started) {
    let (wall, cpu) = (started.wall.elapsed(), cpu_time() - started.cpu);
    let rate = count as f64 / wall.as_secs_f64();
    let each = cpu.as_secs_f64() * 1e6 / count.max(1) as f64;
    println!("{rate:>8.0}/s {each:>8.1} µs of processor  {what} ({count} in {wall:.1?})");
}

fn row(id: uuid::Uuid) -> Result<AuditRow, serde_json::Error> {
    serde_json::from_value(json!({
        "id": id, "at": "2026-01-01T00:00:00Z", "actor": {"actor": "billet"},
        "action": "machine.lifecycle", "machine": null, "lease": null, "image": null,
        "project": null, "detail": {"from": "testing", "to": "available"}
    }))
}

fn machine(id: uuid::Uuid, n: u64, site: uuid::Uuid) -> Result<Machine, serde_json::Error> {
    let since = "2026-01-01T00:00:00Z";
    serde_json::from_value(json!({
        "id": id, "name": format!("m{n}"), "site": site, "rack": null, "machine_type": "t",
        "expected_serial": null,
        "bmc": {"address": format!("https://bmc{n}"), "user": "u", "fingerprint": null},
        "addresses": [], "lifecycle": "enrolled", "step": {"step": "rest"}, "attempts": 0,
        "waiting": null, "hold": null, "power": null, "health": "ok", "may_hold_data": true,
        "cordoned": null, "unconfirmed": false, "emulation": "phantom",
        "inventory": {"gpus": (0..8).map(|_| json!({})).collect::<Vec<_>>()},
        "differences": [], "drives": [], "tests": [], "firmware": null, "lease": null,
        "operation": null, "epoch": 0, "pending": null, "requests": 0,
        "uncertain_since": null, "bmc_trouble": null, "notes": {}, "erase": null,
        "power_request": null, "wake_at": since, "step_since": since, "created_at": since,
        "version": 0
    }))
}
