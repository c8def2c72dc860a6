//! `billet bmc`: looks at a BMC without a server.

use std::path::PathBuf;

use billet_bmc::{BmcClient, BmcError, Discovery, Timeouts};
use billet_client::Fingerprint;
use billet_model::bmc::{BmcEndpoint, BmcFailure};
use billet_model::inventory::{MemoryModule, PciDevice, Sensor};
use clap::{Args, Subcommand};

use super::machine::parts;
use crate::{
    app::App,
    failure::{Code, Failure, chain},
    human, manifest,
    output::card,
    progress::Line,
};

/// Look at a BMC, without a server.
#[derive(Debug, Subcommand)]
pub enum Bmc {
    Inspect(Inspect),
}

/// Show what a BMC says of itself and of its machine.
///
/// Only reads: nothing is changed on the BMC or the machine. Its certificate must have the
/// fingerprint that you give; say `any` to take whatever it shows, and compare it later. What could
/// not be read is listed as a note. One answer may take a BMC up to two minutes, and all of it ten.
///
/// As JSON, the machine's parts stand at the top: `system`, `firmware`, `cpus`, `memory`, `drives`,
/// `nics`, `pci`, `gpus`, `sensors`, `tpm`, beside `service`, `power`, `boot` and `virtual_media`;
/// `notes` says what was missing or malformed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet bmc inspect 10.0.0.7 --user root --password-file pw --accept-fingerprint any
  billet bmc inspect 10.0.0.7 --user root --password-file pw --accept-fingerprint 3f5a... -o json")]
pub struct Inspect {
    /// The BMC's address, ADDRESS or https://ADDRESS:PORT.
    #[arg(value_parser = manifest::bmc_address)]
    address: String,
    /// The BMC's user.
    #[arg(long)]
    user: String,
    /// File with the BMC's password.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// SHA-256 of the BMC's certificate, or `any`.
    #[arg(long, value_name = "SHA256|any", value_parser = parse_accepted)]
    accept_fingerprint: Accepted,
}

/// Which certificate may be shown.
#[derive(Clone, Copy, Debug)]
pub enum Accepted {
    /// Any.
    Any,
    /// This one.
    This(Fingerprint),
}

fn parse_accepted(text: &str) -> Result<Accepted, String> {
    if text == "any" {
        return Ok(Accepted::Any);
    }
    text.parse()
        .map(Accepted::This)
        .map_err(|error: billet_client::InvalidFingerprint| error.to_string())
}

impl Bmc {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let Self::Inspect(inspect) = self;
        let password = manifest::password_file(&inspect.password_file).map_err(Failure::usage)?;
        let endpoint = BmcEndpoint {
            address: inspect.address.clone(),
            user: inspect.user,
            fingerprint: match inspect.accept_fingerprint {
                Accepted::Any => None,
                Accepted::This(print) => Some(print.to_string()),
            },
        };
        let failed = |error: BmcError| {
            let sentence = format!("{}: {}", inspect.address, chain(&error));
            let code = match error.kind() {
                Some(BmcFailure::Unreachable) => Code::Unreachable,
                Some(BmcFailure::Certificate) => Code::Unreachable,
                Some(BmcFailure::Credentials | BmcFailure::PasswordChange) => Code::Refused,
                _ => Code::Failed,
            };
            let failure = Failure::new(code, sentence);
            match &error {
                BmcError::Certificate { shown, .. } => failure.hint(format!(
                    "make sure that it is the right BMC; if it is known to have a new certificate, accept it with --accept-fingerprint {shown}. Nothing was sent"
                )),
                BmcError::PasswordChange { .. } => failure.hint(
                    "change the password at the BMC, write the new one into the file, and ask again",
                ),
                BmcError::Credentials { .. } => {
                    failure.hint("compare --user and the password in the file with the BMC's; accounts lock after a few wrong tries")
                }
                _ if code == Code::Unreachable => failure
                    .hint("check the address, and that its network is reached from here"),
                _ => failure,
            }
        };
        let client = BmcClient::new(&endpoint, password, Timeouts::default()).map_err(failed)?;
        let mut line = Line::new(app, &inspect.address, None);
        line.show("reading", "reading", None);
        let found = client.discover().await;
        client.close().await;
        line.end(if found.is_ok() { "read" } else { "not read" });
        app.output.result(&found.map_err(failed)?, show)
    }
}

fn show(d: &Discovery) -> String {
    let named = |parts: [&Option<String>; 2]| {
        let words: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        words.join(" ")
    };
    let slots: Vec<String> = d
        .virtual_media
        .iter()
        .map(|slot| {
            let state = match (&slot.image, slot.inserted) {
                (Some(image), true) => format!("holds {image}"),
                (None, true) => "holds a medium".to_owned(),
                _ => "empty".to_owned(),
            };
            format!("{} ({}): {state}", slot.path, slot.types.join(", "))
        })
        .collect();
    let options: Vec<String> = d
        .boot
        .options
        .iter()
        .map(|o| format!("{} {}", o.reference, o.name.as_deref().unwrap_or_default()))
        .collect();
    let override_ = [
        &d.boot.override_enabled,
        &d.boot.override_target,
        &d.boot.mode,
    ];
    let override_: Vec<&str> = override_
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let mut text = card([
        ("certificate", d.fingerprint.clone()),
        ("bmc", named([&d.service.vendor, &d.service.product])),
        ("redfish", d.service.redfish.clone().unwrap_or_default()),
        ("managers", d.service.managers.join("\n")),
        ("reset types", d.service.reset_types.join(", ")),
        ("power", d.power.to_string()),
        ("boot override", override_.join(", ")),
        ("boot targets", d.boot.targets.join(", ")),
        ("boot order", d.boot.order.join(", ")),
        ("boot options", options.join("\n")),
        ("virtual media", slots.join("\n")),
    ]);
    text.push('\n');
    text.push_str(&card([
        ("sensors", lines(&d.inventory.sensors, sensor)),
        ("pcie devices", lines(&d.inventory.pci, device)),
        ("memory modules", lines(&d.inventory.memory.modules, module)),
    ]));
    text.push('\n');
    text.push_str(&parts(&d.inventory));
    text
}

fn lines<T>(items: &[T], line: impl Fn(&T) -> String) -> String {
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn sensor(s: &Sensor) -> String {
    let value = s.value.map_or("no reading".to_owned(), |v| v.to_string());
    let unit = s.unit.as_deref().unwrap_or_default();
    format!("{} {value} {unit}", s.name).trim_end().to_owned()
}

fn device(p: &PciDevice) -> String {
    let name = p.name.as_deref().unwrap_or_default();
    let link = p.link.as_ref().and_then(|l| l.width);
    let link = link.map(|w| format!(", x{w}")).unwrap_or_default();
    format!("{} {}:{} {name}{link}", p.address, p.vendor, p.device)
}

fn module(m: &MemoryModule) -> String {
    let size = human::bytes(m.size_bytes);
    let part = m.part.as_deref().unwrap_or_default();
    format!("{} {size} {part}", m.slot).trim_end().to_owned()
}
