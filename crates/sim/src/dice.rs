//! Chance, from a seed.

use jiff::SignedDuration;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A seeded source of chance.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// `true` so often out of a thousand.
    pub fn per_mille(&mut self, n: u32) -> bool {
        n > 0 && self.0.random_range(0..1000) < n
    }

    /// A whole number from `low` to `high`, both included.
    pub fn number(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high)
    }

    /// A duration between two numbers of seconds, to the millisecond.
    pub fn seconds(&mut self, low: u32, high: u32) -> SignedDuration {
        let millis = self
            .0
            .random_range(i64::from(low) * 1000..=i64::from(high) * 1000);
        SignedDuration::from_millis(millis)
    }

    /// A duration between two numbers of milliseconds.
    pub fn millis(&mut self, low: u32, high: u32) -> SignedDuration {
        SignedDuration::from_millis(i64::from(self.0.random_range(low..=high)))
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() {
            return None;
        }
        let at = self.number(0, of.len() - 1);
        of.get(at).cloned()
    }
}
