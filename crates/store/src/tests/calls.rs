//! The record of calls: kept once each, found, and forgotten.

use billet_model::{TokenId, call::ApiCall};

use super::{World, fixtures::*};
use crate::{Batch, CallFilter, Write};

fn call(second: i64, status: u16, token: Option<TokenId>) -> ApiCall {
    ApiCall {
        id: new_id!(CallId),
        at: at(second),
        token,
        name: None,
        user: None,
        from: Some("10.0.0.7".into()),
        method: "GET".into(),
        path: "/v1/leases".into(),
        status,
        ms: 3,
    }
}

pub(super) async fn calls_are_kept_for_a_while(world: World) {
    let store = &world.store;
    let who = new_id!(TokenId);
    let calls = [
        call(1, 200, Some(who)),
        call(2, 403, Some(who)),
        call(3, 401, None),
    ];
    let mut batch = Batch::new();
    batch.writes = calls
        .iter()
        .map(|c| Write::PutCall(Box::new(c.clone())))
        .collect();
    // Twice, as after an answer that was lost: kept once, and off the audit log.
    store.commit(batch.clone()).await.expect("kept");
    store.commit(batch).await.expect("kept again");
    let read = async |filter: CallFilter, after, limit| {
        store.calls(&filter, after, limit).await.expect("read")
    };
    let all = CallFilter::default();
    assert_eq!(read(all.clone(), None, 9).await, calls);
    assert_eq!(read(all.clone(), Some(calls[0].id), 1).await, calls[1..2]);
    let refused = CallFilter {
        least_status: Some(400),
        newest_first: true,
        ..all.clone()
    };
    let found = read(refused, None, 9).await;
    assert_eq!(found, [calls[2].clone(), calls[1].clone()]);
    let by = CallFilter {
        token: Some(who),
        since: Some(at(2)),
        until: Some(at(3)),
        ..all.clone()
    };
    assert_eq!(read(by, None, 9).await, calls[1..2]);
    let forget = Batch::new().with(Write::ForgetCalls { before: at(3) });
    store.commit(forget).await.expect("forgotten");
    assert_eq!(read(all, None, 9).await, calls[2..]);
}
