//! Tenants' own installers: a kernel with an initrd, and what becomes of leases with them.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::{
    site::{KEY, Site},
    support::{text, word},
};

/// What passes for a Linux kernel until somebody boots it.
fn kernel() -> Vec<u8> {
    let mut bytes = vec![0x4b; 64 * 1024];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x236] = 1;
    bytes
}

async fn sha256(path: &Path) -> String {
    let ran = Command::new("sha256sum").arg(path).output().await;
    let said = ran.expect("sha256sum runs").stdout;
    String::from_utf8_lossy(&said[..64]).into_owned()
}

/// Adds an install configuration of the files in the home.
async fn add(site: &Site, name: &str, line: &str, more: &[&str]) {
    let add = ["image", "add", name, "--kernel", "linux", "--initrd"];
    let add = [&add[..], &["initrd.gz", "--command-line", line], more].concat();
    site.op(&add).await.good();
}

fn create<'a>(name: &'a str, image: &'a str, machine_type: &'a str) -> Vec<&'a str> {
    let create = ["lease", "create", "--name", name, "--image", image];
    [&create[..], &["--type", machine_type, "--ssh-key", KEY]].concat()
}

/// An installer says that it is done; another restarts before it did; a third says nothing, and is
/// ended by its tenant; a fourth by its time. The control plane is killed meanwhile.
#[tokio::test]
async fn installers_run_from_their_medium_and_end_with_a_word() {
    let models = ["cpu"; 4];
    let Some(mut site) = Site::of_phantoms("tenants' own installers", &models).await else {
        return;
    };
    site.take_over().await;
    site.project("vision").await;
    let machine_type = site.machine_type();
    let linux = site.home.write("linux", kernel());
    let initrd = site.home.write("initrd.gz", vec![0x49; 300_000]);
    what_is_wrong_is_refused(&site).await;
    let done = "auto=true done=${billet-url}/installed host=${billet-hostname}";
    let checksum = format!("kernel=sha256:{}", sha256(&linux).await);
    add(&site, "good", done, &["--part-checksum", &checksum]).await;
    add(&site, "late", "phantom.restart ${billet-url}", &[]).await;
    add(&site, "mute", "phantom.hang", &[]).await;
    add(&site, "slow", "phantom.hang", &["--installs-within", "10s"]).await;

    // Phantoms have no address of Billet's.
    add(&site, "addressed", "ip=${billet-ip}", &[]).await;
    let addressed = create("addressed", "addressed", &machine_type);
    let refused = site.by("vision", &addressed).await;
    refused.said("it has no address of Billet's");

    let no_wait = ["--no-wait"];
    for (name, image) in [("late", "late"), ("mute", "mute"), ("slow", "slow")] {
        let create = [&create(name, image, &machine_type)[..], &no_wait].concat();
        site.by("vision", &create).await.good();
    }
    let good = create("good", "good", &machine_type);
    let with = ["--kernel-args", "mine=1", "--user-data", "answers"];
    site.home
        .write("answers", "d-i partman-auto/method string regular\n");
    let good = [&good[..], &with].concat();
    site.by("vision", &good).await.good();

    // What was served is on record, digest by digest; what it did is not said to be.
    let lease = site.ask_by("vision", &["lease", "show", "good"]).await;
    assert_eq!(lease["state"], "active", "{lease:#}");
    assert_eq!(lease["active_because"], "installer_reported");
    assert_eq!(lease["image_digest"], Value::Null);
    assert_eq!(lease["measurements"], serde_json::json!([]));
    let install = &lease["install"];
    assert_eq!(install["parts"][0]["sha256"], sha256(&linux).await.as_str());
    assert_eq!(
        install["parts"][1]["sha256"],
        sha256(&initrd).await.as_str()
    );
    assert_eq!(install["command_line"], done, "without a token in it");
    let image = site.ask(&["image", "show", "good"]).await;
    assert_eq!(install["digest"], image["install"]["digest"]);
    let medium = &install["medium"];
    assert_eq!(word(&medium["sha256"]).len(), 64, "{install:#}");
    assert!(medium["bytes"].as_u64() > Some(8 << 20), "{medium}");
    assert!(medium["read_at"].is_string() && medium["out_at"].is_string());
    let shown = site.by("vision", &["lease", "show", "good"]).await;
    let shown = shown.good().stdout;
    assert!(
        shown.contains("(kernel and initrd): not measured"),
        "{shown}"
    );
    let measure = site.by("vision", &["lease", "measure", "good"]).await;
    measure.coded(4).said("its tenant's own configuration");
    assert_eq!(site.op(&["image", "delete", "good"]).await.code, 4);

    // One restarted before it said anything, and did not run again.
    let show = ["lease", "show", "late"];
    let late = site.until_lease("late", "active", 60).await;
    assert_eq!(late["active_because"], "installer_reported");
    let before = late["install"]["medium"]["read_at"].clone();
    assert!(before.is_string(), "{late:#}");

    // One says nothing, whatever happens to the control plane.
    let mute = site.until_lease("mute", "installing", 60).await;
    assert!(mute["install"]["began_at"].is_string(), "{mute:#}");
    assert_eq!(mute["install"]["medium"]["out_at"], Value::Null);
    site.kill_and_serve("an installer runs").await;
    let ssh = site.by("vision", &["ssh", "mute", "--", "true"]).await;
    ssh.coded(4).said("its own installer runs");
    site.by("vision", &["lease", "installed", "mute"])
        .await
        .good();
    let mute = site.ask_by("vision", &["lease", "show", "mute"]).await;
    assert_eq!(mute["state"], "active");
    assert_eq!(mute["active_because"], "tenant_said");
    assert!(mute["install"]["medium"]["out_at"].is_string(), "{mute:#}");
    let again = site.by("vision", &["lease", "installed", "mute"]).await;
    again.coded(4).said("no installer runs");

    // One's time is over.
    let slow = site.until_lease("slow", "active", 60).await;
    assert_eq!(slow["active_because"], "unreported");
    assert!(word(&slow["reason"]).contains("did not say within 10 s"));
    let operation = ["operation", "show", word(&slow["operation"])];
    assert_eq!(site.ask(&operation).await["state"], "failed");

    // From an installer to an image, and on to a rescue.
    site.tiny_image().await;
    let reinstall = ["lease", "reinstall", "slow", "--image", "tiny", "--yes"];
    site.by("vision", &reinstall).await.good();
    let slow = site.ask_by("vision", &["lease", "show", "slow"]).await;
    assert_eq!(slow["install"], Value::Null);
    assert!(slow["image_digest"].is_string());
    let reinstall = ["lease", "reinstall", "late", "--image", "good"];
    let reinstall = [&reinstall[..], &["--keep-data-drives", "--yes"]].concat();
    site.by("vision", &reinstall).await.good();
    let late = site.ask_by("vision", &show).await;
    assert_eq!(late["active_because"], "installer_reported");
    assert_ne!(late["install"]["medium"]["read_at"], before);
    let visit = &late["visits"][0];
    assert_eq!(visit["kind"], "reinstall");
    let kept = visit["kept_drives"].as_array().expect("a list").len();
    assert!(kept > 0, "{visit}");
    site.by("vision", &["lease", "rescue", "late"]).await.good();
    site.by("vision", &["lease", "rescue", "late", "--end"])
        .await
        .good();
    let release = async |name: &str| {
        let ran = site.by("vision", &["lease", "release", name]).await;
        ran.good();
    };
    tokio::join!(
        release("good"),
        release("late"),
        release("mute"),
        release("slow")
    );
    site.op(&["image", "delete", "good"]).await.good();
    // Nothing that was said or logged has a token in it.
    for run in 1..=2 {
        let log = std::fs::read_to_string(site.home.path(&format!("serve-{run}.err")));
        assert!(!log.expect("a log").contains("/install/v1/install"));
    }
    site.end().await;
}

async fn what_is_wrong_is_refused(site: &Site) {
    let add = ["image", "add", "wrong", "--kernel"];
    let with = async |more: &[&str]| site.op(&[&add[..], more].concat()).await;
    let other = site.home.write("other", "#!/bin/sh\n");
    let parts = [text(&other), "--initrd", "initrd.gz"];
    with(&parts).await.coded(4).said("not a Linux kernel");
    site.op(&["image", "delete", "wrong"]).await.good();
    let parts = ["linux", "--initrd", "initrd.gz"];
    let sum = format!("initrd-1=sha256:{}", "ab".repeat(32));
    let wrong = [&parts[..], &["--part-checksum", &sum]].concat();
    with(&wrong).await.coded(4).said("the checksum of initrd-1");
    site.op(&["image", "delete", "wrong"]).await.good();
    let wrong = [&parts[..], &["--command-line", "${hostname}"]].concat();
    with(&wrong).await.said("there is no ${hostname}");
    let wrong = [&parts[..], &["--part-checksum", "script=sha256:00"]].concat();
    with(&wrong).await.coded(2).said("no such part");
    with(&["linux"]).await.said("there are 1 to 16 initrds");
    let script = site.home.write("s.ipxe", "#!ipxe\nshell\n");
    let script = ["image", "add", "wrong", "--ipxe", text(&script)];
    site.op(&script).await.said("this server has no iPXE");
    assert!(site.ask(&["image", "list"]).await["items"] == serde_json::json!([]));
}

impl Site {
    /// What stands at the beginning of a drive of the lab's first machine, where an
    /// installer wrote it for this host.
    fn installed(&self, host: &str) -> Option<String> {
        let wanted = format!("installed by its tenant: {host}\n");
        let files = self.machines[0]["drive_files"].as_array().expect("files");
        let mut heads = files.iter().map(|file| head_of(Path::new(word(file))));
        heads.find(|head| head.starts_with(&wanted))
    }

    /// What a lease's machine wrote on its console.
    async fn console_log(&self, lease: &str) -> String {
        let log = ["lease", "console", lease, "--log", "--since", "1h"];
        self.by("vision", &log).await.good().stdout
    }

    /// A lease of the project `vision`, once it is in this state.
    async fn until_lease(&self, name: &str, state: &str, seconds: u64) -> Value {
        let began = std::time::Instant::now();
        loop {
            let lease = self.ask_by("vision", &["lease", "show", name]).await;
            if lease["state"] == state {
                return lease;
            }
            assert!(
                began.elapsed().as_secs() < seconds,
                "{name} is not {state} in {seconds} s: {lease:#}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
    }
}

/// Real firmware boots a kernel and its initrd from the medium, which write to the drive and say so;
/// then iPXE runs a script that fetches the same from a web server.
#[tokio::test]
async fn real_firmware_runs_a_tenants_installer() {
    let title = "an installer in QEMU";
    let Some((site, _)) = Site::of_emulated(title, 1, 2).await else {
        return;
    };
    let ramdisk = crate::support::given("BILLET_RAMDISK", title).expect("as before");
    let unpacked = ramdisk.with_file_name("kernel").join("unpacked");
    let kernels = std::fs::read_dir(unpacked.join("boot")).expect("the ramdisk's kernel");
    let linux = kernels
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| text(path).contains("/vmlinuz-"))
        .expect("a kernel");
    let initrd = site.home.path("initrd.gz");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/installer");
    let made = Command::new(fixture).args([&unpacked, &initrd]).output();
    let made = made.await.expect("bash runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let files = vec![
        ("/linux", std::fs::read(&linux).expect("a kernel")),
        ("/initrd.gz", std::fs::read(&initrd).expect("an initrd")),
    ];
    let port = serve_and_relay(files, site.server_url().to_owned()).await;
    let told = format!(
        "console=ttyS0 no_timer_check drive=${{billet-drive}} addr=${{billet-ip}} \
         mask=${{billet-netmask}} by=http://10.88.0.1:{port} billet-url=${{billet-url}}"
    );
    let line = format!("host=${{billet-hostname}} {told}");
    let add = ["image", "add", "ours", "--kernel", text(&linux), "--initrd"];
    let within = ["--installs-within", "4m"];
    let add = [&add[..], &["initrd.gz", "--command-line", &line], &within].concat();
    let (added, ()) = tokio::join!(site.op(&add), site.take_over());
    added.good();
    site.project("vision").await;
    site.note("taken over");

    let machine_type = site.machine_type();
    let create = create("first", "ours", &machine_type);
    let with = ["--kernel-args", "mine=1"];
    site.by("vision", &[&create[..], &with].concat())
        .await
        .good();
    let lease = site.ask_by("vision", &["lease", "show", "first"]).await;
    assert_eq!(lease["state"], "active", "{lease:#}");
    assert_eq!(lease["active_because"], "installer_reported", "{lease:#}");
    let head = site.installed("first").expect("on a drive");
    assert!(head.contains(KEY), "its keys are there: {head}");
    let log = site.console_log("first").await;
    assert!(log.contains(" mine=1"), "{log}");
    assert_eq!(log.matches("installer: runs for first").count(), 1, "{log}");
    site.note("a kernel and its initrd have installed it");

    // The same by iPXE, which the server finds beside the ramdisk.
    if !ramdisk.with_file_name("ipxe.efi").is_file() {
        site.note("skipped: a script: there is no ipxe.efi beside BILLET_RAMDISK");
        return site.end().await;
    }
    let script = format!(
        "#!ipxe\necho script: ${{billet-hostname}}\n\
         kernel http://10.88.0.1:{port}/linux initrd=initrd.gz host=by-script {told}\n\
         initrd http://10.88.0.1:{port}/initrd.gz\nboot\n"
    );
    site.home.write("install.ipxe", script);
    let add = ["image", "add", "net", "--ipxe", "install.ipxe"];
    site.op(&[&add[..], &within].concat()).await.good();
    let reinstall = ["lease", "reinstall", "first", "--image", "net"];
    let reinstall = [&reinstall[..], &["--keep-data-drives", "--yes"]].concat();
    site.by("vision", &reinstall).await.good();
    let lease = site.ask_by("vision", &["lease", "show", "first"]).await;
    assert_eq!(lease["active_because"], "installer_reported", "{lease:#}");
    assert_eq!(lease["install"]["kind"], "ipxe");
    assert!(site.installed("by-script").is_some(), "on a drive");
    assert!(site.installed("first").is_none(), "and not what was there");
    site.note("an iPXE script has installed it");
    site.end().await;
}

/// The beginning of the file behind a drive, as text.
fn head_of(drive: &Path) -> String {
    let mut head = vec![0; 4096];
    let mut file = std::fs::File::open(drive).expect("the drive's file");
    std::io::Read::read_exact(&mut file, &mut head).expect("read");
    let text = String::from_utf8_lossy(&head).into_owned();
    text.trim_end_matches('\0').to_owned()
}

/// A web server for machines, on the host's loopback, which hands on to the control plane what
/// installers call there; its port.
async fn serve_and_relay(files: Vec<(&'static str, Vec<u8>)>, server: String) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let files = std::sync::Arc::new(files);
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .build()
        .expect("a client");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (files, client, server) = (files.clone(), client.clone(), server.clone());
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).await.unwrap_or(0);
                let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
                let path = asked.split(' ').nth(1).unwrap_or_default();
                let found = files.iter().find(|(name, _)| *name == path);
                let (status, body) = match found {
                    Some((_, body)) => ("200 OK", body.clone()),
                    None if path.starts_with("/install/v1/") => {
                        let asked = client.get(format!("{server}{path}")).send().await;
                        match asked.and_then(|answer| answer.error_for_status()) {
                            Ok(answer) => {
                                ("200 OK", answer.bytes().await.unwrap_or_default().to_vec())
                            }
                            Err(_) => ("502 Bad Gateway", Vec::new()),
                        }
                    }
                    None => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                if !asked.starts_with("HEAD ") {
                    let _ = stream.write_all(&body).await;
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}
