//! Machines in QEMU, where what happened can be seen from outside: in the files behind the drives.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    site::{Site, fault},
    support::{Ran, items, text, word},
};

/// Drives of each machine: the root is mirrored on two of the first one's, and two are scratch.
const DRIVES: usize = 4;

const USER_DATA: &str = "#cloud-config
bootcmd:
  - echo mine
runcmd:
  - [sh, -c, 'echo left by the user data > /root/left']
";

/// Says what the drives were made, and writes the pattern to a file on the root and to one on
/// scratch.
const WRITE: &str = r#"
mdadm --detail "$(findmnt -no SOURCE /)" | grep -E 'Raid Level|Active Devices'
mdadm --detail "$(findmnt -no SOURCE /scratch)" | grep -E 'Raid Level|Active Devices'
ls /boot/efi/loader/entries >/dev/null && findmnt -no SOURCE -t vfat /boot/efi
stat -c %a /scratch
grep -c '^UUID=.* /scratch ext4 ' /etc/fstab
yes PATTERN | head -c 8M >/root/secret
yes PATTERN | head -c 8M >/scratch/secret
sync
# Out of the journal, to where it is read without one.
fsfreeze -f / && fsfreeze -u /
"#;

/// Looks for the pattern where it was written, from a ramdisk's shell.
const IN_RESCUE: &str = r#"
id -un
cat /proc/cmdline
for drive in /dev/nvme?n1; do
  # Without the journal: one member of a mirror is not to be written alone.
  if mount -t ext4 -o ro,noload "${drive}p2" /mnt 2>/dev/null; then
    grep -q PATTERN /mnt/root/secret && echo "the root has it"
    umount /mnt
  fi
done
true
"#;

/// One machine lives its whole life while the control plane is killed under it, twice in a write
/// and in an erase; the power of another is cut while it is written, with an image that boots by
/// GRUB and has no cloud-init; and the lease of a phantom beside them ends by itself.
///
/// All at once, since most of it is waiting for firmware; and in one test, since the addresses
/// that machines are reached at are the host's.
#[tokio::test]
async fn machines_outlive_kills_and_a_power_cut() {
    let title = "two machines in QEMU";
    let Some((mut site, image)) = Site::of_emulated(title, 2, DRIVES as u32).await else {
        return;
    };
    let key = key(site.home.path("id_ed25519").as_path()).await;
    let plain = plain_image(&site, &image).await;
    let add = ["image", "add", "debian-12", "--file", text(&image)];
    let add_plain = ["image", "add", "plain", "--file", text(&plain)];
    let ((), added, added_plain) =
        tokio::join!(site.take_over(), site.op(&add), site.op(&add_plain));
    added.good();
    added_plain.good();
    let facts = site.ask(&["image", "show", "plain"]).await;
    assert_eq!(facts["cloud_init"], false, "{facts}");
    assert_eq!(facts["content"]["boot"], "grub", "{facts}");
    site.note("all machines are taken over");

    site.project("acme").await;
    site.project("other").await;
    site.home.write("user-data", USER_DATA);
    let machine_type = site.machine_type();
    let phantom = word(&site.machines[2]["machine_type"]).to_owned();
    let create = ["lease", "create", "--no-wait", "--type"];
    let with_key = ["--image", "debian-12", "--ssh-key", &key];
    let first = [&create[..], &[&machine_type, "--name", "first"], &with_key].concat();
    let kernel = ["--kernel-args", "billet.e2e=1", "--user-data", "user-data"];
    let drives = ["--root-mirror", "2", "--scratch", "--term", "1d"];
    let first = [&first[..], &kernel, &drives].concat();
    let first = site.ask_by("acme", &first).await;
    let second = [&create[..], &[&machine_type, "--name", "second"]].concat();
    let plain = ["--image", "plain", "--no-ssh-key"];
    let kernel = ["--kernel-args", "billet.plain=1"];
    let second = [&second[..], &plain, &kernel].concat();
    let second = site.ask_by("other", &second).await;
    // A minute, on a phantom: it ends whatever happens to the control plane meanwhile.
    let short = [&phantom, "--name", "short", "--term", "60s"];
    let short = [&create[..], &short, &with_key].concat();
    let short = site.ask_by("other", &short).await;
    let (a, b) = (&first["lease"], &second["lease"]);
    let (machine, cut) = (name_of(&site, a).await, name_of(&site, b).await);
    assert_ne!(machine, cut, "each lease has a machine of its own");

    // In the middle of each write: the one's control plane, the other's power.
    let (mut to_kill, mut to_cut) = (true, true);
    while to_kill || to_cut {
        if to_cut && let Some(how_far) = writing(&site, b).await {
            site.note(&format!("the power of {cut} is cut: {how_far}"));
            site.cut_power(&cut).await;
            to_cut = false;
        }
        if to_kill && let Some(how_far) = writing(&site, a).await {
            site.kill_and_serve(&how_far).await;
            to_kill = false;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let lease = active(&site, "acme", "first").await;
    assert_eq!(lease["active_because"], "phoned_home", "{lease}");
    assert!(!lease["host_keys"].as_array().expect("keys").is_empty());
    site.note("the first lease is active");

    // Root, by one's own key, on the machine that sent the host keys.
    let cmdline = ssh(&site, "acme", "first", "id -un; cat /proc/cmdline").await;
    assert!(cmdline.starts_with("root\n"), "{cmdline}");
    assert!(cmdline.contains(" billet.e2e=1"), "{cmdline}");
    let left = ssh(&site, "acme", "first", "cat /root/left").await;
    assert_eq!(left, "left by the user data\n");
    let size = ssh(&site, "acme", "first", "df --output=size -B1M / | tail -1").await;
    let size: u64 = size.trim().parse().expect("a size");
    assert!(size > 3 * 1024, "the root has grown to {size} MiB");
    let pattern = format!("TENANT-SECRET-{}", word(&a["id"]));
    let write = WRITE.replace("PATTERN", &pattern);
    let said = ssh(&site, "acme", "first", &write).await;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let [root, members, scratch, striped, esp, mode, entries] = lines[..] else {
        panic!("{said}");
    };
    assert_eq!(
        (root, members),
        ("Raid Level : raid1", "Active Devices : 2")
    );
    assert_eq!(
        (scratch, striped),
        ("Raid Level : raid0", "Active Devices : 2")
    );
    assert!(
        esp.starts_with("/dev/md"),
        "the system partition too: {said}"
    );
    assert_eq!((mode, entries), ("1777", "1"));
    let (layout, written) = (&lease["layout"], &lease["arrays_written"]);
    assert_eq!(layout["root"].as_array().map(Vec::len), Some(2), "{lease}");
    assert_eq!(written[0]["drives"][1]["changes"][2]["what"], "array_mark");
    assert_eq!(lease["file_systems"], "ok", "{lease}");
    assert_eq!(drives_with(&site, &machine, &pattern).await, DRIVES);
    site.note("the tenant's pattern is on all drives");

    // Billet's own ramdisk lets in who the lease does, with the drives as they were left.
    let rescue = ["lease", "rescue", "first"];
    site.by("acme", &rescue).await.good();
    let inside = IN_RESCUE.replace("PATTERN", &pattern);
    let said = ssh(&site, "acme", "first", &inside).await;
    assert!(said.starts_with("root\n"), "{said}");
    assert!(
        !said.contains("billet.e2e=1"),
        "the ramdisk's kernel: {said}"
    );
    let copies = said.matches("the root has it\n").count();
    assert_eq!(
        copies, 2,
        "each drive of the mirror can be read alone: {said}"
    );
    site.by("acme", &[&rescue[..], &["--end"]].concat())
        .await
        .good();
    // Ended when the drive is booted; its system takes a while to come up.
    let up = ssh_once_up(&site, "acme", "first", "cat /root/left").await;
    assert!(up.starts_with("left by the user data\n"), "{up}");
    site.note("the first lease was rescued, and is as it was");

    // What its serial line said since it was leased is its tenant's to read.
    let console = ["lease", "console", "first", "--log", "--search", "login:"];
    let said = site.by("acme", &console).await.good().stdout;
    assert!(said.contains("first login:"), "{said}");

    // Both drives of the mirror, read beside the image that they were written with.
    let measure = ["lease", "measure", "first"];
    site.by("acme", &measure).await.good();
    let lease = site.ask_by("acme", &["lease", "show", "first"]).await;
    let measured = lease["measurements"].as_array().and_then(|m| m.last());
    let measured = measured.expect("a measurement");
    assert_eq!(measured["when"], "since", "{measured:#}");
    let first = &measured["found"]["chunks"];
    let second = &measured["found"]["copies"][0]["chunks"];
    for (drive, chunks) in [("first", first), ("second", second)] {
        let (data, same) = (chunks["data"].as_u64(), chunks["data_same"].as_u64());
        let (data, same) = (data.expect("a number"), same.expect("a number"));
        // It was used since; most of it is what was delivered all the same.
        assert!(
            same < data && same > data / 2,
            "{drive} drive: {same} of {data} chunks"
        );
    }
    let up = ssh_once_up(&site, "acme", "first", "cat /root/left").await;
    assert!(up.starts_with("left by the user data\n"), "{up}");
    site.note("the first lease was measured, and is as it was");

    // Without the first drive of the mirror its firmware and its system boot from the second.
    let off = ["lease", "power", "first", "off"];
    site.by("acme", &off).await.good();
    let root = word(&layout["root"][0]["serial"]).to_owned();
    let gone = json!({ "serial": root });
    site.fault(fault(&machine, "start", "drive_gone", gone))
        .await;
    site.by("acme", &["lease", "power", "first", "on"])
        .await
        .good();
    let state = "cat /root/left; mdadm --detail \"$(findmnt -no SOURCE /)\"; lsblk -dno SERIAL; \
                 systemctl is-system-running || true";
    let up = ssh_once_up(&site, "acme", "first", state).await;
    assert!(up.starts_with("left by the user data\n"), "{up}");
    assert!(
        up.contains("Active Devices : 1") && !up.contains(&root),
        "{up}"
    );
    site.no_faults().await;
    site.note("the first lease came up from the second drive of its mirror alone");

    // Given back; the control plane is killed in the erase, and in its read-back.
    let release = ["lease", "release", "first", "--no-wait"];
    site.ask_by("acme", &release).await;
    for work in ["erase", "verify"] {
        let what = format!("the agent of {machine} is at work: {work}");
        let doing = format!("the agent is at work: {work}");
        let show = ["machine", "show", &machine];
        let now = site.until(&show, &what, 240, |m| m["doing"] == doing.as_str());
        let now = now.await;
        assert_eq!(now["lifecycle"], "erasing");
        assert_eq!(now["may_hold_data"], true);
        site.kill_and_serve(&what).await;
    }
    let now = site.until_lifecycle(&machine, "available", 240).await;
    assert_eq!(now["may_hold_data"], false);
    assert_eq!(drives_with(&site, &machine, &pattern).await, 0);
    site.note("erased: the pattern is on no drive");

    // One lease, one certificate, which needs no server to hold.
    let leases = site.ask_by("acme", &["lease", "list"]).await;
    assert_eq!(items(&leases).len(), 1, "{leases}");
    assert_eq!(items(&leases)[0]["state"], "released");
    let certificates = site.certificates(&machine).await;
    let of_lease: Vec<&Value> = certificates
        .iter()
        .filter(|certificate| certificate["lease"] == a["id"])
        .collect();
    assert_eq!(of_lease.len(), 1, "{certificates:#?}");
    assert_eq!(certificates.len(), 2, "and one of the take-over");
    let id = word(&of_lease[0]["id"]);
    let key = ["keys", "export", "--out", "key.pem"];
    site.op(&key).await.good();
    let export = ["evidence", "export", id, "--out", "erase.json"];
    site.by("acme", &export).await.good();
    let verify = ["evidence", "verify", "erase.json", "--trust", "key.pem"];
    let verified = site.home.run(&verify).await.good().stdout;
    assert!(verified.contains("holds      yes"), "{verified}");
    assert!(verified.contains("emulated"), "{verified}");

    // The one whose power was cut was written again, by itself.
    let lease = active(&site, "other", "second").await;
    assert_eq!(lease["machine"], b["machine"]);
    // Of this image no more is known than that it answers; it is the one asked for all the same.
    assert_eq!(lease["active_because"], "port_answered", "{lease}");
    assert_eq!(lease["host_keys"], serde_json::json!([]), "{lease}");
    let cmdline = plain_ssh(&site, &cut, "id -un; cat /proc/cmdline").await;
    assert!(cmdline.starts_with("root\n"), "{cmdline}");
    assert!(cmdline.contains(" billet.plain=1"), "{cmdline}");
    let operation = ["operation", "show", word(&b["operation"])];
    assert_eq!(site.ask(&operation).await["state"], "succeeded");
    site.note("the lease whose machine lost its power is active");

    let over = site.ask_by("other", &["lease", "show", "short"]).await;
    assert_eq!(over["state"], "released", "its term is over: {over:#}");
    let certificates = site.certificates(&site.name(2)).await;
    let of_lease = certificates
        .iter()
        .filter(|certificate| certificate["lease"] == short["lease"]["id"]);
    assert_eq!(of_lease.count(), 1, "{certificates:#?}");
    site.end().await;
}

/// How far the write for a lease is, where it is in the middle of it.
async fn writing(site: &Site, lease: &Value) -> Option<String> {
    let show = ["operation", "show", word(&lease["operation"])];
    let operation = site.ask(&show).await;
    assert_eq!(operation["state"], "running", "{operation}");
    let progress = &operation["progress"];
    let (done, total) = (progress["done"].as_u64()?, progress["total"].as_u64()?);
    let in_it = progress["step"] == "writing image" && done > total / 4 && done < total;
    in_it.then(|| format!("{done} of {total} bytes are written"))
}

async fn name_of(site: &Site, lease: &Value) -> String {
    let machine = site.machine(word(&lease["machine"])).await;
    word(&machine["name"]).to_owned()
}

async fn active(site: &Site, project: &str, name: &str) -> Value {
    let lease = site.ask_by(project, &["lease", "show", name]).await;
    let follow = ["operation", "follow", word(&lease["operation"])];
    site.by(project, &follow).await.good();
    let lease = site.ask_by(project, &["lease", "show", name]).await;
    assert_eq!(lease["state"], "active", "{lease}");
    lease
}

/// What a command says, run as root on a lease's machine with the host keys that it sent.
pub async fn ssh(site: &Site, project: &str, lease: &str, command: &str) -> String {
    try_ssh(site, project, lease, command).await.good().stdout
}

/// The same, tried until the system is up.
async fn ssh_once_up(site: &Site, project: &str, lease: &str, command: &str) -> String {
    for _ in 0..120 {
        let ran = try_ssh(site, project, lease, command).await;
        // ssh's own code for that it could not get in.
        if ran.code != 255 {
            return ran.good().stdout;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    ssh(site, project, lease, command).await
}

async fn try_ssh(site: &Site, project: &str, lease: &str, command: &str) -> Ran {
    let port = site.machines[0]["ssh"]
        .as_str()
        .and_then(|a| a.rsplit_once(':'));
    let (_, port) = port.expect("the port of SSH");
    let arguments = ["ssh", lease, "-i", "id_ed25519", "-p", port, "--", command];
    site.by(project, &arguments).await
}

/// What a command says, run as root on a machine that sent no host keys.
async fn plain_ssh(site: &Site, machine: &str, command: &str) -> String {
    let machine = site.machines.iter().find(|m| m["name"] == machine);
    let (address, port) = word(&machine.expect("of the lab")["ssh"])
        .rsplit_once(':')
        .expect("a port");
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
    ])
    .args([
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ])
    .arg("-i")
    .arg(site.home.path("id_ed25519"))
    .args(["-l", "root", "-p", port, address, "--", command]);
    let ran = ssh.output().await.expect("ssh runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// An image as people bring them along, made of the built one.
async fn plain_image(site: &Site, built: &Path) -> PathBuf {
    key(&site.home.path("host_key")).await;
    let out = site.home.path("plain.raw");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plain-image");
    let ran = Command::new(fixture)
        .args([built, &out])
        .arg(site.home.path("id_ed25519.pub"))
        .arg(site.home.path("host_key"))
        .output()
        .await
        .expect("bash runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    out
}

/// A key pair; what is to be written on machines.
pub async fn key(path: &Path) -> String {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "e2e", "-f"]);
    let made = keygen.arg(path).status().await.expect("ssh-keygen runs");
    assert!(made.success());
    std::fs::read_to_string(path.with_extension("pub")).expect("a key")
}

/// How many of the files behind a machine's drives hold the pattern, read from outside.
async fn drives_with(site: &Site, machine: &str, pattern: &str) -> usize {
    let machine = site.machines.iter().find(|m| m["name"] == machine);
    let files = machine.expect("of the lab")["drive_files"].as_array();
    let files = files.expect("files");
    assert_eq!(files.len(), DRIVES);
    let mut with = 0;
    for file in files {
        let mut grep = Command::new("grep");
        // By NULs, which end the lines of an empty drive: else all of it would be one line.
        grep.env("LC_ALL", "C").args(["-azqF", pattern, word(file)]);
        let code = grep.status().await.expect("grep runs").code();
        assert!(matches!(code, Some(0 | 1)), "reading {file}: {code:?}");
        with += usize::from(code == Some(0));
    }
    with
}
