//! The connections: one writer and a few readers on SQLite, a pool on PostgreSQL.
//!
//! SQLite has one writer at a time anyway; holding it behind a fair lock keeps
//! callers in order and never makes them wait for `busy_timeout`. In memory the
//! one connection *is* the database, so reads go through it too.

use std::{sync::Once, time::Duration};

use futures::TryStreamExt;
use sqlx::{
    AnyConnection, AnyPool, ConnectOptions, Connection, Either, Executor,
    any::{AnyConnectOptions, AnyPoolOptions, AnyRow},
    pool::PoolConnection,
};
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    StoreUrl,
    error::{Context, Result, StoreError},
    statement::{NoRow, Statement},
};

/// How often a transaction is tried before its transient failure is the caller's.
const TRIES: u32 = 8;

/// Most statements sent to SQLite in one piece.
const STATEMENTS_AT_ONCE: usize = 12;

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
    writer: Option<Mutex<AnyConnection>>,
    pool: Option<AnyPool>,
    /// How to open the file once more.
    file: Option<AnyConnectOptions>,
}

/// A connection for as long as it is held.
pub(crate) enum Held<'a> {
    Writer(MutexGuard<'a, AnyConnection>),
    Pooled(PoolConnection<sqlx::Any>),
}

impl std::ops::Deref for Held<'_> {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Writer(c) => c,
            Self::Pooled(c) => c,
        }
    }
}

impl std::ops::DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Writer(c) => c,
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
                pragmas(&mut writer, "journal_mode = WAL")
                    .await
                    .map_err(StoreError::database(doing()))?;
                let readers = AnyPoolOptions::new()
                    .max_connections(4)
                    .test_before_acquire(false)
                    .acquire_timeout(Duration::from_secs(30))
                    .after_connect(|connection, _| {
                        Box::pin(async move { pragmas(connection, "query_only = ON").await })
                    })
                    .connect_lazy_with(options.clone());
                Ok(Self {
                    kind: EngineKind::Sqlite,
                    writer: Some(Mutex::new(writer)),
                    pool: Some(readers),
                    file: Some(options),
                })
            }
            StoreUrl::SqliteInMemory => {
                let mut writer = AnyConnection::connect_with(&options)
                    .await
                    .map_err(StoreError::database(doing()))?;
                pragmas(&mut writer, "journal_mode = MEMORY")
                    .await
                    .map_err(StoreError::database(doing()))?;
                Ok(Self {
                    kind: EngineKind::Sqlite,
                    writer: Some(Mutex::new(writer)),
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
                    .map_err(StoreError::database(doing()))?;
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
            (Some(writer), _) => Ok(Held::Writer(writer.lock().await)),
            (None, pool) => pooled(pool).await,
        }
    }

    /// A connection to read with.
    pub async fn reading(&self) -> Result<Held<'_>> {
        match (&self.pool, &self.writer) {
            (None, Some(writer)) => Ok(Held::Writer(writer.lock().await)),
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
    pub async fn transact(&self, statements: &[Statement]) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.transact_once(statements).await {
                Err(error) if error.is_transient() && tries < TRIES => {
                    tracing::debug!(%error, tries, "trying the transaction again");
                    let millis = 2_u64 << tries.min(6);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
                other => return other,
            }
        }
    }

    async fn transact_once(&self, statements: &[Statement]) -> Result<()> {
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
            EngineKind::Sqlite => STATEMENTS_AT_ONCE,
            EngineKind::Postgres => 1,
        };
        for chunk in statements.chunks(at_once) {
            run_together(connection, chunk).await?;
        }
        Ok(())
    }

    /// Carries one statement out by itself; the number of rows it changed.
    pub async fn execute(&self, statement: Statement) -> Result<u64> {
        let mut connection = self.writing().await?;
        execute_on(&mut connection, statement).await
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
        let done = execute_on(&mut connection, statement).await?;
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
        fetch_on(&mut connection, statement).await
    }
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

/// Settings of a SQLite connection.
async fn pragmas(
    connection: &mut AnyConnection,
    own: &'static str,
) -> std::result::Result<(), sqlx::Error> {
    let sql = format!(
        "PRAGMA busy_timeout = 10000; PRAGMA {own}; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;"
    );
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))
        .await?;
    Ok(())
}

/// The rows that a statement reads, on a connection at hand.
pub(crate) async fn fetch_on(
    connection: &mut AnyConnection,
    statement: Statement,
) -> Result<Vec<AnyRow>> {
    let noun = statement.noun;
    let doing = || format!("reading {noun}");
    let arguments = Statement::arguments(statement.args).map_err(StoreError::database(doing()))?;
    sqlx::query_with(sqlx::AssertSqlSafe(statement.sql), arguments)
        .fetch_all(connection)
        .await
        .map_err(StoreError::database(doing()))
}

/// Carries out a few statements in one go. SQLite takes several at once, which
/// saves the way to its thread and back for each; PostgreSQL gets one at a time.
async fn run_together(connection: &mut AnyConnection, statements: &[Statement]) -> Result<()> {
    let (sql, args) = join(statements);
    let arguments =
        Statement::arguments(args).map_err(StoreError::database("preparing a statement"))?;
    let query = sqlx::query_with(sqlx::AssertSqlSafe(sql), arguments);
    let mut results = connection.fetch_many(query);
    // Each statement that is done gives one result: so an error belongs to the next.
    let mut done = 0;
    loop {
        match results.try_next().await {
            Ok(Some(Either::Left(result))) => {
                if let Some(statement) = statements.get(done)
                    && result.rows_affected() == 0
                {
                    no_row(statement)?;
                }
                done += 1;
            }
            Ok(Some(Either::Right(_))) => {}
            Ok(None) => return Ok(()),
            Err(error) => {
                let Some(statement) = statements.get(done) else {
                    return Err(StoreError::database("writing")(error));
                };
                let shown = |index| statement.shown(index);
                return Err(StoreError::of_statement(error, &context(statement, &shown)));
            }
        }
    }
}

async fn execute_on(connection: &mut AnyConnection, statement: Statement) -> Result<u64> {
    let arguments = Statement::arguments(statement.args.clone())
        .map_err(StoreError::database("preparing a statement"))?;
    sqlx::query_with(sqlx::AssertSqlSafe(statement.sql.clone()), arguments)
        .execute(connection)
        .await
        .map(|done| done.rows_affected())
        .map_err(|error| {
            StoreError::of_statement(error, &context(&statement, &|index| statement.shown(index)))
        })
}

fn context<'a>(statement: &'a Statement, value: &'a dyn Fn(usize) -> String) -> Context<'a> {
    Context {
        noun: statement.noun,
        id: &statement.id,
        unique: statement.unique,
        value,
    }
}

/// What it means that a statement changed nothing.
fn no_row(statement: &Statement) -> Result<()> {
    let (what, id) = (statement.noun, statement.id.clone());
    match statement.no_row {
        NoRow::Fine => Ok(()),
        NoRow::NotFound => Err(StoreError::NotFound { what, id }),
        NoRow::Conflict | NoRow::MachineOffRecord { .. } => Err(StoreError::Conflict { what, id }),
    }
}

/// Several statements as one text, placeholders numbered on.
fn join(statements: &[Statement]) -> (String, Vec<crate::statement::Value>) {
    let mut sql = String::with_capacity(statements.iter().map(|s| s.sql.len() + 8).sum());
    let mut args = Vec::new();
    for statement in statements {
        if !sql.is_empty() {
            sql.push_str(";\n");
        }
        let mut rest = &*statement.sql;
        while let Some(at) = rest.find('$') {
            sql.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = rest[..digits].parse().unwrap_or(0);
            sql.push_str(&(number + args.len()).to_string());
            rest = &rest[digits..];
        }
        sql.push_str(rest);
        args.extend(statement.args.iter().cloned());
    }
    (sql, args)
}
