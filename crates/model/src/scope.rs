//! What a token is cut down to, beside what its rights are.
//!
//! An area is the first part of a path: `leases` of `/v1/leases/…`. So an
//! endpoint that is added later falls into an area by itself, and a token that
//! is cut down to others does not reach it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing that a token may do: `read` (everything that its rights cover),
/// `AREA:read`, or `AREA:write`, which reads too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenScope {
    area: Option<String>,
    write: bool,
}

/// What is wrong with a text that was meant as a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a scope: write `read`, or an area with what to do there, as `leases:write`")]
pub struct InvalidScope(String);

impl TokenScope {
    /// The area; `None` is all of them.
    pub fn area(&self) -> Option<&str> {
        self.area.as_deref()
    }

    /// Whether it lets a request through that reads or `writes` in `area`.
    pub fn allows(&self, area: &str, writes: bool) -> bool {
        self.area().is_none_or(|own| own == area) && (self.write || !writes)
    }

    /// Whether everything that `other` lets through is let through by this.
    pub fn covers(&self, other: &Self) -> bool {
        match other.area() {
            Some(area) => self.allows(area, other.write),
            None => self.area.is_none(),
        }
    }
}

impl fmt::Display for TokenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.write { "write" } else { "read" };
        match &self.area {
            Some(area) => write!(f, "{area}:{verb}"),
            None => f.write_str(verb),
        }
    }
}

impl FromStr for TokenScope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let invalid = || InvalidScope(text.chars().take(64).collect());
        let Some((area, verb)) = text.split_once(':') else {
            return (text == "read")
                .then_some(Self {
                    area: None,
                    write: false,
                })
                .ok_or_else(invalid);
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
        let write = match verb {
            "read" => false,
            "write" => true,
            _ => return Err(invalid()),
        };
        if area.is_empty() || area.len() > 63 || !area.bytes().all(plain) {
            return Err(invalid());
        }
        Ok(Self {
            area: Some(area.to_owned()),
            write,
        })
    }
}

impl Serialize for TokenScope {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenScope {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for TokenScope {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^(read|[a-z-]+:(read|write))$"))
            .description(Some(
                "`read`, or an area (the first part of a path) with what to do there, as \
                 `leases:write`",
            ))
            .into()
    }
}

impl utoipa::ToSchema for TokenScope {}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> TokenScope {
        text.parse().expect("a scope")
    }

    #[test]
    fn a_scope_lets_through_what_it_says() {
        for (text, area, writes, lets) in [
            ("read", "leases", false, true),
            ("read", "leases", true, false),
            ("leases:read", "leases", false, true),
            ("leases:read", "leases", true, false),
            ("leases:write", "leases", true, true),
            ("leases:write", "leases", false, true),
            ("leases:write", "images", false, false),
        ] {
            assert_eq!(
                scope(text).allows(area, writes),
                lets,
                "{text} {area} {writes}"
            );
            assert_eq!(scope(text).to_string(), text);
        }
        for text in [
            "",
            "write",
            "leases",
            "leases:",
            ":read",
            "leases:all",
            "Leases:read",
        ] {
            assert!(text.parse::<TokenScope>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn nothing_covers_more_than_itself() {
        assert!(scope("read").covers(&scope("leases:read")));
        assert!(scope("leases:write").covers(&scope("leases:read")));
        assert!(!scope("leases:read").covers(&scope("read")));
        assert!(!scope("read").covers(&scope("leases:write")));
        assert!(!scope("leases:write").covers(&scope("images:read")));
    }
}
