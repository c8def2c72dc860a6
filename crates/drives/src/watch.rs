//! Whoever oversees the work: hears how far it is, and can end it.

use billet_model::work::Progress;

/// The work is not wanted any more: nothing may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work is no longer wanted")]
pub struct Stopped;

/// Oversees a piece of work.
pub trait Watch: Sync {
    /// Hears how far it is. Called often; must be quick.
    fn progress(&self, progress: Progress);

    /// Asked before every write, and may wait for the answer.
    ///
    /// # Errors
    /// [`Stopped`], from then on always.
    fn may_write(&self) -> Result<(), Stopped>;
}

/// A [`Progress`] in bytes.
pub(crate) fn bytes(step: &str, done: u64, total: u64) -> Progress {
    Progress {
        step: step.into(),
        done,
        total,
        unit: "bytes".into(),
    }
}
