//! Operations: long work that can be followed.

use billet_model::{
    OperationId,
    api::Page,
    operation::{Operation as Op, OperationState},
};
use clap::Subcommand;

use crate::{
    app::App,
    failure::Failure,
    human,
    output::{card, list, maybe},
    progress,
};

/// List, show and follow long work.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// List operations.
    ///
    /// The latest last. Tenants see those of their project's leases and images.
    #[command(after_help = "Examples:\n  billet operation list --state running")]
    List {
        /// Only these: running, succeeded or failed.
        #[arg(long)]
        state: Option<String>,
        /// Only those on this machine, by id.
        #[arg(long)]
        machine: Option<String>,
        /// Only those for this lease, by id.
        #[arg(long)]
        lease: Option<String>,
    },
    /// Show an operation.
    ///
    /// Shows what is being done, how far it is, or what came of it.
    #[command(
        after_help = "Examples:\n  billet operation show 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50 -o json"
    )]
    Show {
        /// Its id.
        #[arg(value_parser = human::parse_id::<OperationId>)]
        id: OperationId,
    },
    /// Follow an operation to its end.
    ///
    /// Exits with 0 when it succeeded, with 1 when it failed. It does not matter when following
    /// begins, and to stop following does not stop the operation.
    #[command(
        after_help = "Examples:\n  billet operation follow 019a2f0e-7c1b-7d1e-9f5a-3b1c2d3e4f50"
    )]
    Follow {
        /// Its id.
        #[arg(value_parser = human::parse_id::<OperationId>)]
        id: OperationId,
    },
}

impl Operation {
    /// Carries it out.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        match self {
            Self::List {
                state,
                machine,
                lease,
            } => {
                let filters = super::filters(&[
                    ("state", state.as_deref()),
                    ("machine", machine.as_deref()),
                    ("lease", lease.as_deref()),
                ]);
                let items = client.operations(&filters).all().await?;
                let page = Page { items, next: None };
                app.output.result(&page, |page| table(&page.items))
            }
            Self::Show { id } => {
                let operation = client.operation(id).await?;
                app.output.result(&operation, show)
            }
            Self::Follow { id } => {
                let label = client.operation(id).await?.kind.as_str();
                let operation = progress::follow(app, &client, label, id).await?;
                app.output.result(&operation, show)
            }
        }
    }
}

fn table(operations: &[Op]) -> String {
    list(
        ["id", "kind", "state", "began", "took#", "what"],
        operations.iter().map(|o| {
            [
                o.id.to_string(),
                o.kind.as_str().to_owned(),
                o.state.as_str().to_owned(),
                human::time(o.created_at),
                took(o),
                match (&o.progress, o.state) {
                    (Some(progress), OperationState::Running) => progress::describe(progress),
                    _ => o.message.clone(),
                },
            ]
        }),
    )
}

fn took(operation: &Op) -> String {
    let Some(end) = operation.ended_at else {
        return String::new();
    };
    let length = end.duration_since(operation.created_at);
    length.try_into().map(human::length).unwrap_or_default()
}

/// An operation for people.
pub fn show(o: &Op) -> String {
    card([
        ("id", o.id.to_string()),
        ("kind", o.kind.as_str().to_owned()),
        ("state", o.state.as_str().to_owned()),
        ("message", o.message.clone()),
        (
            "progress",
            o.progress
                .as_ref()
                .filter(|_| o.state == OperationState::Running)
                .map(progress::describe)
                .unwrap_or_default(),
        ),
        ("machine", maybe(o.machine)),
        ("lease", maybe(o.lease)),
        ("began", human::time(o.created_at)),
        ("took", took(o)),
    ])
}
