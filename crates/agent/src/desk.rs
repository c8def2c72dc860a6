//! The fence around one task: asks the control plane whether it is still the
//! current one, and reports how far it is.
//!
//! A late task must not touch a drive: the first write happens within
//! [`CONFIRM_SECONDS`] of a yes that was asked for, and while writing no yes is
//! older than `STALE`. The yes of a progress report counts only once writing was
//! allowed: the control plane keeps on record that a drive may be changed from the
//! first one that was asked for on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use billet_drives::{Stopped, Watch};
use billet_model::{TaskId, work::Progress};
use billet_protocol::agent::{CONFIRM_SECONDS, Confirm};

use crate::{
    channel::{Channel, ChannelError},
    console::say,
};

/// While writing, how old the last yes may be. Writing pauses when it is older.
const STALE: Duration = Duration::from_secs(60);
/// How often progress is reported: more often than the protocol asks.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How long writing may pause because nobody answers.
const GIVE_UP: Duration = Duration::from_secs(30 * 60);

/// Who is asked: the channel, or a double in tests.
pub trait Ask: Send + Sync {
    /// May I write now?
    ///
    /// # Errors
    /// As [`ChannelError`].
    fn confirm(&self, task: TaskId) -> Result<Confirm, ChannelError>;

    /// So far I am.
    ///
    /// # Errors
    /// As [`ChannelError`].
    fn progress(&self, task: TaskId, progress: &Progress) -> Result<Confirm, ChannelError>;
}

impl Ask for Channel {
    fn confirm(&self, task: TaskId) -> Result<Confirm, ChannelError> {
        Channel::confirm(self, task)
    }

    fn progress(&self, task: TaskId, progress: &Progress) -> Result<Confirm, ChannelError> {
        Channel::progress(self, task, progress)
    }
}

#[derive(Debug, Default)]
struct State {
    /// When the last yes was asked for.
    last_yes: Option<Instant>,
    writing: bool,
}

/// Oversees one task.
pub struct Desk {
    ask: Arc<dyn Ask>,
    task: TaskId,
    state: Mutex<State>,
    progress: Mutex<Progress>,
    stopped: AtomicBool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk for a task.
    pub fn new(ask: Arc<dyn Ask>, task: TaskId) -> Self {
        Self {
            ask,
            task,
            state: Mutex::default(),
            progress: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Does the work, reporting progress until it ends.
    pub fn attend<T>(&self, work: impl FnOnce() -> T) -> T {
        let (done, ended) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while ended.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
                    self.report();
                }
            });
            let result = work();
            drop(done);
            result
        })
    }

    /// Reports progress once, and hears whether to go on.
    fn report(&self) {
        let progress = self
            .progress
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .clone();
        let asked = Instant::now();
        match self.ask.progress(self.task, &progress) {
            Ok(answer) => self.hear(answer, asked),
            Err(error) => self.fail(&error),
        }
    }

    fn hear(&self, answer: Confirm, asked: Instant) {
        if answer.current {
            let mut state = self.state();
            if state.writing {
                state.last_yes = state.last_yes.max(Some(asked));
            }
        } else {
            self.stop("the control plane says that this task is no longer current");
        }
    }

    /// A refusal that does not pass says that the task is not known.
    fn fail(&self, error: &ChannelError) {
        if !error.passes() {
            self.stop(&error.to_string());
        }
    }

    fn stop(&self, why: &str) {
        if !self.stopped.swap(true, Ordering::SeqCst) {
            say(format!("stopping the work: {why}"));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether the last yes is good for a write now.
    fn fresh(state: &State) -> bool {
        let limit = if state.writing {
            STALE
        } else {
            Duration::from_secs(CONFIRM_SECONDS)
        };
        state.last_yes.is_some_and(|asked| asked.elapsed() < limit)
    }
}

impl Watch for Desk {
    fn progress(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(|e| e.into_inner()) = progress;
    }

    fn may_write(&self) -> Result<(), Stopped> {
        let began = Instant::now();
        loop {
            if self.stopped.load(Ordering::SeqCst) {
                return Err(Stopped);
            }
            {
                // Held while asking: one asks, the others wait for its answer.
                let mut state = self.state();
                if Self::fresh(&state) {
                    state.writing = true;
                    return Ok(());
                }
                let asked = Instant::now();
                match self.ask.confirm(self.task) {
                    Ok(answer) if answer.current => {
                        state.last_yes = Some(asked);
                        continue;
                    }
                    Ok(answer) => {
                        drop(state);
                        self.hear(answer, asked);
                        continue;
                    }
                    Err(error) => {
                        drop(state);
                        self.fail(&error);
                        say(format!("asking whether to write: {error}"));
                    }
                }
            }
            if began.elapsed() > GIVE_UP {
                self.stop("nobody answered whether to go on");
            }
            thread::sleep(Duration::from_secs(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers from a list, then yes.
    #[derive(Default)]
    struct Script {
        confirms: Mutex<Vec<Result<bool, ChannelError>>>,
        slow: Option<Duration>,
        current: AtomicBool,
        asked: Mutex<u32>,
    }

    impl Ask for Script {
        fn confirm(&self, _: TaskId) -> Result<Confirm, ChannelError> {
            *self.asked.lock().expect("the lock") += 1;
            if let Some(slow) = self.slow {
                thread::sleep(slow);
            }
            let next = self.confirms.lock().expect("the lock").pop();
            next.unwrap_or(Ok(true)).map(|current| Confirm { current })
        }

        fn progress(&self, _: TaskId, _: &Progress) -> Result<Confirm, ChannelError> {
            Ok(Confirm {
                current: self.current.load(Ordering::Relaxed),
            })
        }
    }

    fn desk(script: Script) -> (Desk, Arc<Script>) {
        let script = Arc::new(script);
        let task = TaskId::from_parts(0, [0; 10]);
        (Desk::new(script.clone(), task), script)
    }

    fn unreachable() -> Result<bool, ChannelError> {
        Err(ChannelError::Unreachable {
            detail: "no route".into(),
        })
    }

    #[test]
    fn the_first_write_waits_for_a_yes() {
        let (desk, script) = desk(Script {
            confirms: Mutex::new(vec![Ok(true), unreachable()]),
            ..Script::default()
        });
        assert_eq!(desk.may_write(), Ok(()));
        assert_eq!(*script.asked.lock().expect("the lock"), 2);
        assert_eq!(desk.may_write(), Ok(()));
        assert_eq!(*script.asked.lock().expect("the lock"), 2, "still fresh");
    }

    #[test]
    fn a_progress_report_is_no_leave_to_begin_writing() {
        let (desk, script) = desk(Script::default());
        script.current.store(true, Ordering::Relaxed);
        desk.report();
        assert_eq!(desk.may_write(), Ok(()));
        assert_eq!(
            *script.asked.lock().expect("the lock"),
            1,
            "it was asked for"
        );
    }

    #[test]
    fn a_no_is_for_ever() {
        let (desk, script) = desk(Script {
            confirms: Mutex::new(vec![Ok(false)]),
            ..Script::default()
        });
        assert_eq!(desk.may_write(), Err(Stopped));
        assert_eq!(desk.may_write(), Err(Stopped));
        assert_eq!(*script.asked.lock().expect("the lock"), 1);
    }

    #[test]
    fn a_task_that_is_not_known_is_not_current() {
        let (desk, _) = desk(Script {
            confirms: Mutex::new(vec![Err(ChannelError::Refused {
                status: 404,
                detail: String::new(),
            })]),
            ..Script::default()
        });
        assert_eq!(desk.may_write(), Err(Stopped));
    }

    #[test]
    fn a_no_to_progress_stops_the_writing() {
        let (desk, script) = desk(Script::default());
        assert_eq!(desk.may_write(), Ok(()));
        script.current.store(false, Ordering::Relaxed);
        desk.report();
        assert_eq!(desk.may_write(), Err(Stopped));
    }

    #[test]
    fn a_yes_ages_from_when_it_was_asked_for() {
        let old = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds));
        for (seconds, writing, fresh) in [
            (1, false, true),
            (CONFIRM_SECONDS + 1, false, false),
            (CONFIRM_SECONDS + 1, true, true),
            (61, true, false),
        ] {
            let state = State {
                last_yes: old(seconds),
                writing,
            };
            assert_eq!(
                Desk::fresh(&state),
                fresh,
                "{seconds} s, writing: {writing}"
            );
        }
        assert!(!Desk::fresh(&State::default()));
    }

    #[test]
    fn work_is_attended_to_its_end() {
        let (desk, _) = desk(Script::default());
        assert_eq!(desk.attend(|| 42), 42);
    }
}
