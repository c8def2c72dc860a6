//! When a tenant is warned that a lease ends.

use billet_model::Time;
use jiff::SignedDuration;

/// When warnings are due for a lease that began at `began` and ends at `ends`,
/// in order. Where the longest lead is more than half of the term, all of them
/// are made shorter alike: a lease of an hour is not warned of at its beginning.
pub fn warnings(began: Time, ends: Time, leads: &[SignedDuration]) -> Vec<Time> {
    let term = ends.duration_since(began).as_secs_f64().max(0.0);
    let longest = leads
        .iter()
        .map(|l| l.as_secs_f64())
        .fold(0.0_f64, f64::max);
    let scale = if longest > term / 2.0 {
        term / 2.0 / longest
    } else {
        1.0
    };
    let mut times: Vec<Time> = leads
        .iter()
        .filter_map(|lead| {
            let lead = SignedDuration::try_from_secs_f64(lead.as_secs_f64() * scale).ok()?;
            ends.checked_sub(lead).ok()
        })
        .collect();
    times.sort_unstable();
    times.dedup();
    times
}

/// Whether a warning is due that was not given yet.
pub(crate) fn due(warnings: &[Time], warned_at: Option<Time>, now: Time) -> bool {
    warnings
        .iter()
        .any(|at| *at <= now && warned_at.is_none_or(|warned| *at > warned))
}

/// The next warning.
pub(crate) fn next(warnings: &[Time], now: Time) -> Option<Time> {
    warnings.iter().copied().find(|at| *at > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Time {
        Time::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    const LEADS: [SignedDuration; 2] = [
        SignedDuration::from_hours(24),
        SignedDuration::from_hours(1),
    ];

    #[test]
    fn long_terms_are_warned_of_as_configured() {
        assert_eq!(warnings(at(0), at(100), &LEADS), [at(76), at(99)]);
    }

    #[test]
    fn short_terms_are_warned_of_in_proportion() {
        assert_eq!(warnings(at(0), at(24), &LEADS)[0], at(12));
        let short = warnings(at(0), at(24), &LEADS)[1];
        assert_eq!(short, at(24) - SignedDuration::from_mins(30));
        assert!(warnings(at(0), at(0), &LEADS).iter().all(|w| *w == at(0)));
        assert!(warnings(at(0), at(24), &[]).is_empty());
    }

    #[test]
    fn each_is_given_once_and_again_after_an_extension() {
        let first = warnings(at(0), at(100), &LEADS);
        assert!(!due(&first, None, at(75)));
        assert!(due(&first, None, at(76)));
        assert!(!due(&first, Some(at(76)), at(98)));
        assert!(due(&first, Some(at(76)), at(99)));
        let later = warnings(at(0), at(200), &LEADS);
        assert!(!due(&later, Some(at(99)), at(100)));
        assert!(due(&later, Some(at(99)), at(176)));
        assert_eq!(next(&first, at(76)), Some(at(99)));
    }
}
