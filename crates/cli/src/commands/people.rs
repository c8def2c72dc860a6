//! Organisations and projects.

use billet_model::{
    Name,
    api::{NameChange, NewOrganisation, NewProject, Page},
    people::{Organisation as Org, Project as Proj},
};
use clap::Subcommand;

use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list},
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
    /// Change an organisation's name.
    ///
    /// Its projects stay its own.
    #[command(after_help = "Examples:\n  billet organisation set acme --name acme-labs")]
    Set {
        /// Its name or id.
        name: String,
        /// The new name.
        #[arg(long = "name", value_name = "NAME")]
        new: Name,
    },
    /// Delete an organisation.
    ///
    /// Refused while it has projects, and says which.
    #[command(after_help = "Examples:\n  billet organisation delete acme")]
    Delete {
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
            Self::Set { name, new } => {
                let change = NameChange { name: Some(new) };
                let changed = client.change_organisation(&name, &change).await?;
                app.output.result(&changed, show)
            }
            Self::Delete { name } => {
                client.delete_organisation(&name).await?;
                app.output.note(format!("Organisation {name} is deleted."));
                Ok(())
            }
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
    /// Change a project's name.
    ///
    /// Its leases, images and tokens stay its own.
    #[command(after_help = "Examples:\n  billet project set vision --name perception")]
    Set {
        /// Its name or id.
        name: String,
        /// The new name.
        #[arg(long = "name", value_name = "NAME")]
        new: Name,
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
            Self::Set { name, new } => {
                let change = NameChange { name: Some(new) };
                let changed = client.change_project(&name, &change).await?;
                app.output.result(&changed, show)
            }
            Self::Delete { name } => {
                client.delete_project(&name).await?;
                app.output.note(format!("Project {name} is deleted."));
                Ok(())
            }
        }
    }
}
