//! Serial consoles: a connection to each machine that is on or leased, all that it
//! writes recorded, and whoever types let through.

mod line;
mod link;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use billet_console::{Limits, Recorder, RecordingError};
use billet_model::{
    MachineId,
    bmc::{BmcRequest, PowerAction},
    lifecycle::{Lifecycle, Power},
    machine::Machine,
    people::Actor,
};
use billet_store::{Batch, StoreError, Write};
use serde_json::json;
use tokio::sync::Notify;

pub use line::{Line, State, Writer};

use crate::{Control, Refusal};

/// The kind under which a console's pinned host key is kept.
pub(crate) const HOST_KEY: &str = "console-host-key";
/// How often all machines are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// How often recordings are brought to the disk.
const SYNC: Duration = Duration::from_secs(1);
/// How often what is too old is removed.
const PRUNE: Duration = Duration::from_secs(3600);

/// How consoles are kept.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleOptions {
    /// How much of each recording is kept.
    pub limits: Limits,
}

/// All consoles.
pub(crate) struct Consoles {
    dir: PathBuf,
    lines: Mutex<HashMap<MachineId, Arc<Line>>>,
    on: AtomicBool,
    bytes: AtomicU64,
    /// Rung where a machine may have to be connected.
    look: Notify,
    wanted: Mutex<Vec<MachineId>>,
}

impl Consoles {
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            lines: Mutex::default(),
            on: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            look: Notify::new(),
            wanted: Mutex::default(),
        }
    }

    fn line(&self, machine: MachineId) -> Result<Arc<Line>, RecordingError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get(&machine) {
            return Ok(line.clone());
        }
        let recorder = Recorder::open(&self.dir.join(machine.to_string()))?;
        let line = Arc::new(Line::new(recorder));
        lines.insert(machine, line.clone());
        Ok(line)
    }

    fn all(&self) -> Vec<Arc<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.values().cloned().collect()
    }

    /// Something is about to be asked of a machine's BMC: its console is connected
    /// first where it is wanted, so that nothing of a boot is missed.
    pub fn seen(&self, machine: &Machine) {
        if !self.on.load(Ordering::Relaxed) || !is_wanted(machine) {
            return;
        }
        let known = {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.get(&machine.id).is_some_and(|line| line.is_kept())
        };
        if !known {
            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.push(machine.id);
            drop(wanted);
            self.look.notify_one();
        }
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Whether a machine's console is to be connected: it was taken over, and it is on,
/// about to be, or a tenant's.
pub(crate) fn is_wanted(machine: &Machine) -> bool {
    if matches!(machine.lifecycle, Lifecycle::Enrolled | Lifecycle::Retired) || machine.unconfirmed
    {
        return false;
    }
    let on = machine
        .power
        .as_ref()
        .is_some_and(|reading| reading.power == Power::On);
    let soon = machine.pending.as_ref().is_some_and(|pending| {
        let BmcRequest::Power { action } = &pending.request else {
            return false;
        };
        matches!(
            action,
            PowerAction::On | PowerAction::Cycle | PowerAction::Reset
        )
    });
    machine.lease.is_some() || on || soon
}

impl Control {
    /// A machine's console: its recording, and whether it is connected.
    ///
    /// # Errors
    /// When its files cannot be used.
    pub fn console(&self, machine: MachineId) -> Result<Arc<Line>, Refusal> {
        self.consoles().line(machine).map_err(|error| {
            tracing::error!(%error, %machine, "opening the recording of a console");
            Refusal::new(
                crate::RefusalKind::Internal,
                "the recording cannot be opened; the server's log says why",
            )
        })
    }

    /// Whether consoles are connected and recorded at all.
    pub fn records_consoles(&self) -> bool {
        self.consoles().on.load(Ordering::Relaxed)
    }

    /// Consoles that are connected, and bytes that were recorded since the start.
    pub fn console_counts(&self) -> (usize, u64) {
        let lines = self.consoles().all();
        let connected = lines.iter().filter(|l| l.state().connected.is_some());
        (
            connected.count(),
            self.consoles().bytes.load(Ordering::Relaxed),
        )
    }

    /// The pinned host key of a machine's console.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn console_host_key(&self, machine: MachineId) -> Result<Option<String>, StoreError> {
        let kept = self.store().secret(machine.0, HOST_KEY).await?;
        Ok(kept.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Pins the host key of a machine's console; none for the next one that is shown.
    ///
    /// # Errors
    /// When it is none.
    pub async fn pin_console_host_key(
        &self,
        actor: &Actor,
        machine: &Machine,
        key: Option<&str>,
    ) -> Result<(), Refusal> {
        if let Some(key) = key
            && !(key.len() == 50 && key.starts_with("SHA256:"))
        {
            return Err(Refusal::invalid(
                "host_key",
                "a host key's fingerprint is SHA256: and 43 characters, as `ssh-keygen -l` shows it",
            ));
        }
        self.write_host_key(actor, machine, key).await?;
        if let Ok(line) = self.consoles().line(machine.id) {
            line.stop();
            if self.records_consoles() && is_wanted(machine) {
                self.keep(machine.id);
            }
        }
        Ok(())
    }

    pub(crate) async fn write_host_key(
        &self,
        actor: &Actor,
        machine: &Machine,
        key: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut row = self.audit_row(
            actor,
            "machine.console_host_key",
            json!({ "host_key": key }),
        );
        row.machine = Some(machine.id);
        // A fingerprint is no secret; it lies with the BMC's password because it
        // comes and goes with it.
        let write = Write::PutSecret {
            owner: machine.id.0,
            kind: HOST_KEY.to_owned(),
            ciphertext: key.unwrap_or_default().as_bytes().to_vec(),
        };
        self.store()
            .commit(Batch::new().with(write).audited(row))
            .await
    }

    /// Keeps the consoles connected and recorded until `stop` ends.
    pub async fn keep_consoles(
        self,
        options: ConsoleOptions,
        stop: impl Future<Output = ()> + Send,
    ) {
        let consoles = self.consoles();
        consoles.on.store(true, Ordering::Relaxed);
        let mut stop = std::pin::pin!(stop);
        let mut look = tokio::time::interval(LOOK);
        let mut sync = tokio::time::interval(SYNC);
        let mut prune = tokio::time::interval(PRUNE);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = consoles.look.notified() => {
                    let ids: Vec<MachineId> = {
                        let mut wanted = consoles.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                        std::mem::take(&mut *wanted)
                    };
                    for id in ids {
                        self.keep(id);
                    }
                }
                _ = look.tick() => self.look_at_all().await,
                _ = sync.tick() => self.on_files(|line| line.recorder.sync()).await,
                _ = prune.tick() => {
                    self.open_all();
                    let (now, limits) = (self.now(), options.limits);
                    self.on_files(move |line| line.recorder.prune(now, limits).map(|_| ())).await;
                }
            }
        }
        consoles.on.store(false, Ordering::Relaxed);
        for line in consoles.all() {
            line.stop();
        }
        self.on_files(|line| line.recorder.sync()).await;
    }

    /// Connects every machine whose console is wanted, and is not.
    async fn look_at_all(&self) {
        let mut after = None;
        loop {
            let filter = billet_store::MachineFilter::default();
            let machines = match self.store().machines_in_short(&filter, after, 500).await {
                Ok(machines) => machines,
                Err(error) => {
                    tracing::error!(%error, "looking for consoles");
                    return;
                }
            };
            for short in machines.iter().filter(|m| is_wanted(&m.machine)) {
                self.keep(short.machine.id);
            }
            match machines.last() {
                Some(last) if machines.len() == 500 => after = Some(last.machine.id),
                _ => return,
            }
        }
    }

    /// Begins to keep a machine's console connected, unless that is done already.
    fn keep(&self, machine: MachineId) {
        match self.consoles().line(machine) {
            Ok(line) => line.keep(|line| link::keep(self.clone(), machine, line)),
            Err(error) => tracing::error!(%error, %machine, "opening the recording of a console"),
        }
    }

    /// Opens what was recorded of machines that nobody has asked for.
    fn open_all(&self) {
        let Ok(entries) = std::fs::read_dir(&self.consoles().dir) else {
            return;
        };
        for entry in entries.flatten() {
            if let Ok(machine) = entry.file_name().to_string_lossy().parse() {
                let _ = self.consoles().line(machine);
            }
        }
    }

    async fn on_files(&self, work: impl Fn(&Line) -> Result<(), RecordingError> + Send + 'static) {
        let lines = self.consoles().all();
        let done = tokio::task::spawn_blocking(move || {
            for line in lines {
                if let Err(error) = work(&line) {
                    tracing::error!(%error, "keeping a console's recording");
                }
            }
        });
        let _ = done.await;
    }
}
