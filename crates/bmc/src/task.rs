//! Following a task that a change started, to its end.
//!
//! A task monitor answers 202 while it works and the operation's own answer at
//! the end; many BMCs point to the task resource instead, whose state says it.

use std::time::Instant;

use reqwest::Method;
use serde_json::Value;

use crate::error::BmcError;
use crate::http::{Answer, Call, Lost};
use crate::link;
use crate::messages;
use crate::service::Service;
use crate::value::text;

/// What a look at a task told.
enum Look {
    Working(String),
    Done,
    Failed(String),
    Gone(String),
}

impl Service {
    /// Waits for the end of what answered 202.
    pub async fn follow(&self, what: &str, path: &str, answer: &Answer) -> Result<(), BmcError> {
        let body = answer.json();
        let task = answer
            .location()
            .and_then(|l| link::resolve(path, l))
            .or_else(|| {
                let body = body.as_ref()?;
                body.get("TaskState").or_else(|| body.get("JobState"))?;
                link::target(path, body)
            });
        let Some(task) = task else {
            // Accepted, with nothing to follow: that is all that this BMC will say.
            return Ok(());
        };
        let started = Instant::now();
        let mut last = "no answer about the task".to_owned();
        while started.elapsed() < self.http.timeouts.task {
            match self.look(&task).await {
                Look::Done => return Ok(()),
                Look::Failed(detail) => {
                    return Err(BmcError::refused(what, format!("task {task}: {detail}")));
                }
                Look::Gone(detail) => {
                    return Err(BmcError::Uncertain {
                        what: what.to_owned(),
                        detail: format!("task {task}: {detail}"),
                    });
                }
                Look::Working(state) => last = state,
            }
            tokio::time::sleep(self.http.timeouts.poll).await;
        }
        Err(BmcError::Uncertain {
            what: what.to_owned(),
            detail: format!("task {task} has not ended in time: {last}"),
        })
    }

    async fn look(&self, task: &str) -> Look {
        let call = Call {
            method: Method::GET,
            path: task,
            header: None,
            if_match: None,
            body: None,
            timeout: self.http.timeouts.read,
        };
        let answer = match self.send(call).await {
            Ok(answer) => answer,
            Err(Lost::NotSent(error)) => return Look::Working(error.to_string()),
            Err(Lost::MaybeSent(detail)) => return Look::Working(detail),
        };
        match answer.status {
            202 => match answer.json().as_ref().and_then(state) {
                Some(look) => look,
                None => Look::Working("working".to_owned()),
            },
            200..=299 => match answer.json() {
                // A monitor whose operation has ended answers as the operation does.
                None => Look::Done,
                Some(body) => state(&body).unwrap_or(Look::Done),
            },
            404 | 410 => Look::Gone("it is gone and its end is not known".to_owned()),
            401 | 403 | 408 | 429 | 500.. => Look::Working(format!("status {}", answer.status)),
            _ => Look::Failed(messages::words(answer.bytes())),
        }
    }
}

/// What a task resource (or a vendor's job) says of itself.
fn state(body: &Value) -> Option<Look> {
    let state = text(body, "/TaskState").or_else(|| text(body, "/JobState"))?;
    let said = match messages::in_json(body) {
        said if said.is_empty() => text(body, "/Message").unwrap_or_default(),
        said => said,
    };
    let status = text(body, "/TaskStatus").unwrap_or_default();
    Some(match state.to_ascii_lowercase().as_str() {
        "completed" if status.eq_ignore_ascii_case("critical") => {
            Look::Failed(format!("completed, but {status}: {said}"))
        }
        "completed" => Look::Done,
        "exception"
        | "killed"
        | "cancelled"
        | "canceled"
        | "failed"
        | "completedwitherrors"
        | "rebootfailed" => Look::Failed(format!("{state}: {said}")),
        _ => Look::Working(format!("{state}: {said}")),
    })
}
