//! Looking for text in lines: literally, or by a regular expression in time that
//! grows with the text alone.

use regex::{Regex, RegexBuilder};

/// Bytes of a pattern, at most.
const LONGEST: usize = 1024;
/// Bytes that a pattern may come to when compiled.
const COMPILED: usize = 1 << 20;

/// Why a pattern cannot be looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(String);

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Matcher {
    regex: Regex,
}

impl Matcher {
    /// Looks for `pattern`, taken literally or as a regular expression.
    ///
    /// # Errors
    /// When it is empty, too long, or no regular expression.
    pub fn new(pattern: &str, is_regex: bool, any_case: bool) -> Result<Self, InvalidPattern> {
        if pattern.is_empty() || pattern.len() > LONGEST {
            return Err(InvalidPattern(format!(
                "a pattern has 1 to {LONGEST} bytes"
            )));
        }
        let text = if is_regex {
            pattern.to_owned()
        } else {
            regex::escape(pattern)
        };
        let regex = RegexBuilder::new(&text)
            .case_insensitive(any_case)
            .size_limit(COMPILED)
            .dfa_size_limit(COMPILED)
            .build()
            .map_err(|error| InvalidPattern(error.to_string()))?;
        Ok(Self { regex })
    }

    /// Whether it is in a line.
    pub fn matches(&self, line: &str) -> bool {
        self.regex.is_match(line)
    }
}

#[cfg(test)]
mod tests {
    use super::Matcher;

    #[test]
    fn patterns() {
        let is = |pattern, regex, case, line| {
            Matcher::new(pattern, regex, case).is_ok_and(|m| m.matches(line))
        };
        assert!(is("a.c", false, false, "xa.cx"));
        assert!(!is("a.c", false, false, "abc"));
        assert!(is("a.c", true, false, "abc"));
        assert!(is("PANIC", false, true, "Kernel panic"));
        assert!(!is("PANIC", false, false, "Kernel panic"));
        // What sends other engines to sleep.
        assert!(!is("(a*)*$b", true, false, &"a".repeat(8000)));
        for bad in ["", "(", &"x".repeat(2000), "(a{1000}){1000}"] {
            assert!(Matcher::new(bad, true, false).is_err(), "{bad}");
        }
    }
}
