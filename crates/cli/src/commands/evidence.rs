//! Evidence: signed statements that anyone can check without a server.

use std::path::{Path, PathBuf};

use billet_evidence::{
    TrustedKeys, Verified, erase::erase_certificate, statement::ERASE_CERTIFICATE, verify_file,
};
use billet_model::{
    api::{Page, SigningKey},
    evidence::{EraseCertificate, Evidence as Item},
};
use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::certificate;
use crate::{
    app::App,
    failure::{Code, Failure, chain},
    human,
    output::{card, list, maybe, print},
};

/// Signed statements: where data was, and that it is gone.
#[derive(Debug, Subcommand)]
pub enum Evidence {
    /// List evidence.
    ///
    /// Tenants see that of their project's leases.
    #[command(after_help = "Examples:
  billet evidence list --lease train-1
  billet evidence list --machine r1-u07")]
    List {
        /// Only of this lease.
        #[arg(long, value_name = "NAME")]
        lease: Option<String>,
        /// Only of this machine.
        #[arg(long, value_name = "NAME")]
        machine: Option<String>,
    },
    /// Show what a piece of evidence says.
    ///
    /// As the server has it, unchecked: export and verify it to be sure.
    #[command(
        after_help = "Examples:\n  billet evidence show 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50"
    )]
    Show {
        /// Its id.
        id: String,
    },
    /// Export a piece of evidence as a file that anyone can check.
    ///
    /// A DSSE envelope around an in-toto statement. Keep it as long as you may be asked.
    #[command(after_help = "Examples:
  billet evidence export 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50 --out erase.json")]
    Export {
        /// Its id.
        id: String,
        /// Write to this file; else to stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check evidence, without a server.
    ///
    /// It must be signed by a key that you trust, not one byte of it changed, and it must not
    /// contradict itself. On any doubt the exit code is 1. Get the site's keys once, over a way
    /// that you trust, with `billet keys export`.
    #[command(after_help = "Examples:
  billet evidence verify erase.json --trust site-key.pem
  billet evidence verify *.json --trust site-key.pem -o json")]
    Verify {
        /// The evidence.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// File with public keys that you trust: PEM, or a keyring; may be repeated.
        #[arg(long, required = true, value_name = "KEY")]
        trust: Vec<PathBuf>,
    },
}

impl Evidence {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::List { lease, machine } => {
                let client = app.client().await?;
                let filters =
                    super::filters(&[("lease", lease.as_deref()), ("machine", machine.as_deref())]);
                let items = client.evidence(&filters).all().await?;
                app.output
                    .result(&Page { items, next: None }, |page| table(&page.items))
            }
            Self::Show { id } => {
                let item = app.client().await?.evidence_item(&id).await?;
                app.output.result(&item, show)
            }
            Self::Export { id, out } => {
                let item = app.client().await?.evidence_item(&id).await?;
                write_out(app, &item.envelope, out.as_deref())
            }
            Self::Verify { files, trust } => verify(app, &files, &trusted(&trust)?),
        }
    }
}

fn kind(predicate: &str) -> &str {
    if predicate == ERASE_CERTIFICATE {
        "erase certificate"
    } else {
        predicate
    }
}

fn table(items: &[Item]) -> String {
    list(
        ["id", "what", "lease", "machine", "signed"],
        items.iter().map(|e| {
            [
                e.id.to_string(),
                kind(&e.kind).to_owned(),
                maybe(e.lease),
                e.machine.to_string(),
                human::time(e.created_at),
            ]
        }),
    )
}

fn show(item: &Item) -> String {
    let mut text = card([
        ("id", item.id.to_string()),
        ("what", kind(&item.kind).to_owned()),
        ("signed", human::time(item.created_at)),
        (
            "checked",
            "no: export it, then `billet evidence verify`".to_owned(),
        ),
    ]);
    let said = serde_json::to_vec(&item.envelope)
        .ok()
        .and_then(|bytes| certificate::unchecked(&bytes));
    if let Some(certificate) = said {
        text.push('\n');
        text.push_str(&certificate::show(&certificate));
    }
    text
}

/// Reads the keys that the caller trusts.
pub fn trusted(files: &[PathBuf]) -> Result<TrustedKeys, Failure> {
    let mut keys = Vec::new();
    for file in files {
        let bytes = crate::bounded::bytes(file, crate::bounded::EVIDENCE)
            .map_err(|error| Failure::usage(format!("reading {}: {error}", file.display())))?;
        let read = TrustedKeys::from_bytes(&bytes)
            .map_err(|error| Failure::usage(format!("{}: {}", file.display(), chain(&error))))?;
        keys.extend(read.iter().cloned());
    }
    Ok(keys.into_iter().collect())
}

/// What checking one file found.
#[derive(Serialize)]
struct Checked {
    file: PathBuf,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    doubt: Option<String>,
    #[serde(skip)]
    certificate: Option<EraseCertificate>,
}

fn verify(app: &App, files: &[PathBuf], keys: &TrustedKeys) -> Result<(), Failure> {
    let checked: Vec<Checked> = files.iter().map(|file| check(file, keys)).collect();
    let doubts = checked.iter().filter(|c| !c.verified).count();
    app.output.result(&json!({ "items": checked }), |_| {
        let texts: Vec<String> = checked.iter().map(said).collect();
        texts.join("\n")
    })?;
    if doubts == 0 {
        return Ok(());
    }
    let of = human::count(files.len(), "file");
    let do_ = if doubts == 1 { "does" } else { "do" };
    let hint = "do not rely on it; ask the site for it anew, and compare key ids over another way";
    Err(Failure::new(Code::Failed, format!("{doubts} of {of} {do_} not hold")).hint(hint))
}

fn check(file: &Path, keys: &TrustedKeys) -> Checked {
    let mut checked = Checked {
        file: file.to_owned(),
        verified: false,
        keyid: None,
        statement: None,
        doubt: None,
        certificate: None,
    };
    match read_and_check(file, keys) {
        Ok((verified, certificate)) => {
            checked.keyid = Some(verified.keyid.to_string());
            checked.statement = serde_json::to_value(&verified.statement).ok();
            // What is signed and true can still be no proof that the drives are clean.
            checked.doubt = certificate.as_ref().and_then(certificate::doubt);
            checked.verified = checked.doubt.is_none();
            checked.certificate = certificate;
        }
        Err(doubt) => checked.doubt = Some(doubt),
    }
    checked
}

fn read_and_check(
    file: &Path,
    keys: &TrustedKeys,
) -> Result<(Verified, Option<EraseCertificate>), String> {
    let bytes = crate::bounded::bytes(file, crate::bounded::EVIDENCE)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let verified = verify_file(&bytes, keys).map_err(|error| chain(&error))?;
    if verified.predicate_type != ERASE_CERTIFICATE {
        return Ok((verified, None));
    }
    let certificate = erase_certificate(verified.clone()).map_err(|error| chain(&error))?;
    Ok((verified, Some(certificate)))
}

fn said(checked: &Checked) -> String {
    let mut text = card([
        ("file", checked.file.display().to_string()),
        (
            "holds",
            match &checked.doubt {
                None => "yes: signed by a key you trust, not a byte changed".to_owned(),
                Some(doubt) => format!("NO: {doubt}"),
            },
        ),
        ("signed by", maybe(checked.keyid.as_ref())),
    ]);
    match (&checked.certificate, &checked.statement) {
        (Some(certificate), _) => {
            text.push('\n');
            text.push_str(&certificate::show(certificate));
        }
        (None, Some(statement)) => {
            let pretty = serde_json::to_string_pretty(statement).unwrap_or_default();
            text.push_str(&format!("\n{pretty}\n"));
        }
        (None, None) => {}
    }
    text
}

/// Writes JSON to a file that is not there yet, or to stdout.
pub fn write_out<T: Serialize>(app: &App, value: &T, out: Option<&Path>) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::failed(format!("writing JSON: {error}")))?;
    write_text(app, &format!("{text}\n"), out)
}

fn write_text(app: &App, text: &str, out: Option<&Path>) -> Result<(), Failure> {
    use std::io::Write;
    let Some(path) = out else {
        return print(text);
    };
    let failed = |error: std::io::Error| {
        let failure = Failure::file("writing", path, &error);
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return failure.hint("it is there already: evidence is not written over");
        }
        failure
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    app.output.note(format!("Written to {}.", path.display()));
    Ok(())
}

/// The keys that sign evidence.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List the keys that sign evidence, and signed it in the past.
    ///
    /// By their ids, which are the SHA-256 of the public keys.
    #[command(after_help = "Examples:\n  billet keys list")]
    List,
    /// Export the public keys that check evidence.
    ///
    /// In PEM, those of the past too, the present one first. Do this once, over a connection that
    /// you trust, and keep the file: with it evidence is checked without a server.
    #[command(after_help = "Examples:\n  billet keys export --out site-key.pem")]
    Export {
        /// Only the key that signs now.
        #[arg(long)]
        current: bool,
        /// Write to this file; else to stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl Keys {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let mut keys = app.client().await?.evidence_keys().await?;
        keys.sort_by_key(|key| !key.current);
        match self {
            Self::List => {
                let page = Page {
                    items: keys,
                    next: None,
                };
                app.output.result(&page, |page| {
                    list(
                        ["key id", "signs"],
                        page.items.iter().map(|k: &SigningKey| {
                            let signs = if k.current { "now" } else { "in the past" };
                            [k.keyid.clone(), signs.to_owned()]
                        }),
                    )
                })
            }
            Self::Export { current, out } => {
                let pems: Vec<String> = keys
                    .iter()
                    .filter(|key| key.current || !current)
                    .map(|key| format!("{}\n", key.public_pem.trim_end()))
                    .collect();
                if pems.is_empty() {
                    return Err(Failure::new(
                        Code::NotFound,
                        "the server has no key to export",
                    ));
                }
                write_text(app, &pems.concat(), out.as_deref())
            }
        }
    }
}
