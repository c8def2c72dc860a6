//! A machine, with its addresses; and, in a row of its own, what was found in it.

use billet_model::{bmc::FirmwareSettings, inventory::Inventory, machine::Machine};

use super::{doc, off_record};
use crate::{
    error::{Result, StoreError},
    statement::{
        Means::{Conflict, Duplicate},
        NoRow, Statement, Unique, micros_up,
    },
};

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

pub(super) fn machine(mut m: Machine, recorded: bool, out: &mut Vec<Statement>) -> Result<()> {
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
             may_hold_data, cordoned, unconfirmed, lease, wake_at, version, doc, serial, units) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
             ON CONFLICT (id) DO NOTHING",
            "machine",
            &m.name,
        )
        .no_row(NoRow::Conflict)
    } else if recorded {
        Statement::new(
            "UPDATE machines SET name = $2, site = $3, machine_type = $4, bmc_address = $5, \
             lifecycle = $6, may_hold_data = $7, cordoned = $8, unconfirmed = $9, lease = $10, \
             wake_at = $11, version = $12, doc = $13, serial = CASE WHEN $15 IS NULL THEN serial ELSE $14 END, \
             units = COALESCE($15, units) WHERE id = $1 AND version = $12 - 1",
            "machine",
            &m.name,
        )
        .no_row(NoRow::Conflict)
    } else {
        Statement::new(
            "UPDATE machines SET name = $2, site = $3, machine_type = $4, bmc_address = $5, \
             wake_at = $11, version = $12, doc = $13, serial = CASE WHEN $15 IS NULL THEN serial ELSE $14 END, \
             units = COALESCE($15, units) WHERE id = $1 AND version = $12 - 1 \
             AND lifecycle = $6 AND may_hold_data = $7 AND cordoned = $8 \
             AND unconfirmed = $9 AND COALESCE(lease, '') = COALESCE($10, '')",
            "machine",
            &m.name,
        )
        .no_row(NoRow::MachineOffRecord { version: given })
    };
    // They are large and change seldom: a row with them in it would be written anew
    // with every look at the machine.
    let (inventory, firmware) = (m.inventory.take(), m.firmware.take());
    let serial = inventory.as_ref().and_then(|i| i.system.serial.clone());
    let units = inventory.as_ref().map(|i| i64::from(i.units()));
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
        .bind_text(serial)
        .bind_int(units)
        .unique(MACHINE_UNIQUE);
    statement.id = m.name.to_string();
    out.push(statement);
    if inventory.is_some() || firmware.is_some() {
        out.push(parts(&m, inventory.as_ref(), firmware.as_ref())?);
    }
    addresses(&m, given == 0, out);
    Ok(())
}

/// What was found in a machine. What is not given stays as it was: it is never unknown again.
fn parts(
    m: &Machine,
    inventory: Option<&Inventory>,
    firmware: Option<&FirmwareSettings>,
) -> Result<Statement> {
    Ok(Statement::new(
        "INSERT INTO machine_parts (machine, inventory, firmware) VALUES ($1, $2, $3) \
         ON CONFLICT (machine) DO UPDATE SET \
         inventory = COALESCE(excluded.inventory, machine_parts.inventory), \
         firmware = COALESCE(excluded.firmware, machine_parts.firmware)",
        "parts of machine",
        &m.name,
    )
    .bind(m.id)
    .bind_text(inventory.map(|i| doc("inventory", i)).transpose()?)
    .bind_text(firmware.map(|f| doc("firmware", f)).transpose()?))
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
