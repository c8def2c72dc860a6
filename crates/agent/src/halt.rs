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

/// Makes a panic turn the machine off: PID 1 must not hang.
pub fn on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("a panic without a message");
        power_off(&format!("the agent failed at {at}: {text}"))
    }));
}
