//! One console: its recording, its connection, and who types.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use billet_console::Recorder;
use billet_model::Time;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Pieces that may wait to be typed.
const TYPED: usize = 16;

/// Whether a console is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Since when it is.
    pub connected: Option<Time>,
    /// Since when it is not, and nothing is seen.
    pub gap: Option<Time>,
    /// Why not, in words for operators.
    pub why: Option<String>,
}

/// Who types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The number of the session.
    pub session: u64,
    /// Who it is, in words.
    pub who: String,
}

/// One console.
pub struct Line {
    /// What was recorded.
    pub recorder: Recorder,
    state: watch::Sender<State>,
    writer: watch::Sender<Option<Writer>>,
    sessions: AtomicU64,
    typed: mpsc::Sender<Vec<u8>>,
    /// Taken by the connection while there is one.
    pub(super) typing: tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Line {
    pub(super) fn new(recorder: Recorder) -> Self {
        let (typed, typing) = mpsc::channel(TYPED);
        Self {
            recorder,
            state: watch::Sender::default(),
            writer: watch::Sender::default(),
            sessions: AtomicU64::new(1),
            typed,
            typing: tokio::sync::Mutex::new(typing),
            task: Mutex::default(),
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.task().as_ref().is_some_and(|task| !task.is_finished())
    }

    pub(super) fn keep<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) {
        let mut task = self.task();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(work(self.clone())));
        }
    }

    pub(super) fn stop(&self) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
    }

    /// Whether it is connected.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Tells of each change of that.
    pub fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.send_if_modified(|known| {
            let other = *known != state;
            *known = state;
            other
        });
    }

    /// Who types, if anybody does.
    pub fn writer(&self) -> Option<Writer> {
        self.writer.borrow().clone()
    }

    /// Tells of each change of that.
    pub fn writers(&self) -> watch::Receiver<Option<Writer>> {
        self.writer.subscribe()
    }

    /// Makes somebody the one who types; with `force`, in place of whoever does.
    ///
    /// # Errors
    /// Who types already.
    pub fn begin_typing(&self, who: &str, force: bool) -> Result<u64, Writer> {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        let mut refused = None;
        self.writer.send_if_modified(|writer| match writer {
            Some(other) if !force => {
                refused = Some(other.clone());
                false
            }
            _ => {
                *writer = Some(Writer {
                    session,
                    who: who.to_owned(),
                });
                true
            }
        });
        refused.map_or(Ok(session), Err)
    }

    /// Ends that, where it has not been taken by somebody else.
    pub fn end_typing(&self, session: u64) {
        self.writer.send_if_modified(|writer| {
            let own = writer.as_ref().is_some_and(|w| w.session == session);
            if own {
                *writer = None;
            }
            own
        });
    }

    /// Types; waits where the console takes it slowly. Whether it may.
    pub async fn type_in(&self, session: u64, bytes: Vec<u8>) -> bool {
        let own = |writer: &Option<Writer>| writer.as_ref().is_some_and(|w| w.session == session);
        let connected = self.state.borrow().connected.is_some();
        if !own(&self.writer.borrow()) {
            return false;
        }
        // What is typed while nothing is connected is lost, as with any cable.
        if connected {
            let _ = self.typed.send(bytes).await;
        }
        true
    }
}
