//! SSH public keys, as people give them: a key, a file, or nothing.

use std::path::{Path, PathBuf};

use billet_model::ssh_key;

use crate::failure::Failure;

/// The keys in what was given: the text of one, or a file with one a line.
pub fn keys(given: &str) -> Result<Vec<String>, Failure> {
    if is_meant_as_key(given) {
        let key = given.trim();
        let start: String = key.chars().take(24).collect();
        return match ssh_key::check(key) {
            Ok(()) => Ok(vec![key.to_owned()]),
            Err(why) => Err(Failure::usage(format!("the key {start:?}… {why}"))),
        };
    }
    let path = Path::new(given);
    let text = crate::bounded::text(path, crate::bounded::SMALL).map_err(|error| {
        Failure::usage(format!(
            "{given:?} is neither an SSH public key nor a file with one: {error}"
        ))
        .hint("give a file such as ~/.ssh/id_ed25519.pub, or what is in it")
    })?;
    if text.contains("PRIVATE KEY") {
        let public = format!("{given}.pub");
        return Err(Failure::usage(format!(
            "{given} is a private key, which nobody should be given; nothing was sent"
        ))
        .hint(format!("its public key is usually in {public}")));
    }
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(why) = ssh_key::check(line) {
            return Err(Failure::usage(format!(
                "line {} of {given} {why}",
                number + 1
            )));
        }
        keys.push(line.to_owned());
    }
    if keys.is_empty() {
        return Err(Failure::usage(format!(
            "there is no SSH public key in {given}"
        )));
    }
    Ok(keys)
}

/// The key that is meant where none was given: that of the one `.pub` file in `directory`.
pub fn default_keys(directory: &Path) -> Result<(PathBuf, Vec<String>), Failure> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .collect();
    files.sort();
    match files.as_slice() {
        [file] => {
            let keys = keys(&file.to_string_lossy())?;
            Ok((file.clone(), keys))
        }
        [] => Err(Failure::usage(format!(
            "there is no SSH public key in {}",
            directory.display()
        ))
        .hint("give one with --ssh-key, make one with `ssh-keygen`, or say --no-ssh-key")),
        several => {
            let names: Vec<String> = several.iter().map(|f| f.display().to_string()).collect();
            Err(Failure::usage(format!(
                "there are several SSH public keys: {}",
                names.join(", ")
            ))
            .hint("say which with --ssh-key; it may be repeated"))
        }
    }
}

/// Whether it is a key, good or not, and no file's name.
fn is_meant_as_key(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let kind = words.next().is_some_and(|kind| {
        ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]
            .iter()
            .any(|start| kind.starts_with(start))
    });
    kind && words.next().is_some_and(|body| body.starts_with("AAAA"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz me@here";

    #[test]
    fn a_key_or_a_file_of_keys() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        assert_eq!(keys(KEY).expect("a key"), [KEY]);

        let sentence = |given: &str| keys(given).expect_err("no key").sentence;
        assert!(default_keys(directory.path()).is_err());
        write("id.pub", &format!("# mine\n\n{KEY}\n{KEY}\n"));
        assert_eq!(keys(&path("id.pub")).expect("keys"), [KEY, KEY]);
        assert_eq!(default_keys(directory.path()).expect("one").1.len(), 2);

        write("id", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        assert!(sentence(&path("id")).contains("private key, which nobody should be given"));
        write("junk.pub", "hello\n");
        assert!(sentence(&path("junk.pub")).starts_with("line 1 of "));
        write(
            "cut.pub",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbM me@here\n",
        );
        assert!(sentence(&path("cut.pub")).contains("is damaged"));
        assert!(sentence("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5").contains("is damaged"));
        assert!(sentence("/nowhere").contains("neither an SSH public key nor a file"));
        let several = default_keys(directory.path()).expect_err("two");
        assert!(several.sentence.contains("several SSH public keys"));
    }
}
