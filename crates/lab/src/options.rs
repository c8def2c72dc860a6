//! What a lab is asked to be.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::emulated::MediaBus;
use crate::phantom::Model;

/// What a lab is asked to be. [`LabOptions::default`] is an empty lab on free ports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LabOptions {
    /// Emulated machines, up to 200.
    pub machines: u32,
    /// Phantoms, up to 50,000.
    pub phantoms: u32,
    /// What the phantoms pretend to be, dealt out in turn; all models where empty.
    pub phantom_models: Vec<Model>,
    /// Where machines keep their drives, certificates and settings, so that the same lab can be
    /// started again; a temporary directory where absent.
    pub dir: Option<PathBuf>,
    /// The lab's own API listens here, BMCs from the next port on, two ports each; 0 lets the
    /// system choose them all.
    pub base_port: u16,
    /// Every BMC's user.
    pub user: String,
    /// Every BMC's password at first; one is made up where absent.
    pub password: Option<String>,
    /// Makes the serials; kept in the directory, made up where absent.
    pub seed: Option<u64>,
    /// Processors of an emulated machine, an even number.
    pub cpus: u32,
    /// Memory of an emulated machine in MiB.
    pub memory_mib: u64,
    /// Drives of an emulated machine, 1 to 8.
    pub drives: u32,
    /// Size of each of them in bytes.
    pub drive_bytes: u64,
    /// Display devices that stand in for GPUs in an emulated machine, up to 8.
    pub gpus: u32,
    /// What the virtual CD drive of an emulated machine hangs on.
    pub media_bus: MediaBus,
    /// The emulated machines' network.
    pub net: NetOptions,
    /// How long a boot, and each piece of work, takes a phantom.
    pub phantom_pace: Duration,
    /// The largest medium that a BMC takes, in bytes.
    pub media_cap: u64,
}

/// How emulated machines are reached.
///
/// Each is alone with the host on a network of QEMU's own, which needs no rights: it has the same
/// address there that it would have on a shared one, and the host reaches its SSH on a loopback
/// address of its own with the same last byte. A shared network by bridges and taps would be
/// another variant of this; nothing else would change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct NetOptions {
    /// The network's name in the manifest.
    pub name: String,
    /// The /24 that machines are on.
    pub subnet: Ipv4Addr,
    /// Last byte of the first machine's address.
    pub first: u8,
    /// The /24 of loopback addresses that stands for it on the host.
    pub reached_at: Ipv4Addr,
    /// Port of the machines' SSH on those addresses. Where the system does not let this process
    /// listen on it, 2222 is taken, and the summary says so.
    pub ssh_port: u16,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            name: "lab".into(),
            subnet: Ipv4Addr::new(10, 88, 0, 0),
            first: 11,
            reached_at: Ipv4Addr::new(127, 88, 0, 0),
            ssh_port: 22,
        }
    }
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            machines: 0,
            phantoms: 0,
            phantom_models: Vec::new(),
            dir: None,
            base_port: 0,
            user: "admin".into(),
            password: None,
            seed: None,
            cpus: 2,
            memory_mib: 1536,
            drives: 2,
            drive_bytes: 4 * 1024 * 1024 * 1024,
            gpus: 4,
            media_bus: MediaBus::Sata,
            net: NetOptions::default(),
            phantom_pace: Duration::from_millis(20),
            media_cap: 8 * 1024 * 1024 * 1024,
        }
    }
}

impl LabOptions {
    /// What is wrong with them, if anything is.
    pub(crate) fn wrong(&self) -> Option<String> {
        let mut wrong = None;
        let mut check = |fine: bool, text: &str| {
            if !fine && wrong.is_none() {
                wrong = Some(text.to_owned());
            }
        };
        check(self.machines <= 200, "at most 200 emulated machines");
        check(self.phantoms <= 50_000, "at most 50,000 phantoms");
        check(
            self.cpus >= 2 && self.cpus.is_multiple_of(2),
            "an emulated machine has an even number of processors, at least 2",
        );
        check(
            self.memory_mib >= 512 && self.memory_mib.is_multiple_of(2),
            "an emulated machine has at least 512 MiB of memory, an even number",
        );
        check(
            (1..=8).contains(&self.gpus),
            "an emulated machine has 1 to 8 stand-ins for GPUs",
        );
        check(
            (1..=8).contains(&self.drives),
            "an emulated machine has 1 to 8 drives",
        );
        check(
            self.drive_bytes >= 64 << 20 && self.drive_bytes.is_multiple_of(1 << 20),
            "a drive has a whole number of MiB, at least 64",
        );
        check(
            u32::from(self.net.first) >= 2 && u32::from(self.net.first) + self.machines <= 255,
            "the machines' addresses do not fit into their subnet",
        );
        check(
            self.net.reached_at.is_loopback(),
            "machines are reached at addresses of the loopback, 127.0.0.0/8",
        );
        check(!self.user.is_empty(), "the BMCs' user has no name");
        let ports = 1 + 2 * (u64::from(self.machines) + u64::from(self.phantoms));
        check(
            self.base_port == 0 || u64::from(self.base_port) + ports <= 65_536,
            "the ports do not fit between the base port and 65535",
        );
        wrong
    }
}
