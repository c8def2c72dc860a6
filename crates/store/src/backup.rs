//! A copy of the database while it is in use, and what is done to a database
//! that was such a copy: nothing on it is believed until it was looked at.

use std::path::{Path, PathBuf};

use billet_model::{MachineId, event::AuditRow, people::Actor};
use jiff::Timestamp;

use crate::{
    Batch, EngineKind, MachineFilter, Store, Write,
    batch::own_event_id,
    error::{Result, StoreError},
    statement::Statement,
};

impl Store {
    /// Copies the database, as it is at one moment, into a new file `to`. What
    /// stands there is a whole backup or nothing.
    ///
    /// # Errors
    /// `NotHere` on PostgreSQL, with what to do instead, and in memory; `Constraint` when there
    /// is something at `to`; `Database` when it cannot be written.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        if self.engine.kind() == EngineKind::Postgres {
            return Err(StoreError::NotHere(
                "a database in PostgreSQL is backed up with PostgreSQL's own tools: \
                 run `pg_dump --format=custom --file=billet.dump DATABASE-URL`, and \
                 `pg_restore --clean --if-exists --dbname=DATABASE-URL billet.dump` to restore it, \
                 with every server stopped; before one is started again, \
                 `billet restore --mark --database DATABASE-URL` holds its machines"
                    .into(),
            ));
        }
        let failed = |what: &str, path: &Path, e: std::io::Error| StoreError::Database {
            doing: format!("{what} {}", path.display()),
            source: sqlx::Error::Io(e),
        };
        let taken = |path: &Path| StoreError::Constraint {
            what: "backup",
            id: path.display().to_string(),
            rule: "there is a file of this name already".into(),
        };
        if to.exists() {
            return Err(taken(to));
        }
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match std::fs::remove_file(&partial) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("removing an unfinished backup at", &partial, e));
            }
            _ => {}
        }
        let copy = Statement::new("VACUUM INTO $1", "backup", partial.display())
            .bind(partial.to_string_lossy().into_owned());
        if self.engine.execute_apart(copy).await?.is_none() {
            return Err(StoreError::NotHere(
                "a database in memory is not backed up: keep it in a file".into(),
            ));
        }
        std::fs::File::open(&partial)
            .and_then(|file| file.sync_all())
            .map_err(|e| failed("writing out the backup at", &partial, e))?;
        // A link and not a rename: it never takes the place of another file.
        std::fs::hard_link(&partial, to).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => taken(to),
            _ => failed("putting the backup at", to, e),
        })?;
        std::fs::remove_file(&partial).map_err(|e| failed("removing", &partial, e))?;
        if let Some(folder) = to.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|e| failed("writing out the folder", folder, e))?;
        }
        Ok(())
    }

    /// Marks every machine `unconfirmed` and drops all claims, with an audit row
    /// for each machine and one for the restore: to be called on a database that
    /// was a backup, before anything works with it. The number of machines.
    ///
    /// # Errors
    /// When the database fails; then nothing was marked.
    pub async fn mark_restored(&self, at: Timestamp) -> Result<u64> {
        let row = |action: &str, machine: Option<MachineId>, detail: serde_json::Value| AuditRow {
            id: own_event_id(at),
            at,
            actor: Actor::Billet,
            action: action.to_owned(),
            machine,
            lease: None,
            image: None,
            project: None,
            detail,
        };
        let mut batch = Batch::new();
        let mut after = None;
        loop {
            let page = self.machines(&MachineFilter::default(), after, 500).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for mut machine in page {
                machine.unconfirmed = true;
                batch.audit.push(row(
                    "machine.unconfirmed",
                    Some(machine.id),
                    serde_json::json!({ "why": "restored from a backup" }),
                ));
                batch.writes.push(Write::PutMachine(Box::new(machine)));
            }
        }
        let machines = batch.writes.len() as u64;
        batch.audit.push(row(
            "store.restored",
            None,
            serde_json::json!({ "machines": machines }),
        ));
        self.commit(batch).await?;
        self.execute(Statement::new(
            "UPDATE machines SET claimed_by = NULL, claimed_until = NULL",
            "claims",
            "",
        ))
        .await?;
        Ok(machines)
    }
}
