//! A machine's serial line, shared by everyone who watches it.
//!
//! What the machine writes goes to all watchers, and the last [`KEPT`] bytes are kept for those
//! who come later. What a watcher types goes to the machine, whoever types it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc};

/// How many bytes of output are kept for a watcher who comes later.
pub const KEPT: usize = 16 * 1024;

/// How many pieces of output a slow watcher may lag behind before it loses some.
const LAG: usize = 64;

struct Inner {
    kept: VecDeque<u8>,
    watchers: Option<broadcast::Sender<Arc<[u8]>>>,
    input: Option<mpsc::Sender<Vec<u8>>>,
}

/// The serial line.
pub struct Console {
    inner: Mutex<Inner>,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// A line with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                kept: VecDeque::new(),
                watchers: None,
                input: None,
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine wrote this.
    pub fn wrote(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.kept.extend(bytes);
        if let Some(over) = inner.kept.len().checked_sub(KEPT) {
            inner.kept.drain(..over);
        }
        if let Some(watchers) = &inner.watchers
            && watchers.send(bytes.into()).is_err()
        {
            // The last watcher left: give its buffer back, there may be thousands of lines.
            inner.watchers = None;
        }
    }

    /// What was written lately, and a stream of what follows it.
    #[must_use]
    pub fn watch(&self) -> (Vec<u8>, broadcast::Receiver<Arc<[u8]>>) {
        let mut inner = self.lock();
        let kept = inner.kept.iter().copied().collect();
        let follow = inner
            .watchers
            .get_or_insert_with(|| broadcast::channel(LAG).0)
            .subscribe();
        (kept, follow)
    }

    /// What was written lately, as text.
    #[must_use]
    pub fn recent(&self) -> String {
        let mut inner = self.lock();
        String::from_utf8_lossy(inner.kept.make_contiguous()).into_owned()
    }

    /// From now on, what is typed goes here.
    pub fn connect(&self, input: mpsc::Sender<Vec<u8>>) {
        self.lock().input = Some(input);
    }

    /// Nobody reads what is typed any more.
    pub fn disconnect(&self) {
        self.lock().input = None;
    }

    /// Someone typed this; lost where the machine is off or does not read.
    pub fn typed(&self, bytes: &[u8]) {
        if let Some(input) = &self.lock().input {
            // A machine that does not read its serial line loses characters, as a real one does.
            let _ = input.try_send(bytes.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_watcher_sees_the_end_of_what_was_written_and_then_the_rest() {
        let console = Console::new();
        console.wrote(&vec![b'x'; KEPT]);
        console.wrote(b"login: ");
        let (kept, mut follow) = console.watch();
        assert_eq!(kept.len(), KEPT);
        assert!(kept.ends_with(b"xxlogin: "));
        console.wrote(b"root");
        assert_eq!(&*follow.try_recv().expect("more output"), b"root");
    }
}
