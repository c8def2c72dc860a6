//! Choosing what firmware boots, in the words this BMC knows, and reading it back.
//!
//! Some BMCs accept a boot override and forget it; only what reads back counts.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use billet_model::bmc::BootTarget;
use reqwest::Method;
use serde_json::{Value, json};

use crate::error::BmcError;
use crate::service::Service;
use crate::value::{Resource, text, texts};
use crate::vendors::Quirks;

const ENABLED: &str = "BootSourceOverrideEnabled";
const TARGET: &str = "BootSourceOverrideTarget";
const MODE: &str = "BootSourceOverrideMode";

/// One way to ask, and what must read back then.
struct Way {
    boot: Value,
    enabled: &'static str,
    /// `None`: whatever it is.
    target: Option<String>,
}

impl Way {
    fn taken(&self, system: &Resource) -> bool {
        let is = |key: &str, wanted: &str| {
            raw(system, key).is_some_and(|v| v.eq_ignore_ascii_case(wanted))
        };
        is(ENABLED, self.enabled) && self.target.as_ref().is_none_or(|t| is(TARGET, t))
    }
}

/// A boot property as it stands; here "None" is a value.
fn raw<'a>(system: &'a Resource, key: &str) -> Option<&'a str> {
    system.body.get("Boot")?.get(key)?.as_str()
}

fn allowed(system: &Resource, key: &str) -> Vec<String> {
    texts_with_none(system, &format!("/Boot/{key}@Redfish.AllowableValues"))
}

fn texts_with_none(system: &Resource, pointer: &str) -> Vec<String> {
    crate::value::list(&system.body, pointer)
        .iter()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

impl Service {
    /// Sets what boots, and reads it back until it shows. `Some` where the BMC
    /// accepts it and never shows it: what it shows instead. Some obey such an
    /// override all the same, and only a boot can tell.
    pub async fn set_boot(&self, target: BootTarget) -> Result<Option<String>, BmcError> {
        let system = self.system().await?;
        let quirks = self.vendor(&system).await.quirks();
        let ways = match target {
            BootTarget::CdOnce => self.cd_ways(&system, quirks).await,
            BootTarget::Disk => disk_ways(&system),
        };
        let what = format!("boot {target:?} at {}", system.path);
        let mut places = vec![system.clone()];
        if let Some(settings) = system.link("/@Redfish.Settings/SettingsObject")
            && let Ok(settings) = self.read(&settings).await
            && settings.body.get("Boot").is_some()
        {
            places.push(settings);
        }
        let mut accepted: Option<(&Resource, &Way, String)> = None;
        let mut last = BmcError::refused(&what, "this BMC offers no way to do it");
        'ways: for place in &places {
            for way in &ways {
                let body = json!({"Boot": way.boot});
                match self.patch(place, &body).await {
                    Ok(()) => {}
                    Err(refusal) if refusal.try_otherwise() => {
                        last = refusal.error;
                        continue;
                    }
                    Err(refusal) if accepted.is_some() => return Err(refusal.error.after_change()),
                    Err(refusal) => return Err(refusal.error),
                }
                let hides = self.hides_boot.load(Ordering::Relaxed);
                // The first way is waited for; a BMC that does not show that
                // one rarely shows another.
                let patience = match hides || accepted.is_some() {
                    true => self.http.timeouts.settle / 4,
                    false => self.http.timeouts.settle,
                };
                match self.read_back_boot(&place.path, way, patience).await? {
                    None => {
                        self.hides_boot.store(false, Ordering::Relaxed);
                        self.finish_boot(target, quirks, &system).await?;
                        return Ok(None);
                    }
                    Some(shows) => {
                        accepted.get_or_insert((place, way, shows));
                        if hides && target == BootTarget::CdOnce {
                            break 'ways;
                        }
                    }
                }
            }
        }
        // Refused because it is so already?
        let now = self.system().await;
        if now.is_ok_and(|now| ways.iter().any(|w| w.taken(&now))) {
            return Ok(None);
        }
        let Some((place, way, shows)) = accepted else {
            return Err(last);
        };
        // What boots a tenant's system is not taken on trust.
        if target == BootTarget::Disk {
            let detail = format!("accepted, but not taken: it shows {shows}");
            return Err(BmcError::refused(&what, detail));
        }
        // The best way shall be the last one asked for; to ask twice is harmless.
        let body = json!({"Boot": way.boot});
        let again = self
            .read(&place.path)
            .await
            .unwrap_or_else(|_| place.clone());
        if let Err(refusal) = self.patch(&again, &body).await {
            return Err(refusal.error.after_change());
        }
        self.finish_boot(target, quirks, &system).await?;
        self.hides_boot.store(true, Ordering::Relaxed);
        Ok(Some(shows))
    }

    /// `None` once it shows; else what shows instead when the time is up.
    async fn read_back_boot(
        &self,
        place: &str,
        way: &Way,
        patience: Duration,
    ) -> Result<Option<String>, BmcError> {
        let started = Instant::now();
        loop {
            let system = self.system().await.map_err(BmcError::after_change)?;
            if way.taken(&system) {
                return Ok(None);
            }
            if place != system.path
                && let Ok(pending) = self.read(place).await
                && way.taken(&pending)
            {
                return Ok(None);
            }
            if started.elapsed() >= patience {
                let shown = |key| raw(&system, key).unwrap_or("nothing").to_owned();
                return Ok(Some(format!("{} {}", shown(ENABLED), shown(TARGET))));
            }
            tokio::time::sleep(self.http.timeouts.poll).await;
        }
    }

    /// Where the standard's word leaves open which CD, says it the vendor's way too.
    async fn finish_boot(
        &self,
        target: BootTarget,
        quirks: &Quirks,
        system: &Resource,
    ) -> Result<(), BmcError> {
        if target != BootTarget::CdOnce || quirks.virtual_cd_attributes.is_empty() {
            return Ok(());
        }
        let attributes: serde_json::Map<String, Value> = quirks
            .virtual_cd_attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let body = json!({"Attributes": attributes});
        for manager in self.managers(system).await {
            let links = manager.links(quirks.manager_attributes);
            let Some(path) = links.iter().find(|l| l.ends_with(&manager.id())) else {
                continue;
            };
            match self.change(Method::PATCH, path, &body, None).await {
                Err(refusal) if !refusal.try_otherwise() => {
                    return Err(refusal.error.after_change());
                }
                Err(refusal) => tracing::debug!(error = %refusal.error, "standard boot word only"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Ways to boot the virtual CD once, best first.
    async fn cd_ways(&self, system: &Resource, quirks: &Quirks) -> Vec<Way> {
        let offered = allowed(system, TARGET);
        let mut ways = Vec::new();
        for target in quirks.virtual_cd {
            if !offered.is_empty() && !offered.iter().any(|o| o == target) {
                continue;
            }
            let boot = json!({ENABLED: "Once", TARGET: target});
            ways.extend(with_mode(system, boot, target));
        }
        if ways.is_empty() && offered.iter().any(|o| o == "UefiBootNext") {
            for option in self.virtual_cd_options(system).await {
                let boot = json!({ENABLED: "Once", TARGET: "UefiBootNext", "BootNext": option});
                ways.extend(with_mode(system, boot, "UefiBootNext"));
            }
        }
        ways
    }

    /// Boot options that look like the virtual CD.
    async fn virtual_cd_options(&self, system: &Resource) -> Vec<String> {
        let Some(options) = system.link("/Boot/BootOptions") else {
            return Vec::new();
        };
        let options = self.members_or_error(&options).await.unwrap_or_default();
        options
            .iter()
            .filter(|o| {
                let said = ["/DisplayName", "/Name", "/UefiDevicePath", "/Alias"]
                    .iter()
                    .filter_map(|p| text(&o.body, p))
                    .collect::<Vec<_>>()
                    .join(" ")
                    .to_ascii_lowercase();
                [
                    "virtual cd",
                    "virtual media",
                    "cdrom",
                    "cd-rom",
                    "virtual dvd",
                    "usbcd",
                ]
                .iter()
                .any(|w| said.contains(w))
            })
            .filter_map(|o| o.text("/BootOptionReference"))
            .collect()
    }
}

/// The way with UEFI mode, where there is a mode, and without: some forget the
/// mode where it is not said, others refuse to be told.
fn with_mode(system: &Resource, boot: Value, target: &str) -> Vec<Way> {
    let way = |boot| Way {
        boot,
        enabled: "Once",
        target: Some(target.to_owned()),
    };
    let mut ways = Vec::new();
    if raw(system, MODE).is_some() {
        let mut boot = boot.clone();
        boot[MODE] = json!("UEFI");
        ways.push(way(boot));
    }
    ways.push(way(boot));
    ways
}

/// Ways back to the drives: no override at all, which is the normal boot
/// order; else the hard disk from now on.
fn disk_ways(system: &Resource) -> Vec<Way> {
    let targets = allowed(system, TARGET);
    let enabled = texts(
        &system.body,
        &format!("/Boot/{ENABLED}@Redfish.AllowableValues"),
    );
    let mut ways = Vec::new();
    if enabled.is_empty() || enabled.iter().any(|e| e == "Disabled") {
        if targets.iter().any(|t| t == "None") {
            ways.push(Way {
                boot: json!({ENABLED: "Disabled", TARGET: "None"}),
                enabled: "Disabled",
                target: None,
            });
        }
        ways.push(Way {
            boot: json!({ENABLED: "Disabled"}),
            enabled: "Disabled",
            target: None,
        });
    }
    let continuous = enabled.is_empty() || enabled.iter().any(|e| e == "Continuous");
    if continuous && (targets.is_empty() || targets.iter().any(|t| t == "Hdd")) {
        ways.push(Way {
            boot: json!({ENABLED: "Continuous", TARGET: "Hdd"}),
            enabled: "Continuous",
            target: Some("Hdd".to_owned()),
        });
    }
    ways
}
