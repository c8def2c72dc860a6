//! Counts, for whoever watches over the whole.

use sqlx::any::AnyRow;

use crate::{Store, error::Result, select::column, statement::Statement};

const WHAT: &str = "counts";

impl Store {
    /// How many machines there are of each type in each lifecycle, without
    /// those that there are none of.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn machine_counts(&self) -> Result<Vec<(String, String, u64)>> {
        const SQL: &str = "SELECT machine_type, lifecycle, COUNT(*) FROM machines \
             GROUP BY machine_type, lifecycle ORDER BY machine_type, lifecycle";
        let rows = self.fetch(Statement::read(SQL, WHAT)).await?;
        rows.iter()
            .map(|row| Ok((column(WHAT, row, 0)?, column(WHAT, row, 1)?, count(row, 2)?)))
            .collect()
    }

    /// How many leases there are in each state, without those that there are none in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_counts(&self) -> Result<Vec<(String, u64)>> {
        const SQL: &str = "SELECT state, COUNT(*) FROM leases GROUP BY state ORDER BY state";
        let rows = self.fetch(Statement::read(SQL, WHAT)).await?;
        rows.iter()
            .map(|row| Ok((column(WHAT, row, 0)?, count(row, 1)?)))
            .collect()
    }
}

fn count(row: &AnyRow, index: usize) -> Result<u64> {
    let count: i64 = column(WHAT, row, index)?;
    Ok(count.unsigned_abs())
}
