//! What happened and what was signed: operations, evidence, the audit log.

use billet_model::{
    api::{BackupMade, SigningKey},
    call::ApiCall,
    event::SealedRow,
    evidence::Evidence,
    operation::Operation,
};
use serde_json::Value;

use crate::{Result, call::part, client::Client, pages::Pages};

impl Client {
    /// Operations that the caller may see.
    pub fn operations(&self, filters: &[(&str, &str)]) -> Pages<'_, Operation> {
        self.pages("/v1/operations", filters)
    }

    /// Evidence that the caller may see.
    pub fn evidence(&self, filters: &[(&str, &str)]) -> Pages<'_, Evidence> {
        self.pages("/v1/evidence", filters)
    }

    /// One piece of evidence, by id.
    ///
    /// # Errors
    /// As every call.
    pub async fn evidence_item(&self, id: &str) -> Result<Evidence> {
        self.get(format!("/v1/evidence/{}", part(id))).json().await
    }

    /// The keys that sign evidence, now and in the past.
    ///
    /// # Errors
    /// As every call.
    pub async fn evidence_keys(&self) -> Result<Vec<SigningKey>> {
        self.get("/v1/evidence-keys").json().await
    }

    /// Rows of the audit log.
    pub fn audit(&self, filters: &[(&str, &str)]) -> Pages<'_, SealedRow> {
        self.pages("/v1/audit", filters)
    }

    /// Calls of the API, as they were recorded.
    pub fn calls(&self, filters: &[(&str, &str)]) -> Pages<'_, ApiCall> {
        self.pages("/v1/calls", filters)
    }

    /// A slice of the audit log with its proofs: to be kept as it is, so it stays JSON.
    ///
    /// # Errors
    /// As every call.
    pub async fn audit_export(&self, filters: &[(&str, &str)]) -> Result<Value> {
        let mut call = self.get("/v1/audit/export");
        for (name, value) in filters {
            call = call.query(name, value);
        }
        call.json().await
    }

    /// Makes a backup of the database in the server's data directory.
    ///
    /// # Errors
    /// As every call.
    pub async fn backup(&self) -> Result<BackupMade> {
        self.post("/v1/backup").json().await
    }
}
