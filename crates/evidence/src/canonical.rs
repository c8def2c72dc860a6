//! One byte sequence for one value: JSON with sorted keys and nothing left to taste.
//!
//! The rules are those of RFC 8785 for the values that Billet logs: null, booleans, strings,
//! integers, arrays and objects. Keys are sorted by their UTF-16 code units, nothing is put between
//! tokens, and strings are escaped only where JSON demands it. Two things differ: fractions are
//! refused, because their spelling depends on who prints them, and integers keep all of their 64
//! bits, where RFC 8785 would round them to a double.

use serde::Serialize;
use serde_json::Value;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The value holds a number with a fraction or an exponent, or one beyond 64 bits.
    #[error("writing canonical JSON: {number} is not a 64-bit integer")]
    NotAnInteger {
        /// The number as JSON spells it.
        number: String,
    },
    /// The value cannot be said in JSON at all, such as a map with keys that are not strings.
    #[error("writing canonical JSON: the value cannot be turned into JSON")]
    NotJson(#[source] serde_json::Error),
}

/// The canonical bytes of `value`: equal values give equal bytes, in every version of Billet.
///
/// # Errors
/// When the value is not JSON, or holds a number that is not a 64-bit integer.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(CanonicalError::NotJson)?;
    let mut out = Vec::new();
    write(&value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::Number(number) => {
            return Err(CanonicalError::NotAnInteger {
                number: number.to_string(),
            });
        }
        Value::String(text) => write_string(text, out)?,
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (position, (key, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_string(key, out)?;
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// serde_json escapes exactly what RFC 8785 asks for, with the same short forms.
fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    serde_json::to_writer(out, text).map_err(CanonicalError::NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value, expected: &str) {
        let bytes = to_vec(&value).expect("canonical");
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), expected);
    }

    #[test]
    fn values_have_one_spelling() {
        check(
            json!({"b": 1, "a": [true, null, -3]}),
            r#"{"a":[true,null,-3],"b":1}"#,
        );
        check(json!({"a": {}, "": []}), r#"{"":[],"a":{}}"#);
        check(json!(u64::MAX), "18446744073709551615");
        check(json!(i64::MIN), "-9223372036854775808");
        check(
            json!("\u{8}\u{c}\n\r\t\u{1}\u{7f}\"\\/é€"),
            "\"\\b\\f\\n\\r\\t\\u0001\u{7f}\\\"\\\\/é€\"",
        );
    }

    /// The example of RFC 8785, section 3.2.3: surrogates sort before the private use area.
    #[test]
    fn keys_sort_by_utf16() {
        check(
            json!({"\u{20ac}": 1, "\r": 2, "\u{fb33}": 3, "1": 4, "\u{1f600}": 5, "\u{80}": 6, "\u{f6}": 7}),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"\u{f6}\":7,\"\u{20ac}\":1,\"\u{1f600}\":5,\"\u{fb33}\":3}",
        );
    }

    #[test]
    fn fractions_are_refused() {
        assert!(matches!(
            to_vec(&json!({"load": 0.5})),
            Err(CanonicalError::NotAnInteger { .. })
        ));
        assert!(matches!(
            to_vec(&json!([1.0])),
            Err(CanonicalError::NotAnInteger { .. })
        ));
    }
}
