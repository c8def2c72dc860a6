//! The store itself: opening it and committing to it. Readings are in [`crate::read`].

use std::sync::Arc;

use serde::de::DeserializeOwned;
use sqlx::{Row, any::AnyRow};

use crate::{
    Batch, EngineKind, StoreUrl,
    engine::{Engine, Flush},
    error::{Result, StoreError},
    migrate,
    select::noun,
    statement::{NoRow, Statement},
    write,
};

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) engine: Arc<Engine>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("engine", &self.engine.kind())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// `Newer` when a newer Billet wrote it; `Database` when it cannot be
    /// reached, opened or changed.
    pub async fn open(url: &StoreUrl) -> Result<Self> {
        Self::open_at(url, migrate::newest()).await
    }

    /// Opens the database and brings its schema to `version` only: for testing
    /// that later steps bring data along.
    #[doc(hidden)]
    pub async fn open_at(url: &StoreUrl, version: i64) -> Result<Self> {
        let engine = Engine::open(url).await?;
        migrate::migrate(&engine, version).await?;
        Ok(Self {
            engine: Arc::new(engine),
        })
    }

    /// Which engine it is on.
    pub fn engine(&self) -> EngineKind {
        self.engine.kind()
    }

    /// Carries a batch out in one transaction: all of it, or nothing.
    ///
    /// # Errors
    /// `Constraint` before the database is touched where a change would be off
    /// the record; `Conflict`, `Held`, `Duplicate`, `Referenced`, `NotFound` and
    /// `Constraint` as the schema says; `Database` when it fails. After
    /// `Database` it is not known whether the batch was kept: read again. So it
    /// is where this future is dropped before its end: the batch may still be
    /// kept, whole, before anything else is written by way of this store.
    pub async fn commit(&self, batch: Batch) -> Result<()> {
        let flush = match batch.readings_only && batch.is_machine_only() {
            true => Flush::Later,
            false => Flush::Now,
        };
        let statements = write::statements(batch)?;
        if statements.is_empty() {
            return Ok(());
        }
        match self.engine.transact(&statements, flush).await {
            Err(StoreError::Conflict { what, id }) => {
                Err(self.conflict(&statements, what, id).await)
            }
            other => other,
        }
    }

    /// Tells a true conflict from a machine's change that should be on record.
    async fn conflict(
        &self,
        statements: &[Statement],
        what: &'static str,
        id: String,
    ) -> StoreError {
        for statement in statements.iter().filter(|s| s.noun == what && s.id == id) {
            let NoRow::MachineOffRecord { version } = statement.no_row else {
                continue;
            };
            let Some(machine) = statement.args.first() else {
                continue;
            };
            let mut read = Statement::read(
                "SELECT id FROM machines WHERE id = $1 AND version = $2",
                "machine",
            );
            read.args = vec![machine.clone(), version.into()];
            match self.fetch(read).await {
                Ok(rows) if !rows.is_empty() => return write::off_record(what, id),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        StoreError::Conflict { what, id }
    }

    pub(crate) async fn fetch(&self, statement: Statement) -> Result<Vec<AnyRow>> {
        self.engine.fetch(statement).await
    }

    /// What is made of each row that a statement reads: for lists.
    pub(crate) async fn fetch_each<T>(
        &self,
        statement: Statement,
        each: impl FnMut(&AnyRow) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.engine.fetch_each(statement, each).await
    }

    /// Carries one statement out by itself; the number of rows it changed.
    pub(crate) async fn execute(&self, statement: Statement) -> Result<u64> {
        self.engine.execute(statement).await
    }

    /// Each row's first column as a noun.
    pub(crate) async fn nouns<T: DeserializeOwned>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Vec<T>> {
        self.fetch_each(statement, |row| noun(what, row)).await
    }

    /// The first row's first column as a noun.
    pub(crate) async fn one<T: DeserializeOwned>(
        &self,
        what: &'static str,
        statement: Statement,
    ) -> Result<Option<T>> {
        let rows = self.fetch(statement).await?;
        rows.first().map(|row| noun(what, row)).transpose()
    }

    /// The version of the schema that is there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schema_version(&self) -> Result<i64> {
        const WHAT: &str = "the schema's version";
        let rows = self
            .fetch(Statement::read(
                "SELECT version FROM schema_version ORDER BY version DESC LIMIT 1",
                WHAT,
            ))
            .await?;
        match rows.first() {
            Some(row) => row.try_get(0).map_err(StoreError::database(WHAT)),
            None => Ok(0),
        }
    }

    /// Closes all connections, after what is under way.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
