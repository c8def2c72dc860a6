//! What a tenant hands to cloud-init, looked at before a machine is touched: a
//! mistake in it would show only at the end of a deployment, and on a console.

use serde_json::Value;

use crate::{Refusal, RefusalKind};

/// Most bytes of user data.
const MOST: usize = 64 * 1024;

/// How a piece of user data may begin, beside `#cloud-config`. See
/// <https://docs.cloud-init.io/en/latest/explanation/format.html>.
const BEGINNINGS: &[&str] = &[
    "#!",
    "#include",
    "#cloud-boothook",
    "#cloud-config-archive",
    "#cloud-config-jsonp",
    "#part-handler",
    "## template:",
    "content-type:",
    "mime-version:",
];

/// Whether it is small enough, whoever reads it.
///
/// # Errors
/// When it is too big.
pub(crate) fn check_size(data: Option<&str>) -> Result<(), Refusal> {
    let bytes = data.map_or(0, str::len);
    if bytes <= MOST {
        return Ok(());
    }
    Err(Refusal {
        kind: RefusalKind::TooLarge,
        detail: format!("user data is {bytes} bytes, and may be {MOST}: have it fetch the rest"),
        field: Some("user_data".into()),
    })
}

/// Whether cloud-init will take it, and whether the machine can still say that
/// its first boot is done.
///
/// # Errors
/// When it is too big, not of a kind that cloud-init knows, not YAML where it
/// says that it is, or switches off what Billet needs.
pub fn check(data: &str) -> Result<(), Refusal> {
    check_size(Some(data))?;
    let first = data.lines().next().unwrap_or_default().to_ascii_lowercase();
    if first.trim_end() != "#cloud-config" {
        return match BEGINNINGS.iter().any(|kind| first.starts_with(kind)) {
            true => Ok(()),
            false => Err(invalid(format!(
                "user data begins with {:?}, which cloud-init passes over: the first line says what it is, as `#cloud-config` or `#!/bin/sh`",
                first.chars().take(40).collect::<String>()
            ))),
        };
    }
    let value: Value = serde_saphyr::from_str(data).map_err(|e| {
        invalid(format!(
            "user data is not YAML: {}",
            one_line(&e.to_string())
        ))
    })?;
    match &value {
        Value::Null => Ok(()),
        Value::Object(map) => {
            let vendor = map.get("vendor_data").and_then(|v| v.get("enabled"));
            match vendor {
                // cloud-init takes other words and numbers for a no.
                Some(value) if *value != Value::Bool(true) => Err(invalid(
                    "user data switches vendor_data off, which is what says that the first boot is done: leave it on, nothing of it stays".into(),
                )),
                _ => Ok(()),
            }
        }
        _ => Err(invalid(
            "user data says that it is #cloud-config, and is not a mapping of keys to values"
                .into(),
        )),
    }
}

fn invalid(detail: String) -> Refusal {
    Refusal::invalid("user_data", detail)
}

/// The first line of what a parser says; the rest draws the place.
fn one_line(said: &str) -> &str {
    let line = said.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cloud_init_would_take_is_taken() {
        for good in [
            "#cloud-config\n",
            "#cloud-config\n{}\n",
            "#cloud-config\nbootcmd:\n  - echo mine\nphone_home:\n  url: https://example.com\n",
            "#cloud-config\nwrite_files:\n- path: /x\n  permissions: 0o644\n  content: |\n    a: b\n",
            "#cloud-config\nvendor_data: {enabled: true}\n",
            "#!/bin/sh\necho {\n",
            "Content-Type: multipart/mixed; boundary=\"x\"\n",
            "## template: jinja\n#cloud-config\n{% if a %}\n",
        ] {
            check(good).unwrap_or_else(|e| panic!("{good:?}: {}", e.detail));
        }
    }

    #[test]
    fn a_mistake_is_named() {
        for (bad, word) in [
            ("runcmd:\n - echo\n", "#cloud-config"),
            ("", "#cloud-config"),
            ("#cloud-config\nruncmd: [a\nb: }\n", "not YAML"),
            ("#cloud-config\nruncmd:\n\t- echo\n", "not YAML"),
            ("#cloud-config\n- a\n", "not a mapping"),
            (
                "#cloud-config\nvendor_data: {enabled: false}\n",
                "vendor_data",
            ),
            (
                "#cloud-config\nvendor_data: {enabled: '0'}\n",
                "vendor_data",
            ),
        ] {
            let refusal = check(bad).expect_err(bad);
            assert!(refusal.detail.contains(word), "{bad:?}: {}", refusal.detail);
        }
        let big = format!("#cloud-config\n#{}", "x".repeat(MOST));
        assert!(matches!(
            check(&big).expect_err("big").kind,
            RefusalKind::TooLarge
        ));
    }
}
