//! Following an operation: answered when it changes, or when the time is up.

use std::time::Duration;

use billet_model::{OperationId, operation::Operation};
use billet_store::StoreError;

use crate::Control;

impl Control {
    /// The operation, as soon as it is another than the one seen, or ended, or
    /// the time is up.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn wait_operation(
        &self,
        id: OperationId,
        seen: Option<&Operation>,
        at_most: Duration,
    ) -> Result<Option<Operation>, StoreError> {
        let end = tokio::time::Instant::now() + at_most;
        loop {
            let Some(operation) = self.store().operation(id).await? else {
                return Ok(None);
            };
            let news = operation.ended_at.is_some() || seen.is_none_or(|s| *s != operation);
            let now = tokio::time::Instant::now();
            if news || now >= end {
                return Ok(Some(operation));
            }
            // The database is the one place that all replicas share, so it is asked.
            tokio::time::sleep_until(end.min(now + Duration::from_millis(250))).await;
        }
    }
}
