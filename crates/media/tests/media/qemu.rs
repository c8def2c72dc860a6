//! What is made here boots: under real firmware, in QEMU. Runs with BILLET_TEST_QEMU=1.
//!
//! Wants QEMU, OVMF, systemd-boot-efi, mmdebstrap, an SSH client and the
//! distribution's package archive. Takes some minutes without KVM.

#![allow(clippy::print_stdout)] // Tests say that they are skipped, and how long a boot took.

use std::fs::{self, File};
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{MIB, sh};
use billet_media::boot_media::BootMediaTemplate;
use billet_media::build::{BuildOptions, build};
use billet_media::image::{ImageReader, ImportOptions, import};
use billet_media::progress::Progress;
use billet_media::ramdisk::{
    CMDLINE, DEFAULT_STUB, KernelPackage, RamdiskOptions, SIZE_LIMIT, build_ramdisk, sections,
};
use billet_model::Secret;
use billet_model::image::BootKind;
use billet_protocol::boot::BootRecord;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

/// Says plainly when a test is skipped.
fn wanted(test: &str) -> bool {
    let wanted = std::env::var_os("BILLET_TEST_QEMU").is_some_and(|value| value == "1");
    if !wanted {
        println!("SKIPPED {test}: set BILLET_TEST_QEMU=1 to boot machines in QEMU");
    }
    wanted
}

fn quiet(_: Progress) {}

/// A machine with UEFI firmware; gone when dropped.
struct Machine {
    child: Child,
    serial: PathBuf,
    started: Instant,
}

impl Machine {
    fn start(dir: &Path, arguments: &[String]) -> Self {
        let vars = dir.join("vars.fd");
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &vars).unwrap();
        let serial = dir.join("serial.log");
        let child = Command::new("qemu-system-x86_64")
            .args(["-machine", "q35,graphics=off", "-accel", "tcg,thread=multi"])
            .args([
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
                "-m",
                "2048",
                "-smp",
                "2",
            ])
            .args([
                "-drive",
                "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
            ])
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,file={}", vars.display()))
            .arg("-serial")
            .arg(format!("file:{}", serial.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            serial,
            started: Instant::now(),
        }
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.serial).unwrap_or_default()).into_owned()
    }

    /// Asks again and again until there is an answer.
    fn until<T>(&mut self, what: &str, limit: u64, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        while self.started.elapsed() < Duration::from_secs(limit) {
            if let Some(answer) = ask(self) {
                println!("{what} after {:.1} s", self.started.elapsed().as_secs_f32());
                return answer;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("no {what}: QEMU ended with {status}\n{}", self.console());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        panic!("no {what} within {limit} s\n{}", self.console());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A static init that tells what it finds, in place of the agent.
fn init(dir: &Path) -> PathBuf {
    let source = dir.join("init.rs");
    fs::write(
        &source,
        r#"
        use std::fs::read_to_string;
        fn main() {
            let read = |path: &str| read_to_string(path).unwrap_or_else(|e| e.to_string());
            let order = read("/modules/order");
            let present = order.lines().filter(|line| {
                std::fs::metadata(line.split(' ').nth(1).unwrap()).is_ok()
            }).count();
            println!("MODULES {present} of {}", order.lines().count());
            println!("RAMDISK {}", read("/etc/billet-ramdisk"));
            println!("RECORD {} END", read("/.extra/credentials/billet-boot.cred"));
            loop { std::thread::park() }
        }
        "#,
    )
    .unwrap();
    let program = dir.join("init");
    sh(Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ])
        .arg(&program)
        .arg(&source));
    program
}

#[test]
fn the_ramdisk_boots_from_a_virtual_cd_and_has_its_record() {
    if !wanted("the ramdisk's boot") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let kernels = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernel");
    let options = RamdiskOptions {
        agent: init(dir.path()),
        kernel: KernelPackage::fetch(&kernels, &mut quiet).unwrap(),
        stub: DEFAULT_STUB.into(),
        output: dir.path().join("ramdisk.efi"),
        signing: None,
    };
    let built = build_ramdisk(&options, &mut quiet).unwrap();
    assert!(built.kernel_size + built.initramfs_size <= SIZE_LIMIT);
    let again = build_ramdisk(&options, &mut quiet).unwrap();
    assert_eq!(built.digest, again.digest, "bit for bit the same");
    let uki = fs::read(&built.uki_path).unwrap();
    let cmdline = sections(&uki)
        .unwrap()
        .into_iter()
        .find(|(name, _)| name == ".cmdline");
    assert_eq!(cmdline.unwrap().1, CMDLINE.as_bytes());

    let record = BootRecord {
        servers: vec!["https://10.0.2.2:8443".to_owned()],
        authority: String::new(),
        token: Secret::new("t0ken"),
        addresses: vec![],
        made_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let iso = dir.path().join("boot.iso");
    BootMediaTemplate::create(&built.uki_path, &dir.path().join("template"))
        .unwrap()
        .for_record(&record)
        .unwrap()
        .write_to(&mut File::create(&iso).unwrap())
        .unwrap();
    let mut machine = Machine::start(
        dir.path(),
        &[
            "-drive".to_owned(),
            format!(
                "if=none,id=cd,format=raw,readonly=on,file={}",
                iso.display()
            ),
            "-device".to_owned(),
            "ide-cd,drive=cd".to_owned(),
        ],
    );
    let said = machine.until("the record", 180, |machine| {
        let console = machine.console();
        let from = console.find("MODULES ")?;
        console.contains(" END").then(|| console[from..].to_owned())
    });
    let json = String::from_utf8(record.to_json()).unwrap();
    assert!(said.contains(&format!("RECORD {json} END")), "{said}");
    assert!(said.contains(&built.kernel_release), "{said}");
    let counts: Vec<&str> = said.lines().next().unwrap().split_whitespace().collect();
    assert!(counts[1] == counts[3] && counts[1] != "0", "{said}");
}

/// A drive with a NoCloud seed.
fn seed(dir: &Path, key: &str) -> PathBuf {
    let mut image = vec![0; 4 * MIB];
    fatfs::format_volume(
        Cursor::new(&mut image[..]),
        FormatVolumeOptions::new().volume_label(*b"CIDATA     "),
    )
    .unwrap();
    let volume = FileSystem::new(Cursor::new(&mut image[..]), FsOptions::new()).unwrap();
    for (name, content) in [
        ("meta-data", "instance-id: i-1\nlocal-hostname: tenant\n".to_owned()),
        ("user-data", format!("#cloud-config\nssh_authorized_keys: ['{key}']\n")),
        (
            "network-config",
            "version: 2\nethernets:\n  lan:\n    match: {macaddress: '52:54:00:12:34:56'}\n    addresses: [10.0.2.15/24]\n    gateway4: 10.0.2.2\n"
                .to_owned(),
        ),
    ] {
        let mut file = volume.root_dir().create_file(name).unwrap();
        file.write_all(content.as_bytes()).unwrap();
    }
    volume.unmount().unwrap();
    let path = dir.join("seed.img");
    fs::write(&path, image).unwrap();
    path
}

#[test]
fn the_built_image_boots_grows_and_lets_its_tenant_in() {
    if !wanted("the built image's boot") {
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let raw = dir.path().join("debian.raw");
    build(
        &BuildOptions {
            name: "debian-12".to_owned(),
            output: raw.clone(),
            size: None,
            mirror: None,
        },
        &mut quiet,
    )
    .unwrap();
    let imported = import(
        File::open(&raw).unwrap(),
        &ImportOptions {
            checksum: None,
            max_virtual_size: 1 << 40,
            expected_bytes: None,
            dir: dir.path().to_owned(),
        },
        &mut quiet,
    )
    .unwrap();
    assert_eq!(imported.facts.boot, BootKind::Bls);
    assert_eq!(imported.facts.cloud_init, Some(true));
    assert_eq!(imported.facts.root_partition, Some(2));
    assert!(imported.facts.system.unwrap().contains("Debian"));

    // What boots is what was stored, not what was built.
    let drive = dir.path().join("drive.raw");
    ImageReader::open(dir.path(), &imported.content.digest)
        .unwrap()
        .export(&drive, &mut quiet)
        .unwrap();
    File::options()
        .write(true)
        .open(&drive)
        .unwrap()
        .set_len(6 << 30)
        .unwrap();
    let key = dir.path().join("key");
    sh(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key));
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let seed = seed(dir.path(), public.trim());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut machine = Machine::start(
        dir.path(),
        &[
            "-drive".to_owned(),
            format!("if=none,id=d,format=raw,file={}", drive.display()),
            "-device".to_owned(),
            "nvme,drive=d,serial=S1".to_owned(),
            "-drive".to_owned(),
            format!(
                "if=none,id=s,format=raw,readonly=on,file={}",
                seed.display()
            ),
            "-device".to_owned(),
            "virtio-blk-pci,drive=s".to_owned(),
            "-netdev".to_owned(),
            format!("user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22"),
            "-device".to_owned(),
            "e1000e,netdev=n,romfile=,mac=52:54:00:12:34:56".to_owned(),
        ],
    );
    let ssh = |command: &str| {
        let output = Command::new("ssh")
            .arg("-i")
            .arg(&key)
            .args(["-p", &port.to_string(), "-o", "StrictHostKeyChecking=no"])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "ConnectTimeout=20",
            ])
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "LogLevel=ERROR",
                "root@127.0.0.1",
                command,
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    machine.until("SSH", 600, |_| ssh("true"));
    machine.until("the end of cloud-init", 900, |_| {
        ssh("test -e /var/lib/cloud/instance/boot-finished")
    });
    let hostname = ssh("hostname").unwrap();
    assert_eq!(hostname.trim(), "tenant");
    let cmdline = ssh("cat /proc/cmdline").unwrap();
    assert!(cmdline.contains("console=ttyS0"), "{cmdline}");
    let kib: u64 = ssh("df --output=size / | tail -1")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(
        kib > 5_000_000,
        "the root file system has {kib} KiB of 6 GiB"
    );
    let failed = ssh("systemctl --failed --no-legend").unwrap();
    assert_eq!(failed.trim(), "");
}
