//! What a person at the console reads: one line for each thing that happens.
//!
//! No secret ever goes here: a serial console is seen by whoever reaches the BMC.

use std::{fs::OpenOptions, io::Write};

/// Writes a line to the console, with the seconds since the kernel started.
pub fn say(text: impl AsRef<str>) {
    let line = format!("[{:>9.3}] billet: {}\r\n", uptime(), text.as_ref());
    // Opened anew each time: an open console keeps nothing else from working,
    // and there is nobody to tell that it could not be written.
    let console = OpenOptions::new().write(true).open("/dev/console");
    let written = match console {
        Ok(mut console) if std::process::id() == 1 => console.write_all(line.as_bytes()),
        _ => std::io::stderr().write_all(line.as_bytes()),
    };
    drop(written);
}

/// Seconds since the kernel started.
pub fn uptime() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of uptime fit")]
    let seconds = time.tv_sec as f64;
    #[expect(clippy::cast_precision_loss, reason = "below 1e9")]
    let fraction = time.tv_nsec as f64 / 1e9;
    seconds + fraction
}
