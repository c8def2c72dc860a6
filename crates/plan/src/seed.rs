//! cloud-init's NoCloud seed for a lease.

use std::fmt::Write as _;

use billet_model::{Secret, lease::Lease, site::Address, work::Seed};

/// What the seed needs beside the lease.
pub struct SeedFacts<'a> {
    /// The lease.
    pub lease: &'a Lease,
    /// The machine's addresses.
    pub addresses: &'a [Address],
    /// Where the machine phones home: a base URL.
    pub server: &'a str,
    /// The single-use token for that.
    pub token: &'a Secret,
    /// The control plane's authority, PEM.
    pub authority: &'a str,
}

/// Makes the seed. The tenant's user data stays as it is; what Billet needs is
/// vendor data, which cloud-init merges beneath it.
///
/// The authority is put under `/run` for the first boot alone, where the stage
/// that phones home finds it by its environment: the system's own trust is not
/// touched, and nothing of it is left after a reboot.
pub fn seed(facts: &SeedFacts<'_>) -> Seed {
    let lease = facts.lease;
    let hostname = lease
        .spec
        .hostname
        .clone()
        .unwrap_or_else(|| lease.name.to_string());
    let keys: Vec<&String> = lease.spec.ssh_keys.iter().collect();
    let meta_data = serde_json::json!({
        "instance-id": lease.id,
        "local-hostname": hostname,
        "public-keys": keys,
    });
    let trust = format!(
        "mkdir -p /run/billet /run/systemd/system/cloud-final.service.d\n\
         cat /etc/ssl/certs/ca-certificates.crt - > /run/billet/authorities.pem 2>/dev/null <<'EOF'\n{}\nEOF\n\
         printf '[Service]\\nEnvironment=REQUESTS_CA_BUNDLE=/run/billet/authorities.pem\\n' > /run/systemd/system/cloud-final.service.d/billet.conf\n\
         systemctl daemon-reload\n",
        facts.authority.trim()
    );
    let vendor = serde_json::json!({
        "disable_root": false,
        "users": [{ "name": "root", "ssh_authorized_keys": keys }],
        "bootcmd": [["cloud-init-per", "instance", "billet-trust", "sh", "-c", trust]],
        "growpart": { "mode": "auto", "devices": ["/"] },
        "resize_rootfs": true,
        "phone_home": {
            "url": format!(
                "{}/phone-home/v1/{}",
                facts.server.trim_end_matches('/'),
                facts.token.expose()
            ),
            "post": ["pub_key_rsa", "pub_key_ecdsa", "pub_key_ed25519", "instance_id", "hostname", "fqdn"],
            "tries": 20,
        },
    });
    Seed {
        meta_data: meta_data.to_string(),
        user_data: lease
            .spec
            .user_data
            .clone()
            .unwrap_or_else(|| "#cloud-config\n{}\n".to_owned()),
        vendor_data: format!("#cloud-config\n{vendor}\n"),
        network_config: network_config(facts.addresses),
    }
}

/// cloud-init's network-config, version 2.
fn network_config(addresses: &[Address]) -> String {
    let mut out = String::from("version: 2\nethernets:\n");
    if addresses.is_empty() {
        out.push_str("  all:\n    match: {name: \"en*\"}\n    dhcp4: true\n");
    }
    for (i, address) in addresses.iter().enumerate() {
        let _ = writeln!(out, "  billet{i}:");
        match &address.mac {
            Some(mac) => {
                let _ = writeln!(out, "    match: {{macaddress: \"{mac}\"}}");
            }
            None => out.push_str("    match: {name: \"en*\"}\n"),
        }
        let _ = writeln!(
            out,
            "    dhcp4: false\n    addresses: [\"{}/{}\"]",
            address.ip, address.prefix
        );
        if let Some(gateway) = address.gateway {
            let _ = writeln!(
                out,
                "    routes: [{{to: \"0.0.0.0/0\", via: \"{gateway}\"}}]"
            );
        }
        if !address.dns.is_empty() {
            let dns: Vec<String> = address.dns.iter().map(|d| format!("\"{d}\"")).collect();
            let _ = writeln!(out, "    nameservers: {{addresses: [{}]}}", dns.join(", "));
        }
    }
    out
}
