//! Putting settings back as they were. Each can be asked for again.

use std::collections::BTreeMap;

use billet_model::bmc::Restore;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::error::BmcError;
use crate::service::Service;
use crate::value::{Resource, texts};

/// The most attributes that are written one by one where all together are refused.
const MOST_ALONE: usize = 32;

impl Service {
    /// Puts one thing back. `own` is Billet's user, which is never taken away.
    pub async fn restore(&self, what: &Restore, own: &str) -> Result<(), BmcError> {
        match what {
            Restore::RemoveAccount { user, .. } if user == own => Err(BmcError::refused(
                format!("remove account {user}"),
                "it is the account that Billet uses",
            )),
            Restore::RemoveAccount { id, user } => self.remove_account(id, user).await,
            Restore::PutAccount { account } => self.put_account(account).await,
            Restore::Bios { attributes } => self.write_bios(attributes).await,
            Restore::BootOrder { order } => self.write_boot_order(order).await,
            Restore::SecureBoot { on } => self.write_secure_boot(*on).await,
        }
    }

    /// Writes BIOS attributes, to hold from the next boot on.
    async fn write_bios(&self, wanted: &BTreeMap<String, String>) -> Result<(), BmcError> {
        let what = "write BIOS settings";
        let system = self.system().await?;
        let path = system
            .link("/Bios")
            .ok_or_else(|| BmcError::refused(what, "the BMC shows no BIOS settings"))?;
        let bios = self.read(&path).await?;
        // Where nothing says where wishes go, they go to the settings themselves.
        let place = match bios.link("/@Redfish.Settings/SettingsObject") {
            Some(settings) => self.read(&settings).await?,
            None => bios.clone(),
        };
        let mut body = Map::new();
        for (name, text) in wanted {
            let now = bios.body.get("Attributes").and_then(|a| a.get(name));
            body.insert(name.clone(), like(now, text));
        }
        let whole = json!({"Attributes": body});
        let refused = match self.patch(&place, &whole).await {
            Ok(()) => return Ok(()),
            Err(refusal) if refusal.try_otherwise() => refusal.error,
            Err(refusal) => return Err(refusal.error),
        };
        if body.len() == 1 {
            return Err(refused);
        }
        // One that cannot be written costs only itself.
        let mut left = Vec::new();
        for (name, value) in body.iter().take(MOST_ALONE) {
            let place = self
                .read(&place.path)
                .await
                .map_err(BmcError::after_change)?;
            let mut alone = Map::new();
            alone.insert(name.clone(), value.clone());
            match self.patch(&place, &json!({"Attributes": alone})).await {
                Ok(()) => {}
                Err(refusal) if refusal.try_otherwise() => left.push(name.clone()),
                Err(refusal) => return Err(refusal.error.after_change()),
            }
        }
        left.extend(body.keys().skip(MOST_ALONE).cloned());
        if left.is_empty() {
            return Ok(());
        }
        let detail = format!("not written: {}: {refused}", left.join(", "));
        Err(BmcError::refused(what, detail))
    }

    /// Puts the boot order back, and reads it back.
    async fn write_boot_order(&self, order: &[String]) -> Result<(), BmcError> {
        let system = self.system().await?;
        let mut places = vec![system.clone()];
        if let Some(link) = system.link("/@Redfish.Settings/SettingsObject")
            && let Ok(settings) = self.read(&link).await
            && settings.body.get("Boot").is_some()
        {
            places.push(settings);
        }
        let body = json!({"Boot": {"BootOrder": order}});
        let mut last = BmcError::refused("write the boot order", "accepted, and not taken");
        for place in &places {
            match self.patch(place, &body).await {
                Ok(()) => {}
                Err(refusal) if refusal.try_otherwise() => {
                    last = refusal.error;
                    continue;
                }
                Err(refusal) => return Err(refusal.error),
            }
            // Beside the system it is a wish for the next boot, and shows there.
            let read = self
                .read(&place.path)
                .await
                .map_err(BmcError::after_change)?;
            if texts(&read.body, "/Boot/BootOrder") == order {
                return Ok(());
            }
        }
        Err(last)
    }

    async fn write_secure_boot(&self, on: bool) -> Result<(), BmcError> {
        let what = "write Secure Boot";
        let system = self.system().await?;
        let path = system
            .link("/SecureBoot")
            .ok_or_else(|| BmcError::refused(what, "the BMC shows no Secure Boot"))?;
        let secure: Resource = self.read(&path).await?;
        let body = json!({"SecureBootEnable": on});
        let etag = secure.etag.as_deref();
        match self.change(Method::PATCH, &secure.path, &body, etag).await {
            Ok(()) => Ok(()),
            Err(refusal) => Err(refusal.error),
        }
    }
}

/// Text as the kind of value that stands there now.
fn like(now: Option<&Value>, text: &str) -> Value {
    match now {
        Some(Value::Number(_)) => text
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| text.parse::<f64>().map(Value::from))
            .unwrap_or_else(|_| json!(text)),
        Some(Value::Bool(_)) => text
            .parse::<bool>()
            .map_or_else(|_| json!(text), Value::from),
        Some(Value::Array(_) | Value::Object(_)) => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        _ => json!(text),
    }
}
