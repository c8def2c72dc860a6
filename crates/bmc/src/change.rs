//! Changing: sent once, and its end told apart without guessing.
//!
//! A refusal (4xx) did nothing. A success did it, or started a task that is
//! followed to its end. Anything else, once a byte was sent, is uncertain: a
//! slow BMC may still do it minutes later.

use reqwest::Method;
use serde_json::Value;

use crate::error::BmcError;
use crate::http::{Call, Lost};
use crate::messages;
use crate::service::Service;
use crate::value::Resource;

/// A refusal keeps the BMC's words, to look for meanings in.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub error: BmcError,
    /// It says that things are as wanted already.
    pub already: bool,
    /// It says that a medium must come out first.
    pub eject_first: bool,
}

impl From<BmcError> for Refusal {
    fn from(error: BmcError) -> Self {
        Self {
            error,
            already: false,
            eject_first: false,
        }
    }
}

impl Refusal {
    /// Whether trying in another way is safe and could help: a clear refusal
    /// of this request, not of us.
    pub fn try_otherwise(&self) -> bool {
        matches!(self.error, BmcError::Refused { .. })
    }
}

impl Service {
    /// Carries out one change and waits for its end.
    pub async fn change(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        if_match: Option<&str>,
    ) -> Result<(), Refusal> {
        let what = format!("{method} {path}");
        let call = Call {
            method,
            path,
            header: None,
            if_match,
            // A deletion has none.
            body: (!body.is_null()).then_some(body),
            timeout: self.http.timeouts.change,
        };
        let answer = match self.send(call).await {
            Ok(answer) => answer,
            Err(Lost::NotSent(error)) => return Err(error.into()),
            Err(Lost::MaybeSent(detail)) => return Err(BmcError::Uncertain { what, detail }.into()),
        };
        let status = answer.status;
        let detail = || format!("status {status}: {}", messages::words(answer.bytes()));
        match status {
            202 => Ok(self.follow(&what, path, &answer).await?),
            200..=299 => Ok(()),
            401 | 403 if messages::says_password_change(answer.bytes()) => {
                Err(self.must_change(what, answer.bytes()).into())
            }
            401 | 403 => Err(BmcError::Credentials {
                what,
                detail: detail(),
            }
            .into()),
            // 408 says that our request was not understood to its end, not that it had no effect.
            // 501 and 505 say that the BMC does not know how.
            300..=407 | 409..=499 | 501 | 505 => Err(Refusal {
                already: messages::says_already(answer.bytes()),
                eject_first: messages::says_eject_first(answer.bytes()),
                error: BmcError::Refused {
                    what,
                    status: Some(status),
                    detail: detail(),
                },
            }),
            _ => Err(BmcError::Uncertain {
                what,
                detail: detail(),
            }
            .into()),
        }
    }

    /// Patches a resource as it was read. Where its ETag went stale it is read
    /// again once; where the BMC will not have an ETag, it goes without.
    pub async fn patch(&self, resource: &Resource, body: &Value) -> Result<(), Refusal> {
        let path = &resource.path;
        let first = self
            .change(Method::PATCH, path, body, resource.etag.as_deref())
            .await;
        if !stale(&first) {
            return first;
        }
        let fresh = self.read(path).await?;
        if fresh.etag.is_some() {
            let second = self
                .change(Method::PATCH, path, body, fresh.etag.as_deref())
                .await;
            if !stale(&second) {
                return second;
            }
        }
        self.change(Method::PATCH, path, body, None).await
    }
}

/// Whether a change was refused for its ETag: 412 (does not match) or 428 (wants one).
fn stale(outcome: &Result<(), Refusal>) -> bool {
    matches!(outcome, Err(r) if matches!(r.error.status(), Some(412 | 428)))
}
