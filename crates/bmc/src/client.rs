//! The client: one request of the control loop carried out, and its end told.

use std::sync::Arc;

use billet_model::Secret;
use billet_model::bmc::{BmcEndpoint, BmcFact, BmcReply, BmcRequest, FirmwareSettings};
use billet_model::lifecycle::Power;

use crate::discover::Discovery;
use crate::error::{BmcError, Timeouts};
use crate::http::Http;
use crate::service::Service;
use crate::session::Account;
use crate::stand_in::StandIn;

/// One BMC. Clones share the connection and the session, which is closed when
/// the last one is dropped (inside a tokio runtime), or by [`BmcClient::close`].
#[derive(Clone)]
pub struct BmcClient {
    service: Arc<Service>,
    pub(crate) endpoint: BmcEndpoint,
    pub(crate) password: Secret,
    pub(crate) timeouts: Timeouts,
}

impl std::fmt::Debug for BmcClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BmcClient").finish_non_exhaustive()
    }
}

impl BmcClient {
    /// A client for one BMC; connects to nothing yet.
    ///
    /// Without a pinned fingerprint the first certificate shown is accepted,
    /// held to from then on, and told by [`BmcClient::fingerprint`].
    ///
    /// # Errors
    /// [`BmcError::Malformed`] where the address is none.
    pub fn new(
        endpoint: &BmcEndpoint,
        password: Secret,
        timeouts: Timeouts,
    ) -> Result<Self, BmcError> {
        let http = Http::new(endpoint, timeouts)?;
        let account = Account::new(endpoint.user.clone(), password.clone());
        Ok(Self {
            service: Arc::new(Service::new(http, account)),
            endpoint: endpoint.clone(),
            password,
            timeouts,
        })
    }

    /// A client whose every request `stand_in` answers, in this process and with
    /// nothing sent: for tests and fuzzing of what is made of answers.
    ///
    /// # Errors
    /// As for [`BmcClient::new`].
    pub fn answered_by(
        endpoint: &BmcEndpoint,
        password: Secret,
        timeouts: Timeouts,
        stand_in: Arc<dyn StandIn>,
    ) -> Result<Self, BmcError> {
        let http = Http::new(endpoint, timeouts)?.answered_by(stand_in);
        let account = Account::new(endpoint.user.clone(), password.clone());
        Ok(Self {
            service: Arc::new(Service::new(http, account)),
            endpoint: endpoint.clone(),
            password,
            timeouts,
        })
    }

    /// Carries out one request and says how it ended, as the control loop
    /// needs to know it. `media_url` is what [`BmcRequest::InsertMedia`] inserts.
    ///
    /// Never repeats a change whose answer was lost.
    pub async fn carry_out(&self, request: &BmcRequest, media_url: Option<&str>) -> BmcReply {
        let ended = self.try_carry_out(request, media_url).await;
        ended.map_or_else(BmcReply::from, |fact| BmcReply::Done { fact })
    }

    async fn try_carry_out(
        &self,
        request: &BmcRequest,
        media_url: Option<&str>,
    ) -> Result<BmcFact, BmcError> {
        let service = &self.service;
        match request {
            BmcRequest::Discover => {
                let found = self.discover().await?;
                return Ok(BmcFact::Discovered {
                    fingerprint: found.fingerprint,
                    inventory: Box::new(found.inventory),
                    power: found.power,
                });
            }
            BmcRequest::ReadPower => {
                let power = service.read_power().await?;
                return Ok(BmcFact::Power { power });
            }
            BmcRequest::ReadSettings => {
                let settings = service.firmware_settings().await?;
                return Ok(BmcFact::Settings { settings });
            }
            BmcRequest::ReadWatts => {
                let watts = service.read_watts().await?;
                return Ok(BmcFact::Watts { watts });
            }
            BmcRequest::Power { action } => service.set_power(*action).await?,
            BmcRequest::InsertMedia { .. } => {
                let url = media_url
                    .ok_or_else(|| BmcError::refused("insert media", "there is no URL for it"))?;
                service.insert_media(url).await?;
            }
            BmcRequest::EjectMedia => service.eject_media().await?,
            BmcRequest::SetBoot { target } => {
                if let Some(shows) = service.set_boot(*target).await? {
                    return Ok(BmcFact::Unshown { shows });
                }
            }
            BmcRequest::Restore { what } => service.restore(what, &self.endpoint.user).await?,
            BmcRequest::SetPassword | BmcRequest::TryPassword => {
                let detail = "it takes the next password: see `set_password`";
                return Err(BmcError::refused("change the password", detail));
            }
        }
        Ok(BmcFact::Done)
    }

    /// Finds out what the machine is and has. Only reads.
    ///
    /// What is missing or malformed is a note on the inventory.
    ///
    /// # Errors
    /// Where the BMC cannot be reached or refuses us, or there is no system.
    pub async fn discover(&self) -> Result<Discovery, BmcError> {
        crate::discover::discover(&self.service).await
    }

    /// Reads the power.
    ///
    /// # Errors
    /// Where the system cannot be read; never [`BmcError::Uncertain`].
    pub async fn power(&self) -> Result<Power, BmcError> {
        self.service.read_power().await
    }

    /// Reads accounts, firmware settings and versions. What could not be read,
    /// or is not shown, is told as that.
    ///
    /// # Errors
    /// Where the system itself cannot be read, or the BMC stops answering; never
    /// [`BmcError::Uncertain`].
    pub async fn firmware_settings(&self) -> Result<FirmwareSettings, BmcError> {
        self.service.firmware_settings().await
    }

    /// Where the machine's serial console is. Only reads.
    ///
    /// # Errors
    /// Where the BMC cannot be read, or announces no console by SSH.
    pub async fn serial_console(&self) -> Result<crate::console::SerialConsole, BmcError> {
        crate::console::announced(&self.service).await
    }

    /// SHA-256 of the certificate pinned, or shown, as lower-case hex; `None`
    /// without a pin and before the first connection.
    pub fn fingerprint(&self) -> Option<String> {
        self.service.http.fingerprint()
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// Closes the connections: nothing is asked for a while. The session stays.
    pub fn rest(&self) {
        self.service.http.rest();
    }

    /// Closes the session, best effort. The client can be used again.
    pub async fn close(&self) {
        self.service.close().await;
    }
}
