//! Lists that come in pages.

use std::{collections::VecDeque, marker::PhantomData};

use billet_model::api::Page;
use futures::Stream;
use serde::de::DeserializeOwned;

use crate::{Result, client::Client};

/// How many items one request asks for: the most that the server gives.
const LIMIT: usize = 1000;

/// A list, asked for page by page as it is read.
pub struct Pages<'c, T> {
    client: &'c Client,
    path: &'static str,
    query: Vec<(String, String)>,
    limit: usize,
    after: Option<String>,
    over: bool,
    items: PhantomData<fn() -> T>,
}

impl Client {
    pub(crate) fn pages<T>(&self, path: &'static str, filters: &[(&str, &str)]) -> Pages<'_, T> {
        Pages {
            client: self,
            path,
            query: filters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            limit: LIMIT,
            after: None,
            over: false,
            items: PhantomData,
        }
    }
}

impl<'c, T: DeserializeOwned + 'c> Pages<'c, T> {
    /// Asks for this many items at a time, 1 to 1000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, LIMIT);
        self
    }

    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// As every call.
    pub async fn next_page(&mut self) -> Result<Option<Page<T>>> {
        if self.over {
            return Ok(None);
        }
        let mut call = self.client.get(self.path).query("limit", self.limit);
        for (name, value) in &self.query {
            call = call.query(name, value);
        }
        if let Some(after) = &self.after {
            call = call.query("after", after);
        }
        let page: Page<T> = call.json().await?;
        // A server that gives the same cursor again would keep us here for ever.
        self.over = page.next.is_none() || page.next == self.after;
        self.after.clone_from(&page.next);
        Ok(Some(page))
    }

    /// All of the items.
    ///
    /// # Errors
    /// As every call.
    pub async fn all(mut self) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while let Some(page) = self.next_page().await? {
            items.extend(page.items);
        }
        Ok(items)
    }

    /// The items one by one, each page asked for when the one before is used up.
    pub fn stream(self) -> impl Stream<Item = Result<T>> + 'c {
        let start = (self, VecDeque::new());
        futures::stream::try_unfold(start, |(mut pages, mut ready)| async move {
            loop {
                if let Some(item) = ready.pop_front() {
                    return Ok(Some((item, (pages, ready))));
                }
                match pages.next_page().await? {
                    Some(page) => ready = page.items.into(),
                    None => return Ok(None),
                }
            }
        })
    }
}
