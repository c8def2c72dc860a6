//! The processes of a machine that is on: swtpm, QEMU, and the task that watches them.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::accel::QEMU;
use super::qmp::Qmp;
use crate::metal::{MetalError, MetalEvent};

/// How long a process may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine that is on.
pub(super) struct Running {
    qmp: Arc<Qmp>,
    kill: mpsc::Sender<()>,
    ended: watch::Receiver<bool>,
}

impl Running {
    pub fn qmp(&self) -> Arc<Qmp> {
        Arc::clone(&self.qmp)
    }

    /// Have it killed; what is given back tells when it is dead.
    pub fn kill(&self) -> watch::Receiver<bool> {
        // Where it is full or closed, the end has come already.
        let _ = self.kill.try_send(());
        self.ended.clone()
    }
}

/// Wait until a machine is dead.
pub(super) async fn ended(mut dead: watch::Receiver<bool>) {
    // An error means that the watching task is gone, and with it the process.
    let _ = dead.wait_for(|dead| *dead).await;
}

/// A program that dies with this process, however that ends, where the system can arrange it.
fn program(name: &str) -> Command {
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", "--", name]);
        command
    } else {
        Command::new(name)
    };
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn spawn(mut command: Command, name: &str, log: &Path) -> Result<Child, MetalError> {
    let out = std::fs::File::create(log).map_err(MetalError::io("writing", log.display()))?;
    let err = out
        .try_clone()
        .map_err(MetalError::io("writing", log.display()))?;
    command
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(MetalError::io("starting", name))
}

/// Wait until a process listens on its socket.
async fn listening(
    child: &mut Child,
    name: &'static str,
    socket: &Path,
    log: &Path,
) -> Result<(), MetalError> {
    let begin = Instant::now();
    loop {
        if socket.exists() {
            return Ok(());
        }
        let gone = child
            .try_wait()
            .map_err(MetalError::io("waiting for", name))?;
        if gone.is_some() || begin.elapsed() > PATIENCE {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            return Err(MetalError::Emulator {
                doing: name,
                message: format!("it does not run: {}", said.trim()),
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Start the machine's processes and the task that watches them.
pub(super) async fn start(
    shared: &Arc<Shared>,
    arguments: Vec<OsString>,
) -> Result<(), MetalError> {
    let setup = &shared.setup;
    let socket = |name: &str| setup.sockets.join(format!("{}.{name}", setup.name));
    let (tpm_socket, qmp_socket, serial_socket) = (socket("tpm"), socket("qmp"), socket("serial"));
    for file in [&tpm_socket, &qmp_socket, &serial_socket] {
        let _ = std::fs::remove_file(file);
    }

    let tpm_log = setup.dir.join("swtpm.log");
    let mut swtpm = program("swtpm");
    swtpm
        .arg("socket")
        .arg("--tpm2")
        .arg("--tpmstate")
        .arg(option("dir=", &setup.dir.join("tpm")))
        .arg("--ctrl")
        .arg(option("type=unixio,path=", &tpm_socket))
        .args(["--flags", "startup-clear", "--terminate"]);
    let mut swtpm = spawn(swtpm, "swtpm", &tpm_log)?;
    listening(&mut swtpm, "starting swtpm", &tpm_socket, &tpm_log).await?;

    let qemu_log = setup.dir.join("qemu.log");
    let mut qemu = program(QEMU);
    qemu.args(arguments);
    let mut qemu = spawn(qemu, QEMU, &qemu_log)?;
    listening(&mut qemu, "starting QEMU", &qmp_socket, &qemu_log).await?;

    let (events, heard) = mpsc::channel(64);
    let qmp = Qmp::connect(&qmp_socket, events).await?;
    let serial = UnixStream::connect(&serial_socket)
        .await
        .map_err(MetalError::io(
            "connecting to the serial line at",
            serial_socket.display(),
        ))?;
    pump(shared, serial);

    let (kill, killed) = mpsc::channel(1);
    let (dead, ended) = watch::channel(false);
    *shared.running() = Some(Running {
        qmp: Arc::clone(&qmp),
        kill,
        ended,
    });
    tokio::spawn(watch_over(
        Arc::clone(shared),
        Watched {
            qmp: Arc::clone(&qmp),
            qemu,
            swtpm,
            heard,
            killed,
            dead,
        },
    ));
    // It was started paused, so that nothing it writes is missed.
    qmp.execute("cont", json!({})).await.map(|_| ())
}

pub(super) fn option(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    // A comma separates options; twice, it is one.
    match path.to_str() {
        Some(path) => text.push(path.replace(',', ",,")),
        None => text.push(path),
    }
    text
}

/// Carry the serial line to and from the console.
fn pump(shared: &Arc<Shared>, serial: UnixStream) {
    let (mut read, mut write) = serial.into_split();
    let (input, mut typed) = mpsc::channel::<Vec<u8>>(64);
    let console = Arc::clone(&shared.console);
    console.connect(input);
    tokio::spawn(async move {
        while let Some(bytes) = typed.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            console.wrote(&buffer[..n]);
        }
    });
}

struct Watched {
    qmp: Arc<Qmp>,
    qemu: Child,
    swtpm: Child,
    heard: mpsc::Receiver<Value>,
    killed: mpsc::Receiver<()>,
    dead: watch::Sender<bool>,
}

/// Until the machine ends, by whatever cause; then tell of it where nobody asked for it.
async fn watch_over(shared: Arc<Shared>, mut w: Watched) {
    let event = loop {
        tokio::select! {
            _ = w.killed.recv() => break None,
            ended = w.qemu.wait() => {
                let how = match ended {
                    Ok(status) => format!("QEMU ended with {status}"),
                    Err(e) => format!("QEMU was lost: {e}"),
                };
                break Some(MetalEvent::Died(how));
            }
            Some(message) = w.heard.recv() => {
                if let Some(event) = end_of_guest(&message, &w.qmp).await {
                    break Some(event);
                }
            }
        }
    };
    // By its process id, which is still its own until it was waited for.
    if let Err(e) = w.qemu.kill().await {
        tracing::warn!(machine = shared.setup.name, error = %e, "killing QEMU");
    }
    let _ = w.swtpm.kill().await;
    shared.console.disconnect();
    *shared.running() = None;
    let _ = w.dead.send(true);
    if let Some(event) = event {
        // The lab may have been stopped meanwhile.
        let _ = shared.events.send((shared.setup.name.clone(), event));
    }
}

/// What a guest that stopped meant by it.
async fn end_of_guest(message: &Value, qmp: &Qmp) -> Option<MetalEvent> {
    if message.get("event")?.as_str()? != "SHUTDOWN" {
        return None;
    }
    let reason = message.pointer("/data/reason")?.as_str()?;
    Some(match reason {
        "guest-reset" | "host-qmp-system-reset" => MetalEvent::Restarted {
            booted: has_read(qmp).await,
        },
        "guest-shutdown" | "host-qmp-quit" | "host-signal" => MetalEvent::PoweredOff,
        other => MetalEvent::Died(format!("QEMU stopped it: {other}")),
    })
}

/// Whether anything was read from drives or media, which the firmware does to boot and not
/// before.
async fn has_read(qmp: &Qmp) -> bool {
    let Ok(stats) = qmp.execute("query-blockstats", json!({})).await else {
        return true;
    };
    let devices = stats.as_array().map_or(&[][..], Vec::as_slice);
    devices.iter().any(|device| {
        let node = device.get("node-name").and_then(Value::as_str);
        let reads = device
            .pointer("/stats/rd_operations")
            .and_then(Value::as_u64);
        node.is_some_and(|n| n.starts_with("drive") || n.starts_with("medium"))
            && reads.is_some_and(|n| n > 0)
    })
}
