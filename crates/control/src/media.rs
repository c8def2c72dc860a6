//! The boot medium of one boot: the ramdisk that is the same for all, and the
//! machine's own record beside it.

use billet_media::boot_media::BootMedium;
use billet_protocol::boot::BootRecord;
use std::time::Duration;

use billet_model::{
    step::{Boot, BootOf},
    work::Task,
};

use crate::{AgentError, Control};

impl Control {
    /// The medium that an address names, while its machine is on the way to it, and the boot
    /// that it is of.
    ///
    /// # Errors
    /// When there is none (any more).
    pub async fn boot_medium(&self, path_token: &str) -> Result<(Boot, BootMedium), AgentError> {
        let (boot, machine) = self.medium(path_token).await?;
        if boot.of == BootOf::Installer {
            let medium = self.installer_medium(&machine).await?;
            return Ok((boot, medium));
        }
        let template = self.template().ok_or(AgentError::NotYours)?;
        let record = BootRecord {
            servers: self.servers.clone(),
            authority: self.authority.clone(),
            token: self.keys.boot_token(boot.id),
            addresses: machine.addresses,
            // Not now: a BMC reads a medium in pieces, which must be of one medium.
            made_at: boot.created_at,
        };
        let medium = template.for_record(&record).map_err(|error| {
            tracing::error!(%error, machine = %machine.name, "making a boot medium");
            AgentError::NotYours
        })?;
        Ok((boot, medium))
    }

    /// The agent's task; waits for one, at most so long.
    ///
    /// # Errors
    /// When the token is not good.
    pub async fn wait_task(
        &self,
        token: &str,
        at_most: Duration,
    ) -> Result<Option<Task>, AgentError> {
        let end = tokio::time::Instant::now() + at_most;
        loop {
            if let Some(task) = self.agent_task(token).await? {
                return Ok(Some(task));
            }
            let now = tokio::time::Instant::now();
            if now >= end {
                return Ok(None);
            }
            tokio::time::sleep_until(end.min(now + Duration::from_millis(300))).await;
        }
    }
}
