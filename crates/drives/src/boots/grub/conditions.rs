//! GRUB's `test`.

use super::{Grub, Volume};

impl<V: Volume> Grub<'_, V> {
    /// Whether the condition holds; one that cannot be read does not.
    pub(super) fn test(&self, name: &str, arguments: &[String]) -> bool {
        let arguments = match (name, arguments) {
            ("[", [inner @ .., last]) if last == "]" => inner,
            ("[", _) => return false,
            (_, all) => all,
        };
        // `-o` binds less than `-a`.
        arguments
            .split(|a| a == "-o")
            .any(|either| !either.is_empty() && either.split(|a| a == "-a").all(|e| self.one(e)))
    }

    fn one(&self, words: &[String]) -> bool {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["!", ref rest @ ..] => {
                let rest: Vec<String> = rest.iter().map(|w| (*w).to_owned()).collect();
                !self.one(&rest)
            }
            [a, "=" | "==", b] => a == b,
            [a, "!=", b] => a != b,
            [a, "<", b] => a < b,
            [a, ">", b] => a > b,
            [a, op @ ("-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge"), b] => numbers(a, op, b),
            ["-z", a] => a.is_empty(),
            ["-n", a] => !a.is_empty(),
            ["-e" | "-f", path] => self.bytes(path).is_some(),
            ["-s", path] => self.bytes(path).is_some_and(|bytes| bytes > 0),
            ["-d", path] => self.place(path).is_some_and(|(volume, path)| {
                self.volumes[volume]
                    .list(&path)
                    .is_ok_and(|names| !names.is_empty())
            }),
            [a] => !a.is_empty(),
            _ => false,
        }
    }

    fn bytes(&self, path: &str) -> Option<u64> {
        let (volume, path) = self.place(path)?;
        self.volumes[volume].size(&path).ok().flatten()
    }
}

fn numbers(a: &str, op: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<i64>(), b.parse::<i64>()) else {
        return false;
    };
    match op {
        "-eq" => a == b,
        "-ne" => a != b,
        "-lt" => a < b,
        "-le" => a <= b,
        "-gt" => a > b,
        _ => a >= b,
    }
}
