//! Machines, for operators.

use billet_model::{
    Secret,
    api::{
        BmcChange, BmcPasswordShown, BmcPasswordWanted, DrivesChange, MachineChange,
        MachineChanged, MachineStarted, MachineView, NewMachine, PowerChange, Reason,
        RotatePassword, TakeOver,
    },
    bmc::PowerAction,
};
use reqwest::Method;
use serde_json::json;

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
    /// Takes it out under the tenant that has it, for this reason; nothing is erased.
    BreakFix(String),
    /// Take it out for good.
    Retire,
    /// Confirm it after a restore from a backup.
    Confirm,
    /// Take what is set in it for what is wanted.
    AcceptFirmware,
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
            Self::BreakFix(_) => "break-fix",
            Self::Retire => "retire",
            Self::Confirm => "confirm",
            Self::AcceptFirmware => "accept-firmware",
        }
    }

    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Cordon(reason)
            | Self::Quarantine(reason)
            | Self::Maintenance(reason)
            | Self::BreakFix(reason) => Some(Reason {
                reason: reason.clone(),
            }),
            _ => None,
        }
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
            "rotate_password": new.rotate_password,
            "bmc": {
                "address": new.bmc.address,
                "user": new.bmc.user,
                "password": new.bmc.password.expose(),
                "fingerprint": new.bmc.fingerprint,
            },
        });
        self.post("/v1/machines").value(body).json().await
    }

    /// Corrects what is recorded of a machine; where a version is given, only if it still has that.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_machine(
        &self,
        name: &str,
        change: &MachineChange,
        version: Option<i64>,
    ) -> Result<MachineView> {
        let path = format!("/v1/machines/{}", part(name));
        let call = self.call(Method::PATCH, path).body(change);
        call.if_match(version).json().await
    }

    /// Confirms that a machine may be powered off and these drives of it erased.
    ///
    /// # Errors
    /// As every call.
    pub async fn take_over(
        &self,
        name: &str,
        drives: Vec<String>,
        rotate_password: Option<bool>,
        version: Option<i64>,
    ) -> Result<MachineStarted> {
        self.post(format!("/v1/machines/{}/take-over", part(name)))
            .body(&TakeOver {
                drives,
                rotate_password,
            })
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

    /// Gives a machine's BMC another password, and says whether that is done after each lease.
    ///
    /// # Errors
    /// As every call.
    pub async fn rotate_password(
        &self,
        name: &str,
        after_each_lease: Option<bool>,
    ) -> Result<MachineChanged> {
        self.post(format!("/v1/machines/{}/rotate-password", part(name)))
            .body(&RotatePassword { after_each_lease })
            .json()
            .await
    }

    /// How to sign in to a machine's BMC: it goes on record that this was asked.
    ///
    /// # Errors
    /// As every call.
    pub async fn bmc_password(&self, name: &str, number: Option<u32>) -> Result<BmcPasswordShown> {
        self.post(format!("/v1/machines/{}/bmc-password", part(name)))
            .body(&BmcPasswordWanted { number })
            .json()
            .await
    }

    /// Strikes a drive from a machine's list, or adds one.
    ///
    /// # Errors
    /// As every call.
    pub async fn change_drives(&self, name: &str, change: &DrivesChange) -> Result<MachineChanged> {
        self.post(format!("/v1/machines/{}/drives", part(name)))
            .body(change)
            .json()
            .await
    }

    /// Sets where the BMC is, what it is signed in to with, or its pinned certificate: whatever is
    /// given.
    ///
    /// # Errors
    /// As every call.
    pub async fn set_bmc(&self, name: &str, change: &BmcChange) -> Result<MachineChanged> {
        let body = json!({
            "address": change.address,
            "user": change.user,
            "password": change.password.as_ref().map(Secret::expose),
            "fingerprint": change.fingerprint,
        });
        self.post(format!("/v1/machines/{}/bmc", part(name)))
            .value(body)
            .json()
            .await
    }
}
