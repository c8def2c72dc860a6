//! Erasing: canaries first, then the strongest method that a drive really has,
//! then the next, until the canaries are gone.
//!
//! A method's success code decides nothing. After a method that lied, canaries
//! are planted anew, so that the next is measured against whole ones. Discard
//! alone is never a method.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use billet_model::{
    inventory::{Drive, EraseCapabilities},
    work::{DriveErase, DriveRef, EraseMethod, EraseOrder, MethodTried},
};

use crate::{
    aligned::Aligned,
    canary,
    device::Device,
    error::DriveError,
    find,
    watch::{Stopped, Watch, bytes},
};

/// Bytes zeroed by one command: small enough to see progress and to stop between.
const ZERO_STEP: u64 = 128 << 20;
/// Bytes written at once when overwriting.
const WRITE_STEP: u64 = 4 << 20;

/// Opens drives; a double of it opens fakes.
pub type Open<'a> = &'a (dyn Fn(&Drive) -> Result<Box<dyn Device>, DriveError> + Sync);

/// Erases the drives ordered, side by side, and no other. Returns what was done
/// to each in the order's sequence, and the machine's own drives not ordered.
///
/// # Errors
/// [`Stopped`] when the watch said so: drives may be erased in part.
pub fn erase(
    order: &EraseOrder,
    drives: &[Drive],
    open: Open<'_>,
    watch: &dyn Watch,
) -> Result<(Vec<DriveErase>, Vec<DriveRef>), Stopped> {
    let unordered = drives
        .iter()
        .filter(|d| !d.remote && !d.removable)
        .map(find::reference)
        .filter(|r| !order.drives.iter().any(|o| matches(o, r)))
        .collect();
    watch.may_write()?;
    let total: u64 = order
        .drives
        .iter()
        .filter_map(|r| find::find(drives, r))
        .map(|d| d.size_bytes)
        .sum();
    let done: Vec<Arc<AtomicU64>> = order.drives.iter().map(|_| Arc::default()).collect();
    let results: Vec<Result<DriveErase, Stopped>> = thread::scope(|scope| {
        let workers: Vec<_> = order
            .drives
            .iter()
            .zip(&done)
            .map(|(wanted, mine)| {
                let all = &done;
                scope.spawn(move || {
                    let tell = |share: u64| {
                        mine.store(share, Ordering::Relaxed);
                        let sum = all.iter().map(|d| d.load(Ordering::Relaxed)).sum();
                        watch.progress(bytes("erasing drives", sum, total));
                    };
                    let Some(drive) = find::find(drives, wanted) else {
                        return Ok(failed(wanted, 0, "the drive is not there".into()));
                    };
                    match open(drive) {
                        Ok(device) => erase_drive(
                            wanted,
                            drive,
                            device.as_ref(),
                            order.canaries,
                            &tell,
                            watch,
                        ),
                        Err(error) => Ok(failed(wanted, drive.size_bytes, error.to_string())),
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().unwrap_or(Err(Stopped)))
            .collect()
    });
    let erased = results.into_iter().collect::<Result<_, _>>()?;
    Ok((erased, unordered))
}

fn matches(ordered: &DriveRef, found: &DriveRef) -> bool {
    ordered.serial == found.serial && (ordered.wwn.is_none() || ordered.wwn == found.wwn)
}

fn failed(drive: &DriveRef, size_bytes: u64, failure: String) -> DriveErase {
    DriveErase {
        drive: drive.clone(),
        size_bytes,
        method: None,
        tried: Vec::new(),
        bytes: 0,
        canaries: Vec::new(),
        failure: Some(failure),
    }
}

/// Methods that capability bits offer, the strongest first. Overwriting needs none.
pub(crate) fn methods(can: &EraseCapabilities) -> Vec<EraseMethod> {
    [
        (can.sanitize_crypto, EraseMethod::SanitizeCrypto),
        (can.sanitize_block, EraseMethod::SanitizeBlock),
        (can.format_crypto, EraseMethod::FormatCrypto),
        (can.sanitize_overwrite, EraseMethod::SanitizeOverwrite),
        (can.format_user, EraseMethod::FormatUser),
        (can.write_zeroes, EraseMethod::WriteZeroes),
        (true, EraseMethod::Overwrite),
    ]
    .into_iter()
    .filter_map(|(offered, method)| offered.then_some(method))
    .collect()
}

/// Why a method was not the one.
enum NotThis {
    Stopped,
    Reason(String),
}

impl From<Stopped> for NotThis {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

fn erase_drive(
    wanted: &DriveRef,
    drive: &Drive,
    device: &dyn Device,
    canaries: u32,
    tell: &dyn Fn(u64),
    watch: &dyn Watch,
) -> Result<DriveErase, Stopped> {
    let size = device.size();
    if drive.erase.locked {
        let text = "the drive is locked and refuses to be erased";
        return Ok(failed(wanted, size, text.into()));
    }
    let mut report = failed(wanted, size, String::new());
    for method in methods(&drive.erase) {
        watch.may_write()?;
        let by_blocks = matches!(method, EraseMethod::WriteZeroes | EraseMethod::Overwrite);
        if let Some(reason) = device.hidden().filter(|_| by_blocks) {
            report.tried.push(MethodTried { method, reason });
            continue;
        }
        report.canaries = match canary::plant(device, canaries.max(1)) {
            Ok(planted) => planted,
            Err(error) => {
                report.failure = Some(format!("canaries could not be planted: {error}"));
                return Ok(report);
            }
        };
        let outcome = apply(device, method, tell, watch)
            .and_then(|()| flush_and_check(device, &report.canaries).map_err(NotThis::Reason));
        match outcome {
            Ok(()) => {
                tell(size);
                report.method = Some(method);
                report.bytes = size;
                report.failure = None;
                return Ok(report);
            }
            Err(NotThis::Stopped) => return Err(Stopped),
            Err(NotThis::Reason(reason)) => report.tried.push(MethodTried { method, reason }),
        }
    }
    report.failure = Some(match device.hidden() {
        Some(hidden) => format!("no method erased all of it: {hidden}"),
        None => "no method erased it".into(),
    });
    Ok(report)
}

/// Carries a method out.
fn apply(
    device: &dyn Device,
    method: EraseMethod,
    tell: &dyn Fn(u64),
    watch: &dyn Watch,
) -> Result<(), NotThis> {
    let size = device.size();
    let reason = |offset: u64| {
        move |error| NotThis::Reason(DriveError::io("erasing", offset)(error).to_string())
    };
    watch.may_write()?;
    match method {
        EraseMethod::WriteZeroes => {
            let mut offset = 0;
            while offset < size {
                watch.may_write()?;
                let length = ZERO_STEP.min(size - offset);
                device.zero(offset, length).map_err(reason(offset))?;
                offset += length;
                tell(offset);
            }
        }
        EraseMethod::Overwrite => {
            let zeroes = Aligned::zeroed(WRITE_STEP as usize);
            let mut offset = 0;
            while offset < size {
                watch.may_write()?;
                let length = WRITE_STEP.min(size - offset);
                let piece = &zeroes[..length as usize];
                device.write(offset, piece).map_err(reason(offset))?;
                offset += length;
                tell(offset);
            }
        }
        _ => {
            let share = |part: u16| {
                tell(u64::try_from((u128::from(size) * u128::from(part)) >> 16).unwrap_or(0))
            };
            device.command(method, &share).map_err(NotThis::Reason)?;
        }
    }
    Ok(())
}

/// Whether every canary is gone, as the medium reads now.
fn flush_and_check(
    device: &dyn Device,
    canaries: &[billet_model::work::Canary],
) -> Result<(), String> {
    device.flush().map_err(|e| format!("flushing: {e}"))?;
    let mut left = 0;
    for canary in canaries {
        match canary::present(device, canary) {
            Ok(true) => left += 1,
            Ok(false) => {}
            Err(error) => return Err(format!("it reported success, then {error}")),
        }
    }
    if left > 0 {
        return Err(format!(
            "it reported success, but {left} of {} canaries were still there",
            canaries.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
