//! The BMC's accounts: read, taken away, put back. Passwords are never read:
//! no BMC tells them.

use billet_model::bmc::BmcAccount;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::error::BmcError;
use crate::service::Service;
use crate::value::{Resource, text, yes};

impl Service {
    /// All accounts that have a name, with their resources: all or none.
    pub async fn accounts(&self) -> Result<Vec<(BmcAccount, Resource)>, BmcError> {
        let root = self.root().await?.resource();
        let link = root.link("/AccountService").ok_or_else(|| {
            BmcError::refused("read the BMC's accounts", "it shows no account service")
        })?;
        let service = self.read(&link).await?;
        let listed = service
            .link("/Accounts")
            .ok_or_else(|| BmcError::refused(format!("GET {link}"), "it links to no accounts"))?;
        let mut accounts = Vec::new();
        for member in self.reader().members(&listed).await? {
            let member = member?;
            // Some have slots that are there for good, and empty without a name.
            if let Some(account) = account(&member) {
                accounts.push((account, member));
            }
        }
        Ok(accounts)
    }

    /// The account as it is now, found by id and name together.
    async fn account_now(
        &self,
        id: &str,
        user: &str,
    ) -> Result<Option<(BmcAccount, Resource)>, BmcError> {
        let accounts = self.accounts().await?;
        Ok(accounts
            .into_iter()
            .find(|(a, _)| a.id == id && a.user == user))
    }

    /// Deletes an account; disables it where it cannot be deleted.
    pub async fn remove_account(&self, id: &str, user: &str) -> Result<(), BmcError> {
        let Some((_, resource)) = self.account_now(id, user).await? else {
            return Ok(());
        };
        let slots = self
            .vendor(&self.system().await?)
            .await
            .quirks()
            .account_slots;
        if !slots {
            match self
                .change(Method::DELETE, &resource.path, &Value::Null, None)
                .await
            {
                Ok(()) => {
                    let left = self.account_now(id, user).await;
                    if left.map_err(BmcError::after_change)?.is_none() {
                        return Ok(());
                    }
                }
                Err(refusal) if refusal.try_otherwise() => {}
                Err(refusal) => return Err(refusal.error),
            }
        }
        let Some((_, resource)) = self.account_now(id, user).await? else {
            return Ok(());
        };
        self.patch(&resource, &json!({"Enabled": false}))
            .await
            .map_err(|r| r.error)?;
        if slots {
            // An empty name empties the slot; one that is only disabled is shut all the same.
            let fresh = self
                .read(&resource.path)
                .await
                .map_err(BmcError::after_change)?;
            match self.patch(&fresh, &json!({"UserName": ""})).await {
                Err(refusal) if !refusal.try_otherwise() => {
                    return Err(refusal.error.after_change());
                }
                _ => {}
            }
        }
        match self
            .account_now(id, user)
            .await
            .map_err(BmcError::after_change)?
        {
            Some((account, _)) if account.enabled != Some(false) => Err(BmcError::refused(
                format!("disable account {user}"),
                "accepted, and it is not disabled",
            )),
            _ => Ok(()),
        }
    }

    /// Gives an account its role and flag back.
    pub async fn put_account(&self, wanted: &BmcAccount) -> Result<(), BmcError> {
        let what = || format!("put account {} back", wanted.user);
        let accounts = self.accounts().await?;
        let found = accounts.into_iter().find(|(a, _)| a.user == wanted.user);
        let Some((now, resource)) = found else {
            return Err(BmcError::refused(what(), "there is no such account"));
        };
        let mut body = Map::new();
        if let Some(role) = wanted
            .role
            .as_ref()
            .filter(|r| now.role.as_ref() != Some(r))
        {
            body.insert("RoleId".into(), json!(role));
        }
        if let Some(enabled) = wanted.enabled.filter(|e| now.enabled != Some(*e)) {
            body.insert("Enabled".into(), json!(enabled));
        }
        if body.is_empty() {
            return Ok(());
        }
        self.patch(&resource, &Value::Object(body))
            .await
            .map_err(|r| r.error)?;
        let read = self
            .read(&resource.path)
            .await
            .map_err(BmcError::after_change)?;
        let is = account(&read);
        let taken = is.is_some_and(|is| {
            (wanted.role.is_none() || is.role == wanted.role)
                && (wanted.enabled.is_none() || is.enabled == wanted.enabled)
        });
        if taken {
            Ok(())
        } else {
            Err(BmcError::refused(what(), "accepted, and not taken"))
        }
    }
}

/// An account from its resource, where it has a name.
pub(crate) fn account(resource: &Resource) -> Option<BmcAccount> {
    let body = &resource.body;
    let last = resource.path.trim_end_matches('/').rsplit('/').next();
    Some(BmcAccount {
        id: text(body, "/Id").or_else(|| last.map(str::to_owned))?,
        user: text(body, "/UserName")?,
        role: text(body, "/RoleId"),
        enabled: yes(body, "/Enabled"),
    })
}
