//! Cuts an emulated machine's power in the middle of a write, where a fault asks for it.
//!
//! The lab cannot see what an agent does on an emulated machine, but it sees the drives' files
//! grow. Phantoms see to their own power cuts, because they know what they are doing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::emulated::written_bytes;
use crate::facts::Kind;
use crate::faults::{FaultKind, Point};
use crate::lab::{Member, Room};
use crate::metal::Power;

/// How often drives are looked at while a fault waits.
const INTERVAL: Duration = Duration::from_millis(100);

const POINTS: [Point; 3] = [Point::Erase, Point::Write, Point::Agent];

fn is_cut(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::PowerCut { .. })
}

/// Bytes that have changed since a machine was seen to start. An erase makes files shrink, so
/// both directions count.
fn changed(member: &Member, before: u64) -> u64 {
    written_bytes(&member.dir, member.facts.drives.len()).abs_diff(before)
}

/// Watch until the lab stops.
pub(crate) async fn power_cuts(room: Arc<Room>, stop: CancellationToken) {
    let emulated: Vec<&Member> = room
        .members
        .iter()
        .filter(|m| m.facts.kind == Kind::Emulated)
        .collect();
    if emulated.is_empty() {
        return;
    }
    // What the drives of each machine that is on took up when it was first seen so.
    let mut before: HashMap<&str, u64> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        for member in &emulated {
            let name = member.name.as_str();
            let armed = room.faults.peek(name, &POINTS, is_cut);
            let Some(FaultKind::PowerCut { after_bytes }) = armed else {
                before.remove(name);
                continue;
            };
            if member.metal.power() == Power::Off {
                before.remove(name);
                continue;
            }
            let now = || written_bytes(&member.dir, member.facts.drives.len());
            let start = *before.entry(name).or_insert_with(now);
            if changed(member, start) <= after_bytes {
                continue;
            }
            before.remove(name);
            let struck = room.faults.strike(name, &POINTS, is_cut);
            if struck.is_some()
                && let Err(e) = member.bmc.power_cut().await
            {
                tracing::warn!(machine = name, error = %e, "cutting the power");
            }
        }
    }
}
