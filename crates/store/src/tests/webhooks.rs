//! Webhooks: who may bring one forward, and what is kept.

use billet_model::webhook::{Delivery, Disabled, Webhook};

use super::{World, fixtures::*};
use crate::{PutWebhook, StoreError, WebhookFilter, Write};

fn webhook(project: Option<billet_model::ProjectId>, called: &str) -> Webhook {
    Webhook {
        id: new_id!(WebhookId),
        name: name(called),
        project,
        url: "https://example.org/".into(),
        actions: vec!["lease.".into()],
        ca: None,
        disabled: None,
        old_secret_until: None,
        created_at: at(1),
        version: 0,
    }
}

fn write(
    webhook: &Webhook,
    secrets: Option<(Vec<u8>, Option<Vec<u8>>)>,
    delivery: Option<Delivery>,
) -> Write {
    Write::PutWebhook(Box::new(PutWebhook {
        webhook: webhook.clone(),
        secrets,
        delivery,
    }))
}

fn from(next: u64) -> Option<Delivery> {
    Some(Delivery {
        next,
        ..Delivery::default()
    })
}

pub(super) async fn webhooks_are_kept_and_claimed(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    let mut own = webhook(Some(ground.project), "hook");
    let all = webhook(None, "hook");
    let secret = Some((vec![1, 2], None));
    for hook in [&own, &all] {
        let new = put(write(hook, secret.clone(), from(3)));
        store.commit(new).await.expect("made");
    }
    let again = webhook(None, "hook");
    let again = store.commit(put(write(&again, secret, from(0)))).await;
    assert!(
        matches!(again, Err(StoreError::Duplicate { .. })),
        "{again:?}"
    );
    own.version = 1;
    let read = store.webhook(own.id).await.expect("read").expect("it");
    assert_eq!(read, (own.clone(), from(3).expect("it")));
    let secrets = async || store.webhook_secrets(own.id).await.expect("read");
    assert_eq!(secrets().await, Some((vec![1, 2], None)));
    let filter = |projects, operators| WebhookFilter {
        projects,
        operators,
        name: Some(name("hook")),
    };
    for (filter, expected) in [
        (filter(None, false), 2),
        (filter(None, true), 1),
        (filter(Some(vec![ground.project]), false), 1),
        (filter(Some(vec![]), false), 0),
    ] {
        let read = store.webhooks(&filter, None, 9).await.expect("read");
        assert_eq!(read.len(), expected, "{filter:?}");
    }

    // Of two that claim it one has it, until its claim ends.
    let claim = async |by: &str, now, until| {
        let claimed = store.claim_webhook(own.id, by, at(now), at(until)).await;
        claimed.expect("asked")
    };
    assert!(claim("one", 10, 20).await);
    assert!(!claim("two", 19, 30).await);
    assert!(claim("one", 19, 20).await);
    let came = async |by: &str, next, until: Option<i64>| {
        let delivery = from(next).expect("it");
        let came = store
            .webhook_came(own.id, by, &delivery, until.map(at))
            .await;
        came.expect("asked")
    };
    assert!(came("one", 4, Some(25)).await);
    assert!(!claim("two", 24, 30).await);
    assert!(claim("two", 25, 30).await);
    assert!(!came("one", 9, Some(40)).await, "late words do not count");
    assert!(came("two", 5, None).await);
    assert!(claim("one", 26, 30).await, "it was given back");

    // Its owner's changes: kept by version, and one that sets the place ends the claim.
    own.url = "https://example.org/other".into();
    store
        .commit(put(write(&own, None, None)))
        .await
        .expect("changed");
    let stale = store.commit(put(write(&own, None, None))).await;
    assert!(
        matches!(stale, Err(StoreError::Conflict { .. })),
        "{stale:?}"
    );
    own.version = 2;
    assert!(came("one", 6, Some(30)).await);
    let rotated = Some((vec![3], Some(vec![1, 2])));
    store
        .commit(put(write(&own, rotated, from(8))))
        .await
        .expect("changed");
    own.version = 3;
    assert_eq!(secrets().await, Some((vec![3], Some(vec![1, 2]))));
    assert!(!came("one", 7, Some(30)).await);
    let read = store.webhook(own.id).await.expect("read").expect("it");
    assert_eq!(read, (own.clone(), from(8).expect("it")));

    let due = async |head, now| -> usize {
        let due = store.webhooks_due(head, at(now), 9).await.expect("read");
        due.iter().filter(|(hook, _)| hook.id == own.id).count()
    };
    assert_eq!((due(8, 50).await, due(9, 50).await), (0, 1));
    let waits = Delivery {
        retry_at: Some(at(60)),
        ..from(8).expect("it")
    };
    assert!(claim("one", 50, 55).await);
    let kept = store.webhook_came(own.id, "one", &waits, None).await;
    assert!(kept.expect("asked"));
    assert_eq!((due(9, 59).await, due(9, 61).await), (0, 1));
    own.disabled = Some(Disabled {
        since: at(61),
        why: "gone".into(),
    });
    store
        .commit(put(write(&own, None, Some(waits))))
        .await
        .expect("changed");
    assert_eq!(due(9, 99).await, 0);
    assert!(
        !claim("one", 99, 100).await,
        "what is disabled is not sent to"
    );

    // A project's go with it; the operator's stay until they are deleted.
    let project = Write::DeleteProject(ground.project);
    store.commit(put(project)).await.expect("deleted");
    assert_eq!(store.webhook(own.id).await.expect("read"), None);
    assert_eq!(secrets().await, None);
    let gone = Write::DeleteWebhook(all.id);
    store.commit(put(gone.clone())).await.expect("deleted");
    let again = store.commit(put(gone)).await;
    assert!(
        matches!(again, Err(StoreError::NotFound { .. })),
        "{again:?}"
    );
}
