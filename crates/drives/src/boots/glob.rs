//! Shell patterns, as a boot loader's configuration names its default by.

/// Whether the whole text matches: `*`, `?` and `[..]`, upper and lower case alike.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    // Which beginnings of the text the pattern so far may stand for.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; text.len() + 1];
        match pattern[at] {
            '*' => {
                let first = reached.iter().position(|r| *r).unwrap_or(next.len());
                next[first..].fill(true);
                at += 1;
            }
            one => {
                let (is, length) = one_of(one, &pattern[at + 1..]);
                for (n, c) in text.iter().enumerate() {
                    next[n + 1] = reached[n] && is(*c);
                }
                at += 1 + length;
            }
        }
        reached = next;
    }
    reached[text.len()]
}

/// What one character of the text may be, and how much more of the pattern says so.
fn one_of(one: char, rest: &[char]) -> (Box<dyn Fn(char) -> bool + '_>, usize) {
    match (one, rest.iter().position(|c| *c == ']')) {
        ('?', _) => (Box::new(|_| true), 0),
        ('[', Some(end)) if end > 0 => {
            let (not, class) = match rest[0] {
                '!' | '^' => (true, &rest[1..end]),
                _ => (false, &rest[..end]),
            };
            (Box::new(move |c| in_class(class, c) != not), end + 1)
        }
        _ => (Box::new(move |c| c == one), 0),
    }
}

fn in_class(class: &[char], c: char) -> bool {
    match class {
        [low, '-', high, rest @ ..] => (low..=high).contains(&&c) || in_class(rest, c),
        [one, rest @ ..] => *one == c || in_class(rest, c),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_all_of_a_name() {
        for (pattern, text, expected) in [
            ("debian-*", "Debian-6.1.conf", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.old", false),
            ("arch-?.conf", "arch-1.conf", true),
            ("arch-[0-4].conf", "arch-5.conf", false),
            ("arch-[!5].conf", "arch-4.conf", true),
            ("[", "[", true),
            ("", "", true),
            ("**a**", "bab", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let long = "*a".repeat(40);
        assert!(!matches(&long, &"a".repeat(39)), "and it takes no time");
    }
}
