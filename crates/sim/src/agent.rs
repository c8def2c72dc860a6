//! The agent in the ramdisk, as far as its protocol goes: it says hello, asks
//! for work, asks before it writes, and stops when its token is not good.

use billet_model::{
    Time,
    measure::{ChunkCount, Measured},
    work::{
        Canary, DriveErase, DriveRef, DriveVerify, EraseMethod, StartReport, Task, TestResult,
        TpmClear, Verdict, Work, WorkFailure, WorkOutcome, WriteOrder, WriteReport,
    },
};

use crate::metal::{Disk, Former, Installed, Metal, Owner, SIZE, Temper};

/// An agent.
pub(crate) struct Agent {
    pub token: String,
    pub kernel: String,
    /// Grows with each call: a reply to an older one is thrown away.
    pub call: u64,
    pub at: At,
}

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// Saying hello.
    Hello,
    /// Asking for work.
    Idle,
    /// At work.
    Doing {
        task: Box<Task>,
        /// Pieces done.
        done: u32,
        /// Pieces in all.
        pieces: u32,
        /// When the last yes was asked for.
        yes: Option<Time>,
    },
    /// Telling what came of it.
    Telling {
        task: Box<Task>,
        outcome: Box<WorkOutcome>,
    },
}

/// Makes one piece of a writing task real; the last one completes it. Returns
/// the serials of the drives that it wrote to.
pub(crate) fn write_piece(metal: &mut Metal, task: &Task, last: bool) -> Vec<String> {
    match &task.work {
        Work::Write(order) => {
            if let Some(Installed {
                owner: Owner::Lease(lease),
                phone: Some(phone),
                ..
            }) = metal.installed.take()
            {
                metal.former = Some(Former { lease, phone });
            }
            let owner = Owner::Lease(order.lease);
            let mut written = Vec::new();
            let named = |r: &DriveRef, d: &Disk| r.serial == d.serial;
            for disk in &mut metal.disks {
                let array = order
                    .arrays
                    .iter()
                    .find(|a| !a.kept && a.drives.iter().any(|r| named(r, disk)));
                if let Some(array) = array {
                    disk.array = Some(array.id);
                } else if named(&order.drive, disk) || order.mirror.iter().any(|r| named(r, disk)) {
                    disk.array = None;
                } else {
                    continue;
                }
                disk.holds.insert(owner);
                written.push(disk.serial.clone());
            }
            metal.prepared = None;
            if last {
                let phone = order
                    .seed
                    .as_ref()
                    .and_then(|s| phone_token(&s.vendor_data));
                metal.installed = Some(Installed {
                    owner,
                    phone,
                    booted: false,
                    report: None,
                });
            }
            written
        }
        Work::Prepare(order) => {
            metal.installed = None;
            metal.prepared = None;
            if last {
                let kernel = metal.agent.as_ref().map(|a| a.kernel.clone());
                let serial = order.drive.serial.clone();
                metal.prepared = Some((order.image.clone(), serial, kernel.unwrap_or_default()));
                metal.installed = Some(Installed {
                    owner: Owner::Everyone,
                    phone: None,
                    booted: true,
                    report: None,
                });
            }
            vec![order.drive.serial.clone()]
        }
        Work::Erase(_) => {
            metal.installed = None;
            metal.prepared = None;
            if last {
                metal.disks.iter_mut().for_each(erase);
                metal.off_after_erase = false;
            }
            metal.disks.iter().map(|d| d.serial.clone()).collect()
        }
        Work::Wipe(order) => {
            let is_named = |d: &Disk| order.drives.iter().any(|o| o.serial == d.serial);
            let named = |d: &&mut Disk| is_named(d);
            // Where the system stands it is gone as well.
            let on = metal.prepared.as_ref().map(|p| p.1.clone());
            let prepared = on.is_some_and(|on| order.drives.iter().any(|d| d.serial == on));
            if prepared {
                metal.prepared = None;
            }
            if prepared || metal.disks.first().is_some_and(is_named) {
                metal.installed = None;
            }
            if last {
                metal.disks.iter_mut().filter(named).for_each(erase);
            }
            order.drives.iter().map(|d| d.serial.clone()).collect()
        }
        Work::Inspect
        | Work::Test { .. }
        | Work::Verify(_)
        | Work::Rescue(_)
        | Work::Measure(_)
        | Work::Start(_)
        | Work::Trial(_) => Vec::new(),
    }
}

fn erase(disk: &mut Disk) {
    match disk.temper {
        Temper::Honest => {
            disk.holds.clear();
            disk.array = None;
        }
        Temper::Caches => disk.masked = true,
        Temper::Pretends | Temper::Dead => {}
    }
}

/// The token in the address that a seed has the system phone home to.
fn phone_token(vendor_data: &str) -> Option<String> {
    let value: serde_json::Value = vendor_data
        .lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|value: &serde_json::Value| value.get("phone_home").is_some())?;
    let url = value.get("phone_home")?.get("url")?.as_str()?;
    let token = url.rsplit('/').next()?;
    token.split('?').next().map(str::to_owned)
}

/// What the agent reports of a task that it has done.
pub(crate) fn outcome(metal: &Metal, task: &Task) -> WorkOutcome {
    if let Some(dead) = metal.disks.iter().find(|d| d.temper == Temper::Dead)
        && !matches!(
            task.work,
            Work::Inspect | Work::Test { .. } | Work::Rescue(_)
        )
    {
        return WorkOutcome::Failed {
            kind: WorkFailure::DriveFailed,
            detail: format!("drive {} does not answer", dead.serial),
        };
    }
    match &task.work {
        Work::Inspect => WorkOutcome::Inspected {
            inventory: Box::new(metal.inventory(billet_model::inventory::Source::Agent)),
        },
        Work::Test { .. } => WorkOutcome::Tested {
            results: metal.disks.iter().map(test).collect(),
        },
        Work::Write(order) => WorkOutcome::Written(report(&order.image)),
        Work::Prepare(order) => WorkOutcome::Prepared(report(&order.image)),
        Work::Start(order) => {
            let own = Owner::Lease(order.lease);
            match metal.installed.as_ref().is_some_and(|i| i.owner == own) {
                true => starting("/boot/vmlinuz"),
                false => no_kexec(),
            }
        }
        Work::Trial(_) => starting("the ramdisk"),
        Work::Measure(order) => WorkOutcome::Measured(measured(&order.image)),
        Work::Rescue(_) => WorkOutcome::Rescuing {
            host_keys: vec!["ssh-ed25519 AAAA".into()],
        },
        Work::Erase(order) | Work::Wipe(order) => WorkOutcome::Erased {
            drives: order
                .drives
                .iter()
                .map(|d| erased(d, order.canaries))
                .collect(),
            unordered: Vec::new(),
        },
        Work::Verify(order) => WorkOutcome::Verified {
            drives: order
                .erased
                .iter()
                .map(|e| verified(metal, e, order.samples))
                .collect(),
            tpm: TpmClear::None,
        },
    }
}

fn report(image: &str) -> WriteReport {
    WriteReport {
        image: image.to_owned(),
        written_bytes: SIZE / 4,
        discarded_bytes: SIZE / 4,
        verified_bytes: SIZE / 4,
        resumed: 0,
        root_bytes: None,
        kernel_args: None,
        measured: Some(Box::new(measured(image))),
        changes: Vec::new(),
        arrays: Vec::new(),
        mirrors: Vec::new(),
        mirrored: Vec::new(),
    }
}

fn starting(kernel: &str) -> WorkOutcome {
    WorkOutcome::Starting(StartReport {
        kernel: kernel.into(),
        initrd: None,
        cmdline: String::new(),
        done: Vec::new(),
    })
}

/// No kernel could be loaded.
pub(crate) fn no_kexec() -> WorkOutcome {
    WorkOutcome::Failed {
        kind: WorkFailure::Kexec,
        detail: "no kernel could be loaded".into(),
    }
}

/// The image does not stand there as the order says.
pub(crate) fn not_prepared() -> WorkOutcome {
    WorkOutcome::Failed {
        kind: WorkFailure::Other,
        detail: "that drive was not prepared with this image in this boot".into(),
    }
}

/// Whether the image was put on that drive before, by this same agent.
pub(crate) fn stands(metal: &Metal, order: &WriteOrder) -> bool {
    let kernel = metal.agent.as_ref().map(|a| &a.kernel);
    metal.prepared.as_ref().is_some_and(|(image, serial, by)| {
        *image == order.image && *serial == order.drive.serial && Some(by) == kernel
    })
}

fn measured(image: &str) -> Measured {
    Measured {
        image: image.to_owned(),
        content: image.to_owned(),
        bytes: SIZE / 4,
        chunks: ChunkCount::default(),
        parts: Vec::new(),
        copies: Vec::new(),
    }
}

fn test(disk: &Disk) -> TestResult {
    TestResult {
        part: disk.serial.clone(),
        test: "read".into(),
        verdict: if disk.temper == Temper::Dead {
            Verdict::Failed
        } else {
            Verdict::Passed
        },
        figure: None,
        detail: String::new(),
    }
}

fn erased(drive: &DriveRef, canaries: u32) -> DriveErase {
    DriveErase {
        drive: drive.clone(),
        size_bytes: SIZE,
        method: Some(EraseMethod::SanitizeBlock),
        tried: Vec::new(),
        bytes: SIZE,
        canaries: (0..canaries)
            .map(|c| Canary {
                offset: u64::from(c) * 4096,
                sha256: "0".repeat(64),
            })
            .collect(),
        failure: None,
    }
}

fn verified(metal: &Metal, erase: &DriveErase, samples: u32) -> DriveVerify {
    let disk = metal.disks.iter().find(|d| d.serial == erase.drive.serial);
    let planted = u32::try_from(erase.canaries.len()).unwrap_or(0);
    let data = disk.is_some_and(Disk::reads_data);
    DriveVerify {
        drive: erase.drive.clone(),
        canaries_read: planted,
        canaries_found: if data { planted } else { 0 },
        samples_read: samples,
        samples_with_data: if data { samples } else { 0 },
        failure: disk.is_none().then(|| "it is gone".to_owned()),
    }
}
