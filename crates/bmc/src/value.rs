//! Reading JSON that does not keep to its schema.
//!
//! A missing field, a null, an empty text and "N/A" all mean the same: not said.

use std::sync::Arc;

use serde_json::Value;

/// One resource as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// Where it was read.
    pub path: String,
    /// Its ETag, from the header or the body.
    pub etag: Option<String>,
    /// What it says. Shared: it can be large, and is looked at from several sides.
    pub body: Arc<Value>,
}

impl Resource {
    /// The path of a link given by this resource, by JSON pointer.
    pub fn link(&self, pointer: &str) -> Option<String> {
        crate::link::target(&self.path, at(&self.body, pointer)?)
    }

    /// The paths in a list of links given by this resource.
    pub fn links(&self, pointer: &str) -> Vec<String> {
        list(&self.body, pointer)
            .iter()
            .filter_map(|v| crate::link::target(&self.path, v))
            .collect()
    }

    /// Text by JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<String> {
        text(&self.body, pointer)
    }

    /// Its `Id`, or the last part of its path.
    pub fn id(&self) -> String {
        self.text("/Id").unwrap_or_else(|| {
            let path = self.path.trim_end_matches('/');
            path.rsplit('/').next().unwrap_or_default().to_owned()
        })
    }

    /// Whether it says of itself that it is not there.
    pub fn absent(&self) -> bool {
        absent(&self.body)
    }
}

/// Whether an object's status says that the thing is not there.
pub(crate) fn absent(value: &Value) -> bool {
    text(value, "/Status/State").is_some_and(|s| s.eq_ignore_ascii_case("absent"))
}

/// What stands at a JSON pointer that has no escapes in it: a discovery looks at
/// thousands, and `Value::pointer` copies each word of each.
pub(crate) fn at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.is_empty() {
        return Some(value);
    }
    let words = pointer.strip_prefix('/')?.split('/');
    words
        .into_iter()
        .try_fold(value, |value, word| match value {
            Value::Object(map) => map.get(word),
            Value::Array(list) => list.get(word.parse::<usize>().ok()?),
            _ => None,
        })
}

/// Text that says something. Numbers count as text too.
pub(crate) fn text(value: &Value, pointer: &str) -> Option<String> {
    let text = match at(value, pointer)? {
        Value::String(s) => s,
        Value::Number(n) => return Some(n.to_string()),
        _ => return None,
    };
    // Some pad with NUL, which PostgreSQL takes in no text.
    let clean = text.contains(char::is_control);
    let clean = clean.then(|| text.replace(char::is_control, ""));
    let text = clean.as_deref().unwrap_or(text).trim();
    let nothing = ["", "n/a", "null", "none", "not available", "unknown"];
    let empty = nothing.iter().any(|n| text.eq_ignore_ascii_case(n));
    (!empty).then(|| text.to_owned())
}

/// A whole number, also where it comes as text or as a float.
pub(crate) fn whole(value: &Value, pointer: &str) -> Option<u64> {
    match at(value, pointer)? {
        Value::Number(n) => n.as_u64().or_else(|| {
            let f = n.as_f64()?;
            (f >= 0.0 && f < u64::MAX as f64).then_some(f as u64)
        }),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

/// The same, where 32 bits are plenty.
pub(crate) fn small(value: &Value, pointer: &str) -> Option<u32> {
    whole(value, pointer).and_then(|n| u32::try_from(n).ok())
}

/// A measured number.
pub(crate) fn real(value: &Value, pointer: &str) -> Option<f64> {
    match at(value, pointer)? {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
    .filter(|f| f.is_finite())
}

/// Yes or no, also as text.
pub(crate) fn yes(value: &Value, pointer: &str) -> Option<bool> {
    match at(value, pointer)? {
        Value::Bool(b) => Some(*b),
        Value::String(s) if s.eq_ignore_ascii_case("true") => Some(true),
        Value::String(s) if s.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A list; a missing one, a null and anything else are an empty one.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A list of texts.
pub(crate) fn texts(value: &Value, pointer: &str) -> Vec<String> {
    list(value, pointer)
        .iter()
        .filter_map(|v| text(v, ""))
        .collect()
}

/// A MAC in lower case with colons; `None` for anything that is none (an
/// InfiniBand GUID, zeroes).
pub(crate) fn mac(raw: &str) -> Option<String> {
    let digits: String = raw
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .collect::<String>()
        .to_ascii_lowercase();
    let valid = digits.len() == 12
        && digits.chars().all(|c| c.is_ascii_hexdigit())
        && digits.chars().any(|c| c != '0');
    valid.then(|| {
        let pairs: Vec<&str> = (0..6).map(|i| &digits[i * 2..i * 2 + 2]).collect();
        pairs.join(":")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_said_is_none() {
        let v = json!({"a": "", "b": null, "c": "N/A", "d": " x ", "e": 7, "f": "12", "g": 3.0, "h": " S1\u{0}\u{0} "});
        for (key, expected) in [
            ("/a", None),
            ("/b", None),
            ("/c", None),
            ("/z", None),
            ("/d", Some("x")),
            ("/e", Some("7")),
            ("/h", Some("S1")),
        ] {
            assert_eq!(text(&v, key).as_deref(), expected, "{key}");
        }
        assert_eq!(whole(&v, "/f"), Some(12));
        assert_eq!(whole(&v, "/g"), Some(3));
        assert_eq!(whole(&v, "/d"), None);
        assert!(list(&v, "/b").is_empty());
        let deep = json!({"a": [{"#b.C": 1}], "": 2});
        for pointer in [
            "",
            "/a",
            "/a/0/#b.C",
            "/a/1",
            "/a/x",
            "/b",
            "/",
            "/a/0/#b.C/d",
            "a",
        ] {
            assert_eq!(at(&deep, pointer), deep.pointer(pointer), "{pointer:?}");
        }
    }

    #[test]
    fn macs_as_they_come() {
        for (raw, expected) in [
            ("70:B5:E8:F0:52:DC", Some("70:b5:e8:f0:52:dc")),
            ("00620B4C284E", Some("00:62:0b:4c:28:4e")),
            ("88e9:a4ff:ff87:42c8", None),
            ("00:00:00:00:00:00", None),
            ("", None),
            ("not a mac at all", None),
        ] {
            assert_eq!(mac(raw).as_deref(), expected, "{raw:?}");
        }
    }
}
