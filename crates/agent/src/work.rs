//! Doing a task: from the order to its outcome.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use billet_drives::{
    BlockDevice, Device, DriveError, ImageSource, SourceError, Standing, Stopped, Watch,
    WriteError, mirror::Member,
};
use billet_hardware::{NvmeIoctl, Tree};
use billet_model::{
    image::ImageManifest,
    inventory::{Drive, Inventory},
    layout::ArrayWritten,
    measure::Measured,
    work::{
        DriveRef, EraseOrder, MeasureOrder, PrepareOrder, Progress, StartOrder, StartReport,
        TpmClear, VerifyOrder, Work, WorkFailure, WorkOutcome, WriteOrder, WriteReport,
    },
};
use billet_protocol::boot::BootRecord;

use crate::{
    channel::{Channel, ChannelError},
    console::say,
    rescue,
    start::{self, StartError},
    tpm, trial,
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

/// Does one task after the other, and knows what was prepared in this boot.
#[derive(Debug)]
pub struct Worker {
    record: BootRecord,
    settled: bool,
    /// Images that stand on drives, until something else is written there.
    prepared: Vec<(DriveRef, Standing)>,
}

impl Worker {
    /// One that has done nothing yet, in the boot of this record.
    pub fn new(record: BootRecord) -> Self {
        Self {
            record,
            settled: false,
            prepared: Vec::new(),
        }
    }

    /// Does the work.
    pub fn perform(&mut self, work: &Work, channel: &Channel, watch: &dyn Watch) -> WorkOutcome {
        let machine = Machine::new();
        if !self.settled {
            settle();
            self.settled = true;
        }
        // What writes to drives in other ways leaves nothing prepared.
        if matches!(
            work,
            Work::Erase(_) | Work::Wipe(_) | Work::Test { may_write: true }
        ) {
            self.prepared.clear();
        }
        let done = match work {
            Work::Inspect => Ok(WorkOutcome::Inspected {
                inventory: Box::new(machine.inventory()),
            }),
            Work::Test { may_write } => Ok(machine.test(*may_write, watch)),
            Work::Write(order) => self
                .write(&machine, order, channel, watch)
                .map(WorkOutcome::Written)
                .map_err(Failure::from),
            Work::Prepare(order) => self
                .prepare(&machine, order, channel, watch)
                .map(WorkOutcome::Prepared)
                .map_err(Failure::from),
            Work::Erase(order) | Work::Wipe(order) => Ok(machine.erase(order, watch)),
            Work::Rescue(order) => rescue::start(&order.ssh_keys)
                .map(|host_keys| WorkOutcome::Rescuing { host_keys })
                .map_err(|error| Failure(WorkFailure::Other, error.to_string())),
            Work::Measure(order) => machine
                .measure(order, channel, watch)
                .map(WorkOutcome::Measured)
                .map_err(Failure::from),
            Work::Verify(order) => Ok(machine.verify(order, watch)),
            Work::Start(order) => machine
                .start(order)
                .map(WorkOutcome::Starting)
                .map_err(Failure::from),
            Work::Trial(order) => trial::load(order, &self.record, channel)
                .map(WorkOutcome::Starting)
                .map_err(Failure::from),
        };
        done.unwrap_or_else(|Failure(kind, detail)| WorkOutcome::Failed { kind, detail })
    }

    fn write(
        &mut self,
        machine: &Machine,
        order: &WriteOrder,
        images: &dyn ImageSource,
        watch: &dyn Watch,
    ) -> Result<WriteReport, WriteError> {
        // Whatever comes of it, the drive is not as it was prepared.
        let at = self
            .prepared
            .iter()
            .position(|(drive, _)| drive.serial == order.drive.serial);
        let standing = at.map(|at| self.prepared.swap_remove(at).1);
        let arrays = machine.arrays(order, watch)?;
        if !order.mirror.is_empty() {
            let report = machine.write_mirror(order, images, watch)?;
            return Ok(WriteReport { arrays, ..report });
        }
        let (device, name) = machine.to_write(&order.drive)?;
        let mounted = |args: &[String]| billet_drives::mounted::set_kernel_args(&device, args);
        if !order.prepared {
            say(format!("writing an image to /dev/{name}"));
            let report = billet_drives::write_image(&device, order, images, &mounted, watch)?;
            return Ok(WriteReport { arrays, ..report });
        }
        let standing = standing.ok_or_else(|| WriteError::NotPrepared {
            image: order.image.clone(),
            serial: order.drive.serial.clone(),
            why: "nothing was prepared there in this boot",
        })?;
        say(format!("finishing the image on /dev/{name}"));
        let report = billet_drives::finish_prepared(&device, order, &standing, &mounted, watch)?;
        Ok(WriteReport { arrays, ..report })
    }

    fn prepare(
        &mut self,
        machine: &Machine,
        order: &PrepareOrder,
        images: &dyn ImageSource,
        watch: &dyn Watch,
    ) -> Result<WriteReport, WriteError> {
        self.prepared
            .retain(|(drive, _)| drive.serial != order.drive.serial);
        let (device, name) = machine.to_write(&order.drive)?;
        say(format!("preparing an image on /dev/{name}"));
        let standing = billet_drives::prepare_image(&device, &order.image, images, watch)?;
        let report = standing.report().clone();
        self.prepared.push((order.drive.clone(), standing));
        Ok(report)
    }
}

/// Why work was not done: which kind, and what exactly.
struct Failure(WorkFailure, String);

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self(error.kind(), error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self(error.kind(), error.to_string())
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

fn open_first(drive: &Drive) -> Result<Box<dyn Device>, DriveError> {
    BlockDevice::open_first(drive).map(|d| Box::new(d) as Box<dyn Device>)
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

    /// The drive that an image is to be written to, and its name.
    fn to_write(&self, drive: &DriveRef) -> Result<(BlockDevice, String), WriteError> {
        let drives = self.drives_with(&[drive]);
        let found = billet_drives::find(&drives, drive)
            .ok_or_else(|| WriteError::Missing(drive.clone()))?;
        Ok((BlockDevice::open_first(found)?, found.name.clone()))
    }

    fn start(&self, order: &StartOrder) -> Result<StartReport, StartError> {
        let drives = self.drives_with(&[&order.drive]);
        let drive = billet_drives::find(&drives, &order.drive)
            .ok_or_else(|| StartError::Missing(order.drive.clone()))?;
        say(format!("looking for what /dev/{} boots", drive.name));
        start::load(&self.tree, drive)
    }

    /// Makes the arrays that are ordered, or looks whether they are there.
    fn arrays(
        &self,
        order: &WriteOrder,
        watch: &dyn Watch,
    ) -> Result<Vec<ArrayWritten>, WriteError> {
        let made = order.arrays.iter().filter(|a| !a.kept);
        let wanted: Vec<&DriveRef> = made.flat_map(|a| &a.drives).collect();
        let drives = self.drives_with(&wanted);
        let arrays = billet_drives::arrays::write(&order.arrays, &drives, &open_first, watch)?;
        for array in &arrays {
            let drives = array.drives.len();
            say(format!("array {}: {drives} drives", array.name));
        }
        Ok(arrays)
    }

    /// Writes the root to all drives of its mirror.
    fn write_mirror(
        &self,
        order: &WriteOrder,
        images: &dyn ImageSource,
        watch: &dyn Watch,
    ) -> Result<WriteReport, WriteError> {
        let mut devices = Vec::new();
        for wanted in std::iter::once(&order.drive).chain(&order.mirror) {
            devices.push((wanted.serial.clone(), self.to_write(wanted)?.0));
        }
        let set: Vec<_> = devices
            .iter()
            .map(|(_, device)| {
                move |args: &[String]| billet_drives::mounted::set_kernel_args(device, args)
            })
            .collect();
        let members: Vec<Member<'_>> = devices
            .iter()
            .zip(&set)
            .map(|((serial, device), mounted)| Member {
                serial: serial.clone(),
                device,
                mounted,
            })
            .collect();
        say(format!("writing an image to {} drives", members.len()));
        billet_drives::write_mirror(&members, order, images, watch)
    }

    fn measure(
        &self,
        order: &MeasureOrder,
        images: &dyn ImageSource,
        watch: &dyn Watch,
    ) -> Result<Measured, WriteError> {
        let mut wanted = vec![&order.drive];
        wanted.extend(&order.mirror);
        let drives = self.drives_with(&wanted);
        let mut devices = Vec::new();
        for wanted in wanted {
            let drive = billet_drives::find(&drives, wanted)
                .ok_or_else(|| WriteError::Missing(wanted.clone()))?;
            say(format!("comparing /dev/{} with the image", drive.name));
            devices.push((wanted.serial.clone(), BlockDevice::open_to_read(drive)?));
        }
        let mut all = devices
            .iter()
            .map(|(serial, d)| (serial.clone(), d as &dyn Device));
        let Some((_, first)) = all.next() else {
            return Err(WriteError::Missing(order.drive.clone()));
        };
        let others: Vec<_> = all.collect();
        billet_drives::measure_copies(first, &others, order, images, watch)
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
