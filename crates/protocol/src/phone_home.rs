//! cloud-init's phone-home: a form that a tenant's machine posts once.

use serde::{Deserialize, Serialize};

/// Path that the machine posts to, with its single-use token at the end.
pub const PATH: &str = "/phone-home/v1/";

/// The form, as cloud-init's `phone_home` module sends it. Keys that an image
/// does not have are absent or `N/A`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhoneHome {
    /// RSA host key.
    pub pub_key_rsa: Option<String>,
    /// ECDSA host key.
    pub pub_key_ecdsa: Option<String>,
    /// Ed25519 host key.
    pub pub_key_ed25519: Option<String>,
    /// The instance id of the seed: the lease's id.
    pub instance_id: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Full name.
    pub fqdn: Option<String>,
    /// What came of the file systems beside the root's: `ok`, or what went wrong.
    /// In the address and not in the form, which is cloud-init's own.
    #[serde(skip)]
    pub drives: Option<String>,
}

impl PhoneHome {
    /// The host keys that are keys, each as one line without its comment.
    pub fn host_keys(&self) -> Vec<String> {
        [
            &self.pub_key_ed25519,
            &self.pub_key_ecdsa,
            &self.pub_key_rsa,
        ]
        .into_iter()
        .flatten()
        .filter_map(|key| {
            let mut words = key.split_ascii_whitespace();
            let (kind, body) = (words.next()?, words.next()?);
            let plain = |c: char| c.is_ascii_alphanumeric() || "+/=-@.".contains(c);
            let looks = (kind.starts_with("ssh-") || kind.starts_with("ecdsa-"))
                && body.len() < 4096
                && kind.chars().chain(body.chars()).all(plain);
            looks.then(|| format!("{kind} {body}"))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_are_taken_for_keys() {
        let form = PhoneHome {
            pub_key_rsa: Some("N/A".into()),
            pub_key_ecdsa: Some("ecdsa-sha2-nistp256 AAAA= root@x\nssh-rsa B".into()),
            pub_key_ed25519: Some("ssh-ed25519 AAAAC3Nz root@machine".into()),
            ..PhoneHome::default()
        };
        assert_eq!(
            form.host_keys(),
            ["ssh-ed25519 AAAAC3Nz", "ecdsa-sha2-nistp256 AAAA="]
        );
    }
}
