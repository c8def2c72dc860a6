//! Leaving the machine to the kernel that was loaded. The control plane knows by
//! now, so there is no way back: this ends in the jump or in a reset, and never
//! in a machine that stands still.
//!
//! ```text
//! begin ─exec─► run: files, caches ─► drivers, devices ─► jump
//!                      any of it hangs or fails ─► reset, and the drive boots the long way
//! ```
//!
//! The agent replaces itself by a new process of the same program first: all
//! memory that it had (tokens, keys of TLS, pieces of images) is freed by that,
//! and zeroed by the kernel, which is booted with `init_on_free=1`.

use std::{
    fs, os::unix::process::CommandExt, path::Path, process::Command, thread, time::Duration,
};

use billet_hardware::Tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::{console::say, devices, halt, kexec};

/// The argument that says so to the new process.
pub const WORD: &str = "leave";

/// How long devices may take to be quieted: a NIC's driver takes seconds.
const QUIET: Duration = Duration::from_secs(30);
/// After this the machine is reset, wherever it stands.
const BACKSTOP: Duration = Duration::from_secs(60);

/// Becomes the process that leaves.
pub fn begin() -> ! {
    say("leaving the machine to the kernel that was loaded");
    let error = Command::new("/proc/self/exe").arg(WORD).env_clear().exec();
    halt::reset(&format!("the agent could not make way: {error}"))
}

/// Forgets, quiets devices, and jumps.
pub fn run() -> ! {
    halt::on_panic();
    halt::reset_after(BACKSTOP, "the other kernel was not started in time");
    // What goes wrong in the kernel from here on is a panic, which restarts.
    for (name, value) in [
        ("panic", "10"),
        ("panic_on_oops", "1"),
        ("softlockup_panic", "1"),
        ("hardlockup_panic", "1"),
    ] {
        // A kernel without such a thing has no such file.
        let _ = fs::write(Path::new("/proc/sys/kernel").join(name), value);
    }
    forget();
    let tree = Tree::new("/");
    let functions = devices::functions(&tree);
    let count = functions.len();
    match devices::quiet(&tree, functions, QUIET) {
        Ok(failed) => {
            for what in &failed {
                say(what);
            }
            say(format!("{count} devices are quiet"));
        }
        // A driver that hangs now would hang in the jump.
        Err(hung) => halt::reset(&format!("drivers do not let go of {}", hung.join(", "))),
    }
    drop_caches();
    say("starting the other kernel");
    // The console's buffer takes a moment to drain.
    thread::sleep(Duration::from_millis(50));
    let error = kexec::jump();
    halt::reset(&format!("the other kernel was not started: {error}"))
}

/// Ends other processes, and removes what lies in memory as files.
fn forget() {
    end_others();
    overwrite(Path::new("/.extra"));
    for directory in [
        "/.extra", "/run", "/tmp", "/etc", "/root", "/lib", "/modules", "/bin",
    ] {
        empty(Path::new(directory));
    }
    drop_caches();
}

fn end_others() {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().parse().ok();
        let Some(pid) = pid.and_then(Pid::from_raw).filter(|p| *p != Pid::INIT) else {
            continue;
        };
        // The kernel's own threads have no program, and take no signal.
        if fs::read_link(entry.path().join("exe")).is_ok() {
            // One that ended meanwhile is what was wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Writes zeroes over every file below a directory.
fn overwrite(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(found) if found.is_dir() => overwrite(&path),
            Ok(found) if found.is_file() => {
                // What cannot be written over is removed, and zeroed as it is freed.
                let zeroes = vec![0; usize::try_from(found.len()).unwrap_or(0)];
                let _ = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .and_then(|mut file| std::io::Write::write_all(&mut file, &zeroes));
            }
            _ => {}
        }
    }
}

/// Removes what is in a directory. What is mounted below stays.
fn empty(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
    }
}

/// Frees what the kernel keeps of drives and of names.
fn drop_caches() {
    rustix::fs::sync();
    if let Err(error) = fs::write("/proc/sys/vm/drop_caches", "3") {
        say(format!("the caches could not be freed: {error}"));
    }
}
