//! Refused sign-ins, on their way to the audit log.
//!
//! Each is on record, but a flood of them must not fill the disk: the first of
//! a kind from an address is written at once, and those that follow within a
//! minute are counted and written as one row. So is everything beyond a number
//! of addresses.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use billet_model::TokenId;

/// How many different kinds are counted apart within a minute.
const KINDS: usize = 64;

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// No such token.
    Unknown,
    /// Its time is over.
    Expired,
    /// Disabled by hand.
    Disabled,
}

impl Why {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
        }
    }
}

/// Refused sign-ins of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) why: Why,
    /// Which token, where it is known.
    pub(crate) token: Option<TokenId>,
    /// From where; none for all that did not fit.
    pub(crate) address: Option<IpAddr>,
}

/// Counts refused sign-ins between two looks.
#[derive(Debug, Default)]
pub(crate) struct SignIns {
    counted: Mutex<HashMap<Refused, u64>>,
}

impl SignIns {
    /// Counts one. Returns whether it is to be written at once.
    pub(crate) fn refused(&self, refused: Refused) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counted.get_mut(&refused) {
            *count += 1;
            return false;
        }
        if counted.len() < KINDS {
            counted.insert(refused, 0);
            return true;
        }
        let rest = Refused {
            why: refused.why,
            token: None,
            address: None,
        };
        *counted.entry(rest).or_default() += 1;
        false
    }

    /// Takes what was counted and not written, once a minute.
    pub(crate) fn take(&self) -> Vec<(Refused, u64)> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut *counted);
        taken.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_row() {
        let signins = SignIns::default();
        let from = |last: u8| Refused {
            why: Why::Unknown,
            token: None,
            address: Some(IpAddr::from([192, 0, 2, last])),
        };
        assert!(signins.refused(from(1)));
        for _ in 0..1000 {
            assert!(!signins.refused(from(1)));
        }
        assert_eq!(signins.take(), [(from(1), 1000)]);
        assert!(signins.take().is_empty());
        let written = (0..=255)
            .filter(|last| signins.refused(from(*last)))
            .count();
        assert_eq!(written, KINDS);
        let rest = signins.take();
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].1, 256 - KINDS as u64);
    }
}
