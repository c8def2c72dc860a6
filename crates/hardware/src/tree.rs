//! A directory tree to read from: `/` on a machine, a recording in tests.
//!
//! Reading is forgiving: what is missing, unreadable or empty is `None`.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The root of what is read.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// A tree that begins at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `path` (without a leading slash) lies.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.path(path)).ok()
    }

    /// The text of a file without white space around it; empty is `None`.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The text of a file, parsed.
    pub fn value<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The names in a directory, in order; numbers within names count as numbers.
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_by_cached_key(|name| natural(name));
        names
    }

    /// Whether there is something at `path`.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The last part of where a link points.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// Where `path` really lies, relative to the root.
    pub fn real(&self, path: &str) -> Option<String> {
        let root = fs::canonicalize(&self.root).ok()?;
        let real = fs::canonicalize(self.path(path)).ok()?;
        let inside: &Path = real.strip_prefix(&root).ok()?;
        inside.to_str().map(str::to_owned)
    }
}

/// Splits a name into text and numbers, so that `cpu10` comes after `cpu9`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (text, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((text.to_owned(), number.parse().unwrap_or(0)));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = vec!["cpu10", "cpu9", "cpu", "0000:81:00.0", "0000:08:00.0"];
        names.sort_by_cached_key(|n| natural(n));
        assert_eq!(
            names,
            ["0000:08:00.0", "0000:81:00.0", "cpu", "cpu9", "cpu10"]
        );
    }
}
