//! Webhooks: addresses that are told what happens.

use std::path::{Path, PathBuf};

use billet_model::{
    Name,
    api::{NewWebhook, Page, TokenRotation, WebhookChange, WebhookView},
};
use clap::Subcommand;

use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list},
};

/// Webhooks: addresses that are told what happens, in order, until they took it.
///
/// Each event is POSTed as JSON, as `billet events -o json` prints it, at least once, and signed in
/// the way of Standard Webhooks, for which there are libraries. What is not answered with 2xx is
/// sent again, ever more seldom; after three days of that the webhook is disabled.
#[derive(Debug, Subcommand)]
pub enum Webhook {
    /// List webhooks.
    ///
    /// Each with how many events it was not sent yet.
    #[command(
        after_help = "Examples:\n  billet webhook list\n  billet webhook list --project vision"
    )]
    List {
        /// Only this project's.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
    },
    /// Make a webhook, and show its secret this once.
    ///
    /// It is sent the events of its project from now on; an operator's with no project is sent all.
    /// The secret alone goes to stdout, so that it can be piped into a file or a vault.
    #[command(after_help = "Examples:
  billet webhook create chat --url https://hooks.example.org/billet > secret
  billet webhook create billing --project vision --url https://pay.example.org/in --on lease. \\
      --on evidence. > secret
  billet webhook create all --url https://10.0.0.9/billet --ca-file ours.pem -o json")]
    Create {
        /// What to call it.
        name: Name,
        /// Where to send events: https, without a user in it.
        #[arg(long)]
        url: String,
        /// The project whose events it is sent.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// Only events whose action begins so, as `lease.`; may be repeated.
        #[arg(long, value_name = "ACTION")]
        on: Vec<String>,
        /// The certificate authority that the receiver is known by, PEM, in place of those that the
        /// server's system trusts.
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// Show a webhook.
    ///
    /// Shows what came of the last attempt, what is behind, and why it is disabled; never its secret.
    #[command(after_help = "Examples:\n  billet webhook show chat")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Change a webhook.
    ///
    /// Events that were not sent yet go to where it points then. Other --on count from now on.
    #[command(after_help = "Examples:
  billet webhook set chat --url https://hooks.example.org/other
  billet webhook set chat --on lease. --on machine.
  billet webhook set chat --on-all")]
    Set {
        /// Its name or id.
        name: String,
        /// Where to send events.
        #[arg(long)]
        url: Option<String>,
        /// Only events whose action begins so, in place of those before; may be repeated.
        #[arg(long, value_name = "ACTION")]
        on: Vec<String>,
        /// All events.
        #[arg(long, conflicts_with = "on")]
        on_all: bool,
        /// The receiver's certificate authority, PEM.
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// The receiver is known by an authority that the server's system trusts.
        #[arg(long, conflicts_with = "ca_file")]
        ca_system: bool,
    },
    /// Disable a webhook.
    ///
    /// Nothing is sent until it is enabled; then it goes on where it stopped.
    #[command(after_help = "Examples:\n  billet webhook disable chat")]
    Disable {
        /// Its name or id.
        name: String,
    },
    /// Enable a webhook again.
    ///
    /// It goes on where it stopped: what happened meanwhile is sent, unless --skip.
    #[command(
        after_help = "Examples:\n  billet webhook enable chat\n  billet webhook enable chat --skip"
    )]
    Enable {
        /// Its name or id.
        name: String,
        /// Leave out what happened until now.
        #[arg(long)]
        skip: bool,
    },
    /// Change a webhook's secret for another, and show that this once.
    ///
    /// For a while events are signed with both, so that the receiver can be changed over.
    #[command(after_help = "Examples:
  billet webhook rotate chat > secret
  billet webhook rotate chat --grace 1h > secret")]
    Rotate {
        /// Its name or id.
        name: String,
        /// For how long the old secret signs too, up to 7d.
        #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true, default_value = "24h")]
        grace: u64,
        /// Sign with the new secret alone, at once: the old one is known to others.
        #[arg(long, conflicts_with = "grace")]
        at_once: bool,
    },
    /// Send a webhook an event that says nothing, now and once.
    ///
    /// Fails where it is not taken, and says why.
    #[command(after_help = "Examples:\n  billet webhook test chat")]
    Test {
        /// Its name or id.
        name: String,
    },
    /// Delete a webhook.
    ///
    /// Nothing more is sent to it.
    #[command(after_help = "Examples:\n  billet webhook delete chat")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

impl Webhook {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        let change = |name: String, change: WebhookChange| async move {
            let changed = app.client().await?.change_webhook(&name, &change).await?;
            app.output.result(&changed, show)
        };
        match self {
            Self::List { project } => {
                let filters = super::filters(&[("project", project.as_deref())]);
                let items = client.webhooks(&filters).all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "project", "state", "behind#", "last", "url"],
                        page.items.iter().map(|w| {
                            [
                                w.webhook.name.to_string(),
                                w.project_name
                                    .as_ref()
                                    .map(Name::to_string)
                                    .unwrap_or_default(),
                                state(w).to_owned(),
                                behind(w),
                                last(w),
                                w.webhook.url.clone(),
                            ]
                        }),
                    )
                })
            }
            Self::Create {
                name,
                url,
                project,
                on,
                ca_file,
            } => {
                let new = NewWebhook {
                    name,
                    project,
                    url,
                    actions: on,
                    ca: ca_file.as_deref().map(read).transpose()?,
                };
                let made = client.create_webhook(&new).await?;
                app.output
                    .note("This is the one time that the secret is shown: keep it.");
                app.output.result(&made, |made| made.secret.clone())
            }
            Self::Show { name } => app.output.result(&client.webhook(&name).await?, show),
            Self::Set {
                name,
                url,
                on,
                on_all,
                ca_file,
                ca_system,
            } => {
                let ca = ca_file.as_deref().map(read).transpose()?;
                let wanted = WebhookChange {
                    url,
                    actions: (on_all || !on.is_empty()).then_some(on),
                    ca: ca.or(ca_system.then(String::new)),
                    ..WebhookChange::default()
                };
                change(name, wanted).await
            }
            Self::Disable { name } => {
                let wanted = WebhookChange {
                    disabled: Some(true),
                    ..WebhookChange::default()
                };
                change(name, wanted).await
            }
            Self::Enable { name, skip } => {
                let wanted = WebhookChange {
                    disabled: Some(false),
                    skip,
                    ..WebhookChange::default()
                };
                change(name, wanted).await
            }
            Self::Rotate {
                name,
                grace,
                at_once,
            } => {
                let rotation = TokenRotation {
                    grace_seconds: if at_once { 0 } else { grace },
                };
                let made = client.rotate_webhook(&name, &rotation).await?;
                app.output
                    .note("This is the one time that the secret is shown: keep it.");
                app.output.result(&made, |made| made.secret.clone())
            }
            Self::Test { name } => {
                let tested = client.test_webhook(&name).await?;
                app.output.result(&tested, |tested| {
                    let status = tested.status.map(|s| s.to_string()).unwrap_or_default();
                    card([
                        ("taken", if tested.taken { "yes" } else { "no" }.to_owned()),
                        ("status", status),
                        ("error", tested.error.clone().unwrap_or_default()),
                        ("took", format!("{} ms", tested.milliseconds)),
                    ])
                })?;
                if tested.taken {
                    Ok(())
                } else {
                    let why = tested.error.unwrap_or_default();
                    Err(Failure::failed(format!("the event was not taken: {why}")))
                }
            }
            Self::Delete { name } => {
                client.delete_webhook(&name).await?;
                app.output.note(format!("Webhook {name} is deleted."));
                Ok(())
            }
        }
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    crate::bounded::text(path, crate::bounded::SMALL)
        .map_err(|error| Failure::unreadable(path, &error))
}

fn state(w: &WebhookView) -> &'static str {
    match (&w.webhook.disabled, w.delivery.failures) {
        (Some(_), _) => "disabled",
        (None, 0) => "good",
        (None, _) => "failing",
    }
}

fn behind(w: &WebhookView) -> String {
    match w.behind {
        1000.. => "1000+".to_owned(),
        n => n.to_string(),
    }
}

fn last(w: &WebhookView) -> String {
    match (w.delivery.last_at, w.delivery.last_status) {
        (None, _) => String::new(),
        (Some(_), Some(status)) => status.to_string(),
        (Some(_), None) => "no answer".to_owned(),
    }
}

fn show(w: &WebhookView) -> String {
    let (hook, delivery) = (&w.webhook, &w.delivery);
    let time = |at: Option<jiff::Timestamp>| at.map(human::time).unwrap_or_default();
    let project = w.project_name.as_ref().map(Name::to_string);
    card([
        ("name", hook.name.to_string()),
        ("url", hook.url.clone()),
        (
            "events of",
            project.unwrap_or_else(|| "everything".to_owned()),
        ),
        ("actions", hook.actions.join(", ")),
        ("state", state(w).to_owned()),
        (
            "disabled",
            hook.disabled
                .as_ref()
                .map(|d| format!("{}: {}", human::time(d.since), d.why))
                .unwrap_or_default(),
        ),
        ("behind", behind(w)),
        ("behind since", time(w.behind_since)),
        ("next", delivery.next.to_string()),
        ("taken", delivery.delivered.to_string()),
        ("last taken", time(delivery.last_taken_at)),
        ("last tried", time(delivery.last_at)),
        ("last status", last(w)),
        (
            "last error",
            delivery.last_error.clone().unwrap_or_default(),
        ),
        (
            "failing",
            delivery
                .failing_since
                .map(|since| format!("{} times since {}", delivery.failures, human::time(since)))
                .unwrap_or_default(),
        ),
        ("tried again", time(delivery.retry_at)),
        (
            "authority",
            hook.ca
                .as_ref()
                .map(|_| "its own".to_owned())
                .unwrap_or_default(),
        ),
        ("old secret until", time(hook.old_secret_until)),
        ("id", hook.id.to_string()),
        ("since", human::time(hook.created_at)),
    ])
}
