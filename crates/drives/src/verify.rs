//! Reading erased drives back, past every cache: canaries and a random sample.

use std::thread;

use billet_model::{
    inventory::Drive,
    work::{DriveErase, DriveVerify, VerifyOrder},
};

use crate::{
    aligned::{ALIGN, Aligned},
    canary,
    device::Device,
    erase::Open,
    error::DriveError,
    find,
};

/// Reads every drive of the order back, side by side. `tell` is called with the
/// number of drives done.
pub fn verify(
    order: &VerifyOrder,
    drives: &[Drive],
    open: Open<'_>,
    tell: &(dyn Fn(u64) + Sync),
) -> Vec<DriveVerify> {
    let done = std::sync::atomic::AtomicU64::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = order
            .erased
            .iter()
            .map(|erased| {
                let done = &done;
                scope.spawn(move || {
                    let mut report = DriveVerify {
                        drive: erased.drive.clone(),
                        canaries_read: 0,
                        canaries_found: 0,
                        samples_read: 0,
                        samples_with_data: 0,
                        failure: None,
                    };
                    report.failure = check(erased, drives, order.samples, open, &mut report).err();
                    tell(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
                    report
                })
            })
            .collect();
        workers.into_iter().filter_map(|w| w.join().ok()).collect()
    })
}

fn check(
    erased: &DriveErase,
    drives: &[Drive],
    samples: u32,
    open: Open<'_>,
    report: &mut DriveVerify,
) -> Result<(), String> {
    let drive = find::find(drives, &erased.drive).ok_or("the drive is not there")?;
    let device = open(drive).map_err(|e| e.to_string())?;
    if device.size() != erased.size_bytes {
        return Err(format!(
            "the drive has {} bytes and had {} when it was erased",
            device.size(),
            erased.size_bytes
        ));
    }
    read_back(device.as_ref(), erased, samples, report).map_err(|e| e.to_string())
}

fn read_back(
    device: &dyn Device,
    erased: &DriveErase,
    samples: u32,
    report: &mut DriveVerify,
) -> Result<(), DriveError> {
    for planted in &erased.canaries {
        let found = canary::present(device, planted)?;
        report.canaries_read += 1;
        report.canaries_found += u32::from(found);
    }
    let mut block = Aligned::zeroed(ALIGN as usize);
    for offset in canary::offsets(device.size(), samples) {
        device
            .read(offset, &mut block)
            .map_err(DriveError::io("reading a sample", offset))?;
        let blank = block.iter().all(|b| *b == 0) || block.iter().all(|b| *b == 0xff);
        report.samples_read += 1;
        report.samples_with_data += u32::from(!blank);
    }
    Ok(())
}
