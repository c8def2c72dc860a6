//! Agents that were turned away: recorded once for each boot and reason, and not once for each
//! of their calls, for what is on record is never removed.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use billet_model::BootId;

/// Most that is remembered. More is forgotten at once, and may be recorded anew.
const MOST: usize = 10_000;

/// What was recorded since the start.
#[derive(Debug, Default)]
pub struct TurnedAway {
    known: Mutex<HashSet<(BootId, &'static str)>>,
}

impl TurnedAway {
    /// Whether this is the first of its kind.
    pub(crate) fn is_new(&self, boot: BootId, why: &'static str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((boot, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boot_and_reason_is_new_once() {
        let turned = TurnedAway::default();
        let boot = |n| BootId::from_parts(n, [0; 10]);
        assert!(turned.is_new(boot(1), "another boot"));
        assert!(!turned.is_new(boot(1), "another boot"));
        assert!(turned.is_new(boot(1), "another machine"));
        assert!(turned.is_new(boot(2), "another boot"));
    }
}
