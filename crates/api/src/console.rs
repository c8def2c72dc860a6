//! Serial consoles, read and typed to: whose they are, and how they are sent.
//!
//! Everybody reads from the recording, at their own pace: a slow reader keeps
//! nobody back and loses nothing, and there is nothing to keep for it in memory.

mod feed;
mod log;
mod session;

pub(crate) use log::{Ask, log};
pub(crate) use session::{Attach, attach};

use axum::http::{HeaderMap, Method};
use billet_console::Record;
use billet_control::consoles::Line;
use billet_model::{
    MachineId, Time, event::AuditRow, lease::Lease, machine::Machine, people::Actor,
};
use billet_plan::console::{begin, end, is_tenants};
use billet_store::{Batch, LeaseFilter};
use serde_json::json;
use std::sync::Arc;

use crate::{
    access::{self, Found, Who},
    app::{App, of_store},
    auth::{self, Bearer},
    problem::Failure,
    streams::Open,
};

/// Whose console it is, as the one who asks sees it.
pub(crate) enum Subject {
    /// A lease's: what its machine wrote meanwhile.
    Lease(Box<Lease>),
    /// A machine's: all of it.
    Machine(MachineId),
}

/// Somebody who looks.
pub(crate) struct Viewer {
    app: App,
    /// Counts among the caller's streams.
    _open: Open,
    headers: HeaderMap,
    /// The path as routed: what it takes to be here.
    path: &'static str,
    pub(crate) subject: Subject,
    /// When the lease was last read.
    read_at: Time,
}

/// Whether a record is shown.
pub(crate) enum Shown {
    Yes,
    No,
    /// Nor is anything after it.
    Over,
}

impl Viewer {
    pub(crate) fn new(
        app: &App,
        open: Open,
        headers: &HeaderMap,
        path: &'static str,
        subject: Subject,
    ) -> Self {
        Self {
            read_at: app.now(),
            app: app.clone(),
            _open: open,
            headers: headers.clone(),
            path,
            subject,
        }
    }

    pub(crate) fn machine(&self) -> MachineId {
        match &self.subject {
            Subject::Lease(lease) => lease.machine,
            Subject::Machine(machine) => *machine,
        }
    }

    pub(crate) fn line(&self) -> Result<Arc<Line>, Failure> {
        Ok(self.app.control().console(self.machine())?)
    }

    /// Reads the lease again.
    pub(crate) async fn look_again(&mut self) -> Result<(), Failure> {
        let Subject::Lease(lease) = &mut self.subject else {
            return Ok(());
        };
        let now = self.app.now();
        let id = lease.id;
        let read = self.app.store().lease(id).await;
        let read = read.map_err(|e| of_store("reading the lease", e))?;
        **lease = read.ok_or_else(|| Failure::not_found("lease", &id.to_string()))?;
        self.read_at = now;
        Ok(())
    }

    /// Whether a record is this viewer's. The lease is read after the record was
    /// made: what comes when it is being taken back is nobody's to see.
    pub(crate) async fn shows(&mut self, record: &Record) -> Result<Shown, Failure> {
        if record.at >= self.read_at {
            self.look_again().await?;
        }
        let Subject::Lease(lease) = &self.subject else {
            return Ok(Shown::Yes);
        };
        if end(lease).is_some_and(|end| record.at >= end) {
            return Ok(Shown::Over);
        }
        let from = match record.content {
            // A gap is known by its end; what of it is before is not told.
            billet_console::Content::Gap(_) => record.at,
            billet_console::Content::Removed(_) => return Ok(Shown::No),
            _ => record.from,
        };
        Ok(match is_tenants(lease, from, record.at) {
            true => Shown::Yes,
            false => Shown::No,
        })
    }

    /// From when on anything is shown.
    pub(crate) fn begin(&self) -> Option<Time> {
        match &self.subject {
            Subject::Lease(lease) => Some(begin(lease)),
            Subject::Machine(_) => None,
        }
    }

    /// Why nothing was seen, as this viewer is told: a BMC's words are not a tenant's.
    pub(crate) fn why(&self, why: String) -> String {
        match self.subject {
            Subject::Machine(_) => why,
            Subject::Lease(_) => "the console was not connected".into(),
        }
    }

    /// Whether the caller still may be here, by the rights of now.
    pub(crate) async fn still_may(&self) -> bool {
        let Ok(mut bearer) = auth::sign_in(&self.app, &self.headers, None).await else {
            return false;
        };
        let Found::Rule(rule) = access::find(&Method::GET, self.path) else {
            return false;
        };
        let Who::Bearers(roles) = rule.who else {
            return false;
        };
        let owner = match &self.subject {
            Subject::Lease(lease) => Some(lease.project),
            Subject::Machine(_) => None,
        };
        bearer.keep(roles) && rule.within(&bearer.token.scopes) && bearer.sees(owner)
    }
}

/// A row about what is done at a machine's console.
pub(crate) fn row(
    app: &App,
    actor: &Actor,
    action: &str,
    machine: MachineId,
    lease: Option<&Lease>,
    detail: serde_json::Value,
) -> AuditRow {
    let mut row = app.control().audit_row(actor, action, detail);
    row.machine = Some(machine);
    row.lease = lease.map(|l| l.id);
    row.project = lease.map(|l| l.project);
    row
}

/// Puts on record that somebody who is not of the tenant's project reads what its
/// machine wrote: for each lease that it may be of.
pub(crate) async fn on_record(
    app: &App,
    bearer: &Bearer,
    subject: &Subject,
    since: Option<Time>,
    until: Option<Time>,
) -> Result<(), Failure> {
    if !bearer.is_operator() {
        return Ok(());
    }
    let leases = match subject {
        Subject::Lease(lease) => vec![(**lease).clone()],
        Subject::Machine(machine) => {
            let filter = LeaseFilter {
                machine: Some(*machine),
                ..LeaseFilter::default()
            };
            let read = app.store().leases(&filter, None, 1000).await;
            read.map_err(|e| of_store("reading leases", e))?
        }
    };
    let mut batch = Batch::new();
    let detail = json!({ "since": since, "until": until });
    for lease in &leases {
        let before = end(lease).is_some_and(|end| since.is_some_and(|since| end < since));
        let after = until.is_some_and(|until| until < lease.created_at);
        if !before && !after {
            let actor = bearer.actor();
            let (machine, detail) = (lease.machine, detail.clone());
            batch = batch.audited(row(
                app,
                &actor,
                "lease.console_read",
                machine,
                Some(lease),
                detail,
            ));
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    app.commit("reading a console", batch).await
}

/// The lease that has a machine now.
pub(crate) async fn tenant_of(app: &App, machine: &Machine) -> Result<Option<Lease>, Failure> {
    let Some(lease) = machine.lease else {
        return Ok(None);
    };
    let read = app.store().lease(lease).await;
    read.map_err(|e| of_store("reading the lease", e))
}
