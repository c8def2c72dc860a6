//! A lease, with its tags, and what it holds.

use billet_model::{LeaseId, MachineId, lease::Lease};

use super::doc;
use crate::{
    error::Result,
    statement::{
        Means::{Conflict, Duplicate, Held},
        NoRow, Statement, Unique, Value, micros_up,
    },
};

pub(super) fn lease(mut l: Lease, out: &mut Vec<Statement>) -> Result<()> {
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

/// A lease takes a machine's units.
pub(super) fn hold(machine: MachineId, units: u32, lease: LeaseId, out: &mut Vec<Statement>) {
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

/// A lease lets go of a machine.
pub(super) fn unhold(lease: LeaseId, machine: MachineId) -> Statement {
    Statement::new(
        "DELETE FROM holds WHERE lease = $1 AND machine = $2",
        "hold on machine",
        machine,
    )
    .bind(lease)
    .bind(machine)
}
