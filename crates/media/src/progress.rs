//! How long work here tells its caller how far it has come.

/// One sign of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, as a person would say it ("unpacking the kernel").
    pub step: &'static str,
    /// How much of it is done, in the step's own unit (bytes where it moves data).
    pub done: u64,
    /// How much there is in all, where that is known.
    pub total: Option<u64>,
}

/// Receives [`Progress`]; called often, so it must be quick.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress);

impl Progress {
    /// A step that begins, and of which no more is known.
    pub fn begin(step: &'static str) -> Self {
        Self {
            step,
            done: 0,
            total: None,
        }
    }
}
