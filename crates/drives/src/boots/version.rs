//! Comparing versions as the UAPI group's version format says, which boot
//! loaders sort by (<https://uapi-group.org/specifications/specs/version_format_specification/>).

use std::cmp::Ordering;

/// Which of two versions is the newer.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip_odd(a);
        b = skip_odd(b);
        // Before everything, even the end: what comes before a release.
        if let Some(order) = sign(&mut a, &mut b, b'~') {
            return order;
        }
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        for byte in [b'-', b'^', b'.'] {
            if let Some(order) = sign(&mut a, &mut b, byte) {
                return order;
            }
        }
        let digits = |s: &[u8]| s.first().is_some_and(u8::is_ascii_digit);
        let order = if digits(a) || digits(b) {
            let (x, y) = (
                take(&mut a, u8::is_ascii_digit),
                take(&mut b, u8::is_ascii_digit),
            );
            let (x, y) = (number(x), number(y));
            // None of either is less than any number.
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            take(&mut a, u8::is_ascii_alphabetic).cmp(take(&mut b, u8::is_ascii_alphabetic))
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn skip_odd(bytes: &[u8]) -> &[u8] {
    let known = |b: &u8| b.is_ascii_alphanumeric() || b"~-^.".contains(b);
    let at = bytes.iter().position(known).unwrap_or(bytes.len());
    &bytes[at..]
}

/// Who has this sign is the less; both have it: on with what follows.
fn sign(a: &mut &[u8], b: &mut &[u8], sign: u8) -> Option<Ordering> {
    match (a.first() == Some(&sign), b.first() == Some(&sign)) {
        (true, true) => {
            *a = &a[1..];
            *b = &b[1..];
            None
        }
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (false, false) => None,
    }
}

fn take<'a>(bytes: &mut &'a [u8], is: fn(&u8) -> bool) -> &'a [u8] {
    let end = bytes.iter().position(|b| !is(b)).unwrap_or(bytes.len());
    let (taken, rest) = bytes.split_at(end);
    *bytes = rest;
    taken
}

fn number(digits: &[u8]) -> &[u8] {
    let at = digits.iter().position(|b| *b != b'0');
    match at {
        Some(at) => &digits[at..],
        // A zero is a number all the same.
        None => &digits[digits.len().saturating_sub(1)..],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification's own examples.
    #[test]
    fn versions_compare_as_the_specification_says() {
        for (a, order, b) in [
            ("11", Ordering::Equal, "11"),
            ("systemd-123", Ordering::Equal, "systemd-123"),
            ("bar-123", Ordering::Less, "foo-123"),
            ("123a", Ordering::Greater, "123"),
            ("123.a", Ordering::Greater, "123"),
            ("123.a", Ordering::Less, "123.b"),
            ("123a", Ordering::Greater, "123.a"),
            ("11α", Ordering::Equal, "11β"),
            ("A", Ordering::Less, "a"),
            ("", Ordering::Less, "0"),
            ("0.", Ordering::Greater, "0"),
            ("0.0", Ordering::Greater, "0"),
            ("0", Ordering::Greater, "~"),
            ("", Ordering::Greater, "~"),
            ("1_", Ordering::Equal, "1"),
            ("1_2", Ordering::Greater, "1.3"),
            ("6.1.0-10-amd64", Ordering::Greater, "6.1.0-9-amd64"),
            ("007", Ordering::Equal, "7"),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[0-9a-c.~^_-]{0,8}", b in "[0-9a-c.~^_-]{0,8}", c in "[0-9a-c.~^_-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
                prop_assert_ne!(compare(&a, &c), Ordering::Greater);
            }
        }
    }
}
