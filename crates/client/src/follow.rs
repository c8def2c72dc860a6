//! Following an operation to its end, through restarts of the server.

use std::time::{Duration, Instant};

use billet_model::{
    OperationId,
    operation::{Operation, OperationState},
};

use crate::{Result, call::part, client::Client, error::ClientError};

/// How long one long poll waits at most.
const POLL: Duration = Duration::from_secs(10);

/// What a follower is told.
#[derive(Debug)]
pub enum Followed<'o> {
    /// The operation: at first, whenever it changed, and every ten seconds.
    Now(&'o Operation),
    /// The server cannot be reached since this long; it is being tried again.
    Away {
        /// Since when.
        since: Duration,
        /// Why it cannot be reached.
        why: &'o ClientError,
    },
}

impl Client {
    /// An operation as it is now.
    ///
    /// # Errors
    /// As every call.
    pub async fn operation(&self, id: OperationId) -> Result<Operation> {
        self.get(format!("/v1/operations/{}", part(&id.to_string())))
            .json()
            .await
    }

    /// Follows an operation until it is over and gives it back, succeeded or failed. `tell` hears
    /// of every change, and every ten seconds that there is none. A server that goes away is waited for as patience says: operations survive
    /// a restart of the control plane.
    ///
    /// # Errors
    /// As every call; [`ClientError::Unreachable`] or [`ClientError::Lost`] when the server stayed
    /// away. The operation itself goes on.
    pub async fn follow(
        &self,
        id: OperationId,
        mut tell: impl FnMut(Followed<'_>),
    ) -> Result<Operation> {
        let path = format!("/v1/operations/{}", part(&id.to_string()));
        let mut tag: Option<String> = None;
        let mut away: Option<Instant> = None;
        loop {
            let mut call = self.get(path.clone());
            if let Some(tag) = &tag {
                call = call
                    .query("wait", POLL.as_secs())
                    .query("seen", tag)
                    .wait(POLL);
            }
            let asked = Instant::now();
            let answer = match call.answer().await {
                Ok(answer) => answer,
                Err(error) if error.is_connection() => {
                    let since = away.get_or_insert(asked).elapsed();
                    if since > self.patience.follow {
                        return Err(error);
                    }
                    tell(Followed::Away { since, why: &error });
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            away = None;
            tag = answer.0;
            let operation: Operation =
                serde_json::from_slice(&answer.1).map_err(|error| ClientError::Malformed {
                    asked: format!("GET {path}"),
                    detail: error.to_string(),
                })?;
            tell(Followed::Now(&operation));
            if operation.state != OperationState::Running {
                return Ok(operation);
            }
            // A server that does not wait must not be asked without a pause.
            if asked.elapsed() < Duration::from_millis(200) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}
