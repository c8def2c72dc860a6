//! The agent as init of a QEMU machine: inspect, test, write, erase, a power
//! cycle, read back, clear the TPM. Real kernel, real drives, emulated silicon.
//!
//! Takes minutes without KVM and needs a ramdisk, so it runs when asked to:
//! `BILLET_TEST_QEMU=1 BILLET_TEST_UKI=ramdisk.efi`, and with
//! `BILLET_TEST_AGENT=billet-agent` another static agent than the ramdisk's own.

#![allow(clippy::print_stderr, reason = "says why it is skipped")]

mod plane;

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use billet_model::{
    LeaseId, TaskId,
    image::BootKind,
    inventory::Emulation,
    work::{
        DriveRef, EraseMethod, EraseOrder, Seed, Task, TpmClear, Verdict, VerifyOrder, Work,
        WorkOutcome, WriteOrder,
    },
};
use object::{Object, ObjectSection};
use plane::Plane;

const DRIVE_BYTES: u64 = 192 << 20;
const IMAGE_BYTES: usize = 48 << 20;
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
        let tasks: Vec<Task> = (1u8..)
            .zip(works)
            .map(|(n, work)| Task {
                id: TaskId::from_parts(u64::from(n), [n; 10]),
                epoch: 1,
                work,
                addresses: vec![],
            })
            .collect();
        let ids: Vec<TaskId> = tasks.iter().map(|t| t.id).collect();
        self.plane.with(|f| {
            f.outcomes.clear();
            f.progress.clear();
            f.tasks = tasks;
            f.forget_when_done = true;
        });
        let _tpm = self.swtpm();
        let mut qemu = Ended(self.qemu());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = qemu.0.try_wait().expect("waited") {
                break status;
            }
            let console = || fs::read_to_string(self.path("serial")).unwrap_or_default();
            assert!(began.elapsed() < TIMEOUT, "still on:\n{}", console());
            std::thread::sleep(Duration::from_millis(200));
        };
        let console = fs::read(self.path("serial")).expect("the console");
        let console = String::from_utf8_lossy(&console).into_owned();
        assert!(status.success(), "{status}:\n{console}");
        assert!(
            !console.contains(plane::TOKEN),
            "the token is on the console"
        );
        self.plane.with(|f| {
            ids.iter()
                .map(|id| {
                    f.outcomes
                        .get(id)
                        .cloned()
                        .unwrap_or_else(|| panic!("no outcome:\n{console}"))
                })
                .collect()
        })
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
            "console=ttyS0,115200n8 panic=10 loglevel=4 no_timer_check",
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

/// A disk with an EFI system partition that has a boot entry, and a root
/// partition full of noise.
fn image() -> Vec<u8> {
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
        file.write_all(b"title Linux\noptions root=LABEL=root\n")
            .expect("written");
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

#[test]
fn a_machine_is_inspected_written_erased_and_read_back() {
    if std::env::var("BILLET_TEST_QEMU").as_deref() != Ok("1") {
        eprintln!("skipped: BILLET_TEST_QEMU=1 is not set");
        return;
    }
    let Some(uki) = std::env::var_os("BILLET_TEST_UKI") else {
        eprintln!("skipped: BILLET_TEST_UKI does not name a ramdisk");
        return;
    };
    let machine = Machine::new(Path::new(&uki));
    let image = machine.plane.add_image(&image(), BootKind::Bls, Some(2));
    machine.plane.with(|f| {
        f.unavailable = 2;
        f.break_blob = 2;
        f.lose_acknowledgement = 1;
    });

    let write = Work::Write(WriteOrder {
        lease: LeaseId::from_parts(0, [0; 10]),
        image,
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
