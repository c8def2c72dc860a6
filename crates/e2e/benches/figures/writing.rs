//! Writing images to a block device as the agent does, beside `dd` with direct I/O of the same
//! bytes to the same device.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use billet_drives::{BlockDevice, ImageSource, SourceError, Stopped, Watch, write_image};
use billet_media::image::{ImportOptions, Imported, import};
use billet_model::{
    LeaseId,
    image::ImageManifest,
    inventory::{Drive, DriveKind},
    work::{DriveRef, Progress, WriteOrder},
};
use serde_json::Value;

use crate::{
    process::memory_mib,
    report::{Report, Target, quantile},
    support::text,
};

/// The first argument of the process that writes.
pub const CHILD: &str = "write-one-image";
/// Bytes that no compression makes smaller, and none of them an empty block.
const INCOMPRESSIBLE: u64 = 1 << 30;
const ROUNDS: usize = 3;

/// Measures both images.
pub fn measure(report: &mut Report) {
    if !rustix::process::geteuid().is_root() {
        return report.absent("writing images", "a loop device needs root");
    }
    let dir = tempfile::Builder::new()
        .prefix("billet-bench-")
        .tempdir()
        .expect("a directory");
    let dir = dir.path();
    let raw = dir.join("incompressible.raw");
    incompressible(&raw);
    one(report, "incompressible data", &raw, dir, Some(0.9));
    fs::remove_file(&raw).expect("removed");
    match std::env::var_os("BILLET_IMAGE").map(PathBuf::from) {
        Some(image) if image.exists() => {
            let raw = dir.join("image.raw");
            let unpacked = Command::new("zstd")
                .args(["-q", "-d", "--sparse", text(&image), "-o", text(&raw)])
                .status();
            assert!(unpacked.expect("zstd runs").success());
            one(report, "Debian 12", &raw, dir, None);
        }
        _ => report.absent("writing a real image", "BILLET_IMAGE names none"),
    }
}

fn one(report: &mut Report, name: &str, raw: &Path, dir: &Path, least: Option<f64>) {
    let store = dir.join("store");
    let options = ImportOptions {
        checksum: None,
        max_virtual_size: 64 << 30,
        expected_bytes: None,
        dir: store.clone(),
    };
    let reader = File::open(raw).expect("opened");
    let imported = import(reader, &options, &mut |_| {}).expect("taken in");
    let size = fs::metadata(raw).expect("there").len();
    let backing = dir.join("drive.img");
    let drive = LoopDevice::new(&backing, size + (64 << 20));

    let (mut ours, mut theirs, mut memory) = (Vec::new(), Vec::new(), 0_f64);
    for _ in 0..ROUNDS {
        drive.empty();
        theirs.push(dd(raw, &drive.path));
        drive.empty();
        let wrote = write(&imported, &drive.path);
        ours.push(wrote["written_s"].as_f64().expect("seconds"));
        memory = memory.max(wrote["peak_mib"].as_f64().expect("memory"));
    }
    let (ours, theirs) = (quantile(&mut ours, 0.5), quantile(&mut theirs, 0.5));
    let mib = size as f64 / f64::from(1 << 20);
    let what = match least {
        Some(_) => "writing incompressible data, rate beside dd's",
        None => "writing a real image, rate beside dd's",
    };
    report.add(
        what,
        theirs / ours,
        "times",
        least.map(Target::Least),
        format!(
            "{name}, {mib:.0} MiB: {:.0} MiB/s, checked on the way, and {:.0} MiB/s by dd oflag=direct; medians of {ROUNDS}",
            mib / ours,
            mib / theirs
        ),
    );
    report.add(
        match least {
            Some(_) => "memory while writing incompressible data",
            None => "memory while writing a real image",
        },
        memory,
        "MiB",
        Some(Target::Most(64.0)),
        "the most that the process ever held".into(),
    );
    fs::remove_dir_all(&store).expect("removed");
}

fn incompressible(path: &Path) {
    let mut file = File::create(path).expect("created");
    let random = File::open("/dev/urandom").expect("opened");
    std::io::copy(&mut random.take(INCOMPRESSIBLE), &mut file).expect("written");
    file.flush().expect("flushed");
}

/// Seconds that dd takes.
fn dd(from: &Path, to: &Path) -> f64 {
    let began = Instant::now();
    let ran = Command::new("dd")
        .args([
            &format!("if={}", text(from)),
            &format!("of={}", text(to)),
            "bs=4M",
            "oflag=direct",
            "conv=fsync",
            "status=none",
        ])
        .status();
    assert!(ran.expect("dd runs").success());
    began.elapsed().as_secs_f64()
}

/// Writes in a process of its own, and returns what it said.
fn write(imported: &Imported, to: &Path) -> Value {
    let ran = Command::new(std::env::current_exe().expect("this program"))
        .arg(CHILD)
        .args([&imported.manifest_path, &imported.blob_path])
        .arg(&imported.content.digest)
        .arg(to.file_name().expect("a name"))
        .stderr(Stdio::inherit())
        .output()
        .expect("it runs");
    assert!(ran.status.success(), "the write failed");
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

/// The process that writes: manifest, blob, digest, device's name.
#[expect(clippy::print_stdout, reason = "it is asked for its figures")]
pub fn child(arguments: &[String]) {
    let [manifest, blob, digest, device] = arguments else {
        panic!("four arguments: {arguments:?}");
    };
    let source = Stored {
        manifest: serde_json::from_slice(&fs::read(manifest).expect("read")).expect("a manifest"),
        blob: blob.into(),
    };
    let drive = Drive {
        name: device.clone(),
        kind: DriveKind::Nvme,
        manufacturer: None,
        model: None,
        serial: None,
        wwn: None,
        firmware: None,
        size_bytes: 0,
        block_bytes: Some(512),
        remote: false,
        removable: false,
        erase: Default::default(),
        power_on_hours: None,
        healthy: None,
        namespaces: Vec::new(),
    };
    let device = BlockDevice::open_first(&drive).expect("opened");
    let order = WriteOrder {
        lease: LeaseId::from_parts(0, [0; 10]),
        image: digest.clone(),
        arrays: Vec::new(),
        mirror: Vec::new(),
        drive: DriveRef {
            serial: "bench".into(),
            wwn: None,
        },
        kernel_args: Vec::new(),
        seed: None,
        prepared: false,
    };
    let watch = Phases::default();
    let began = Instant::now();
    write_image(&device, &order, &source, &|_| Ok(None), &watch).expect("written");
    let all = began.elapsed().as_secs_f64();
    let reading = watch.reading.into_inner().expect("the lock");
    let written = reading.map_or(all, |at| (at - began).as_secs_f64());
    let peak = memory_mib(std::process::id(), "VmHWM");
    println!(
        "{}",
        serde_json::json!({ "written_s": written, "all_s": all, "peak_mib": peak })
    );
}

/// An image as the control plane keeps it.
struct Stored {
    manifest: ImageManifest,
    blob: PathBuf,
}

impl ImageSource for Stored {
    fn manifest(&self, _: &str) -> Result<ImageManifest, SourceError> {
        Ok(self.manifest.clone())
    }

    fn blob(&self, _: &str, offset: u64, length: u64) -> Result<Box<dyn Read + Send>, SourceError> {
        let mut file = File::open(&self.blob).map_err(|e| SourceError::Final(e.to_string()))?;
        file.seek(SeekFrom::Start(offset))
            .map_err(|e| SourceError::Final(e.to_string()))?;
        Ok(Box::new(file.take(length)))
    }
}

/// When the read-back began.
#[derive(Default)]
struct Phases {
    reading: Mutex<Option<Instant>>,
}

impl Watch for Phases {
    fn progress(&self, progress: Progress) {
        if progress.step.contains("reading") {
            self.reading
                .lock()
                .expect("the lock")
                .get_or_insert_with(Instant::now);
        }
    }

    fn may_write(&self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// A loop device past the page cache, gone when dropped.
struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    fn new(backing: &Path, size: u64) -> Self {
        let file = File::create(backing).expect("created");
        file.set_len(size.next_multiple_of(1 << 20)).expect("sized");
        let made = Command::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(backing)
            .output()
            .expect("losetup runs");
        let said = String::from_utf8_lossy(&made.stdout);
        assert!(made.status.success(), "losetup: {made:?}");
        Self {
            path: said.trim().into(),
        }
    }

    /// Discards all of it, so that whoever writes next finds it as the last one did.
    fn empty(&self) {
        let ran = Command::new("blkdiscard")
            .args(["--force", text(&self.path)])
            .status();
        assert!(ran.expect("blkdiscard runs").success());
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.path).status();
    }
}
