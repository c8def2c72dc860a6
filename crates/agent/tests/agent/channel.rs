//! The channel against a control plane over TLS that misbehaves.

use crate::plane;

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::plane::Plane;
use billet_agent::channel::{Channel, ChannelError};
use billet_model::{
    TaskId,
    image::BootKind,
    work::{Task, Work, WorkFailure, WorkOutcome},
};
use billet_protocol::{agent::Hello, boot::BootRecord};

fn hello() -> Hello {
    Hello {
        version: "test".into(),
        serial: Some("S1".into()),
        kernel_boot_id: "boot".into(),
        uptime_seconds: 3,
    }
}

fn channel(record: &BootRecord) -> (Channel, Arc<AtomicU32>) {
    let unauthorized = Arc::new(AtomicU32::new(0));
    let count = unauthorized.clone();
    let channel = Channel::new(
        record,
        Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }),
    );
    (channel.expect("a channel"), unauthorized)
}

#[test]
fn a_task_is_fetched_confirmed_and_reported() {
    let plane = Plane::start();
    let (channel, _) = channel(&plane.record("127.0.0.1"));
    let welcome = channel.hello(&hello()).expect("welcome");
    channel.set_wait(welcome.wait_seconds);
    assert!(channel.task().expect("an answer").is_none());

    let id = TaskId::from_parts(1, [1; 10]);
    let task = Task {
        id,
        epoch: 7,
        work: Work::Test { may_write: true },
        addresses: vec![],
    };
    plane.with(|f| f.tasks.push(task.clone()));
    assert_eq!(channel.task().expect("an answer"), Some(task));
    assert!(channel.confirm(id).expect("an answer").current);
    plane.with(|f| f.superseded = true);
    assert!(
        !channel
            .progress(id, &Default::default())
            .expect("an answer")
            .current
    );

    let outcome = WorkOutcome::Failed {
        kind: WorkFailure::Superseded,
        detail: String::new(),
    };
    plane.with(|f| f.lose_acknowledgement = 1);
    let lost = channel.outcome(id, &outcome).expect_err("lost");
    assert!(lost.passes(), "{lost}");
    channel.outcome(id, &outcome).expect("acknowledged");
    assert_eq!(plane.with(|f| f.outcomes.get(&id).cloned()), Some(outcome));
}

#[test]
fn an_unknown_token_is_told_at_once_and_shown_nowhere() {
    let plane = Plane::start();
    plane.with(|f| f.forget_when_done = true);
    let (channel, unauthorized) = channel(&plane.record("127.0.0.1"));
    let error = channel.hello(&hello()).expect_err("unauthorized");
    assert!(matches!(error, ChannelError::Unauthorized));
    assert!(!error.passes());
    assert_eq!(unauthorized.load(Ordering::Relaxed), 1);
    let shown = format!("{channel:?} {error} {error:?}");
    assert!(!shown.contains(plane::TOKEN));
}

#[test]
fn only_the_records_authority_is_trusted() {
    let plane = Plane::start();
    let other = Plane::start();
    let mut record = plane.record("127.0.0.1");
    record.authority = other.authority.clone();
    let (channel, _) = channel(&record);
    let error = channel.hello(&hello()).expect_err("not trusted");
    assert!(matches!(error, ChannelError::Unreachable { .. }), "{error}");
    assert!(plane.with(|f| f.hellos.is_empty()));
}

#[test]
fn the_next_server_is_tried_and_names_are_not_looked_up() {
    let plane = Plane::start();
    let mut record = plane.record("127.0.0.1");
    record.servers.insert(0, "https://localhost:1".into());
    record.servers.insert(1, "https://127.0.0.1:1".into());
    let (channel, _) = channel(&record);
    channel.hello(&hello()).expect("welcome by the third");
    assert_eq!(channel.server(), record.servers[2]);
}

#[test]
fn a_blob_is_read_by_ranges_and_a_break_is_an_error() {
    let plane = Plane::start();
    let disk: Vec<u8> = (0..3u32 << 20).map(|n| (n >> 9) as u8 ^ n as u8).collect();
    let digest = plane.add_image(&disk, BootKind::Unknown, None);
    let (channel, _) = channel(&plane.record("127.0.0.1"));
    let manifest = channel.manifest(&digest).expect("a manifest");
    assert_eq!(plane::sha256(&manifest.canonical()), digest);
    let last = manifest.chunks.last().expect("a chunk");
    let read = || {
        let mut packed = Vec::new();
        channel
            .blob(&digest, last.offset, u64::from(last.length))
            .expect("a stream")
            .read_to_end(&mut packed)
            .map(|_| packed)
    };
    plane.with(|f| f.break_blob = 1);
    assert!(read().is_err());
    let packed = read().expect("whole");
    let plain = zstd::bulk::decompress(&packed, 1 << 20).expect("unpacked");
    assert_eq!(plane::sha256(&plain), last.sha256);
    let missing = channel.manifest(&"0".repeat(64)).expect_err("missing");
    assert!(matches!(missing, ChannelError::Refused { status: 404, .. }));
}
