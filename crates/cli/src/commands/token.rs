//! Access tokens.

use billet_client::{Client, Config, Target};
use billet_model::{
    Name, Secret,
    api::{NewToken, Page, TokenChange, TokenMade, TokenRotation},
    people::{Role, Token as Tok},
    scope::TokenScope,
};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list, maybe},
};

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
  billet token create robot-1 --user robot --scope leases:write --scope offers:read
  billet token create audit-2026 --role auditor --expires 2w -o json")]
    Create {
        /// What to call it.
        name: Name,
        /// What it lets its bearer do.
        #[arg(long, value_enum, required_unless_present = "user")]
        role: Option<RoleWord>,
        /// The project that it is for.
        #[arg(long, value_name = "NAME")]
        project: Option<Name>,
        /// The user that it stands for, in place of a role of its own.
        #[arg(long, value_name = "NAME", conflicts_with_all = ["role", "project"])]
        user: Option<Name>,
        /// Cut it down to this: `read`, or an area as `leases:read` or `leases:write`; may be
        /// repeated.
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<TokenScope>,
        /// After how long it stops to work, as 30d.
        #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true)]
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
    /// Change a token's secret for another, and show that this once.
    ///
    /// The token keeps its id, its rights and its end. With --grace the old secret works on for a
    /// while, so that what uses it can be changed over without a gap. Without an id it is your own
    /// token that gets another secret, which anybody may do; where `billet login` keeps the token,
    /// the new secret is kept in its place.
    #[command(after_help = "Examples:
  billet token rotate --grace 1h > token
  billet token rotate 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50 > token
  billet token rotate 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50 --grace 1h > token")]
    Rotate {
        /// Its id; your own token where absent.
        id: Option<String>,
        /// For how long the old secret works on, up to 7d; not at all where absent.
        #[arg(long, value_name = "TIME", value_parser = human::parse_length, allow_hyphen_values = true)]
        grace: Option<u64>,
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
                                what(t),
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
                user,
                scope,
                expires,
            } => {
                let new = NewToken {
                    name,
                    role: role.map(Role::from),
                    project,
                    user,
                    scopes: scope,
                    expires_at: expires.map(from_now).transpose()?,
                };
                let made = client.create_token(&new).await?;
                app.output
                    .note("This is the one time that the secret is shown: keep it.");
                app.output.result(&made, |made| made.secret.clone())
            }
            Self::Rotate { id, grace } => {
                let rotation = TokenRotation {
                    grace_seconds: grace.unwrap_or(0),
                };
                let own = match &id {
                    None => true,
                    Some(id) => client.whoami().await?.token.id.to_string() == *id,
                };
                let made = match id.filter(|_| !own) {
                    Some(id) => client.rotate_token(&id, &rotation).await?,
                    None => rotate_own(app, &client, &rotation).await?,
                };
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

/// Another secret for the caller's own token, kept where the one before was.
async fn rotate_own(
    app: &App,
    client: &Client,
    rotation: &TokenRotation,
) -> Result<TokenMade, Failure> {
    let context = Target::find(&app.environment, app.context.as_deref())?.context;
    let made = client.rotate_own_token(rotation).await?;
    // Given by the environment, it is kept by whoever set that.
    let kept = context.filter(|_| app.environment.token.is_none());
    let path = app.environment.config_path();
    if let Some(name) = kept {
        let mut config = Config::load(&path)?;
        if let Some(context) = config.contexts.get_mut(&name) {
            context.token = Some(Secret::new(made.secret.clone()));
            config.save(&path)?;
            app.output
                .note(format!("Kept in {} for context {name}.", path.display()));
        }
    }
    Ok(made)
}

pub(super) fn from_now(seconds: u64) -> Result<Timestamp, Failure> {
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

/// Its role, or that its user's groups say.
fn what(t: &Tok) -> String {
    t.role.map_or("its user's", |role| role.as_str()).to_owned()
}

fn show(t: &Tok) -> String {
    let scopes: Vec<String> = t.scopes.iter().map(TokenScope::to_string).collect();
    card([
        ("name", t.name.to_string()),
        ("role", what(t)),
        ("state", state(t).to_owned()),
        ("project", maybe(t.project)),
        ("user", maybe(t.user)),
        ("cut down to", scopes.join(", ")),
        ("expires", t.expires_at.map(human::time).unwrap_or_default()),
        (
            "last used",
            t.last_used_at.map(human::time).unwrap_or_default(),
        ),
        ("id", t.id.to_string()),
        ("since", human::time(t.created_at)),
        (
            "new secret",
            t.rotated_at.map(human::time).unwrap_or_default(),
        ),
    ])
}
