//! Each write as statements. Pure: nothing is read or written here.

use billet_model::{
    event::AuditRow, image::Image, lease::Lease, machine::Machine, operation::Operation,
    people::Token,
};
use serde::Serialize;

use crate::{
    batch::{Batch, Write},
    error::{Result, StoreError},
    statement::{
        Means::{Conflict, Duplicate, Held},
        NoRow, Statement, Unique, Value, micros_up,
    },
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
        out.push(audit(row)?);
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
        Write::PutMachine(m) => machine(*m, recorded, out)?,
        Write::PutLease(l) => lease(*l, out)?,
        Write::PutImage(i) => out.push(image(&i)?),
        Write::PutOperation(o) => out.push(operation(&o)?),
        Write::PutBoot(b) => out.push(
            Statement::new(
                "INSERT INTO boots (id, machine, doc) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO UPDATE SET doc = excluded.doc",
                "boot",
                b.id,
            )
            .bind(b.id)
            .bind(b.machine)
            .bind(doc("boot", &b)?),
        ),
        Write::PutTask(t) => out.push(
            Statement::new(
                "INSERT INTO tasks (id, machine, boot, doc) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, doc = excluded.doc",
                "task",
                t.task.id,
            )
            .bind(t.task.id)
            .bind(t.machine)
            .bind(t.boot)
            .bind(doc("task", &t)?),
        ),
        Write::Hold {
            machine,
            units,
            lease,
        } => {
            for unit in 0..units {
                out.push(
                    Statement::new(
                        "INSERT INTO holds (machine, unit, lease) VALUES ($1, $2, $3)",
                        "hold on machine",
                        machine,
                    )
                    .bind(machine)
                    .bind(unit)
                    .bind(lease)
                    .unique(&[Unique {
                        index: "holds_one_holder",
                        columns: "holds.machine, holds.unit",
                        means: Held,
                    }]),
                );
            }
        }
        Write::Unhold { lease, machine } => out.push(
            Statement::new(
                "DELETE FROM holds WHERE lease = $1 AND machine = $2",
                "hold on machine",
                machine,
            )
            .bind(lease)
            .bind(machine),
        ),
        Write::PutOrganisation(o) => out.push(
            Statement::new(
                "INSERT INTO organisations (id, name, doc) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
                "organisation",
                &o.name,
            )
            .bind(o.id)
            .bind(&o.name)
            .bind(doc("organisation", &o)?)
            .unique(&[Unique {
                index: "organisations_name",
                columns: "organisations.name",
                means: Duplicate("an organisation named", 1),
            }]),
        ),
        Write::PutProject(p) => out.push(
            Statement::new(
                "INSERT INTO projects (id, name, doc, organisation) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc, \
                 organisation = excluded.organisation",
                "project",
                &p.name,
            )
            .bind(p.id)
            .bind(&p.name)
            .bind(doc("project", &p)?)
            .bind(p.organisation)
            .unique(&[Unique {
                index: "projects_name",
                columns: "projects.name",
                means: Duplicate("a project named", 1),
            }]),
        ),
        Write::DeleteProject(id) => out.push(
            Statement::new("DELETE FROM projects WHERE id = $1", "project", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::PutSite(s) => out.push(
            Statement::new(
                "INSERT INTO sites (id, name, doc) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
                "site",
                &s.name,
            )
            .bind(s.id)
            .bind(&s.name)
            .bind(doc("site", &s)?)
            .unique(&[Unique {
                index: "sites_name",
                columns: "sites.name",
                means: Duplicate("a site named", 1),
            }]),
        ),
        Write::PutMachineType(t) => out.push(
            Statement::new(
                "INSERT INTO machine_types (id, name, doc) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
                "machine type",
                &t.name,
            )
            .bind(t.id)
            .bind(&t.name)
            .bind(doc("machine type", &t)?)
            .unique(&[Unique {
                index: "machine_types_name",
                columns: "machine_types.name",
                means: Duplicate("a machine type named", 1),
            }]),
        ),
        Write::PutNetwork(n) => out.push(
            Statement::new(
                "INSERT INTO networks (id, name, doc) VALUES ($1, $2, $3) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
                "network",
                &n.name,
            )
            .bind(n.id)
            .bind(&n.name)
            .bind(doc("network", &n)?)
            .unique(&[Unique {
                index: "networks_name",
                columns: "networks.name",
                means: Duplicate("a network named", 1),
            }]),
        ),
        Write::PutToken { token, hash } => out.push(put_token(&token, hash)?),
        Write::TouchToken { id, at } => out.push(
            Statement::new(
                "UPDATE tokens SET last_used_at = $2 WHERE id = $1 \
                 AND (last_used_at IS NULL OR last_used_at < $2)",
                "token",
                id,
            )
            .bind(id)
            .bind(at),
        ),
        Write::DeleteToken(id) => out.push(
            Statement::new("DELETE FROM tokens WHERE id = $1", "token", id)
                .bind(id)
                .no_row(NoRow::NotFound),
        ),
        Write::PutEvidence(e) => out.push(
            Statement::new(
                "INSERT INTO evidence (id, kind, machine, lease, project, doc) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
                "evidence",
                e.id,
            )
            .bind(e.id)
            .bind(&*e.kind)
            .bind(e.machine)
            .bind(e.lease)
            .bind(e.project)
            .bind(doc("evidence", &e)?)
            .unique(&[Unique {
                index: "evidence_pkey",
                columns: "evidence.id",
                means: Duplicate("evidence", 0),
            }]),
        ),
        Write::PutSecret {
            owner,
            kind,
            ciphertext,
        } => out.push(
            Statement::new(
                "INSERT INTO secrets (owner, kind, ciphertext) VALUES ($1, $2, $3) \
                 ON CONFLICT (owner, kind) DO UPDATE SET ciphertext = excluded.ciphertext",
                "secret of",
                owner,
            )
            .bind(owner.to_string())
            .bind(kind)
            .bind(ciphertext),
        ),
        Write::DeleteSecret { owner, kind } => out.push(
            Statement::new(
                "DELETE FROM secrets WHERE owner = $1 AND kind = $2",
                "secret of",
                owner,
            )
            .bind(owner.to_string())
            .bind(kind),
        ),
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

const MACHINE_UNIQUE: &[Unique] = &[
    Unique {
        index: "machines_pkey",
        columns: "machines.id",
        means: Conflict,
    },
    Unique {
        index: "machines_name",
        columns: "machines.name",
        means: Duplicate("a machine named", 1),
    },
    Unique {
        index: "machines_bmc",
        columns: "machines.bmc_address",
        means: Duplicate("a machine with the BMC", 4),
    },
];

fn machine(mut m: Machine, recorded: bool, out: &mut Vec<Statement>) -> Result<()> {
    let given = m.version;
    m.version = given + 1;
    for (n, address) in m.addresses.iter().enumerate() {
        if m.addresses[..n]
            .iter()
            .any(|a| a.network == address.network)
        {
            return Err(StoreError::Constraint {
                what: "machine",
                id: m.name.to_string(),
                rule: format!("it has two addresses on network {}", address.network),
            });
        }
    }
    let statement = if given == 0 {
        if !recorded {
            return Err(off_record("machine", m.name.to_string()));
        }
        Statement::new(
            "INSERT INTO machines (id, name, site, machine_type, bmc_address, lifecycle, \
             may_hold_data, cordoned, unconfirmed, lease, wake_at, version, doc) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
             ON CONFLICT (id) DO NOTHING",
            "machine",
            &m.name,
        )
        .no_row(NoRow::Conflict)
    } else if recorded {
        Statement::new(
            "UPDATE machines SET name = $2, site = $3, machine_type = $4, bmc_address = $5, \
             lifecycle = $6, may_hold_data = $7, cordoned = $8, unconfirmed = $9, lease = $10, \
             wake_at = $11, version = $12, doc = $13 WHERE id = $1 AND version = $12 - 1",
            "machine",
            &m.name,
        )
        .no_row(NoRow::Conflict)
    } else {
        Statement::new(
            "UPDATE machines SET name = $2, site = $3, machine_type = $4, bmc_address = $5, \
             wake_at = $11, version = $12, doc = $13 WHERE id = $1 AND version = $12 - 1 \
             AND lifecycle = $6 AND may_hold_data = $7 AND cordoned = $8 \
             AND unconfirmed = $9 AND COALESCE(lease, '') = COALESCE($10, '')",
            "machine",
            &m.name,
        )
        .no_row(NoRow::MachineOffRecord { version: given })
    };
    let mut statement = statement
        .bind(m.id)
        .bind(&m.name)
        .bind(m.site)
        .bind(&m.machine_type)
        .bind(same_bmc(&m.bmc.address))
        .bind(m.lifecycle.as_str())
        .bind(m.may_hold_data)
        .bind(m.cordoned.is_some())
        .bind(m.unconfirmed)
        .bind(m.lease)
        .bind(micros_up(m.wake_at))
        .bind(m.version)
        .bind(doc("machine", &m)?)
        .unique(MACHINE_UNIQUE);
    statement.id = m.name.to_string();
    out.push(statement);
    addresses(&m, given == 0, out);
    Ok(())
}

/// Keeps the table of addresses in step with the machine's own list.
fn addresses(m: &Machine, new: bool, out: &mut Vec<Statement>) {
    if !new {
        let mut gone = Statement::new("", "addresses of machine", &m.name).bind(m.id);
        let mut sql = String::from("DELETE FROM addresses WHERE machine = $1");
        for address in &m.addresses {
            gone = gone.bind(address.network).bind(address.ip.to_string());
            let n = gone.args.len();
            sql.push_str(&format!(" AND NOT (network = ${} AND ip = ${n})", n - 1));
        }
        gone.sql = sql.into();
        out.push(gone);
    }
    for address in &m.addresses {
        out.push(
            Statement::new(
                "INSERT INTO addresses (machine, network, ip) VALUES ($1, $2, $3) \
                 ON CONFLICT (machine, network) DO UPDATE SET ip = excluded.ip \
                 WHERE addresses.ip <> excluded.ip",
                "address of machine",
                &m.name,
            )
            .bind(m.id)
            .bind(address.network)
            .bind(address.ip.to_string())
            .unique(&[Unique {
                index: "addresses_ip",
                columns: "addresses.network, addresses.ip",
                means: Duplicate("a machine with the address", 2),
            }]),
        );
    }
}

/// A BMC's address in one form, so that the same BMC is not enrolled twice.
fn same_bmc(address: &str) -> String {
    let mut text = address.trim().trim_end_matches('/').to_ascii_lowercase();
    if text.starts_with("https://") && text.ends_with(":443") {
        text.truncate(text.len() - 4);
    }
    text
}

fn lease(mut l: Lease, out: &mut Vec<Statement>) -> Result<()> {
    let given = l.version;
    l.version = given + 1;
    let live = !l.state.is_over();
    let statement = if given == 0 {
        Statement::new(
            "INSERT INTO leases (id, name, project, live_project, live_image, machine, state, \
             ends_at, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             ON CONFLICT (id) DO NOTHING",
            "lease",
            &l.name,
        )
        .no_row(NoRow::Conflict)
    } else {
        Statement::new(
            "UPDATE leases SET name = $2, project = $3, live_project = $4, live_image = $5, \
             machine = $6, state = $7, ends_at = $8, version = $9, doc = $10 \
             WHERE id = $1 AND version = $9 - 1",
            "lease",
            &l.name,
        )
        .no_row(NoRow::Conflict)
    };
    out.push(
        statement
            .bind(l.id)
            .bind(&l.name)
            .bind(l.project)
            .bind(live.then_some(l.project))
            .bind(live.then_some(l.image))
            .bind(l.machine)
            .bind(l.state.as_str())
            .bind(l.ends_at.map_or(Value::NoInt, |t| micros_up(t).into()))
            .bind(l.version)
            .bind(doc("lease", &l)?)
            .unique(&[
                Unique {
                    index: "leases_pkey",
                    columns: "leases.id",
                    means: Conflict,
                },
                Unique {
                    index: "leases_name",
                    columns: "leases.live_project, leases.name",
                    means: Duplicate("a live lease named", 1),
                },
            ]),
    );
    if given != 0 {
        out.push(
            Statement::new(
                "DELETE FROM lease_tags WHERE lease = $1",
                "tags of lease",
                l.id,
            )
            .bind(l.id),
        );
    }
    for (key, value) in &l.tags {
        out.push(
            Statement::new(
                "INSERT INTO lease_tags (lease, key, value) VALUES ($1, $2, $3)",
                "tags of lease",
                l.id,
            )
            .bind(l.id)
            .bind(&**key)
            .bind(&**value),
        );
    }
    Ok(())
}

fn image(i: &Image) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO images (id, name, project, state, doc) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, project = excluded.project, \
         state = excluded.state, doc = excluded.doc",
        "image",
        &i.name,
    )
    .bind(i.id)
    .bind(&i.name)
    .bind(i.project)
    .bind(word("image", &i.state)?)
    .bind(doc("image", i)?)
    .unique(&[Unique {
        index: "images_name",
        columns: "index 'images_name'",
        means: Duplicate("an image named", 1),
    }]))
}

fn operation(o: &Operation) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO operations (id, project, machine, lease, state, doc) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO UPDATE SET project = excluded.project, machine = excluded.machine, \
         lease = excluded.lease, state = excluded.state, doc = excluded.doc",
        "operation",
        o.id,
    )
    .bind(o.id)
    .bind(o.project)
    .bind(o.machine)
    .bind(o.lease)
    .bind(o.state.as_str())
    .bind(doc("operation", o)?))
}

fn put_token(token: &Token, hash: Option<[u8; 32]>) -> Result<Statement> {
    let written = doc("token", token)?;
    Ok(match hash {
        Some(hash) => Statement::new(
            "INSERT INTO tokens (id, project, doc, last_used_at, hash) \
             VALUES ($1, $2, $3, $4, $5)",
            "token",
            &token.name,
        )
        .bind(token.id)
        .bind(token.project)
        .bind(written)
        .bind(token.last_used_at)
        .bind(hash.to_vec())
        .unique(&[
            Unique {
                index: "tokens_hash",
                columns: "tokens.hash",
                means: Duplicate("a token with the same secret as", 0),
            },
            Unique {
                index: "tokens_pkey",
                columns: "tokens.id",
                means: Duplicate("a token with the id", 0),
            },
        ]),
        None => Statement::new(
            "UPDATE tokens SET project = $2, doc = $3, last_used_at = $4 WHERE id = $1",
            "token",
            &token.name,
        )
        .bind(token.id)
        .bind(token.project)
        .bind(written)
        .bind(token.last_used_at)
        .no_row(NoRow::NotFound),
    })
}

/// An audit row with its salt and its leaf's hash: both are made here, so that
/// a row that could not be sealed is refused and not kept.
fn audit(row: &AuditRow) -> Result<Statement> {
    let unfit = |why: String| StoreError::Constraint {
        what: "audit row",
        id: row.action.clone(),
        rule: why,
    };
    let salt = billet_evidence::audit::Salt::generate().map_err(|e| unfit(e.to_string()))?;
    let hash = billet_evidence::audit::leaf_hash(row, &salt).map_err(|e| unfit(e.to_string()))?;
    Ok(Statement::new(
        "INSERT INTO audit (id, at, action, project, machine, lease, salt, hash, doc) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        "audit row",
        row.id,
    )
    .bind(row.id)
    .bind(row.at)
    .bind(&*row.action)
    .bind(row.project)
    .bind(row.machine)
    .bind(row.lease)
    .bind(salt.0.to_vec())
    .bind(hash.0.to_vec())
    .bind(doc("audit row", row)?)
    .unique(&[Unique {
        index: "audit_id",
        columns: "audit.id",
        means: Duplicate("an audit row with the id", 0),
    }]))
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
