//! What a visitor sends to a program, held back while the program reads less.
//!
//! The SSH library grants its peer more as soon as something came, whoever reads
//! it; all that can be done is to be slow in taking it. One that waits for good
//! would stand still for ever where the program waits for its own output to be
//! fetched, by the same session: so each piece waits for a moment only, and a
//! program that reads nothing at all is told off at a limit.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tokio::sync::Notify;

/// So many bytes wait for the program before the visitor does.
const HELD_BACK: usize = 1 << 20;
/// How long a piece waits then, at the longest.
const MOMENT: Duration = Duration::from_millis(250);
/// So many bytes wait at the most: memory is the machine's, and the tenant's.
const MOST: usize = 64 << 20;

/// A program reads nothing of what is sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program reads nothing of what you send: ended with {MOST} bytes waiting for it")]
pub(super) struct Unread;

/// The way to a program's input; without it, the program reads the end.
pub(super) struct Input {
    send: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    fewer: Notify,
}

impl Input {
    /// Writes what is given into `to`, until this is dropped.
    pub fn into(mut to: impl Write + Send + 'static) -> Self {
        let (send, receive) = mpsc::channel::<Vec<u8>>();
        let waiting = Arc::<Waiting>::default();
        let left = Arc::clone(&waiting);
        thread::spawn(move || {
            while let Ok(bytes) = receive.recv() {
                let written = to.write_all(&bytes).and_then(|()| to.flush());
                left.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                left.fewer.notify_one();
                if written.is_err() {
                    return;
                }
            }
        });
        Self { send, waiting }
    }

    /// Gives the program more, after a moment where it has much to read.
    ///
    /// # Errors
    /// When it does not read at all.
    pub async fn give(&self, bytes: Vec<u8>) -> Result<(), Unread> {
        let length = bytes.len();
        self.waiting.bytes.fetch_add(length, Ordering::Relaxed);
        if self.send.send(bytes).is_err() {
            // Whoever does not read any more is told nothing any more.
            return Ok(());
        }
        let waits = || self.waiting.bytes.load(Ordering::Relaxed);
        let fewer = async {
            while waits() > HELD_BACK {
                self.waiting.fewer.notified().await;
            }
        };
        // What it writes itself goes out between two moments.
        let _: Result<(), tokio::time::error::Elapsed> = tokio::time::timeout(MOMENT, fewer).await;
        if waits() > MOST { Err(Unread) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Condvar, Mutex},
        time::Instant,
    };

    use super::*;

    /// A program that reads when it is let.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<bool>, Condvar)>);

    impl Gate {
        fn open(&self) {
            *self.0.0.lock().expect("the lock") = true;
            self.0.1.notify_all();
        }
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let open = self.0.0.lock().expect("the lock");
            drop(self.0.1.wait_while(open, |open| !*open).expect("the lock"));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn piece() -> Vec<u8> {
        vec![0; 256 << 10]
    }

    #[tokio::test]
    async fn what_is_not_read_is_held_back_and_limited() {
        let gate = Gate::default();
        let input = Input::into(gate.clone());
        let began = Instant::now();
        for _ in 0..4 {
            input.give(piece()).await.expect("taken");
        }
        assert!(began.elapsed() < MOMENT, "little waits for nobody");
        let began = Instant::now();
        input.give(piece()).await.expect("taken");
        assert!(began.elapsed() >= MOMENT, "more is held back");
        gate.open();
        for _ in 0..400 {
            input.give(piece()).await.expect("taken");
        }
        assert!(
            input.waiting.bytes.load(Ordering::Relaxed) <= HELD_BACK,
            "as fast as it is read"
        );
    }

    #[tokio::test]
    async fn what_is_never_read_ends() {
        let input = Input::into(Gate::default());
        input.waiting.bytes.store(MOST, Ordering::Relaxed);
        assert_eq!(input.give(vec![1]).await, Err(Unread));
    }
}
