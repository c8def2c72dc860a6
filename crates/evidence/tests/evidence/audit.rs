//! A project's slice of the audit log: it proves its own rows and shows nothing of others'.

use billet_evidence::{
    Checkpoint, SiteKey, TrustedKeys,
    audit::{Export, ExportError, ExportedRow, Salt, leaf_bytes, leaf_hash, verify_export},
    proof::MemoryTree,
};
use serde_json::{Value, json};

const ORIGIN: &str = "billet.example/audit";

fn row(number: u8) -> Value {
    json!({"seq": number, "project": if number.is_multiple_of(3) { "red" } else { "blue" }, "did": "lease.create"})
}

fn salt(number: u8) -> Salt {
    Salt([number; 16])
}

/// A log of `size` rows, of which the export shows those of project red.
fn export(size: u8) -> (Export, TrustedKeys) {
    let key = SiteKey::from_seed(&[5; 32]);
    let tree: MemoryTree = (0..size)
        .map(|n| leaf_hash(&row(n), &salt(n)).expect("a leaf"))
        .collect();
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    let rows = (0..size)
        .filter(|n| n.is_multiple_of(3))
        .map(|n| ExportedRow::prove(&tree, tree.size(), n.into(), row(n), salt(n)))
        .collect::<Result<_, _>>()
        .expect("proofs");
    let checkpoint = checkpoint.sign(&key).expect("a note");
    (Export { checkpoint, rows }, key.public().clone().into())
}

#[test]
fn leaves_have_one_spelling() {
    let bytes = leaf_bytes(&json!({"b": 1, "a": "x"}), &salt(0xab)).expect("a leaf");
    let expected = format!(
        r#"{{"row":{{"a":"x","b":1}},"salt":"{}"}}"#,
        "ab".repeat(16)
    );
    assert_eq!(String::from_utf8(bytes).expect("UTF-8"), expected);
    assert_ne!(
        leaf_hash(&row(1), &salt(1)).ok(),
        leaf_hash(&row(1), &salt(2)).ok()
    );
}

#[test]
fn a_slice_holds_and_shows_no_others() {
    for size in 1..40 {
        let (export, trusted) = export(size);
        let json = serde_json::to_string(&export).expect("JSON");
        assert!(!json.contains("blue"));
        let export: Export = serde_json::from_str(&json).expect("an export");
        let (checkpoint, _) = verify_export(&export, ORIGIN, &trusted).expect("verified");
        assert_eq!(checkpoint.size, u64::from(size));
    }
}

#[test]
fn a_changed_slice_is_a_failure() {
    let (good, trusted) = export(20);
    let check = |change: &dyn Fn(&mut Export)| {
        let mut export = good.clone();
        change(&mut export);
        verify_export(&export, ORIGIN, &trusted)
    };
    assert!(check(&|_| ()).is_ok());
    assert!(check(&|export| drop(export.rows.remove(2))).is_ok());
    let not_included = |index, change: &dyn Fn(&mut Export)| {
        let outcome = check(change);
        assert!(
            matches!(outcome, Err(ExportError::NotIncluded { index: found, .. }) if found == index),
            "{outcome:?}"
        );
    };
    not_included(6, &|export| export.rows[2].row["did"] = json!("nothing"));
    not_included(6, &|export| export.rows[2].salt = salt(7));
    not_included(7, &|export| export.rows[2].index = 7);
    not_included(6, &|export| export.rows[2].proof.truncate(1));
    not_included(99, &|export| export.rows[6].index = 99);
    assert!(matches!(
        check(&|export| export.rows.swap(0, 1)),
        Err(ExportError::OutOfOrder {
            index: 0,
            before: 3
        })
    ));
    assert!(matches!(
        check(&|export| export.rows[1] = export.rows[0].clone()),
        Err(ExportError::OutOfOrder {
            index: 0,
            before: 0
        })
    ));
    assert!(matches!(
        check(&|export| export.rows[0].row["load"] = json!(0.5)),
        Err(ExportError::Row { index: 0, .. })
    ));
    assert!(matches!(
        check(&|export| export.checkpoint = export.checkpoint.replace("\n20\n", "\n19\n")),
        Err(ExportError::Checkpoint(_))
    ));
}
