//! Carrying statements out on a connection, and telling what their failures mean.

use futures::TryStreamExt;
use sqlx::{AnyConnection, Either, Executor, any::AnyRow};

use crate::{
    engine::Flush,
    error::{Context, Result, StoreError},
    statement::{NoRow, Statement, Value},
};

/// Most statements sent to SQLite in one piece. Each shape of a piece is
/// prepared once and kept, so a piece is for what is done often: short batches.
pub(crate) const AT_ONCE: usize = 12;

/// The rows that a statement reads, on a connection at hand.
pub(crate) async fn fetch(
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

/// What is made of each row that a statement reads, while SQLite's thread reads the next.
pub(crate) async fn fetch_each<T>(
    connection: &mut AnyConnection,
    statement: Statement,
    mut each: impl FnMut(&AnyRow) -> Result<T>,
) -> Result<Vec<T>> {
    let noun = statement.noun;
    let doing = || format!("reading {noun}");
    let arguments = Statement::arguments(statement.args).map_err(StoreError::database(doing()))?;
    let mut rows =
        sqlx::query_with(sqlx::AssertSqlSafe(statement.sql), arguments).fetch(connection);
    let mut made = Vec::new();
    while let Some(row) = rows
        .try_next()
        .await
        .map_err(StoreError::database(doing()))?
    {
        made.push(each(&row)?);
    }
    Ok(made)
}

/// Carries out a few statements in one go. SQLite takes several at once, which
/// saves the way to its thread and back for each; PostgreSQL gets one at a time.
pub(crate) async fn together(
    connection: &mut AnyConnection,
    statements: &[Statement],
) -> Result<()> {
    let mut piece = Piece::with_capacity(statements);
    for (index, statement) in statements.iter().enumerate() {
        piece.push(index, statement);
    }
    piece.run(connection, statements).await
}

/// A whole transaction in one go, for SQLite. Where it fails, the transaction
/// may still be open.
pub(crate) async fn whole_transaction(
    connection: &mut AnyConnection,
    statements: &[Statement],
    flush: Flush,
) -> Result<()> {
    let mut piece = Piece::with_capacity(statements);
    if flush == Flush::Later {
        piece.push_plain("PRAGMA synchronous = NORMAL");
    }
    piece.push_plain("BEGIN IMMEDIATE");
    for (index, statement) in statements.iter().enumerate() {
        piece.push(index, statement);
        if statement.no_row != NoRow::Fine {
            // What the statement's count would say too late to stop the commit.
            piece.push_plain("INSERT INTO unchanged SELECT 0 WHERE changes() = 0");
            piece.parts.pop();
            piece.parts.push(Part::Guard(index));
        }
    }
    piece.push_plain("COMMIT");
    if flush == Flush::Later {
        piece.push_plain("PRAGMA synchronous = FULL");
    }
    piece.run(connection, statements).await
}

/// What a part of a [`Piece`] is.
#[derive(Clone, Copy)]
enum Part {
    /// Begins or ends.
    Plain,
    /// Which statement.
    Statement(usize),
    /// Fails where this statement changed nothing.
    Guard(usize),
}

/// Several statements as one text, placeholders numbered on.
struct Piece {
    sql: String,
    args: Vec<Value>,
    parts: Vec<Part>,
}

impl Piece {
    fn with_capacity(statements: &[Statement]) -> Self {
        let length: usize = statements.iter().map(|s| s.sql.len() + 80).sum();
        Self {
            sql: String::with_capacity(length + 40),
            args: Vec::new(),
            parts: Vec::with_capacity(statements.len() * 2 + 2),
        }
    }

    fn push_plain(&mut self, sql: &str) {
        if !self.sql.is_empty() {
            self.sql.push_str(";\n");
        }
        self.sql.push_str(sql);
        self.parts.push(Part::Plain);
    }

    fn push(&mut self, index: usize, statement: &Statement) {
        if !self.sql.is_empty() {
            self.sql.push_str(";\n");
        }
        let mut rest = &*statement.sql;
        while let Some(at) = rest.find('$') {
            self.sql.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: usize = rest[..digits].parse().unwrap_or(0);
            self.sql.push_str(&(number + self.args.len()).to_string());
            rest = &rest[digits..];
        }
        self.sql.push_str(rest);
        self.args.extend(statement.args.iter().cloned());
        self.parts.push(Part::Statement(index));
    }

    async fn run(self, connection: &mut AnyConnection, statements: &[Statement]) -> Result<()> {
        let arguments = Statement::arguments(self.args)
            .map_err(StoreError::database("preparing a statement"))?;
        let query = sqlx::query_with(sqlx::AssertSqlSafe(self.sql), arguments);
        let mut results = connection.fetch_many(query);
        // Each part that is done gives one result: so an error belongs to the next.
        let mut parts = self.parts.iter().map(|part| match part {
            Part::Plain => (None, false),
            Part::Statement(index) => (statements.get(*index), false),
            Part::Guard(index) => (statements.get(*index), true),
        });
        loop {
            match results.try_next().await {
                Ok(Some(Either::Left(result))) => {
                    if let Some((Some(statement), false)) = parts.next()
                        && result.rows_affected() == 0
                    {
                        no_row(statement)?;
                    }
                }
                Ok(Some(Either::Right(_))) => {}
                Ok(None) => return Ok(()),
                Err(error) => {
                    return Err(match parts.next() {
                        Some((Some(statement), true)) if is_check(&error) => no_row(statement)
                            .err()
                            .unwrap_or_else(|| StoreError::database("writing")(error)),
                        Some((Some(statement), _)) => {
                            let shown = |index| statement.shown(index);
                            StoreError::of_statement(error, &context(statement, &shown))
                        }
                        _ => StoreError::database("beginning or committing a transaction")(error),
                    });
                }
            }
        }
    }
}

/// Whether a check of SQLite's failed.
fn is_check(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .is_some_and(|code| code == "275")
}

/// Carries one statement out; the number of rows it changed.
pub(crate) async fn execute(connection: &mut AnyConnection, statement: Statement) -> Result<u64> {
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
