//! From request to root, beside the sum of what cannot be left out, each part measured alone on the
//! same machine: a boot of the bare kernel from the medium, the image's bytes written and read back
//! by `dd`, the boot of the drive as it was handed over, and the configured settle time.
//!
//! And the warm way on the same machine: what it adds to the image's own boot.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    bare::{self, Bare, Serial},
    report::{Report, Target},
    site::{KEY, Site},
    support::{text, word},
};

/// Prints a line, with the seconds since the kernel started, and turns the machine off.
const BARE: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
read up rest < /proc/uptime
echo "BARE-UP $up"
exec /bin/busybox poweroff -f
"#;

/// Writes MIB of what no compression makes smaller past the cache, and reads it back.
const COPY: &str = r#"#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
$B modprobe nvme
n=0; while [ ! -b /dev/nvme0n1 ] && [ $n -lt 200 ]; do $B usleep 50000; n=$((n+1)); done
$B mount -t tmpfs -o size=80% tmp /tmp
$B dd if=/dev/urandom of=/tmp/data bs=1M count=64 2>/dev/null
at() { read up rest < /proc/uptime; echo $up; }
began=$(at); done=0
while [ $done -lt MIB ]; do
  $B dd if=/tmp/data of=/dev/nvme0n1 bs=1M oflag=direct seek=$done conv=notrunc 2>/tmp/error || $B cat /tmp/error
  done=$((done+64))
done
$B sync
wrote=$(at)
$B dd if=/dev/nvme0n1 of=/dev/null bs=1M iflag=direct count=$done 2>/tmp/error || $B cat /tmp/error
echo "COPIED $done $began $wrote $(at)"
exec $B poweroff -f
"#;

/// The pause after a power command at the lab's pace, in seconds; see `Policy::lab`.
const SETTLE_S: f64 = 20.0;

/// Measures both on one machine.
pub async fn measure(report: &mut Report) {
    let Some((site, image)) = Site::of_emulated("the handover", 1, 2).await else {
        return report.absent("a handover", "it needs QEMU, a ramdisk and an image");
    };
    let machine = Bare::of(&site.machines[0]);
    let add = ["image", "add", "debian-12", "--file", text(&image)];
    let ((), added) = tokio::join!(site.take_over(), site.op(&add));
    added.good();
    let image = site.ask(&["image", "show", "debian-12"]).await;
    let data = image["content"]["data_bytes"].as_f64().expect("bytes") / f64::from(1 << 20);
    site.project("acme").await;

    let warm = warm(&site, &machine).await;
    let all = lease(&site, &machine).await;
    // The machine is the bench's from here on: the control plane would see what it does to it.
    let Site { home, .. } = &site;
    let kept = home.path("as-written.img");
    let home = home.path("bare");
    std::fs::create_dir_all(&home).expect("a directory");
    let alone = alone(&machine, &home, &kept, data).await;

    report.add(
        "the ramdisk's boot to its first check-in, beside the same kernel booted bare",
        all.check_in / alone.bare,
        "times",
        Some(Target::Most(1.5)),
        format!(
            "power on to check-in {:.1} s, and {:.1} s to a shell script as init; from the kernel's start {:.1} s and {:.1} s",
            all.check_in, alone.bare, all.check_in_kernel, alone.bare_kernel
        ),
    );
    let parts = alone.bare + alone.write + alone.read + alone.drive + SETTLE_S;
    report.add(
        "the handover, beside the sum of its unavoidable parts",
        all.whole / parts,
        "times",
        Some(Target::Most(1.1)),
        format!(
            "request to root {:.1} s; parts {parts:.1} s: {:.1} s firmware and kernel, {:.1} s writing {data:.0} MiB and {:.1} s reading them, {:.1} s the image's first boot from power on, {SETTLE_S} s settling",
            all.whole, alone.bare, alone.write, alone.read, alone.drive
        ),
    );
    report.add(
        "what a warm machine's handover adds to the image's own boot",
        warm.whole - warm.own,
        "s",
        Some(Target::Most(5.0)),
        format!(
            "request to root {:.1} s, of which {:.1} s are the image's boot from its kernel's start; the cold way takes {:.1} s",
            warm.whole, warm.own, all.whole
        ),
    );
    site.end().await;
}

/// A warm handover as it was, in seconds.
struct Warm {
    /// From the request to the lease's being active.
    whole: f64,
    /// Of that from the start of the image's kernel.
    own: f64,
}

/// Leases the machine while it waits warm, and has it cold again afterwards.
async fn warm(site: &Site, machine: &Bare) -> Warm {
    let (name, machine_type) = (site.name(0), site.machine_type());
    let set = ["type", "set", &machine_type];
    let warm = [&set[..], &["--warm", "1", "--warm-image", "debian-12"]].concat();
    site.op(&warm).await.good();
    let show = ["machine", "show", &name];
    site.until(&show, "it waits warm with the image", 900, |m| {
        let warm = &m["warm"];
        !warm["since"].is_null() && warm["prepared"]["read_back"] == true
    })
    .await;

    let serial = machine.listen();
    let began = Instant::now();
    let operation = request(site, &machine_type, "warm").await;
    let mut jumped = None;
    while !done(site, &operation).await {
        if jumped.is_none() && serial.line("starting the other kernel").is_some() {
            jumped = Some(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let whole = began.elapsed();
    let lease = site.ask_by("acme", &["lease", "show", "warm"]).await;
    assert_eq!(lease["first_start"]["way"], "warm", "{lease:#}");

    let cold = [&set[..], &["--warm", "0"]].concat();
    site.op(&cold).await.good();
    let release = ["lease", "release", "warm"];
    site.by("acme", &release).await.good();
    site.until(&show, "it is off again", 900, |m| {
        m["lifecycle"] == "available" && m["power"]["power"] == "off"
    })
    .await;
    Warm {
        whole: whole.as_secs_f64(),
        own: (whole - jumped.expect("a jump")).as_secs_f64(),
    }
}

/// Asks for a lease; its operation.
async fn request(site: &Site, machine_type: &str, name: &str) -> String {
    let create = ["lease", "create", "--no-wait", "--type", machine_type];
    let of = ["--name", name, "--image", "debian-12", "--ssh-key", KEY];
    let made = site.ask_by("acme", &[&create[..], &of].concat()).await;
    word(&made["operation"]["id"]).to_owned()
}

/// Whether an operation has ended, and well.
async fn done(site: &Site, operation: &str) -> bool {
    let now = site.ask_by("acme", &["operation", "show", operation]).await;
    match word(&now["state"]) {
        "running" => false,
        "succeeded" => true,
        state => panic!("the lease is {state}: {now:#}"),
    }
}

/// A handover as it was, in seconds.
struct Handover {
    /// From the request to the lease's being active.
    whole: f64,
    /// From power on to the agent's first check-in.
    check_in: f64,
    /// The same from the kernel's start.
    check_in_kernel: f64,
}

/// Leases the machine, keeping the drive as it is before its first boot.
async fn lease(site: &Site, machine: &Bare) -> Handover {
    let serial = machine.listen();
    let began = Instant::now();
    let operation = request(site, &site.machine_type(), "timed").await;
    let name = site.name(0);
    let (mut on, mut check_in, mut kept) = (None, None, None);
    loop {
        if on.is_none() && site.true_power(&name).await == "on" {
            on = Some(Instant::now());
        }
        if check_in.is_none()
            && let (Some(on), Some(line)) = (on, serial.line("waiting for work"))
        {
            check_in = Some((on.elapsed().as_secs_f64(), uptime(&line)));
        }
        if check_in.is_some() {
            if kept.is_none() {
                // It is off for a moment between its two boots.
                if site.true_power(&name).await == "off" {
                    kept = Some(keep(site, machine).await);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            if done(site, &operation).await {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (check_in, check_in_kernel) = check_in.expect("seen");
    let aside = kept.expect("the drive as it was written");
    Handover {
        whole: (began.elapsed() - aside).as_secs_f64(),
        check_in,
        check_in_kernel,
    }
}

/// Copies the drive while the machine is off, with the control plane held meanwhile; how long
/// that took, which is no part of the handover.
async fn keep(site: &Site, machine: &Bare) -> Duration {
    let began = Instant::now();
    let server = i32::try_from(site.server_id()).ok();
    let server = server.and_then(Pid::from_raw).expect("a process");
    kill_process(server, Signal::STOP).expect("held");
    let still = site.true_power(&site.name(0)).await;
    assert_eq!(still, "off", "the control plane was held too late");
    copy(&machine.drive, &site.home.path("as-written.img"));
    kill_process(server, Signal::CONT).expect("let go");
    began.elapsed()
}

fn copy(from: &Path, to: &Path) {
    let ran = Command::new("cp")
        .args(["--sparse=always", "--reflink=auto", text(from), text(to)])
        .status();
    assert!(ran.expect("cp runs").success());
}

/// The parts, each alone, in seconds.
struct Alone {
    bare: f64,
    bare_kernel: f64,
    write: f64,
    read: f64,
    drive: f64,
}

async fn alone(machine: &Bare, dir: &Path, kept: &Path, mib: f64) -> Alone {
    let ramdisk = PathBuf::from(std::env::var_os("BILLET_RAMDISK").expect("it was there"));
    let busybox = ramdisk.with_file_name("kernel/unpacked/bin/busybox");
    let boots = async |name: &str, script: &str, modules: bool, mark: &str| {
        let iso = dir.join(name);
        bare::medium(&ramdisk, &busybox, script, modules, &iso);
        let url = bare::serve(iso).await;
        machine.boot_medium(&url).await.until(mark).await
    };
    let (line, took) = boots("bare.iso", BARE, false, "BARE-UP").await;
    let bare_kernel = figures(&line, "BARE-UP")[0];

    let script = COPY.replace("MIB", &format!("{mib:.0}"));
    let (line, _) = boots("copy.iso", &script, true, "COPIED").await;
    let [_, began, wrote, read] = figures(&line, "COPIED")[..] else {
        panic!("four figures: {line}");
    };

    machine.off().await;
    copy(kept, &machine.drive);
    let serial: Serial = machine.boot_drive().await;
    let (_, drive) = serial.until("finished at").await;
    Alone {
        bare: took.as_secs_f64(),
        bare_kernel,
        write: wrote - began,
        read: read - wrote,
        drive: drive.as_secs_f64(),
    }
}

/// The numbers behind a mark.
fn figures(line: &str, mark: &str) -> Vec<f64> {
    let after = line.split(mark).nth(1).unwrap_or_default();
    let words = after.split_whitespace();
    words.map(|w| w.parse().expect("a number")).collect()
}

/// The seconds in brackets that the agent begins a line with.
fn uptime(line: &str) -> f64 {
    let inside = line
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let (seconds, _) = inside.expect("brackets");
    seconds.trim().parse().expect("seconds")
}
