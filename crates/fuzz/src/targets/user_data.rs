//! What a tenant hands to cloud-init.

use billet_control::check_user_data;
use serde_json::Value;

/// Looks at it; what is taken for a configuration says the same when it is written anew.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match check_user_data(text) {
        Err(refusal) => {
            assert!(!refusal.detail.is_empty());
            assert!(refusal.detail.len() < 2000, "{}", refusal.detail.len());
            assert_eq!(refusal.field.as_deref(), Some("user_data"));
        }
        Ok(()) => {
            let first = text.lines().next().unwrap_or_default();
            if first.trim_end().eq_ignore_ascii_case("#cloud-config") {
                let value: Value = serde_saphyr::from_str(text).expect("it was YAML");
                let anew = format!("#cloud-config\n{value}\n");
                let back: Value = serde_saphyr::from_str(&anew).expect("JSON is YAML");
                assert_eq!(back, value);
                // What is written anew may be longer than is allowed.
                if let Err(refusal) = check_user_data(&anew) {
                    assert!(anew.len() > 64 * 1024, "{}", refusal.detail);
                }
            }
        }
    }
}
