//! Firmware settings as they are, to be compared with what they were.
//!
//! Here, unlike in a discovery, half an answer is none: what could not be read
//! would look like what was changed. Only what the BMC does not have is left out.

use std::collections::BTreeMap;

use billet_model::bmc::FirmwareSettings;
use serde_json::Value;

use crate::error::BmcError;
use crate::service::Service;
use crate::value::{Resource, text, texts, yes};

impl Service {
    /// Reads BIOS attributes, Secure Boot, boot order and firmware versions.
    pub async fn firmware_settings(&self) -> Result<FirmwareSettings, BmcError> {
        let system = self.system().await?;
        let mut settings = FirmwareSettings {
            boot_order: texts(&system.body, "/Boot/BootOrder"),
            ..FirmwareSettings::default()
        };
        if let Some(bios) = self.optional(system.link("/Bios")).await? {
            settings.bios = attributes(&bios);
        }
        if let Some(secure) = self.optional(system.link("/SecureBoot")).await? {
            settings.secure_boot = secure_boot(&secure);
        }
        let reader = self.reader();
        let firmware = crate::discover::firmware(&reader, &system).await;
        if let Some(error) = firmware.failed {
            return Err(error);
        }
        settings.versions = firmware
            .found
            .into_iter()
            .map(|f| (f.component, f.version))
            .collect();
        Ok(settings)
    }

    /// A resource that a BMC need not have.
    async fn optional(&self, link: Option<String>) -> Result<Option<Resource>, BmcError> {
        let Some(path) = link else { return Ok(None) };
        match self.read(&path).await {
            Ok(read) => Ok(Some(read)),
            Err(BmcError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// BIOS attributes as text.
fn attributes(bios: &Resource) -> BTreeMap<String, String> {
    let Some(attributes) = bios.body.get("Attributes").and_then(Value::as_object) else {
        return BTreeMap::new();
    };
    attributes
        .iter()
        .filter_map(|(name, value)| {
            let value = match value {
                Value::Null => return None,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some((name.clone(), value))
        })
        .collect()
}

/// Whether Secure Boot is on: what this boot has, else what is set.
fn secure_boot(secure: &Resource) -> Option<bool> {
    match text(&secure.body, "/SecureBootCurrentBoot").as_deref() {
        Some("Enabled") => Some(true),
        Some("Disabled") => Some(false),
        _ => yes(&secure.body, "/SecureBootEnable"),
    }
}
