//! Groups of users, and the roles that they give.

use billet_model::{
    Name,
    api::{GroupChange, GroupView, NewGrant, NewGroup, Page},
    people::Role,
};
use clap::{Args, Subcommand};

use super::token::RoleWord;
use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list},
};

/// Groups of users, and the roles that they give: what a user may is the union of its groups.
#[derive(Debug, Subcommand)]
pub enum Group {
    /// List groups.
    ///
    /// Each with its members and roles.
    #[command(after_help = "Examples:\n  billet group list")]
    List,
    /// Make a group.
    ///
    /// Then put users into it, and give it roles.
    #[command(after_help = "Examples:\n  billet group create vision-team")]
    Create {
        /// Its name.
        name: Name,
    },
    /// Show a group.
    ///
    /// Shows its members and roles.
    #[command(after_help = "Examples:\n  billet group show vision-team")]
    Show {
        /// Its name or id.
        name: String,
    },
    /// Put users into a group.
    ///
    /// They have its roles from their next request on.
    #[command(after_help = "Examples:\n  billet group add vision-team alice robot")]
    Add {
        /// The group's name or id.
        name: String,
        /// The users' names or ids.
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
    },
    /// Take users out of a group.
    ///
    /// What they have by other groups stays.
    #[command(after_help = "Examples:\n  billet group remove vision-team alice")]
    Remove {
        /// The group's name or id.
        name: String,
        /// The users' names or ids.
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
    },
    /// Give a group a role.
    ///
    /// In a project, in all projects of an organisation, or everywhere.
    #[command(after_help = "Examples:
  billet group grant vision-team --role member --project vision
  billet group grant leads --role project-owner --organisation acme
  billet group grant ops --role operator")]
    Grant {
        /// The group's name or id.
        name: String,
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// Take a role from a group.
    ///
    /// Say it as it was given.
    #[command(after_help = "Examples:
  billet group revoke vision-team --role member --project vision")]
    Revoke {
        /// The group's name or id.
        name: String,
        #[command(flatten)]
        grant: GrantArgs,
    },
    /// Delete a group.
    ///
    /// Its members lose what they had by it.
    #[command(after_help = "Examples:\n  billet group delete vision-team")]
    Delete {
        /// Its name or id.
        name: String,
    },
}

/// A role and its place.
#[derive(Debug, Args)]
pub struct GrantArgs {
    /// The role.
    #[arg(long, value_enum)]
    role: RoleWord,
    /// In this project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// In all projects of this organisation, those to come included.
    #[arg(long, value_name = "NAME", conflicts_with = "project")]
    organisation: Option<String>,
}

impl From<GrantArgs> for NewGrant {
    fn from(given: GrantArgs) -> Self {
        Self {
            role: Role::from(given.role),
            organisation: given.organisation,
            project: given.project,
        }
    }
}

impl Group {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        let change = |name: String, change: GroupChange| async move {
            let changed = app.client().await?.change_group(&name, &change).await?;
            app.output.result(&changed, show)
        };
        let nothing = GroupChange::default;
        match self {
            Self::List => {
                let items = client.groups().all().await?;
                app.output.result(&Page { items, next: None }, |page| {
                    list(
                        ["name", "members", "roles"],
                        page.items.iter().map(|g| {
                            [
                                g.group.name.to_string(),
                                members(g, ", "),
                                g.grants_in_words.join(", "),
                            ]
                        }),
                    )
                })
            }
            Self::Create { name } => {
                let made = client.create_group(&NewGroup { name }).await?;
                app.output.result(&made, show)
            }
            Self::Show { name } => app.output.result(&client.group(&name).await?, show),
            Self::Add { name, users } => {
                change(
                    name,
                    GroupChange {
                        add: users,
                        ..nothing()
                    },
                )
                .await
            }
            Self::Remove { name, users } => {
                change(
                    name,
                    GroupChange {
                        remove: users,
                        ..nothing()
                    },
                )
                .await
            }
            Self::Grant { name, grant } => {
                let grant = vec![grant.into()];
                change(name, GroupChange { grant, ..nothing() }).await
            }
            Self::Revoke { name, grant } => {
                let revoke = vec![grant.into()];
                change(
                    name,
                    GroupChange {
                        revoke,
                        ..nothing()
                    },
                )
                .await
            }
            Self::Delete { name } => {
                client.delete_group(&name).await?;
                app.output.note(format!("Group {name} is deleted."));
                Ok(())
            }
        }
    }
}

fn members(g: &GroupView, between: &str) -> String {
    let names: Vec<String> = g.member_names.iter().map(Name::to_string).collect();
    names.join(between)
}

fn show(g: &GroupView) -> String {
    card([
        ("name", g.group.name.to_string()),
        ("members", members(g, "\n")),
        ("roles", g.grants_in_words.join("\n")),
        ("id", g.group.id.to_string()),
        ("since", human::time(g.group.created_at)),
    ])
}
