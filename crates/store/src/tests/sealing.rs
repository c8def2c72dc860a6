//! The audit log's tree, checked with the verifier that anybody has.

use billet_evidence::{
    Checkpoint, SiteKey, TreeHash, TrustedKeys, audit::Export, merkle, proof::MemoryTree,
};

use super::{World, fixtures::*};
use crate::{AuditFilter, Batch, Store, StoreError};

async fn write_rows(store: &Store, count: usize) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(100) {
        let mut batch = Batch::new();
        for n in chunk {
            batch.audit.push(row(&format!("test.{n}")));
        }
        store.commit(batch).await.expect("kept");
    }
}

pub(super) async fn rows_are_sealed_and_proved(world: World) {
    let store = &world.store;
    let empty = store.audit_head().await.expect("read");
    assert_eq!((empty.size, empty.root), (0, TreeHash::empty()));
    assert_eq!(store.seal(at(1)).await.expect("nothing to do"), 0);

    let (mut size, mut heads) = (0, Vec::new());
    for count in [1, 1, 2, 7, 1013, 30] {
        write_rows(store, count).await;
        assert_eq!(store.seal(at(2)).await.expect("sealed"), count as u64);
        size += count as u64;
        let head = store.audit_head().await.expect("read");
        assert_eq!((head.size, head.sealed_at), (size, Some(at(2))));
        heads.push(head);
    }
    let rows = store
        .audit(&AuditFilter::default(), None, 10_000)
        .await
        .expect("read");
    let indexes: Vec<_> = rows.iter().filter_map(|r| r.index).collect();
    assert_eq!(
        indexes,
        (0..size).collect::<Vec<_>>(),
        "in the order written"
    );

    // The tree is the one over these very rows with their salts.
    let exported = store
        .audit_export(&AuditFilter::default(), 0, heads[3].size, 10_000)
        .await
        .expect("exported");
    let mut tree = MemoryTree::default();
    for (exported, row) in exported.iter().zip(&rows) {
        let value = serde_json::to_value(&row.row).expect("JSON");
        assert_eq!(exported.row, value);
        let leaf = billet_evidence::audit::leaf_hash(&exported.row, &exported.salt);
        tree.append(leaf.expect("a leaf"));
    }
    assert_eq!(tree.root(), heads[3].root);

    for head in &heads {
        assert_eq!(store.audit_root(head.size).await.expect("made"), head.root);
        let proof = store.audit_consistency(head.size, size).await;
        let last = heads.last().expect("heads");
        merkle::verify_consistency(
            head.size,
            size,
            &head.root,
            &last.root,
            &proof.expect("made"),
        )
        .expect("the log only grew");
    }
    let beyond = store.audit_proof(size, size).await;
    assert!(
        matches!(beyond, Err(StoreError::Constraint { .. })),
        "{beyond:?}"
    );
}

pub(super) async fn a_slice_is_proved(world: World) {
    let store = &world.store;
    let ground = ground(store).await;
    for n in 0..60 {
        let mut row = row("lease.changed");
        row.project = Some(if n % 3 == 0 {
            ground.project
        } else {
            ground.other_project
        });
        store.commit(Batch::new().audited(row)).await.expect("kept");
    }
    store.seal(at(3)).await.expect("sealed");
    let head = store.audit_head().await.expect("read");
    let key = SiteKey::generate().expect("a key");
    let checkpoint = Checkpoint {
        origin: "billet.test/audit".into(),
        size: head.size,
        root: head.root,
    };
    let filter = AuditFilter {
        projects: Some(vec![ground.project]),
        ..AuditFilter::default()
    };
    let rows = store
        .audit_export(&filter, 0, head.size, 1000)
        .await
        .expect("exported");
    assert_eq!(rows.len(), 20);
    // The same rows come as they are, from any place on, a few at a time.
    let mut next = rows[3].index;
    let mut seen = Vec::new();
    loop {
        let some = store.audit_sealed(&filter, next, head.size, 3).await;
        let some = some.expect("read");
        let Some(last) = some.last() else { break };
        next = last.index.expect("it is sealed") + 1;
        seen.extend(some.iter().filter_map(|row| row.index));
    }
    let wanted: Vec<u64> = rows[3..].iter().map(|row| row.index).collect();
    assert_eq!(seen, wanted);
    let mut export = Export {
        checkpoint: checkpoint.sign(&key).expect("signed"),
        rows,
    };
    let trusted = TrustedKeys::from_iter([key.public().clone()]);
    billet_evidence::audit::verify_export(&export, "billet.test/audit", &trusted)
        .expect("anybody can check it");
    export.rows[7].row["action"] = "lease.other".into();
    billet_evidence::audit::verify_export(&export, "billet.test/audit", &trusted)
        .expect_err("a changed row is found");
}

pub(super) async fn unsealable_rows_are_refused(world: World) {
    let store = &world.store;
    let mut row = row("test.fraction");
    row.detail = serde_json::json!({ "load": 0.5 });
    let refused = store.commit(Batch::new().audited(row)).await;
    assert!(
        matches!(refused, Err(StoreError::Constraint { .. })),
        "a row that has no canonical form would stop the sealer: {refused:?}"
    );
}
