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

use crate::{Control, enroll::BMC_PASSWORD};

/// Clients by machine.
#[derive(Default)]
pub(crate) struct Bmcs {
    clients: Mutex<HashMap<MachineId, Known>>,
}

/// A client, and what it was made of.
struct Known {
    endpoint: BmcEndpoint,
    sealed_password: Vec<u8>,
    client: BmcClient,
}

impl Control {
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
            _ => None,
        };
        client.carry_out(&pending.request, url.as_deref()).await
    }

    async fn client(&self, machine: &Machine) -> Result<BmcClient, String> {
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
