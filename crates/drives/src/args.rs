//! Arguments for the kernel: what may be one, and how a line gets them.

/// Characters that a shell or GRUB gives a meaning of its own.
const SPECIAL: &[char] = &[
    '"', '\'', '\\', '$', '`', ';', '{', '}', '<', '>', '|', '&', '#',
];

/// Why an argument cannot be passed on, if it cannot. `plain` where GRUB's
/// configuration, a script, has to carry it.
pub(crate) fn objection(arg: &str, plain: bool) -> Option<String> {
    if arg.is_empty() || arg.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some(format!(
            "kernel argument {arg:?} has white space in it, or nothing"
        ));
    }
    if plain && arg.contains(SPECIAL) {
        return Some(format!(
            "kernel argument {arg:?} has a character that GRUB gives a meaning of its own"
        ));
    }
    None
}

/// A command line with the arguments at its end, those already there left out.
pub(crate) fn extend(line: &str, args: &[String]) -> String {
    let mut line = line.trim_end().to_owned();
    for arg in args {
        if !line.split_whitespace().any(|word| word == arg) {
            line.push(' ');
            line.push_str(arg);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_added_once() {
        let args = ["a=1".to_owned(), "quiet".to_owned()];
        let once = extend("options root=UUID=1 quiet \n", &args);
        assert_eq!(once, "options root=UUID=1 quiet a=1");
        assert_eq!(extend(&once, &args), once);
    }

    #[test]
    fn what_would_break_a_line_is_refused() {
        for (arg, plain, bad) in [
            ("a=1", true, false),
            ("a b", false, true),
            ("a\nlinux /evil", false, true),
            ("", false, true),
            ("a=$(x)", true, true),
            ("a=$(x)", false, false),
        ] {
            assert_eq!(objection(arg, plain).is_some(), bad, "{arg:?}");
        }
    }
}
