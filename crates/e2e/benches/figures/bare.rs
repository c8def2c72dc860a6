//! A machine of the lab by itself: booted from a medium or its drive, with none of Billet around
//! it but the client of its BMC. What Billet's own boots and writes are held against.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use billet_bmc::{BmcClient, Timeouts};
use billet_media::{
    boot_media::BootMediaTemplate,
    ramdisk::{DEFAULT_STUB, Section, join, sections},
};
use billet_model::{
    BootId, Secret,
    bmc::{BmcEndpoint, BmcReply, BmcRequest, BootTarget, PowerAction},
};
use cpio::newc;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::word;

/// How long any boot may take, without KVM and on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// A machine of the lab.
pub struct Bare {
    bmc: BmcClient,
    /// What its serial port ever said.
    serial: PathBuf,
    /// The file behind its first drive.
    pub drive: PathBuf,
}

impl Bare {
    /// From the lab's own description of it.
    pub fn of(machine: &Value) -> Self {
        let endpoint = BmcEndpoint {
            address: word(&machine["bmc"]).to_owned(),
            user: word(&machine["user"]).to_owned(),
            fingerprint: None,
        };
        let password = Secret::new(word(&machine["password"]).to_owned());
        let drive = PathBuf::from(word(&machine["drive_files"][0]));
        Self {
            bmc: BmcClient::new(&endpoint, password, Timeouts::default()).expect("a client"),
            serial: drive.with_file_name("serial.log"),
            drive,
        }
    }

    /// What its serial port says from now on.
    pub fn listen(&self) -> Serial {
        let from = fs::metadata(&self.serial).map_or(0, |m| m.len());
        Serial {
            path: self.serial.clone(),
            from,
        }
    }

    async fn ask(&self, request: BmcRequest, medium: Option<&str>) {
        let reply = self.bmc.carry_out(&request, medium).await;
        assert!(
            matches!(reply, BmcReply::Done { .. }),
            "{request:?}: {reply:?}"
        );
    }

    /// Takes the power away.
    pub async fn off(&self) {
        let action = PowerAction::Off;
        self.ask(BmcRequest::Power { action }, None).await;
    }

    /// Boots the medium at this address, once; from power on.
    pub async fn boot_medium(&self, url: &str) -> Serial {
        self.off().await;
        let boot = BootId::from_parts(0, [0; 10]);
        self.ask(BmcRequest::InsertMedia { boot }, Some(url)).await;
        self.boot(BootTarget::CdOnce).await
    }

    /// Boots the drives; from power on.
    pub async fn boot_drive(&self) -> Serial {
        self.off().await;
        self.ask(BmcRequest::EjectMedia, None).await;
        self.boot(BootTarget::Disk).await
    }

    async fn boot(&self, target: BootTarget) -> Serial {
        self.ask(BmcRequest::SetBoot { target }, None).await;
        let serial = self.listen();
        let action = PowerAction::On;
        self.ask(BmcRequest::Power { action }, None).await;
        serial
    }
}

/// What a serial port says from some time on.
pub struct Serial {
    path: PathBuf,
    from: u64,
}

impl Serial {
    /// All of it so far.
    pub fn said(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.from))?;
            file.read_to_end(&mut bytes)
        });
        read.expect("the serial port's file");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The line that has this in it, once it is whole.
    pub fn line(&self, with: &str) -> Option<String> {
        let said = self.said();
        let (whole, _) = said.rsplit_once('\n')?;
        whole.lines().find(|l| l.contains(with)).map(str::to_owned)
    }

    /// Waits for such a line; it, and how long that took.
    pub async fn until(&self, with: &str) -> (String, Duration) {
        let began = Instant::now();
        loop {
            if let Some(line) = self.line(with) {
                return (line, began.elapsed());
            }
            assert!(began.elapsed() < LIMIT, "no {with:?}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A medium with the ramdisk's own kernel and, in place of the agent, a shell script as its init.
/// With `modules`, the ramdisk's are there for `modprobe`.
pub fn medium(ramdisk: &Path, busybox: &Path, script: &str, modules: bool, out: &Path) {
    let uki = fs::read(ramdisk).expect("the ramdisk");
    let parts = sections(&uki).expect("a UKI");
    let part = |name: &str| {
        let found = parts.iter().find(|(n, _)| n == name);
        found.expect("a section").1.as_slice()
    };
    let mut initrd = Vec::new();
    if modules {
        // The kernel unpacks one archive over the other.
        initrd.extend_from_slice(part(".initrd"));
        initrd.resize(initrd.len().next_multiple_of(4), 0);
    }
    initrd.extend(archive(&fs::read(busybox).expect("busybox"), script));
    let stub = fs::read(DEFAULT_STUB).expect("systemd's stub");
    let joined = join(
        &stub,
        &[
            Section::new(".osrel", part(".osrel")),
            Section::new(".cmdline", part(".cmdline")),
            Section::new(".uname", part(".uname")),
            Section::new(".initrd", &initrd),
            Section::new(".linux", part(".linux")),
        ],
    );
    let program = out.with_extension("efi");
    fs::write(&program, joined.expect("a UKI")).expect("written");
    BootMediaTemplate::create(&program, out).expect("a medium");
}

fn archive(busybox: &[u8], script: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |name: &str, mode: u32, bytes: &[u8]| {
        // Device numbers count for what is a device: the console is the only one.
        let builder = newc::Builder::new(name).mode(mode).nlink(1);
        let builder = builder.rdev_major(5).rdev_minor(1);
        let length = u32::try_from(bytes.len()).expect("small");
        let mut writer = builder.write(&mut out, length);
        std::io::Write::write_all(&mut writer, bytes).expect("memory");
        writer.finish().expect("memory");
    };
    for directory in ["dev", "proc", "sys", "tmp", "bin"] {
        add(directory, 0o040_755, &[]);
    }
    add("dev/console", 0o020_600, &[]);
    add("bin/busybox", 0o100_755, busybox);
    add("init", 0o100_755, script.as_bytes());
    newc::trailer(out).expect("memory")
}

/// Serves a file to whoever asks for anything; where.
pub async fn serve(file: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let file = file.clone();
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                let body = fs::read(&file).expect("the medium");
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&body).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    format!("http://{at}/medium.iso")
}
