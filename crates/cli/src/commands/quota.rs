//! Quotas of machines.

use billet_model::{
    Name,
    api::{Page, QuotaChange, QuotaView},
};
use clap::Subcommand;

use crate::{app::App, failure::Failure, output::list};

/// Quotas: how many machines of a type a project or an organisation may hold at once.
#[derive(Debug, Subcommand)]
pub enum Quota {
    /// List quotas, and how much of each is used.
    ///
    /// Tenants see those that count for their projects.
    #[command(after_help = "Examples:
  billet quota list
  billet quota list --project vision -o json")]
    List {
        /// Only those that count for this project.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
    },
    /// Set a quota.
    ///
    /// What is held beyond it already stays; no more is granted. Where a project's and its
    /// organisation's quota both count, both are kept.
    #[command(after_help = "Examples:
  billet quota set --project vision --type h100-sxm5-80g.8x --most 4
  billet quota set --organisation acme --type h100-sxm5-80g.8x --most 16")]
    Set {
        #[command(flatten)]
        whose: Whose,
        /// So many machines at most.
        #[arg(long, value_name = "COUNT")]
        most: u32,
    },
    /// Take a quota away.
    ///
    /// Machines of the type are then granted as long as there are any.
    #[command(after_help = "Examples:
  billet quota delete --project vision --type h100-sxm5-80g.8x")]
    Delete {
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whose quota it is, and of what.
#[derive(Debug, clap::Args)]
pub struct Whose {
    /// The project's.
    #[arg(long, value_name = "NAME", required_unless_present = "organisation")]
    project: Option<String>,
    /// The organisation's, for all of its projects together.
    #[arg(long, value_name = "NAME", conflicts_with = "project")]
    organisation: Option<String>,
    /// The machine type.
    #[arg(long = "type", value_name = "NAME")]
    machine_type: Name,
}

impl Whose {
    fn change(self, most: Option<u32>) -> QuotaChange {
        QuotaChange {
            project: self.project,
            organisation: self.organisation,
            machine_type: self.machine_type,
            most,
        }
    }
}

impl Quota {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        match self {
            Self::List { project } => {
                let filters = super::filters(&[("project", project.as_deref())]);
                let page = client.quotas(&filters).await?;
                app.output.result(&page, table)
            }
            Self::Set { whose, most } => {
                let page = client.set_quota(&whose.change(Some(most))).await?;
                app.output.result(&page, table)
            }
            Self::Delete { whose } => {
                client.set_quota(&whose.change(None)).await?;
                app.output.note("The quota is gone.");
                Ok(())
            }
        }
    }
}

fn table(page: &Page<QuotaView>) -> String {
    list(
        ["type", "whose", "used#", "most#"],
        page.items.iter().map(|q| {
            let whose = match (&q.organisation, &q.project) {
                (Some(name), _) => format!("organisation {name}"),
                (None, Some(name)) => format!("project {name}"),
                (None, None) => String::new(),
            };
            [
                q.machine_type.to_string(),
                whose,
                q.used.to_string(),
                q.most.to_string(),
            ]
        }),
    )
}
