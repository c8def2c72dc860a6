//! BMC clients, one for each machine, kept as long as the endpoint stays.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use billet_bmc::{BmcClient, Timeouts};
use billet_model::{
    MachineId,
    bmc::{BmcEndpoint, BmcFailure, BmcReply, BmcRequest},
    machine::Machine,
    step::Pending,
};

use crate::{Control, passwords::BMC_PASSWORD};

/// Clients by machine.
#[derive(Default)]
pub(crate) struct Bmcs {
    clients: Mutex<HashMap<MachineId, Known>>,
    /// Requests by how they ended: how many, and seconds in all.
    ended: Mutex<[(u64, f64); 3]>,
}

/// How a request can end, in words.
const ENDS: [&str; 3] = ["done", "failed", "uncertain"];

/// A client, and what it was made of.
struct Known {
    endpoint: BmcEndpoint,
    sealed_password: Vec<u8>,
    client: BmcClient,
}

impl Control {
    /// Requests to BMCs since the start, by how they ended: the word for it, how
    /// many, and how many seconds they took in all.
    pub fn bmc_requests(&self) -> Vec<(&'static str, u64, f64)> {
        let ended = self.bmcs().ended.lock();
        let ended = ended.unwrap_or_else(PoisonError::into_inner);
        let ends = ENDS.iter().zip(ended.iter());
        ends.map(|(word, (count, seconds))| (*word, *count, *seconds))
            .collect()
    }

    /// Counts a request that ended.
    pub(crate) fn count(&self, reply: &BmcReply, took: std::time::Duration) {
        let end = match reply {
            BmcReply::Done { .. } => 0,
            BmcReply::Failed { .. } => 1,
            BmcReply::Uncertain { .. } => 2,
        };
        let ended = self.bmcs().ended.lock();
        let (count, seconds) = &mut ended.unwrap_or_else(PoisonError::into_inner)[end];
        *count += 1;
        *seconds += took.as_secs_f64();
    }

    /// Carries out a request that was persisted.
    pub(crate) async fn carry_out(&self, machine: &Machine, pending: &Pending) -> BmcReply {
        let client = match self.client(machine).await {
            Ok(client) => client,
            Err(detail) => {
                return BmcReply::Failed {
                    kind: BmcFailure::Refused,
                    detail,
                };
            }
        };
        let url = match &pending.request {
            BmcRequest::InsertMedia { boot } => {
                if self.template().is_none() {
                    return BmcReply::Failed {
                        kind: BmcFailure::Refused,
                        detail: "this server has no ramdisk to boot: start it with --ramdisk"
                            .into(),
                    };
                }
                let token = self.keys.medium_token(*boot);
                Some(format!(
                    "{}/media/{}.iso",
                    self.settings().media_base.trim_end_matches('/'),
                    token.expose()
                ))
            }
            BmcRequest::SetPassword | BmcRequest::TryPassword => {
                let next = match self.bmc_secret(machine.id, true).await {
                    Ok(next) => next,
                    Err(error) => {
                        return BmcReply::Failed {
                            kind: BmcFailure::Refused,
                            detail: error.to_string(),
                        };
                    }
                };
                // What was not kept is not sent, whoever decided it.
                let Some(next) = next else {
                    return BmcReply::Failed {
                        kind: BmcFailure::Refused,
                        detail: "no next password is kept for this BMC".into(),
                    };
                };
                return match pending.request {
                    BmcRequest::SetPassword => client.set_password(&next).await,
                    _ => client.try_passwords(&next).await,
                };
            }
            _ => None,
        };
        client.carry_out(&pending.request, url.as_deref()).await
    }

    /// Closes the connections to the BMC of a machine that is left alone for a while.
    pub(crate) fn rest(&self, machine: MachineId) {
        let clients = self.bmcs().clients.lock();
        let clients = clients.unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&machine) {
            known.client.rest();
        }
    }

    pub(crate) async fn client(&self, machine: &Machine) -> Result<BmcClient, String> {
        let sealed = self
            .store()
            .secret(machine.id.0, BMC_PASSWORD)
            .await
            .map_err(|e| e.to_string())?
            .ok_or("no password is kept for this BMC: set it with `billet machine set-bmc`")?;
        let mut clients = self
            .bmcs()
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(&machine.id)
            && known.endpoint == machine.bmc
            && known.sealed_password == sealed
        {
            return Ok(known.client.clone());
        }
        let password = self
            .keys
            .unseal(machine.id.0, BMC_PASSWORD, &sealed)
            .map_err(|e| e.to_string())?;
        let client = BmcClient::new(&machine.bmc, password, Timeouts::default())
            .map_err(|e| e.to_string())?;
        let known = Known {
            endpoint: machine.bmc.clone(),
            sealed_password: sealed,
            client: client.clone(),
        };
        clients.insert(machine.id, known);
        Ok(client)
    }
}
