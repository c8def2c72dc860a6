//! Building a `SELECT` with the conditions that a filter has.

use serde::de::DeserializeOwned;
use sqlx::{Row, any::AnyRow};

use crate::{
    error::{Result, StoreError},
    statement::{Statement, Value},
};

/// A `SELECT` in the making. Texts are the store's own; callers' values are bound.
pub(crate) struct Select {
    noun: &'static str,
    sql: String,
    args: Vec<Value>,
    conditions: u32,
}

impl Select {
    pub fn new(noun: &'static str, from: &str) -> Self {
        Self {
            noun,
            sql: from.to_owned(),
            args: Vec::new(),
            conditions: 0,
        }
    }

    /// Adds a condition; `?` in it stands for the value, as often as it is there.
    pub fn when(mut self, condition: &str, value: impl Into<Value>) -> Self {
        self.args.push(value.into());
        let place = format!("${}", self.args.len());
        self.and(&condition.replace('?', &place))
    }

    /// Adds a condition where there is a value for it.
    pub fn when_some<V: Into<Value>>(self, condition: &str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.when(condition, value),
            None => self,
        }
    }

    /// Adds that a column is one of some values, where there are any to be among.
    pub fn when_among<V: Into<Value> + Copy>(self, column: &str, among: Option<&[V]>) -> Self {
        self.when_among_or("", column, among)
    }

    /// Adds that `or` holds, or a column is one of some values.
    pub fn when_among_or<V: Into<Value> + Copy>(
        mut self,
        or: &str,
        column: &str,
        among: Option<&[V]>,
    ) -> Self {
        let Some(among) = among else { return self };
        let mut condition = or.to_owned();
        for value in among {
            self.args.push((*value).into());
            if !condition.is_empty() {
                condition.push_str(" OR ");
            }
            condition.push_str(&format!("{column} = ${}", self.args.len()));
        }
        if condition.is_empty() {
            condition.push_str("1 = 0");
        }
        self.and(&condition)
    }

    /// Adds that a condition holds for one of some values, where there are any to
    /// be among; `?` in it stands for the value.
    pub fn when_any<V: Into<Value> + Copy>(mut self, condition: &str, among: Option<&[V]>) -> Self {
        let Some(among) = among else { return self };
        let mut any = Vec::with_capacity(among.len());
        for value in among {
            self.args.push((*value).into());
            any.push(condition.replace('?', &format!("${}", self.args.len())));
        }
        if any.is_empty() {
            any.push("1 = 0".into());
        }
        self.and(&any.join(" OR "))
    }

    /// Adds a condition with two values, `?1` and `?2`.
    pub fn when_pair(
        mut self,
        condition: &str,
        first: impl Into<Value>,
        second: impl Into<Value>,
    ) -> Self {
        self.args.push(first.into());
        self.args.push(second.into());
        let n = self.args.len();
        let condition = condition
            .replace("?1", &format!("${}", n - 1))
            .replace("?2", &format!("${n}"));
        self.and(&condition)
    }

    /// Adds that a text begins with one of some prefixes. Bytes are compared, so
    /// nothing that begins with a prefix is beyond the prefix with the last of
    /// all characters behind it.
    pub fn when_prefixed(mut self, column: &str, prefixes: &[String]) -> Self {
        let mut any = Vec::with_capacity(prefixes.len());
        for prefix in prefixes {
            self.args.push(prefix.as_str().into());
            self.args.push(format!("{prefix}\u{10ffff}").into());
            let n = self.args.len();
            any.push(format!("({column} >= ${} AND {column} < ${n})", n - 1));
        }
        self.and(&any.join(" OR "))
    }

    /// Adds a condition without a value.
    pub fn and(mut self, condition: &str) -> Self {
        self.sql.push_str(if self.conditions == 0 {
            " WHERE "
        } else {
            " AND "
        });
        self.conditions += 1;
        self.sql.push('(');
        self.sql.push_str(condition);
        self.sql.push(')');
        self
    }

    /// Adds what stands at the end, with a limit.
    pub fn order_limit(mut self, order: &str, limit: usize) -> Statement {
        self.args
            .push(Value::Int(i64::try_from(limit).unwrap_or(i64::MAX)));
        let sql = format!("{} ORDER BY {order} LIMIT ${}", self.sql, self.args.len());
        let mut statement = Statement::read(sql, self.noun);
        statement.args = self.args;
        statement
    }
}

/// The noun that a row's first column is.
pub(crate) fn noun<T: DeserializeOwned>(what: &'static str, row: &AnyRow) -> Result<T> {
    let doc: String = column(what, row, 0)?;
    serde_json::from_str(&doc).map_err(|e| StoreError::Corrupt {
        what,
        why: e.to_string(),
    })
}

/// A column of a row.
pub(crate) fn column<T>(what: &'static str, row: &AnyRow, index: usize) -> Result<T>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    row.try_get(index).map_err(|e| StoreError::Corrupt {
        what,
        why: e.to_string(),
    })
}

/// A text column as an id, a name or a word.
pub(crate) fn parsed<T>(what: &'static str, row: &AnyRow, index: usize) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = column(what, row, index)?;
    text.parse().map_err(|e: T::Err| StoreError::Corrupt {
        what,
        why: e.to_string(),
    })
}

/// A column of microseconds as a time.
pub(crate) fn time(what: &'static str, micros: i64) -> Result<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(micros).map_err(|e| StoreError::Corrupt {
        what,
        why: e.to_string(),
    })
}
