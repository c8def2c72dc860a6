//! What is set in a machine's BMC and firmware, to be compared with what was.
//!
//! Each part is whole or not there: what could not be read would look like what
//! was changed. Why it is not there is told with the rest, and stops nothing.

use std::collections::BTreeMap;

use billet_model::bmc::{BmcFailure, FirmwareSettings};
use serde_json::Value;

use crate::error::BmcError;
use crate::service::Service;
use crate::value::{Resource, text, texts, yes};

/// Why a part is not there where the BMC has no such thing.
const NOT_SHOWN: &str = "the BMC does not show it";

/// Parts that are read, and what went wrong on the way.
#[derive(Default)]
struct Parts {
    not_read: BTreeMap<String, String>,
    unanswered: u32,
}

impl Parts {
    /// The part, where there is one; why not, where there is none.
    fn take<T>(
        &mut self,
        part: &str,
        read: Result<Option<T>, BmcError>,
    ) -> Result<Option<T>, BmcError> {
        let why = match read {
            Ok(Some(part)) => return Ok(Some(part)),
            Ok(None) => NOT_SHOWN.to_owned(),
            Err(error) => match error.kind() {
                Some(BmcFailure::Refused | BmcFailure::Malformed) => error.to_string(),
                // One resource that never answers is that; two are a BMC that is gone.
                Some(BmcFailure::Unreachable) if self.unanswered == 0 => {
                    self.unanswered += 1;
                    error.to_string()
                }
                _ => return Err(error),
            },
        };
        self.not_read.insert(part.to_owned(), why);
        Ok(None)
    }
}

impl Service {
    /// Reads accounts, BIOS attributes, Secure Boot, boot order, boot override
    /// and firmware versions.
    pub async fn firmware_settings(&self) -> Result<FirmwareSettings, BmcError> {
        let system = self.system().await?;
        let mut parts = Parts::default();
        let accounts = self.accounts().await.map(|found| {
            let mut accounts: Vec<_> = found.into_iter().map(|(account, _)| account).collect();
            accounts.sort_by(|a, b| (&a.user, &a.id).cmp(&(&b.user, &b.id)));
            Some(accounts)
        });
        let accounts = parts.take(FirmwareSettings::ACCOUNTS, accounts)?;
        let bios = self.optional(system.link("/Bios")).await;
        let bios = bios.map(|found| found.as_ref().and_then(attributes));
        let bios = parts.take(FirmwareSettings::BIOS, bios)?;
        let secure = self.optional(system.link("/SecureBoot")).await;
        let secure = secure.map(|found| found.as_ref().and_then(secure_boot));
        let secure_boot = parts.take(FirmwareSettings::SECURE_BOOT, secure)?;
        let order = boot(&system).and_then(|boot| boot.get("BootOrder"));
        let order = order.map(|_| texts(&system.body, "/Boot/BootOrder"));
        let boot_order = parts.take(FirmwareSettings::BOOT_ORDER, Ok(order))?;
        let lasting = boot(&system).and_then(lasting_override);
        let boot_override = parts.take(FirmwareSettings::BOOT_OVERRIDE, Ok(lasting))?;
        let firmware = crate::discover::firmware(&self.reader(), &system).await;
        let versions: BTreeMap<_, _> = firmware
            .found
            .into_iter()
            .map(|f| (f.component, f.version))
            .collect();
        let versions = match firmware.failed {
            Some(error) => Err(error),
            None => Ok(Some(versions).filter(|v| !v.is_empty())),
        };
        let versions = parts.take(FirmwareSettings::VERSIONS, versions)?;
        let boot_options = match &boot_order {
            Some(order) if !order.is_empty() => self.boot_names(&system).await,
            _ => BTreeMap::new(),
        };
        Ok(FirmwareSettings {
            bios: bios.unwrap_or_default(),
            secure_boot,
            boot_order: boot_order.unwrap_or_default(),
            versions: versions.unwrap_or_default(),
            boot_options,
            boot_override: boot_override.unwrap_or_default(),
            accounts,
            not_read: parts.not_read,
        })
    }

    /// What the entries of the boot order are called; as far as that is told.
    async fn boot_names(&self, system: &Resource) -> BTreeMap<String, String> {
        let Some(options) = system.link("/Boot/BootOptions") else {
            return BTreeMap::new();
        };
        let options = self.members_or_error(&options).await.unwrap_or_default();
        options
            .iter()
            .filter_map(|option| {
                let reference = option.text("/BootOptionReference")?;
                let name = option
                    .text("/DisplayName")
                    .or_else(|| option.text("/Name"))?;
                Some((reference, name))
            })
            .collect()
    }

    /// A resource that a BMC need not have.
    pub(crate) async fn optional(
        &self,
        link: Option<String>,
    ) -> Result<Option<Resource>, BmcError> {
        let Some(path) = link else { return Ok(None) };
        match self.read(&path).await {
            Ok(read) => Ok(Some(read)),
            Err(BmcError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn boot(system: &Resource) -> Option<&Value> {
    system.body.get("Boot").filter(|boot| boot.is_object())
}

/// An override that lasts beyond the next boot; empty for none. `None` where
/// nothing is told of overrides.
fn lasting_override(boot: &Value) -> Option<String> {
    let enabled = boot.get("BootSourceOverrideEnabled")?.as_str()?;
    if !enabled.eq_ignore_ascii_case("continuous") {
        return Some(String::new());
    }
    let target = boot.get("BootSourceOverrideTarget").and_then(Value::as_str);
    Some(format!("Continuous {}", target.unwrap_or("of something")))
}

/// BIOS attributes as text; `None` where there are none (yet).
fn attributes(bios: &Resource) -> Option<BTreeMap<String, String>> {
    let attributes = bios.body.get("Attributes").and_then(Value::as_object)?;
    let told: BTreeMap<String, String> = attributes
        .iter()
        .filter_map(|(name, value)| {
            let value = match value {
                Value::Null => return None,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some((name.clone(), value))
        })
        .collect();
    (!told.is_empty()).then_some(told)
}

/// Whether Secure Boot is on: what this boot has, else what is set.
fn secure_boot(secure: &Resource) -> Option<bool> {
    match text(&secure.body, "/SecureBootCurrentBoot").as_deref() {
        Some("Enabled") => Some(true),
        Some("Disabled") => Some(false),
        _ => yes(&secure.body, "/SecureBootEnable"),
    }
}
