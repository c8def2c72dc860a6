//! Organisations, projects and access tokens.

use billet_model::{
    Name,
    api::{NewOrganisation, NewProject, NewToken, Page, TokenChange},
    people::{Organisation as Org, Project as Proj, Role, Token as Tok},
};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list, maybe},
};

/// Organisations, which projects belong to.
#[derive(Debug, Subcommand)]
pub enum Organisation {
    /// List organisations.
    ///
    /// Operators see all of them.
    #[command(after_help = "Examples:\n  billet organisation list")]
    List,
    /// Make an organisation.
    ///
    /// Then make projects in it, and tokens for those.
    #[command(after_help = "Examples:\n  billet organisation create acme")]
    Create {
        /// Its name.
        name: Name,
    },
    /// Show an organisation.
    ///
    /// Shows its id and since when it is known.
    #[command(after_help = "Examples:\n  billet organisation show acme")]
    Show {
        /// Its name or id.
        name: String,
    },
}

impl Organisation {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        let show = |o: &Org| {
            card([
                ("name", o.name.to_string()),
                ("id", o.id.to_string()),
                ("since", human::time(o.created_at)),
            ])
        };
        match self {
            Self::List => {
                let items = client.organisations().all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "id", "since"],
                        page.items.iter().map(|o| {
                            [
                                o.name.to_string(),
                                o.id.to_string(),
                                human::time(o.created_at),
                            ]
                        }),
                    )
                })
            }
            Self::Create { name } => {
                let made = client
                    .create_organisation(&NewOrganisation { name })
                    .await?;
                app.output.result(&made, show)
            }
            Self::Show { name } => app.output.result(&client.organisation(&name).await?, show),
        }
    }
}

/// Projects: who pays, and who may see.
#[derive(Debug, Subcommand)]
pub enum Project {
    /// List projects.
    ///
    /// Tenants see their own.
    #[command(after_help = "Examples:\n  billet project list")]
    List,
    /// Make a project.
    ///
    /// Leases and images belong to a project, and nobody outside of it learns that they exist.
    #[command(after_help = "Examples:\n  billet project create vision --organisation acme")]
    Create {
        /// Its name.
        name: Name,
        /// Its organisation.
        #[arg(long, value_name = "NAME")]
        organisation: Name,
    },
    /// Show a project.
    ///
    /// Shows its organisation and since when it is known.
    #[command(after_help = "Examples:\n  billet project show vision")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Delete a project.
    ///
    /// Refused while it has leases.
    #[command(after_help = "Examples:\n  billet project delete vision")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

impl Project {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        let show = |p: &Proj| {
            card([
                ("name", p.name.to_string()),
                ("organisation", p.organisation.to_string()),
                ("id", p.id.to_string()),
                ("since", human::time(p.created_at)),
            ])
        };
        match self {
            Self::List => {
                let items = client.projects(&[]).all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "id", "since"],
                        page.items.iter().map(|p| {
                            [
                                p.name.to_string(),
                                p.id.to_string(),
                                human::time(p.created_at),
                            ]
                        }),
                    )
                })
            }
            Self::Create { name, organisation } => {
                let made = client
                    .create_project(&NewProject { name, organisation })
                    .await?;
                app.output.result(&made, show)
            }
            Self::Show { name } => app.output.result(&client.project(&name).await?, show),
            Self::Delete { name } => {
                client.delete_project(&name).await?;
                app.output.note(format!("Project {name} is deleted."));
                Ok(())
            }
        }
    }
}

/// What a token lets its bearer do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleWord {
    /// Everything about machines, and all projects.
    Operator,
    /// One project: its leases, images and tokens.
    ProjectOwner,
    /// One project: its leases and images.
    Member,
    /// Reads everything of one project, or of all; changes nothing.
    Auditor,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Operator => Self::Operator,
            RoleWord::ProjectOwner => Self::ProjectOwner,
            RoleWord::Member => Self::Member,
            RoleWord::Auditor => Self::Auditor,
        }
    }
}

/// Access tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// List tokens.
    ///
    /// Without their secrets: those were shown once.
    #[command(after_help = "Examples:\n  billet token list")]
    List,
    /// Make a token, and show its secret this once.
    ///
    /// The secret alone goes to stdout, so that it can be piped into a file or a vault; with
    /// `-o json` the token is printed with it.
    #[command(after_help = "Examples:
  billet token create alice --role member --project vision
  billet token create ci --role member --project vision --expires 30d > token
  billet token create audit-2026 --role auditor --expires 2w -o json")]
    Create {
        /// What to call it.
        name: Name,
        /// What it lets its bearer do.
        #[arg(long, value_enum)]
        role: RoleWord,
        /// The project that it is for.
        #[arg(long, value_name = "NAME")]
        project: Option<Name>,
        /// After how long it stops to work, as 30d.
        #[arg(long, value_name = "TIME", value_parser = human::parse_length)]
        expires: Option<u64>,
    },
    /// Show a token.
    ///
    /// Shows its role, project, end and last use, never its secret.
    #[command(after_help = "Examples:\n  billet token show 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50")]
    Show {
        /// Its id.
        id: String,
    },
    /// Disable a token, or enable it again.
    ///
    /// It stops to work at once, and stays on record.
    #[command(after_help = "Examples:
  billet token disable 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50
  billet token disable 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50 --undo")]
    Disable {
        /// Its id.
        id: String,
        /// Enable it again.
        #[arg(long)]
        undo: bool,
    },
    /// Delete a token.
    ///
    /// It stops to work at once. What was done with it stays in the audit log.
    #[command(after_help = "Examples:\n  billet token delete 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50")]
    Delete {
        /// Its id.
        id: String,
    },
}

impl Token {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        match self {
            Self::List => {
                let items = client.tokens(&[]).all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "role", "id", "state", "expires", "last used"],
                        page.items.iter().map(|t| {
                            [
                                t.name.to_string(),
                                t.role.as_str().to_owned(),
                                t.id.to_string(),
                                state(t).to_owned(),
                                t.expires_at.map(human::time).unwrap_or_default(),
                                t.last_used_at.map(human::time).unwrap_or_default(),
                            ]
                        }),
                    )
                })
            }
            Self::Create {
                name,
                role,
                project,
                expires,
            } => {
                let new = NewToken {
                    name,
                    role: role.into(),
                    project,
                    expires_at: expires.map(from_now).transpose()?,
                };
                let made = client.create_token(&new).await?;
                app.output
                    .note("This is the one time that the secret is shown: keep it.");
                app.output.result(&made, |made| made.secret.clone())
            }
            Self::Show { id } => app.output.result(&client.token(&id).await?, show),
            Self::Disable { id, undo } => {
                let change = TokenChange {
                    disabled: Some(!undo),
                };
                app.output
                    .result(&client.change_token(&id, &change).await?, show)
            }
            Self::Delete { id } => {
                client.delete_token(&id).await?;
                app.output.note(format!("Token {id} is deleted."));
                Ok(())
            }
        }
    }
}

fn from_now(seconds: u64) -> Result<Timestamp, Failure> {
    let span = std::time::Duration::from_secs(seconds);
    Timestamp::now()
        .checked_add(span)
        .map_err(|_| Failure::usage("that is too far in the future"))
}

fn state(token: &Tok) -> &'static str {
    let over = token.expires_at.is_some_and(|end| end <= Timestamp::now());
    match (token.disabled, over) {
        (true, _) => "disabled",
        (false, true) => "expired",
        (false, false) => "good",
    }
}

fn show(t: &Tok) -> String {
    card([
        ("name", t.name.to_string()),
        ("role", t.role.as_str().to_owned()),
        ("state", state(t).to_owned()),
        ("project", maybe(t.project)),
        ("expires", t.expires_at.map(human::time).unwrap_or_default()),
        (
            "last used",
            t.last_used_at.map(human::time).unwrap_or_default(),
        ),
        ("id", t.id.to_string()),
        ("since", human::time(t.created_at)),
    ])
}
