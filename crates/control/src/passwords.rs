//! BMC passwords: made, kept, and shown to an operator who asks.

use billet_model::{MachineId, Secret, api::BmcPasswordShown, people::Actor, step::PasswordForm};
use billet_plan::PasswordWrite;
use billet_store::{Batch, Write};

use crate::{Core, Refusal, RefusalKind};

/// The kind under which a BMC's password is kept.
pub(crate) const BMC_PASSWORD: &str = "bmc-password";
/// The kind under which the next one is kept, before it is sent and until it is
/// seen to work.
pub(crate) const NEXT_PASSWORD: &str = "bmc-password-next";

impl Core {
    /// What a decision about a password writes.
    pub(crate) fn password_writes(&self, machine: MachineId, what: PasswordWrite) -> Vec<Write> {
        let put = |kind: &str, number, form| {
            let plain = self.keys.bmc_password(machine, number, form);
            Write::PutSecret {
                owner: machine.0,
                kind: kind.to_owned(),
                ciphertext: self.keys.seal(self.world.as_ref(), machine.0, kind, &plain),
            }
        };
        let gone = Write::DeleteSecret {
            owner: machine.0,
            kind: NEXT_PASSWORD.to_owned(),
        };
        match what {
            PasswordWrite::Next { number, form } => vec![put(NEXT_PASSWORD, number, form)],
            PasswordWrite::Promote { number, form } => {
                vec![put(BMC_PASSWORD, number, form), gone]
            }
            PasswordWrite::Forget => vec![gone],
        }
    }

    /// A secret of a machine's BMC, if it is kept.
    ///
    /// # Errors
    /// When the store fails, or it was kept with other keys.
    pub async fn bmc_secret(
        &self,
        machine: MachineId,
        next: bool,
    ) -> Result<Option<Secret>, Refusal> {
        let kind = if next { NEXT_PASSWORD } else { BMC_PASSWORD };
        let Some(sealed) = self.store.secret(machine.0, kind).await? else {
            return Ok(None);
        };
        let plain = self.keys.unseal(machine.0, kind, &sealed);
        plain.map(Some).map_err(|e| {
            tracing::error!(error = %e, %machine, "a BMC's password cannot be read");
            Refusal::new(
                RefusalKind::Internal,
                "the password was kept with other keys: start the server with those that belong to its data",
            )
        })
    }

    /// Shows an operator how to sign in to a machine's BMC, on record.
    ///
    /// # Errors
    /// When there is no such machine, or no password of it is kept.
    pub async fn show_bmc_password(
        &self,
        actor: &Actor,
        id: MachineId,
        number: Option<u32>,
    ) -> Result<BmcPasswordShown, Refusal> {
        let machine = self
            .store
            .machine(id)
            .await?
            .ok_or_else(|| Refusal::missing("machine", id))?;
        let made = |number, form| {
            let plain = self.keys.bmc_password(id, number, form);
            plain.expose().to_owned()
        };
        let (password, or) = match number {
            Some(number) => (
                made(number, PasswordForm::Plain),
                vec![made(number, PasswordForm::Marked)],
            ),
            None => {
                let current = self.bmc_secret(id, false).await?;
                let current =
                    current.ok_or_else(|| Refusal::missing("password of", &machine.name))?;
                let next = self.bmc_secret(id, true).await?;
                (
                    current.expose().to_owned(),
                    next.iter().map(|n| n.expose().to_owned()).collect(),
                )
            }
        };
        let mut row = self.audit_row(
            actor,
            "machine.bmc_password_shown",
            serde_json::json!({ "number": number }),
        );
        row.machine = Some(id);
        // No row, no password.
        self.commit(Batch::new().audited(row)).await?;
        Ok(BmcPasswordShown {
            address: machine.bmc.address,
            user: machine.bmc.user,
            password,
            or,
            number: machine.upkeep.password_number,
        })
    }
}
