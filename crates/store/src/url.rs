//! Where the database is.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Where the database is, and so which engine.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file of SQLite's; made if it is not there.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// SQLite in memory: gone with the last clone of its [`crate::Store`].
    SqliteInMemory,
    /// PostgreSQL, for several control planes.
    Postgres {
        /// `postgres://user:password@host:port/database?options`, a secret.
        url: String,
    },
}

impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "sqlite:{}", path.display()),
            Self::SqliteInMemory => f.write_str("sqlite::memory:"),
            Self::Postgres { .. } => f.write_str("postgres:[redacted]"),
        }
    }
}

impl StoreUrl {
    /// The URL in the driver's form.
    pub(crate) fn for_driver(&self) -> String {
        match self {
            Self::Sqlite { path } => {
                let path = path.to_string_lossy();
                format!(
                    "sqlite://{}?mode=rwc",
                    utf8_percent_encode(&path, NON_ALPHANUMERIC)
                )
            }
            Self::SqliteInMemory => "sqlite::memory:".into(),
            Self::Postgres { url } => url.clone(),
        }
    }
}
