//! Webhooks as they are read, claimed, and brought forward.

use billet_model::{
    Name, ProjectId, WebhookId,
    webhook::{Delivery, Webhook},
};
use jiff::Timestamp;
use sqlx::any::AnyRow;

use crate::{
    Store,
    error::{Result, StoreError},
    select::{Select, column, noun},
    statement::{Statement, micros_up},
    write::leaf,
};

const WHAT: &str = "webhook";
const COLUMNS: &str = "SELECT doc, delivery FROM webhooks";

/// Which webhooks; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct WebhookFilter {
    /// Of one of these projects.
    pub projects: Option<Vec<ProjectId>>,
    /// The operator's own.
    pub operators: bool,
    /// Of this name.
    pub name: Option<Name>,
}

/// A webhook's secrets, as they were encrypted: the present one, and the one before.
pub type WebhookSecrets = (Vec<u8>, Option<Vec<u8>>);

impl Store {
    /// A webhook, and how far it has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<(Webhook, Delivery)>> {
        let select = Select::new(WHAT, COLUMNS).when("id = ?", id);
        let rows = self.fetch(select.order_limit("id", 1)).await?;
        rows.first().map(both).transpose()
    }

    /// Webhooks in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks(
        &self,
        filter: &WebhookFilter,
        after: Option<WebhookId>,
        limit: usize,
    ) -> Result<Vec<(Webhook, Delivery)>> {
        let mut select = Select::new(WHAT, COLUMNS)
            .when_among("project", filter.projects.as_deref())
            .when_some("name = ?", filter.name.as_ref())
            .when_some("id > ?", after);
        if filter.operators {
            select = select.and("project IS NULL");
        }
        let rows = self.fetch(select.order_limit("id", limit)).await?;
        rows.iter().map(both).collect()
    }

    /// A webhook's secrets.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook_secrets(&self, id: WebhookId) -> Result<Option<WebhookSecrets>> {
        const SQL: &str = "SELECT secret, old_secret FROM webhooks WHERE id = $1";
        let rows = self.fetch(Statement::read(SQL, WHAT).bind(id)).await?;
        rows.first()
            .map(|row| Ok((column(WHAT, row, 0)?, column(WHAT, row, 1)?)))
            .transpose()
    }

    /// Webhooks that may have something to send: the log has grown to `head`, and
    /// it is time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhooks_due(
        &self,
        head: u64,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Webhook, Delivery)>> {
        let select = Select::new(WHAT, COLUMNS)
            .and("disabled = 0")
            .when("next < ?", leaf(head))
            .when("(retry_at IS NULL OR retry_at <= ?)", now);
        let rows = self.fetch(select.order_limit("id", limit)).await?;
        rows.iter().map(both).collect()
    }

    /// Claims a webhook for one sender until a time, as [`Store::claim`] does a machine.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_webhook(
        &self,
        id: WebhookId,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool> {
        let claim = Statement::new(
            "UPDATE webhooks SET claimed_by = $2, claimed_until = $4 \
             WHERE id = $1 AND disabled = 0 \
             AND (claimed_by IS NULL OR claimed_by = $2 OR claimed_until <= $3)",
            WHAT,
            id,
        )
        .bind(id)
        .bind(by)
        .bind(now)
        .bind(until);
        Ok(self.execute(claim).await? == 1)
    }

    /// Keeps how far a webhook has come, if it is still the claim of `by`; whether
    /// it is. `until` is how long the claim holds from now on, `None` gives it back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn webhook_came(
        &self,
        id: WebhookId,
        by: &str,
        delivery: &Delivery,
        until: Option<Timestamp>,
    ) -> Result<bool> {
        let written = serde_json::to_string(delivery).map_err(|e| StoreError::Corrupt {
            what: WHAT,
            why: e.to_string(),
        })?;
        let came = match until {
            Some(_) => Statement::new(
                "UPDATE webhooks SET next = $3, retry_at = $4, delivery = $5, claimed_until = $6 \
                 WHERE id = $1 AND claimed_by = $2",
                WHAT,
                id,
            ),
            None => Statement::new(
                "UPDATE webhooks SET next = $3, retry_at = $4, delivery = $5, \
                 claimed_by = NULL, claimed_until = NULL WHERE id = $1 AND claimed_by = $2",
                WHAT,
                id,
            ),
        };
        let mut came = came
            .bind(id)
            .bind(by)
            .bind(leaf(delivery.next))
            .bind_int(delivery.retry_at.map(micros_up))
            .bind(written);
        if let Some(until) = until {
            came = came.bind(until);
        }
        Ok(self.execute(came).await? == 1)
    }
}

fn both(row: &AnyRow) -> Result<(Webhook, Delivery)> {
    let written: String = column(WHAT, row, 1)?;
    let delivery = serde_json::from_str(&written).map_err(|e| StoreError::Corrupt {
        what: WHAT,
        why: e.to_string(),
    })?;
    Ok((noun(WHAT, row)?, delivery))
}
