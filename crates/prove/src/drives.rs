//! Drives: their own verdict on their health, reading for a moment, and, where
//! they may be written, blocks written and read back. All drives at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use billet_drives::{
    BlockDevice, Device, DriveError, Stopped, Watch,
    aligned::{Aligned, is_zero},
};
use billet_hardware::{NvmeProbe, nvme::Health};
use billet_model::{
    inventory::{Drive, DriveKind},
    work::{TestResult, Verdict},
};

use crate::result;

/// How long a drive is read.
const READ_TIME: Duration = Duration::from_millis(1500);
const READ_BYTES: u64 = 1 << 20;
/// How many places are written, spread over the drive, and how much at each.
const PLACES: u64 = 32;
const WRITE_BYTES: u64 = 64 << 10;

/// Tests the drives.
pub(crate) fn test(
    drives: &[&Drive],
    nvme: &dyn NvmeProbe,
    may_write: bool,
    watch: &dyn Watch,
) -> Result<Vec<TestResult>, Stopped> {
    let mut results: Vec<TestResult> = drives.iter().map(|d| health(d, nvme)).collect();
    let tested: Vec<Result<Vec<TestResult>, Stopped>> = thread::scope(|scope| {
        let workers: Vec<_> = drives
            .iter()
            .map(|drive| {
                scope.spawn(move || {
                    let opened = if may_write {
                        BlockDevice::open(drive)
                    } else {
                        BlockDevice::open_to_read(drive)
                    };
                    match opened {
                        Ok(device) => read_and_write(&part(drive), &device, may_write, watch),
                        Err(error) => Ok(vec![failed(&part(drive), "read", &error)]),
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|w| w.join().unwrap_or(Err(Stopped)))
            .collect()
    });
    for tested in tested {
        results.extend(tested?);
    }
    Ok(results)
}

fn part(drive: &Drive) -> String {
    drive.serial.clone().unwrap_or_else(|| drive.name.clone())
}

fn failed(part: &str, test: &str, error: &DriveError) -> TestResult {
    result(part, test, Verdict::Failed, None, error.to_string())
}

/// What the drive says of itself.
fn health(drive: &Drive, nvme: &dyn NvmeProbe) -> TestResult {
    let part = part(drive);
    let log = match drive.kind {
        // A namespace's device node takes the controller's commands too.
        DriveKind::Nvme => nvme.health(&drive.name).ok(),
        _ => None,
    };
    let Some(health) = log.as_deref().and_then(Health::parse) else {
        let why = "the drive gives no NVMe health log";
        return result(&part, "health", Verdict::NotTested, None, why);
    };
    let figure = format!(
        "{} % of its life used, {} media errors, {} hours",
        health.percentage_used, health.media_errors, health.power_on_hours
    );
    let warnings = health.warnings();
    if warnings.is_empty() {
        let detail = "no critical warning";
        return result(&part, "health", Verdict::Passed, Some(figure), detail);
    }
    let detail = warnings.join(", ");
    result(&part, "health", Verdict::Failed, Some(figure), detail)
}

fn read_and_write(
    part: &str,
    device: &dyn Device,
    may_write: bool,
    watch: &dyn Watch,
) -> Result<Vec<TestResult>, Stopped> {
    let read = match read(device, READ_TIME) {
        Ok(rate) => result(
            part,
            "read",
            Verdict::Passed,
            Some(format!("{rate} MB/s")),
            "uncached, one request at a time; there is no baseline to compare with yet",
        ),
        Err(error) => failed(part, "read", &error),
    };
    if !may_write {
        let why = "the drive may hold data, and is only read";
        let write = result(part, "write", Verdict::NotTested, None, why);
        return Ok(vec![read, write]);
    }
    let write = match write(device, watch)? {
        Ok(blocks) => result(
            part,
            "write",
            Verdict::Passed,
            Some(format!("{blocks} places of {} KiB", WRITE_BYTES >> 10)),
            "written, read back uncached, zeroed, read back",
        ),
        Err(error) => failed(part, "write", &error),
    };
    Ok(vec![read, write])
}

fn io(operation: &'static str, offset: u64) -> impl FnOnce(std::io::Error) -> DriveError {
    move |source| DriveError::Io {
        operation,
        offset,
        source,
    }
}

/// Reads at places spread over the drive for `time`. Returns megabytes a second.
fn read(device: &dyn Device, time: Duration) -> Result<u64, DriveError> {
    let mut buffer = Aligned::zeroed(READ_BYTES.min(device.size() / 4096 * 4096) as usize);
    let length = buffer.len() as u64;
    let last = device.size() - length;
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < time {
        // Places far from each other, the ends among them.
        let place = match count {
            0 => 0,
            1 => last,
            n => last / 4096 * (n * 617 % 1009) / 1009 * 4096,
        };
        let place = place / 4096 * 4096;
        device
            .read(place, &mut buffer)
            .map_err(io("reading", place))?;
        count += 1;
    }
    let micros = began.elapsed().as_micros().max(1);
    Ok(u64::try_from(u128::from(count * length) / micros).unwrap_or(0))
}

/// Writes a pattern at places spread over the drive, reads it back, zeroes it
/// and reads that back. Returns how many places.
fn write(device: &dyn Device, watch: &dyn Watch) -> Result<Result<u64, DriveError>, Stopped> {
    let Some(last) = (device.size() / 4096 * 4096).checked_sub(WRITE_BYTES) else {
        return Ok(Ok(0));
    };
    let places: Vec<u64> = (0..PLACES)
        .map(|n| last / (PLACES - 1) * n / 4096 * 4096)
        .collect();
    let mut pattern = Aligned::zeroed(WRITE_BYTES as usize);
    let mut buffer = Aligned::zeroed(WRITE_BYTES as usize);
    let mut outcome = Ok(PLACES);
    for zeroing in [false, true] {
        for place in &places {
            watch.may_write()?;
            fill(&mut pattern, *place, zeroing);
            let written = device
                .write(*place, &pattern)
                .map_err(io("writing", *place));
            outcome = outcome.and_then(|n| written.map(|()| n));
        }
        let flushed = device.flush().map_err(io("flushing", 0));
        outcome = outcome.and_then(|n| flushed.map(|()| n));
        for place in &places {
            let read = device
                .read(*place, &mut buffer)
                .map_err(io("reading back", *place));
            fill(&mut pattern, *place, zeroing);
            let same = buffer[..] == pattern[..] && zeroing == is_zero(&buffer);
            outcome = outcome.and_then(|n| read.map(|()| n)).and_then(|n| {
                if same {
                    Ok(n)
                } else {
                    Err(DriveError::Differs { offset: *place })
                }
            });
        }
        // Zeroes are written even when the pattern did not read back.
    }
    Ok(outcome)
}

/// A pattern that differs from place to place, or zeroes.
fn fill(buffer: &mut [u8], place: u64, zero: bool) {
    let mut state = place | 1;
    for byte in buffer {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = if zero { 0 } else { (state >> 32) as u8 | 1 };
    }
}

#[cfg(test)]
mod tests {
    use std::{io as stdio, sync::Mutex};

    use billet_model::work::{EraseMethod, Progress};

    use super::*;

    /// A drive in memory, one byte of which may be stuck.
    struct Memory {
        bytes: Mutex<Vec<u8>>,
        stuck: Option<usize>,
    }

    impl Device for Memory {
        fn size(&self) -> u64 {
            self.bytes.lock().expect("the lock").len() as u64
        }
        fn block_bytes(&self) -> u32 {
            512
        }
        fn read(&self, offset: u64, into: &mut [u8]) -> stdio::Result<()> {
            let at = offset as usize;
            into.copy_from_slice(&self.bytes.lock().expect("the lock")[at..at + into.len()]);
            Ok(())
        }
        fn write(&self, offset: u64, from: &[u8]) -> stdio::Result<()> {
            let at = offset as usize;
            let mut bytes = self.bytes.lock().expect("the lock");
            bytes[at..at + from.len()].copy_from_slice(from);
            if let Some(stuck) = self.stuck {
                bytes[stuck] = 0;
            }
            Ok(())
        }
        fn flush(&self) -> stdio::Result<()> {
            Ok(())
        }
        fn discard(&self, _: u64, _: u64) -> stdio::Result<()> {
            Err(stdio::ErrorKind::Unsupported.into())
        }
        fn zero(&self, _: u64, _: u64) -> stdio::Result<()> {
            Err(stdio::ErrorKind::Unsupported.into())
        }
        fn command(&self, _: EraseMethod, _: &dyn Fn(u16)) -> Result<(), String> {
            Err("none".into())
        }
    }

    struct Yes;

    impl Watch for Yes {
        fn progress(&self, _: Progress) {}
        fn may_write(&self) -> Result<(), Stopped> {
            Ok(())
        }
    }

    fn memory(stuck: Option<usize>) -> Memory {
        Memory {
            bytes: Mutex::new(vec![0; 8 << 20]),
            stuck,
        }
    }

    #[test]
    fn a_written_drive_is_left_zero() {
        let drive = memory(None);
        let results = read_and_write("S", &drive, true, &Yes).expect("not stopped");
        assert!(
            results.iter().all(|r| r.verdict == Verdict::Passed),
            "{results:?}"
        );
        assert!(is_zero(&drive.bytes.lock().expect("the lock")));
    }

    #[test]
    fn a_stuck_byte_is_found_and_the_rest_still_zeroed() {
        let drive = memory(Some(100));
        let results = read_and_write("S", &drive, true, &Yes).expect("not stopped");
        assert_eq!(results[1].verdict, Verdict::Failed);
        assert!(is_zero(&drive.bytes.lock().expect("the lock")));
    }

    #[test]
    fn without_leave_nothing_is_written() {
        let drive = memory(None);
        drive.bytes.lock().expect("the lock").fill(9);
        let results = read_and_write("S", &drive, false, &Yes).expect("not stopped");
        assert_eq!(results[1].verdict, Verdict::NotTested);
        assert!(
            drive
                .bytes
                .lock()
                .expect("the lock")
                .iter()
                .all(|b| *b == 9)
        );
    }
}
