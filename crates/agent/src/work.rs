//! Doing a task: from the order to its outcome.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use billet_drives::{
    BlockDevice, Device, DriveError, ImageSource, SourceError, Stopped, Watch, WriteError,
};
use billet_hardware::{NvmeIoctl, Tree};
use billet_model::{
    image::ImageManifest,
    inventory::{Drive, Inventory},
    measure::Measured,
    work::{
        DriveRef, EraseOrder, MeasureOrder, Progress, TpmClear, VerifyOrder, Work, WorkFailure,
        WorkOutcome, WriteOrder, WriteReport,
    },
};

use crate::{
    channel::{Channel, ChannelError},
    console::say,
    rescue, tpm,
};

/// How long drives may take to appear.
const SETTLE: Duration = Duration::from_secs(15);

impl ImageSource for Channel {
    fn manifest(&self, digest: &str) -> Result<ImageManifest, SourceError> {
        let began = Instant::now();
        loop {
            match Channel::manifest(self, digest) {
                Err(error) if error.passes() && began.elapsed() < Duration::from_secs(600) => {
                    thread::sleep(Duration::from_secs(3));
                }
                other => return other.map_err(source_error),
            }
        }
    }

    fn blob(
        &self,
        digest: &str,
        offset: u64,
        length: u64,
    ) -> Result<Box<dyn std::io::Read + Send>, SourceError> {
        Channel::blob(self, digest, offset, length).map_err(source_error)
    }
}

fn source_error(error: ChannelError) -> SourceError {
    if error.passes() {
        SourceError::Passing(error.to_string())
    } else {
        SourceError::Final(error.to_string())
    }
}

/// Does the work.
pub fn perform(work: &Work, images: &dyn ImageSource, watch: &dyn Watch) -> WorkOutcome {
    let machine = Machine::new();
    settle();
    match work {
        Work::Inspect => WorkOutcome::Inspected {
            inventory: Box::new(machine.inventory()),
        },
        Work::Test { may_write } => machine.test(*may_write, watch),
        Work::Write(order) => match machine.write(order, images, watch) {
            Ok(report) => WorkOutcome::Written(report),
            Err(error) => WorkOutcome::Failed {
                kind: error.kind(),
                detail: error.to_string(),
            },
        },
        Work::Erase(order) | Work::Wipe(order) => machine.erase(order, watch),
        Work::Rescue(order) => match rescue::start(&order.ssh_keys) {
            Ok(host_keys) => WorkOutcome::Rescuing { host_keys },
            Err(error) => WorkOutcome::Failed {
                kind: WorkFailure::Other,
                detail: error.to_string(),
            },
        },
        Work::Measure(order) => match machine.measure(order, images, watch) {
            Ok(found) => WorkOutcome::Measured(found),
            Err(error) => WorkOutcome::Failed {
                kind: error.kind(),
                detail: error.to_string(),
            },
        },
        Work::Verify(order) => machine.verify(order, watch),
        Work::Prepare(_) | Work::Start(_) | Work::Trial(_) => WorkOutcome::Failed {
            kind: WorkFailure::Other,
            detail: format!("this agent does not know how to {}", work.word()),
        },
    }
}

/// Waits until drives have appeared and no more do: probing goes on in the
/// background after a driver is loaded.
fn settle() {
    let began = Instant::now();
    let blocks = || {
        fs::read_dir("/sys/block")
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let mut seen = blocks();
    let mut since = Instant::now();
    while began.elapsed() < SETTLE {
        let quiet = since.elapsed() > Duration::from_millis(700);
        if quiet && !seen.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
        let now = blocks();
        if now != seen {
            seen = now;
            since = Instant::now();
        }
    }
}

fn superseded(stopped: Stopped) -> WorkOutcome {
    WorkOutcome::Failed {
        kind: WorkFailure::Superseded,
        detail: stopped.to_string(),
    }
}

fn open(drive: &Drive) -> Result<Box<dyn Device>, DriveError> {
    BlockDevice::open(drive).map(|d| Box::new(d) as Box<dyn Device>)
}

fn open_to_read(drive: &Drive) -> Result<Box<dyn Device>, DriveError> {
    BlockDevice::open_to_read(drive).map(|d| Box::new(d) as Box<dyn Device>)
}

/// The machine that this runs on.
struct Machine {
    tree: Tree,
    nvme: NvmeIoctl,
}

impl Machine {
    fn new() -> Self {
        let tree = Tree::new("/");
        Self {
            nvme: NvmeIoctl(tree.clone()),
            tree,
        }
    }

    fn inventory(&self) -> Inventory {
        let mut inventory = billet_hardware::inventory(&self.tree, &self.nvme);
        if let Some(tpm) = inventory.tpm.as_mut().filter(|t| t.version == "2.0")
            && let Ok(mut device) = tpm::Device::open()
        {
            (tpm.manufacturer, tpm.firmware) = tpm::identity(&mut device);
        }
        inventory
    }

    fn drives(&self) -> Vec<Drive> {
        billet_hardware::drives(&self.tree, &self.nvme)
    }

    /// The machine's drives, once all of these are among them or time is up.
    fn drives_with(&self, wanted: &[&DriveRef]) -> Vec<Drive> {
        let began = Instant::now();
        loop {
            let drives = self.drives();
            let all = wanted
                .iter()
                .all(|w| billet_drives::find(&drives, w).is_some());
            if all || began.elapsed() > SETTLE {
                return drives;
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    fn test(&self, may_write: bool, watch: &dyn Watch) -> WorkOutcome {
        let inventory = self.inventory();
        match billet_prove::quick(&self.tree, &self.nvme, &inventory, may_write, watch) {
            Ok(results) => WorkOutcome::Tested { results },
            Err(stopped) => superseded(stopped),
        }
    }

    fn write(
        &self,
        order: &WriteOrder,
        images: &dyn ImageSource,
        watch: &dyn Watch,
    ) -> Result<WriteReport, WriteError> {
        let drives = self.drives_with(&[&order.drive]);
        let drive = billet_drives::find(&drives, &order.drive)
            .ok_or_else(|| WriteError::Missing(order.drive.clone()))?;
        let device = BlockDevice::open_first(drive)?;
        let mounted = |args: &[String]| billet_drives::mounted::set_kernel_args(&device, args);
        say(format!("writing an image to /dev/{}", drive.name));
        billet_drives::write_image(&device, order, images, &mounted, watch)
    }

    fn measure(
        &self,
        order: &MeasureOrder,
        images: &dyn ImageSource,
        watch: &dyn Watch,
    ) -> Result<Measured, WriteError> {
        let drives = self.drives_with(&[&order.drive]);
        let drive = billet_drives::find(&drives, &order.drive)
            .ok_or_else(|| WriteError::Missing(order.drive.clone()))?;
        let device = BlockDevice::open_to_read(drive)?;
        say(format!("comparing /dev/{} with its image", drive.name));
        billet_drives::measure(&device, order, images, watch)
    }

    fn erase(&self, order: &EraseOrder, watch: &dyn Watch) -> WorkOutcome {
        let drives = self.drives_with(&order.drives.iter().collect::<Vec<_>>());
        match billet_drives::erase(order, &drives, &open, watch) {
            Ok((drives, unordered)) => {
                for drive in &drives {
                    say(match (&drive.method, &drive.failure) {
                        (Some(method), None) => {
                            format!("drive {} erased: {method:?}", drive.drive.serial)
                        }
                        (_, failure) => format!(
                            "drive {} NOT erased: {}",
                            drive.drive.serial,
                            failure.as_deref().unwrap_or("no reason")
                        ),
                    });
                }
                WorkOutcome::Erased { drives, unordered }
            }
            Err(stopped) => superseded(stopped),
        }
    }

    fn verify(&self, order: &VerifyOrder, watch: &dyn Watch) -> WorkOutcome {
        let wanted: Vec<&DriveRef> = order.erased.iter().map(|e| &e.drive).collect();
        let drives = self.drives_with(&wanted);
        let total = order.erased.len() as u64;
        let tell = |done| {
            watch.progress(Progress {
                step: "reading drives back".into(),
                done,
                total,
                unit: "drives".into(),
            });
        };
        let drives = billet_drives::verify(order, &drives, &open_to_read, &tell);
        let tpm = if order.clear_tpm {
            self.clear_tpm()
        } else {
            TpmClear::NotCleared {
                reason: "it was not asked for".into(),
            }
        };
        WorkOutcome::Verified { drives, tpm }
    }

    fn clear_tpm(&self) -> TpmClear {
        if self.tree.list("sys/class/tpm").is_empty() {
            return TpmClear::None;
        }
        match tpm::Device::open() {
            Ok(mut device) => tpm::clear(&mut device),
            Err(error) => TpmClear::NotCleared {
                reason: format!("the TPM could not be opened: {error}"),
            },
        }
    }
}
