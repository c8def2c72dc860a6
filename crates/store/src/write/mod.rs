//! Each write as statements. Pure: nothing is read or written here.

mod audit;
mod leases;
mod machines;
mod named;
mod people;
mod quotas;
mod tokens;
mod webhooks;
mod work;

pub(crate) use quotas::USED;
use serde::Serialize;
pub(crate) use webhooks::leaf;

use crate::{
    batch::{Batch, Write},
    error::{Result, StoreError},
    statement::{Means::Duplicate, NoRow, Statement, Unique},
};

/// The statements of a whole batch, or why it is refused before the database is touched.
pub(crate) fn statements(batch: Batch) -> Result<Vec<Statement>> {
    let recorded = !batch.audit.is_empty();
    let mut out = Vec::with_capacity(batch.writes.len() * 2 + batch.audit.len());
    for write in batch.writes {
        if !recorded && !write.may_go_unrecorded() {
            let (what, id) = write.subject();
            return Err(off_record(what, id));
        }
        put(write, recorded, &mut out)?;
    }
    for row in &batch.audit {
        out.push(audit::row(row)?);
    }
    Ok(out)
}

/// The refusal of a change that nobody would know of.
pub(crate) fn off_record(what: &'static str, id: String) -> StoreError {
    StoreError::Constraint {
        what,
        id,
        rule: "this change must be on record: its batch has no audit row".into(),
    }
}

pub(crate) fn put(write: Write, recorded: bool, out: &mut Vec<Statement>) -> Result<()> {
    match write {
        Write::PutMachine(m) => machines::machine(*m, recorded, out)?,
        Write::PutLease(l) => leases::lease(*l, out)?,
        Write::PutImage(i) => out.push(named::image(&i)?),
        Write::PutOperation(o) => out.push(work::operation(&o)?),
        Write::PutBoot(b) => out.push(work::boot(&b)?),
        Write::PutTask(t) => out.push(work::task(*t)?),
        Write::Hold {
            machine,
            units,
            lease,
        } => leases::hold(machine, units, lease, out),
        Write::Unhold { lease, machine } => out.push(leases::unhold(lease, machine)),
        Write::PutOrganisation(o) => out.push(named::organisation(&o)?),
        Write::PutProject(p) => out.push(named::project(&p)?),
        Write::PutSite(s) => out.push(named::site(&s)?),
        Write::PutMachineType(t) => out.push(named::machine_type(&t)?),
        Write::PutNetwork(n) => out.push(named::network(n)?),
        Write::GiveAddress { network, version } => out.push(named::give(network, version)),
        Write::GivenStill { network, given } => out.push(named::given_still(network, given)),
        Write::DeleteOrganisation(id) => out.push(
            Statement::new(
                "DELETE FROM organisations WHERE id = $1",
                "organisation",
                id,
            )
            .bind(id)
            .no_row(NoRow::NotFound),
        ),
        Write::DeleteSite(id) => out.push(
            Statement::new("DELETE FROM sites WHERE id = $1", "site", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::DeleteMachineType(id) => out.push(
            Statement::new(
                "DELETE FROM machine_types WHERE id = $1",
                "machine type",
                id,
            )
            .bind(id)
            .no_row(NoRow::NotFound),
        ),
        Write::DeleteNetwork(id) => out.push(
            Statement::new("DELETE FROM networks WHERE id = $1", "network", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::DeleteProject(id) => out.push(
            Statement::new("DELETE FROM projects WHERE id = $1", "project", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::PutToken { token, hash } => out.push(tokens::token(&token, hash)?),
        Write::RotateToken {
            token,
            hash,
            old_until,
        } => out.push(tokens::rotate(&token, hash, old_until)),
        Write::TouchToken { id, at } => out.push(tokens::touch(id, at)),
        Write::DeleteToken(id) => out.push(
            Statement::new("DELETE FROM tokens WHERE id = $1", "token", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::PutQuota(quota) => out.push(quotas::put(&quota)),
        Write::DeleteQuota(quota) => out.push(quotas::delete(&quota)),
        Write::WithinQuota {
            project,
            machine_type,
        } => quotas::within(project, &machine_type, out),
        Write::PutUser(user) => out.push(people::user(&user)?),
        Write::DeleteUser(id) => out.push(
            Statement::new("DELETE FROM users WHERE id = $1", "user", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::PutGroup(group) => out.push(people::group(&group)?),
        Write::DeleteGroup(id) => out.push(
            Statement::new("DELETE FROM groups WHERE id = $1", "group", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::AddMember { group, user } => out.push(people::add_member(group, user)),
        Write::RemoveMember { group, user } => out.push(people::remove_member(group, user)),
        Write::AddGrant { group, grant } => out.push(people::add_grant(group, &grant)),
        Write::RemoveGrant { group, grant } => out.push(people::remove_grant(group, &grant)),
        Write::PutWebhook(put) => out.push(webhooks::webhook(*put)?),
        Write::DeleteWebhook(id) => out.push(
            Statement::new("DELETE FROM webhooks WHERE id = $1", "webhook", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::PutEvidence(e) => out.push(work::evidence(&e)?),
        Write::PutSecret {
            owner,
            kind,
            ciphertext,
        } => out.push(tokens::secret(owner, kind, ciphertext)),
        Write::DeleteSecret { owner, kind } => out.push(tokens::no_secret(owner, kind)),
        Write::PutIdempotency {
            key,
            token,
            request_hash,
            status,
            body,
            at,
        } => out.push(
            Statement::new(
                "INSERT INTO idempotency (token, key, request_hash, status, body, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
                "idempotency key",
                &key,
            )
            .bind(token)
            .bind(key)
            .bind(request_hash.to_vec())
            .bind(i64::from(status))
            .bind(body)
            .bind(at)
            .unique(&[Unique {
                index: "idempotency_once",
                columns: "idempotency.token, idempotency.key",
                means: Duplicate("an answer to the idempotency key", 1),
            }]),
        ),
        Write::ForgetIdempotency { before } => out.push(
            Statement::new(
                "DELETE FROM idempotency WHERE created_at < $1",
                "idempotency keys",
                "",
            )
            .bind(before),
        ),
        Write::PutCall(call) => out.push(work::call(&call)?),
        Write::ForgetCalls { before } => {
            out.push(Statement::new("DELETE FROM calls WHERE at < $1", "calls", "").bind(before))
        }
        Write::ForgetWork { before } => work::forget(before, out),
        Write::PutMeta { key, value } => {
            if key.starts_with("store.") {
                return Err(StoreError::Constraint {
                    what: "setting",
                    id: key,
                    rule: "keys that begin with \"store.\" are the store's own".into(),
                });
            }
            out.push(put_meta(&key, value));
        }
        Write::DeleteImage(id) => out.push(
            Statement::new("DELETE FROM images WHERE id = $1", "image", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
    }
    Ok(())
}

/// A setting.
pub(crate) fn put_meta(key: &str, value: String) -> Statement {
    Statement::new(
        "INSERT INTO meta (key, value) VALUES ($1, $2) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        "setting",
        key,
    )
    .bind(key)
    .bind(value)
}

/// A noun as its `doc`.
fn doc<T: Serialize>(what: &'static str, noun: &T) -> Result<String> {
    serde_json::to_string(noun).map_err(|e| StoreError::Corrupt {
        what,
        why: format!("it cannot be written as JSON: {e}"),
    })
}

/// An enum's word, as its JSON has it.
pub(crate) fn word<T: Serialize>(what: &'static str, value: &T) -> Result<String> {
    doc(what, value).map(|json| json.trim_matches('"').to_owned())
}
