//! cloud-init's NoCloud seed for a lease.

use std::fmt::Write as _;

use billet_model::{Secret, lease::Lease, site::Address, work::Seed};

use crate::file_systems;

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
    /// What [`about`] makes of the lease.
    pub about: &'a serde_json::Value,
}

/// What [`about`] needs beside the lease.
pub struct About<'a> {
    /// The lease.
    pub lease: &'a Lease,
    /// Its project's name.
    pub project: Option<&'a str>,
    /// Its site's name and jurisdiction.
    pub site: Option<(&'a str, &'a str)>,
}

/// What a machine is told of its lease: nothing that is not its tenant's own,
/// and nothing private. The same on the drive and over the network.
pub fn about(facts: &About<'_>) -> serde_json::Value {
    let lease = facts.lease;
    serde_json::json!({
        "lease_id": lease.id,
        "name": lease.name,
        "hostname": hostname(lease),
        "project": facts.project,
        "machine": lease.machine,
        "machine_type": lease.machine_type,
        "site": facts.site.map(|s| s.0),
        "jurisdiction": facts.site.map(|s| s.1),
        "image": lease.image,
        "tags": lease.tags,
        "ends_at": lease.ends_at,
        "public_keys": lease.spec.ssh_keys,
    })
}

fn hostname(lease: &Lease) -> String {
    let given = lease.spec.hostname.clone();
    given.unwrap_or_else(|| lease.name.to_string())
}

/// Makes the seed. The tenant's user data stays as it is; what Billet needs is
/// vendor data, which cloud-init merges beneath it.
///
/// cloud-init takes a tenant's `bootcmd` or `phone_home` in place of the
/// vendor's. So the phone-home is no key of the configuration but a hook of its
/// own beside it, which leaves a unit that runs the same module of cloud-init
/// once the last stage is over.
pub fn seed(facts: &SeedFacts<'_>) -> Seed {
    let lease = facts.lease;
    let hostname = hostname(lease);
    let keys: Vec<&String> = lease.spec.ssh_keys.iter().collect();
    let meta_data = serde_json::json!({
        "instance-id": lease.id,
        "local-hostname": hostname,
        "public-keys": keys,
        "billet": facts.about,
    });
    let vendor = serde_json::json!({
        "disable_root": false,
        "users": [{ "name": "root", "ssh_authorized_keys": keys }],
        "growpart": { "mode": "auto", "devices": ["/"] },
        "resize_rootfs": true,
    });
    let file_systems = file_systems::hook(lease);
    Seed {
        meta_data: meta_data.to_string(),
        user_data: lease
            .spec
            .user_data
            .clone()
            .unwrap_or_else(|| "#cloud-config\n{}\n".to_owned()),
        vendor_data: format!(
            "Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\
             MIME-Version: 1.0\n\n\
             --{BOUNDARY}\nContent-Type: text/cloud-config; charset=\"utf-8\"\n\n\
             #cloud-config\n{vendor}\n{}{}--{BOUNDARY}--\n",
            file_systems.map_or_else(String::new, |script| boothook(&script)),
            boothook(&hook(facts))
        ),
        network_config: network_config(facts.addresses),
    }
}

/// A part of the vendor data that each boot runs early, in the order of the parts.
fn boothook(script: &str) -> String {
    format!("--{BOUNDARY}\nContent-Type: text/cloud-boothook; charset=\"utf-8\"\n\n{script}\n")
}

/// Between the parts of the vendor data. Nothing in them can be taken for it:
/// keys are base64 and a comment on one line.
const BOUNDARY: &str = "==billet==";

/// What each boot runs early, and does something on the first alone.
///
/// The authority is under `/run`, where the module finds it by its environment:
/// the system's own trust is not touched. A stage of cloud-init cannot be given
/// an environment once it runs, and newer ones are all one process: so it is a
/// unit of its own, queued behind the last stage. What is left after the first
/// boot is an empty file among cloud-init's own. `CLOUD_CFG` goes before all
/// other configuration in every version; the option for that has moved.
const HOOK: &str = r#"#!/bin/sh
done=/var/lib/cloud/instance/sem/billet_phone_home
[ -e "$done" ] && exit 0
umask 077
mkdir -p /run/billet /run/systemd/system
cat >/run/billet/authority.pem <<'EOF'
{authority}
EOF
cat >/run/billet/phone-home.cfg <<'EOF'
{config}
EOF
{drives}cat >/run/systemd/system/billet-phone-home.service <<EOF
[Unit]
Description=Say once that the first boot is done
After=cloud-final.service network-online.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=REQUESTS_CA_BUNDLE=/run/billet/authority.pem
Environment=CLOUD_CFG=/run/billet/phone-home.cfg
ExecStart=/usr/bin/env cloud-init single --name phone_home --frequency always
ExecStart=/bin/touch $done
ExecStart=/bin/rm -rf /run/billet
EOF
systemctl daemon-reload
systemctl start --no-block billet-phone-home.service
"#;

/// How often the module tries, three seconds apart and more: past a control
/// plane that is away for an hour.
const TRIES: u32 = 1200;

/// Lets the phone-home say what came of the lease's file systems.
const DRIVES: &str = r#"sed -i "s/BILLET-DRIVES/$(cat {said} 2>/dev/null || echo unknown)/" /run/billet/phone-home.cfg
"#;

fn hook(facts: &SeedFacts<'_>) -> String {
    let layout = facts.lease.layout.as_ref();
    let has_arrays = layout.is_some_and(|l| !l.arrays.is_empty());
    let drives = if has_arrays {
        DRIVES.replace("{said}", file_systems::SAID)
    } else {
        String::new()
    };
    let config = serde_json::json!({
        "phone_home": {
            "url": format!(
                "{}/phone-home/v1/{}{}",
                facts.server.trim_end_matches('/'),
                facts.token.expose(),
                if has_arrays { "?drives=BILLET-DRIVES" } else { "" }
            ),
            "post": ["pub_key_rsa", "pub_key_ecdsa", "pub_key_ed25519", "instance_id", "hostname", "fqdn"],
            "tries": TRIES,
        },
    });
    HOOK.replace("{authority}", facts.authority.trim())
        .replace("{config}", &config.to_string())
        .replace("{drives}", &drives)
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
