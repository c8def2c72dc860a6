//! What an agent says: each body of its channel, and what is decided when work comes back.
//!
//! The first line names what the rest is: `hello`, `progress`, `task`, `inventory`, or the kind of
//! work that an outcome is of.

use billet_model::{
    BootId, EvidenceId, OperationId, TaskId, Time,
    inventory::Inventory,
    lifecycle::Lifecycle,
    machine::Machine,
    step::{EraseRecord, Step, TaskRecord},
    work::{
        Canary, DriveErase, EraseMethod, Progress, Task, VerifyOrder, Work, WorkKind, WorkOutcome,
    },
};
use billet_plan::{Facts, Fresh, Policy, next_step};
use billet_protocol::agent::{Confirm, Hello, Welcome};

use super::{again, cut};
use crate::site::SITE;

const KINDS: [WorkKind; 8] = [
    WorkKind::Inspect,
    WorkKind::Test,
    WorkKind::Write,
    WorkKind::Erase,
    WorkKind::Verify,
    WorkKind::Wipe,
    WorkKind::Rescue,
    WorkKind::Measure,
];

/// Steps that are taken after an outcome: what it left behind is looked at by the next one.
const STEPS: usize = 4;

/// Reads a body; an outcome is brought to the decision.
pub fn run(bytes: &[u8]) {
    let (head, body) = cut(bytes, b"\n");
    match head {
        b"hello" => drop(again::<Hello>(body)),
        b"welcome" => drop((again::<Welcome>(body), again::<Confirm>(body))),
        b"progress" => drop(again::<Progress>(body)),
        b"task" => drop(again::<Task>(body)),
        b"inventory" => drop(again::<Inventory>(body)),
        head => {
            let kind = KINDS
                .iter()
                .find(|kind| kind.to_string().as_bytes() == head);
            if let (Some(kind), Some(outcome)) = (kind, again::<WorkOutcome>(body)) {
                decided(*kind, outcome);
            }
        }
    }
}

fn decided(kind: WorkKind, outcome: WorkOutcome) {
    let now = SITE.machine.created_at + jiff::SignedDuration::from_hours(1);
    let boot = BootId::from_parts(1, [1; 10]);
    let mut machine = machine(kind, boot, now);
    let mut lease = machine.lease.map(|_| SITE.lease.clone());
    let mut record = Some(task(&machine, kind, boot, now, outcome));
    let mut booted = Some(crate::site::boot(boot, &machine));
    let policy = Policy::default();
    for step in 0..STEPS {
        let number = step as u64 + 2;
        let facts = Facts {
            now: now + jiff::SignedDuration::from_secs(step as i64),
            policy: &policy,
            machine: &machine,
            machine_type: None,
            site: None,
            lease: lease.as_ref(),
            image: Some(&SITE.image),
            image_before: true,
            wish: None,
            ramdisk: None,
            operation: None,
            boot: booted.as_ref(),
            task: record.as_ref(),
            reply: None,
            orphaned: false,
            probed: None,
            fresh: Fresh {
                boot: BootId::from_parts(number, [0; 10]),
                task: TaskId::from_parts(number, [0; 10]),
                evidence: EvidenceId::from_parts(number, [0; 10]),
                operation: OperationId::from_parts(number, [0; 10]),
            },
        };
        let decision = next_step(&facts);
        assert_eq!(next_step(&facts).machine, decision.machine, "decided twice");
        let next = decision.machine;
        assert!(next.lifecycle != Lifecycle::Available || !next.may_hold_data);
        assert!(
            !machine.may_hold_data || next.may_hold_data || decision.certificate.is_some(),
            "data is gone without a certificate"
        );
        if let Some((_, certificate)) = &decision.certificate {
            for drive in &machine.drives {
                assert!(
                    certificate
                        .drives
                        .iter()
                        .any(|d| d.drive.serial == drive.serial),
                    "{} is not on the certificate",
                    drive.serial
                );
            }
        }
        // It is kept as JSON.
        let kept = serde_json::to_vec(&next).expect("a machine is JSON");
        again::<Machine>(&kept).expect("and is read back");
        machine = next;
        lease = decision.lease.or(lease);
        booted = decision.boot.or(booted);
        record = decision.task.or(record);
    }
}

/// The machine at that work.
fn machine(kind: WorkKind, boot: BootId, now: Time) -> Machine {
    let tenants = matches!(
        kind,
        WorkKind::Write | WorkKind::Wipe | WorkKind::Rescue | WorkKind::Measure
    );
    let lifecycle = match kind {
        WorkKind::Inspect => Lifecycle::Inspecting,
        WorkKind::Test => Lifecycle::Testing,
        WorkKind::Erase | WorkKind::Verify => Lifecycle::Erasing,
        _ => Lifecycle::Deploying,
    };
    Machine {
        lifecycle,
        step: Step::Working {
            task: TaskId::from_parts(1, [1; 10]),
            kind,
            boot,
        },
        step_since: now,
        may_hold_data: kind != WorkKind::Test,
        lease: tenants.then_some(SITE.lease.id),
        operation: None,
        erase: (kind == WorkKind::Verify).then(|| EraseRecord {
            began: Some(now),
            drives: erased(),
            off_from: Some(now),
            off_until: Some(now),
            ..EraseRecord::default()
        }),
        ..SITE.machine.clone()
    }
}

/// What an erase of all its drives brought back.
fn erased() -> Vec<DriveErase> {
    let drives = SITE.machine.drives.iter();
    drives
        .map(|drive| DriveErase {
            drive: drive.clone(),
            size_bytes: 1 << 40,
            method: Some(EraseMethod::FormatUser),
            tried: vec![],
            bytes: 1 << 40,
            canaries: (0..32)
                .map(|n| Canary {
                    offset: n * 4096,
                    sha256: "a".repeat(64),
                })
                .collect(),
            failure: None,
        })
        .collect()
}

fn task(
    machine: &Machine,
    kind: WorkKind,
    boot: BootId,
    now: Time,
    outcome: WorkOutcome,
) -> TaskRecord {
    let work = match kind {
        WorkKind::Verify => Work::Verify(VerifyOrder {
            erased: erased(),
            samples: 16,
            clear_tpm: true,
        }),
        // What the order was is not asked for again.
        _ => Work::Inspect,
    };
    TaskRecord {
        taken_at: Some(now),
        outcome: Some(outcome),
        ..crate::site::task(TaskId::from_parts(1, [1; 10]), machine, boot, work)
    }
}
