//! Results to stdout, as a table for people or as the API's JSON for programs; the rest to stderr.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// In which form results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables, short times, humane sizes.
    #[default]
    Table,
    /// The API's own bodies: RFC 3339 times, bytes, full ids.
    Json,
}

/// Where and how to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// In which form.
    pub format: Format,
    /// Say nothing but results and errors.
    pub quiet: bool,
}

/// Writes a line to stderr, whatever comes of it.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes to stdout. A reader that went away (`billet … | head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::silent(0)),
        Err(error) => Err(Failure::failed(format!("writing to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Whether somebody watches stderr.
pub fn watched() -> bool {
    std::io::stderr().is_terminal()
}

impl Output {
    /// Prints a result.
    pub fn result<T: Serialize + ?Sized>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(value)
                    .map_err(|error| Failure::failed(format!("writing JSON: {error}")))?;
                print(&format!("{text}\n"))
            }
            Format::Table => {
                let text = table(value);
                print(&format!("{}\n", text.trim_end()))
            }
        }
    }

    /// Says something beside the result, unless quiet.
    pub fn note(&self, line: impl AsRef<str>) {
        if !self.quiet {
            say(line.as_ref());
        }
    }
}

/// A list as a table; a column whose head ends in `#` is aligned to the right.
pub fn list<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.map(|head| Cell::new(head.trim_end_matches('#').to_uppercase())));
    let mut any = false;
    for row in rows {
        any = true;
        table.add_row(row.map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        }));
    }
    if !any {
        return "none".to_owned();
    }
    for (position, head) in heads.iter().enumerate() {
        if let Some(column) = table.column_mut(position) {
            column.set_padding((0, 2));
            if head.ends_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    trim_lines(&table.to_string())
}

/// One thing as lines of `name  value`; a row without a value is left out, a further line of a
/// value stands under the first.
pub fn card<'n>(rows: impl IntoIterator<Item = (&'n str, String)>) -> String {
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        for (number, line) in value.lines().enumerate() {
            let name = if number == 0 { name } else { "" };
            text.push_str(format!("{name:width$}  {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

fn trim_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// An option as text, empty where there is nothing.
pub fn maybe<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
