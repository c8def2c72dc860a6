//! The connections: one writer and a few readers on SQLite, a pool on PostgreSQL.
//!
//! SQLite has one writer at a time anyway; holding it behind a fair lock keeps
//! callers in order and never makes them wait for `busy_timeout`. In memory the
//! one connection *is* the database, so reads go through it too.

use std::{sync::Once, time::Duration};

use sqlx::{
    AnyConnection, AnyPool, ConnectOptions, Connection, Executor,
    any::{AnyConnectOptions, AnyPoolOptions, AnyRow},
    pool::PoolConnection,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    StoreUrl,
    error::{Result, StoreError},
    run,
    statement::Statement,
    tls,
};

/// When what was committed must be on the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Before the commit is over.
    Now,
    /// With the next commit that is, or with SQLite's checkpoint. PostgreSQL knows no such.
    Later,
}

/// How often a transaction is tried before its transient failure is the caller's.
const TRIES: u32 = 8;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

pub(crate) struct Engine {
    kind: EngineKind,
    writer: Option<Mutex<Writer>>,
    pool: Option<AnyPool>,
    /// How to open the file once more.
    file: Option<AnyConnectOptions>,
}

/// SQLite's connection that writes.
pub(crate) struct Writer {
    connection: AnyConnection,
    /// A transaction was begun on it whose end was not seen: its caller was
    /// dropped in the middle. It is rolled back before anything else is done.
    unsettled: bool,
}

impl Writer {
    fn new(connection: AnyConnection) -> Mutex<Self> {
        Mutex::new(Self {
            connection,
            unsettled: false,
        })
    }

    async fn settle(&mut self) -> Result<()> {
        if !self.unsettled {
            return Ok(());
        }
        let rolled_back = self.connection.execute(sqlx::raw_sql("ROLLBACK")).await;
        // Where the transaction ended after all there is nothing to roll back,
        // and SQLite says so: that is as good.
        if let Err(error) = rolled_back
            && error.as_database_error().is_none()
        {
            return Err(StoreError::database("rolling a transaction back")(error));
        }
        // It may have been one that was to be flushed later.
        self.connection
            .execute(sqlx::raw_sql("PRAGMA synchronous = FULL"))
            .await
            .map_err(StoreError::database("having commits flushed"))?;
        self.unsettled = false;
        Ok(())
    }
}

/// A connection for as long as it is held.
pub(crate) enum Held<'a> {
    Writer(MutexGuard<'a, Writer>),
    Pooled(PoolConnection<sqlx::Any>),
}

impl std::ops::Deref for Held<'_> {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Writer(w) => &w.connection,
            Self::Pooled(c) => c,
        }
    }
}

impl std::ops::DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Writer(w) => &mut w.connection,
            Self::Pooled(c) => c,
        }
    }
}

impl Engine {
    pub async fn open(url: &StoreUrl) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let doing = || format!("opening the database at {url:?}");
        let options = url
            .for_driver()
            .parse::<AnyConnectOptions>()
            .map_err(StoreError::database(doing()))?
            .disable_statement_logging();
        match url {
            StoreUrl::Sqlite { .. } => {
                let mut writer = AnyConnection::connect_with(&options)
                    .await
                    .map_err(StoreError::database(doing()))?;
                pragmas(&mut writer, "journal_mode = WAL", 2)
                    .await
                    .map_err(StoreError::database(doing()))?;
                let readers = AnyPoolOptions::new()
                    .max_connections(4)
                    .test_before_acquire(false)
                    .acquire_timeout(Duration::from_secs(30))
                    .after_connect(|connection, _| {
                        Box::pin(async move { pragmas(connection, "query_only = ON", 1).await })
                    })
                    .connect_lazy_with(options.clone());
                Ok(Self {
                    kind: EngineKind::Sqlite,
                    writer: Some(Writer::new(writer)),
                    pool: Some(readers),
                    file: Some(options),
                })
            }
            StoreUrl::SqliteInMemory => {
                let mut writer = AnyConnection::connect_with(&options)
                    .await
                    .map_err(StoreError::database(doing()))?;
                pragmas(&mut writer, "journal_mode = MEMORY", 8)
                    .await
                    .map_err(StoreError::database(doing()))?;
                Ok(Self {
                    kind: EngineKind::Sqlite,
                    writer: Some(Writer::new(writer)),
                    pool: None,
                    file: None,
                })
            }
            StoreUrl::Postgres { .. } => {
                let pool = AnyPoolOptions::new()
                    .max_connections(16)
                    .acquire_timeout(Duration::from_secs(30))
                    .connect_with(options)
                    .await
                    .map_err(|error| tls::connecting(doing(), &url.for_driver(), error))?;
                Ok(Self {
                    kind: EngineKind::Postgres,
                    writer: None,
                    pool: Some(pool),
                    file: None,
                })
            }
        }
    }

    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// A connection to write with.
    pub async fn writing(&self) -> Result<Held<'_>> {
        match (&self.writer, &self.pool) {
            (Some(writer), _) => settled(writer).await.map(Held::Writer),
            (None, pool) => pooled(pool).await,
        }
    }

    /// A connection to read with.
    pub async fn reading(&self) -> Result<Held<'_>> {
        match (&self.pool, &self.writer) {
            (None, Some(writer)) => settled(writer).await.map(Held::Writer),
            (pool, _) => pooled(pool).await,
        }
    }

    /// How a transaction that writes begins.
    pub fn begin_sql(&self) -> &'static str {
        match self.kind {
            EngineKind::Sqlite => "BEGIN IMMEDIATE",
            EngineKind::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Carries statements out in one transaction, all or nothing, trying again
    /// where the engine says that this may help.
    pub async fn transact(&self, statements: &[Statement], flush: Flush) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.transact_once(statements, flush).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tracing::debug!(%error, tries, "trying the transaction again");
                    let millis = 2_u64 << tries.min(6);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
                other => return other,
            }
        }
    }

    async fn transact_once(&self, statements: &[Statement], flush: Flush) -> Result<()> {
        if let Some(writer) = &self.writer
            && statements.len() <= run::AT_ONCE
        {
            let mut writer = settled(writer).await?;
            writer.unsettled = true;
            let result = run::whole_transaction(&mut writer.connection, statements, flush).await;
            match &result {
                Ok(()) => writer.unsettled = false,
                Err(_) => writer.settle().await?,
            }
            return result;
        }
        let mut connection = self.writing().await?;
        let mut transaction = connection
            .begin_with(self.begin_sql())
            .await
            .map_err(StoreError::database("beginning a transaction"))?;
        self.run_all(&mut transaction, statements).await?;
        transaction
            .commit()
            .await
            .map_err(StoreError::database("committing a transaction"))
    }

    /// Carries statements out on a connection, in order, up to the first that fails.
    pub async fn run_all(
        &self,
        connection: &mut AnyConnection,
        statements: &[Statement],
    ) -> Result<()> {
        let at_once = match self.kind {
            EngineKind::Sqlite => run::AT_ONCE,
            EngineKind::Postgres => 1,
        };
        for chunk in statements.chunks(at_once) {
            run::together(connection, chunk).await?;
        }
        Ok(())
    }

    /// Carries one statement out by itself; the number of rows it changed.
    pub async fn execute(&self, statement: Statement) -> Result<u64> {
        let mut connection = self.writing().await?;
        run::execute(&mut connection, statement).await
    }

    /// Carries one statement out on a connection of its own to SQLite's file,
    /// so that writers and readers go on; `None` where there is no such file.
    pub async fn execute_apart(&self, statement: Statement) -> Result<Option<u64>> {
        let Some(options) = &self.file else {
            return Ok(None);
        };
        let mut connection = AnyConnection::connect_with(options)
            .await
            .map_err(StoreError::database("opening the database once more"))?;
        let done = run::execute(&mut connection, statement).await?;
        connection
            .close()
            .await
            .map_err(StoreError::database("closing the database"))?;
        Ok(Some(done))
    }

    /// Closes all connections.
    pub async fn close(&self) {
        if let Some(pool) = &self.pool {
            pool.close().await;
        }
        if let Some(writer) = &self.writer {
            // Dropping the last connection closes the file; this only lets
            // SQLite fold its log into it first.
            let mut writer = writer.lock().await;
            if let Err(error) = writer
                .connection
                .execute(sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)"))
                .await
            {
                tracing::warn!(%error, "closing the database: the log stays beside it");
            }
        }
    }

    /// The rows that a statement reads.
    pub async fn fetch(&self, statement: Statement) -> Result<Vec<AnyRow>> {
        let mut connection = self.reading().await?;
        run::fetch(&mut connection, statement).await
    }

    /// What is made of each row that a statement reads.
    pub async fn fetch_each<T>(
        &self,
        statement: Statement,
        each: impl FnMut(&AnyRow) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut connection = self.reading().await?;
        run::fetch_each(&mut connection, statement, each).await
    }
}

/// The connection that writes, after a transaction that was left open on it.
async fn settled(writer: &Mutex<Writer>) -> Result<MutexGuard<'_, Writer>> {
    let mut writer = writer.lock().await;
    writer.settle().await?;
    Ok(writer)
}

async fn pooled(pool: &Option<AnyPool>) -> Result<Held<'static>> {
    let pool = pool
        .as_ref()
        .ok_or_else(|| StoreError::database("taking a connection")(sqlx::Error::PoolClosed))?;
    pool.acquire()
        .await
        .map(Held::Pooled)
        .map_err(StoreError::database("taking a connection"))
}

/// Settings of a SQLite connection. What its cache of so many MiB does not hold, the
/// system's does, which is not counted as this process's.
async fn pragmas(
    connection: &mut AnyConnection,
    own: &'static str,
    cache_mib: u32,
) -> std::result::Result<(), sqlx::Error> {
    let sql = format!(
        "PRAGMA busy_timeout = 10000; PRAGMA {own}; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA cache_size = -{}; PRAGMA temp_store = MEMORY;",
        cache_mib * 1024
    );
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))
        .await?;
    Ok(())
}
