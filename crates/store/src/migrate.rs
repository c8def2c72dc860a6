//! Bringing the schema up to date: numbered steps, forward only.
//!
//! A step that was released is never changed; a new one is added behind it. A
//! database whose version is beyond the last step known here is refused.

use sqlx::{AnyConnection, Connection, Executor, Row};

use crate::{
    engine::{Engine, EngineKind},
    error::{Result, StoreError},
    run,
    statement::Statement,
};

struct Migration {
    version: i64,
    /// For both engines.
    sql: &'static str,
    /// Added on SQLite.
    sqlite: &'static str,
    /// Added on PostgreSQL.
    postgres: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: include_str!("migrations/0001_nouns.sql"),
        sqlite: include_str!("migrations/0001_nouns.sqlite.sql"),
        postgres: "",
    },
    Migration {
        version: 2,
        sql: include_str!("migrations/0002_audit.sql"),
        sqlite: include_str!("migrations/0002_audit.sqlite.sql"),
        postgres: include_str!("migrations/0002_audit.postgres.sql"),
    },
    Migration {
        version: 3,
        sql: include_str!("migrations/0003_people.sql"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        version: 4,
        sql: include_str!("migrations/0004_quotas.sql"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        version: 5,
        sql: include_str!("migrations/0005_webhooks.sql"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        version: 6,
        sql: include_str!("migrations/0006_calls.sql"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        version: 7,
        sql: include_str!("migrations/0007_tasks.sql"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        version: 8,
        sql: include_str!("migrations/0008_parts.sql"),
        sqlite: include_str!("migrations/0008_parts.sqlite.sql"),
        postgres: include_str!("migrations/0008_parts.postgres.sql"),
    },
    Migration {
        version: 9,
        sql: include_str!("migrations/0009_networks.sql"),
        sqlite: "",
        postgres: "",
    },
    Migration {
        version: 10,
        sql: include_str!("migrations/0010_tokens.sql"),
        sqlite: "",
        postgres: "",
    },
];

/// The newest version of the schema that this Billet knows.
pub(crate) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |m| m.version)
}

/// Brings the schema to version `until`, in one transaction, under a lock, so
/// that of several control planes that start together one does it.
pub(crate) async fn migrate(engine: &Engine, until: i64) -> Result<()> {
    let mut connection = engine.writing().await?;
    let mut transaction = connection
        .begin_with(engine.begin_sql())
        .await
        .map_err(StoreError::database("beginning the migration"))?;
    if engine.kind() == EngineKind::Postgres {
        // "billet" in ASCII.
        run_script(
            &mut transaction,
            "SELECT pg_advisory_xact_lock(108170449872244)".into(),
        )
        .await?;
    }
    run_script(
        &mut transaction,
        "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)".into(),
    )
    .await?;
    let rows = run::fetch(
        &mut transaction,
        Statement::read(
            "SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM schema_version",
            "the schema's version",
        ),
    )
    .await?;
    let found: i64 = match rows.first() {
        Some(row) => row
            .try_get(0)
            .map_err(StoreError::database("reading the schema's version"))?,
        None => 0,
    };
    if found > newest() {
        return Err(StoreError::Newer {
            found,
            known: newest(),
        });
    }
    for migration in MIGRATIONS {
        if migration.version <= found || migration.version > until {
            continue;
        }
        tracing::info!(
            version = migration.version,
            "bringing the schema up to date"
        );
        for sql in migration.for_engine(engine.kind()) {
            run_script(&mut transaction, sql).await?;
        }
        run_script(
            &mut transaction,
            format!(
                "INSERT INTO schema_version (version) VALUES ({})",
                migration.version
            ),
        )
        .await?;
    }
    transaction
        .commit()
        .await
        .map_err(StoreError::database("committing the migration"))
}

impl Migration {
    fn for_engine(&self, kind: EngineKind) -> [String; 2] {
        match kind {
            EngineKind::Sqlite => [
                self.sql
                    .replace("BIGINT", "INTEGER")
                    .replace("BYTEA", "BLOB")
                    .replace("/*serial*/", "INTEGER PRIMARY KEY AUTOINCREMENT")
                    .replace("/*strict*/", "STRICT"),
                self.sqlite.to_owned(),
            ],
            EngineKind::Postgres => [
                self.sql
                    // Compared by bytes, as SQLite does, whatever the locale.
                    .replace("TEXT", "TEXT COLLATE \"C\"")
                    .replace(
                        "/*serial*/",
                        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                    ),
                self.postgres.to_owned(),
            ],
        }
    }
}

async fn run_script(connection: &mut AnyConnection, sql: String) -> Result<()> {
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))
        .await
        .map(drop)
        .map_err(StoreError::database("bringing the schema up to date"))
}
