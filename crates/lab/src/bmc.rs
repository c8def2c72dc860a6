//! A BMC: Redfish over TLS and a serial console over SSH, in front of one machine.
//!
//! Everything that changes something runs in a task of its own, so that a caller who hangs up
//! does not leave it half done. Changes of power are made one at a time, under
//! [`Bmc::power_lock`].

mod accounts;
mod actions;
mod auth;
mod error;
mod expand;
mod http;
mod identity;
mod media;
mod odd;
mod patch;
mod power;
mod resources;
mod serve;
mod ssh;
mod state;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::facts::{Facts, Kind, Maker};
use crate::faults::Faults;
use crate::metal::{Metal, MetalError, MetalEvent};
use state::{Lasting, State};

/// Whether the machine's firmware has keys to enforce Secure Boot with.
fn secure_boot_possible(facts: &Facts) -> bool {
    facts.kind == Kind::Phantom
}

/// What a BMC is made with.
pub(crate) struct BmcSetup {
    pub name: String,
    pub metal: Arc<dyn Metal>,
    pub faults: Arc<Faults>,
    pub user: String,
    pub password: String,
    /// Its own directory, which exists.
    pub dir: PathBuf,
    pub maker: Maker,
    /// Fetches media; shared among BMCs.
    pub fetch: reqwest::Client,
    /// The largest medium it takes, in bytes.
    pub media_cap: u64,
}

/// One BMC.
pub(crate) struct Bmc {
    name: String,
    metal: Arc<dyn Metal>,
    faults: Arc<Faults>,
    state: Mutex<State>,
    power_lock: tokio::sync::Mutex<()>,
    media_lock: tokio::sync::Mutex<()>,
    dir: PathBuf,
    fetch: reqwest::Client,
    media_cap: u64,
    uuid: String,
    mac: String,
    address: SocketAddr,
    ssh_address: SocketAddr,
    identity: Mutex<identity::Identity>,
}

impl Bmc {
    /// Make a BMC and let it answer on two listeners until `stop`.
    pub(crate) fn start(
        setup: BmcSetup,
        https: TcpListener,
        ssh: TcpListener,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, MetalError> {
        let saved = setup.dir.join("settings.json");
        let lasting = match Lasting::load(&saved)? {
            Some(lasting) => lasting,
            None => {
                let lasting = Lasting::new(&setup.user, &setup.password);
                lasting.save(&saved)?;
                lasting
            }
        };
        let identity = identity::identity(&setup.dir, &setup.metal.facts().serial)?;
        let host_key = ssh::host_key(&setup.dir)?;
        let local = |l: &TcpListener| {
            l.local_addr()
                .map_err(MetalError::io("reading the address of", "a listener"))
        };
        let bmc = Arc::new(Self {
            address: local(&https)?,
            ssh_address: local(&ssh)?,
            name: setup.name,
            metal: setup.metal,
            faults: setup.faults,
            state: Mutex::new(State::new(lasting)),
            power_lock: tokio::sync::Mutex::new(()),
            media_lock: tokio::sync::Mutex::new(()),
            dir: setup.dir,
            fetch: setup.fetch,
            media_cap: setup.media_cap,
            uuid: setup.maker.uuid("bmc"),
            mac: setup.maker.mac("bmc"),
            identity: Mutex::new(identity),
        });
        bmc.lock().note("OK", "The BMC started.");
        tokio::spawn(serve::serve(Arc::clone(&bmc), https, stop.clone()));
        tokio::spawn(ssh::serve(Arc::clone(&bmc), ssh, host_key, stop.clone()));
        Ok(bmc)
    }

    /// Where Redfish answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the serial console answers.
    pub(crate) fn ssh_address(&self) -> SocketAddr {
        self.ssh_address
    }

    /// SHA-256 of its certificate, lower-case hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        self.identity().fingerprint
    }

    fn identity(&self) -> identity::Identity {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes another certificate, and keeps it.
    fn renew_identity(&self) {
        let renewed = identity::renew(&self.dir, &self.metal.facts().serial);
        match renewed {
            Ok(new) => {
                *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = new;
                self.lock().note("OK", "The certificate was replaced.");
            }
            Err(e) => {
                tracing::error!(machine = self.name, error = %e, "no new certificate was made");
            }
        }
    }

    /// The administrator's name and password at this moment.
    pub(crate) fn credentials(&self) -> (String, String) {
        let state = self.lock();
        let account = &state.lasting.accounts[0];
        (account.user.clone(), account.password.clone())
    }

    /// The machine did something by itself.
    pub(crate) async fn happened(self: &Arc<Self>, event: MetalEvent) {
        power::happened(self, event).await;
    }

    /// The machine's power is cut, without anybody having asked its BMC.
    pub(crate) async fn power_cut(self: &Arc<Self>) -> Result<(), MetalError> {
        power::cut(self).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, state: &State) {
        if let Err(e) = state.lasting.save(&self.settings_file()) {
            tracing::error!(machine = self.name, error = %e, "settings of a BMC were not saved");
        }
    }

    fn settings_file(&self) -> PathBuf {
        self.dir.join("settings.json")
    }

    fn media_dir(&self) -> &Path {
        &self.dir
    }
}
