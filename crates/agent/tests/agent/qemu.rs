//! The agent as init of a QEMU machine: inspect, test, write, erase, a power
//! cycle, read back, clear the TPM. Real kernel, real drives, emulated silicon.
//!
//! And as it makes way for another kernel: its own in a trial, then a tenant's.
//!
//! Takes minutes without KVM and needs a ramdisk, so it runs when asked to:
//! `BILLET_TEST_QEMU=1 BILLET_TEST_UKI=ramdisk.efi`, and with
//! `BILLET_TEST_AGENT=billet-agent` another static agent than the ramdisk's own.

#![allow(clippy::print_stderr, reason = "says why it is skipped")]

use crate::plane;

use std::{
    fs,
    io::{Cursor, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::plane::Plane;
use billet_model::{
    BootId, LeaseId, Secret, TaskId,
    image::BootKind,
    inventory::Emulation,
    secret::Handed,
    work::{
        DriveRef, EraseMethod, EraseOrder, PrepareOrder, Seed, StartOrder, Task, TpmClear,
        TrialOrder, Verdict, VerifyOrder, Work, WorkFailure, WorkOutcome, WriteOrder,
    },
};
use object::{Object, ObjectSection};

const DRIVE_BYTES: u64 = 192 << 20;
const IMAGE_BYTES: usize = 48 << 20;
const MEMORY_BYTES: u64 = 512 << 20;
const TIMEOUT: Duration = Duration::from_secs(400);

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Machine {
    dir: tempfile::TempDir,
    plane: Plane,
}

impl Machine {
    /// Kernel and initramfs out of the UKI, the boot record and another init
    /// appended: the kernel unpacks archives one after the other.
    fn new(uki: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bytes = fs::read(uki).expect("the UKI");
        let file = object::File::parse(&*bytes).expect("a PE file");
        let section = |name: &str| {
            let section = file.section_by_name(name).expect("the section");
            let data = section.data().expect("its data");
            // The file's alignment pads sections, the stated size does not.
            let size = (section.size() as usize).min(data.len());
            data[..size].to_vec()
        };
        let plane = Plane::start();
        fs::write(dir.path().join("vmlinuz"), section(".linux")).expect("written");
        let mut initramfs = section(".initrd");
        initramfs.resize(initramfs.len().next_multiple_of(512), 0);
        initramfs.extend(archive(&plane));
        fs::write(dir.path().join("initrd"), initramfs).expect("written");
        for drive in ["d0.img", "d1.img"] {
            let file = fs::File::create(dir.path().join(drive)).expect("created");
            file.set_len(DRIVE_BYTES).expect("sized");
        }
        fs::create_dir(dir.path().join("tpm")).expect("made");
        Self { dir, plane }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Boots, gives these tasks, and waits until the machine turned itself off.
    fn boot(&self, works: Vec<Work>) -> Vec<WorkOutcome> {
        let ids = self.give(works);
        self.plane.with(|f| f.forget_when_done = true);
        let _tpm = self.swtpm();
        let mut qemu = Ended(self.qemu());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = qemu.0.try_wait().expect("waited") {
                break status;
            }
            assert!(began.elapsed() < TIMEOUT, "still on:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(200));
        };
        let console = self.console();
        assert!(status.success(), "{status}:\n{console}");
        assert!(
            !console.contains(plane::TOKEN),
            "the token is on the console"
        );
        self.outcomes(&ids)
    }

    /// Makes tasks of this work, and gives them to who asks.
    fn give(&self, works: Vec<Work>) -> Vec<TaskId> {
        let tasks: Vec<Task> = (1u8..)
            .zip(works)
            .map(|(n, work)| Task {
                id: TaskId::from_parts(u64::from(n), [n; 10]),
                epoch: 1,
                work,
                addresses: vec![],
            })
            .collect();
        let ids = tasks.iter().map(|t| t.id).collect();
        self.plane.with(|f| {
            f.outcomes.clear();
            f.progress.clear();
            f.tasks = tasks;
        });
        ids
    }

    fn outcomes(&self, ids: &[TaskId]) -> Vec<WorkOutcome> {
        self.plane.with(|f| {
            ids.iter()
                .map(|id| {
                    f.outcomes
                        .get(id)
                        .cloned()
                        .unwrap_or_else(|| panic!("no outcome:\n{}", self.console()))
                })
                .collect()
        })
    }

    /// What the serial port said.
    fn console(&self) -> String {
        let bytes = fs::read(self.path("serial")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for these words on the serial port; returns the rest of their line.
    fn until(&self, qemu: &mut Ended, words: &str) -> String {
        let began = Instant::now();
        loop {
            let console = self.console();
            if let Some((_, rest)) = console.split_once(words)
                && let Some((line, _)) = rest.split_once('\n')
            {
                return line.trim().to_owned();
            }
            let ended = qemu.0.try_wait().expect("waited");
            assert!(
                ended.is_none() && began.elapsed() < TIMEOUT,
                "no {words:?}, {ended:?}:\n{console}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Puts all of the machine's memory, as it is now, into a file; which.
    fn memory(&self) -> PathBuf {
        let mut monitor = UnixStream::connect(self.path("monitor")).expect("the monitor");
        let image = self.path("memory");
        let prompt = |monitor: &mut UnixStream| {
            let mut said = Vec::new();
            let mut byte = [0];
            while !said.ends_with(b"(qemu) ") {
                monitor.read_exact(&mut byte).expect("the monitor's word");
                said.push(byte[0]);
            }
        };
        prompt(&mut monitor);
        writeln!(monitor, "pmemsave 0 {MEMORY_BYTES} \"{}\"", image.display()).expect("asked");
        prompt(&mut monitor);
        let written = fs::metadata(&image).expect("the memory").len();
        assert_eq!(written, MEMORY_BYTES);
        image
    }

    fn swtpm(&self) -> Ended {
        let socket = self.path("tpm/sock");
        drop(fs::remove_file(&socket));
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.path("tpm").display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm");
        let began = Instant::now();
        while !socket.exists() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ended(child)
    }

    fn qemu(&self) -> Child {
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-machine",
            "q35,graphics=off",
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "2,sockets=2",
            "-m",
            "512",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-object",
            "memory-backend-ram,id=m0,size=256M",
            "-object",
            "memory-backend-ram,id=m1,size=256M",
            "-numa",
            "node,nodeid=0,cpus=0,memdev=m0",
            "-numa",
            "node,nodeid=1,cpus=1,memdev=m1",
            "-smbios",
            "type=1,manufacturer=Billet Lab,product=Emulated Server,serial=SER-1",
            "-append",
            "console=ttyS0,115200n8 panic=10 loglevel=4 no_timer_check init_on_free=1",
            "-netdev",
            "user,id=n0",
            "-device",
            "virtio-net-pci,netdev=n0,romfile=",
            "-device",
            "bochs-display",
            "-device",
            "virtio-rng-pci",
            "-tpmdev",
            "emulator,id=t,chardev=c",
            "-device",
            "tpm-tis,tpmdev=t",
        ]);
        for (n, drive) in ["d0", "d1"].into_iter().enumerate() {
            let file = self.path(&format!("{drive}.img"));
            command.arg("-drive").arg(format!(
                "file={},format=raw,if=none,id={drive},discard=unmap",
                file.display()
            ));
            command
                .arg("-device")
                .arg(format!("nvme,drive={drive},serial=DRIVE-{n}"));
        }
        command
            .arg("-monitor")
            .arg(format!(
                "unix:{},server=on,wait=off",
                self.path("monitor").display()
            ))
            .arg("-chardev")
            .arg(format!(
                "socket,id=c,path={}",
                self.path("tpm/sock").display()
            ))
            .arg("-serial")
            .arg(format!("file:{}", self.path("serial").display()))
            .arg("-kernel")
            .arg(self.path("vmlinuz"))
            .arg("-initrd")
            .arg(self.path("initrd"))
            .spawn()
            .expect("qemu")
    }
}

/// An archive with the boot record, and another init where one is named.
fn archive(plane: &Plane) -> Vec<u8> {
    let mut files: Vec<(&str, u32, Vec<u8>)> = vec![
        (".extra", 0o040_700, vec![]),
        (".extra/credentials", 0o040_700, vec![]),
        (
            ".extra/credentials/billet-boot.cred",
            0o100_400,
            plane.record("10.0.2.2").to_json(),
        ),
    ];
    if let Some(agent) = std::env::var_os("BILLET_TEST_AGENT") {
        files.push(("init", 0o100_755, fs::read(agent).expect("the agent")));
    }
    packed(files)
}

fn packed(files: Vec<(&str, u32, Vec<u8>)>) -> Vec<u8> {
    let inputs = files
        .into_iter()
        .zip(1u32..)
        .map(|((name, mode, data), inode)| {
            let builder = cpio::newc::Builder::new(name)
                .mode(mode)
                .ino(inode)
                .nlink(1);
            (builder, Cursor::new(data))
        });
    cpio::write_cpio(inputs, Vec::new()).expect("an archive")
}

/// What an image's boot entry gives its kernel.
const CMDLINE: &str = "console=ttyS0,115200n8 no_timer_check root=LABEL=root";

/// A disk with an EFI system partition that has a boot entry and these files, and
/// a root partition full of noise.
fn image(files: &[(&str, &[u8])]) -> Vec<u8> {
    let disk = Cursor::new(vec![0; IMAGE_BYTES]);
    let mut disk = {
        let config = gpt::GptConfig::new().writable(true);
        let mut table = config.create_from_device(disk, None).expect("a table");
        table
            .add_partition("esp", 16 << 20, gpt::partition_types::EFI, 0, Some(2048))
            .expect("an ESP");
        table
            .add_partition(
                "root",
                24 << 20,
                gpt::partition_types::LINUX_FS,
                0,
                Some(2048),
            )
            .expect("a root");
        table.write().expect("written").into_inner()
    };
    let mbr = gpt::mbr::ProtectiveMBR::with_lb_size((IMAGE_BYTES / 512 - 1) as u32);
    disk[..512].copy_from_slice(&mbr.to_bytes());
    let mut esp = vec![0; 16 << 20];
    fatfs::format_volume(Cursor::new(&mut esp[..]), fatfs::FormatVolumeOptions::new())
        .expect("formatted");
    {
        let fs = fatfs::FileSystem::new(Cursor::new(&mut esp[..]), fatfs::FsOptions::new())
            .expect("a file system");
        let root = fs.root_dir();
        let loader = root.create_dir("loader").expect("made");
        let entries = loader.create_dir("entries").expect("made");
        let mut file = entries.create_file("linux.conf").expect("made");
        let entry = format!("title Linux\nlinux /linux\ninitrd /initrd\noptions {CMDLINE}\n");
        file.write_all(entry.as_bytes()).expect("written");
        for (path, bytes) in files {
            let mut directory = root.clone();
            let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
            for parent in parents.split('/').filter(|p| !p.is_empty()) {
                directory = directory.create_dir(parent).expect("made");
            }
            let mut file = directory.create_file(name).expect("made");
            file.write_all(bytes).expect("written");
        }
    }
    disk[1 << 20..17 << 20].copy_from_slice(&esp);
    for (n, byte) in disk[17 << 20..41 << 20].iter_mut().enumerate() {
        *byte = ((n as u32).wrapping_mul(2_654_435_761) >> 24) as u8 | 1;
    }
    disk
}

fn drive(n: u32) -> DriveRef {
    DriveRef {
        serial: format!("DRIVE-{n}"),
        wwn: None,
    }
}

fn data_bytes(path: &Path) -> usize {
    let bytes = fs::read(path).expect("the drive's file");
    bytes.iter().filter(|b| **b != 0).count()
}

/// The ramdisk to test with, named by one of these; a line says why there is none.
fn ramdisk(names: &[&str]) -> Option<PathBuf> {
    if std::env::var("BILLET_TEST_QEMU").as_deref() != Ok("1") {
        eprintln!("skipped: BILLET_TEST_QEMU=1 is not set");
        return None;
    }
    let uki = names.iter().find_map(std::env::var_os);
    if uki.is_none() {
        eprintln!("skipped: {} does not name a ramdisk", names.join(" or "));
    }
    uki.map(PathBuf::from)
}

#[test]
fn a_machine_is_inspected_written_erased_and_read_back() {
    // Only by name: the end-to-end tests go through this too.
    let Some(uki) = ramdisk(&["BILLET_TEST_UKI"]) else {
        return;
    };
    let machine = Machine::new(&uki);
    let image = machine.plane.add_image(&image(&[]), BootKind::Bls, Some(2));
    machine.plane.with(|f| {
        f.unavailable = 2;
        f.break_blob = 2;
        f.lose_acknowledgement = 1;
    });

    let write = Work::Write(WriteOrder {
        lease: LeaseId::from_parts(0, [0; 10]),
        image,
        arrays: Vec::new(),
        mirror: Vec::new(),
        drive: drive(0),
        kernel_args: vec!["iommu=pt".into()],
        seed: Some(Seed {
            meta_data: "instance-id: i-1\n".into(),
            user_data: "#cloud-config\n".into(),
            vendor_data: String::new(),
            network_config: "version: 2\n".into(),
        }),
        prepared: false,
    });
    let mut outcomes = machine.boot(vec![Work::Inspect, Work::Test { may_write: false }, write]);
    let Some(WorkOutcome::Written(report)) = outcomes.pop() else {
        panic!("not written: {outcomes:?}");
    };
    assert_eq!(report.verified_bytes, IMAGE_BYTES as u64);
    assert_eq!(report.resumed, 2);
    assert!(report.root_bytes > Some(100 << 20), "{report:?}");
    assert_eq!(
        report.kernel_args.as_deref(),
        Some("boot loader entries linux.conf")
    );
    let Some(WorkOutcome::Tested { results }) = outcomes.pop() else {
        panic!("not tested: {outcomes:?}");
    };
    assert!(
        results.iter().all(|r| r.verdict != Verdict::Failed),
        "{results:?}"
    );
    assert!(
        results
            .iter()
            .any(|r| r.test == "patterns" && r.verdict == Verdict::Passed)
    );
    let Some(WorkOutcome::Inspected { inventory }) = outcomes.pop() else {
        panic!("not inspected: {outcomes:?}");
    };
    assert_eq!(inventory.emulation(), Emulation::Emulated);
    assert_eq!(inventory.system.serial.as_deref(), Some("SER-1"));
    assert_eq!((inventory.drives.len(), inventory.numa.len()), (2, 2));
    assert!(
        inventory
            .drives
            .iter()
            .all(|d| d.erase.format_user && !d.erase.format_crypto)
    );
    assert!(inventory.gpus.len() == 1 && inventory.gpus[0].stand_in);
    assert_eq!(
        inventory.tpm.as_ref().map(|t| t.version.as_str()),
        Some("2.0")
    );
    assert_eq!(inventory.hypervisor, Some(true));

    // What a tenant leaves on the other drive.
    assert!(data_bytes(&machine.path("d0.img")) > 24 << 20);
    fs::write(machine.path("d1.img"), vec![0xA5; DRIVE_BYTES as usize]).expect("written");
    let erase = Work::Erase(EraseOrder {
        drives: vec![drive(0), drive(1)],
        canaries: 16,
    });
    let mut outcomes = machine.boot(vec![erase]);
    let Some(WorkOutcome::Erased { drives, unordered }) = outcomes.pop() else {
        panic!("not erased: {outcomes:?}");
    };
    assert!(unordered.is_empty());
    for erased in &drives {
        assert_eq!(erased.method, Some(EraseMethod::FormatUser), "{erased:?}");
        assert_eq!((erased.bytes, erased.canaries.len()), (DRIVE_BYTES, 16));
    }
    for file in ["d0.img", "d1.img"] {
        assert_eq!(data_bytes(&machine.path(file)), 0, "{file} holds data");
    }

    let verify = Work::Verify(VerifyOrder {
        erased: drives,
        samples: 256,
        clear_tpm: true,
    });
    let mut outcomes = machine.boot(vec![verify, Work::Test { may_write: true }]);
    let Some(WorkOutcome::Tested { results }) = outcomes.pop() else {
        panic!("not tested: {outcomes:?}");
    };
    let written = results.iter().filter(|r| r.test == "write");
    assert!(written.clone().count() == 2 && written.clone().all(|r| r.verdict == Verdict::Passed));
    let Some(WorkOutcome::Verified { drives, tpm }) = outcomes.pop() else {
        panic!("not verified: {outcomes:?}");
    };
    for seen in drives {
        assert_eq!(
            (seen.canaries_read, seen.canaries_found),
            (16, 0),
            "{seen:?}"
        );
        assert_eq!(
            (seen.samples_read, seen.samples_with_data),
            (256, 0),
            "{seen:?}"
        );
        assert_eq!(seen.failure, None);
    }
    assert!(matches!(tpm, TpmClear::Cleared { .. }), "{tpm:?}");
    for file in ["d0.img", "d1.img"] {
        assert_eq!(data_bytes(&machine.path(file)), 0, "{file} holds data");
    }
}

/// What a tenant's system does in this test: it tells what it was started with.
const TENANT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
read up rest < /proc/uptime
echo "TENANT-UP $up $(/bin/busybox cat /proc/cmdline)"
exec /bin/busybox sleep 3600
"#;

/// A tenant's image: systemd-boot's mark, and a kernel with an initrd of its own.
fn tenant(uki: &Path, kernel: &[u8]) -> Vec<u8> {
    let busybox = uki.with_file_name("kernel/unpacked/bin/busybox");
    let busybox = fs::read(busybox).expect("busybox, which a ramdisk is built with");
    let mut files: Vec<(&str, u32, Vec<u8>)> = ["dev", "proc", "bin"]
        .into_iter()
        .map(|directory| (directory, 0o040_755, vec![]))
        .collect();
    files.push(("bin/busybox", 0o100_755, busybox));
    files.push(("init", 0o100_755, TENANT.into()));
    let initrd = packed(files);
    image(&[
        (
            "EFI/BOOT/BOOTX64.EFI",
            b"MZ #### LoaderInfo: systemd-boot 252 ####",
        ),
        ("linux", kernel),
        ("initrd", &initrd),
    ])
}

/// Whether a file holds these bytes.
fn found(file: &Path, what: &str) -> bool {
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["-aqF", what]).arg(file);
    match grep.status().expect("grep runs").code() {
        Some(0) => true,
        Some(1) => false,
        code => panic!("grep: {code:?}"),
    }
}

/// The ramdisk tries kexec on itself, then prepares an image, finishes it, and
/// starts the kernel that it boots. The firmware has no part in either: QEMU ends
/// at a reset.
#[test]
fn a_trial_passes_and_a_prepared_image_is_started_with_nothing_left_in_memory() {
    let names = ["BILLET_TEST_UKI", "BILLET_RAMDISK"];
    let Some(uki) = ramdisk(&names) else { return };
    let machine = Machine::new(&uki);
    let kernel = fs::read(machine.path("vmlinuz")).expect("the kernel");
    let disk = tenant(&uki, &kernel);
    let image = machine.plane.add_image(&disk, BootKind::Bls, Some(2));
    let lease = LeaseId::from_parts(0, [0; 10]);
    let trial = |token: Option<&str>| {
        Work::Trial(TrialOrder {
            next: BootId::from_parts(1, [1; 10]),
            token: token.map(|t| Handed(Secret::new(t))),
        })
    };
    let start = |n| {
        Work::Start(StartOrder {
            lease,
            drive: drive(n),
        })
    };
    let write = |n| {
        Work::Write(WriteOrder {
            lease,
            image: image.clone(),
            drive: drive(n),
            mirror: Vec::new(),
            arrays: Vec::new(),
            kernel_args: vec!["billet.tenant=1".into()],
            seed: None,
            prepared: true,
        })
    };
    let prepare = Work::Prepare(PrepareOrder {
        image: image.clone(),
        drive: drive(0),
    });
    let ids = machine.give(vec![
        trial(None),
        trial(Some(plane::NEXT)),
        start(1),
        write(1),
        prepare,
        write(0),
        start(0),
    ]);
    machine.plane.with(|f| {
        f.ramdisk = fs::read(&uki).expect("the ramdisk");
        f.trial = Some(ids[1]);
        f.lose_acknowledgement = 1;
    });
    let _tpm = machine.swtpm();
    let mut qemu = Ended(machine.qemu());

    machine.until(&mut qemu, "preparing an image");
    let memory = machine.memory();
    assert!(
        found(&memory, plane::NEXT),
        "the agent at work has its token in memory"
    );
    let up = machine.until(&mut qemu, "TENANT-UP ");
    let memory = machine.memory();
    for secret in [plane::TOKEN, plane::NEXT] {
        assert!(!found(&memory, secret), "{secret:?} is still in memory");
        assert!(!machine.console().contains(secret), "on the console");
    }
    drop(qemu);

    let (uptime, cmdline) = up.split_once(' ').expect("two words");
    assert_eq!(cmdline, format!("{CMDLINE} billet.tenant=1"));
    assert!(uptime.parse::<f64>().expect("seconds") < 60.0, "{uptime}");
    let console = machine.console();
    assert!(!console.contains("could not be"), "{console}");

    let outcomes = machine.outcomes(&ids);
    let failed = |outcome: &WorkOutcome, kind: WorkFailure, part: &str| {
        let WorkOutcome::Failed { kind: k, detail } = outcome else {
            panic!("it did not fail: {outcome:?}");
        };
        assert_eq!(*k, kind, "{detail}");
        assert!(detail.contains(part), "{detail}");
    };
    failed(&outcomes[0], WorkFailure::Kexec, "no token");
    failed(&outcomes[2], WorkFailure::Kexec, "no boot loader");
    failed(&outcomes[3], WorkFailure::Other, "nothing was prepared");
    let hellos = machine.plane.with(|f| f.hellos.clone());
    assert_eq!(hellos.len(), 2, "{hellos:?}");
    assert_ne!(hellos[0].kernel_boot_id, hellos[1].kernel_boot_id);
    let WorkOutcome::Prepared(prepared) = &outcomes[4] else {
        panic!("not prepared: {:?}", outcomes[4]);
    };
    assert_eq!(prepared.verified_bytes, IMAGE_BYTES as u64);
    assert_eq!(prepared.changes, []);
    let WorkOutcome::Written(report) = &outcomes[5] else {
        panic!("not written: {:?}", outcomes[5]);
    };
    assert_eq!(report.measured, prepared.measured);
    assert!(report.root_bytes > Some(100 << 20), "{report:?}");
    let (WorkOutcome::Starting(of_trial), WorkOutcome::Starting(started)) =
        (&outcomes[1], &outcomes[6])
    else {
        panic!("not started: {outcomes:?}");
    };
    assert!(of_trial.cmdline.contains("init_on_free=1"), "{of_trial:?}");
    assert_eq!(started.kernel, "/dev/nvme0n1 partition 1: /linux");
    assert_eq!(
        started.initrd.as_deref(),
        Some("/dev/nvme0n1 partition 1: /initrd")
    );
    assert_eq!(started.cmdline, cmdline);
    let digest = plane::sha256(&kernel);
    for part in [
        digest.as_str(),
        "drives (PCI functions): 3 unbound",
        "zeroed by the kernel",
        "\"Linux\"",
    ] {
        let said = started.done.iter().any(|d| d.contains(part));
        assert!(said, "no {part:?}: {started:?}");
    }
}
