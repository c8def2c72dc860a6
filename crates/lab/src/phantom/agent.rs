//! A phantom's agent: speaks the agent's channel as the real one does, and does its tasks by
//! pretending.

use std::sync::Arc;
use std::time::Duration;

use billet_model::work::{Progress, Task, WorkFailure, WorkOutcome};
use billet_protocol::agent::{Confirm, Hello, PREFIX, Welcome};
use billet_protocol::boot::BootRecord;
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::work::{self, Done};
use super::{Jump, Shared};
use crate::metal::MetalEvent;

/// How long to wait before calling again after a call that failed.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a call may take beyond what it waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a call did not succeed.
#[derive(Debug)]
enum CallError {
    /// The token is not, or no longer, known.
    Stop,
    /// Anything that may pass.
    Trouble(String),
}

/// The channel to the control plane.
pub(super) struct Channel<'a> {
    client: reqwest::Client,
    servers: Vec<Url>,
    record: &'a BootRecord,
}

impl Channel<'_> {
    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        wait: Duration,
    ) -> Result<Option<A>, CallError> {
        let mut last = CallError::Trouble("the boot record names no server".into());
        for server in &self.servers {
            match self.call_one(server, &method, path, body, wait).await {
                Err(CallError::Trouble(why)) => last = CallError::Trouble(why),
                other => return other,
            }
        }
        Err(last)
    }

    async fn call_one<B: Serialize, A: DeserializeOwned>(
        &self,
        server: &Url,
        method: &Method,
        path: &str,
        body: Option<&B>,
        wait: Duration,
    ) -> Result<Option<A>, CallError> {
        let trouble = |e: &dyn std::fmt::Display| CallError::Trouble(e.to_string());
        let url = server
            .join(&format!("{PREFIX}/{path}"))
            .map_err(|e| trouble(&e))?;
        let mut request = self
            .client
            .request(method.clone(), url)
            .bearer_auth(self.record.token.expose())
            .timeout(wait + PATIENCE);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| trouble(&e))?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(CallError::Stop),
            StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => {
                response.json().await.map(Some).map_err(|e| trouble(&e))
            }
            status => Err(CallError::Trouble(format!("{path}: {status}"))),
        }
    }

    async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<Option<A>, CallError> {
        self.call::<(), A>(Method::GET, path, None, wait).await
    }

    async fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<Option<A>, CallError> {
        self.call(Method::POST, path, Some(body), Duration::ZERO)
            .await
    }

    /// The record of the boot that it is of.
    pub fn record(&self) -> &BootRecord {
        self.record
    }

    /// Whether the ramdisk's first bytes can be had: a phantom runs none of it.
    pub async fn has_ramdisk(&self) -> bool {
        for server in &self.servers {
            let Ok(url) = server.join(&format!("{PREFIX}/ramdisk")) else {
                continue;
            };
            let request = self
                .client
                .get(url)
                .bearer_auth(self.record.token.expose())
                .header(reqwest::header::RANGE, "bytes=0-0")
                .timeout(PATIENCE);
            if let Ok(response) = request.send().await
                && response.status().is_success()
            {
                return true;
            }
        }
        false
    }

    /// An image's manifest.
    pub async fn manifest(&self, digest: &str) -> Option<billet_model::image::ImageManifest> {
        self.get(&format!("images/{digest}/manifest"), Duration::ZERO)
            .await
            .ok()
            .flatten()
    }
}

/// Where a phantom reaches a server: what machines reach under the host's alias, it reaches on
/// the loopback, where it is itself.
pub(super) fn reach(shared: &Shared, url: &str) -> Option<Url> {
    let mut url = Url::parse(url).ok()?;
    if url.host_str() == Some(shared.host_alias.to_string().as_str()) {
        url.set_host(Some("127.0.0.1")).ok()?;
    }
    Some(url)
}

/// Run until the power goes, or another kernel is started: which, then.
pub(super) async fn run(shared: &Arc<Shared>, record: &BootRecord, boot: u64) -> Option<Jump> {
    let client = match shared.clients.trusting(&record.authority) {
        Ok(client) => client,
        Err(e) => {
            shared.say(format!("the boot record's authority cannot be used: {e}"));
            return std::future::pending().await;
        }
    };
    let channel = Channel {
        client,
        servers: record
            .servers
            .iter()
            .filter_map(|s| reach(shared, s))
            .collect(),
        record,
    };
    let hello = Hello {
        version: format!("{} (phantom)", env!("CARGO_PKG_VERSION")),
        serial: Some(shared.facts.serial.clone()),
        kernel_boot_id: shared
            .maker
            .uuid(&format!("boot {boot} {}", rand::random::<u64>())),
        uptime_seconds: 1,
    };
    let welcome: Welcome = loop {
        match channel.post("hello", &hello).await {
            Ok(Some(welcome)) => break welcome,
            Ok(None) => {}
            Err(CallError::Stop) => return refused(shared),
            Err(CallError::Trouble(why)) => shared.say(format!("calling home: {why}")),
        }
        tokio::time::sleep(AGAIN).await;
    };
    shared.say(format!(
        "billet-agent on {}: waiting for tasks",
        welcome.machine
    ));
    let wait = Duration::from_secs(welcome.wait_seconds);
    let mut last_done = None;
    loop {
        let path = format!("task?wait={}", welcome.wait_seconds);
        match channel.get::<Task>(&path, wait).await {
            Ok(Some(task)) => {
                let again = last_done == Some(task.id);
                last_done = Some(task.id);
                if again {
                    // Its outcome was taken; the next comes when the control plane knows it.
                    tokio::time::sleep(AGAIN).await;
                }
                match carry_out(shared, &channel, &task).await {
                    Ok(Some(jump)) => return Some(jump),
                    Ok(None) | Err(CallError::Trouble(_)) => {}
                    Err(CallError::Stop) => return refused(shared),
                }
            }
            Ok(None) => {}
            Err(CallError::Stop) => return refused(shared),
            Err(CallError::Trouble(why)) => {
                shared.say(format!("asking for a task: {why}"));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn refused(shared: &Shared) -> Option<Jump> {
    shared.say("the control plane knows this boot no more: powering off");
    shared.end(MetalEvent::PoweredOff);
    None
}

async fn carry_out(
    shared: &Arc<Shared>,
    channel: &Channel<'_>,
    task: &Task,
) -> Result<Option<Jump>, CallError> {
    let kind = task.work.word();
    shared.say(format!("task {}: {kind}", task.id));
    if kind.writes() && !confirmed(shared, channel, task).await? {
        let outcome = WorkOutcome::Failed {
            kind: WorkFailure::Superseded,
            detail: "the task is no longer current".into(),
        };
        report(shared, channel, task, &outcome).await?;
        return Ok(None);
    }
    let progress = Progress {
        step: kind.to_string(),
        done: 1,
        total: 2,
        unit: "steps".into(),
    };
    match channel
        .post::<_, Confirm>(&format!("tasks/{}/progress", task.id), &progress)
        .await
    {
        Err(CallError::Stop) => return Err(CallError::Stop),
        Ok(Some(Confirm { current: false })) => {
            shared.say("the task is no longer current");
            return Ok(None);
        }
        // Progress is told again with the outcome.
        Ok(_) | Err(CallError::Trouble(_)) => {}
    }
    tokio::time::sleep(shared.pace).await;
    match work::carry_out(shared, channel, task).await {
        Done::Outcome(outcome) => {
            report(shared, channel, task, &outcome).await?;
            Ok(None)
        }
        Done::Jump(loaded, jump) => {
            // Only once that is acknowledged is anything given up.
            report(shared, channel, task, &WorkOutcome::Starting(loaded)).await?;
            shared.say("starting another kernel by kexec");
            Ok(Some(jump))
        }
        Done::Silence => std::future::pending().await,
        Done::PowerCut => {
            shared.end(MetalEvent::Died("a fault was asked for".into()));
            std::future::pending().await
        }
    }
}

async fn confirmed(shared: &Shared, channel: &Channel<'_>, task: &Task) -> Result<bool, CallError> {
    loop {
        let path = format!("tasks/{}/confirm", task.id);
        match channel
            .post::<_, Confirm>(&path, &serde_json::json!({}))
            .await
        {
            Ok(Some(confirm)) => return Ok(confirm.current),
            Ok(None) => return Ok(false),
            Err(CallError::Stop) => return Err(CallError::Stop),
            Err(CallError::Trouble(why)) => {
                shared.say(format!("asking whether to write: {why}"));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn report(
    shared: &Shared,
    channel: &Channel<'_>,
    task: &Task,
    outcome: &WorkOutcome,
) -> Result<(), CallError> {
    loop {
        let path = format!("tasks/{}/outcome", task.id);
        match channel.post::<_, serde_json::Value>(&path, outcome).await {
            Ok(_) => return Ok(()),
            Err(CallError::Stop) => return Err(CallError::Stop),
            Err(CallError::Trouble(why)) => {
                shared.say(format!("telling the outcome: {why}"));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
