//! A statement as data: what a write wants done, before anything is done.
//!
//! Turning writes into statements is pure; [`crate::engine`] carries them out.

use std::borrow::Cow;

use jiff::Timestamp;
use sqlx::{Arguments, any::AnyArguments};

/// A value for a placeholder.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
    NoInt,
    NoText,
    NoBlob,
}

impl Value {
    fn add_to(self, arguments: &mut AnyArguments) -> Result<(), sqlx::error::BoxDynError> {
        match self {
            Self::Int(v) => arguments.add(v),
            Self::Text(v) => arguments.add(v),
            Self::Blob(v) => arguments.add(v),
            Self::NoInt => arguments.add(None::<i64>),
            Self::NoText => arguments.add(None::<String>),
            Self::NoBlob => arguments.add(None::<Vec<u8>>),
        }
    }

    /// The value as a person reads it in an error.
    fn shown(&self) -> String {
        match self {
            Self::Int(v) => v.to_string(),
            Self::Text(v) => v.clone(),
            Self::Blob(_) => "(bytes)".into(),
            Self::NoInt | Self::NoText | Self::NoBlob => String::new(),
        }
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Self::Int(v.into())
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Int(v.into())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::Text(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::Text(v.to_owned())
    }
}

impl From<&billet_model::Name> for Value {
    fn from(v: &billet_model::Name) -> Self {
        Self::Text(v.as_str().to_owned())
    }
}

impl From<Vec<u8>> for Value {
    fn from(v: Vec<u8>) -> Self {
        Self::Blob(v)
    }
}

impl From<Timestamp> for Value {
    /// Microseconds, rounded down.
    fn from(v: Timestamp) -> Self {
        Self::Int(micros_down(v))
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(v: Option<Timestamp>) -> Self {
        v.map_or(Self::NoInt, Self::from)
    }
}

macro_rules! text_ids {
    ($($id:ident)*) => {$(
        impl From<billet_model::$id> for Value {
            fn from(v: billet_model::$id) -> Self { Self::Text(v.to_string()) }
        }
        impl From<Option<billet_model::$id>> for Value {
            fn from(v: Option<billet_model::$id>) -> Self { v.map_or(Self::NoText, Self::from) }
        }
    )*};
}

text_ids! {
    MachineId LeaseId ImageId OperationId TaskId OrganisationId ProjectId TokenId
    UserId GroupId
    SiteId NetworkId MachineTypeId EvidenceId EventId BootId WebhookId CallId
}

/// Microseconds of a time, rounded down.
pub(crate) fn micros_down(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond().div_euclid(1000)).unwrap_or(i64::MAX)
}

/// Microseconds of a time, rounded up: for deadlines, so that what is found
/// due by its column is due by the clock as well.
pub(crate) fn micros_up(time: Timestamp) -> i64 {
    i64::try_from((time.as_nanosecond() + 999).div_euclid(1000)).unwrap_or(i64::MAX)
}

/// What a violated unique constraint means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Means {
    /// There is one with this value: (what, the argument that holds the value).
    Duplicate(&'static str, usize),
    /// A unit is held.
    Held,
    /// It was inserted by somebody else.
    Conflict,
}

/// A unique constraint that a statement can violate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unique {
    /// Name of the index or constraint, as PostgreSQL tells it.
    pub index: &'static str,
    /// What SQLite tells instead.
    pub columns: &'static str,
    /// What it means.
    pub means: Means,
}

/// What it means when a statement changed no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRow {
    /// Nothing: it is fine.
    Fine,
    /// It was changed since, or is gone.
    Conflict,
    /// It is not there.
    NotFound,
    /// A machine: changed since, or a change that must be on record.
    MachineOffRecord {
        /// The version that was expected.
        version: i64,
    },
}

/// A statement with its values.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// With `$1`, `$2`, … for the values.
    pub sql: Cow<'static, str>,
    pub args: Vec<Value>,
    /// What it writes, for errors.
    pub noun: &'static str,
    /// Which of them.
    pub id: String,
    pub unique: &'static [Unique],
    pub no_row: NoRow,
}

impl Statement {
    pub fn new(sql: &'static str, noun: &'static str, id: impl ToString) -> Self {
        Self {
            sql: Cow::Borrowed(sql),
            args: Vec::new(),
            noun,
            id: id.to_string(),
            unique: &[],
            no_row: NoRow::Fine,
        }
    }

    /// A statement that reads.
    pub fn read(sql: impl Into<Cow<'static, str>>, noun: &'static str) -> Self {
        Self {
            sql: sql.into(),
            args: Vec::new(),
            noun,
            id: String::new(),
            unique: &[],
            no_row: NoRow::Fine,
        }
    }

    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.args.push(value.into());
        self
    }

    /// Binds a number, or that there is none.
    pub fn bind_int(mut self, value: Option<i64>) -> Self {
        self.args.push(value.map_or(Value::NoInt, Value::Int));
        self
    }

    /// Binds text, or that there is none.
    pub fn bind_text(mut self, value: Option<String>) -> Self {
        self.args.push(value.map_or(Value::NoText, Value::Text));
        self
    }

    /// Binds bytes, or that there are none.
    pub fn bind_bytes(mut self, value: Option<Vec<u8>>) -> Self {
        self.args.push(value.map_or(Value::NoBlob, Value::Blob));
        self
    }

    pub fn unique(mut self, unique: &'static [Unique]) -> Self {
        self.unique = unique;
        self
    }

    pub fn no_row(mut self, no_row: NoRow) -> Self {
        self.no_row = no_row;
        self
    }

    /// The argument at `index`, as a person reads it.
    pub fn shown(&self, index: usize) -> String {
        self.args.get(index).map(Value::shown).unwrap_or_default()
    }

    /// The values, for the driver.
    pub fn arguments(args: Vec<Value>) -> Result<AnyArguments, sqlx::Error> {
        let mut arguments = AnyArguments::default();
        arguments.reserve(args.len(), 0);
        for value in args {
            value.add_to(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}
