//! What can go wrong in the store, typed so that a caller can act on it.

use crate::statement::Unique;

/// Result of asking the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store did not do it. Nothing of the batch was kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed it since it was read: read again and decide again.
    #[error("{what} {id} was changed by somebody else since it was read")]
    Conflict {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// A unit of the machine is held by a lease already.
    #[error("machine {machine} is held by another lease")]
    Held {
        /// The machine.
        machine: String,
    },
    /// A quota of machines of this type would be gone beyond.
    #[error("no more machines of type {machine_type} may be held: a quota is used up")]
    OverQuota {
        /// The type.
        machine_type: String,
    },
    /// There is one already.
    #[error("there is already {what} {value:?}")]
    Duplicate {
        /// What kind of thing (`a machine named`).
        what: &'static str,
        /// The value that is taken.
        value: String,
    },
    /// Something else still needs it, or it names something that does not exist.
    #[error("{what} {id}: {why}")]
    Referenced {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
        /// What is in the way.
        why: String,
    },
    /// It is not there.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// A rule of the schema or of the store forbids it.
    #[error("{what} {id}: {rule}")]
    Constraint {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        id: String,
        /// The rule, in a sentence.
        rule: String,
    },
    /// What is stored cannot be read as what it should be.
    #[error("reading {what} from the database: {why}")]
    Corrupt {
        /// What kind of thing.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The database was written by a newer Billet.
    #[error(
        "the database has schema version {found}, and this Billet knows {known}: use a Billet at least as new as the one that wrote it"
    )]
    Newer {
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// This engine cannot do it; the sentence says what to do instead.
    #[error("{0}")]
    NotHere(String),
    /// The database is not reached by TLS in the way that its URL asks for.
    #[error("{doing}: {way_out}")]
    Tls {
        /// What was being done.
        doing: String,
        /// What is wrong, and the way out.
        way_out: &'static str,
        /// What the driver says.
        #[source]
        source: sqlx::Error,
    },
    /// The database failed.
    #[error("{doing}")]
    Database {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
}

/// The statement during which an error came.
pub(crate) struct Context<'a> {
    pub noun: &'static str,
    pub id: &'a str,
    pub unique: &'a [Unique],
    pub value: &'a dyn Fn(usize) -> String,
}

impl StoreError {
    /// An error while `doing` something no constraint is concerned with.
    pub(crate) fn database(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database {
            doing: doing.into(),
            source,
        }
    }

    /// Turns an error of the database into what it means for the statement.
    pub(crate) fn of_statement(error: sqlx::Error, context: &Context<'_>) -> Self {
        let (what, id) = (context.noun, context.id.to_owned());
        let Some(database) = error.as_database_error() else {
            return Self::Database {
                doing: format!("writing {what} {id}"),
                source: error,
            };
        };
        let message = database.message();
        match database.code().as_deref() {
            // SQLite: unique, primary key; PostgreSQL: unique_violation.
            Some("2067" | "1555" | "23505") => {
                let constraint = database.constraint();
                let hit = context.unique.iter().find(|u| {
                    constraint == Some(u.index)
                        || message == format!("UNIQUE constraint failed: {}", u.columns)
                });
                match hit.map(|u| u.means) {
                    Some(crate::statement::Means::Duplicate(what, arg)) => Self::Duplicate {
                        what,
                        value: (context.value)(arg),
                    },
                    Some(crate::statement::Means::Held) => Self::Held { machine: id },
                    Some(crate::statement::Means::Conflict) => Self::Conflict { what, id },
                    None => Self::Duplicate { what, value: id },
                }
            }
            // Foreign key.
            Some("787" | "23503") => Self::Referenced {
                what,
                id,
                why: "it names something that does not exist, or something still needs it".into(),
            },
            Some("275" | "23514") if message.contains("quotas_kept") => {
                Self::OverQuota { machine_type: id }
            }
            // Check.
            Some("275" | "23514") => Self::Constraint {
                what,
                id,
                rule: if message.contains("machines_available_holds_nothing") {
                    "a machine that may hold data cannot be available".into()
                } else {
                    message.to_owned()
                },
            },
            // A trigger refused: SQLite's RAISE, PostgreSQL's raise_exception.
            Some("1811" | "P0001") => Self::Constraint {
                what,
                id,
                rule: message.to_owned(),
            },
            _ => Self::Database {
                doing: format!("writing {what} {id}"),
                source: error,
            },
        }
    }

    /// Whether trying the whole transaction again may help: PostgreSQL's
    /// serialization failure and deadlock, SQLite's busy.
    pub(crate) fn is_transient(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        source
            .as_database_error()
            .and_then(|e| e.code())
            .is_some_and(|code| matches!(&*code, "40001" | "40P01" | "5" | "261" | "517"))
    }
}
