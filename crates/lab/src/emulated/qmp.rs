//! QEMU's machine protocol: commands with their answers, and events.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};

use crate::metal::MetalError;

/// How long QEMU may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(20);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A connection to a QEMU process.
pub(super) struct Qmp {
    out: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Waiting,
    next: AtomicU64,
}

fn refused(doing: &'static str, message: impl Into<String>) -> MetalError {
    MetalError::Emulator {
        doing,
        message: message.into(),
    }
}

impl Qmp {
    /// Connect, and send on to `events` what QEMU tells by itself. When QEMU is gone, the
    /// channel closes.
    pub async fn connect(
        socket: &Path,
        events: mpsc::Sender<Value>,
    ) -> Result<Arc<Self>, MetalError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(MetalError::io("connecting to QEMU at", socket.display()))?;
        let (read, write) = stream.into_split();
        let waiting: Waiting = Arc::default();
        let qmp = Arc::new(Self {
            out: tokio::sync::Mutex::new(write),
            waiting: Arc::clone(&waiting),
            next: AtomicU64::new(1),
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(message) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if message.get("event").is_some() {
                    // Nobody listens any more where the machine is being stopped.
                    let _ = events.send(message).await;
                } else if let Some(id) = message.get("id").and_then(Value::as_u64) {
                    let waiter = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&id);
                    if let Some(waiter) = waiter {
                        let _ = waiter.send(message);
                    }
                }
            }
            // Whoever still waits learns that no answer will come.
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        });
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Carry out a command and give back what it returns.
    pub async fn execute(
        &self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, MetalError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, answer);
        let mut line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        line.push('\n');
        self.out
            .lock()
            .await
            .write_all(line.as_bytes())
            .await
            .map_err(MetalError::io("telling QEMU", command))?;
        let message = match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(message)) => message,
            Ok(Err(_)) => return Err(refused(command, "QEMU has gone")),
            Err(_) => return Err(refused(command, "QEMU does not answer")),
        };
        if let Some(error) = message.get("error") {
            let text = error.get("desc").and_then(Value::as_str);
            return Err(refused(command, text.unwrap_or("refused")));
        }
        Ok(message.get("return").cloned().unwrap_or(Value::Null))
    }
}
