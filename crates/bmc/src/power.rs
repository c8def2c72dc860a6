//! Power: read, and changed by the words that this BMC offers for it.

use billet_model::bmc::PowerAction;
use billet_model::lifecycle::Power;
use reqwest::Method;
use serde_json::json;

use crate::error::BmcError;
use crate::read::Reader;
use crate::service::Service;
use crate::value::{Resource, list, real, text, texts};

/// Chassis of a system that are asked what they draw.
const CHASSIS: usize = 4;

/// Where a chassis says what it draws: the newer resource, and the older one.
const METERS: [(&str, &str); 2] = [
    ("/EnvironmentMetrics", "/PowerWatts/Reading"),
    ("/Power", "/PowerControl/0/PowerConsumedWatts"),
];

/// The reset types that mean an action, best first.
fn words(action: PowerAction) -> &'static [&'static str] {
    match action {
        PowerAction::On => &["On", "ForceOn"],
        PowerAction::Off => &["ForceOff"],
        PowerAction::Shutdown => &["GracefulShutdown"],
        PowerAction::Cycle => &["PowerCycle", "ForceRestart"],
        PowerAction::Reset => &["ForceRestart", "PowerCycle"],
    }
}

/// What an action leads to, where that can be seen afterwards.
fn leads_to(action: PowerAction) -> Option<Power> {
    match action {
        PowerAction::On => Some(Power::On),
        PowerAction::Off | PowerAction::Shutdown => Some(Power::Off),
        PowerAction::Cycle | PowerAction::Reset => None,
    }
}

/// The power as a system says it.
pub(crate) fn power_of(system: &Resource) -> Power {
    let said = text(&system.body, "/PowerState").unwrap_or_default();
    match said.to_ascii_lowercase().as_str() {
        "on" => Power::On,
        "off" => Power::Off,
        // `Paused` keeps the power on; `Reset` is on its way back.
        "poweringon" | "poweringoff" | "reset" => Power::Changing,
        "paused" => Power::On,
        _ => Power::Unknown,
    }
}

impl Reader<'_> {
    /// What `Reset` offers here; empty where the BMC does not say.
    pub async fn reset_types(&self, system: &Resource) -> Vec<String> {
        let action = "/Actions/#ComputerSystem.Reset";
        let said = texts(
            &system.body,
            &format!("{action}/ResetType@Redfish.AllowableValues"),
        );
        if !said.is_empty() {
            return said;
        }
        let Some(info) = system.link(&format!("{action}/@Redfish.ActionInfo")) else {
            return said;
        };
        let Ok(info) = self.read(&info).await else {
            return said;
        };
        list(&info.body, "/Parameters")
            .iter()
            .find(|p| text(p, "/Name").as_deref() == Some("ResetType"))
            .map(|p| texts(p, "/AllowableValues"))
            .unwrap_or_default()
    }
}

impl Service {
    /// Reads the power.
    pub async fn read_power(&self) -> Result<Power, BmcError> {
        Ok(power_of(&self.system().await?))
    }

    /// What the machine draws now, in watts; `None` where nothing measures it.
    pub async fn read_watts(&self) -> Result<Option<u32>, BmcError> {
        let system = self.system().await?;
        // A server of several chassis names that of the system first.
        for index in 0..CHASSIS {
            let Some(link) = system.link(&format!("/Links/Chassis/{index}")) else {
                break;
            };
            let Ok(chassis) = self.read(&link).await else {
                continue;
            };
            for (resource, reading) in METERS {
                let Some(link) = chassis.link(resource) else {
                    continue;
                };
                let Ok(meter) = self.read(&link).await else {
                    continue;
                };
                // Nothing that runs draws nothing.
                let watts = real(&meter.body, reading).filter(|w| (1.0..1e6).contains(w));
                if let Some(watts) = watts {
                    return Ok(Some(watts.round() as u32));
                }
            }
        }
        Ok(None)
    }

    /// Changes the power, once.
    ///
    /// A BMC that refuses because the machine is as wanted already has done it.
    pub async fn set_power(&self, action: PowerAction) -> Result<(), BmcError> {
        let system = self.system().await?;
        let what = format!("power {action}");
        let reset = system
            .link("/Actions/#ComputerSystem.Reset")
            .unwrap_or_else(|| {
                let path = system.path.trim_end_matches('/');
                format!("{path}/Actions/ComputerSystem.Reset")
            });
        let offered = self.reader().reset_types(&system).await;
        let chosen: Vec<&str> = words(action)
            .iter()
            .copied()
            .filter(|w| offered.is_empty() || offered.iter().any(|o| o.eq_ignore_ascii_case(w)))
            .collect();
        let mut refused = BmcError::refused(
            &what,
            format!(
                "this BMC offers {} and none of {}",
                offered.join(", "),
                words(action).join(", ")
            ),
        );
        for word in chosen {
            let body = json!({"ResetType": word});
            let Err(refusal) = self.change(Method::POST, &reset, &body, None).await else {
                return Ok(());
            };
            if !refusal.try_otherwise() {
                return Err(refusal.error);
            }
            if let Some(wanted) = leads_to(action)
                && (refusal.already || self.read_power().await.is_ok_and(|p| p == wanted))
            {
                return Ok(());
            }
            refused = refusal.error;
        }
        Err(refused)
    }
}
