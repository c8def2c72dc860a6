//! Machines, for operators.

use billet_model::{
    Secret,
    api::{MachineStarted, MachineView, NewMachine, PowerChange, Reason, TakeOver},
    bmc::PowerAction,
    operation::Operation,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Result, call::part, client::Client, pages::Pages};

/// What is asked of a machine, with nothing to say beside it or a reason alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineVerb {
    /// List its parts again.
    Inspect,
    /// Test it again.
    Test,
    /// Bring it back from quarantine.
    Repair,
    /// Keep it off offers.
    Cordon(String),
    /// Offer it again.
    Uncordon,
    /// Hold it from tenants.
    Quarantine(String),
    /// Take it out for work on it.
    Maintenance(String),
    /// Take it out for good.
    Retire,
    /// Confirm it after a restore from a backup.
    Confirm,
    /// Let go of it without a full erase: on record, and printed on the certificate.
    EraseOverride(String),
}

impl MachineVerb {
    /// The last part of the call's path.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Test => "test",
            Self::Repair => "repair",
            Self::Cordon(_) => "cordon",
            Self::Uncordon => "uncordon",
            Self::Quarantine(_) => "quarantine",
            Self::Maintenance(_) => "maintenance",
            Self::Retire => "retire",
            Self::Confirm => "confirm",
            Self::EraseOverride(_) => "erase-override",
        }
    }

    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Cordon(reason)
            | Self::Quarantine(reason)
            | Self::Maintenance(reason)
            | Self::EraseOverride(reason) => Some(Reason {
                reason: reason.clone(),
            }),
            _ => None,
        }
    }
}

/// A machine after something was asked of it, with the operation that this began, if it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MachineChanged {
    /// The machine.
    pub machine: MachineView,
    /// To follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

impl<'de> Deserialize<'de> for MachineChanged {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        // Some answers are the machine alone, because nothing began.
        let value = Value::deserialize(d)?;
        let error = serde::de::Error::custom;
        if value.get("machine").is_some_and(Value::is_object) {
            #[derive(Deserialize)]
            struct Both {
                machine: MachineView,
                operation: Option<Operation>,
            }
            let both: Both = serde_json::from_value(value).map_err(error)?;
            return Ok(Self {
                machine: both.machine,
                operation: both.operation,
            });
        }
        Ok(Self {
            machine: serde_json::from_value(value).map_err(error)?,
            operation: None,
        })
    }
}

impl Client {
    /// Machines.
    pub fn machines(&self, filters: &[(&str, &str)]) -> Pages<'_, MachineView> {
        self.pages("/v1/machines", filters)
    }

    /// A machine, by name or id.
    ///
    /// # Errors
    /// As every call.
    pub async fn machine(&self, name: &str) -> Result<MachineView> {
        self.get(format!("/v1/machines/{}", part(name)))
            .json()
            .await
    }

    /// Enrolls a machine. It is only read from.
    ///
    /// # Errors
    /// As every call.
    pub async fn enroll(&self, new: &NewMachine) -> Result<MachineStarted> {
        // The body has a secret in it, and so no Serialize: it is written out here, and only here.
        let body = json!({
            "name": new.name,
            "site": new.site,
            "rack": new.rack,
            "machine_type": new.machine_type,
            "serial": new.serial,
            "networks": new.networks,
            "bmc": {
                "address": new.bmc.address,
                "user": new.bmc.user,
                "password": new.bmc.password.expose(),
                "fingerprint": new.bmc.fingerprint,
            },
        });
        self.post("/v1/machines").value(body).json().await
    }

    /// Confirms that a machine may be powered off and these drives of it erased.
    ///
    /// # Errors
    /// As every call.
    pub async fn take_over(
        &self,
        name: &str,
        drives: Vec<String>,
        version: Option<i64>,
    ) -> Result<MachineStarted> {
        self.post(format!("/v1/machines/{}/take-over", part(name)))
            .body(&TakeOver { drives })
            .if_match(version)
            .json()
            .await
    }

    /// Asks something of a machine.
    ///
    /// # Errors
    /// As every call.
    pub async fn ask_machine(&self, name: &str, verb: &MachineVerb) -> Result<MachineChanged> {
        let call = self.post(format!("/v1/machines/{}/{}", part(name), verb.word()));
        match verb.reason() {
            Some(reason) => call.body(&reason).json().await,
            None => call.json().await,
        }
    }

    /// Changes a machine's power.
    ///
    /// # Errors
    /// As every call.
    pub async fn power_machine(&self, name: &str, action: PowerAction) -> Result<MachineChanged> {
        self.post(format!("/v1/machines/{}/power", part(name)))
            .body(&PowerChange { action })
            .json()
            .await
    }

    /// Sets what the BMC is signed in to with, and its pinned certificate where one is given.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_bmc(
        &self,
        name: &str,
        user: &str,
        password: &Secret,
        fingerprint: Option<&str>,
    ) -> Result<MachineChanged> {
        let body = json!({
            "user": user,
            "password": password.expose(),
            "fingerprint": fingerprint,
        });
        self.post(format!("/v1/machines/{}/bmc", part(name)))
            .value(body)
            .json()
            .await
    }
}
