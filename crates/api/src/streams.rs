//! Streams that stay open: events, and consoles that are looked at. How many a
//! caller may have at once, so that one that forgets to close them takes neither
//! the others' connections nor the server's memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderValue, header};
use uuid::Uuid;

use crate::{
    auth::Bearer,
    problem::{Failure, Kind},
};

/// The streams that are open.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<Uuid, usize>>>,
    most: usize,
}

impl Streams {
    /// None yet, and `most` for each caller.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    /// Opens one for a caller: a user, whatever the token, or a token without one.
    /// It counts until what is returned is dropped.
    pub(crate) fn open(&self, bearer: &Bearer) -> Result<Open, Failure> {
        let whose = bearer
            .user
            .as_ref()
            .map_or(bearer.token.id.0, |user| user.id.0);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(whose).or_default();
        if *count >= self.most {
            let detail = format!(
                "you have {count} streams of events and consoles open, and may have {}: close one, or wait until one ends",
                self.most
            );
            return Err(Failure::new(Kind::TooMany, detail)
                .header(header::RETRY_AFTER, HeaderValue::from_static("10")));
        }
        *count += 1;
        drop(open);
        Ok(Open {
            streams: self.clone(),
            whose,
        })
    }
}

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    streams: Streams,
    whose: Uuid,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self
            .streams
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.whose);
            }
        }
    }
}
