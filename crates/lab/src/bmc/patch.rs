//! What PATCH changes: boot override, firmware settings, Secure Boot, accounts, media.
//!
//! A request is checked whole before any of it is carried out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::error::RedfishError;
use super::resources::media_slot;
use super::state::{BOOT_OPTIONS, BootOverride, OverrideEnabled};
use super::{Bmc, accounts, actions, media, secure_boot_possible};
use crate::metal::BootTarget;

/// Whether the resource at this address takes PATCH, if it is there.
pub(super) fn patchable(path: &[&str]) -> bool {
    matches!(
        path,
        ["Systems", "1"]
            | ["Systems", "1", "Bios", "Settings"]
            | ["Systems", "1", "SecureBoot"]
            | ["Chassis", "1"]
            | ["SessionService"]
            | ["AccountService", "Accounts", _]
    ) || matches!(path, ["Managers", "1", "VirtualMedia", slot] if media_slot(slot).is_some())
}

/// Change the resource at `path`.
pub(super) async fn patch(bmc: &Arc<Bmc>, path: &[&str], body: &Value) -> Result<(), RedfishError> {
    let Value::Object(body) = body else {
        return Err(RedfishError::malformed_json());
    };
    if body.is_empty() {
        return Err(RedfishError::malformed_json());
    }
    match path {
        ["Systems", "1"] => system(bmc, body),
        ["Chassis", "1"] => chassis(bmc, body),
        ["Systems", "1", "Bios", "Settings"] => bios(bmc, body),
        ["Systems", "1", "SecureBoot"] => secure_boot(bmc, body),
        ["SessionService"] => session_timeout(bmc, body),
        ["AccountService", "Accounts", id] => accounts::change(bmc, id, body),
        [_, _, _, slot] => match media_slot(slot) {
            Some(slot) => media::patch(bmc, slot, body).await,
            None => Err(RedfishError::not_found(slot)),
        },
        _ => Err(RedfishError::not_found(&super::resources::uri(path))),
    }
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, RedfishError> {
    value
        .as_str()
        .ok_or_else(|| RedfishError::property_value_type(value, name))
}

pub(super) fn flag(value: &Value, name: &str) -> Result<bool, RedfishError> {
    value
        .as_bool()
        .ok_or_else(|| RedfishError::property_value_type(value, name))
}

fn system(bmc: &Bmc, body: &Map<String, Value>) -> Result<(), RedfishError> {
    let mut state = bmc.lock();
    let mut lasting = state.lasting.clone();
    let mut indicator = state.indicator;
    for (name, value) in body {
        match name.as_str() {
            "Boot" => {
                if let Some(order) = value.get("BootOrder") {
                    lasting.boot_order = boot_order(order)?;
                }
                lasting.boot = boot(lasting.boot, value)?;
            }
            "AssetTag" => lasting.asset_tag = text(value, name)?.to_owned(),
            "HostName" => lasting.host_name = text(value, name)?.to_owned(),
            "LocationIndicatorActive" => indicator = flag(value, name)?,
            "PowerState" | "SerialNumber" | "UUID" | "Model" | "Manufacturer" | "BiosVersion"
            | "Status" | "Id" | "Name" => {
                return Err(RedfishError::property_not_writable(name));
            }
            other if other.starts_with('@') => {}
            other => return Err(RedfishError::property_unknown(other)),
        }
    }
    if lasting.boot.enabled != state.lasting.boot.enabled
        || lasting.boot.target != state.lasting.boot.target
    {
        state.note(
            "OK",
            format!(
                "Boot override set to {} {}.",
                lasting.boot.target.as_redfish(),
                lasting.boot.enabled.as_redfish()
            ),
        );
    }
    state.lasting = lasting;
    state.indicator = indicator;
    bmc.save(&state);
    Ok(())
}

fn boot(now: BootOverride, value: &Value) -> Result<BootOverride, RedfishError> {
    let Value::Object(wanted) = value else {
        return Err(RedfishError::property_value_type(value, "Boot"));
    };
    let mut new = now;
    for (name, value) in wanted {
        match name.as_str() {
            "BootSourceOverrideEnabled" => {
                let word = text(value, name)?;
                new.enabled = OverrideEnabled::ALL
                    .into_iter()
                    .find(|e| e.as_redfish() == word)
                    .ok_or_else(|| RedfishError::property_value_not_in_list(value, name))?;
            }
            "BootSourceOverrideTarget" => {
                new.target = BootTarget::from_redfish(text(value, name)?)
                    .ok_or_else(|| RedfishError::property_value_not_in_list(value, name))?;
            }
            "BootSourceOverrideMode" => {
                // The lab's firmware is UEFI and nothing else.
                if text(value, name)? != "UEFI" {
                    return Err(RedfishError::property_value_not_in_list(value, name));
                }
            }
            "BootOrder" => {}
            other => return Err(RedfishError::property_unknown(&format!("Boot/{other}"))),
        }
    }
    // An override to nothing is none.
    if new.enabled == OverrideEnabled::Disabled || new.target == BootTarget::None {
        new = BootOverride {
            enabled: OverrideEnabled::Disabled,
            target: BootTarget::None,
        };
    }
    Ok(new)
}

/// An order of boot options: each of them, once.
fn boot_order(value: &Value) -> Result<Vec<String>, RedfishError> {
    let wrong = || RedfishError::property_value_type(value, "Boot/BootOrder");
    let listed = value.as_array().ok_or_else(wrong)?;
    let mut order = Vec::new();
    for one in listed {
        let reference = one.as_str().ok_or_else(wrong)?;
        let known = BOOT_OPTIONS.iter().any(|(r, _)| *r == reference);
        if !known || order.iter().any(|o| o == reference) {
            return Err(RedfishError::property_value_not_in_list(
                one,
                "Boot/BootOrder",
            ));
        }
        order.push(reference.to_owned());
    }
    Ok(order)
}

fn chassis(bmc: &Bmc, body: &Map<String, Value>) -> Result<(), RedfishError> {
    let mut state = bmc.lock();
    let (mut tag, mut indicator) = (state.lasting.asset_tag.clone(), state.indicator);
    for (name, value) in body {
        match name.as_str() {
            "AssetTag" => tag = text(value, name)?.to_owned(),
            "LocationIndicatorActive" => indicator = flag(value, name)?,
            other => return Err(RedfishError::property_not_writable(other)),
        }
    }
    state.lasting.asset_tag = tag;
    state.indicator = indicator;
    bmc.save(&state);
    Ok(())
}

fn bios(bmc: &Bmc, body: &Map<String, Value>) -> Result<(), RedfishError> {
    let mut state = bmc.lock();
    let mut pending = state.lasting.bios_pending.clone();
    for (name, value) in body {
        match (name.as_str(), value) {
            ("Attributes", Value::Object(wanted)) => {
                for (setting, value) in wanted {
                    actions::bios_value(setting, value)?;
                    pending.insert(setting.clone(), value.clone());
                }
            }
            ("Attributes", _) => return Err(RedfishError::property_value_type(value, name)),
            (other, _) if other.starts_with('@') => {}
            (other, _) => return Err(RedfishError::property_unknown(other)),
        }
    }
    state.lasting.bios_pending = pending;
    bmc.save(&state);
    Ok(())
}

fn secure_boot(bmc: &Bmc, body: &Map<String, Value>) -> Result<(), RedfishError> {
    let mut wanted = None;
    for (name, value) in body {
        match name.as_str() {
            "SecureBootEnable" => wanted = Some(flag(value, name)?),
            other => return Err(RedfishError::property_not_writable(other)),
        }
    }
    if wanted == Some(true) && !secure_boot_possible(bmc.metal.facts()) {
        return Err(RedfishError::conflict(
            "Secure Boot cannot be enabled: no platform key is enrolled in this machine's \
             firmware.",
        ));
    }
    if let Some(wanted) = wanted {
        bmc.lock().secure_boot_wanted = wanted;
    }
    Ok(())
}

fn session_timeout(bmc: &Bmc, body: &Map<String, Value>) -> Result<(), RedfishError> {
    for (name, value) in body {
        match (name.as_str(), value.as_u64()) {
            ("SessionTimeout", Some(seconds @ 30..=86_400)) => {
                bmc.lock().session_timeout = Duration::from_secs(seconds);
            }
            ("SessionTimeout", _) => {
                return Err(RedfishError::property_value_format(
                    &value.to_string(),
                    name,
                ));
            }
            (other, _) => return Err(RedfishError::property_not_writable(other)),
        }
    }
    Ok(())
}
