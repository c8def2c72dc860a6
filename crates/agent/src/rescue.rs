//! Root for a tenant in the ramdisk: an SSH server that knows the tenant's keys,
//! and gives the ramdisk's one shell.
//!
//! It runs until the machine's power goes: the task that starts it is done when
//! it listens, and the control plane ends it by knowing the boot no more.

mod input;
mod shell;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rand::rng;
use russh::{
    Channel, ChannelId, MethodKind, MethodSet,
    keys::{Algorithm, PrivateKey, PublicKey},
    server::{Auth, ChannelOpenHandle, Handler, Msg, Session, VerifiedPublicKey},
};
use rustix::process::{Pid, WaitStatus};

use crate::console::say;
pub use shell::Shell;
use shell::{Running, Terminal};

/// The port of SSH.
const PORT: u16 = 22;

/// Why nobody can get in.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// There is no key that could be let in.
    #[error("none of the lease's SSH keys can be used")]
    NoKeys,
    /// The ramdisk was built without a shell.
    #[error(
        "this ramdisk has no shell: build it with the package busybox-static among the kernel's (`billet ramdisk build`)"
    )]
    NoShell,
    /// The host key could not be made.
    #[error("making a host key: {0}")]
    HostKey(String),
    /// The port could not be had.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

static UP: AtomicBool = AtomicBool::new(false);

/// Whether a tenant may be at work here.
pub fn is_up() -> bool {
    UP.load(Ordering::Relaxed)
}

/// Lets these keys in as root, once for the life of the ramdisk. Returns the
/// host keys, the same when asked again.
///
/// # Errors
/// When there is no usable key, no shell, or no port.
pub fn start(keys: &[String]) -> Result<Vec<String>, RescueError> {
    static STARTED: Mutex<Option<Vec<String>>> = Mutex::new(None);
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(host_keys) = &*started {
        return Ok(host_keys.clone());
    }
    let shell = Shell::of_ramdisk().ok_or(RescueError::NoShell)?;
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
        .map_err(|source| RescueError::Io {
            doing: "listening for SSH",
            source,
        })?;
    // The agent has it in memory; whoever is let in needs none of it.
    let _ = std::fs::remove_dir_all("/.extra");
    let host_keys = serve(listener, keys, shell)?;
    UP.store(true, Ordering::Relaxed);
    say("the tenant is let in by SSH");
    *started = Some(host_keys.clone());
    Ok(host_keys)
}

/// Serves SSH on `listener`, in a thread of its own. Returns the host keys.
///
/// # Errors
/// When there is no usable key, or the server cannot be started.
pub fn serve(
    listener: TcpListener,
    keys: &[String],
    shell: Shell,
) -> Result<Vec<String>, RescueError> {
    let mut usable = Vec::new();
    for key in keys {
        match PublicKey::from_openssh(key.trim()) {
            Ok(key) => usable.push(key),
            // The others may be good.
            Err(error) => {
                let start: String = key.chars().take(24).collect();
                say(format!("the SSH key {start:?}… is passed over: {error}"));
            }
        }
    }
    let keys = usable;
    if keys.is_empty() {
        return Err(RescueError::NoKeys);
    }
    let wrong = |e: russh::keys::ssh_key::Error| RescueError::HostKey(e.to_string());
    let host = PrivateKey::random(&mut rng(), Algorithm::Ed25519).map_err(wrong)?;
    let mut public = host.public_key().clone();
    public.set_comment("");
    let public = public.to_openssh().map_err(wrong)?.trim().to_owned();
    let io = |doing| move |source| RescueError::Io { doing, source };
    listener
        .set_nonblocking(true)
        .map_err(io("preparing the port"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("starting the SSH server"))?;
    thread::spawn(move || {
        if let Err(error) = runtime.block_on(accept(listener, host, Arc::new(keys), shell)) {
            say(format!("the SSH server ended: {error}"));
        }
    });
    Ok(vec![public])
}

async fn accept(
    listener: TcpListener,
    host: PrivateKey,
    keys: Arc<Vec<PublicKey>>,
    shell: Shell,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let config = Arc::new(russh::server::Config {
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_secs(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        keys: vec![host],
        nodelay: true,
        ..Default::default()
    });
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let visitor = Visitor {
            keys: Arc::clone(&keys),
            shell: shell.clone(),
            terminals: HashMap::new(),
            running: HashMap::new(),
        };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            say(format!("SSH from {from}"));
            if let Ok(session) = russh::server::run_stream(config, stream, visitor).await {
                // How it ends is the visitor's affair.
                let _ = session.await;
            }
        });
    }
}

/// Processes that PID 1 took leave of, for those who wait for one of them.
static ENDED: (Mutex<Vec<(i32, WaitStatus)>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());

/// PID 1 has seen a process end.
pub fn ended(pid: Pid, status: WaitStatus) {
    let mut ended = ENDED.0.lock().unwrap_or_else(PoisonError::into_inner);
    ended.push((pid.as_raw_nonzero().get(), status));
    let old = ended.len().saturating_sub(64);
    ended.drain(..old);
    ENDED.1.notify_all();
}

/// How a process ended of which PID 1 took leave before we could.
fn taken(pid: i32) -> Option<WaitStatus> {
    let ended = ENDED.0.lock().unwrap_or_else(PoisonError::into_inner);
    let find = |ended: &Vec<(i32, WaitStatus)>| {
        let found = ended.iter().rfind(|(p, _)| *p == pid);
        found.map(|(_, status)| *status)
    };
    let (ended, _) = ENDED
        .1
        .wait_timeout_while(ended, Duration::from_secs(2), |e| find(e).is_none())
        .unwrap_or_else(PoisonError::into_inner);
    find(&ended)
}

/// One connection.
struct Visitor {
    keys: Arc<Vec<PublicKey>>,
    shell: Shell,
    terminals: HashMap<ChannelId, Terminal>,
    running: HashMap<ChannelId, Running>,
}

impl Drop for Visitor {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.hang_up();
        }
    }
}

impl Visitor {
    fn begin(
        &mut self,
        channel: ChannelId,
        command: Option<&[u8]>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let terminal = self.terminals.get(&channel);
        match self.shell.run(command, terminal, session.handle(), channel) {
            Ok(running) => {
                session.channel_success(channel)?;
                if let Some(before) = self.running.insert(channel, running) {
                    before.hang_up();
                }
            }
            Err(error) => {
                say(format!("no shell for the tenant: {error}"));
                session.channel_failure(channel)?;
                session.close(channel)?;
            }
        }
        Ok(())
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let shown = key.public_key.key_data();
        let known = self.keys.iter().any(|k| k.key_data() == shown);
        if user == "root" && known {
            Ok(Auth::Accept)
        } else {
            Ok(Auth::reject())
        }
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match Terminal::new(term, columns, rows) {
            Ok(terminal) => {
                self.terminals.insert(channel, terminal);
                session.channel_success(channel)
            }
            Err(error) => {
                say(format!("no terminal for the tenant: {error}"));
                session.channel_failure(channel)
            }
        }
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        _pix_width: u32,
        _pix_height: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(terminal) = self.terminals.get(&channel) {
            terminal.resize(columns, rows);
        }
        Ok(())
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.begin(channel, None, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.begin(channel, Some(data), session)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(running) = self.running.get_mut(&channel) else {
            return Ok(());
        };
        // Meanwhile nothing more is read from the visitor.
        let taken = match &running.input {
            Some(input) => input.give(data.to_vec()).await,
            None => Ok(()),
        };
        if let Err(unread) = taken {
            running.input = None;
            running.hang_up();
            say(unread.to_string());
            session.extended_data(channel, 1, format!("billet: {unread}\r\n").into_bytes())?;
            session.close(channel)?;
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(running) = self.running.get_mut(&channel) {
            running.input = None;
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.terminals.remove(&channel);
        if let Some(running) = self.running.remove(&channel) {
            running.hang_up();
        }
        Ok(())
    }
}
