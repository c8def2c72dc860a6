//! Persistence: SQLite and PostgreSQL, migrations, the audit log.
