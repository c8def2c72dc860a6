//! The machine's clock, set right enough for certificates to be valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};

use crate::console::say;

/// Sets the clock to `made_at` (seconds since 1970), when the boot record was
/// made, if the clock is behind that.
pub fn at_least(made_at: i64) {
    let record = UNIX_EPOCH + Duration::from_secs(made_at.max(0).unsigned_abs());
    if SystemTime::now() >= record {
        return;
    }
    let time = Timespec {
        tv_sec: made_at,
        tv_nsec: 0,
    };
    match clock_settime(ClockId::Realtime, time) {
        Ok(()) => say("the clock was behind; set from the boot record"),
        Err(error) => say(format!("the clock is behind and could not be set: {error}")),
    }
}
