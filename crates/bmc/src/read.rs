//! Reading: repeated within a budget, and never uncertain.

mod collection;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::error::BmcError;
use crate::http::{Call, Lost};
use crate::link;
use crate::messages;
use crate::service::Service;
use crate::value::{Resource, text};

pub(crate) use collection::{Member, is_resource};

/// Bytes of answers that are read for one purpose: the whole tree of a server of many trays
/// has three MiB.
const MOST_BYTES: usize = 32 << 20;

/// The longest pause before a read is repeated, unless the BMC asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The account, logging in where needed.
    Account,
    /// Nobody: the service root is open to all.
    Nobody,
}

/// How many reads in a row may go unanswered before the BMC counts as gone.
const MOST_UNANSWERED: u32 = 5;

/// Many reads that belong together: with one deadline, and given up together
/// where the BMC stops answering.
pub(crate) struct Reader<'a> {
    pub service: &'a Service,
    deadline: Option<Instant>,
    unanswered: AtomicU32,
    /// Bytes of answers so far.
    bytes: AtomicUsize,
    gone: OnceLock<BmcError>,
    /// What was read, in its plain form.
    seen: Mutex<HashSet<String>>,
    /// The same with what it said, where all of it is of one moment.
    kept: Option<Mutex<HashMap<String, Resource>>>,
}

impl Service {
    /// Reads one resource as the account.
    pub async fn read(&self, path: &str) -> Result<Resource, BmcError> {
        self.reader().read(path).await
    }

    /// Reads the members of a collection that can be read; see [`Reader::members`].
    pub async fn members_or_error(&self, path: &str) -> Result<Vec<Resource>, BmcError> {
        self.reader().members_or_error(path).await
    }

    /// A reader with no deadline but each read's own.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            service: self,
            deadline: None,
            unanswered: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            gone: OnceLock::new(),
            seen: Mutex::default(),
            kept: None,
        }
    }

    /// A reader that is done by then, and reads nothing twice.
    pub fn reader_until(&self, deadline: Instant) -> Reader<'_> {
        Reader {
            deadline: Some(deadline),
            kept: Some(Mutex::default()),
            ..self.reader()
        }
    }
}

impl Reader<'_> {
    /// Why the BMC counts as gone, if it does.
    pub fn gone(&self) -> Option<&BmcError> {
        self.gone.get()
    }

    /// Reads one resource as the account.
    pub async fn read(&self, path: &str) -> Result<Resource, BmcError> {
        if let Some(gone) = self.gone.get() {
            return Err(gone.clone());
        }
        if let Some(kept) = self.kept(path) {
            return Ok(kept);
        }
        if self.deadline.is_some_and(|d| d <= Instant::now()) {
            return Err(BmcError::Unreachable {
                what: format!("GET {path}"),
                detail: "not read: the time was up".to_owned(),
            });
        }
        let read = self.read_as(path, Who::Account).await;
        match &read {
            Err(error @ BmcError::Unreachable { .. }) => {
                let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
                if before + 1 >= MOST_UNANSWERED {
                    let _ = self.gone.set(error.clone());
                }
            }
            _ => self.unanswered.store(0, Ordering::Relaxed),
        }
        if let Ok(read) = &read {
            self.keep(read);
        }
        read
    }

    fn kept(&self, path: &str) -> Option<Resource> {
        let kept = self.kept.as_ref()?.lock();
        let kept = kept.unwrap_or_else(PoisonError::into_inner);
        kept.get(&plain(path)).cloned()
    }

    /// Forgets what was kept of this unless it is good enough.
    pub fn keep_only_if(&self, path: &str, good: impl Fn(&Resource) -> bool) {
        if let Some(kept) = &self.kept {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let path = plain(path);
            if kept.get(&path).is_some_and(|kept| !good(kept)) {
                kept.remove(&path);
            }
        }
    }

    fn keep(&self, read: &Resource) {
        if let Some(kept) = &self.kept {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(plain(&read.path), read.clone());
        }
    }

    /// Remembers that this was read.
    fn see(&self, path: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(plain(path));
    }

    /// The resource above this one, unless it was read already.
    fn unread_parent(&self, path: &str) -> Option<String> {
        let parent = link::parent(path)?;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (!seen.contains(&plain(&parent))).then_some(parent)
    }

    /// Reads one resource; as nobody where no login is needed.
    pub async fn read_as(&self, path: &str, who: Who) -> Result<Resource, BmcError> {
        let parent = self.unread_parent(path);
        let read = self.read_exactly(path, who).await;
        if read.is_ok() {
            self.see(path);
        }
        match read {
            Err(BmcError::Refused {
                status: Some(301 | 302 | 307 | 308 | 404),
                what,
                detail,
            }) => {
                // Some know a resource only with, or only without, its trailing slash.
                let first = BmcError::Refused {
                    status: Some(404),
                    what,
                    detail,
                };
                if let Some(other) = link::other_slash(path)
                    && let Ok(read) = self.read_exactly(&other, who).await
                {
                    return Ok(read);
                }
                // Some know a resource only once its parent has been read.
                if let Some(parent) = parent
                    && self.read_exactly(&parent, who).await.is_ok()
                {
                    self.see(&parent);
                    if let Ok(read) = self.read_exactly(path, who).await {
                        return Ok(read);
                    }
                }
                Err(first)
            }
            read => read,
        }
    }

    async fn read_exactly(&self, path: &str, who: Who) -> Result<Resource, BmcError> {
        let what = format!("GET {path}");
        let started = Instant::now();
        let http = &self.service.http;
        let mut budget = http.timeouts.read_budget;
        if let Some(deadline) = self.deadline {
            budget = budget.min(deadline.saturating_duration_since(started));
        }
        let mut pause = http.timeouts.backoff;
        // What is over already is not asked for.
        self.count(&what, 0)?;
        loop {
            let left = budget.saturating_sub(started.elapsed());
            let call = Call {
                method: Method::GET,
                path,
                header: None,
                if_match: None,
                body: None,
                timeout: http.timeouts.read.min(left),
            };
            let exchanged = match who {
                Who::Account => self.service.send(call).await,
                Who::Nobody => http.exchange(call).await,
            };
            let (detail, asked) = match exchanged {
                // One that has answered before may be restarting.
                Err(Lost::NotSent(BmcError::Unreachable { detail, .. })) if http.met() => {
                    (detail, None)
                }
                Err(Lost::NotSent(error)) => return Err(error),
                Err(Lost::MaybeSent(detail)) => (detail, None),
                Ok(answer) => match answer.status {
                    200 => match &answer.body {
                        Ok(bytes) => {
                            self.count(&what, bytes.len())?;
                            return parsed(what, path, bytes, answer.etag());
                        }
                        Err(detail) if detail.starts_with("larger") => {
                            return Err(BmcError::malformed(what, detail.clone()));
                        }
                        Err(detail) => (detail.clone(), None),
                    },
                    401 | 403 if messages::says_password_change(answer.bytes()) => {
                        return Err(self.service.must_change(what, answer.bytes()));
                    }
                    401 | 403 => {
                        return Err(BmcError::Credentials {
                            what,
                            detail: messages::words(answer.bytes()),
                        });
                    }
                    status @ (429 | 500..) => (
                        format!("status {status}: {}", messages::words(answer.bytes())),
                        answer.retry_after(),
                    ),
                    status => {
                        return Err(BmcError::Refused {
                            what,
                            status: Some(status),
                            detail: format!("status {status}: {}", messages::words(answer.bytes())),
                        });
                    }
                },
            };
            let next = asked.map_or(pause, |asked| asked.max(pause));
            if started.elapsed() + next >= budget {
                return Err(BmcError::Unreachable { what, detail });
            }
            tracing::debug!(%what, %detail, "reading again");
            tokio::time::sleep(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Counts an answer; fails where there are too many bytes of them.
    fn count(&self, what: &str, bytes: usize) -> Result<(), BmcError> {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= MOST_BYTES {
            return Ok(());
        }
        let most = MOST_BYTES >> 20;
        Err(BmcError::malformed(
            what,
            format!("not taken in: the BMC's answers come to more than {most} MiB"),
        ))
    }
}

/// A path in the one form in which paths are compared.
fn plain(path: &str) -> String {
    path.trim_end_matches('/').to_ascii_lowercase()
}

fn parsed(
    what: String,
    path: &str,
    bytes: &[u8],
    etag: Option<String>,
) -> Result<Resource, BmcError> {
    let body: Value =
        serde_json::from_slice(bytes).map_err(|e| BmcError::malformed(&what, e.to_string()))?;
    if !body.is_object() {
        return Err(BmcError::malformed(what, "not a JSON object"));
    }
    Ok(Resource {
        path: path.to_owned(),
        etag: etag.or_else(|| text(&body, "/@odata.etag")),
        body: Arc::new(body),
    })
}
