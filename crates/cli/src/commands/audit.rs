//! The audit log.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use billet_client::{Client, Pages};
use billet_evidence::{
    TrustedKeys,
    audit::{Export, verify_export},
};
use billet_model::{TokenId, api::Page, call::ApiCall, event::SealedRow, people::Actor};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::evidence::trusted;
use crate::{
    app::App,
    failure::{Failure, chain},
    human,
    output::{Format, card, list, print},
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
        #[arg(long, value_name = "TIME", value_parser = human::parse_moment)]
        since: Option<Timestamp>,
        /// Only until before then.
        #[arg(long, value_name = "TIME", value_parser = human::parse_moment)]
        until: Option<Timestamp>,
    },
    /// List calls of the API: who asked for what, and how it was answered.
    ///
    /// Every call that takes a token is recorded, reading and refusals included, and kept for 31
    /// days (`billet serve --calls-keep`). What a call changed is in `billet audit list`, for ever.
    /// The last come first; with `-o json` each is a line of its own.
    #[command(after_help = "Examples:
  billet audit calls --refused
  billet audit calls --since 2026-11-22T15:00:00Z --all -o json > calls.jsonl")]
    Calls {
        /// Only by this token, by id (`billet token list`).
        #[arg(long, value_name = "ID")]
        token: Option<TokenId>,
        /// Only those that were refused or failed.
        #[arg(long)]
        refused: bool,
        /// Only from then on, as 2026-11-22T15:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = human::parse_moment)]
        since: Option<Timestamp>,
        /// Only until before then.
        #[arg(long, value_name = "TIME", value_parser = human::parse_moment)]
        until: Option<Timestamp>,
        /// At most so many.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        last: usize,
        /// All that is kept.
        #[arg(long, conflicts_with = "last")]
        all: bool,
    },
    /// Export the log, so that anybody can check it.
    ///
    /// All rows that you may see, each with its proof, and the signed head of the log as it was when
    /// the export began. It shows nothing of anyone else's. `billet audit verify` checks it without
    /// a server.
    #[command(after_help = "Examples:\n  billet audit export --out audit.json")]
    Export {
        /// Only this project's.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// From this row on: one more than the last of the export before.
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        from: u64,
        /// At most so many rows; all of them where absent.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Write to this file; else to stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check an exported log or slice of it, without a server.
    ///
    /// Every row must be in the log that the signed head stands for, unchanged and in order. Whether
    /// that is all of the log is said: of a slice it cannot be shown that no row was left out.
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
            Self::Calls {
                token,
                refused,
                since,
                until,
                last,
                all,
            } => {
                let token = token.map(|id| id.to_string());
                let (since, until) = (since.map(|t| t.to_string()), until.map(|t| t.to_string()));
                let client = app.client().await?;
                let filters = super::filters(&[
                    ("newest_first", Some("true")),
                    ("refused", refused.then_some("true")),
                    ("token", token.as_deref()),
                    ("since", since.as_deref()),
                    ("until", until.as_deref()),
                ]);
                let most = if all { usize::MAX } else { last };
                show_calls(client.calls(&filters), most, app.output.format).await
            }
            Self::Export {
                project,
                from,
                limit,
                out,
            } => {
                let client = app.client().await?;
                let project = project.as_deref();
                let rows = export(&client, project, from, limit, out.as_deref()).await?;
                let rows = human::count(usize::try_from(rows).unwrap_or(usize::MAX), "row");
                app.output.note(match out {
                    Some(path) => format!("{rows} written to {}.", path.display()),
                    None => format!("{rows}."),
                });
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
                        (
                            "complete",
                            if said["complete"] == true {
                                "yes: no row of the log is missing".to_owned()
                            } else {
                                "no: it is a slice, and what else is in the log is not known"
                                    .to_owned()
                            },
                        ),
                        ("log", text("origin")),
                        ("log's rows", text("size")),
                        ("signed by", text("keyid")),
                    ])
                })
            }
        }
    }
}

/// Prints calls page by page: the memory for it does not grow with their number.
async fn show_calls(
    mut calls: Pages<'_, ApiCall>,
    most: usize,
    format: Format,
) -> Result<(), Failure> {
    let mut left = most;
    let mut shown = Vec::new();
    while left > 0
        && let Some(mut page) = calls.next_page().await?
    {
        page.items.truncate(left);
        left -= page.items.len();
        match format {
            Format::Json => {
                for call in &page.items {
                    let text = serde_json::to_string(call)
                        .map_err(|e| Failure::failed(format!("writing JSON: {e}")))?;
                    print(&format!("{text}\n"))?;
                }
            }
            Format::Table => shown.extend(page.items.iter().map(call_line)),
        }
    }
    match format {
        Format::Json => Ok(()),
        Format::Table => {
            let head = ["when", "who", "from", "call", "status#", "ms#"];
            print(&format!("{}\n", list(head, shown).trim_end()))
        }
    }
}

/// A call as people read it.
fn call_line(call: &ApiCall) -> [String; 6] {
    [
        human::time(call.at),
        call.name
            .as_ref()
            .map_or_else(|| "(nobody)".to_owned(), ToString::to_string),
        call.from.clone().unwrap_or_default(),
        format!("{} {}", call.method, call.path),
        call.status.to_string(),
        call.ms.to_string(),
    ]
}

/// Writes an export page by page, as one: the memory for it does not grow with the log.
async fn export(
    client: &Client,
    project: Option<&str>,
    mut from: u64,
    limit: Option<u64>,
    out: Option<&Path>,
) -> Result<u64, Failure> {
    let mut sink = Sink::open(out)?;
    let (mut written, mut size) = (0, None::<String>);
    loop {
        let page = limit.map_or(PAGE, |limit| (limit - written).min(PAGE));
        let (first, most) = (from.to_string(), page.to_string());
        let filters = super::filters(&[
            ("project", project),
            ("from", Some(&first)),
            ("limit", Some(&most)),
            ("size", size.as_deref()),
        ]);
        let part = client.audit_export(&filters).await?;
        let part: Export = serde_json::from_value(part)
            .map_err(|e| Failure::failed(format!("the server's export cannot be read: {e}")))?;
        if size.is_none() {
            // The head's second line; all further pages are of the log as it was then.
            size = Some(
                part.checkpoint
                    .lines()
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned(),
            );
            sink.write(&format!(
                "{{\"checkpoint\":{},\"rows\":[",
                json!(part.checkpoint)
            ))?;
        }
        for row in &part.rows {
            let text = serde_json::to_string(row)
                .map_err(|e| Failure::failed(format!("writing JSON: {e}")))?;
            sink.write(if written == 0 { "\n" } else { ",\n" })?;
            sink.write(&text)?;
            written += 1;
            from = row.index + 1;
        }
        if (part.rows.len() as u64) < page || limit == Some(written) {
            sink.write("\n]}\n")?;
            sink.end()?;
            return Ok(written);
        }
    }
}

/// Most rows that a server gives at once.
const PAGE: u64 = 1000;

/// Where an export goes: stdout, or a file that is there when it is whole.
enum Sink {
    Stdout,
    File(std::io::BufWriter<std::fs::File>, PathBuf, PathBuf),
}

impl Sink {
    fn open(out: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = out else {
            return Ok(Self::Stdout);
        };
        if path.exists() {
            let there = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(Failure::file("writing", path, &there)
                .hint("it is there already: evidence is not written over"));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = std::fs::File::create(&part);
        let file = file.map_err(|error| Failure::file("writing", &part, &error))?;
        Ok(Self::File(
            std::io::BufWriter::new(file),
            part,
            path.to_owned(),
        ))
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Stdout => print(text),
            Self::File(file, part, _) => file
                .write_all(text.as_bytes())
                .map_err(|error| Failure::file("writing", part, &error)),
        }
    }

    fn end(self) -> Result<(), Failure> {
        let Self::File(mut file, part, path) = self else {
            return Ok(());
        };
        file.flush()
            .and_then(|()| file.get_ref().sync_all())
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(|error| Failure::file("writing", &path, &error))
    }
}

fn verify(file: &Path, keys: &TrustedKeys, origin: Option<&str>) -> Result<Value, Failure> {
    let doubt = |why: String| Failure::failed(format!("{} does not hold: {why}", file.display()));
    let bytes = crate::bounded::bytes(file, crate::bounded::EXPORT)
        .map_err(|error| Failure::unreadable(file, &error))?;
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
        // Indexes rise and are all below the size: so many of them are all of them.
        "complete": export.rows.len() as u64 == checkpoint.size,
        "keyid": keyid,
    }))
}

fn table(rows: &[SealedRow]) -> String {
    list(
        ["when", "who", "what", "to", "detail"],
        rows.iter().map(line),
    )
}

/// What a row is about.
fn subject(sealed: &SealedRow) -> String {
    let row = &sealed.row;
    let to = [
        row.lease.map(|id| format!("lease {id}")),
        row.machine.map(|id| format!("machine {id}")),
        row.image.map(|id| format!("image {id}")),
    ];
    let to: Vec<String> = to.into_iter().flatten().collect();
    to.join(", ")
}

/// A row as people read it.
pub(super) fn line(sealed: &SealedRow) -> [String; 5] {
    let row = &sealed.row;
    let detail = match &row.detail {
        Value::Null => String::new(),
        Value::Object(map) if map.is_empty() => String::new(),
        detail => detail.to_string(),
    };
    [
        human::time(row.at),
        who(&row.actor),
        row.action.clone(),
        subject(sealed),
        detail,
    ]
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
