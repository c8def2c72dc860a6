//! The oddities of real BMCs, on request: what is shown otherwise than it is, and what is refused
//! though it could be done.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Bmc;
use super::error::RedfishError;
use super::resources::uri;
use crate::faults::{FaultKind, Point};
use crate::metal::{MediaSlot, Power};

fn struck(bmc: &Bmc, wanted: impl Fn(&FaultKind) -> bool) -> Option<FaultKind> {
    bmc.faults
        .strike(&bmc.name, &[Point::Any, Point::Read], wanted)
}

/// Whether a fault is for this path.
fn meant(only: Option<&String>, path: &str) -> bool {
    only.is_none_or(|end| path.ends_with(end.as_str()))
}

/// A resource as it is shown, after all oddities that are armed for it.
pub(super) fn shown(bmc: &Bmc, path: &[&str], value: &mut Value) {
    let address = uri(path);
    let Value::Object(body) = value else { return };
    if body.contains_key("PowerState")
        && matches!(path, ["Systems" | "Chassis", "1"])
        && let Some(FaultKind::LiePower { says }) =
            struck(bmc, |k| matches!(k, FaultKind::LiePower { .. }))
    {
        body.insert("PowerState".into(), json!(says.as_redfish()));
    }
    if path == ["Systems", "1"]
        && let Some(boot) = body.get_mut("Boot").and_then(Value::as_object_mut)
        && struck(bmc, |k| *k == FaultKind::HideBoot).is_some()
    {
        boot.insert("BootSourceOverrideEnabled".into(), json!("Disabled"));
        boot.insert("BootSourceOverrideTarget".into(), json!("None"));
    }
    let place = match path {
        ["Systems", "1"] => Some("BiosVersion"),
        ["UpdateService", "FirmwareInventory", "BIOS"] => Some("Version"),
        _ => None,
    };
    if let Some(place) = place
        && let Some(FaultKind::OtherFirmware { version }) =
            struck(bmc, |k| matches!(k, FaultKind::OtherFirmware { .. }))
    {
        body.insert(place.into(), json!(version));
    }
    if matches!(path, ["Chassis", _]) && struck(bmc, |k| *k == FaultKind::NoChassisType).is_some() {
        body.remove("ChassisType");
    }
    let hides = |k: &FaultKind| matches!(k, FaultKind::HiddenUntilReset { property } if body.contains_key(property));
    if let Some(FaultKind::HiddenUntilReset { property }) = struck(bmc, hides) {
        body.remove(&property);
    }
    let emptied =
        |k: &FaultKind| matches!(k, FaultKind::EmptyIds { path } if meant(path.as_ref(), &address));
    if struck(bmc, emptied).is_some() {
        empty_ids(body);
    }
    let nulled = |k: &FaultKind| matches!(k, FaultKind::NullMembers { path } if meant(path.as_ref(), &address));
    if body.contains_key("Members") && struck(bmc, nulled).is_some() {
        body.insert("Members".into(), Value::Null);
    }
}

/// Whether a new password is not one that this BMC's policy takes.
pub(super) fn password_refused(bmc: &Bmc, password: &str) -> bool {
    let plain = password.chars().all(|c| c.is_ascii_alphanumeric());
    plain && struck_any(bmc, |k| *k == FaultKind::PasswordPolicy)
}

/// Whether accounts of this BMC cannot be deleted; with `disable`, whether they cannot even be
/// disabled.
pub(super) fn account_stays(bmc: &Bmc, disable: bool) -> bool {
    struck_any(
        bmc,
        |k| matches!(k, FaultKind::AccountsStay { enabled } if *enabled || !disable),
    )
}

fn struck_any(bmc: &Bmc, wanted: impl Fn(&FaultKind) -> bool) -> bool {
    bmc.faults
        .strike(&bmc.name, &[Point::Any], wanted)
        .is_some()
}

fn empty_ids(body: &mut Map<String, Value>) {
    if body.contains_key("Id") {
        body.insert("Id".into(), json!(""));
    }
    if let Some(Value::Array(members)) = body.get_mut("Members") {
        members.push(json!({ "@odata.id": "" }));
    }
}

/// Refuses to know a resource whose parent nobody has read.
pub(super) fn known(bmc: &Bmc, path: &[&str]) -> Result<(), RedfishError> {
    let lazy = |k: &FaultKind| *k == FaultKind::ParentFirst;
    if bmc.faults.peek(&bmc.name, &[Point::Read], lazy).is_none() {
        return Ok(());
    }
    // Its parent is the nearest one that is there.
    let parent = (1..path.len())
        .rev()
        .map(|n| &path[..n])
        .find(|parent| super::http::resource(bmc, parent).is_some());
    if let Some(parent) = parent
        && !bmc.lock().read.contains(&uri(parent))
        && struck(bmc, lazy).is_some()
    {
        return Err(RedfishError::not_found(&uri(path)));
    }
    bmc.lock().read.insert(uri(path));
    Ok(())
}

/// Refuses a change that this BMC makes only while the machine is off.
pub(super) fn off_first(bmc: &Bmc, point: Point) -> Result<(), RedfishError> {
    let armed = |k: &FaultKind| *k == FaultKind::NeedsOff;
    let refused = matches!(point, Point::Boot | Point::Media)
        && bmc.metal.power() == Power::On
        && bmc
            .faults
            .strike(&bmc.name, &[Point::Any, point], armed)
            .is_some();
    if refused {
        return Err(RedfishError::needs_off());
    }
    Ok(())
}

/// Refuses a medium where nobody has asked to eject since the last one.
pub(super) fn ejected_first(bmc: &Bmc, slot: MediaSlot) -> Result<(), RedfishError> {
    let armed = |k: &FaultKind| *k == FaultKind::EjectFirst;
    if !bmc.lock().ejected[slot.index()]
        && bmc
            .faults
            .strike(&bmc.name, &[Point::Media], armed)
            .is_some()
    {
        return Err(RedfishError::conflict(
            "The virtual drive is in use; eject its medium before inserting another.",
        ));
    }
    Ok(())
}

/// Whether all session slots are taken.
pub(super) fn sessions_full(bmc: &Bmc) -> bool {
    let armed = |k: &FaultKind| *k == FaultKind::NoSessions;
    bmc.faults
        .strike(&bmc.name, &[Point::Session], armed)
        .is_some()
}

fn expired(kind: &FaultKind) -> bool {
    *kind == FaultKind::PasswordExpired
}

/// Whether the password must be changed before anything else.
pub(super) fn password_expired(bmc: &Bmc) -> bool {
    bmc.faults
        .peek(&bmc.name, &[Point::Session], expired)
        .is_some()
}

/// The password was changed.
pub(super) fn password_changed(bmc: &Bmc) {
    bmc.faults.lift(&bmc.name, expired);
}

/// The BMC restarts: it answers nobody for a while, and what waited for that appears.
pub(super) fn restart(bmc: &Bmc, away: Duration) {
    let mut state = bmc.lock();
    state.sessions.clear();
    state.read.clear();
    state.away_until = Some(Instant::now() + away);
    state.note("OK", "The BMC restarted.");
    drop(state);
    bmc.faults.lift(&bmc.name, |k| {
        matches!(k, FaultKind::HiddenUntilReset { .. })
    });
}

/// Whether it is busy with itself, and for how many seconds more, rounded up.
pub(super) fn busy(bmc: &Bmc) -> Option<u64> {
    let until = bmc.lock().busy_until?;
    let left = until.checked_duration_since(Instant::now())?;
    Some(left.as_secs() + 1)
}

/// From now on it is busy with itself for so long.
pub(super) fn be_busy(bmc: &Bmc, for_so_long: Duration) {
    bmc.lock().busy_until = Some(Instant::now() + for_so_long);
}
