//! Users: people, and service accounts.

use billet_model::{
    Name,
    api::{NewUser, Page, UserChange},
    people::{User as Noun, UserKind},
};
use clap::Subcommand;
use jiff::Timestamp;

use super::token::from_now;
use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list, maybe},
};

/// Users: people, and service accounts that people answer for.
#[derive(Debug, Subcommand)]
pub enum User {
    /// List users.
    ///
    /// What they may is said by the groups that they are in.
    #[command(after_help = "Examples:\n  billet user list")]
    List,
    /// Make a user.
    ///
    /// Put it into groups, and give it tokens with `billet token create --user`. A service account
    /// has an owner who answers for it, and an end.
    #[command(after_help = "Examples:
  billet user create alice
  billet user create robot --service --owner alice --expires 90d")]
    Create {
        /// Its name.
        name: Name,
        /// It is a service account.
        #[arg(long, requires_all = ["owner", "expires"])]
        service: bool,
        /// Who answers for the service account.
        #[arg(long, value_name = "NAME", requires = "service")]
        owner: Option<Name>,
        /// After how long it may no longer sign in, as 90d.
        #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true)]
        expires: Option<u64>,
    },
    /// Show a user.
    ///
    /// Shows its kind, owner and end.
    #[command(after_help = "Examples:\n  billet user show alice")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Disable a user, or enable it again.
    ///
    /// Its tokens stop to work at once, and so do those of its service accounts.
    #[command(after_help = "Examples:
  billet user disable alice
  billet user disable alice --undo")]
    Disable {
        /// Its name or id.
        name: String,
        /// Enable it again.
        #[arg(long)]
        undo: bool,
    },
    /// Hand a service account over, or give a user more time.
    ///
    /// What is not said stays as it is.
    #[command(after_help = "Examples:
  billet user change robot --owner bob
  billet user change robot --expires 90d")]
    Change {
        /// Its name or id.
        name: String,
        /// Who answers for the service account from now on.
        #[arg(long, value_name = "NAME", required_unless_present = "expires")]
        owner: Option<Name>,
        /// After how long from now it may no longer sign in.
        #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true)]
        expires: Option<u64>,
    },
    /// Delete a user with its tokens.
    ///
    /// Refused while it owns service accounts. What it did stays in the audit log.
    #[command(after_help = "Examples:\n  billet user delete alice")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

impl User {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        match self {
            Self::List => {
                let items = client.users().all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "kind", "state", "expires", "id"],
                        page.items.iter().map(|u| {
                            [
                                u.name.to_string(),
                                u.kind.as_str().to_owned(),
                                state(u).to_owned(),
                                u.expires_at.map(human::time).unwrap_or_default(),
                                u.id.to_string(),
                            ]
                        }),
                    )
                })
            }
            Self::Create {
                name,
                service,
                owner,
                expires,
            } => {
                let kind = if service {
                    UserKind::Service
                } else {
                    UserKind::Person
                };
                let new = NewUser {
                    name,
                    kind,
                    owner,
                    expires_at: expires.map(from_now).transpose()?,
                };
                app.output.result(&client.create_user(&new).await?, show)
            }
            Self::Show { name } => app.output.result(&client.user(&name).await?, show),
            Self::Disable { name, undo } => {
                let change = UserChange {
                    disabled: Some(!undo),
                    ..UserChange::default()
                };
                let changed = client.change_user(&name, &change).await?;
                app.output.result(&changed, show)
            }
            Self::Change {
                name,
                owner,
                expires,
            } => {
                let change = UserChange {
                    owner,
                    expires_at: expires.map(from_now).transpose()?,
                    ..UserChange::default()
                };
                let changed = client.change_user(&name, &change).await?;
                app.output.result(&changed, show)
            }
            Self::Delete { name } => {
                client.delete_user(&name).await?;
                app.output.note(format!("User {name} is deleted."));
                Ok(())
            }
        }
    }
}

fn state(user: &Noun) -> &'static str {
    match (user.disabled, user.may_sign_in(Timestamp::now())) {
        (true, _) => "disabled",
        (false, false) => "expired",
        (false, true) => "good",
    }
}

fn show(u: &Noun) -> String {
    card([
        ("name", u.name.to_string()),
        ("kind", u.kind.as_str().to_owned()),
        ("state", state(u).to_owned()),
        ("owner", maybe(u.owner)),
        ("expires", u.expires_at.map(human::time).unwrap_or_default()),
        ("id", u.id.to_string()),
        ("since", human::time(u.created_at)),
    ])
}
