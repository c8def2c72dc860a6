//! A shell, with a terminal or without, and the bytes that go to it and come.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use russh::{ChannelId, server::Handle};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::input::Input;

/// The shell of the ramdisk, see `billet-media`.
const BUSYBOX: &str = "/bin/busybox";

/// What is run for a visitor.
#[derive(Clone, Debug)]
pub struct Shell {
    /// A shell that takes `-c COMMAND`, and `-l`.
    shell: Vec<PathBuf>,
    /// A program that makes its standard input the terminal of what it runs.
    seat: Vec<PathBuf>,
}

impl Shell {
    /// The ramdisk's, if it has one. Its commands are put where they are looked for.
    pub fn of_ramdisk() -> Option<Self> {
        if !Path::new(BUSYBOX).is_file() {
            return None;
        }
        // What cannot be linked is still there as `busybox COMMAND`.
        let _: io::Result<_> = Command::new(BUSYBOX)
            .args(["--install", "-s", "/bin"])
            .status();
        let busybox = |applet: &str| vec![BUSYBOX.into(), applet.into()];
        let mut seat = busybox("setsid");
        seat.push("-c".into());
        Some(Self {
            shell: busybox("sh"),
            seat,
        })
    }

    /// The one of the system that this runs on.
    pub fn of_system() -> Self {
        Self {
            shell: vec!["/bin/sh".into()],
            seat: vec!["setsid".into(), "-c".into()],
        }
    }

    /// Runs a command, or a shell to talk to.
    pub(super) fn run(
        &self,
        command: Option<&[u8]>,
        terminal: Option<&Terminal>,
        handle: Handle,
        channel: ChannelId,
    ) -> io::Result<Running> {
        let mut words: Vec<&OsStr> = Vec::new();
        if terminal.is_some() {
            words.extend(self.seat.iter().map(|w| w.as_os_str()));
        }
        words.extend(self.shell.iter().map(|w| w.as_os_str()));
        match command {
            Some(text) => words.extend([OsStr::new("-c"), OsStr::from_bytes(text)]),
            None => words.push(OsStr::new("-l")),
        }
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut run = Command::new(program);
        run.args(arguments)
            .env_clear()
            .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
            .env("HOME", "/root")
            .env("USER", "root")
            .current_dir("/");
        match terminal {
            Some(terminal) => {
                run.env("TERM", &terminal.kind);
                for put in [Command::stdin, Command::stdout, Command::stderr] {
                    put(&mut run, terminal.slave()?);
                }
                let child = run.spawn()?;
                let (reader, writer) = (terminal.master.try_clone()?, terminal.master.try_clone()?);
                let pid = child.id();
                let input = Input::into(writer);
                pump(reader, handle.clone(), channel, false);
                thread::spawn(move || {
                    let status = wait(child);
                    // What is still in the terminal goes out first.
                    thread::sleep(Duration::from_millis(150));
                    end(&handle, channel, status);
                });
                Ok(Running {
                    input: Some(input),
                    pid,
                })
            }
            None => {
                let mut child = run
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()?;
                let missing = || io::Error::other("a pipe is missing");
                let input = Input::into(child.stdin.take().ok_or_else(missing)?);
                let out = child.stdout.take().ok_or_else(missing)?;
                let wrong = child.stderr.take().ok_or_else(missing)?;
                let pid = child.id();
                let out = pump(out, handle.clone(), channel, false);
                let wrong = pump(wrong, handle.clone(), channel, true);
                thread::spawn(move || {
                    let status = wait(child);
                    let _ = (out.join(), wrong.join());
                    end(&handle, channel, status);
                });
                Ok(Running {
                    input: Some(input),
                    pid,
                })
            }
        }
    }
}

/// Something that runs for a visitor.
pub(super) struct Running {
    /// What the visitor types; without it, the program reads the end.
    pub input: Option<Input>,
    pid: u32,
}

impl Running {
    /// The visitor is gone.
    pub fn hang_up(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may be gone as well.
            let _: rustix::io::Result<()> = kill_process(pid, Signal::HUP);
        }
    }
}

/// A terminal that a visitor asked for.
pub(super) struct Terminal {
    kind: String,
    master: File,
}

impl Terminal {
    pub fn new(kind: &str, columns: u32, rows: u32) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let terminal = Self {
            kind: kind.chars().filter(char::is_ascii_graphic).collect(),
            master: master.into(),
        };
        terminal.resize(columns, rows);
        Ok(terminal)
    }

    fn slave(&self) -> io::Result<File> {
        let name = ptsname(&self.master, Vec::new())?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(OsStr::from_bytes(name.as_bytes()))
    }

    pub fn resize(&self, columns: u32, rows: u32) {
        let small = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: small(rows),
            ws_col: small(columns),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // A terminal of the wrong size is one all the same.
        let _: rustix::io::Result<()> = tcsetwinsize(&self.master, size);
    }
}

/// Sends what is read, until its end.
fn pump(
    mut from: impl Read + Send + 'static,
    handle: Handle,
    channel: ChannelId,
    wrong: bool,
) -> thread::JoinHandle<()> {
    let runtime = tokio::runtime::Handle::current();
    thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let bytes = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => buffer.get(..n).unwrap_or_default().to_vec(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal that nobody has open any more reads as an error.
                Err(_) => return,
            };
            let sent = runtime.block_on(async {
                if wrong {
                    handle.extended_data(channel, 1, bytes).await.is_ok()
                } else {
                    handle.data(channel, bytes).await.is_ok()
                }
            });
            if !sent {
                return;
            }
        }
    })
}

/// The exit status, as a shell would say it.
fn wait(mut child: Child) -> u32 {
    let said = |code: Option<i32>, signal: Option<i32>| {
        let code = code.unwrap_or_else(|| 128 + signal.unwrap_or(0));
        u32::try_from(code).unwrap_or(255)
    };
    match child.wait() {
        Ok(status) => said(status.code(), status.signal()),
        // PID 1 was quicker.
        Err(_) => i32::try_from(child.id())
            .ok()
            .and_then(super::taken)
            .map_or(255, |s| said(s.exit_status(), s.terminating_signal())),
    }
}

fn end(handle: &Handle, channel: ChannelId, status: u32) {
    let handle = handle.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    if let Ok(runtime) = runtime {
        runtime.block_on(async {
            // The visitor may be gone.
            let _ = handle.exit_status_request(channel, status).await;
            let _ = handle.eof(channel).await;
            let _ = handle.close(channel).await;
        });
    }
}
