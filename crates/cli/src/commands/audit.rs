//! The audit log.

use std::path::PathBuf;

use billet_evidence::{
    TrustedKeys,
    audit::{Export, verify_export},
};
use billet_model::{api::Page, event::SealedRow, people::Actor};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::evidence::{trusted, write_out};
use crate::{
    app::App,
    failure::{Failure, chain},
    human,
    output::{card, list},
};

/// What happened, and who asked for it.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List rows of the audit log.
    ///
    /// Every change of state is in it, written in the same transaction. Tenants see their
    /// project's rows.
    #[command(after_help = "Examples:
  billet audit list
  billet audit list --action machine.lifecycle --machine 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50")]
    List {
        /// Only actions that begin so, as `lease.` or `lease.create`.
        #[arg(long)]
        action: Option<String>,
        /// Only about this machine.
        #[arg(long, value_name = "NAME")]
        machine: Option<String>,
        /// Only about this lease.
        #[arg(long, value_name = "NAME")]
        lease: Option<String>,
        /// Only this project's.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// Only from then on, as 2026-11-22T15:00:00Z.
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Only until before then.
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
    },
    /// Export a slice of the log that anybody can check.
    ///
    /// The rows you may see, each with its proof, and the signed head of the log. It shows nothing
    /// of anyone else's. `billet audit verify` checks it without a server.
    #[command(after_help = "Examples:\n  billet audit export --out audit.json")]
    Export {
        /// Only this project's.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// From this row on: one more than the last of the export before.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        from: u64,
        /// At most so many rows, 1 to 1000.
        #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1000))]
        limit: u64,
        /// Write to this file; else to stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check an exported slice of the log, without a server.
    ///
    /// Every row must be in the log that the signed head stands for, unchanged and in order. It
    /// cannot show that no row was left out of the slice.
    #[command(after_help = "Examples:\n  billet audit verify audit.json --trust site-key.pem")]
    Verify {
        /// The exported file.
        file: PathBuf,
        /// File with public keys that you trust: PEM, or a keyring; may be repeated.
        #[arg(long, required = true, value_name = "KEY")]
        trust: Vec<PathBuf>,
        /// Name of the log that it must be of.
        #[arg(long)]
        origin: Option<String>,
    },
}

impl Audit {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::List {
                action,
                machine,
                lease,
                project,
                since,
                until,
            } => {
                let (since, until) = (since.map(|t| t.to_string()), until.map(|t| t.to_string()));
                let client = app.client().await?;
                let filters = super::filters(&[
                    ("action", action.as_deref()),
                    ("machine", machine.as_deref()),
                    ("lease", lease.as_deref()),
                    ("project", project.as_deref()),
                    ("since", since.as_deref()),
                    ("until", until.as_deref()),
                ]);
                let items = client.audit(&filters).all().await?;
                app.output
                    .result(&Page { items, next: None }, |page| table(&page.items))
            }
            Self::Export {
                project,
                from,
                limit,
                out,
            } => {
                let client = app.client().await?;
                let (from, most) = (from.to_string(), limit.to_string());
                let filters = super::filters(&[
                    ("project", project.as_deref()),
                    ("from", Some(&from)),
                    ("limit", Some(&most)),
                ]);
                let export = client.audit_export(&filters).await?;
                write_out(app, &export, out.as_deref())?;
                let rows = export["rows"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                if rows.len() as u64 == limit
                    && let Some(last) = rows.last().and_then(|row| row["index"].as_u64())
                {
                    let next = last + 1;
                    app.output
                        .note(format!("There may be more: go on with --from {next}."));
                }
                Ok(())
            }
            Self::Verify {
                file,
                trust,
                origin,
            } => {
                let keys = trusted(&trust)?;
                let said = verify(&file, &keys, origin.as_deref())?;
                app.output.result(&said, |said| {
                    let text = |key: &str| match &said[key] {
                        Value::String(text) => text.clone(),
                        other => other.to_string(),
                    };
                    card([
                        (
                            "holds",
                            "yes: every row is in the log, unchanged and in order".to_owned(),
                        ),
                        ("rows", text("rows")),
                        ("log", text("origin")),
                        ("log's rows", text("size")),
                        ("signed by", text("keyid")),
                    ])
                })
            }
        }
    }
}

fn verify(
    file: &std::path::Path,
    keys: &TrustedKeys,
    origin: Option<&str>,
) -> Result<Value, Failure> {
    let doubt = |why: String| Failure::failed(format!("{} does not hold: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| Failure::file("reading", file, &error))?;
    let export: Export = serde_json::from_slice(&bytes)
        .map_err(|error| doubt(format!("it is not an export of the audit log: {error}")))?;
    // The head names its log on its first line; it is believed only with the signature.
    let named = export
        .checkpoint
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    let origin = origin.unwrap_or(&named);
    let (checkpoint, keyid) =
        verify_export(&export, origin, keys).map_err(|error| doubt(chain(&error)))?;
    Ok(json!({
        "verified": true,
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "rows": export.rows.len(),
        "keyid": keyid,
    }))
}

fn table(rows: &[SealedRow]) -> String {
    list(
        ["when", "who", "what", "to", "detail"],
        rows.iter().map(|sealed| {
            let row = &sealed.row;
            let to = [
                row.lease.map(|id| format!("lease {id}")),
                row.machine.map(|id| format!("machine {id}")),
                row.image.map(|id| format!("image {id}")),
            ];
            let to: Vec<String> = to.into_iter().flatten().collect();
            let detail = match &row.detail {
                Value::Null => String::new(),
                Value::Object(map) if map.is_empty() => String::new(),
                detail => detail.to_string(),
            };
            [
                human::time(row.at),
                who(&row.actor),
                row.action.clone(),
                to.join(", "),
                detail,
            ]
        }),
    )
}

fn who(actor: &Actor) -> String {
    match actor {
        Actor::Token { name, role, .. } => format!("{name} ({})", role.as_str()),
        Actor::Billet => "billet".to_owned(),
        Actor::Agent { .. } => "agent".to_owned(),
        Actor::Machine { .. } => "the machine".to_owned(),
        Actor::Unknown => "unknown".to_owned(),
    }
}
