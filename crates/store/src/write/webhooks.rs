//! Webhooks, compared and set by their version.

use super::doc;
use crate::{
    batch::PutWebhook,
    error::{Result, StoreError},
    statement::{Means, NoRow, Statement, Unique, micros_up},
};

const WHAT: &str = "webhook";

const UNIQUE: &[Unique] = &[
    Unique {
        index: "webhooks_name",
        columns: "index 'webhooks_name'",
        means: Means::Duplicate("a webhook named", 1),
    },
    Unique {
        index: "webhooks_pkey",
        columns: "webhooks.id",
        means: Means::Conflict,
    },
];

/// A webhook: a new one with its secret and where it begins, or a change.
pub(super) fn webhook(put: PutWebhook) -> Result<Statement> {
    let before = put.webhook.version;
    let mut webhook = put.webhook;
    webhook.version += 1;
    let written = doc(WHAT, &webhook)?;
    let delivery = match &put.delivery {
        Some(delivery) => Some((doc(WHAT, delivery)?, delivery)),
        None => None,
    };
    if before == 0 {
        let (Some((secret, old)), Some((delivery, start))) = (put.secrets, delivery) else {
            return Err(StoreError::Constraint {
                what: WHAT,
                id: webhook.name.to_string(),
                rule: "a new webhook has a secret and a place to begin".into(),
            });
        };
        return Ok(Statement::new(
            "INSERT INTO webhooks \
             (id, name, project, version, disabled, doc, secret, old_secret, next, delivery) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            WHAT,
            &webhook.name,
        )
        .bind(webhook.id)
        .bind(&webhook.name)
        .bind(webhook.project)
        .bind(webhook.version)
        .bind(webhook.disabled.is_some())
        .bind(written)
        .bind(secret)
        .bind_bytes(old)
        .bind(leaf(start.next))
        .bind(delivery)
        .unique(UNIQUE));
    }
    let mut sql =
        String::from("UPDATE webhooks SET name = $2, version = $4, disabled = $5, doc = $6");
    let mut statement = Statement::new("", WHAT, &webhook.name)
        .bind(webhook.id)
        .bind(&webhook.name)
        .bind(before)
        .bind(webhook.version)
        .bind(webhook.disabled.is_some())
        .bind(written);
    if let Some((secret, old)) = put.secrets {
        statement = statement.bind(secret).bind_bytes(old);
        sql += &set(&statement, ["secret", "old_secret"]);
    }
    if let Some((written, delivery)) = delivery {
        statement = statement.bind(leaf(delivery.next)).bind(written);
        sql += &set(&statement, ["next", "delivery"]);
        sql += ", retry_at = NULL, claimed_by = NULL, claimed_until = NULL";
        if let Some(retry) = delivery.retry_at {
            statement = statement.bind(micros_up(retry));
            sql = sql.replace(
                "retry_at = NULL",
                &format!("retry_at = ${}", statement.args.len()),
            );
        }
    }
    sql += " WHERE id = $1 AND version = $3";
    statement.sql = sql.into();
    Ok(statement.unique(UNIQUE).no_row(NoRow::Conflict))
}

/// Sets two columns to the two values that were bound last.
fn set(statement: &Statement, columns: [&str; 2]) -> String {
    let n = statement.args.len();
    format!(", {} = ${}, {} = ${n}", columns[0], n - 1, columns[1])
}

/// A place in the log as the database has it.
pub(crate) fn leaf(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
