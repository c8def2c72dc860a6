//! Which of a BMC's systems is the machine, and who manages it.
//!
//! Asked of a [`Reader`], so that a discovery, which keeps what it read, asks the BMC
//! for none of it twice.

use crate::error::BmcError;
use crate::read::{Reader, is_resource};
use crate::service::Service;
use crate::value::{Resource, list, text};

impl Reader<'_> {
    /// The path of the system that is the machine. Where a BMC has several
    /// (a GPU baseboard, a DPU), the host is the one with firmware and power.
    async fn system_path(&self) -> Result<String, BmcError> {
        let mut known = self.service.system.lock().await;
        if let Some(path) = &*known {
            return Ok(path.clone());
        }
        let mut best: Option<(i32, String)> = None;
        for system in self.systems().await? {
            let score = host_score(&system);
            if best.as_ref().is_none_or(|(b, _)| score > *b) {
                best = Some((score, system.path));
            }
        }
        let (_, path) = best.ok_or_else(|| {
            BmcError::malformed("the BMC's systems", "there is none that can be read")
        })?;
        *known = Some(path.clone());
        Ok(path)
    }

    /// The machine's system. One that is not where it was (its BMC has new firmware) is
    /// looked for again next time.
    pub async fn system(&self) -> Result<Resource, BmcError> {
        let path = self.system_path().await?;
        // Some list a few words of it in their collection, which are not it.
        self.keep_only_if(&path, is_system);
        let read = self.read(&path).await;
        if matches!(&read, Err(error) if error.status() == Some(404)) {
            *self.service.system.lock().await = None;
        }
        read
    }

    /// All systems that can be read. Fails only where none can.
    async fn systems(&self) -> Result<Vec<Resource>, BmcError> {
        let root = self.service.root().await?;
        let path = root.resource().link("/Systems");
        let path = path.unwrap_or_else(|| "/redfish/v1/Systems".into());
        self.members_or_error(&path).await
    }

    /// The managers of the machine: those it names, else all.
    pub async fn managers(&self, system: &Resource) -> Vec<Resource> {
        let mut found = Vec::new();
        for path in system.links("/Links/ManagedBy") {
            found.extend(self.read(&path).await.ok());
        }
        if found.is_empty() {
            found = self.all_managers().await;
        }
        found
    }

    /// All managers that can be read.
    pub async fn all_managers(&self) -> Vec<Resource> {
        let Ok(root) = self.service.root().await else {
            return Vec::new();
        };
        let path = root.resource().link("/Managers");
        let path = path.unwrap_or_else(|| "/redfish/v1/Managers".into());
        self.members_or_error(&path).await.unwrap_or_default()
    }
}

impl Service {
    /// The machine's system, read now.
    pub async fn system(&self) -> Result<Resource, BmcError> {
        self.reader().system().await
    }

    /// The managers of the machine, read now.
    pub async fn managers(&self, system: &Resource) -> Vec<Resource> {
        self.reader().managers(system).await
    }
}

/// Whether this is a system as it is read, and not what a list says of one.
fn is_system(listed: &Resource) -> bool {
    let has = |field| listed.body.get(field).is_some();
    is_resource(&listed.body) && (has("PowerState") || has("Actions"))
}

/// How much a system looks like the host itself.
pub(crate) fn host_score(system: &Resource) -> i32 {
    let body = &system.body;
    let mut score = 0;
    if text(body, "/SystemType").is_none_or(|t| t == "Physical") {
        score += 4;
    }
    if body.pointer("/Actions/#ComputerSystem.Reset").is_some() {
        score += 2;
    }
    if body.get("Bios").is_some() || body.get("Boot").is_some() {
        score += 2;
    }
    if !list(body, "/Links/ManagedBy").is_empty() {
        score += 1;
    }
    let name = format!(
        "{} {}",
        system.id(),
        text(body, "/Model").unwrap_or_default()
    );
    let name = name.to_ascii_lowercase();
    if ["hgx", "baseboard", "bluefield", "dpu"]
        .iter()
        .any(|w| name.contains(w))
    {
        score -= 6;
    }
    score
}
