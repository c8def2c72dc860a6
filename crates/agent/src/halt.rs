//! The end: the machine's power goes off, nothing is written on the way.

use std::{thread, time::Duration};

use rustix::system::{RebootCommand, reboot};

use crate::console::say;

/// Says why, and turns the machine off. Buffers are not synced: whatever was
/// being written belongs to nobody any more.
pub fn power_off(why: &str) -> ! {
    say(format!("powering off: {why}"));
    // The console's buffer takes a moment to drain at 115200 baud.
    thread::sleep(Duration::from_millis(300));
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        say(format!("the power could not be turned off: {error}"));
    }
    thread::sleep(Duration::from_secs(10));
    if let Err(error) = reboot(RebootCommand::Restart) {
        say(format!("the machine could not be restarted: {error}"));
    }
    // Ending PID 1 panics the kernel, which restarts the machine (panic=10).
    std::process::exit(1)
}

/// Restarts the machine at once, asking no driver: for when one hangs.
pub fn reset(why: &str) -> ! {
    say(format!("restarting: {why}"));
    thread::sleep(Duration::from_millis(300));
    // What the system request does cannot fail by anything that hangs.
    if let Err(error) = std::fs::write("/proc/sysrq-trigger", "b") {
        say(format!("the machine could not be restarted: {error}"));
    }
    thread::sleep(Duration::from_secs(1));
    std::process::exit(1)
}

/// Restarts the machine after this time, whatever becomes of who called.
pub fn reset_after(time: Duration, why: &'static str) {
    thread::spawn(move || {
        thread::sleep(time);
        reset(why)
    });
}

/// Makes a panic turn the machine off: PID 1 must not hang.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("a panic without a message");
        power_off(&format!("the agent failed at {at}: {text}"))
    }));
}
