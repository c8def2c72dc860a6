//! The record of calls: gathered in memory, and put into the store every second,
//! so that a call does not wait for it. A kill loses the last second of it; what
//! a call changed is in the audit log all the same, by the same transaction.

use std::{collections::HashMap, net::IpAddr, sync::Mutex, time::Duration};

use billet_model::call::ApiCall;
use billet_store::{Batch, Store, Write};
use tokio::sync::Notify;

use crate::{app::App, auth::Bearer};

/// Most calls in one transaction.
const AT_ONCE: usize = 500;
/// Most calls kept in memory while the store does not take them. Then the oldest
/// are lost, and how many is told.
const MOST: usize = 50_000;
const EVERY: Duration = Duration::from_secs(1);
/// Calls without a good token that are recorded one by one, in a minute: of one address, and
/// of all. Else whoever reaches the server could fill its disk.
const STRANGERS: u32 = 30;
const ALL_STRANGERS: u32 = 120;

/// Beside an answer that is to be recorded: who asked, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker {
    pub(crate) bearer: Option<Bearer>,
    pub(crate) from: Option<IpAddr>,
}

/// Calls that are not in the store yet.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    waiting: Mutex<Waiting>,
    full: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: Vec<ApiCall>,
    lost: u64,
    strangers: Strangers,
}

/// Calls without a good token in this minute.
#[derive(Debug, Default)]
struct Strangers {
    minute: i64,
    all: u32,
    by_address: HashMap<Option<IpAddr>, u32>,
    /// Those that were not recorded.
    more: u64,
}

impl Strangers {
    /// Counts one; whether it is recorded.
    fn count(&mut self, at: jiff::Timestamp, from: Option<IpAddr>) -> bool {
        let minute = at.as_second().div_euclid(60);
        if minute != self.minute {
            if self.more > 0 {
                tracing::warn!(
                    calls = self.more,
                    "calls without a good token were not recorded one by one"
                );
            }
            *self = Self {
                minute,
                ..Self::default()
            };
        }
        // Addresses are counted for as long as all together are few, so that they are few too.
        let few = self.all < ALL_STRANGERS && {
            let of_address = self.by_address.entry(from).or_default();
            *of_address += 1;
            *of_address <= STRANGERS
        };
        match few {
            true => self.all += 1,
            false => self.more += 1,
        }
        few
    }
}

impl Calls {
    /// Keeps a call.
    pub(crate) fn answered(&self, call: ApiCall, from: Option<IpAddr>) {
        let mut waiting = self.lock();
        if call.token.is_none() && !waiting.strangers.count(call.at, from) {
            return;
        }
        if waiting.calls.len() >= MOST {
            waiting.lost += 1;
            return;
        }
        waiting.calls.push(call);
        if waiting.calls.len() >= AT_ONCE {
            self.full.notify_one();
        }
    }

    /// Puts all that waits into the store.
    pub(crate) async fn flush(&self, store: &Store) {
        loop {
            let part: Vec<ApiCall> = {
                let mut waiting = self.lock();
                let take = waiting.calls.len().min(AT_ONCE);
                waiting.calls.drain(..take).collect()
            };
            if part.is_empty() {
                break;
            }
            let mut batch = Batch::new();
            batch.writes = part
                .iter()
                .map(|call| Write::PutCall(Box::new(call.clone())))
                .collect();
            if let Err(error) = store.commit(batch).await {
                tracing::error!(%error, "calls could not be recorded; they are tried again");
                self.put_back(part);
                break;
            }
        }
        let lost = std::mem::take(&mut self.lock().lost);
        if lost > 0 {
            tracing::error!(
                lost,
                "calls are missing from the record: the store took none for too long"
            );
        }
    }

    /// Calls that the store did not take, before those that came meanwhile.
    fn put_back(&self, mut part: Vec<ApiCall>) {
        let mut waiting = self.lock();
        part.append(&mut waiting.calls);
        let over = part.len().saturating_sub(MOST);
        part.drain(..over);
        waiting.lost += over as u64;
        waiting.calls = part;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Records calls, for as long as the server runs.
pub(crate) async fn keep(app: App) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = app.calls().full.notified() => {}
        }
        app.calls().flush(app.store()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(status: u16) -> ApiCall {
        ApiCall {
            id: billet_model::CallId(uuid::Uuid::now_v7()),
            at: jiff::Timestamp::UNIX_EPOCH,
            token: None,
            name: None,
            user: None,
            from: None,
            method: "GET".into(),
            path: "/v1/leases".into(),
            status,
            ms: 1,
        }
    }

    #[test]
    fn strangers_do_not_fill_the_record() {
        let calls = Calls::default();
        let waiting = || calls.lock().calls.len() as u32;
        for n in 0..10_000_u32 {
            calls.answered(call(401), Some([10, 0, 0, (n % 2) as u8].into()));
        }
        assert_eq!(waiting(), 2 * STRANGERS, "so many of each");
        for n in 0..10_000_u32 {
            calls.answered(call(401), Some(n.to_be_bytes().into()));
        }
        assert_eq!(waiting(), ALL_STRANGERS, "so many of all");
        assert!(calls.lock().strangers.by_address.len() <= ALL_STRANGERS as usize);
        // Who is known is recorded whatever they do, and they again in the next minute.
        let mut known = call(200);
        known.token = Some(billet_model::TokenId(uuid::Uuid::now_v7()));
        calls.answered(known, None);
        let mut later = call(401);
        later.at = jiff::Timestamp::from_second(61).expect("a time");
        calls.answered(later, None);
        assert_eq!(waiting(), ALL_STRANGERS + 2);
    }

    #[test]
    fn more_than_is_kept_in_memory_is_lost_and_counted() {
        let calls = Calls::default();
        calls.put_back(vec![call(1); MOST]);
        calls.answered(call(2), None);
        assert_eq!(calls.lock().calls.len(), MOST);
        assert_eq!(calls.lock().lost, 1);
    }

    #[test]
    fn what_the_store_does_not_take_is_bounded_and_keeps_its_order() {
        let calls = Calls::default();
        calls.answered(call(3), None);
        calls.put_back(vec![call(1), call(2)]);
        let statuses = |calls: &Calls| {
            let waiting = calls.lock();
            waiting.calls.iter().map(|c| c.status).collect::<Vec<_>>()
        };
        assert_eq!(statuses(&calls), [1, 2, 3]);
        calls.put_back(vec![call(9); MOST]);
        assert_eq!(calls.lock().calls.len(), MOST);
        assert_eq!(calls.lock().lost, 3);
        assert_eq!(calls.lock().calls.last().map(|c| c.status), Some(3));
    }
}
