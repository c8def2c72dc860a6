//! The serial console over SSH: the BMC's user and password, one serial line, any number of
//! watchers.
//!
//! A shell joins the line, whatever command it was asked for; `Enter ~ .` is the client's own
//! way out, and closing the connection is always enough.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Bmc, auth};
use crate::metal::MetalError;

/// The host key kept in `dir`, or a new one, kept there.
pub(super) fn host_key(dir: &Path) -> Result<PrivateKey, MetalError> {
    let file = dir.join("ssh_host_ed25519");
    let wrong = |e: russh::keys::ssh_key::Error| MetalError::Emulator {
        doing: "making an SSH host key",
        message: e.to_string(),
    };
    if let Ok(text) = std::fs::read_to_string(&file) {
        return PrivateKey::from_openssh(&text).map_err(wrong);
    }
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(wrong)?;
    let text = key
        .to_openssh(russh::keys::ssh_key::LineEnding::LF)
        .map_err(wrong)?;
    std::fs::write(&file, text.as_bytes()).map_err(MetalError::io("writing", file.display()))?;
    Ok(key)
}

pub(super) async fn serve(
    bmc: Arc<Bmc>,
    listener: TcpListener,
    key: PrivateKey,
    stop: CancellationToken,
) {
    let config = Arc::new(russh::server::Config {
        methods: MethodSet::from(&[MethodKind::Password][..]),
        auth_rejection_time: Duration::from_secs(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        keys: vec![key],
        nodelay: true,
        ..Default::default()
    });
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (config, stop) = (Arc::clone(&config), stop.clone());
        let watcher = Watcher {
            bmc: Arc::clone(&bmc),
            pumps: HashMap::new(),
        };
        tokio::spawn(async move {
            let session = async {
                // How it ends is the watcher's affair.
                if let Ok(session) = russh::server::run_stream(config, stream, watcher).await {
                    let _ = session.await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = session => {}
            }
        });
    }
}

/// One connection.
struct Watcher {
    bmc: Arc<Bmc>,
    pumps: HashMap<ChannelId, JoinHandle<()>>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        for pump in self.pumps.values() {
            pump.abort();
        }
    }
}

impl Watcher {
    fn join(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        let handle = session.handle();
        let console = self.bmc.metal.console();
        let (kept, mut follow) = console.watch();
        let pump = tokio::spawn(async move {
            if !kept.is_empty() && handle.data(channel, kept).await.is_err() {
                return;
            }
            loop {
                match follow.recv().await {
                    Ok(piece) => {
                        if handle.data(channel, piece.to_vec()).await.is_err() {
                            return;
                        }
                    }
                    // A slow watcher misses some; a serial line waits for nobody.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        if let Some(before) = self.pumps.insert(channel, pump) {
            before.abort();
        }
        Ok(())
    }
}

impl Handler for Watcher {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        if auth::check(&self.bmc.lock(), user, password) {
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
        _term: &str,
        _col_width: u32,
        _row_height: u32,
        _pix_width: u32,
        _pix_height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.join(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.join(channel, session)
    }

    async fn data(
        &mut self,
        _channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.bmc.metal.console().typed(data);
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.close(channel)
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(pump) = self.pumps.remove(&channel) {
            pump.abort();
        }
        Ok(())
    }
}
