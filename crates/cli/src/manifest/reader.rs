//! Reading one table of a manifest key by key, with everything wrong noted and nothing skipped.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    path::Path,
    str::FromStr,
};

use toml::de::{DeTable, DeValue};

use super::Trouble;
use toml::Spanned;

/// A manifest's text, what it refers to, and what was found wrong so far.
pub struct Source<'t> {
    text: &'t str,
    /// Where relative files are.
    pub directory: &'t Path,
    /// The environment.
    pub variable: &'t dyn Fn(&str) -> Option<String>,
    troubles: RefCell<Vec<Trouble>>,
}

/// The line, from 1, of the byte at `offset`.
pub fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

impl<'t> Source<'t> {
    /// Of a text.
    pub fn new(
        text: &'t str,
        directory: &'t Path,
        variable: &'t dyn Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            text,
            directory,
            variable,
            troubles: RefCell::default(),
        }
    }

    /// Notes something wrong.
    pub fn wrong(&self, line: usize, text: impl Into<String>) {
        self.troubles.borrow_mut().push(Trouble {
            line,
            text: text.into(),
        });
    }

    /// Everything found wrong.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.troubles.borrow().clone()
    }

    /// The line on which something stands.
    pub fn line<T>(&self, spanned: &Spanned<T>) -> usize {
        line_of(self.text, spanned.span().start)
    }
}

/// A table that is being read.
pub struct Reader<'s, 't> {
    source: &'s Source<'t>,
    table: &'s DeTable<'t>,
    /// The line that it begins on.
    pub line: usize,
    what: RefCell<String>,
    asked: RefCell<Vec<&'static str>>,
    whole: Cell<bool>,
}

impl<'s, 't> Reader<'s, 't> {
    /// Reads `table`; `what` names it in sentences.
    pub fn new(source: &'s Source<'t>, table: &'s DeTable<'t>, line: usize, what: &str) -> Self {
        Self {
            source,
            table,
            line,
            what: RefCell::new(what.to_owned()),
            asked: RefCell::default(),
            whole: Cell::new(true),
        }
    }

    /// Calls the table otherwise from now on.
    pub fn call(&self, what: String) {
        *self.what.borrow_mut() = what;
    }

    /// What the table is called.
    pub fn what(&self) -> String {
        self.what.borrow().clone()
    }

    /// Notes something wrong with this table.
    pub fn wrong(&self, line: usize, text: impl Display) {
        self.whole.set(false);
        let what = self.what.borrow();
        let text = if what.is_empty() {
            text.to_string()
        } else {
            format!("{what}: {text}")
        };
        self.source.wrong(line, text);
    }

    /// The value of `key`, as it stands.
    pub fn raw(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// The line of `key`'s value, or else of the table.
    pub fn line_at(&self, key: &str) -> usize {
        self.table
            .get(key)
            .map_or(self.line, |value| self.source.line(value))
    }

    /// Says that a key that must be there is not.
    pub fn missing(&self, key: &str) {
        self.wrong(self.line, format!("{key:?} is missing"));
    }

    /// The value of `key`, if it is text.
    pub fn text(&self, key: &'static str) -> Option<&'s str> {
        let value = self.raw(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            let found = value.get_ref().type_str();
            self.wrong(
                self.source.line(value),
                format!("{key:?} must be text in quotes, and is of type {found}"),
            );
        }
        text
    }

    /// The value of `key`, read by its own rules.
    pub fn parsed<T: FromStr<Err: Display>>(&self, key: &'static str) -> Option<T> {
        let text = self.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(self.line_at(key), format!("{key:?}: {error}"));
                None
            }
        }
    }

    /// The value of `key`, an address.
    pub fn address(&self, key: &'static str) -> Option<std::net::Ipv4Addr> {
        let text = self.text(key)?;
        self.ipv4(key, text, self.line_at(key))
    }

    /// Reads an address that stands at `line`, under `key`.
    pub fn ipv4(&self, key: &str, text: &str, line: usize) -> Option<std::net::Ipv4Addr> {
        let address = text.parse().ok();
        if address.is_none() {
            self.wrong(line, format!("{key:?}: {text:?} is not an IPv4 address"));
        }
        address
    }

    /// The value of `key`, a list of addresses.
    pub fn addresses(&self, key: &'static str) -> Option<Vec<std::net::Ipv4Addr>> {
        let value = self.raw(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(
                self.source.line(value),
                format!("{key:?} must be a list of IPv4 addresses in quotes"),
            );
            return None;
        };
        let mut addresses = Vec::new();
        for item in items.iter() {
            let line = self.source.line(item);
            match item.get_ref().as_str() {
                Some(text) => addresses.extend(self.ipv4(key, text, line)),
                None => self.wrong(
                    line,
                    format!("{key:?} must be a list of IPv4 addresses in quotes"),
                ),
            }
        }
        Some(addresses)
    }

    /// The value of `key`, true or false.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let value = self.raw(key)?;
        let flag = match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => None,
        };
        if flag.is_none() {
            self.wrong(
                self.line_at(key),
                format!("\"{key}\" must be true or false"),
            );
        }
        flag
    }

    /// The value of `key`, a count.
    pub fn count(&self, key: &'static str) -> Option<u32> {
        let value = self.raw(key)?;
        let count = value
            .get_ref()
            .as_integer()
            .filter(|integer| integer.radix() == 10)
            .and_then(|integer| integer.as_str().parse().ok());
        if count.is_none() {
            self.wrong(
                self.source.line(value),
                format!("{key:?} must be a whole number, 0 or more"),
            );
        }
        count
    }

    /// The value of `key`, a list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let value = self.raw(key)?;
        let items = value.get_ref().as_array();
        let texts: Option<Vec<String>> = items.and_then(|items| {
            let texts = items.iter().map(|item| item.get_ref().as_str());
            texts.map(|text| text.map(str::to_owned)).collect()
        });
        if texts.is_none() {
            let line = self.source.line(value);
            self.wrong(line, format!("{key:?} must be a list of texts in quotes"));
        }
        texts
    }

    /// The value of `key`, true or false.
    pub fn truth(&self, key: &'static str) -> Option<bool> {
        let value = self.raw(key)?;
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            let line = self.source.line(value);
            self.wrong(
                line,
                format!("{key:?} must be true or false, without quotes"),
            );
        }
        truth
    }

    /// The value of `key`, a length of time such as `3d`, in seconds.
    pub fn length(&self, key: &'static str) -> Option<u64> {
        let read = crate::human::parse_length(self.text(key)?);
        read.map_err(|error| self.wrong(self.line_at(key), format!("{key:?}: {error}")))
            .ok()
    }

    /// The value of `key`, bytes: a number, or text as `64GiB`.
    pub fn bytes(&self, key: &'static str) -> Option<u64> {
        let value = self.raw(key)?;
        let read = match value.get_ref() {
            DeValue::String(text) => crate::human::parse_bytes(text),
            DeValue::Integer(integer) => crate::human::parse_bytes(integer.as_str()),
            other => Err(format!(
                "must be a size as \"64GiB\", and is of type {}",
                other.type_str()
            )),
        };
        read.map_err(|error| self.wrong(self.source.line(value), format!("{key:?}: {error}")))
            .ok()
    }

    /// The table under `key`, to be read with its keys named after `what`.
    pub fn table(&self, key: &'static str, what: &str) -> Option<Reader<'s, 't>> {
        let value = self.raw(key)?;
        let line = self.source.line(value);
        match value.get_ref().as_table() {
            Some(table) => Some(Reader::new(self.source, table, line, what)),
            None => {
                self.wrong(line, format!("{key:?} must be a table"));
                None
            }
        }
    }

    /// All keys with their values, for a table whose keys are names.
    pub fn entries(&self) -> impl Iterator<Item = (&'s str, usize, &'s DeValue<'t>)> {
        self.table.iter().map(|(key, value)| {
            (
                key.get_ref().as_ref(),
                self.source.line(key),
                value.get_ref(),
            )
        })
    }

    /// The tables of the list under `one` or `many`.
    pub fn list(&self, one: &'static str, many: &'static str) -> Vec<Reader<'s, 't>> {
        let mut readers = Vec::new();
        for key in [one, many] {
            let Some(value) = self.raw(key) else { continue };
            let Some(items) = value.get_ref().as_array() else {
                self.wrong(
                    self.source.line(value),
                    format!("write {key} as a list of tables: [[{key}]]"),
                );
                continue;
            };
            for item in items.iter() {
                let line = self.source.line(item);
                match item.get_ref().as_table() {
                    Some(table) => {
                        readers.push(Reader::new(self.source, table, line, &words(one)));
                    }
                    None => self.wrong(line, format!("write {key} as a list of tables: [[{key}]]")),
                }
            }
        }
        readers
    }

    /// Says which keys are not known, and whether all was well.
    pub fn end(self) -> bool {
        let mut asked = self.asked.take();
        asked.dedup();
        for key in self.table.keys() {
            let found: &str = key.get_ref();
            if asked.contains(&found) {
                continue;
            }
            let near = asked
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, found), known))
                .min()
                .filter(|(distance, known)| *distance <= 2.max(known.len() / 3));
            let advice = match near {
                Some((_, near)) => format!("did you mean {near:?}?"),
                None => format!("known are {}", asked.join(", ")),
            };
            self.wrong(
                self.source.line(key),
                format!("there is no key {found:?}; {advice}"),
            );
        }
        self.whole.get()
    }
}

/// `machine_type` in words.
fn words(key: &str) -> String {
    key.replace('_', " ")
}
