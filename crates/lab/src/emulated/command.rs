//! QEMU's command line for a machine, made anew for each start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::EmulatedSetup;
use super::disk::{OVMF_CODE, drive_file, vars_file};
use super::process::option;
use crate::metal::{BootPlan, BootTarget, MediaSlot};

/// What the virtual CD drive hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaBus {
    /// SATA, on the chipset's own controller.
    Sata,
    /// USB, as on real BMCs.
    Usb,
    /// virtio-scsi.
    VirtioScsi,
}

/// A machine at the moment of its start.
pub(super) struct Machine<'a> {
    pub setup: &'a EmulatedSetup,
    pub plan: BootPlan,
    pub media: [Option<PathBuf>; 2],
    /// Serials of the drives that fail whatever changes them.
    pub failing: Vec<String>,
    /// Serial of the drive that is not there.
    pub gone: Option<String>,
}

/// Collects arguments.
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn device(&mut self, value: impl Into<OsString>) {
        self.add("-device", value);
    }

    fn blockdev(&mut self, value: &Value) {
        self.add("-blockdev", value.to_string());
    }
}

/// The place of each bootable part in the firmware's order, where it has one.
struct Order {
    cd: u32,
    usb: u32,
    drive: u32,
    nic: Option<u32>,
}

/// Media come first or after all drives, of which there are eight at most.
fn order(first: BootTarget) -> Order {
    let (cd, usb, drive, nic) = match first {
        BootTarget::Cd => (0, 21, 1, None),
        BootTarget::Usb => (21, 0, 1, None),
        BootTarget::Pxe | BootTarget::UefiHttp => (20, 21, 1, Some(0)),
        BootTarget::None | BootTarget::Hdd => (20, 21, 1, None),
    };
    Order {
        cd,
        usb,
        drive,
        nic,
    }
}

/// The whole command line, without the program.
pub(super) fn arguments(m: &Machine<'_>) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    let order = order(m.plan.first);
    board(&mut line, m);
    smbios(&mut line, m);
    drives(&mut line, m, order.drive);
    network(&mut line, m, order.nic);
    gpus(&mut line, m);
    media(&mut line, m, &order);
    line.0
}

fn board(line: &mut Line, m: &Machine<'_>) {
    let s = m.setup;
    let socket = |name: &str| s.sockets.join(format!("{}.{name}", s.name));
    line.add("-name", s.name.as_str());
    line.add("-machine", "q35,graphics=off");
    line.add("-accel", s.accel.argument());
    line.add("-cpu", s.accel.cpu());
    line.0
        .extend(["-nodefaults", "-no-user-config", "-S"].map(OsString::from));
    line.add("-display", "none");
    // A restart is the BMC's affair: see the module above this one.
    line.add("-action", "reboot=shutdown,shutdown=pause");
    line.add("-boot", "menu=off,splash-time=0");
    line.add("-rtc", "base=utc");
    line.add("-uuid", s.facts.uuid.as_str());

    let nodes = s.facts.numa_nodes.max(1);
    line.add("-smp", format!("{},sockets={nodes}", s.cpus));
    line.add("-m", format!("{}M", s.facts.memory_mib()));
    for node in 0..nodes {
        let mib = s.facts.memory_mib() / u64::from(nodes);
        let share = s.cpus / nodes;
        let (first, last) = (node * share, (node + 1) * share - 1);
        line.add(
            "-object",
            format!("memory-backend-ram,id=ram{node},size={mib}M"),
        );
        line.add(
            "-numa",
            format!("node,nodeid={node},cpus={first}-{last},memdev=ram{node}"),
        );
    }

    line.add(
        "-drive",
        format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"),
    );
    line.add(
        "-drive",
        option("if=pflash,format=raw,unit=1,file=", &vars_file(&s.dir)),
    );

    line.add("-chardev", option("socket,id=tpm,path=", &socket("tpm")));
    line.add("-tpmdev", "emulator,id=tpm0,chardev=tpm");
    line.device("tpm-tis,tpmdev=tpm0");

    let mut serial = option(
        "socket,id=serial,server=on,wait=off,path=",
        &socket("serial"),
    );
    serial.push(option(",logappend=on,logfile=", &s.dir.join("serial.log")));
    line.add("-chardev", serial);
    line.add("-serial", "chardev:serial");
    let mut qmp = option("unix:", &socket("qmp"));
    qmp.push(",server=on,wait=off");
    line.add("-qmp", qmp);
}

fn smbios(line: &mut Line, m: &Machine<'_>) {
    let f = &m.setup.facts;
    line.add(
        "-smbios",
        format!(
            "type=0,vendor={},version={}",
            f.firmware_vendor, f.firmware_version
        ),
    );
    line.add(
        "-smbios",
        format!(
            "type=1,manufacturer={},product={},serial={},uuid={},family=Billet Lab",
            f.manufacturer, f.model, f.serial, f.uuid
        ),
    );
    line.add(
        "-smbios",
        format!(
            "type=2,manufacturer={},product=Emulated Board,serial={}-B",
            f.manufacturer, f.serial
        ),
    );
    line.add(
        "-smbios",
        format!(
            "type=3,manufacturer={},serial={}-C",
            f.manufacturer, f.serial
        ),
    );
    if let Some(dimm) = f.dimms.first() {
        // QEMU makes one module of all memory below its limit for a module.
        line.add(
            "-smbios",
            format!(
                "type=17,loc_pfx=DIMM,manufacturer={},serial={},part={},speed={}",
                dimm.manufacturer, dimm.serial, dimm.part, dimm.mts
            ),
        );
    }
}

fn drives(line: &mut Line, m: &Machine<'_>, first: u32) {
    for (n, drive) in m.setup.facts.drives.iter().enumerate() {
        let mut file = json!({
            "driver": "file",
            "filename": drive_file(&m.setup.dir, n),
            "discard": "unmap",
            // The host's memory is the drive's cache; a host that crashes loses the lab anyway.
            "cache": { "direct": false, "no-flush": true },
        });
        if m.failing.contains(&drive.serial) {
            let fails = |what: &str| json!({ "event": "none", "iotype": what, "errno": 5 });
            file = json!({
                "driver": "blkdebug",
                "image": file,
                "inject-error": [fails("write"), fails("write-zeroes"), fails("discard")],
            });
        }
        line.blockdev(&json!({
            "driver": "raw",
            "node-name": format!("drive{n}"),
            "discard": "unmap",
            "file": file,
        }));
        line.device(format!(
            "pcie-root-port,id=bay{n},bus=pcie.0,chassis={},slot={}",
            n + 1,
            n + 1
        ));
        // Its bay stays, and with it the numbers of the buses behind.
        if m.gone.as_ref() == Some(&drive.serial) {
            continue;
        }
        line.device(format!(
            "nvme,id=nvme{n},bus=bay{n},serial={},drive=drive{n},bootindex={}",
            drive.serial,
            first as usize + n
        ));
    }
}

fn network(line: &mut Line, m: &Machine<'_>, index: Option<u32>) {
    let net = &m.setup.net;
    line.add(
        "-netdev",
        format!(
            "user,id=net0,ipv6=off,net={}/24,host={},dhcpstart={},hostfwd=tcp:{}:{}-{}:22",
            net.subnet,
            net.host,
            net.machine,
            net.ssh.ip(),
            net.ssh.port(),
            net.machine
        ),
    );
    for nic in &m.setup.facts.nics {
        line.device("pcie-root-port,id=nicport,bus=pcie.0,chassis=9,slot=9");
        let mut device = format!(
            "virtio-net-pci,netdev=net0,bus=nicport,romfile=,mac={}",
            nic.mac
        );
        if let Some(index) = index {
            device.push_str(&format!(",bootindex={index}"));
        }
        line.device(device);
    }
}

/// First bus number of the `n`th node's own root bus.
pub(super) fn node_bus(node: u32) -> u32 {
    0x40 + node * 0x40
}

fn gpus(line: &mut Line, m: &Machine<'_>) {
    let f = &m.setup.facts;
    for node in 0..f.numa_nodes {
        if f.gpus.iter().any(|g| g.numa == node) {
            line.device(format!(
                "pxb-pcie,id=node{node},bus=pcie.0,bus_nr={},numa_node={node}",
                node_bus(node)
            ));
        }
    }
    for (n, gpu) in f.gpus.iter().enumerate() {
        line.device(format!(
            "pcie-root-port,id=gpuport{n},bus=node{},chassis={},slot={},x-speed=16,x-width=16",
            gpu.numa,
            16 + n,
            16 + n
        ));
        line.device(format!("bochs-display,id=gpu{n},bus=gpuport{n},romfile="));
    }
}

fn media(line: &mut Line, m: &Machine<'_>, order: &Order) {
    let usb = m.setup.media_bus == MediaBus::Usb || m.media[MediaSlot::Usb.index()].is_some();
    if usb {
        line.device("qemu-xhci,id=usb,bus=pcie.0");
    }
    if let Some(file) = &m.media[MediaSlot::Cd.index()] {
        line.blockdev(&medium(MediaSlot::Cd, file));
    }
    let drive = match &m.media[MediaSlot::Cd.index()] {
        Some(_) => ",drive=medium-cd",
        None => "",
    };
    let index = order.cd;
    match m.setup.media_bus {
        MediaBus::Sata => line.device(format!("ide-cd,id=cd,bus=ide.0{drive},bootindex={index}")),
        MediaBus::Usb => {
            line.device("usb-bot,id=cdbot,bus=usb.0");
            line.device(format!(
                "scsi-cd,id=cd,bus=cdbot.0{drive},bootindex={index}"
            ));
        }
        MediaBus::VirtioScsi => {
            line.device("virtio-scsi-pci,id=cdscsi,bus=pcie.0");
            line.device(format!(
                "scsi-cd,id=cd,bus=cdscsi.0{drive},bootindex={index}"
            ));
        }
    }
    if let Some(file) = &m.media[MediaSlot::Usb.index()] {
        line.blockdev(&medium(MediaSlot::Usb, file));
        line.device(format!(
            "usb-storage,id=stick,bus=usb.0,drive=medium-usb,removable=on,bootindex={}",
            order.usb
        ));
    }
}

fn medium(slot: MediaSlot, file: &Path) -> Value {
    json!({
        "driver": "raw",
        "node-name": format!("medium-{}", slot.as_redfish().to_lowercase()),
        "read-only": true,
        "file": { "driver": "file", "filename": file },
    })
}

/// What to tell a running QEMU to insert a medium.
pub(super) fn insert(slot: MediaSlot, file: &Path) -> Vec<(&'static str, Value)> {
    match slot {
        MediaSlot::Cd => vec![(
            "blockdev-change-medium",
            json!({
                "id": "cd", "filename": file, "format": "raw", "read-only-mode": "read-only",
            }),
        )],
        // The stick is plugged in at the next start: a machine without one has no controller.
        MediaSlot::Usb => vec![],
    }
}

/// What to tell a running QEMU to eject a medium.
pub(super) fn eject(slot: MediaSlot) -> Vec<(&'static str, Value)> {
    match slot {
        MediaSlot::Cd => vec![("eject", json!({ "id": "cd", "force": true }))],
        MediaSlot::Usb => vec![("device_del", json!({ "id": "stick" }))],
    }
}
