//! What a BMC remembers: accounts, sessions, settings, media, log and tasks.
//!
//! Accounts, firmware settings and a continuous boot override outlast a restart of the lab, as
//! they outlast a power failure on a real board; sessions, media, log and tasks do not.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::metal::{BootPlan, BootTarget, MetalError};

/// How many sessions may be open at once.
pub(super) const MAX_SESSIONS: usize = 16;
/// How many log entries are kept.
const MAX_LOG: usize = 500;
/// How many finished tasks are kept.
const MAX_TASKS: usize = 50;

/// Whether the boot override holds, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OverrideEnabled {
    Disabled,
    Once,
    Continuous,
}

impl OverrideEnabled {
    pub const ALL: [Self; 3] = [Self::Disabled, Self::Once, Self::Continuous];

    pub fn as_redfish(self) -> &'static str {
        match self {
            Self::Disabled => "Disabled",
            Self::Once => "Once",
            Self::Continuous => "Continuous",
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct BootOverride {
    pub enabled: OverrideEnabled,
    pub target: BootTarget,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub id: String,
    pub user: String,
    pub password: String,
    pub role: String,
    pub enabled: bool,
}

pub(super) struct Session {
    pub id: String,
    pub token: String,
    pub user: String,
    pub created: Timestamp,
    pub used: Instant,
}

#[derive(Clone)]
pub(super) struct Inserted {
    pub url: String,
    pub write_protected: bool,
}

pub(super) struct LogEntry {
    pub id: u64,
    pub at: Timestamp,
    pub severity: &'static str,
    pub message: String,
}

pub(super) enum TaskEnd {
    Running,
    Completed,
    Failed(Value),
}

pub(super) struct Task {
    pub id: u64,
    pub name: &'static str,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub end: TaskEnd,
}

/// What outlasts a restart of the lab.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Lasting {
    pub accounts: Vec<Account>,
    pub boot: BootOverride,
    pub bios: BTreeMap<String, Value>,
    pub bios_pending: BTreeMap<String, Value>,
    pub secure_boot: bool,
    /// References of boot options, first to last.
    #[serde(default = "default_boot_order")]
    pub boot_order: Vec<String>,
    pub asset_tag: String,
    pub host_name: String,
}

pub(super) struct State {
    pub lasting: Lasting,
    pub secure_boot_wanted: bool,
    pub sessions: Vec<Session>,
    pub session_timeout: Duration,
    pub media: [Option<Inserted>; 2],
    pub indicator: bool,
    pub log: VecDeque<LogEntry>,
    pub tasks: VecDeque<Task>,
    pub restart_after_off: bool,
    /// What the machine was last started with.
    pub last_plan: Option<BootPlan>,
    /// While it restarts itself, the BMC answers nobody.
    pub away_until: Option<Instant>,
    /// While it is busy with itself, everything is answered 503.
    pub busy_until: Option<Instant>,
    /// Which slots were ejected since something was last inserted.
    pub ejected: [bool; 2],
    /// What was read since the BMC started, where a fault makes that matter.
    pub read: HashSet<String>,
    /// When the last change of power was seen.
    pub last_reset: Timestamp,
    next: u64,
}

/// The firmware settings a machine comes with: name, value, acceptable values.
pub(super) const BIOS: &[(&str, &str, &[&str])] = &[
    ("BootMode", "Uefi", &["Uefi"]),
    ("LogicalProc", "Enabled", &["Enabled", "Disabled"]),
    ("ProcVirtualization", "Enabled", &["Enabled", "Disabled"]),
    ("SriovGlobalEnable", "Enabled", &["Enabled", "Disabled"]),
    ("IommuSupport", "Enabled", &["Enabled", "Disabled"]),
    ("NodeInterleave", "Disabled", &["Enabled", "Disabled"]),
    ("MmioAbove4Gb", "Enabled", &["Enabled", "Disabled"]),
    (
        "SysProfile",
        "PerfOptimized",
        &["PerfOptimized", "PerfPerWattOptimized", "Custom"],
    ),
    ("SerialComm", "OnConRedir", &["OnConRedir", "Off"]),
    ("TpmSecurity", "On", &["On", "Off"]),
];

pub(super) fn default_bios() -> BTreeMap<String, Value> {
    BIOS.iter()
        .map(|(name, value, _)| ((*name).to_owned(), json!(value)))
        .collect()
}

/// The boot options that firmware offers: reference and name. The order of these is kept and
/// shown; what a machine of the lab boots without an override is its drive all the same.
pub(super) const BOOT_OPTIONS: &[(&str, &str)] = &[
    ("Boot0001", "UEFI: NVMe Drive 1"),
    ("Boot0002", "UEFI: PXE IPv4 Port 1"),
    ("Boot0003", "UEFI: Virtual CD"),
];

/// The most accounts.
pub(super) const MAX_ACCOUNTS: usize = 16;

fn default_boot_order() -> Vec<String> {
    BOOT_OPTIONS.iter().map(|(r, _)| (*r).to_owned()).collect()
}

impl Lasting {
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            accounts: vec![Account {
                id: "1".into(),
                user: user.into(),
                password: password.into(),
                role: "Administrator".into(),
                enabled: true,
            }],
            boot: BootOverride {
                enabled: OverrideEnabled::Disabled,
                target: BootTarget::None,
            },
            bios: default_bios(),
            bios_pending: BTreeMap::new(),
            secure_boot: false,
            boot_order: default_boot_order(),
            asset_tag: String::new(),
            host_name: String::new(),
        }
    }

    /// What was saved in `file`, if anything was.
    pub fn load(file: &Path) -> Result<Option<Self>, MetalError> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(MetalError::io("reading", file.display())(e)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| MetalError::io("reading", file.display())(e.into()))
    }

    /// Save to `file`, whole or not at all.
    pub fn save(&self, file: &Path) -> Result<(), MetalError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| MetalError::io("writing", file.display())(e.into()))?;
        let part = file.with_extension("part");
        std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, file))
            .map_err(MetalError::io("writing", file.display()))
    }
}

impl State {
    pub fn new(lasting: Lasting) -> Self {
        Self {
            secure_boot_wanted: lasting.secure_boot,
            lasting,
            sessions: Vec::new(),
            session_timeout: Duration::from_secs(1800),
            media: [None, None],
            indicator: false,
            log: VecDeque::new(),
            tasks: VecDeque::new(),
            restart_after_off: false,
            last_plan: None,
            away_until: None,
            busy_until: None,
            ejected: [false; 2],
            read: HashSet::new(),
            last_reset: Timestamp::now(),
            next: 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn note(&mut self, severity: &'static str, message: impl Into<String>) {
        let id = self.number();
        if self.log.len() == MAX_LOG {
            self.log.pop_front();
        }
        self.log.push_back(LogEntry {
            id,
            at: Timestamp::now(),
            severity,
            message: message.into(),
        });
    }

    pub fn start_task(&mut self, name: &'static str) -> u64 {
        let id = self.number();
        if self.tasks.len() == MAX_TASKS {
            self.tasks.pop_front();
        }
        self.tasks.push_back(Task {
            id,
            name,
            started: Timestamp::now(),
            ended: None,
            end: TaskEnd::Running,
        });
        id
    }

    pub fn end_task(&mut self, id: u64, end: TaskEnd) {
        if let Some(task) = self.tasks.iter_mut().find(|t| t.id == id) {
            task.end = end;
            task.ended = Some(Timestamp::now());
        }
    }

    /// Forget sessions that nobody used for too long.
    pub fn expire_sessions(&mut self) {
        let timeout = self.session_timeout;
        self.sessions.retain(|s| s.used.elapsed() < timeout);
    }
}
