//! A manifest, as `billet apply` and `billet machine enroll` read it.

use billet_cli::manifest::read;

use super::directory;

/// Reads it: either nothing is wrong, or each thing that is has its line and no secret in it.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let variable = |name: &str| (name == "BMC_PASSWORD").then(|| "from-the-environment".to_owned());
    // Where its files would lie: there are none.
    let empty = directory();
    let read = || read(text, empty.path(), &variable);
    let parsed: Result<toml::Table, _> = text.parse();
    match read() {
        Ok(manifest) => {
            assert!(parsed.is_ok(), "read what is not TOML");
            assert_eq!(
                format!("{manifest:?}"),
                format!("{:?}", read().expect("again"))
            );
        }
        Err(troubles) => {
            assert!(!troubles.is_empty());
            assert_eq!(read().expect_err("again"), troubles);
            let lines = text.lines().count().max(1) + 1;
            for trouble in &troubles {
                assert!((1..=lines).contains(&trouble.line), "{trouble}");
                assert!(!trouble.text.is_empty());
            }
            for secret in parsed.iter().flat_map(passwords) {
                let shown = troubles.iter().any(|t| t.text.contains(&secret));
                let alone = text.matches(&secret).count() == 1;
                assert!(!shown || !alone || secret.len() < 8, "a password is shown");
            }
        }
    }
}

/// The BMCs' passwords.
fn passwords(table: &toml::Table) -> Vec<String> {
    ["machine", "machines"]
        .iter()
        .filter_map(|key| table.get(*key)?.as_array())
        .flatten()
        .filter_map(|machine| machine.get("bmc")?.get("password")?.as_str())
        .map(str::to_owned)
        .collect()
}
