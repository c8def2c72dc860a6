//! Machines, what is due for them, and who works on them.

use std::net::Ipv4Addr;

use billet_model::{
    LeaseId, MachineId, Name, NetworkId, SiteId, lifecycle::Lifecycle, machine::Machine,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::{Row as _, any::AnyRow};

use crate::{
    Store,
    error::{Result, StoreError},
    select::{Select, column, noun, parsed, time},
    statement::Statement,
};

/// Which machines; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct MachineFilter {
    /// With this name.
    pub name: Option<Name>,
    /// At this point of their life.
    pub lifecycle: Option<Lifecycle>,
    /// At this site.
    pub site: Option<SiteId>,
    /// Of this type.
    pub machine_type: Option<Name>,
    /// Held for this lease.
    pub lease: Option<LeaseId>,
    /// Cordoned or not.
    pub cordoned: Option<bool>,
    /// Held after a restore, or not.
    pub unconfirmed: Option<bool>,
}

/// How many machines are alike in what counts for an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferCount {
    /// Machine type.
    pub machine_type: Name,
    /// Site.
    pub site: SiteId,
    /// Lifecycle.
    pub lifecycle: Lifecycle,
    /// Whether a lease could have them now: available, not cordoned, confirmed
    /// and held by nobody.
    pub free: bool,
    /// How many.
    pub machines: u64,
}

/// A machine that is due, and what made it so: while these are the same, nothing new did,
/// but for [`Store::wake_available`], which changes nothing of one that is due already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The machine.
    pub machine: MachineId,
    /// Of its record.
    version: i64,
    /// Microseconds since 1970.
    wake_at: i64,
}

const WHAT: &str = "machine";

/// A machine with all that was found in it.
const WHOLE: &str = "SELECT doc, inventory, firmware FROM machines \
     LEFT JOIN machine_parts ON machine_parts.machine = machines.id";

/// A machine without what was found in it, which is most of its record and seldom looked
/// at. It can be put back: what is not in it stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineInShort {
    /// The machine, without inventory and firmware.
    pub machine: Machine,
    /// The serial number that was found in it.
    pub serial: Option<String>,
    /// Units that leases hold; 1 where nothing was found in it yet.
    pub units: u32,
}

impl Store {
    /// A machine.
    ///
    /// # Errors
    /// When the database fails, as for every reading.
    pub async fn machine(&self, id: MachineId) -> Result<Option<Machine>> {
        let rows = self
            .fetch(Statement::read(format!("{WHOLE} WHERE id = $1"), WHAT).bind(id))
            .await?;
        rows.first().map(whole).transpose()
    }

    /// A machine without what was found in it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machine_in_short(&self, id: MachineId) -> Result<Option<Machine>> {
        let rows = self
            .fetch(Statement::read("SELECT doc FROM machines WHERE id = $1", WHAT).bind(id))
            .await?;
        rows.first().map(short).transpose()
    }

    /// The machine of this name: of several, the one that is not retired, or
    /// the last that was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machine_by_name(&self, name: &Name) -> Result<Option<Machine>> {
        let rows = self
            .fetch(
                Statement::read(
                    format!(
                        "{WHOLE} WHERE name = $1 \
                         ORDER BY CASE lifecycle WHEN 'retired' THEN 1 ELSE 0 END, id DESC LIMIT 1"
                    ),
                    WHAT,
                )
                .bind(name),
            )
            .await?;
        rows.first().map(whole).transpose()
    }

    /// Machines that have this address, on whichever network: two at most, for
    /// more than one is one too many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machines_at(&self, address: std::net::IpAddr) -> Result<Vec<Machine>> {
        let rows = self
            .fetch(
                Statement::read(
                    format!(
                        "{WHOLE} WHERE id IN \
                         (SELECT machine FROM addresses WHERE ip = $1) \
                         AND lifecycle <> 'retired' ORDER BY id LIMIT 2"
                    ),
                    WHAT,
                )
                .bind(address.to_string()),
            )
            .await?;
        rows.iter().map(whole).collect()
    }

    /// Machines in order of their ids, those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machines(
        &self,
        filter: &MachineFilter,
        after: Option<MachineId>,
        limit: usize,
    ) -> Result<Vec<Machine>> {
        let rows = self.fetch(filter.select(WHOLE, after, limit)).await?;
        rows.iter().map(whole).collect()
    }

    /// The same without what was found in them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machines_in_short(
        &self,
        filter: &MachineFilter,
        after: Option<MachineId>,
        limit: usize,
    ) -> Result<Vec<MachineInShort>> {
        let from = "SELECT doc, serial, units FROM machines";
        let statement = filter.select(from, after, limit);
        self.fetch_each(statement, |row| {
            // Nothing was ever found in one whose BMC was never reached.
            let units: Option<i64> = column(WHAT, row, 2)?;
            let units = units.unwrap_or(1);
            Ok(MachineInShort {
                machine: short(row)?,
                serial: column(WHAT, row, 1)?,
                units: u32::try_from(units).unwrap_or(u32::MAX),
            })
        })
        .await
    }

    /// Machines that the loop should look at now, longest due first. Retired ones never are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machines_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let select = Select::new(WHAT, "SELECT id, version, wake_at FROM machines")
            .and("lifecycle <> 'retired'")
            .when("wake_at <= ?", now)
            .order_limit("wake_at, id", limit);
        let rows = self.fetch(select).await?;
        rows.iter()
            .map(|row| {
                Ok(Due {
                    machine: parsed(WHAT, row, 0)?,
                    version: column(WHAT, row, 1)?,
                    wake_at: column(WHAT, row, 2)?,
                })
            })
            .collect()
    }

    /// Has the available machines of a type be due at `at`, or earlier as they are.
    /// Their versions do not change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wake_available(&self, machine_type: &Name, at: Timestamp) -> Result<()> {
        let wake = Statement::new(
            "UPDATE machines SET wake_at = $2 WHERE machine_type = $1 \
             AND lifecycle = 'available' AND wake_at > $2",
            WHAT,
            machine_type,
        )
        .bind(machine_type)
        .bind(at);
        self.execute(wake).await.map(drop)
    }

    /// When the next machine is due; up to a microsecond late, never early.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_wake(&self) -> Result<Option<Timestamp>> {
        let rows = self
            .fetch(Statement::read(
                "SELECT wake_at FROM machines WHERE lifecycle <> 'retired' \
                 ORDER BY wake_at LIMIT 1",
                WHAT,
            ))
            .await?;
        rows.first()
            .map(|row| column(WHAT, row, 0).and_then(|micros| time(WHAT, micros)))
            .transpose()
    }

    /// Claims a machine for one worker until a time: of several control planes
    /// one works on it. True if it is now the claim of `by`, who may have had
    /// it before. The machine's version does not change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim(
        &self,
        machine: MachineId,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool> {
        let claim = Statement::new(
            "UPDATE machines SET claimed_by = $2, claimed_until = $4 WHERE id = $1 \
             AND (claimed_by IS NULL OR claimed_by = $2 OR claimed_until <= $3)",
            WHAT,
            machine,
        )
        .bind(machine)
        .bind(by)
        .bind(now)
        .bind(until);
        Ok(self.execute(claim).await? == 1)
    }

    /// Gives a claim back. It is no error if `by` has none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_claim(&self, machine: MachineId, by: &str) -> Result<()> {
        let release = Statement::new(
            "UPDATE machines SET claimed_by = NULL, claimed_until = NULL \
             WHERE id = $1 AND claimed_by = $2",
            WHAT,
            machine,
        )
        .bind(machine)
        .bind(by);
        self.execute(release).await.map(drop)
    }

    /// The addresses that are taken on a network.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn addresses_of_network(
        &self,
        network: NetworkId,
    ) -> Result<Vec<(Ipv4Addr, MachineId)>> {
        const WHAT: &str = "address";
        let rows = self
            .fetch(
                Statement::read(
                    "SELECT ip, machine FROM addresses WHERE network = $1 ORDER BY machine",
                    WHAT,
                )
                .bind(network),
            )
            .await?;
        rows.iter()
            .map(|row| Ok((parsed(WHAT, row, 0)?, parsed(WHAT, row, 1)?)))
            .collect()
    }

    /// How many addresses of a network were ever given out, for
    /// [`crate::Write::GivenStill`]: to be read before the addresses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn addresses_given(&self, network: NetworkId) -> Result<i64> {
        const WHAT: &str = "addresses given out";
        let sql = "SELECT given FROM networks WHERE id = $1";
        let rows = self.fetch(Statement::read(sql, WHAT).bind(network)).await?;
        match rows.first() {
            Some(row) => row.try_get(0).map_err(StoreError::database(WHAT)),
            None => Ok(0),
        }
    }

    /// The units that a lease holds: (machine, unit), in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn units_held(&self, lease: LeaseId) -> Result<Vec<(MachineId, u32)>> {
        self.holds("lease = ?", lease.to_string())
            .await
            .map(|held| {
                held.into_iter()
                    .map(|(machine, unit, _)| (machine, unit))
                    .collect()
            })
    }

    /// Who holds what of a machine: (unit, lease), in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holders(&self, machine: MachineId) -> Result<Vec<(u32, LeaseId)>> {
        self.holds("machine = ?", machine.to_string())
            .await
            .map(|held| {
                held.into_iter()
                    .map(|(_, unit, lease)| (unit, lease))
                    .collect()
            })
    }

    async fn holds(
        &self,
        condition: &str,
        value: String,
    ) -> Result<Vec<(MachineId, u32, LeaseId)>> {
        const WHAT: &str = "hold";
        let select = Select::new(WHAT, "SELECT machine, unit, lease FROM holds")
            .when(condition, value)
            .order_limit("machine, unit", usize::MAX);
        let rows = self.fetch(select).await?;
        rows.iter()
            .map(|row| {
                let unit: i64 = column(WHAT, row, 1)?;
                Ok((
                    parsed(WHAT, row, 0)?,
                    u32::try_from(unit).unwrap_or(u32::MAX),
                    parsed(WHAT, row, 2)?,
                ))
            })
            .collect()
    }

    /// Machines on offer that have a drive which was let go without an erase; there
    /// are hardly ever any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machines_with_unerased(&self) -> Result<Vec<Machine>> {
        let select = Select::new(WHAT, "SELECT doc FROM machines")
            .and("lifecycle = 'available'")
            // As it is written where there is one.
            .and("doc LIKE '%\"unerased\":[{%'")
            .order_limit("id", 1000);
        self.nouns(WHAT, select).await
    }

    /// How many machines there are by type, site and lifecycle, and how many of
    /// them are free.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn offers_counts(&self) -> Result<Vec<OfferCount>> {
        let rows = self
            .fetch(Statement::read(
                "SELECT machine_type, site, lifecycle, free, CAST(COUNT(*) AS BIGINT) FROM ( \
                   SELECT machine_type, site, lifecycle, \
                     CAST(CASE WHEN lifecycle = 'available' AND cordoned = 0 \
                       AND unconfirmed = 0 AND may_hold_data = 0 AND NOT EXISTS \
                       (SELECT 1 FROM holds WHERE holds.machine = machines.id) \
                     THEN 1 ELSE 0 END AS BIGINT) AS free \
                   FROM machines WHERE lifecycle <> 'retired') AS each_machine \
                 GROUP BY machine_type, site, lifecycle, free \
                 ORDER BY machine_type, site, lifecycle, free",
                WHAT,
            ))
            .await?;
        rows.iter()
            .map(|row| {
                let free: i64 = column(WHAT, row, 3)?;
                let machines: i64 = column(WHAT, row, 4)?;
                Ok(OfferCount {
                    machine_type: parsed(WHAT, row, 0)?,
                    site: parsed(WHAT, row, 1)?,
                    lifecycle: parsed(WHAT, row, 2)?,
                    free: free == 1,
                    machines: machines.unsigned_abs(),
                })
            })
            .collect()
    }
}

impl MachineFilter {
    fn select(&self, from: &str, after: Option<MachineId>, limit: usize) -> Statement {
        Select::new(WHAT, from)
            .when_some("name = ?", self.name.as_ref())
            .when_some("lifecycle = ?", self.lifecycle.map(Lifecycle::as_str))
            .when_some("site = ?", self.site)
            .when_some("machine_type = ?", self.machine_type.as_ref())
            .when_some("lease = ?", self.lease)
            .when_some("cordoned = ?", self.cordoned)
            .when_some("unconfirmed = ?", self.unconfirmed)
            .when_some("id > ?", after)
            .order_limit("id", limit)
    }
}

/// A machine of a row that has inventory and firmware behind it.
fn whole(row: &AnyRow) -> Result<Machine> {
    let mut machine: Machine = noun(WHAT, row)?;
    // Before they had a table of their own they stood in the machine itself.
    if let Some(inventory) = part("inventory", row, 1)? {
        machine.inventory = Some(inventory);
    }
    if let Some(firmware) = part("firmware", row, 2)? {
        machine.firmware = Some(firmware);
    }
    Ok(machine)
}

fn part<T: DeserializeOwned>(what: &'static str, row: &AnyRow, index: usize) -> Result<Option<T>> {
    let doc: Option<String> = column(what, row, index)?;
    let parsed = doc.map(|doc| serde_json::from_str(&doc)).transpose();
    parsed.map_err(|e| StoreError::Corrupt {
        what,
        why: e.to_string(),
    })
}

/// A machine without them.
fn short(row: &AnyRow) -> Result<Machine> {
    let mut machine: Machine = noun(WHAT, row)?;
    (machine.inventory, machine.firmware) = (None, None);
    Ok(machine)
}
