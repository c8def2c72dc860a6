//! What happens, as it happens.

use billet_model::event::SealedRow;
use clap::Args;

use super::audit::line;
use crate::{
    app::App,
    failure::Failure,
    output::{Format, print},
};

/// Show what happens, as it happens.
///
/// Rows of the audit log that you may see, one a line. With --follow it goes on until it is stopped,
/// through restarts of the server, and misses nothing: with `-o json` each line has the `index` to go
/// on from later, with --from one more.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  billet events --follow
  billet events --follow --action lease. -o json
  billet events --from 1042 -o json")]
pub struct Events {
    /// Wait for what comes; else end with what there is.
    #[arg(long, short)]
    follow: bool,
    /// From this place in the log on; from now on where absent, or with no --follow from the
    /// beginning.
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Only actions that begin so, as `lease.` or `machine.lifecycle`.
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
}

impl Events {
    /// Shows them.
    pub async fn run(self, app: &App) -> Result<(), Failure> {
        let client = app.client().await?;
        let filters = super::filters(&[
            ("action", self.action.as_deref()),
            ("machine", self.machine.as_deref()),
            ("lease", self.lease.as_deref()),
            ("project", self.project.as_deref()),
        ]);
        let from = match (self.from, self.follow) {
            (None, false) => Some(0),
            (from, _) => from,
        };
        let mut events = client.events(&filters, from, self.follow);
        while let Some(row) = events.next().await? {
            print(&match app.output.format {
                Format::Json => json_line(&row)?,
                Format::Table => {
                    let parts = line(&row).into_iter().filter(|part| !part.is_empty());
                    parts.collect::<Vec<_>>().join("  ") + "\n"
                }
            })?;
        }
        Ok(())
    }
}

fn json_line(row: &SealedRow) -> Result<String, Failure> {
    serde_json::to_string(row)
        .map(|text| text + "\n")
        .map_err(|error| Failure::failed(format!("writing JSON: {error}")))
}
