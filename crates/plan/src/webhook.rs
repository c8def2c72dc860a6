//! What an attempt to send an event means for its webhook: when to try again,
//! and when to give up.

use billet_model::{
    Time,
    webhook::{Attempt, Delivery},
};
use jiff::SignedDuration;

/// The wait after the first failure, in seconds; it doubles with each further one.
const FIRST: u64 = 5;
/// The longest wait, in seconds.
const LONGEST: u64 = 3600;
/// HTTP's "gone": the receiver wants no more.
const GONE: u16 = 410;

/// What to do with the webhook now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on with the next event.
    Continue,
    /// Try the same event again at [`Delivery::retry_at`].
    Retry,
    /// Switch it off, and say this.
    Disable(String),
}

/// Brings `delivery` up to date with what came of sending the event at `index`.
/// `chance`, any number, spreads waits so that receivers are not met by all at
/// once; a webhook that took nothing for `give_up` is switched off.
pub fn attempted(
    delivery: &mut Delivery,
    index: u64,
    attempt: &Attempt,
    now: Time,
    chance: u64,
    give_up: SignedDuration,
) -> Next {
    delivery.last_at = Some(now);
    match attempt {
        Attempt::Taken { status } => {
            *delivery = Delivery {
                next: index + 1,
                delivered: delivery.delivered + 1,
                last_at: Some(now),
                last_status: Some(*status),
                last_taken_at: Some(now),
                ..Delivery::default()
            };
            Next::Continue
        }
        Attempt::Failed {
            status,
            why,
            wait_seconds,
        } => {
            delivery.last_status = *status;
            delivery.last_error = Some(why.clone());
            delivery.failures = delivery.failures.saturating_add(1);
            let since = *delivery.failing_since.get_or_insert(now);
            if *status == Some(GONE) {
                delivery.retry_at = None;
                return Next::Disable(
                    "the receiver answered 410 Gone: it wants no more. Enable the webhook once it \
                     does again"
                        .into(),
                );
            }
            if now.duration_since(since) >= give_up {
                delivery.retry_at = None;
                let hours = give_up.as_hours();
                return Next::Disable(format!(
                    "nothing was taken for {hours} hours, last: {why}. Set the receiver right and \
                     enable the webhook: it goes on where it stopped"
                ));
            }
            let wait = wait(delivery.failures, chance).max(wait_seconds.unwrap_or(0).min(LONGEST));
            delivery.retry_at =
                Some(now + SignedDuration::from_secs(i64::try_from(wait).unwrap_or(i64::MAX)));
            Next::Retry
        }
    }
}

/// Seconds to wait after so many failures: twice as long each time, and a
/// quarter more or less by chance, at most [`LONGEST`].
fn wait(failures: u32, chance: u64) -> u64 {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let whole = doubled.min(LONGEST);
    let spread = whole / 2 + 1;
    (whole - whole / 4 + chance % spread).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS: SignedDuration = SignedDuration::from_hours(72);

    fn at(seconds: i64) -> Time {
        Time::from_second(1_790_000_000 + seconds).expect("a time")
    }

    fn failed(status: Option<u16>) -> Attempt {
        Attempt::Failed {
            status,
            why: "the receiver answered 500".into(),
            wait_seconds: None,
        }
    }

    #[test]
    fn waits_double_up_to_an_hour_and_are_spread() {
        for (failures, least, most) in [
            (1, 4, 6),
            (2, 8, 13),
            (5, 60, 100),
            (9, 960, 1600),
            (12, 2700, 3600),
            (u32::MAX, 2700, 3600),
        ] {
            let waits: Vec<u64> = (0..9999).map(|chance| wait(failures, chance)).collect();
            let (min, max) = (waits.iter().min(), waits.iter().max());
            assert_eq!((min, max), (Some(&least), Some(&most)), "after {failures}");
        }
    }

    #[test]
    fn what_was_taken_moves_on_and_forgets_failures() {
        let mut delivery = Delivery {
            next: 3,
            ..Delivery::default()
        };
        let next = attempted(&mut delivery, 7, &failed(Some(500)), at(0), 0, DAYS);
        assert_eq!(next, Next::Retry);
        assert_eq!((delivery.next, delivery.failures), (3, 1));
        assert_eq!(delivery.retry_at, Some(at(4)));
        let taken = Attempt::Taken { status: 204 };
        let next = attempted(&mut delivery, 7, &taken, at(9), 0, DAYS);
        assert_eq!(next, Next::Continue);
        let expected = Delivery {
            next: 8,
            delivered: 1,
            last_at: Some(at(9)),
            last_status: Some(204),
            last_taken_at: Some(at(9)),
            ..Delivery::default()
        };
        assert_eq!(delivery, expected);
    }

    #[test]
    fn it_gives_up_after_days_of_failures_or_when_told() {
        let mut delivery = Delivery::default();
        let mut now = at(0);
        let mut tries = 0;
        let why = loop {
            match attempted(&mut delivery, 0, &failed(None), now, 77, DAYS) {
                Next::Retry => now = delivery.retry_at.expect("a time"),
                Next::Disable(why) => break why,
                Next::Continue => panic!("it was not taken"),
            }
            tries += 1;
            assert!(tries < 200, "{delivery:?}");
        };
        assert!(now >= at(72 * 3600) && now < at(74 * 3600), "{now}");
        assert!(why.contains("72 hours") && why.contains("500"), "{why}");
        assert!(tries > 70, "it was tried about every hour: {tries}");

        let mut delivery = Delivery::default();
        let next = attempted(&mut delivery, 0, &failed(Some(410)), at(0), 0, DAYS);
        assert!(matches!(next, Next::Disable(why) if why.contains("410")));
        assert_eq!(delivery.next, 0, "and what it did not take is kept for it");
    }

    #[test]
    fn a_receiver_may_ask_for_time_within_bounds() {
        for (asked, waited) in [(0, 4), (600, 600), (99_999, 3600)] {
            let mut delivery = Delivery::default();
            let attempt = Attempt::Failed {
                status: Some(429),
                why: "the receiver answered 429".into(),
                wait_seconds: Some(asked),
            };
            attempted(&mut delivery, 0, &attempt, at(0), 0, DAYS);
            assert_eq!(delivery.retry_at, Some(at(waited)), "{asked}");
        }
    }
}
