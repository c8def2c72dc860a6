//! A phantom that booted a tenant's own installer: it pretends to install, says that it is done
//! where its command line or script names the address for that, and restarts.
//!
//! Words in the command line or script change what it does: `phantom.restart` has it restart
//! before it said anything, and what it installed say so; `phantom.hang` has it do nothing.

use std::sync::Arc;
use std::time::Duration;

use billet_protocol::install::{INSTALLED, InstallRecord};

use super::Shared;
use super::agent::reach;
use super::tenant::Installed;
use crate::metal::MetalEvent;

/// How often it tries to say that it is done.
const TRIES: usize = 20;
/// How long between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Install, and restart; or run until the power goes.
pub(super) async fn run(shared: &Arc<Shared>, record: &InstallRecord) {
    let text = record.text.expose();
    let url = record.url.expose();
    shared.say(format!("installing for lease {}", record.lease));
    if text.contains("phantom.hang") {
        return std::future::pending().await;
    }
    tokio::time::sleep(shared.pace).await;
    // A kernel's command line has the address; a script has it as a setting, or it is no more
    // than the line that sets it.
    let asked = text.matches(url).count() + text.matches("${billet-url}").count();
    let set = text.matches("set billet-url ").count();
    let report = (asked > set).then(|| format!("{url}/{INSTALLED}"));
    let later = text.contains("phantom.restart");
    if let Some(drive) = shared.facts.drives.first() {
        shared.state().installed = Some(Installed {
            lease: record.lease.clone(),
            drive: drive.serial.clone(),
            seed: None,
            report: report.clone().filter(|_| later),
        });
    }
    if let Some(report) = report.filter(|_| !later) {
        self::report(shared, &report).await;
    }
    tokio::time::sleep(shared.pace).await;
    shared.say("installed; restarting");
    shared.end(MetalEvent::Restarted { booted: true });
    std::future::pending().await
}

/// Say that the installation is done, as `wget` would; whether it was heard.
pub(super) async fn report(shared: &Arc<Shared>, url: &str) -> bool {
    let (Some(url), Ok(client)) = (reach(shared, url), shared.clients.careless()) else {
        return false;
    };
    for _ in 0..TRIES {
        match client.get(url.clone()).send().await {
            Ok(response) if response.status().is_success() => {
                shared.say("installer: said that it is done");
                return true;
            }
            Ok(response) => shared.say(format!("installer: {}", response.status())),
            Err(e) => shared.say(format!("installer: {e}")),
        }
        tokio::time::sleep(AGAIN).await;
    }
    false
}
