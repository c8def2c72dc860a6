//! Lists, a page at a time.
//!
//! A cursor is the id of the last thing that was seen. Ids sort by creation and
//! never change, so nothing is shown twice or left out when things come and go
//! between two pages.

use std::str::FromStr;

use axum::Json;
use billet_model::api::Page;

use crate::problem::Failure;

/// Things on a page where the caller does not say.
const USUAL: usize = 100;
/// Things on a page at most.
const MOST: usize = 1000;

/// Which page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<I> {
    /// Things after this one.
    pub(crate) after: Option<I>,
    limit: usize,
}

impl<I: FromStr> Asked<I> {
    /// The page that a query asks for.
    pub(crate) fn new(limit: Option<usize>, after: Option<&str>) -> Result<Self, Failure> {
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            let detail = format!("a page has 1 to {MOST} things");
            return Err(Failure::invalid("limit", detail));
        }
        let after = after.map(str::parse).transpose().map_err(|_| {
            let detail = "`after` takes what a page before gave as `next`, and nothing else";
            Failure::invalid("after", detail)
        })?;
        Ok(Self { after, limit })
    }

    /// How many to read: one more than are shown tells whether there are more.
    pub(crate) fn read(&self) -> usize {
        self.limit + 1
    }

    /// How many are shown.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Cuts what was read to the page; returns the cursor for the next.
    pub(crate) fn cut<T>(&self, read: &mut Vec<T>, id: impl Fn(&T) -> String) -> Option<String> {
        let more = read.len() > self.limit;
        read.truncate(self.limit);
        read.last().filter(|_| more).map(id)
    }

    /// The page with what was read.
    pub(crate) fn page<T>(&self, mut read: Vec<T>, id: impl Fn(&T) -> String) -> Json<Page<T>> {
        let next = self.cut(&mut read, id);
        Json(Page { items: read, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next() {
        let Ok(asked) = Asked::<u32>::new(Some(2), Some("3")) else {
            panic!("refused");
        };
        assert_eq!((asked.after, asked.read()), (Some(3), 3));
        let page = asked.page(vec![4, 5, 6], u32::to_string).0;
        assert_eq!((page.items, page.next), (vec![4, 5], Some("5".into())));
        let page = asked.page(vec![4, 5], u32::to_string).0;
        assert_eq!((page.items, page.next), (vec![4, 5], None));
        assert!(Asked::<u32>::new(Some(0), None).is_err());
        assert!(Asked::<u32>::new(Some(1001), None).is_err());
        assert!(Asked::<u32>::new(None, Some("x")).is_err());
    }
}
