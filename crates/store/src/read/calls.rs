//! Calls of the API, as they were kept.

use billet_model::{CallId, TokenId, call::ApiCall};
use jiff::Timestamp;

use crate::{Store, error::Result, select::Select};

/// Which calls; what is `None` is not asked.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// By this token.
    pub token: Option<TokenId>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Until before then.
    pub until: Option<Timestamp>,
    /// Answered with this status or a higher one.
    pub least_status: Option<u16>,
    /// The last first, and `after` then means older than.
    pub newest_first: bool,
}

impl Store {
    /// Calls in the order of their ids, which is that in which they began.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn calls(
        &self,
        filter: &CallFilter,
        after: Option<CallId>,
        limit: usize,
    ) -> Result<Vec<ApiCall>> {
        let (beyond, order) = if filter.newest_first {
            ("id < ?", "id DESC")
        } else {
            ("id > ?", "id")
        };
        let select = Select::new("call", "SELECT doc FROM calls")
            .when_some("token = ?", filter.token)
            .when_some("at >= ?", filter.since)
            .when_some("at < ?", filter.until)
            .when_some("status >= ?", filter.least_status.map(u32::from))
            .when_some(beyond, after)
            .order_limit(order, limit);
        self.nouns("call", select).await
    }
}
