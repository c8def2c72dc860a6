//! What a phantom's agent does with a task: keeps to the books of what its drives would hold.

use std::sync::Arc;

use billet_model::{
    image::ImageManifest,
    layout::{ArrayWritten, MemberWritten},
    measure::{ChunkCount, Measured, MeasuredCopy},
    work::{
        Canary, DriveErase, DriveRef, DriveVerify, EraseMethod, EraseOrder, MeasureOrder,
        MirrorWritten, PrepareOrder, StartReport, Task, TestResult, TpmClear, Verdict, VerifyOrder,
        Work, WorkFailure, WorkOutcome, WriteOrder, WriteReport,
    },
};
use billet_protocol::boot::BootRecord;

use super::agent::Channel;
use super::tenant::{Installed, host_key};
use super::{Contents, Jump, Prepared, Shared, inventory};
use crate::faults::{FaultKind, Point};

/// How work ended.
pub(super) enum Done {
    Outcome(Box<WorkOutcome>),
    /// The same, and once it is acknowledged another kernel runs.
    Jump(StartReport, Jump),
    /// The agent says nothing any more.
    Silence,
    /// The power goes.
    PowerCut,
}

/// Do what the task says.
pub(super) async fn carry_out(shared: &Arc<Shared>, channel: &Channel<'_>, task: &Task) -> Done {
    let points: &[Point] = match &task.work {
        Work::Erase(_) => &[Point::Erase, Point::Agent],
        Work::Wipe(_) => &[Point::Erase, Point::Agent],
        Work::Write(_) | Work::Prepare(_) => &[Point::Write, Point::Agent],
        Work::Start(_) | Work::Trial(_) => &[Point::Kexec, Point::Agent],
        _ => &[Point::Agent],
    };
    match shared.faults.strike(&shared.name, points, |_| true) {
        Some(FaultKind::Silence) => return Done::Silence,
        Some(FaultKind::PowerCut { .. }) => {
            // What was being erased or written is neither the old nor the new.
            if matches!(task.work, Work::Write(_)) {
                shared.state().installed = None;
            }
            return Done::PowerCut;
        }
        Some(FaultKind::DriveErrors { serial }) => {
            return Done::Outcome(Box::new(failing(shared, &task.work, serial.as_deref())));
        }
        Some(FaultKind::KexecRefused) => {
            return Done::Outcome(Box::new(no_kexec("a fault was asked for")));
        }
        Some(FaultKind::KexecHangs) => {
            return Done::Jump(starting("a kernel that does not come up"), Jump::Nowhere);
        }
        _ => {}
    }
    Done::Outcome(Box::new(match &task.work {
        Work::Inspect => WorkOutcome::Inspected {
            inventory: Box::new(inventory::inventory(&shared.facts)),
        },
        Work::Test { .. } => WorkOutcome::Tested {
            results: tests(shared),
        },
        Work::Write(order) => write(shared, channel, order).await,
        Work::Erase(order) | Work::Wipe(order) => erase(shared, order, None),
        // Nobody gets into a phantom: the key is one that nobody has the other half of.
        Work::Rescue(_) => WorkOutcome::Rescuing {
            host_keys: vec![host_key(shared, "rescue")],
        },
        Work::Measure(order) => measure(shared, channel, order).await,
        Work::Verify(order) => verify(shared, order),
        Work::Prepare(order) => prepare(shared, channel, order).await,
        Work::Start(order) => {
            let installed = shared.state().installed.clone();
            let system = installed
                .filter(|i| i.drive == order.drive.serial && i.lease == order.lease.to_string());
            match system {
                Some(system) => {
                    return Done::Jump(starting("/boot/vmlinuz"), Jump::System(Box::new(system)));
                }
                None => no_kexec("there is no such system on that drive"),
            }
        }
        Work::Trial(order) => match (&order.token, channel.has_ramdisk().await) {
            (Some(token), true) => {
                let record = BootRecord {
                    token: token.0.clone(),
                    ..channel.record().clone()
                };
                return Done::Jump(starting("the ramdisk"), Jump::Ramdisk(Box::new(record)));
            }
            (None, _) => no_kexec("the order has no token"),
            (_, false) => WorkOutcome::Failed {
                kind: WorkFailure::Network,
                detail: "the ramdisk cannot be had".into(),
            },
        },
    }))
}

fn no_kexec(why: &str) -> WorkOutcome {
    WorkOutcome::Failed {
        kind: WorkFailure::Kexec,
        detail: format!("no kernel was started: {why}"),
    }
}

fn starting(kernel: &str) -> StartReport {
    StartReport {
        kernel: kernel.into(),
        initrd: None,
        cmdline: "console=ttyS0".into(),
        done: vec!["a phantom only pretends: no driver was unbound, no device reset".into()],
    }
}

fn failing(shared: &Shared, work: &Work, serial: Option<&str>) -> WorkOutcome {
    match work {
        Work::Erase(order) | Work::Wipe(order) => erase(shared, order, Some(serial)),
        _ => WorkOutcome::Failed {
            kind: WorkFailure::DriveFailed,
            detail: format!(
                "writing to drive {}: input/output error",
                serial.unwrap_or_else(|| first_serial(shared))
            ),
        },
    }
}

fn first_serial(shared: &Shared) -> &str {
    shared
        .facts
        .drives
        .first()
        .map_or("none", |d| d.serial.as_str())
}

fn tests(shared: &Shared) -> Vec<TestResult> {
    let result = |part: &str, test: &str, figure: String| TestResult {
        part: part.to_owned(),
        test: test.to_owned(),
        verdict: Verdict::Passed,
        figure: Some(figure),
        detail: "a phantom only pretends".into(),
    };
    let facts = &shared.facts;
    let memory = result("memory", "pattern", format!("{} MiB", facts.memory_mib()));
    let drives = facts
        .drives
        .iter()
        .map(|d| result(&d.serial, "read", "6800 MB/s".into()));
    let links = facts.gpus.iter().map(|g| {
        result(
            &g.pci,
            "link",
            format!("gen{} x{}", g.link_gen, g.link_width),
        )
    });
    std::iter::once(memory).chain(drives).chain(links).collect()
}

/// Writes the image alone, for nobody yet.
async fn prepare(shared: &Shared, channel: &Channel<'_>, order: &PrepareOrder) -> WorkOutcome {
    let whole = WriteOrder {
        lease: billet_model::LeaseId(uuid::Uuid::nil()),
        mirror: Vec::new(),
        arrays: Vec::new(),
        image: order.image.clone(),
        drive: order.drive.clone(),
        kernel_args: Vec::new(),
        seed: None,
        prepared: false,
    };
    match write(shared, channel, &whole).await {
        WorkOutcome::Written(report) => {
            let mut state = shared.state();
            state.installed = None;
            state.prepared = Some(Prepared {
                image: order.image.clone(),
                drive: order.drive.serial.clone(),
                boot: state.boots,
            });
            WorkOutcome::Prepared(report)
        }
        other => other,
    }
}

async fn write(shared: &Shared, channel: &Channel<'_>, order: &WriteOrder) -> WorkOutcome {
    if order.prepared && !stands(shared, order) {
        return WorkOutcome::Failed {
            kind: WorkFailure::Other,
            detail: "the image does not stand on that drive since this boot".into(),
        };
    }
    let drive = shared
        .facts
        .drives
        .iter()
        .find(|d| d.serial == order.drive.serial);
    let Some(drive) = drive else {
        return missing(&order.drive);
    };
    let Some(manifest) = channel.manifest(&order.image).await else {
        return WorkOutcome::Failed {
            kind: WorkFailure::Network,
            detail: format!("the manifest of image {} cannot be had", order.image),
        };
    };
    if manifest.virtual_bytes > drive.bytes {
        return WorkOutcome::Failed {
            kind: WorkFailure::ImageUnsuitable,
            detail: format!(
                "the image needs {} bytes, the drive has {}",
                manifest.virtual_bytes, drive.bytes
            ),
        };
    }
    let there = |r: &&DriveRef| shared.facts.drives.iter().any(|d| d.serial == r.serial);
    if let Some(gone) = order.mirror.iter().find(|r| !there(r)) {
        return missing(gone);
    }
    let arrays = match arrays(shared, order) {
        Ok(arrays) => arrays,
        Err(drive) => return missing(&drive),
    };
    let data: u64 = manifest
        .chunks
        .iter()
        .map(|c| manifest.plain_len(c.index))
        .sum();
    shared.state().prepared = None;
    shared.state().installed = Some(Installed {
        lease: order.lease.to_string(),
        drive: drive.serial.clone(),
        seed: order.seed.clone(),
        report: None,
    });
    WorkOutcome::Written(WriteReport {
        image: order.image.clone(),
        written_bytes: data,
        discarded_bytes: manifest.virtual_bytes.saturating_sub(data),
        verified_bytes: data,
        resumed: 0,
        root_bytes: manifest
            .root_partition
            .map(|_| drive.bytes - 512 * 1024 * 1024),
        kernel_args: (!order.kernel_args.is_empty()).then(|| "nowhere: a phantom".into()),
        measured: Some(Box::new(measured(&order.image, &manifest))),
        changes: vec![],
        arrays,
        mirrors: order
            .mirror
            .iter()
            .map(|drive| MirrorWritten {
                serial: drive.serial.clone(),
                changes: vec![],
            })
            .collect(),
        mirrored: Vec::new(),
    })
}

/// Whether the image was prepared on that drive in this boot.
fn stands(shared: &Shared, order: &WriteOrder) -> bool {
    let state = shared.state();
    state.prepared.as_ref().is_some_and(|p| {
        p.image == order.image && p.drive == order.drive.serial && p.boot == state.boots
    })
}

/// Marks drives as those of arrays, or looks whether they are.
fn arrays(shared: &Shared, order: &WriteOrder) -> Result<Vec<ArrayWritten>, DriveRef> {
    let size = |wanted: &DriveRef| {
        let drives = &shared.facts.drives;
        let found = drives.iter().find(|d| d.serial == wanted.serial);
        found.map(|d| d.bytes).ok_or_else(|| wanted.clone())
    };
    let mut state = shared.state();
    for root in std::iter::once(&order.drive).chain(&order.mirror) {
        if let Some(held) = state.drives.get_mut(&root.serial) {
            held.array = None;
        }
    }
    let mut written = Vec::new();
    for array in &order.arrays {
        let mut sizes = Vec::new();
        let mut drives = Vec::new();
        for drive in &array.drives {
            sizes.push(size(drive)?);
            let held = state.drives.entry(drive.serial.clone()).or_default();
            if !array.kept {
                held.array = Some(array.id.to_string());
            }
            drives.push(MemberWritten {
                serial: drive.serial.clone(),
                marked: array.kept.then(|| held.array == Some(array.id.to_string())),
                changes: vec![],
            });
        }
        written.push(ArrayWritten {
            name: array.name.clone(),
            kept: array.kept,
            bytes: if array.kept {
                0
            } else {
                array.level.bytes(&sizes)
            },
            drives,
        });
    }
    Ok(written)
}

/// A phantom's drive holds what it was given, and nothing ever ran from it.
async fn measure(shared: &Shared, channel: &Channel<'_>, order: &MeasureOrder) -> WorkOutcome {
    if shared
        .facts
        .drives
        .iter()
        .all(|d| d.serial != order.drive.serial)
    {
        return missing(&order.drive);
    }
    match channel.manifest(&order.image).await {
        Some(manifest) => {
            let mut found = measured(&order.image, &manifest);
            let copies = order.mirror.iter().map(|drive| MeasuredCopy {
                drive: drive.serial.clone(),
                content: found.content.clone(),
                chunks: found.chunks,
                differ: 1,
            });
            found.copies = copies.collect();
            WorkOutcome::Measured(found)
        }
        None => WorkOutcome::Failed {
            kind: WorkFailure::Network,
            detail: format!("the manifest of image {} cannot be had", order.image),
        },
    }
}

fn measured(image: &str, manifest: &ImageManifest) -> Measured {
    let data = manifest.chunks.len() as u64;
    let count = manifest.virtual_bytes.div_ceil(manifest.chunk_bytes.max(1));
    let empty = count.saturating_sub(data);
    Measured {
        image: image.to_owned(),
        content: image.to_owned(),
        bytes: manifest.virtual_bytes,
        chunks: ChunkCount {
            data,
            data_same: data,
            empty,
            empty_same: empty,
        },
        parts: vec![],
        copies: Vec::new(),
    }
}

fn missing(drive: &DriveRef) -> WorkOutcome {
    WorkOutcome::Failed {
        kind: WorkFailure::DriveMissing,
        detail: format!("drive {} is not in this machine", drive.serial),
    }
}

/// Erase what was ordered; where `failing` is there, the drive of that serial fails, or all.
fn erase(shared: &Shared, order: &EraseOrder, failing: Option<Option<&str>>) -> WorkOutcome {
    let facts = &shared.facts;
    let mut state = shared.state();
    let drives = order
        .drives
        .iter()
        .map(|wanted| {
            let found = facts.drives.iter().find(|d| d.serial == wanted.serial);
            let fails = failing.is_some_and(|s| s.is_none_or(|s| s == wanted.serial));
            let Some(found) = found else {
                return failed(wanted, 0, "the drive is not in this machine");
            };
            let canaries = canaries(shared, order.canaries, found.bytes);
            let planted = canaries
                .iter()
                .map(|c| (c.offset, c.sha256.clone()))
                .collect();
            if fails {
                state.drives.insert(
                    wanted.serial.clone(),
                    Contents {
                        canaries: planted,
                        array: None,
                    },
                );
                return failed(wanted, found.bytes, "input/output error");
            }
            state
                .drives
                .insert(wanted.serial.clone(), Contents::default());
            if state
                .installed
                .as_ref()
                .is_some_and(|i| i.drive == wanted.serial)
            {
                state.installed = None;
            }
            state.prepared.take_if(|p| p.drive == wanted.serial);
            DriveErase {
                drive: wanted.clone(),
                size_bytes: found.bytes,
                method: Some(EraseMethod::SanitizeCrypto),
                tried: vec![],
                bytes: found.bytes,
                canaries,
                failure: None,
            }
        })
        .collect();
    let unordered = facts
        .drives
        .iter()
        .filter(|d| order.drives.iter().all(|o| o.serial != d.serial))
        .map(|d| DriveRef {
            serial: d.serial.clone(),
            wwn: d.wwn.clone(),
        })
        .collect();
    WorkOutcome::Erased { drives, unordered }
}

fn canaries(shared: &Shared, count: u32, bytes: u64) -> Vec<Canary> {
    (0..count)
        .map(|_| {
            let random: u64 = rand::random();
            Canary {
                offset: random % (bytes / 4096) * 4096,
                sha256: shared.maker.hex(&format!("canary {random}"), 64),
            }
        })
        .collect()
}

fn failed(drive: &DriveRef, size_bytes: u64, why: &str) -> DriveErase {
    DriveErase {
        drive: drive.clone(),
        size_bytes,
        method: None,
        tried: vec![],
        bytes: 0,
        canaries: vec![],
        failure: Some(why.to_owned()),
    }
}

fn verify(shared: &Shared, order: &VerifyOrder) -> WorkOutcome {
    let state = shared.state();
    let drives = order
        .erased
        .iter()
        .map(|erased| {
            let here = shared
                .facts
                .drives
                .iter()
                .any(|d| d.serial == erased.drive.serial);
            let held = state.drives.get(&erased.drive.serial);
            let found = erased
                .canaries
                .iter()
                .filter(|c| {
                    held.is_some_and(|h| {
                        h.canaries
                            .iter()
                            .any(|(at, sum)| *at == c.offset && *sum == c.sha256)
                    })
                })
                .count();
            DriveVerify {
                drive: erased.drive.clone(),
                canaries_read: erased.canaries.len() as u32,
                canaries_found: found as u32,
                samples_read: order.samples,
                samples_with_data: 0,
                failure: (!here).then(|| "the drive is not in this machine".into()),
            }
        })
        .collect();
    let tpm = match (order.clear_tpm, shared.facts.tpm) {
        (true, true) => TpmClear::Cleared {
            readback: "a phantom only pretends to have a TPM".into(),
        },
        (true, false) => TpmClear::None,
        (false, _) => TpmClear::NotCleared {
            reason: "not asked for".into(),
        },
    };
    WorkOutcome::Verified { drives, tpm }
}
