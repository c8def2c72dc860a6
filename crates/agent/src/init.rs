//! The life of PID 1: kernel file systems, modules, boot record, network,
//! channel, work, power off.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use billet_hardware::Tree;
use billet_protocol::{
    agent::Hello,
    boot::{BootRecord, CREDENTIAL},
};
use rustix::{
    mount::{MountFlags, mount},
    process::{WaitOptions, wait},
};

use crate::{
    channel::{Channel, ChannelError},
    clock,
    console::{self, say},
    halt, modules, network, rescue, tasks,
};

/// How long the control plane may be out of reach before the machine is turned off.
const GIVE_UP: Duration = Duration::from_secs(30 * 60);

/// Runs as PID 1, to the machine's end.
pub fn run() -> ! {
    halt::on_panic();
    mount_all();
    say(format!("billet-agent {}", env!("CARGO_PKG_VERSION")));
    thread::spawn(reap);
    let loaded = modules::load_all();
    say(format!("{loaded} kernel modules loaded"));
    thread::spawn(modules::keep_loading);

    let record = boot_record();
    clock::at_least(record.made_at.as_second());
    let channel = match Channel::new(
        &record,
        Box::new(|| halt::power_off("the control plane does not know this boot (any more)")),
    ) {
        Ok(channel) => channel,
        Err(error) => halt::power_off(&format!("the boot record is unusable: {error}")),
    };
    call_home(&record, &channel);
    tasks::serve(channel, record)
}

/// Mounts what the kernel offers. A failure shows in what fails afterwards.
fn mount_all() {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    for (kind, target, flags) in [
        ("proc", "/proc", flags),
        ("sysfs", "/sys", flags),
        ("devtmpfs", "/dev", MountFlags::NOSUID),
        (
            "devpts",
            "/dev/pts",
            MountFlags::NOSUID | MountFlags::NOEXEC,
        ),
        ("tmpfs", "/run", flags),
        ("tmpfs", "/tmp", flags),
    ] {
        if let Err(error) = fs::create_dir_all(target) {
            say(format!("{target} could not be made: {error}"));
        }
        match mount(kind, target, kind, flags, None) {
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => say(format!("{kind} could not be mounted on {target}: {error}")),
        }
    }
}

/// Takes leave of processes that ended: orphans become PID 1's.
fn reap() {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => rescue::ended(pid, status),
            Ok(None) | Err(_) => thread::sleep(Duration::from_secs(5)),
        }
    }
}

/// Reads the boot record; without one there is nothing to do here.
fn boot_record() -> BootRecord {
    let path = Path::new("/.extra/credentials").join(CREDENTIAL);
    let problem = match fs::read(&path) {
        Ok(json) => match BootRecord::from_json(&json) {
            Ok(record) => return record,
            // The error's text could quote the record; its place tells enough.
            Err(error) => format!(
                "the boot record is malformed (line {}, column {})",
                error.line(),
                error.column()
            ),
        },
        Err(error) => format!("there is no boot record ({}: {error})", path.display()),
    };
    say(format!(
        "{problem}. This medium was not made for this machine; it turns off in a minute."
    ));
    thread::sleep(Duration::from_secs(60));
    halt::power_off(&problem)
}

/// Brings up one interface after the other until the control plane answers.
fn call_home(record: &BootRecord, channel: &Channel) {
    let began = Instant::now();
    let tree = Tree::new("/");
    let mut pause = Duration::from_secs(1);
    loop {
        for place in network::places(record) {
            match network::occupy(&place) {
                Ok(what) => say(what),
                Err(error) => {
                    say(format!("{}: {error}", place.interface));
                    continue;
                }
            }
            match channel.hello(&hello(&tree)) {
                Ok(welcome) => {
                    say(format!(
                        "connected to {} as machine {}",
                        channel.server(),
                        welcome.machine
                    ));
                    channel.set_wait(welcome.wait_seconds);
                    return;
                }
                Err(ChannelError::Refused { status, detail }) => {
                    say(format!("the control plane refuses ({status}): {detail}"));
                }
                Err(error) => say(format!("{}: {error}", place.interface)),
            }
        }
        if began.elapsed() > GIVE_UP {
            halt::power_off("the control plane could not be reached");
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(15));
    }
}

fn hello(tree: &Tree) -> Hello {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds of uptime"
    )]
    let uptime_seconds = console::uptime() as u64;
    Hello {
        version: env!("CARGO_PKG_VERSION").into(),
        serial: billet_hardware::system_serial(tree),
        kernel_boot_id: tree
            .text("proc/sys/kernel/random/boot_id")
            .unwrap_or_default(),
        uptime_seconds,
    }
}
