//! Files that somebody says a site signed: the bytes are read as each kind there is.
//!
//! The key that is trusted here signed what stands in [`signed`] and nothing else; so whatever else
//! is found to hold is a forgery.

use std::sync::LazyLock;

use billet_evidence::{
    Checkpoint, Envelope, Keyring, SiteKey, Statement, Subject, TrustedKeys, audit, canonical,
    dsse, erase, merkle, note, proof::MemoryTree, sign_statement, verify_file,
};
use serde_json::{Value, json};

/// The log whose checkpoints are looked at.
const ORIGIN: &str = "billet-0123456789abcdef/audit";

static KEY: LazyLock<SiteKey> = LazyLock::new(|| SiteKey::from_seed(&[7; 32]));
static TRUSTED: LazyLock<TrustedKeys> =
    LazyLock::new(|| [KEY.public().clone()].into_iter().collect());
static SIGNED: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(signed);

/// All that the key signed, and keys themselves: what the corpus begins with.
///
/// # Panics
/// When it cannot be made.
pub fn signed() -> Vec<(&'static str, Vec<u8>)> {
    let subject = vec![Subject::sha256("drive D1", b"D1")];
    let statement = Statement::new(
        "https://billet.dev/evidence/test/v1",
        subject,
        json!({"a": [1, "b"]}),
    );
    let envelope = sign_statement(&statement, &KEY).expect("signed");
    let rows: Vec<Value> = (0..5).map(|n| json!({"action": "test", "n": n})).collect();
    let salt = |n: u8| audit::Salt([n; 16]);
    let tree: MemoryTree = rows
        .iter()
        .zip(0..)
        .map(|(row, n)| audit::leaf_hash(row, &salt(n)).expect("a leaf"))
        .collect();
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: tree.size(),
        root: tree.root(),
    };
    let checkpoint = checkpoint.sign(&KEY).expect("signed");
    let rows = [1_u8, 4]
        .map(|n| {
            let row = rows[usize::from(n)].clone();
            audit::ExportedRow::prove(&tree, tree.size(), u64::from(n), row, salt(n))
                .expect("proved")
        })
        .to_vec();
    let export = audit::Export {
        checkpoint: checkpoint.clone(),
        rows,
    };
    let mut ring = Keyring::default();
    ring.rotate(KEY.public().clone(), jiff::Timestamp::UNIX_EPOCH);
    vec![
        ("statement", envelope),
        ("checkpoint", checkpoint.into_bytes()),
        ("export", serde_json::to_vec(&export).expect("JSON")),
        ("keyring", serde_json::to_vec(&ring).expect("JSON")),
        ("key.pem", KEY.public().to_pem().expect("PEM").into_bytes()),
    ]
}

fn was_signed(kind: &str) -> &'static [u8] {
    let found = SIGNED.iter().find(|(name, _)| *name == kind);
    found.map(|(_, bytes)| bytes.as_slice()).expect("a kind")
}

/// Reads and checks the bytes as each kind.
pub fn run(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::parse(bytes) {
        let written = envelope.to_bytes();
        assert_eq!(Envelope::parse(&written).expect("an envelope"), envelope);
        let _ = envelope.verify(dsse::IN_TOTO, &TrustedKeys::default());
        if let Ok(verified) = envelope.verify(dsse::IN_TOTO, &TRUSTED) {
            let real = Envelope::parse(was_signed("statement")).expect("an envelope");
            let real = real.verify(dsse::IN_TOTO, &TRUSTED).expect("signed");
            assert_eq!(verified.payload, real.payload, "a forged statement holds");
        }
    }
    if let Ok(verified) = verify_file(bytes, &TRUSTED) {
        let _ = erase::erase_certificate(verified);
    }
    if let Ok(statement) = Statement::parse(bytes) {
        let again = statement.to_bytes().expect("a statement");
        assert_eq!(Statement::parse(&again).expect("a statement"), statement);
    }
    let real = was_signed("checkpoint");
    let real = Checkpoint::verify(real, ORIGIN, &TRUSTED)
        .expect("signed")
        .0;
    if let Ok((checkpoint, _)) = Checkpoint::verify(bytes, ORIGIN, &TRUSTED) {
        assert_eq!(checkpoint, real, "a forged checkpoint holds");
    }
    let _ = note::verify(bytes, ORIGIN, &TrustedKeys::default());
    if let Some(export) = super::again::<audit::Export>(bytes)
        && audit::verify_export(&export, ORIGIN, &TRUSTED).is_ok()
    {
        let known: audit::Export = serde_json::from_slice(was_signed("export")).expect("an export");
        for row in &export.rows {
            let shown = known.rows.iter().find(|k| k.index == row.index);
            assert!(
                shown.is_none_or(|known| known.row == row.row),
                "a forged row holds"
            );
        }
    }
    super::again::<Keyring>(bytes);
    if let Ok(keys) = TrustedKeys::from_bytes(bytes) {
        assert!(keys.iter().next().is_some());
    }
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Ok(written) = canonical::to_vec(&value)
    {
        let back: Value = serde_json::from_slice(&written).expect("canonical JSON");
        assert_eq!(canonical::to_vec(&back).expect("canonical"), written);
    }
    proofs(bytes);
}

/// Proofs of any length for trees of any size lead to no root but theirs.
fn proofs(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_at_checked(24) else {
        return;
    };
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    let (index, size) = (number(0), number(8));
    let proof: Vec<merkle::TreeHash> = rest
        .chunks_exact(32)
        .map(|hash| merkle::TreeHash(hash.try_into().expect("32 bytes")))
        .collect();
    let nothing = merkle::TreeHash::empty();
    let leaf = merkle::TreeHash::leaf(head);
    if merkle::verify_inclusion(&leaf, index, size, &proof, &leaf).is_ok() {
        assert!(index == 0 && size == 1 && proof.is_empty());
    }
    let _ = merkle::verify_consistency(index, size, &nothing, &leaf, &proof);
}
