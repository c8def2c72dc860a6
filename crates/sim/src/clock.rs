//! The world that the control loop's core is given: a clock that stands still
//! until the simulator moves it, and dice that fall the same way again.
//!
//! The core asks for the time or for chance after it has read and before it
//! commits. So this is also where something can come in between: another call
//! that commits first, or the process's death.

use std::{
    panic,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use billet_control::World;
use billet_model::Time;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What comes between a reading and its commit.
pub(crate) enum Between {
    /// The process dies: the future is dropped.
    Death,
    /// Something else is done, whole.
    Call(Box<dyn FnOnce() + Send>),
}

/// The payload of the unwinding by which a process dies.
pub(crate) struct Died;

struct Inner {
    rng: ChaCha8Rng,
    asked: u32,
    between: Option<(u32, Between)>,
}

/// Time and chance of a simulation.
pub(crate) struct SimWorld {
    micros: AtomicI64,
    inner: Mutex<Inner>,
}

impl SimWorld {
    pub fn new(seed: u64, start: Time) -> Self {
        Self {
            micros: AtomicI64::new(start.as_microsecond()),
            inner: Mutex::new(Inner {
                rng: ChaCha8Rng::seed_from_u64(seed ^ 0x1d_5eed),
                asked: 0,
                between: None,
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock.
    pub fn set(&self, now: Time) {
        self.micros.store(now.as_microsecond(), Ordering::Relaxed);
    }

    /// At the `asked`-th time from now that the core asks, this comes between.
    pub fn plan(&self, asked: u32, between: Between) {
        let mut inner = self.inner();
        inner.asked = 0;
        inner.between = Some((asked, between));
    }

    /// Takes back what did not come to pass; whether there was anything.
    pub fn unplan(&self) -> bool {
        self.inner().between.take().is_some()
    }

    fn asked(&self) {
        let between = {
            let mut inner = self.inner();
            inner.asked += 1;
            let due = matches!(&inner.between, Some((at, _)) if *at <= inner.asked);
            if due { inner.between.take() } else { None }
        };
        match between.map(|(_, what)| what) {
            None => {}
            Some(Between::Call(call)) => call(),
            Some(Between::Death) => panic::resume_unwind(Box::new(Died)),
        }
    }
}

impl World for SimWorld {
    fn now(&self) -> Time {
        self.asked();
        Time::from_microsecond(self.micros.load(Ordering::Relaxed)).unwrap_or(Time::UNIX_EPOCH)
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.asked();
        self.inner().rng.fill_bytes(bytes);
    }
}
