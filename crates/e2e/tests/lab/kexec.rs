//! A machine in QEMU that waits warm: the ramdisk tries kexec on itself, prepares the real image,
//! and starts its kernel. The serial port shows that firmware had no part in it.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    qemu::{key, ssh},
    site::Site,
    support::{text, word},
};

/// What OVMF says each time that it starts something.
const FIRMWARE: &str = "BdsDxe: starting";

#[tokio::test]
async fn a_warm_machine_boots_its_image_by_kexec() {
    let title = "a warm machine in QEMU";
    let Some((site, image)) = Site::of_emulated(title, 1, 2).await else {
        return;
    };
    let key = key(site.home.path("id_ed25519").as_path()).await;
    let add = ["image", "add", "debian-12", "--file", text(&image)];
    let ((), added) = tokio::join!(site.enroll(), site.op(&add));
    added.good();
    let (name, machine_type) = (site.name(0), site.machine_type());
    let set = ["type", "set", &machine_type, "--warm", "1"];
    let set = [&set[..], &["--warm-image", "debian-12"]].concat();
    site.op(&set).await.good();
    let take_over = ["machine", "take-over", &name, "--yes"];
    site.op(&take_over).await.good();
    site.project("acme").await;
    let show = ["machine", "show", &name];
    let machine = site.until(&show, "it waits warm", 600, |m| {
        let warm = &m["warm"];
        !warm["since"].is_null() && warm["prepared"]["read_back"] == true
    });
    let machine = machine.await;
    let trial = &machine["warm"]["trial"]["result"]["trial"];
    assert_eq!(trial, "passed", "{machine:#}");
    site.note("the machine waits warm");

    let serial = word(&site.machines[0]["drive_files"][0]);
    let serial = std::path::Path::new(serial).with_file_name("serial.log");
    let said =
        || String::from_utf8_lossy(&fs::read(&serial).expect("the serial port")).into_owned();
    let before = said().len();
    let create = ["lease", "create", "--no-wait", "--type", &machine_type];
    let of = ["--name", "warm", "--image", "debian-12", "--ssh-key", &key];
    let kernel = ["--kernel-args", "billet.e2e=1"];
    let began = Instant::now();
    let create = [&create[..], &of, &kernel].concat();
    let lease = site.ask_by("acme", &create).await;
    let operation = ["operation", "show", word(&lease["operation"]["id"])];
    let (mut jumped, mut ended) = (None, None);
    while ended.is_none() {
        assert!(began.elapsed() < Duration::from_secs(600), "{}", said());
        let heard = said().split_off(before);
        if jumped.is_none() && heard.contains("starting the other kernel") {
            jumped = Some(began.elapsed());
        }
        let now = site.ask(&operation).await;
        match word(&now["state"]) {
            "running" => tokio::time::sleep(Duration::from_millis(50)).await,
            "succeeded" => ended = Some(began.elapsed()),
            state => panic!("the lease is {state}: {now:#}\n{heard}"),
        }
    }
    let (jumped, ended) = (jumped.expect("a jump"), ended.expect("an end"));
    let boot = ended.saturating_sub(jumped);
    site.note(&format!(
        "request to root {ended:.1?}, of which {boot:.1?} are the image's own boot"
    ));
    let heard = said().split_off(before);
    assert!(!heard.contains(FIRMWARE), "{heard}");
    assert!(
        said().contains(FIRMWARE),
        "it was booted by firmware before"
    );
    assert!(heard.contains("devices are quiet"), "{heard}");

    let lease = site.ask_by("acme", &["lease", "show", "warm"]).await;
    let start = &lease["first_start"];
    assert_eq!(start["way"], "warm", "{start:#}");
    assert_eq!(start["prepared"], true, "{start:#}");
    let asked =
        "id -un; cat /proc/cmdline; findmnt -no SOURCE /; ls /sys/firmware/efi/efivars | wc -l";
    let inside = ssh(&site, "acme", "warm", asked).await;
    let [user, cmdline, root, variables] = inside.lines().collect::<Vec<_>>()[..] else {
        panic!("four lines: {inside}");
    };
    assert_eq!(user, "root");
    assert_eq!(start["cmdline"], cmdline, "{start:#}");
    assert!(cmdline.ends_with(" billet.e2e=1"), "{cmdline}");
    assert!(root.starts_with("/dev/nvme"), "{root}");
    // Firmware's services are there all the same: the kernel handed them on.
    assert_ne!(variables, "0");
    site.end().await;
}
