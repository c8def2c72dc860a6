//! Virtual media: which slot is the virtual CD, what is in it, in and out.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::change::Refusal;
use crate::error::BmcError;
use crate::link;
use crate::read::Reader;
use crate::service::Service;
use crate::value::{Resource, text, texts, yes};
use crate::vendors::Quirks;

/// How many slots are tried where the best one refuses.
const MOST_SLOTS: usize = 3;

impl Reader<'_> {
    /// All virtual media slots, of the system and of its managers.
    /// Fails only where none could be read.
    pub async fn slots(&self, system: &Resource) -> Result<Vec<Resource>, BmcError> {
        let mut places: Vec<String> = system.link("/VirtualMedia").into_iter().collect();
        for manager in self.managers(system).await {
            places.extend(manager.link("/VirtualMedia"));
        }
        if places.is_empty() {
            // A machine of several managers may name the wrong one.
            for manager in self.all_managers().await {
                places.extend(manager.link("/VirtualMedia"));
            }
        }
        let mut slots: Vec<Resource> = Vec::new();
        let mut trouble = None;
        for place in places {
            match self.members_or_error(&place).await {
                Ok(found) => {
                    for slot in found {
                        if !slots.iter().any(|s| link::same(&s.path, &slot.path)) {
                            slots.push(slot);
                        }
                    }
                }
                Err(error) => trouble = Some(error),
            }
        }
        match (slots.is_empty(), trouble) {
            (true, Some(error)) => Err(error),
            _ => Ok(slots),
        }
    }
}

impl Service {
    /// Puts a medium into the virtual CD, after taking out whatever is in one.
    pub async fn insert_media(&self, url: &str) -> Result<(), BmcError> {
        let system = self.system().await?;
        let quirks = self.vendor(&system).await.quirks();
        let slots = self.reader().slots(&system).await?;
        let mut changed = false;
        for slot in slots.iter().filter(|s| is_cd(s) && inserted(s)) {
            self.eject(slot).await?;
            changed = true;
        }
        let mut cds: Vec<&Resource> = slots.iter().filter(|s| is_cd(s)).collect();
        cds.sort_by_key(|s| std::cmp::Reverse(fitness(s, quirks)));
        let mut last = BmcError::refused(
            "insert media",
            "this BMC shows no virtual CD (some show it only after a reset of the BMC itself)",
        );
        for slot in cds.into_iter().take(MOST_SLOTS) {
            match self.insert(slot, url).await {
                Ok(()) => return Ok(()),
                Err(error @ BmcError::Refused { .. }) => last = error,
                Err(error @ BmcError::Uncertain { .. }) => return Err(error),
                Err(error) if changed => return Err(error.after_change()),
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Takes out whatever medium is in, in all slots. Nothing in is fine.
    pub async fn eject_media(&self) -> Result<(), BmcError> {
        let system = self.system().await?;
        let slots = self.reader().slots(&system).await?;
        let mut trouble = None;
        for slot in slots.iter().filter(|s| inserted(s)) {
            if let Err(error) = self.eject(slot).await {
                // The others are still to be emptied; what is uncertain weighs most.
                if error.kind().is_none() || trouble.is_none() {
                    trouble = Some(error);
                }
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn insert(&self, slot: &Resource, url: &str) -> Result<(), BmcError> {
        let what = format!("insert media at {}", slot.path);
        let mut last = BmcError::refused(&what, "it has no way to insert a URL");
        if let Some(action) = action(slot, &["InsertMedia", "InsertVirtualMedia"]) {
            let mut ejected = false;
            for body in insert_bodies(url) {
                let mut asked = self.change(Method::POST, &action, &body, None).await;
                // A slot that shows empty may still be held by an older medium.
                if let Err(refusal) = &asked
                    && refusal.try_otherwise()
                    && refusal.eject_first
                    && !ejected
                {
                    ejected = true;
                    self.eject_unseen(slot).await?;
                    asked = self.change(Method::POST, &action, &body, None).await;
                }
                match asked {
                    Ok(()) => return self.read_back_insert(&what, slot, url).await,
                    Err(refusal) if refusal.try_otherwise() => last = refusal.error,
                    Err(refusal) => return self.look_for_insert(slot, url, refusal).await,
                }
            }
        }
        for body in [
            json!({"Image": url, "Inserted": true, "WriteProtected": true}),
            json!({"Image": url, "Inserted": true}),
            json!({"Image": url}),
        ] {
            match self.patch(slot, &body).await {
                Ok(()) => return self.read_back_insert(&what, slot, url).await,
                Err(refusal) if refusal.try_otherwise() => {
                    // What the action said tells more than "PATCH is not allowed".
                    if last.status().is_none() {
                        last = refusal.error;
                    }
                }
                Err(refusal) => return self.look_for_insert(slot, url, refusal).await,
            }
        }
        Err(last)
    }

    /// An insert whose answer was lost can still be seen to have happened.
    async fn look_for_insert(
        &self,
        slot: &Resource,
        url: &str,
        refusal: Refusal,
    ) -> Result<(), BmcError> {
        let uncertain = matches!(refusal.error, BmcError::Uncertain { .. });
        if uncertain && self.read(&slot.path).await.is_ok_and(|s| holds(&s, url)) {
            return Ok(());
        }
        Err(refusal.error)
    }

    async fn read_back_insert(
        &self,
        what: &str,
        slot: &Resource,
        url: &str,
    ) -> Result<(), BmcError> {
        let shows = self.wait_for(slot, |s| holds(s, url)).await?;
        shows.map_or(Ok(()), |shows| {
            let detail = format!("accepted, but not taken: it shows {shows}");
            Err(BmcError::refused(what, detail))
        })
    }

    /// Ejects whatever holds a slot that shows empty. A refusal says nothing new.
    async fn eject_unseen(&self, slot: &Resource) -> Result<(), BmcError> {
        let Some(action) = action(slot, &["EjectMedia", "EjectVirtualMedia"]) else {
            return Ok(());
        };
        match self.change(Method::POST, &action, &json!({}), None).await {
            Err(refusal) if !refusal.try_otherwise() => Err(refusal.error),
            _ => Ok(()),
        }
    }

    /// Takes out what is in one slot, and sees it gone.
    async fn eject(&self, slot: &Resource) -> Result<(), BmcError> {
        let what = format!("eject media at {}", slot.path);
        let mut last = BmcError::refused(&what, "it has no way to eject");
        let mut accepted = false;
        if let Some(action) = action(slot, &["EjectMedia", "EjectVirtualMedia"]) {
            match self.change(Method::POST, &action, &json!({}), None).await {
                Ok(()) => accepted = true,
                Err(refusal) if refusal.try_otherwise() => last = refusal.error,
                Err(refusal) => return Err(refusal.error),
            }
        }
        for body in [
            json!({"Image": null, "Inserted": false}),
            json!({"Image": null}),
        ] {
            if accepted {
                break;
            }
            match self.patch(slot, &body).await {
                Ok(()) => accepted = true,
                Err(refusal) if refusal.try_otherwise() => {
                    if last.status().is_none() {
                        last = refusal.error;
                    }
                }
                Err(refusal) => return Err(refusal.error),
            }
        }
        if !accepted {
            // Refused because nothing is in (it may be the same slot under two paths)?
            let empty = self.read(&slot.path).await.is_ok_and(|s| !inserted(&s));
            return if empty { Ok(()) } else { Err(last) };
        }
        let shows = self.wait_for(slot, |s| !inserted(s)).await?;
        shows.map_or(Ok(()), |shows| {
            let detail = format!("accepted, but it still shows {shows}");
            Err(BmcError::refused(what, detail))
        })
    }

    /// `None` once a slot is as wanted; else what it shows when the time is up.
    async fn wait_for(
        &self,
        slot: &Resource,
        wanted: impl Fn(&Resource) -> bool,
    ) -> Result<Option<String>, BmcError> {
        let started = Instant::now();
        loop {
            let now = self.read(&slot.path).await;
            let now = now.map_err(BmcError::after_change)?;
            if wanted(&now) {
                return Ok(None);
            }
            if started.elapsed() >= self.http.timeouts.settle {
                let image = now.text("/Image").unwrap_or_else(|| "no image".to_owned());
                let state = if inserted(&now) {
                    "inserted"
                } else {
                    "not inserted"
                };
                return Ok(Some(format!("{state}, {image}")));
            }
            tokio::time::sleep(self.http.timeouts.poll).await;
        }
    }
}

/// The ways to say it, plainest first; vendors demand and refuse different fields.
fn insert_bodies(url: &str) -> [Value; 4] {
    let protocol = url.split(':').next().unwrap_or_default().to_uppercase();
    [
        json!({"Image": url, "Inserted": true, "WriteProtected": true}),
        json!({"Image": url}),
        json!({"Image": url, "TransferMethod": "Stream", "TransferProtocolType": protocol}),
        json!({
            "Image": url, "Inserted": true, "WriteProtected": true, "MediaType": "CD",
            "TransferMethod": "Stream", "TransferProtocolType": protocol,
            "UserName": "", "Password": "",
        }),
    ]
}

/// Whether something is in. Where `Inserted` is not said, an image says it.
pub(crate) fn inserted(slot: &Resource) -> bool {
    yes(&slot.body, "/Inserted").unwrap_or_else(|| slot.text("/Image").is_some())
}

/// Whether this medium is in. BMCs shorten what they show of a URL.
fn holds(slot: &Resource, url: &str) -> bool {
    let file = |u: &str| {
        let path = u.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default().to_owned()
    };
    inserted(slot)
        && slot
            .text("/Image")
            .is_none_or(|image| image == url || file(&image) == file(url))
}

/// Whether it is a virtual CD, by its media types, else by its name.
pub(crate) fn is_cd(slot: &Resource) -> bool {
    let types = texts(&slot.body, "/MediaTypes");
    if !types.is_empty() {
        return types.iter().any(|t| t == "CD" || t == "DVD");
    }
    let name = format!("{} {}", slot.id(), slot.text("/Name").unwrap_or_default());
    let name = name.to_ascii_lowercase();
    name.contains("cd") || name.contains("dvd")
}

/// How good a virtual CD it is.
fn fitness(slot: &Resource, quirks: &Quirks) -> u32 {
    let id = slot.id();
    let takes_urls =
        quirks.url_slots.is_empty() || quirks.url_slots.iter().any(|p| id.starts_with(p));
    let acts = action(slot, &["InsertMedia", "InsertVirtualMedia"]).is_some();
    let only_cd = texts(&slot.body, "/MediaTypes")
        .iter()
        .all(|t| t == "CD" || t == "DVD");
    8 * u32::from(takes_urls) + 4 * u32::from(acts) + 2 * u32::from(only_cd)
}

/// The target of an action with one of these names, also among the vendor's own.
fn action(slot: &Resource, names: &[&str]) -> Option<String> {
    let mut places = vec![slot.body.get("Actions")];
    if let Some(oem) = slot.body.get("Oem").and_then(Value::as_object) {
        places.extend(oem.values().map(|v| v.get("Actions")));
    }
    for actions in places.into_iter().flatten() {
        for (name, action) in actions.as_object().into_iter().flatten() {
            let last = name.rsplit('.').next().unwrap_or_default();
            if names.contains(&last)
                && let Some(target) = text(action, "/target")
            {
                return link::resolve(&slot.path, &target);
            }
        }
    }
    None
}
