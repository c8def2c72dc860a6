//! What an installer is told of its lease: values with names, put into a kernel's
//! command line or said before an iPXE script.

use std::{fmt::Write as _, net::Ipv4Addr};

use billet_model::{Secret, lease::Lease, machine::Machine, site::Address};

/// Longest command line that a Linux kernel takes on x86-64, in bytes.
pub const COMMAND_LINE: usize = 2047;

/// The names that may be used, each with what it stands for.
pub const NAMES: [(&str, &str); 11] = [
    (
        "billet-url",
        "the installation's own address: behind it /installed, to be called once, and /ssh-keys, /user-data and /metadata to be read",
    ),
    ("billet-lease", "the lease's id"),
    ("billet-hostname", "the lease's host name"),
    (
        "billet-drive",
        "the serial number of the drive that the root is wanted on",
    ),
    ("billet-ip", "the machine's address"),
    ("billet-prefix", "the length of its network's prefix"),
    ("billet-netmask", "the same as a mask"),
    ("billet-gateway", "its gateway"),
    ("billet-dns", "its first name server"),
    ("billet-mac", "the MAC of the NIC that has the address"),
    ("billet-args", "the lease's kernel arguments"),
];

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A placeholder that there is none of.
    #[error("there is no ${{{0}}}: there are {names}", names = all())]
    Unknown(String),
    /// A placeholder that does not end.
    #[error("a placeholder has no end: write it as ${{billet-url}}")]
    Open,
    /// A character that firmware would not hand on.
    #[error("{0:?} is in it: a command line is one line of printable ASCII")]
    Character(char),
    /// It is longer than a kernel takes.
    #[error("with the lease's own values it has {0} characters, and a kernel takes {COMMAND_LINE}")]
    Long(usize),
}

fn all() -> String {
    let names: Vec<String> = NAMES.iter().map(|(n, _)| format!("${{{n}}}")).collect();
    names.join(", ")
}

/// What the names stand for, for one lease.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    /// The lease.
    pub lease: &'a Lease,
    /// Its machine.
    pub machine: &'a Machine,
    /// The installation's own address.
    pub url: Secret,
}

impl Values<'_> {
    fn address(&self) -> Option<&Address> {
        self.machine.addresses.first()
    }

    /// The value of a name; empty for what the machine does not have.
    fn of(&self, name: &str) -> Option<String> {
        let address = self.address();
        Some(match name {
            "billet-url" => self.url.expose().to_owned(),
            "billet-lease" => self.lease.id.to_string(),
            "billet-hostname" => match &self.lease.install {
                Some(install) => install.hostname.clone(),
                None => String::new(),
            },
            "billet-drive" => {
                let root = self.lease.root_drive.as_ref();
                root.map(|d| d.serial.clone()).unwrap_or_default()
            }
            "billet-ip" => address.map(|a| a.ip.to_string()).unwrap_or_default(),
            "billet-prefix" => address.map(|a| a.prefix.to_string()).unwrap_or_default(),
            "billet-netmask" => address
                .map(|a| netmask(a.prefix).to_string())
                .unwrap_or_default(),
            "billet-gateway" => address
                .and_then(|a| a.gateway)
                .map(|g| g.to_string())
                .unwrap_or_default(),
            "billet-dns" => address
                .and_then(|a| a.dns.first())
                .map(|d| d.to_string())
                .unwrap_or_default(),
            "billet-mac" => address
                .and_then(|a| a.mac.as_ref())
                .map(|m| m.to_string())
                .unwrap_or_default(),
            "billet-args" => self.lease.spec.kernel_args.join(" "),
            _ => return None,
        })
    }
}

fn netmask(prefix: u8) -> Ipv4Addr {
    let bits = u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0);
    Ipv4Addr::from_bits(bits)
}

/// The placeholders in a command line, in order.
///
/// # Errors
/// When there is one that nothing stands behind, or the line is none.
pub fn placeholders(line: &str) -> Result<Vec<&'static str>, TextError> {
    let mut found = Vec::new();
    expand(line, |name| {
        let known = NAMES.iter().find(|(n, _)| *n == name)?;
        found.push(known.0);
        Some(String::new())
    })?;
    Ok(found)
}

/// Whether the command line names something of the machine's address.
pub fn needs_address(line: &str) -> bool {
    placeholders(line).is_ok_and(|names| {
        names.iter().any(|n| {
            matches!(
                *n,
                "billet-ip" | "billet-prefix" | "billet-netmask" | "billet-gateway" | "billet-mac"
            )
        })
    })
}

/// The command line for a lease: its placeholders filled in, and the lease's own
/// kernel arguments behind it unless they stand in it already.
///
/// # Errors
/// When it is none, or longer than a kernel takes.
pub fn command_line(template: &str, values: &Values<'_>) -> Result<Secret, TextError> {
    let mut line = expand(template, |name| values.of(name))?;
    let args = values.of("billet-args").unwrap_or_default();
    if !args.is_empty() && !placeholders(template)?.contains(&"billet-args") {
        line.push(' ');
        line.push_str(&args);
    }
    let line = line.trim().to_owned();
    if let Some(wrong) = line.chars().find(|c| !matches!(c, ' '..='~')) {
        return Err(TextError::Character(wrong));
    }
    if line.len() > COMMAND_LINE {
        return Err(TextError::Long(line.len()));
    }
    Ok(Secret::new(line))
}

fn expand(
    template: &str,
    mut value: impl FnMut(&str) -> Option<String>,
) -> Result<String, TextError> {
    if let Some(wrong) = template.chars().find(|c| !matches!(c, ' '..='~')) {
        return Err(TextError::Character(wrong));
    }
    let mut line = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').ok_or(TextError::Open)?;
        line.push_str(before);
        line.push_str(&value(name).ok_or_else(|| TextError::Unknown(name.to_owned()))?);
        rest = behind;
    }
    line.push_str(rest);
    Ok(line)
}

/// A tenant's iPXE script with what is said before it: the values as settings of
/// the same names, and the network as Billet knows it. Without an address of
/// Billet's it is asked for by DHCP.
pub fn script(script: &str, values: &Values<'_>) -> Secret {
    let mut text = String::from("#!ipxe\n# Set by Billet, before the tenant's own script.\n");
    for (name, _) in NAMES {
        let value = values.of(name).unwrap_or_default();
        if !value.is_empty() {
            let _ = writeln!(text, "set {name} {value}");
        }
    }
    match values.address() {
        None => text.push_str("dhcp || echo Billet: no address by DHCP\n"),
        Some(address) => network(&mut text, address),
    }
    text.push_str("# The tenant's own script.\n");
    text.push_str(script);
    if !script.ends_with('\n') {
        text.push('\n');
    }
    Secret::new(text)
}

/// Finds the NIC by its MAC: their numbers are firmware's affair.
fn network(text: &mut String, address: &Address) {
    let nic = match &address.mac {
        Some(mac) => {
            let _ = write!(
                text,
                "set billet-n:int32 0\n\
                 :billet-nic\n\
                 isset ${{net${{billet-n}}/mac}} || goto billet-no-nic\n\
                 iseq ${{net${{billet-n}}/mac}} {mac} && goto billet-address ||\n\
                 inc billet-n\n\
                 goto billet-nic\n\
                 :billet-no-nic\n\
                 echo Billet: no NIC with MAC {mac}\n\
                 goto billet-script\n\
                 :billet-address\n"
            );
            "net${billet-n}"
        }
        None => "net0",
    };
    let _ = writeln!(text, "set {nic}/ip {}", address.ip);
    let _ = writeln!(text, "set {nic}/netmask {}", netmask(address.prefix));
    if let Some(gateway) = address.gateway {
        let _ = writeln!(text, "set {nic}/gateway {gateway}");
    }
    if let Some(dns) = address.dns.first() {
        let _ = writeln!(text, "set {nic}/dns {dns}");
    }
    let _ = writeln!(text, "ifopen {nic} || echo Billet: {nic} does not come up");
    text.push_str(":billet-script\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known_or_named() {
        let line =
            "auto url=${billet-url}/user-data ip=${billet-ip}::${billet-gateway}:${billet-netmask}";
        let found = placeholders(line);
        let names = [
            "billet-url",
            "billet-ip",
            "billet-gateway",
            "billet-netmask",
        ];
        assert_eq!(found.as_deref(), Ok(&names[..]));
        assert!(needs_address(line));
        assert!(!needs_address("quiet ${billet-url}"));
        for (wrong, why) in [
            ("x=${hostname}", TextError::Unknown("hostname".into())),
            ("x=${billet-url", TextError::Open),
            ("x\ny", TextError::Character('\n')),
            ("grüß", TextError::Character('ü')),
        ] {
            assert_eq!(placeholders(wrong), Err(why), "{wrong}");
        }
        let said = TextError::Unknown("x".into()).to_string();
        assert!(said.contains("${billet-hostname}"), "{said}");
    }

    #[test]
    fn masks_are_as_long_as_their_prefix() {
        for (prefix, mask) in [
            (0, "0.0.0.0"),
            (8, "255.0.0.0"),
            (25, "255.255.255.128"),
            (32, "255.255.255.255"),
        ] {
            assert_eq!(netmask(prefix).to_string(), mask);
        }
    }
}
